#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hash_table.h"
#include "itable.h"
#include "taskvine_private.h"
#include "vf_turn.h"

enum {
	IDLE_MAX = 4096, /* inputs that nobody uses any more, but may again */
	REASON_NBYTES = 4608,
	FRESH_MS = 20, /* of a look */
};

/* However many calls read a file, it is looked at once in a turn. */
static int is_its_source(const struct vf_declared *input, const struct vf_file *file)
{
	return !strcmp(file->source, vine_file_source(input->archive ? input->archive : input->file));
}

static const struct vf_look *look(struct vf_loop *loop, const char *source, uint64_t since_ns)
{
	uint64_t before = loop->looks.n_made, now_ns = vf_now_ns();
	/* Not within a turn: what a call was checked by is what it is sent by. */
	if (loop->turn != loop->look_turn && now_ns - loop->look_ns > FRESH_MS * 1000000u) {
		loop->look_ns = now_ns;
		loop->look_span++;
	}
	loop->look_turn = loop->turn;
	const struct vf_look *seen = vf_look(&loop->looks, loop->look_span, source, since_ns);
	VF_COUNT(loop, files_looked_at, loop->looks.n_made - before);
	return seen;
}

/* What an input is now. In the turn in which a call comes, that is what it was as it was submitted, unless that is long ago. */
static const struct vf_look *look_for(struct vf_loop *loop, const struct vf_call *call, const struct vf_file *file)
{
	const struct vf_look *seen = &file->look;
	if (file->begun_turn == loop->turn && seen->asked_ms && vf_now_ms() - seen->asked_ms <= FRESH_MS)
		return seen;
	return look(loop, file->source, call->submitted_ns);
}

/* Why a call cannot have an input; NULL if it can, or if that is not known yet. */
static const char *trouble(struct vf_loop *loop, const struct vf_call *call, const struct vf_file *file, int *is_unknown)
{
	if (file->kind == VF_FILE_INPUT) {
		const struct vf_look *seen = look_for(loop, call, file);
		if (seen && seen->error)
			return strerror(seen->error);
		*is_unknown |= !seen;
	}
	return vf_unfetched_reason(loop, call, file);
}

void vf_files_fail_for(struct vf_loop *loop, struct vf_call *call, const struct vf_file *file, const char *why)
{
	char reason[REASON_NBYTES];
	const char *source = file ? file->source : "vinefast's own files";
	/* A URL ends where its quotes do. */
	size_t nbytes = strcspn(source, file && file->kind == VF_FILE_URL ? "\"" : "");
	snprintf(reason, sizeof reason, "%.*s: %s", (int)nbytes, source, why);
	struct vf_bundle *bundle = vf_bundle_create(1, &call);
	if (bundle)
		vf_return_failed(loop, bundle, VINE_RESULT_INPUT_MISSING, reason);
}

uint32_t vf_files_check(struct vf_loop *loop, uint32_t n_calls, struct vf_call **calls)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < n_calls; i++) {
		const struct vf_files *files = calls[i]->files;
		const char *why = NULL;
		uint32_t k = 0;
		int is_unknown = 0;
		/* All are looked at, if that takes long, at the same time. */
		while (files && k < files->n && !(why = trouble(loop, calls[i], &files->items[k], &is_unknown)))
			k++;
		if (why) {
			vf_files_fail_for(loop, calls[i], &files->items[k], why);
		} else if (is_unknown) {
			vf_call_queue_again(calls[i]);
			vf_call_list_push(&loop->held_up, calls[i]);
		} else if (!vf_temps_park(loop, calls[i]))
			calls[n++] = calls[i];
	}
	return n;
}

void vf_files_go_on(struct vf_loop *loop)
{
	struct vf_call_list waiting = {0};
	struct vf_call *call;
	if (!loop->held_up.head || !vf_looks_ended(&loop->looks))
		return;
	/* The oldest is put in front last. */
	while ((call = vf_call_list_pop(&loop->held_up)))
		vf_call_list_push_front(&waiting, call);
	while ((call = vf_call_list_pop(&waiting)))
		vf_send_again(loop, call);
}

void vf_files_fail(struct vf_loop *loop, struct vf_call *call)
{
	const struct vf_file *suspect = NULL;
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		const struct vf_file *file = &call->files->items[i];
		if ((vf_files_is_input(file) || file->kind == VF_FILE_READ) && (!suspect || file->kind == VF_FILE_URL))
			suspect = file;
	}
	vf_files_fail_for(loop, call, suspect, "no worker could get it");
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
	vf_declare_end(loop, input);
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

static int is_current(const struct vf_declared *input, const struct vf_file *file, const struct vf_look *now)
{
	return input->modified.tv_sec == now->modified.tv_sec && input->modified.tv_nsec == now->modified.tv_nsec &&
			input->nbytes == now->nbytes && input->inode == now->inode && (file->label || input->version == file->version);
}

/* Let only those bundles know it that have it already. */
static void retire(struct vf_loop *loop, struct vf_declared *input)
{
	hash_table_remove(loop->shelf.by_source, input->source);
	input->stale = 1;
	if (!input->n_users) {
		unlink_idle(&loop->shelf, input);
		forget(loop, input);
	}
}

/* TaskVine would delete it after the first bundle that used it. */
static int is_alone(const struct vf_file *file)
{
	return file->key && file->level == VINE_CACHE_LEVEL_TASK;
}

int vf_files_is_there(void *arg, struct vine_worker_info *worker, struct vine_file *file)
{
	const struct vf_loop *loop = arg;
	const struct vf_declared *input = loop->shelf.by_file ? itable_lookup(loop->shelf.by_file, (uintptr_t)file) : NULL;
	return input && !input->archive && input->name && vine_file_replica_table_lookup(worker, input->name);
}

