/* The numbers of TaskVine's tasks, which it counts in an int, and takes from when that is full as
negative ones, of which a worker dies: after 25 days at a thousand bundles a second.

So the count begins anew before that, in the widest gap between numbers that are in use: those of
bundles under way, and of libraries, which last as long as their worker. */

#ifndef VF_TASKIDS_H
#define VF_TASKIDS_H

#include <stdint.h>

#include "vf_table.h"

struct vine_manager;
struct vine_task;

struct vf_taskids {
	struct vf_table libraries; /* by their numbers, which is all that is known of them */
	int64_t last; /* the last number before the count is to begin anew */
	uint64_t renewed; /* how often it has */
};

void vf_taskids_begin(struct vf_taskids *ids);
void vf_taskids_end(struct vf_taskids *ids);

/* TaskVine is about to send a task; a library has ended. */
void vf_taskids_sending(struct vf_taskids *ids, struct vine_task *task);
void vf_taskids_ended(struct vf_taskids *ids, struct vine_task *library);

/* Outside of TaskVine's own iterations, before a task is submitted: have the next number be one
that nobody uses. `bundles` are those under way, by their numbers. */
void vf_taskids_prepare(struct vf_taskids *ids, struct vine_manager *manager,
		const struct vf_table *bundles);

#endif
