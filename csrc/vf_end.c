#include "vf_end.h"

#include <stdio.h>
#include <string.h>

#include "taskvine.h"
#include "vf_bundle.h"
#include "vf_call.h"
#include "vf_counters.h"
#include "vf_done.h"
#include "vf_eventlog.h"
#include "vf_file.h"
#include "vf_files.h"
#include "vf_frame.h"
#include "vf_waiting.h"

enum {
	REASON_NBYTES = 4608,
};

void vf_end_call(struct vf_end *end, struct vf_bundle *bundle, struct vf_call *call,
		const struct vf_record *record)
{
	if (!vf_call_makes_again(call))
		bundle->outcomes[bundle->n_outcomes++] =
				(struct vf_outcome){.call = call, .record = *record};
	/* Nobody has asked for what a cancelled one has made. */
	if (call->files)
		vf_files_end(end->files, call,
				vf_call_is_cancelled(call) || !vf_status_is_result(record->status));
}

void vf_end_bundle(struct vf_end *end, struct vf_bundle *bundle)
{
	vf_eventlog_ended(end->log, bundle);
	if (bundle->n_outcomes || bundle->question || bundle->output_at)
		vf_done_later(end->done, bundle);
	else
		vf_bundle_free(bundle);
}

void vf_end_failed(
		struct vf_end *end, struct vf_bundle *bundle, int engine_result, const char *text)
{
	struct vf_record record = {.status = VF_STATUS_ENGINE};
	bundle->engine_result = engine_result;
	bundle->frame = text ? strdup(text) : NULL;
	for (uint32_t i = 0; i < bundle->n_calls; i++)
		vf_end_call(end, bundle, bundle->calls[i], &record);
	VF_COUNT(end->counters, calls_returned, bundle->n_outcomes);
	vf_end_bundle(end, bundle);
}

void vf_end_for_file(struct vf_end *end, struct vf_call *call, const struct vf_file *file,
		const char *why)
{
	char reason[REASON_NBYTES];
	const char *source = file ? file->source : "vinefast's own files";
	/* A URL ends where its quotes do. */
	size_t nbytes = strcspn(source, file && file->kind == VF_FILE_URL ? "\"" : "");
	snprintf(reason, sizeof reason, "%.*s: %s", (int)nbytes, source, why);
	struct vf_bundle *bundle = vf_bundle_create(1, &call);
	if (bundle)
		vf_end_failed(end, bundle, VINE_RESULT_INPUT_MISSING, reason);
	else
		vf_waiting_for_memory(end->waiting, call); /* and is judged again */
}

void vf_end_without_inputs(struct vf_end *end, struct vf_call *call)
{
	const struct vf_file *suspect = NULL;
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		const struct vf_file *file = &call->files->items[i];
		if ((vf_file_is_input(file) || file->kind == VF_FILE_READ) &&
				(!suspect || file->kind == VF_FILE_URL))
			suspect = file;
	}
	vf_end_for_file(end, call, suspect, "no worker could get it");
}