int vf_files_is_input(const struct vf_file *file)
{
	return file->kind == VF_FILE_INPUT || file->kind == VF_FILE_URL;
}

/* Whether a declaration is known to be that of a file as it is now. What a turn looks at is no older than the calls that it takes. */
static int is_seen(const struct vf_loop *loop, const struct vf_declared *input, const struct vf_file *file)
{
	return input->seen_turn == loop->turn && !input->reason && (file->label || input->version == file->version) &&
			is_its_source(input, file);
}

/* The declaration of a file as it is now, for one more call or bundle. */
static struct vf_declared *use(struct vf_loop *loop, const struct vf_call *call, const struct vf_file *file)
{
	struct vf_shelf *shelf = &loop->shelf;
	struct vf_look now = {0}, declared = {0};
	const struct vf_look *seen = NULL;
	if (!shelf->by_source && !(shelf->by_source = hash_table_create(0, 0)))
		return NULL;
	int alone = is_alone(file);
	struct vf_declared *input = alone ? NULL : hash_table_lookup(shelf->by_source, file->key ? file->key : file->source);
	uint32_t n_failed = 0;
	int own_name = 0;
	if (input && is_seen(loop, input, file)) {
		if (!input->n_users)
			unlink_idle(shelf, input);
		input->n_users++;
		return input;
	}
	if (file->kind == VF_FILE_INPUT) {
		if (!(seen = look_for(loop, call, file)) || seen->error)
			return NULL;
		now = *seen;
	}
	declared = now;
	/* Of files with the same content, the first one is what workers get. */
	if (input && file->label && file->kind == VF_FILE_INPUT && !is_its_source(input, file)) {
		const struct vf_look *first =
				look(loop, vine_file_source(input->archive ? input->archive : input->file), call->submitted_ns);
		declared = first ? *first : (struct vf_look){0};
	}
	if (input && (input->reason || input->spoiled || !is_current(input, file, &declared))) {
		/* TaskVine knows files by size and second of their last change, and a worker would not try for the same name again. */
		own_name = input->reason || input->spoiled || (input->modified.tv_sec == now.modified.tv_sec && input->nbytes == now.nbytes);
		n_failed = input->reason ? input->n_failed + 1 : 0;
		retire(loop, input);
		input = NULL;
	}
	if (input) {
		if (!input->n_users)
			unlink_idle(shelf, input);
	} else {
		if (!(input = vf_declare(loop, file, &now, n_failed, own_name)))
			return NULL;
		if (alone)
			input->stale = input->final = 1;
		else if (!hash_table_insert(shelf->by_source, input->source, input)) {
			vf_declare_end(loop, input);
			return NULL;
		}
	}
	/* Not by a look that is older than the turn: another call may have been submitted since. */
	if (seen != &file->look)
		input->seen_turn = loop->turn;
	input->n_users++;
	return input;
}

void vf_files_begin(struct vf_loop *loop, struct vf_call *call)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		struct vf_file *file = &call->files->items[i];
		file->begun_turn = loop->turn;
		if (vf_files_is_input(file) && !is_alone(file))
			file->declared = use(loop, call, file);
		call->reads |= file->declared || file->kind == VF_FILE_READ;
	}
	vf_temps_begin(loop, call);
}

void vf_files_end(struct vf_loop *loop, struct vf_call *call, int failed)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		struct vf_file *file = &call->files->items[i];
		if (!file->declared)
			continue;
		if (file->declared->datum)
			vf_replica_measure(loop, file->declared->datum);
		release(loop, file->declared);
		file->declared = NULL;
	}
	vf_temps_end(loop, call, failed);
}

void vf_files_spoiled(struct vf_loop *loop, struct vf_call *call)
{
	for (uint32_t i = 0; call->files && i < call->files->n; i++) {
		const struct vf_file *file = &call->files->items[i];
		if (file->kind == VF_FILE_READ)
			vf_temps_spoiled(loop, file->temp);
		if (!vf_files_is_input(file) || !loop->shelf.by_source)
			continue;
		/* Not `file->declared`: since the call came, it may have been declared anew, and that be what its worker had. */
		struct vf_declared *input = hash_table_lookup(loop->shelf.by_source, file->key ? file->key : file->source);
		if (input)
			input->spoiled = 1;
	}
}

const struct vf_datum *vf_files_datum(const struct vf_file *file)
{
	if (file->kind == VF_FILE_READ)
		return file->temp->datum;
	return file->declared ? file->declared->datum : NULL;
}

static int mount(struct vf_loop *loop, struct vf_mounts *mounts, struct vine_task *task, const struct vf_call *call,
		const struct vf_file *file)
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
	struct vf_declared *input = use(loop, call, file);
	if (!input)
		return -1;
	mounts->inputs[mounts->n_inputs++] = input;
	return vine_task_add_input(task, input->file, file->name, file->linked ? VINE_MOUNT_SYMLINK : 0) ? 0 : -1;
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
			if (!is_delivered && mount(loop, mounts, task, bundle->calls[i], &files->items[k]))
				return -1;
		}
	}
	for (uint32_t i = 0; i < mounts->n_inputs; i++)
		bundle->input_nbytes += mounts->inputs[i]->nbytes;
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
		vf_declared_free(value);
	}
	hash_table_delete(shelf->by_source);
	if (shelf->by_file)
		itable_delete(shelf->by_file);
	memset(shelf, 0, sizeof *shelf);
}
