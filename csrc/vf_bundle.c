#include "vf_bundle.h"

#include <stdlib.h>
#include <string.h>

#include "taskvine.h"

struct vf_bundle *vf_bundle_create(uint32_t n_calls, struct vf_call *const *calls)
{
	struct vf_bundle *bundle = calloc(1, sizeof *bundle + n_calls * sizeof bundle->calls[0]);
	if (!bundle)
		return NULL;
	bundle->outcomes = calloc(n_calls ? n_calls : 1, sizeof *bundle->outcomes);
	if (!bundle->outcomes) {
		free(bundle);
		return NULL;
	}
	bundle->n_calls = n_calls;
	if (n_calls && calls)
		memcpy(bundle->calls, calls, n_calls * sizeof bundle->calls[0]);
	return bundle;
}

void vf_bundle_free(struct vf_bundle *bundle)
{
	free(bundle->mounts.inputs);
	free(bundle->mounts.outputs);
	free(bundle->outcomes);
	free(bundle->frame);
	free(bundle);
}

int vf_bundle_is_suspect(const struct vf_bundle *bundle)
{
	return bundle->n_calls == 1 && bundle->calls[0]->losses >= VF_BUNDLE_SUSPECT_LOSSES;
}

static int is_in_state(const struct vf_bundle *bundle, const char *state)
{
	return !strcmp(vine_task_get_state(bundle->task), state);
}

int vf_bundle_runs(const struct vf_bundle *bundle)
{
	return is_in_state(bundle, "RUNNING");
}

int vf_bundle_is_ready(const struct vf_bundle *bundle)
{
	return is_in_state(bundle, "READY");
}

/* The count is the call's, since a call that is handed back goes on in another bundle. */
void vf_bundle_lose(struct vf_bundle *bundle)
{
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		struct vf_call *call = bundle->calls[i];
		if (call->losses < UINT8_MAX)
			call->losses++;
	}
}

int vf_bundle_has_lost(const struct vf_bundle *bundle, uint32_t max_losses)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		if (bundle->calls[i]->losses > most)
			most = bundle->calls[i]->losses;
	}
	return bundle->n_calls == 1 ? most > max_losses : most >= VF_BUNDLE_SUSPECT_LOSSES;
}

int vf_bundle_is_cancelled(const struct vf_bundle *bundle)
{
	uint32_t n = 0;
	while (n < bundle->n_calls && vf_call_is_cancelled(bundle->calls[n]))
		n++;
	return n && n == bundle->n_calls;
}

void vf_bundle_unlist(struct vf_bundle *bundle)
{
	if (bundle->orphaned_ns)
		LIST_REMOVE(bundle, orphan);
	if (bundle->given_up)
		LIST_REMOVE(bundle, giving_up);
	if (bundle->reads)
		LIST_REMOVE(bundle, reader);
	if (bundle->n_cancelled)
		LIST_REMOVE(bundle, cancelling);
}
