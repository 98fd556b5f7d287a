/* One temporary file: what a call makes on a worker, and other calls read there or on another
worker.

The submitting side makes and frees it. One that it lets go is given back through the done ring once
no call needs the file any more; its data has left the workers then. What becomes of it meanwhile:
vf_temps.h. */

#ifndef VF_TEMP_H
#define VF_TEMP_H

#include <stdint.h>

#include "vf_call.h"
#include "vf_ring.h"

struct vf_datum;
struct vf_worker;

enum vf_temp_state {
	VF_TEMP_PLANNED = 0, /* no call has come that makes it */
	VF_TEMP_MAKING,      /* that call waits or runs */
	VF_TEMP_THERE,       /* some worker holds it */
	VF_TEMP_LOST,        /* none does any more */
	VF_TEMP_FAILED,      /* that call ended without it */
};

struct vf_temp {
	struct vf_link link; /* first: the ring of those that the submitting side lets go */
	const char *name;    /* the user's */
	void *object;        /* the submitting side's */

	/* The manager thread's. */
	struct vf_datum *datum; /* NULL: TaskVine does not know it */
	char *path;             /* where it lies here, if workers may not fetch from each other */
	struct vf_call *maker;
	enum vf_temp_state state;
	uint8_t made;    /* since its task was sent, a worker has had it */
	uint8_t let_go;  /* the submitting side wants it no more, */
	uint8_t given;   /* and knows that we do not either */
	uint64_t generation;        /* files of TaskVine's that it was before */
	uint32_t n_readers;         /* calls here that read it; */
	struct vf_call_list parked; /* of these, those that wait for it */
	const struct vf_worker **holders;
	uint32_t n_holders, holders_room;
	struct vf_temp *next_lost, *next_needed;
	char *cached_name; /* TaskVine's name for it; NULL: no worker has had it */
	uint8_t needed;    /* on the stack of those to be made again */
};

/* A worker has it, and no longer; not one that is still fetching it. */
void vf_temp_hold(struct vf_temp *temp, const struct vf_worker *worker, const char *cached_name);
void vf_temp_leave(struct vf_temp *temp, const struct vf_worker *worker);

/* What the manager thread keeps in it. */
void vf_temp_free(struct vf_temp *temp);

#endif
