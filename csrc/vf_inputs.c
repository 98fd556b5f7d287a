#include "vf_inputs.h"

#include <string.h>

#include "taskvine_private.h"
#include "vf_call.h"
#include "vf_clock.h"
#include "vf_counters.h"
#include "vf_declare.h"

enum {
	IDLE_MAX = 4096, /* inputs that nobody uses any more, but may again */
	FRESH_MS = 20, /* of a look */
};

static const char *source_of(const struct vf_declared *input)
{
	return vine_file_source(input->archive ? input->archive : input->file);
}

static int is_its_source(const struct vf_declared *input, const struct vf_file *file)
{
	return !strcmp(file->source, source_of(input));
}

static const struct vf_look *look(struct vf_inputs *inputs, const char *source, uint64_t since_ns)
{
	uint64_t before = inputs->looks.n_made, now_ns = vf_now_ns();
	/* Not within a turn: what a call was checked by is what it is sent by. */
	if (inputs->turn != inputs->look_turn && now_ns - inputs->look_ns > FRESH_MS * 1000000u) {
		inputs->look_ns = now_ns;
		inputs->look_span++;
	}
	inputs->look_turn = inputs->turn;
	const struct vf_look *seen = vf_look(&inputs->looks, inputs->look_span, source, since_ns);
	VF_COUNT(inputs->counters, files_looked_at, inputs->looks.n_made - before);
	return seen;
}

const struct vf_look *vf_inputs_look(
		struct vf_inputs *inputs, const struct vf_call *call, const struct vf_file *file)
{
	const struct vf_look *seen = &file->look;
	/* As in look(): the whole turn goes by one time. */
	if (inputs->asked_turn != inputs->turn)
		inputs->asked_ns = vf_now_ns();
	inputs->asked_turn = inputs->turn;
	if (file->begun_turn == inputs->turn && seen->asked_ns &&
			inputs->asked_ns <= seen->asked_ns + FRESH_MS * 1000000u)
		return seen;
	return look(inputs, file->source, call->submitted_ns);
}

int vf_inputs_have_seen(struct vf_inputs *inputs)
{
	return vf_looks_ended(&inputs->looks);
}

struct vf_declared *vf_inputs_find(const struct vf_inputs *inputs, const struct vf_file *file)
{
	return vf_table_find_text(&inputs->by_source, file->key ? file->key : file->source);
}

static void unlink_idle(struct vf_inputs *inputs, struct vf_declared *input)
{
	*(input->newer ? &input->newer->older : &inputs->newest) = input->older;
	*(input->older ? &input->older->newer : &inputs->oldest) = input->newer;
	input->newer = input->older = NULL;
	inputs->n_idle--;
}

static void forget(struct vf_inputs *inputs, struct vf_declared *input)
{
	if (!input->stale)
		vf_table_take_text(&inputs->by_source, input->source);
	vf_declare_end(inputs->declare, input);
}

void vf_inputs_release(struct vf_inputs *inputs, struct vf_declared *input)
{
	if (--input->n_users)
		return;
	if (input->stale) {
		forget(inputs, input);
		return;
	}
	input->older = inputs->newest;
	*(inputs->newest ? &inputs->newest->newer : &inputs->oldest) = input;
	inputs->newest = input;
	if (++inputs->n_idle > IDLE_MAX) {
		struct vf_declared *oldest = inputs->oldest;
		unlink_idle(inputs, oldest);
		forget(inputs, oldest);
	}
}

static int is_current(const struct vf_declared *input, const struct vf_file *file,
		const struct vf_look *now)
{
	return input->modified.tv_sec == now->modified.tv_sec &&
			input->modified.tv_nsec == now->modified.tv_nsec &&
			input->nbytes == now->nbytes && input->inode == now->inode &&
			(file->label || input->version == file->version);
}

/* Let only those bundles know it that have it already. */
static void retire(struct vf_inputs *inputs, struct vf_declared *input)
{
	vf_table_take_text(&inputs->by_source, input->source);
	input->stale = 1;
	if (!input->n_users) {
		unlink_idle(inputs, input);
		forget(inputs, input);
	}
}

/* It is deleted after the first bundle that has used it. */
int vf_inputs_is_alone(const struct vf_file *file)
{
	return file->key && file->level == VINE_CACHE_LEVEL_TASK;
}

int vf_inputs_is_there(const struct vf_inputs *inputs, struct vine_worker_info *worker,
		const struct vine_file *file)
{
	const struct vf_declared *input = vf_declare_find(inputs->declare, file);
	return input && !input->archive && input->name &&
			vine_file_replica_table_lookup(worker, input->name);
}

/* Whether a declaration is known to be that of a file as it is for this turn. The look that said so
may have been made for a call that was submitted before. */
static int is_seen(const struct vf_inputs *inputs, const struct vf_declared *input,
		const struct vf_call *call, const struct vf_file *file)
{
	return input->seen_turn == inputs->turn && input->seen_ns >= call->submitted_ns &&
			!input->reason && (file->label || input->version == file->version) &&
			is_its_source(input, file);
}

struct vf_declared *vf_inputs_use(
		struct vf_inputs *inputs, const struct vf_call *call, const struct vf_file *file)
{
	struct vf_look now = {0}, declared = {0};
	const struct vf_look *seen = NULL;
	uint64_t seen_ns = UINT64_MAX;
	int alone = vf_inputs_is_alone(file);
	struct vf_declared *input = alone ? NULL : vf_inputs_find(inputs, file);
	uint32_t n_failed = 0;
	int own_name = 0;
	if (input && is_seen(inputs, input, call, file)) {
		if (!input->n_users)
			unlink_idle(inputs, input);
		input->n_users++;
		return input;
	}
	if (file->kind == VF_FILE_INPUT) {
		if (!(seen = vf_inputs_look(inputs, call, file)) || seen->error)
			return NULL;
		now = *seen;
		seen_ns = seen->asked_ns;
	}
	declared = now;
	/* Of files with the same content, the first one is what workers get. */
	if (input && file->label && file->kind == VF_FILE_INPUT && !is_its_source(input, file)) {
		const struct vf_look *first = look(inputs, source_of(input), call->submitted_ns);
		declared = first ? *first : (struct vf_look){0};
		if (declared.asked_ns < seen_ns)
			seen_ns = declared.asked_ns;
	}
	if (input && (input->reason || input->spoiled || !is_current(input, file, &declared))) {
		/* TaskVine knows files by size and second of their last change, and a worker would
		not try for the same name again. */
		own_name = input->reason || input->spoiled ||
				(input->modified.tv_sec == now.modified.tv_sec &&
						input->nbytes == now.nbytes);
		n_failed = input->reason ? input->n_failed + 1 : 0;
		retire(inputs, input);
		input = NULL;
	}
	if (input) {
		if (!input->n_users)
			unlink_idle(inputs, input);
	} else {
		if (!(input = vf_declare_input(inputs->declare, file, &now, n_failed, own_name)))
			return NULL;
		if (alone)
			input->stale = input->final = 1;
		else if (vf_table_put_text(&inputs->by_source, input->source, input)) {
			vf_declare_end(inputs->declare, input);
			return NULL;
		}
	}
	input->seen_turn = inputs->turn;
	input->seen_ns = seen_ns;
	input->n_users++;
	return input;
}

void vf_inputs_free(struct vf_inputs *inputs)
{
	vf_looks_free(&inputs->looks);
	vf_table_free(&inputs->by_source);
	inputs->newest = inputs->oldest = NULL;
	inputs->n_idle = 0;
}
