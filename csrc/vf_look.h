/* Looks at files that may take long, or never end: those of a file system that hangs.

The manager thread has another thread look, and waits for the answer for a moment only. A look that
takes longer keeps that thread, the next one gets another; who asks for the same file again gets the
answer when it is there. */

#ifndef VF_LOOK_H
#define VF_LOOK_H

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "vf_table.h"

struct vf_looker;
struct vf_wake;

struct vf_look {
	int error; /* of the system; 0: it is there, and can be read */
	mode_t mode;
	int64_t nbytes;
	uint64_t inode;
	struct timespec modified;
	uint64_t asked_ns; /* when it began */
};

/* Look at a file on this thread, for as long as it takes. */
void vf_look_here(const char *source, struct vf_look *look);

/* The manager thread's; zeroed at first. */
struct vf_looks {
	struct vf_wake *wake; /* who asks, when a look has ended that took long; NULL: nobody */
	struct vf_looker *idle;
	/* Struct vf_looker by source: looks that took long, or do so still. */
	struct vf_table slow;
	struct vf_table seen; /* struct vf_look by source, in `turn` */
	uint64_t turn;
	uint64_t n_ended; /* slow ones that had ended when vf_looks_ended() was asked last */
	uint64_t n_made;
	int lacks; /* a thread, or memory, for a look since vf_looks_ended() was asked last */
};

/* Look at a file, once per turn, or whatever the caller counts, and not before that time. Returns
NULL while that takes long, or cannot begin; else it is valid until the next look. */
const struct vf_look *vf_look(
		struct vf_looks *looks, uint64_t turn, const char *source, uint64_t since_ns);

/* Whether it is time to ask again: looks that took long have ended since this was asked last, or
one could not begin. */
int vf_looks_ended(struct vf_looks *looks);

/* Nobody is waited for: a thread that hangs frees what it has when it ends. */
void vf_looks_free(struct vf_looks *looks);

#endif
