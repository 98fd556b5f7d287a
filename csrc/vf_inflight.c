#include "vf_inflight.h"

#include <string.h>

#include "taskvine.h"

void vf_inflight_begin(struct vf_inflight *inflight)
{
	memset(inflight, 0, sizeof *inflight);
	vf_taskids_begin(&inflight->ids);
}

void vf_inflight_end(struct vf_inflight *inflight)
{
	vf_table_free(&inflight->bundles);
	vf_taskids_end(&inflight->ids);
}

void vf_inflight_drop(struct vf_inflight *inflight)
{
	struct vf_bundle *bundle;
	for (size_t at = 0; (bundle = vf_table_next(&inflight->bundles, &at));) {
		vine_task_delete(bundle->task); /* TaskVine has its own hold on the task */
		vf_bundle_free(bundle);
	}
	vf_table_free(&inflight->bundles);
}

int vf_inflight_add(struct vf_inflight *inflight, struct vf_bundle *bundle, uint64_t task_id)
{
	if (vf_table_put(&inflight->bundles, task_id, bundle))
		return -1;
	inflight->n += bundle->n_calls > 0;
	return 0;
}

int vf_inflight_submit(struct vf_inflight *inflight, struct vine_manager *manager,
		struct vf_bundle *bundle, struct vine_task *task)
{
	vf_taskids_prepare(&inflight->ids, manager, &inflight->bundles);
	int id = vine_submit(manager, task);
	if (!id) {
		vine_task_delete(task);
		return -1;
	}
	if (vf_inflight_add(inflight, bundle, (uint64_t)id)) {
		/* It comes back as a task that is none of ours. */
		vine_cancel_by_task_id(manager, id);
		return -1;
	}
	bundle->task = task;
	bundle->task_id = (uint64_t)id;
	return 0;
}

void vf_inflight_each(const struct vf_inflight *inflight,
		void (*function)(struct vf_bundle *bundle, void *arg), void *arg)
{
	struct vf_bundle *bundle;
	for (size_t at = 0; (bundle = vf_table_next(&inflight->bundles, &at));)
		function(bundle, arg);
}

struct vf_bundle *vf_inflight_find(const struct vf_inflight *inflight, uint64_t task_id)
{
	return vf_table_find(&inflight->bundles, task_id);
}

struct vf_bundle *vf_inflight_take(struct vf_inflight *inflight, uint64_t task_id)
{
	struct vf_bundle *bundle = vf_table_take(&inflight->bundles, task_id);
	if (bundle) {
		inflight->n -= bundle->n_calls > 0;
		vf_bundle_unlist(bundle);
	}
	return bundle;
}

void vf_inflight_give_up(struct vf_inflight *inflight, struct vf_bundle *bundle)
{
	if (!bundle->given_up)
		LIST_INSERT_HEAD(&inflight->given_up, bundle, giving_up);
	bundle->given_up = inflight->giving_up = 1;
}

void vf_inflight_give_all_up(struct vf_inflight *inflight)
{
	struct vf_bundle *bundle;
	for (size_t at = 0; (bundle = vf_table_next(&inflight->bundles, &at));) {
		if (bundle->n_calls && !bundle->given_up)
			vf_inflight_give_up(inflight, bundle);
	}
}

/* What has come back from its worker is left alone: TaskVine up to 7.15 would leave a task that it
is about to fetch in the table of its worker, after it has been deleted. It comes by itself, or is
offered once more. */
static int may_be_cancelled(const struct vf_bundle *bundle)
{
	return vf_bundle_is_ready(bundle) || vf_bundle_runs(bundle);
}

void vf_inflight_cancel(struct vf_inflight *inflight, struct vine_manager *manager)
{
	/* First: to cancel may end a connection, and what follows from that may give up more
	bundles, which come in front. */
	inflight->giving_up = inflight->breaking = 0;
	const struct vf_bundle *bundle;
	LIST_FOREACH(bundle, &inflight->given_up, giving_up) {
		if (may_be_cancelled(bundle))
			vine_cancel_by_task_id(manager, vine_task_get_id(bundle->task));
	}
}
