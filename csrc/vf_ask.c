#include "vf_ask.h"

#include <inttypes.h>
#include <stdio.h>

#include "taskvine.h"
#include "vf_bundle.h"
#include "vf_call.h"
#include "vf_config.h"
#include "vf_done.h"
#include "vf_inflight.h"
#include "vf_tell.h"
#include "vf_wire.h"

enum {
	COMMAND_NBYTES = 64,
};

struct search {
	const struct vf_call *call;
	const struct vf_bundle *bundle;
	uint32_t index;
};

static void look_into(struct vf_bundle *bundle, void *arg)
{
	struct search *search = arg;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		if (bundle->calls[i] != search->call)
			continue;
		search->bundle = bundle;
		search->index = i;
	}
}

/* Returns 0, or -1 when memory is short. */
static int pass_on(struct vf_ask *ask, struct vf_question *question, int *active)
{
	struct search search = {.call = question->call};
	char command[COMMAND_NBYTES];
	struct vf_bundle *answer = vf_bundle_create(0, NULL);
	if (!answer)
		return -1;
	answer->question = question;
	vf_inflight_each(ask->inflight, look_into, &search);
	const struct vf_bundle *bundle = search.bundle;
	if (!bundle || !bundle->worker || ask->config->command || !vf_bundle_runs(bundle)) {
		vf_done_later(ask->done, answer);
		return 0;
	}
	snprintf(command, sizeof command, VF_COMMAND_STACK " %" PRIu64 ":%" PRIu32,
			(uint64_t)vine_task_get_id(bundle->task), search.index);
	if (vf_tell_worker(ask->tell, bundle->worker, command, answer)) {
		vf_bundle_free(answer);
		return -1;
	}
	*active = 1;
	return 0;
}

int vf_ask_all(struct vf_ask *ask)
{
	int active = 0;
	struct vf_link *link = vf_ring_take(&ask->questions);
	while (link) {
		struct vf_link *next = link->next;
		if (pass_on(ask, (struct vf_question *)link, &active))
			vf_ring_push(&ask->questions, link); /* for the next turn */
		link = next;
	}
	return active;
}
