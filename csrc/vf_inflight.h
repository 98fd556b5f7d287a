/* The bundles that TaskVine has, and those of them that are given up. */

#ifndef VF_INFLIGHT_H
#define VF_INFLIGHT_H

#include <stdint.h>

#include "vf_bundle.h"
#include "vf_table.h"
#include "vf_taskids.h"

struct vine_manager;
struct vine_task;

struct vf_inflight {
	struct vf_table bundles; /* by task id */
	struct vf_taskids ids;
	uint32_t n; /* but for those without calls */
	struct vf_bundles given_up;
	int giving_up; /* some bundles are to be cancelled, */
	int breaking;  /* for which vine_wait() has been told to return */
};

void vf_inflight_begin(struct vf_inflight *inflight);
void vf_inflight_end(struct vf_inflight *inflight);

/* TaskVine has got a bundle as this task; it has given it back. The first returns 0, or -1 when
memory is short; the others return NULL if the task is none of ours. */
int vf_inflight_add(struct vf_inflight *inflight, struct vf_bundle *bundle, uint64_t task_id);
struct vf_bundle *vf_inflight_find(const struct vf_inflight *inflight, uint64_t task_id);
struct vf_bundle *vf_inflight_take(struct vf_inflight *inflight, uint64_t task_id);

/* Give a bundle to TaskVine as this task, which is deleted if TaskVine does not take it. Returns 0,
or -1 if it does not. */
int vf_inflight_submit(struct vf_inflight *inflight, struct vine_manager *manager,
		struct vf_bundle *bundle, struct vine_task *task);

/* Call a function for each bundle, in no order. */
void vf_inflight_each(const struct vf_inflight *inflight,
		void (*function)(struct vf_bundle *bundle, void *arg), void *arg);

/* Free all bundles: TaskVine is not asked for them any more. */
void vf_inflight_drop(struct vf_inflight *inflight);

/* A bundle is to be cancelled; all are. */
void vf_inflight_give_up(struct vf_inflight *inflight, struct vf_bundle *bundle);
void vf_inflight_give_all_up(struct vf_inflight *inflight);

/* Cancel what is given up. Outside vine_wait(): to cancel a task that runs may end its worker's
connection, which vine_wait() would still use. */
void vf_inflight_cancel(struct vf_inflight *inflight, struct vine_manager *manager);

#endif
