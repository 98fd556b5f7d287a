/* A bundle: the calls that travel together as one task of TaskVine's, out with `calls`, back with
`outcomes`.

The manager thread makes it. Whoever takes it out of the done ring frees it. */

#ifndef VF_BUNDLE_H
#define VF_BUNDLE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "vf_call.h"
#include "vf_frame.h"
#include "vf_ring.h"

struct vf_declared;
struct vf_question;
struct vf_temp;
struct vf_worker;
struct vine_file;
struct vine_task;

enum {
	VF_BUNDLE_ADDRPORT_NBYTES = 80,
};

/* What became of one call of a bundle. */
struct vf_outcome {
	struct vf_call *call;
	struct vf_record record;
};

enum vf_node_news {
	VF_NODE_NONE = 0,
	VF_NODE_JOINED,
	VF_NODE_LEFT,
};

/* The files that it has to give back. */
struct vf_mounts {
	uint32_t n_inputs, n_outputs;
	struct vf_declared **inputs;
	struct vine_file **outputs;
};

/* Where its time went, of which the library has told, and who had it, for the event log. */
struct vf_stages {
	uint64_t dispatch_ns, wait_ns, run_ns, sent_nbytes;
	uint32_t worker, slot, pid;
};

LIST_HEAD(vf_bundles, vf_bundle);

struct vf_bundle {
	struct vf_link link; /* first: done ring */
	struct vine_task *task;
	struct vine_file *spilled;
	struct vf_mounts mounts;
	int64_t input_nbytes; /* of those that are here */
	struct vf_worker *worker; /* chosen for it; NULL: none yet, or TaskVine chooses */
	uint32_t share;           /* of its worker's slots */
	LIST_ENTRY(vf_bundle) there; /* among those of its worker, or those without */
	double expected_ns;       /* its run time; negative: nothing is known */
	/* On a worker; when TaskVine offers it to another, that one was lost. */
	int has_run;
	uint32_t n_given_back; /* in a row, by workers that stayed */
	/* Of these the last ones, by the worker of that number. */
	uint32_t n_given_back_by_one, given_back_by;
	uint64_t orphaned_ns; /* when the library that had it ended; 0: it has not */
	/* While the member with a like name is not 0; the last: n_cancelled. */
	LIST_ENTRY(vf_bundle) orphan, giving_up, reader, cancelling;
	int reads;            /* temporary files */
	uint32_t n_cancelled; /* of its calls, since they were sent; and of how many of them */
	uint32_t n_told;      /* its worker has been told */
	char orphaned_at[VF_BUNDLE_ADDRPORT_NBYTES];
	int given_up;         /* to be cancelled */
	int unsent;           /* the connection broke while it was sent */
	uint64_t sent_ns, returned_ns;
	uint64_t task_id;
	struct vf_stages stages;
	/* Result frame that the outcomes point into; or the text of a failure. */
	char *frame;
	size_t frame_nbytes;
	size_t output_at; /* in the frame, where what its slot has printed begins; 0: nothing */
	int output_dropped; /* there was some, but no room for it in the frame */
	int engine_result; /* vine_result_t when the engine failed the bundle */
	/* About a worker: no calls then, and the frame tells of its node (library/node.py). */
	enum vf_node_news news;
	uint32_t worker_slots;
	struct vf_temp *temp; /* given back: no calls then */
	struct vf_question *question; /* it brings the answer, and has no calls */
	uint64_t generation; /* of the temporary files that it reads */
	int unreached; /* its worker could not fetch one of them */
	int without_library; /* which could not be sent to its worker */
	uint32_t n_calls, n_outcomes;
	struct vf_outcome *outcomes;
	struct vf_call *calls[];
};

/* NULL when memory is short. Without `calls` they are to be filled in. */
struct vf_bundle *vf_bundle_create(uint32_t n_calls, struct vf_call *const *calls);
void vf_bundle_free(struct vf_bundle *bundle);

/* A call that has lost so many workers is a suspect: it travels alone, and shares no worker with
another, so that those that lost theirs only by bad company soon get through. */
enum {
	VF_BUNDLE_SUSPECT_LOSSES = 2,
};

int vf_bundle_is_suspect(const struct vf_bundle *bundle);

/* Whether it is on a worker now; whether it waits for one. */
int vf_bundle_runs(const struct vf_bundle *bundle);
int vf_bundle_is_ready(const struct vf_bundle *bundle);

/* It has lost a worker or library, and with it each of its calls. */
void vf_bundle_lose(struct vf_bundle *bundle);

/* Whether it has lost so many that it is to be given up: some call in it may be what takes workers
down. One of several calls is, when any of them is a suspect: they go on alone. */
int vf_bundle_has_lost(const struct vf_bundle *bundle, uint32_t max_losses);

/* Whether all its calls have been cancelled. */
int vf_bundle_is_cancelled(const struct vf_bundle *bundle);

/* It has come back: take it out of the lists of what may happen to it. */
void vf_bundle_unlist(struct vf_bundle *bundle);

#endif
