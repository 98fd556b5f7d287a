#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash_table.h"
#include "taskvine.h"
#include "vf_turn.h"

enum {
	IDLE_MAX = 4096, /* inputs that nobody uses any more, but may again */
	REASON_NBYTES = 4608,
};

/* Why an input cannot be read; 0 if it can. */
static int trouble(const struct vf_file *file)
{
	return file->kind == VF_FILE_INPUT && access(file->source, R_OK) ? errno : 0;
}

void vf_files_fail_call(struct vf_loop *loop, struct vf_call *call, const char *source, const char *why)
{
	char reason[REASON_NBYTES];
	snprintf(reason, sizeof reason, "%s: %s", source, why);
	struct vf_bundle *bundle = vf_bundle_create(1, &call);
	if (bundle)
		vf_return_failed(loop, bundle, VINE_RESULT_INPUT_MISSING, reason);
}

uint32_t vf_files_check(struct vf_loop *loop, uint32_t n_calls, struct vf_call **calls)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < n_calls; i++) {
		const struct vf_files *files = calls[i]->files;
		int error = 0;
		uint32_t k = 0;
		while (files && k < files->n && !(error = trouble(&files->items[k])))
			k++;
		if (error)
			vf_files_fail_call(loop, calls[i], files->items[k].source, strerror(error));
		else if (!vf_temps_park(loop, calls[i]))
			calls[n++] = calls[i];
	}
	return n;
}

void vf_files_fail(struct vf_loop *loop, struct vf_call *call)
{
	const struct vf_file *suspect = NULL;
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		const struct vf_file *file = &call->files->items[i];
		int is_input = file->kind == VF_FILE_INPUT || file->kind == VF_FILE_URL || file->kind == VF_FILE_READ;
		if (is_input && (!suspect || file->kind == VF_FILE_URL))
			suspect = file;
	}
	vf_files_fail_call(loop, call, suspect ? suspect->source : "vinefast's own files", "no worker could get it");
}

static void unlink_idle(struct vf_shelf *shelf, struct vf_declared *input)
{
	*(input->newer ? &input->newer->older : &shelf->newest) = input->older;
	*(input->older ? &input->older->newer : &shelf->oldest) = input->newer;
	input->newer = input->older = NULL;
	shelf->n_idle--;
}

static void forget(struct vf_loop *loop, struct vf_declared *input)
{
	if (!input->stale)
		hash_table_remove(loop->shelf.by_source, input->source);
	if (input->datum)
		vf_replica_forget(loop, input->datum);
	vine_undeclare_file(loop->manager, input->file);
	free(input->source);
	free(input);
}

static void release(struct vf_loop *loop, struct vf_declared *input)
{
	struct vf_shelf *shelf = &loop->shelf;
	if (--input->n_users)
		return;
	if (input->stale) {
		forget(loop, input);
		return;
	}
	input->older = shelf->newest;
	*(shelf->newest ? &shelf->newest->newer : &shelf->oldest) = input;
	shelf->newest = input;
	if (++shelf->n_idle > IDLE_MAX) {
		struct vf_declared *oldest = shelf->oldest;
		unlink_idle(shelf, oldest);
		forget(loop, oldest);
	}
}

static int is_current(const struct vf_declared *input, const struct stat *now)
{
	return input->modified.tv_sec == now->st_mtim.tv_sec && input->modified.tv_nsec == now->st_mtim.tv_nsec &&
			input->nbytes == now->st_size && input->inode == now->st_ino;
}

static struct vf_declared *declare(struct vf_loop *loop, const struct vf_file *file, const struct stat *now, int by_content)
{
	struct vf_declared *input = calloc(1, sizeof *input);
	if (!input)
		return NULL;
	vine_cache_level_t level = by_content ? VINE_CACHE_LEVEL_WORKER : VINE_CACHE_LEVEL_WORKFLOW;
	input->source = strdup(file->source);
	input->modified = now->st_mtim;
	input->nbytes = now->st_size;
	input->inode = now->st_ino;
	if (input->source)
		input->file = file->kind == VF_FILE_URL ? vine_declare_url(loop->manager, file->source, VINE_CACHE_LEVEL_WORKFLOW, 0)
							 : vine_declare_file(loop->manager, file->source, level, 0);
	if (!input->file || !hash_table_insert(loop->shelf.by_source, input->source, input)) {
		free(input->source);
		free(input);
		return NULL;
	}
	input->datum = vf_replica_know(loop, input->file, NULL); /* without the memory for it, nobody asks where it is */
	return input;
}

