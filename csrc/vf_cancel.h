/* Sent calls that were cancelled: their workers are told to end them.

The submitting side has finished with such a call; its outcome, which comes all the same, is
nobody's. A worker is told by a task for the supervisor there (VF_COMMAND_STOP), since the other
calls of the bundle go on. Where the task of a bundle is all there is to end, TaskVine ends it. */

#ifndef VF_CANCEL_H
#define VF_CANCEL_H

#include <stdatomic.h>

#include "vf_buffer.h"
#include "vf_bundle.h"

struct vf_config;
struct vf_inflight;
struct vf_tell;

struct vf_cancel {
	const struct vf_config *config;
	struct vf_inflight *inflight;
	const struct vf_tell *tell;
	atomic_int wanted;         /* some have been cancelled; any thread sets it */
	struct vf_bundles bundles; /* those with such calls */
	struct vf_buffer command;
};

void vf_cancel_free(struct vf_cancel *cancel);

/* Tell what is to be told. Tells whether TaskVine has got something to do. */
int vf_cancel_sent(struct vf_cancel *cancel);

#endif
