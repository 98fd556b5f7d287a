#include "vf_cancel.h"

#include <inttypes.h>
#include <stdio.h>

#include "taskvine.h"
#include "vf_call.h"
#include "vf_config.h"
#include "vf_inflight.h"
#include "vf_tell.h"
#include "vf_wire.h"
#include "vf_workers.h"

enum {
	NUMBER_NBYTES = 24, /* with what stands before it, and an end */
};

void vf_cancel_free(struct vf_cancel *cancel)
{
	vf_buffer_free(&cancel->command);
}

static void look_at(struct vf_bundle *bundle, void *arg)
{
	struct vf_cancel *cancel = arg;
	uint32_t n = 0;
	for (uint32_t i = 0; i < bundle->n_calls; i++)
		n += (uint32_t)vf_call_is_cancelled(bundle->calls[i]);
	if (n && !bundle->n_cancelled)
		LIST_INSERT_HEAD(&cancel->bundles, bundle, cancelling);
	bundle->n_cancelled = n;
}

/* Whether its worker is to be told of calls that it does not know of. */
static int is_to_tell(const struct vf_bundle *bundle)
{
	return bundle->n_cancelled > bundle->n_told && !bundle->given_up && bundle->worker &&
			vf_bundle_runs(bundle);
}

static int add(struct vf_buffer *text, const char *before, uint64_t number)
{
	if (vf_buffer_reserve(text, text->nbytes + NUMBER_NBYTES))
		return -1;
	text->nbytes += (size_t)snprintf(
			text->data + text->nbytes, NUMBER_NBYTES, "%s%" PRIu64, before, number);
	return 0;
}

static int add_bundle(struct vf_buffer *text, const struct vf_bundle *bundle)
{
	const char *before = ":";
	if (add(text, " ", (uint64_t)vine_task_get_id(bundle->task)))
		return -1;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		if (!vf_call_is_cancelled(bundle->calls[i]))
			continue;
		if (add(text, before, i))
			return -1;
		before = ",";
	}
	return 0;
}

/* All that a worker is to be told. Returns 0, or -1 when memory is short. */
static int write_command(struct vf_cancel *cancel, const struct vf_worker *worker)
{
	struct vf_buffer *text = &cancel->command;
	const struct vf_bundle *bundle;
	text->nbytes = 0;
	if (vf_buffer_reserve(text, sizeof VF_COMMAND_STOP))
		return -1;
	text->nbytes = (size_t)snprintf(text->data, sizeof VF_COMMAND_STOP, VF_COMMAND_STOP);
	LIST_FOREACH(bundle, &worker->bundles, there) {
		if (is_to_tell(bundle) && add_bundle(text, bundle))
			return -1;
	}
	return 0;
}

static int send(struct vf_cancel *cancel, struct vf_worker *worker)
{
	struct vf_bundle *bundle = vf_bundle_create(0, NULL);
	if (!bundle)
		return -1;
	if (!vf_tell_worker(cancel->tell, worker, cancel->command.data, bundle))
		return 0;
	vf_bundle_free(bundle);
	return -1;
}

/* One task for all bundles that the worker has. What memory does not suffice for is tried again. */
static int tell(struct vf_cancel *cancel, struct vf_worker *worker)
{
	struct vf_bundle *bundle;
	if (write_command(cancel, worker) || send(cancel, worker))
		return 0;
	LIST_FOREACH(bundle, &worker->bundles, there) {
		if (is_to_tell(bundle))
			bundle->n_told = bundle->n_cancelled;
	}
	return 1;
}

/* Nothing of the bundle is wanted, and TaskVine can end its task without harm to others: it is on
no worker, or has a process of its own. */
static int is_to_end(const struct vf_cancel *cancel, const struct vf_bundle *bundle)
{
	return bundle->n_cancelled == bundle->n_calls && !bundle->given_up &&
			(cancel->config->command || vf_bundle_is_ready(bundle));
}

int vf_cancel_sent(struct vf_cancel *cancel)
{
	int active = 0;
	struct vf_bundle *bundle;
	if (atomic_exchange(&cancel->wanted, 0))
		vf_inflight_each(cancel->inflight, look_at, cancel);
	LIST_FOREACH(bundle, &cancel->bundles, cancelling) {
		if (is_to_end(cancel, bundle)) {
			vf_inflight_give_up(cancel->inflight, bundle);
			active = 1;
		} else if (!cancel->config->command && is_to_tell(bundle)) {
			active |= tell(cancel, bundle->worker);
		}
	}
	return active;
}
