/* The calls that wait here: for a worker, for a look at an input that takes long, or for memory. */

#ifndef VF_WAITING_H
#define VF_WAITING_H

#include <stdint.h>

#include "vf_call.h"
#include "vf_queue.h"

struct vf_waiting {
	struct vf_queue queue; /* for a worker; but for what is dealt out (vf_score.h) */
	uint64_t n; /* with what is dealt out */
	struct vf_call_list held_up; /* an input of theirs takes long to look at, or */
	int lacks_memory; /* there was none for some of them: until the next turn */
};

void vf_waiting_init(struct vf_waiting *waiting);

/* A call has come. */
void vf_waiting_add(struct vf_waiting *waiting, struct vf_call *call);

/* One that was not run, or has waited for something else, is at the head of its waiting list. */
void vf_waiting_again(struct vf_waiting *waiting, struct vf_call *call);

/* All of a list do, the first one in front. */
void vf_waiting_again_all(struct vf_waiting *waiting, struct vf_call_list *calls);

/* One that was to be sent waits for a look, one that was to be sent or to end waits for memory; all
of these wait for a worker again. */
void vf_waiting_hold_up(struct vf_waiting *waiting, struct vf_call *call);
void vf_waiting_for_memory(struct vf_waiting *waiting, struct vf_call *call);
void vf_waiting_go_on(struct vf_waiting *waiting);

#endif
