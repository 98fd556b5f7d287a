/* The library: how often it has ended by itself, and what follows from that. */

#ifndef VF_LIBRARY_H
#define VF_LIBRARY_H

#include <stdint.h>

struct vf_config;
struct vf_ended;
struct vine_task;

struct vf_library {
	const struct vf_config *config;
	uint64_t failed_ns; /* when one last ended by itself on some worker; 0: none has */
	int is_counted;     /* and TaskVine counts it */
	uint32_t failures;  /* in a row */
	struct vf_ended *ended; /* those that are held, the last one first */
};

/* Keep the task of a library that has ended: up to 7.14 TaskVine deletes it, and writes to it when
it takes a function call from its worker that the library had. */
void vf_library_hold(struct vf_library *library, struct vine_task *task, uint64_t now_ns);

/* Let go of those that ended before `oldest_ns`, when the oldest bundle was sent that TaskVine
still has. */
void vf_library_let_go(struct vf_library *library, uint64_t oldest_ns);

/* One has ended by itself. */
void vf_library_fail(struct vf_library *library, uint64_t now_ns);

/* What has been does not count any more: a bundle has come back from one, or nothing waits for
one. */
void vf_library_begin_anew(struct vf_library *library);

/* Whether TaskVine starts none anywhere, since one has failed a moment ago. */
int vf_library_is_paused(const struct vf_library *library);

/* Before TaskVine sends one. TaskVine gives it up for good after so many failures, whatever
succeeded in between, and 7.14.5 leaves the calls that need it waiting. */
void vf_library_keep(struct vf_library *library);

/* Whether they have ended so often by themselves that no call will ever run; what to tell of
that. */
int vf_library_is_hopeless(const struct vf_library *library);
const char *vf_library_why_hopeless(void);

#endif
