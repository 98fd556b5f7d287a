/* Questions about calls that run, which their workers answer: where is it now?

The answer comes out of the done ring, as a bundle without calls that has the question: a result
frame with one record, or no frame where there is no answer. */

#ifndef VF_ASK_H
#define VF_ASK_H

#include "vf_ring.h"

struct vf_bundle;
struct vf_call;
struct vf_config;
struct vf_done;
struct vf_inflight;
struct vf_tell;

/* Whoever asks keeps it, and the call, until the answer comes or the manager thread has ended. */
struct vf_question {
	struct vf_link link; /* first: ring of questions */
	struct vf_call *call;
	void *object; /* the asker's */
};

struct vf_ask {
	const struct vf_config *config;
	struct vf_inflight *inflight;
	struct vf_done *done;
	const struct vf_tell *tell;
	struct vf_ring questions; /* any thread's */
};

/* Pass all questions on. Tells whether TaskVine has got something to do. */
int vf_ask_all(struct vf_ask *ask);

#endif
