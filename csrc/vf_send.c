#include <math.h>
#include <stdlib.h>

#include "itable.h"
#include "taskvine.h"
#include "vf_turn.h"

void vf_send_again(struct vf_loop *loop, struct vf_call *call)
{
	vf_call_queue_again(call);
	vf_queue_push_front(&loop->queue, call);
	call->spec->group->scored |= call->reads | call->at_home << 1;
	loop->n_waiting++;
}

void vf_send_take(struct vf_loop *loop)
{
	struct vf_link *item = vf_ring_take(&loop->submitted);
	while (item) {
		struct vf_call *call = (struct vf_call *)item;
		item = item->next;
		if (call->files)
			vf_files_begin(loop, call);
		vf_queue_push(&loop->queue, call);
		call->spec->group->scored |= call->reads;
		loop->n_waiting++;
	}
}

/* A bundle with several functions has the category of its first call. */
static const char *category_of(const struct vf_loop *loop, const struct vf_call *call)
{
	if (call->spec->category)
		return call->spec->category;
	return loop->config.category ? loop->config.category : call->function->name;
}

static void apply_spec(struct vf_loop *loop, struct vine_task *task, const struct vf_call *call)
{
	const struct vf_spec *spec = call->spec;
	const char *category = category_of(loop, call);
	int labelled = loop->config.allocation_mode >= 0;
	vine_task_set_priority(task, spec->priority);
	vine_task_set_category(task, category);
	if (loop->config.slow_factor > 0) /* what holds for all categories, TaskVine forgets while the category "default" has no tasks */
		vine_enable_disconnect_slow_workers_category(loop->manager, category, loop->config.slow_factor);
	if (labelled)
		vine_set_category_mode(loop->manager, category, (vine_category_mode_t)loop->config.allocation_mode);
	if (spec->running_time_min >= 0)
		vine_task_set_time_min(task, spec->running_time_min);
	if (!loop->config.command)
		return; /* a function call takes a slot of its library; the library holds the resources */
	const struct vf_resources *needs = &spec->needs;
	if (needs->cores >= 0 || !labelled)
		vine_task_set_cores(task, needs->cores >= 0 ? (int)ceil(needs->cores) : 1);
	if (needs->memory >= 0)
		vine_task_set_memory(task, (int64_t)needs->memory);
	if (needs->disk >= 0)
		vine_task_set_disk(task, (int64_t)needs->disk);
	if (needs->gpus >= 0)
		vine_task_set_gpus(task, (int)needs->gpus);
}

static struct vine_task *make_task(struct vf_loop *loop, struct vf_bundle *bundle)
{
	const struct vf_loop_config *config = &loop->config;
	int spill = config->command || loop->frame.nbytes > config->inline_nbytes;

	const char *command = config->command;
	if (!command) {
		command = VF_COMMAND_IN_FILE;
		if (!spill) {
			if (vf_frame_encode(&loop->command, &loop->frame))
				return NULL;
			command = loop->command.data;
		}
	}
	struct vine_task *task = vine_task_create(command);
	if (!task)
		return NULL;
	if (spill) {
		bundle->spilled = vine_declare_buffer(loop->manager, loop->frame.data, loop->frame.nbytes, VINE_CACHE_LEVEL_TASK, 0);
		if (!bundle->spilled || !vine_task_add_input(task, bundle->spilled, VF_FRAME_FILE, 0)) {
			vine_task_delete(task);
			return NULL;
		}
		VF_COUNT(loop, bundles_spilled, 1);
	}
	if (config->command) {
		for (uint32_t i = 0; i < config->n_inputs; i++)
			vine_task_add_input(task, config->inputs[i], config->input_names[i], 0);
		for (uint32_t i = 0; i + 1 < config->n_env; i += 2)
			vine_task_set_env_var(task, config->env[i], config->env[i + 1]);
	} else {
		vine_task_set_library_required(task, config->library);
	}
	if (vf_files_mount(loop, bundle, task)) {
		vine_task_delete(task);
		return NULL;
	}
	if (config->max_retries >= 0)
		vine_task_set_retries(task, config->max_retries);
	if (bundle->n_calls)
		apply_spec(loop, task, bundle->calls[0]);
	else
		vine_task_set_category(task, config->library); /* it takes as long as the library to start */
	if (!bundle->n_calls && config->command)
		vine_task_set_cores(task, 1);
	return task;
}