/* The declaration of a file as it is now, for one more bundle. */
static struct vf_declared *use(struct vf_loop *loop, const struct vf_file *file)
{
	struct vf_shelf *shelf = &loop->shelf;
	struct stat now = {0};
	if (file->kind == VF_FILE_INPUT && stat(file->source, &now))
		return NULL;
	if (!shelf->by_source && !(shelf->by_source = hash_table_create(0, 0)))
		return NULL;
	struct vf_declared *input = hash_table_lookup(shelf->by_source, file->source);
	int by_content = 0;
	if (input && !is_current(input, &now)) {
		/* TaskVine knows files by size and second of their last change. */
		by_content = input->modified.tv_sec == now.st_mtim.tv_sec && input->nbytes == now.st_size;
		hash_table_remove(shelf->by_source, input->source);
		input->stale = 1;
		if (!input->n_users) {
			unlink_idle(shelf, input);
			forget(loop, input);
		}
		input = NULL;
	}
	if (!input)
		input = declare(loop, file, &now, by_content);
	else if (!input->n_users)
		unlink_idle(shelf, input);
	if (input)
		input->n_users++;
	return input;
}

void vf_files_begin(struct vf_loop *loop, struct vf_call *call)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		struct vf_file *file = &call->files->items[i];
		if (file->kind == VF_FILE_INPUT || file->kind == VF_FILE_URL)
			file->declared = use(loop, file);
		call->reads |= file->declared || file->kind == VF_FILE_READ;
	}
	vf_temps_begin(loop, call);
}

void vf_files_end(struct vf_loop *loop, struct vf_call *call)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		struct vf_file *file = &call->files->items[i];
		if (!file->declared)
			continue;
		if (file->kind == VF_FILE_URL && file->declared->datum)
			vf_replica_measure(loop, file->declared->datum);
		release(loop, file->declared);
		file->declared = NULL;
	}
	vf_temps_end(loop, call);
}

const struct vf_datum *vf_files_datum(const struct vf_file *file)
{
	if (file->kind == VF_FILE_READ)
		return file->temp->datum;
	return file->declared ? file->declared->datum : NULL;
}

static int mount(struct vf_loop *loop, struct vf_mounts *mounts, struct vine_task *task, const struct vf_file *file)
{
	if (file->kind == VF_FILE_MADE)
		return 0; /* once TaskVine has the task: vf_temps_mount() */
	if (file->kind == VF_FILE_READ)
		return file->temp->datum && vine_task_add_input(task, file->temp->datum->file, file->name, 0) ? 0 : -1;
	if (file->kind == VF_FILE_OUTPUT) {
		struct vine_file *output = vine_declare_file(loop->manager, file->source, VINE_CACHE_LEVEL_TASK, 0);
		if (!output)
			return -1;
		mounts->outputs[mounts->n_outputs++] = output;
		return vine_task_add_output(task, output, file->name, 0) ? 0 : -1;
	}
	struct vf_declared *input = use(loop, file);
	if (!input)
		return -1;
	mounts->inputs[mounts->n_inputs++] = input;
	return vine_task_add_input(task, input->file, file->name, 0) ? 0 : -1;
}

int vf_files_mount(struct vf_loop *loop, struct vf_bundle *bundle, struct vine_task *task)
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
		const struct vf_files *files = bundle->calls[i]->files;
		for (uint32_t k = 0; files && k < files->n; k++) {
			int is_delivered = files->items[k].kind == VF_FILE_OUTPUT && vf_call_makes_again(bundle->calls[i]);
			if (!is_delivered && mount(loop, mounts, task, &files->items[k]))
				return -1;
		}
	}
	return 0;
}

void vf_files_unmount(struct vf_loop *loop, struct vf_bundle *bundle)
{
	struct vf_mounts *mounts = &bundle->mounts;
	for (uint32_t i = 0; i < mounts->n_outputs; i++)
		vine_undeclare_file(loop->manager, mounts->outputs[i]);
	for (uint32_t i = 0; i < mounts->n_inputs; i++)
		release(loop, mounts->inputs[i]);
	free(mounts->inputs);
	free(mounts->outputs);
	memset(mounts, 0, sizeof *mounts);
}

void vf_files_free(struct vf_shelf *shelf)
{
	char *source;
	void *value;
	if (!shelf->by_source)
		return;
	hash_table_firstkey(shelf->by_source);
	while (hash_table_nextkey(shelf->by_source, &source, &value)) {
		struct vf_declared *input = value;
		free(input->source);
		free(input);
	}
	hash_table_delete(shelf->by_source);
	memset(shelf, 0, sizeof *shelf);
}
