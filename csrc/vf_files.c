#include "vf_files.h"

#include <stdlib.h>
#include <string.h>

#include "taskvine.h"
#include "vf_bundle.h"
#include "vf_call.h"
#include "vf_config.h"
#include "vf_file.h"
#include "vf_inputs.h"
#include "vf_replica.h"
#include "vf_temps.h"
#include "vf_unfetched.h"

void vf_files_begin(struct vf_files *files, struct vf_call *call)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		struct vf_file *file = &call->files->items[i];
		file->begun_turn = files->inputs->turn;
		if (vf_file_is_input(file) && !vf_inputs_is_alone(file))
			file->declared = vf_inputs_use(files->inputs, call, file);
		call->reads |= file->declared || file->kind == VF_FILE_READ;
	}
	vf_temps_begin(files->temps, call);
}

void vf_files_end(struct vf_files *files, struct vf_call *call, int failed)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		struct vf_file *file = &call->files->items[i];
		if (!file->declared)
			continue;
		if (file->declared->datum)
			vf_replica_measure(files->replicas, file->declared->datum);
		vf_inputs_release(files->inputs, file->declared);
		file->declared = NULL;
	}
	vf_temps_end(files->temps, call, failed);
}

void vf_files_spoiled(struct vf_files *files, struct vf_call *call)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		const struct vf_file *file = &call->files->items[i];
		if (file->kind == VF_FILE_READ)
			vf_temps_spoiled(files->temps, file->temp);
		if (!vf_file_is_input(file))
			continue;
		/* Not `file->declared`: since the call came, it may have been declared anew, and
		that be what its worker had. */
		struct vf_declared *input = vf_inputs_find(files->inputs, file);
		if (input)
			input->spoiled = 1;
	}
}

/* Why a call cannot have an input; NULL if it can, or if that is not known yet. */
static const char *trouble(struct vf_inputs *inputs, const struct vf_call *call,
		const struct vf_file *file, int *is_unknown)
{
	if (file->kind == VF_FILE_INPUT) {
		const struct vf_look *seen = vf_inputs_look(inputs, call, file);
		if (seen && seen->error)
			return strerror(seen->error);
		*is_unknown |= !seen;
	}
	return vf_unfetched_reason(inputs, call, file);
}

struct vf_files_verdict vf_files_check(struct vf_files *files, struct vf_call *call)
{
	struct vf_files_verdict verdict = {.what = VF_FILES_GO};
	int is_unknown = 0;
	/* All are looked at, if that takes long, at the same time. */
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		verdict.file = &call->files->items[i];
		verdict.why = trouble(files->inputs, call, verdict.file, &is_unknown);
		if (verdict.why) {
			verdict.what = VF_FILES_FAILED;
			return verdict;
		}
	}
	if (is_unknown) {
		verdict.what = VF_FILES_UNKNOWN;
		return verdict;
	}
	switch (vf_temps_park(call, &verdict.file)) {
	case VF_TEMPS_GO:
		break;
	case VF_TEMPS_WAIT:
		verdict.what = VF_FILES_WAIT;
		break;
	case VF_TEMPS_FAILED:
		verdict.what = VF_FILES_FAILED;
		verdict.why = "the call that makes this temporary file has failed";
		break;
	}
	return verdict;
}

static int mount(struct vf_files *files, struct vf_mounts *mounts, struct vine_task *task,
		const struct vf_call *call, const struct vf_file *file)
{
	if (file->kind == VF_FILE_MADE)
		return 0;
	if (file->kind == VF_FILE_READ) {
		const struct vf_datum *datum = file->temp->datum;
		return datum && vine_task_add_input(task, datum->file, file->name, 0) ? 0 : -1;
	}
	if (file->kind == VF_FILE_OUTPUT) {
		struct vine_file *output = vine_declare_file(
				files->config->manager, file->source, VINE_CACHE_LEVEL_TASK, 0);
		if (!output)
			return -1;
		mounts->outputs[mounts->n_outputs++] = output;
		return vine_task_add_output(task, output, file->name, 0) ? 0 : -1;
	}
	struct vf_declared *input = vf_inputs_use(files->inputs, call, file);
	if (!input)
		return -1;
	mounts->inputs[mounts->n_inputs++] = input;
	return vine_task_add_input(task, input->file, file->name,
			       file->linked ? VINE_MOUNT_SYMLINK : 0) ?
			0 :
			-1;
}

int vf_files_mount(struct vf_files *files, struct vf_bundle *bundle, struct vine_task *task)
{
	struct vf_mounts *mounts = &bundle->mounts;
	size_t n = 0;
	for (uint32_t i = 0; i < bundle->n_calls; i++)
		n += bundle->calls[i]->files ? bundle->calls[i]->files->n : 0;
	if (!n)
		return 0;
	mounts->inputs = calloc(n, sizeof *mounts->inputs);
	mounts->outputs = calloc(n, sizeof *mounts->outputs);
	if (!mounts->inputs || !mounts->outputs)
		return -1;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		const struct vf_file_list *list = bundle->calls[i]->files;
		for (uint32_t k = 0; list && k < list->n; k++) {
			const struct vf_file *file = &list->items[k];
			int is_delivered = file->kind == VF_FILE_OUTPUT &&
					vf_call_makes_again(bundle->calls[i]);
			if (!is_delivered && mount(files, mounts, task, bundle->calls[i], file))
				return -1;
		}
	}
	for (uint32_t i = 0; i < mounts->n_inputs; i++)
		bundle->input_nbytes += mounts->inputs[i]->nbytes;
	return 0;
}

void vf_files_unmount(struct vf_files *files, struct vf_bundle *bundle)
{
	struct vf_mounts *mounts = &bundle->mounts;
	for (uint32_t i = 0; i < mounts->n_outputs; i++)
		vine_undeclare_file(files->config->manager, mounts->outputs[i]);
	for (uint32_t i = 0; i < mounts->n_inputs; i++)
		vf_inputs_release(files->inputs, mounts->inputs[i]);
	free(mounts->inputs);
	free(mounts->outputs);
	memset(mounts, 0, sizeof *mounts);
}