void vf_send_bundle(struct vf_loop *loop, uint32_t n_calls, struct vf_call *const *calls, struct vf_worker *worker, double expected_ns)
{
	uint64_t start_ns = vf_now_ns();
	struct vf_bundle *bundle = vf_bundle_create(n_calls, calls);
	struct vine_task *task = NULL;
	int id = 0;
	double needed = n_calls ? calls[0]->spec->needs.cores : 0;
	uint32_t cores = needed > 0 ? (uint32_t)ceil(needed) : 0;

	if (bundle && n_calls && vf_watch_is_hopeless(loop)) {
		vf_return_failed(loop, bundle, VINE_RESULT_LIBRARY_EXIT, vf_watch_why_hopeless());
		return;
	}
	if (bundle && vf_frame_pack(&loop->frame, calls, n_calls, loop->config.slice_ms, cores, ++loop->stamp) == 0) {
		task = make_task(loop, bundle);
		id = task ? vine_submit(loop->manager, task) : 0;
	}
	if (!id) {
		if (task)
			vine_task_delete(task);
		if (bundle) {
			vf_files_unmount(loop, bundle);
			vf_return_failed(loop, bundle, VINE_RESULT_UNKNOWN, "TaskVine refused the task, or memory is short");
		}
		return; /* without memory for the bundle itself its calls stay outstanding: the engine is about to die anyway */
	}
	bundle->task = task;
	bundle->expected_ns = expected_ns;
	bundle->sent_ns = vf_now_ns();
	VF_COUNT(loop, pack_ns, bundle->sent_ns - start_ns);
	itable_insert(loop->bundles, (uint64_t)id, bundle);
	loop->running += n_calls > 0;
	if (vf_temps_mount(loop, bundle, task))
		vf_watch_abandon(loop, bundle);
	vf_place_begin(loop, bundle);
	vf_place_bundle(loop, bundle, worker);
	VF_COUNT(loop, bundles_sent, 1);
	VF_COUNT(loop, calls_sent, n_calls);
	VF_COUNT(loop, bytes_sent, loop->frame.nbytes);
}

static void drop_cancelled(struct vf_loop *loop, struct vf_call_list *cancelled)
{
	uint32_t n = (uint32_t)cancelled->n;
	if (!n)
		return;
	loop->n_waiting -= n;
	uint32_t i = 0;
	struct vf_call **calls = calloc(n, sizeof *calls);
	struct vf_call *call;
	while (calls && (call = vf_call_list_pop(cancelled)))
		calls[i++] = call;
	struct vf_bundle *bundle = calls ? vf_bundle_create(n, calls) : NULL;
	if (bundle)
		vf_return_failed(loop, bundle, VINE_RESULT_CANCELLED, NULL);
	free(calls);
}

/* Calls that no worker has room for leave when they are cancelled, as others do when their turn comes. */
static void drop_cancelled_head(struct vf_loop *loop, struct vf_group *group)
{
	struct vf_call_list cancelled = {0};
	struct vf_spec *spec = vf_group_first(group);
	while (spec && vf_call_is_cancelled(spec->waiting.head)) {
		vf_call_list_push(&cancelled, vf_call_list_pop(&spec->waiting));
		spec = vf_queue_next(&loop->queue, group, 1);
	}
	drop_cancelled(loop, &cancelled);
}

static struct vf_choice begin(struct vf_loop *loop, uint64_t n_waiting, uint32_t slots)
{
	return (struct vf_choice){.rule = loop->config.rule, .n_waiting = n_waiting, .slots = slots, .calls = loop->chosen};
}

/* Send what was chosen. */
static void send_chosen(struct vf_loop *loop, struct vf_choice *choice, struct vf_worker *worker)
{
	loop->n_waiting -= choice->n;
	drop_cancelled(loop, &choice->cancelled);
	uint32_t n = vf_files_check(loop, choice->n, choice->calls);
	if (n)
		vf_send_bundle(loop, n, choice->calls, worker, choice->expected_ns);
}

/* Make a bundle of the calls of a group that go next and send it. */
static void send_from(struct vf_loop *loop, struct vf_group *group, struct vf_worker *worker)
{
	struct vf_spec *spec = vf_group_first(group);
	uint32_t slots = (uint32_t)atomic_load_explicit(&loop->counters.slots, memory_order_relaxed);
	struct vf_choice choice = begin(loop, loop->n_waiting, slots / (worker ? vf_worker_share(worker, &spec->needs) : 1));
	int more = 1;
	while (more && spec) {
		uint64_t before = spec->waiting.n;
		more = vf_bundle_choose(&choice, &spec->waiting);
		spec = vf_queue_next(&loop->queue, group, before - spec->waiting.n);
	}
	send_chosen(loop, &choice, worker);
}

static int was_dealt_some(void *arg, struct vf_worker *worker)
{
	(void)arg;
	return worker->dealt.n > 0;
}

/* Send calls that read files to where these lie. Tells whether anything was sent, negative if they cannot be scored. */
static int send_scored(struct vf_loop *loop, struct vf_group *group)
{
	const struct vf_resources needs = vf_group_first(group)->needs;
	struct vf_worker *worker = vf_workers_choose(&loop->workers, &needs, vf_now_ns(), NULL, NULL);
	int sent = 0;
	if (!worker)
		return 0;
	if (vf_score_deal(loop, group))
		return -1;
	while ((worker = vf_workers_choose(&loop->workers, &needs, vf_now_ns(), was_dealt_some, NULL))) {
		uint32_t slots = worker->slots ? worker->slots : loop->workers.typical_slots;
		struct vf_choice choice = begin(loop, worker->dealt.n, slots / vf_worker_share(worker, &needs));
		vf_bundle_choose(&choice, &worker->dealt);
		send_chosen(loop, &choice, worker);
		sent = 1;
	}
	vf_score_gather(loop);
	return sent;
}

/* No worker has room for the calls of a group in this turn. Tells whether none has for any call. */
static int pass(struct vf_loop *loop, struct vf_group *group)
{
	const struct vf_resources needs = vf_group_first(group)->needs;
	if (!loop->config.placing || !vf_needs_any(&needs))
		return 1;
	drop_cancelled_head(loop, group);
	vf_workers_reserve(&loop->workers, &needs);
	return 0;
}

/* In regular mode TaskVine chooses the worker. It would keep a task that is too large for all of them, in the place of others. */
static int is_held_back(const struct vf_loop *loop, const struct vf_spec *spec)
{
	return loop->config.command && vf_needs_any(&spec->needs) && !vf_watch_fits(loop, &spec->needs);
}

/* What became of a group in this turn. */
enum served {
	SERVED_SENT,   /* something was sent, and more may be */
	SERVED_PASSED, /* no worker takes its calls */
	SERVED_FULL,   /* no worker takes any */
};

static enum served serve(struct vf_loop *loop, struct vf_group *group)
{
	const struct vf_spec *spec = vf_group_first(group);
	struct vf_worker *worker;
	if (is_held_back(loop, spec)) {
		drop_cancelled_head(loop, group);
		return SERVED_PASSED;
	}
	int is_scored = loop->config.placing && (loop->config.locality ? group->scored : group->scored & 2);
	int sent = is_scored ? send_scored(loop, group) : -1;
	if (sent > 0)
		return SERVED_SENT;
	if (sent == 0 && vf_workers_choose(&loop->workers, &spec->needs, vf_now_ns(), NULL, NULL))
		return SERVED_PASSED; /* all that wait do so for a worker that has their files */
	if (sent == 0 || !vf_place_next(loop, spec, &worker))
		return pass(loop, group) ? SERVED_FULL : SERVED_PASSED;
	send_from(loop, group, worker);
	return SERVED_SENT;
}

int vf_send_waiting(struct vf_loop *loop)
{
	struct vf_group *group, *passed = NULL;
	enum served served = SERVED_SENT;

	vf_place_unplaced(loop);
	loop->workers.reserved = NULL;
	while (served != SERVED_FULL && (group = vf_queue_take(&loop->queue))) {
		served = serve(loop, group);
		if (served == SERVED_PASSED) {
			group->next_passed = passed;
			passed = group;
		} else {
			vf_queue_put(&loop->queue, group);
		}
	}
	while ((group = passed)) {
		passed = group->next_passed;
		vf_queue_put(&loop->queue, group);
	}
	VF_SET(loop, calls_waiting, loop->n_waiting);
	VF_SET(loop, bundles_running, loop->running);
	return served == SERVED_FULL;
}
