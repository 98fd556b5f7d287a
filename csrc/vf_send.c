#include "vf_send.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "taskvine.h"
#include "vf_bundle.h"
#include "vf_call.h"
#include "vf_clock.h"
#include "vf_config.h"
#include "vf_counters.h"
#include "vf_end.h"
#include "vf_file.h"
#include "vf_files.h"
#include "vf_inflight.h"
#include "vf_library.h"
#include "vf_place.h"
#include "vf_queue.h"
#include "vf_score.h"
#include "vf_temps.h"
#include "vf_waiting.h"
#include "vf_workers.h"

void vf_send_free(struct vf_send *send)
{
	vf_buffer_free(&send->frame);
	vf_buffer_free(&send->command);
}

void vf_send_trim(struct vf_send *send)
{
	vf_buffer_trim(&send->frame);
	vf_buffer_trim(&send->command);
}

void vf_send_take(struct vf_send *send, struct vf_link *submitted)
{
	while (submitted) {
		struct vf_call *call = (struct vf_call *)submitted;
		submitted = submitted->next;
		if (call->files)
			vf_files_begin(send->files, call);
		vf_waiting_add(send->waiting, call);
		send->n_taken++;
	}
}

/* A bundle with several functions has the category of its first call. */
static const char *category_of(const struct vf_send *send, const struct vf_call *call)
{
	if (call->spec->category)
		return call->spec->category;
	return send->config->category ? send->config->category : call->function->name;
}

static void apply_spec(struct vf_send *send, struct vine_task *task, const struct vf_call *call)
{
	const struct vf_spec *spec = call->spec;
	const char *category = category_of(send, call);
	int labelled = send->config->allocation_mode >= 0;
	vine_task_set_priority(task, spec->priority);
	vine_task_set_category(task, category);
	/* What holds for all categories, TaskVine forgets while the category "default" has no
	tasks. */
	if (send->config->slow_factor > 0)
		vine_enable_disconnect_slow_workers_category(
				send->config->manager, category, send->config->slow_factor);
	if (labelled)
		vine_set_category_mode(send->config->manager, category,
				(vine_category_mode_t)send->config->allocation_mode);
	if (spec->running_time_min >= 0)
		vine_task_set_time_min(task, spec->running_time_min);
	/* A function call takes a slot of its library; the library holds the resources. */
	if (!send->config->command)
		return;
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

/* In regular mode, where COMMAND is the shell's. */
static void limit_memory(struct vine_task *task, uint64_t memory_mb)
{
	char words[32];
	snprintf(words, sizeof words, "%" PRIu64, memory_mb);
	vine_task_set_env_var(task, VF_VINEFAST_MEMORY_LIMIT_MB, words);
}

static struct vine_task *make_task(struct vf_send *send, struct vf_bundle *bundle)
{
	const struct vf_config *config = send->config;
	int spill = config->command || send->frame.nbytes > config->inline_nbytes;
	uint64_t memory_limit = bundle->n_calls ? bundle->calls[0]->spec->memory_limit : 0;

	const char *command = config->command;
	if (!command) {
		command = VF_COMMAND_IN_FILE;
		if (!spill) {
			if (vf_frame_encode(&send->command, &send->frame))
				return NULL;
			command = send->command.data;
		}
		if (memory_limit) {
			if (vf_frame_limit(&send->command, command, memory_limit))
				return NULL;
			command = send->command.data;
		}
	}
	struct vine_task *task = vine_task_create(command);
	if (!task)
		return NULL;
	if (spill) {
		bundle->spilled = vine_declare_buffer(send->config->manager, send->frame.data,
				send->frame.nbytes, VINE_CACHE_LEVEL_TASK, 0);
		if (!bundle->spilled ||
				!vine_task_add_input(task, bundle->spilled, VF_FRAME_FILE, 0)) {
			vine_task_delete(task);
			return NULL;
		}
		VF_COUNT(send->counters, bundles_spilled, 1);
	}
	if (config->command) {
		for (uint32_t i = 0; i < config->n_inputs; i++)
			vine_task_add_input(task, config->inputs[i], config->input_names[i], 0);
		for (uint32_t i = 0; i + 1 < config->n_env; i += 2)
			vine_task_set_env_var(task, config->env[i], config->env[i + 1]);
		if (memory_limit)
			limit_memory(task, memory_limit);
	} else {
		vine_task_set_library_required(task, config->library);
	}
	if (vf_files_mount(send->files, bundle, task)) {
		vine_task_delete(task);
		return NULL;
	}
	if (config->max_retries >= 0)
		vine_task_set_retries(task, config->max_retries);
	if (bundle->n_calls)
		apply_spec(send, task, bundle->calls[0]);
	else
		vine_task_set_category(task, config->library); /* it takes as long to start */
	if (!bundle->n_calls && config->command)
		vine_task_set_cores(task, 1);
	return task;
}

/* A bundle that TaskVine does not have: its calls fail. */
static void refuse(struct vf_send *send, struct vf_bundle *bundle)
{
	if (bundle->spilled)
		vine_undeclare_file(send->config->manager, bundle->spilled);
	bundle->spilled = NULL;
	vf_files_unmount(send->files, bundle);
	vf_end_failed(send->end, bundle, VINE_RESULT_UNKNOWN,
			"TaskVine refused the task, or memory is short");
}

/* Give a bundle to TaskVine. Tells whether it has it. */
static int submit(struct vf_send *send, struct vf_bundle *bundle)
{
	struct vine_task *task = make_task(send, bundle);
	return task && !vf_inflight_submit(send->inflight, send->config->manager, bundle, task);
}

/* Send one bundle, to `worker` unless that is NULL; with no calls, one that only makes TaskVine
start a library. */
static void send_bundle(struct vf_send *send, uint32_t n_calls, struct vf_call *const *calls,
		struct vf_worker *worker, double expected_ns)
{
	uint64_t start_ns = vf_now_ns();
	struct vf_bundle *bundle = vf_bundle_create(n_calls, calls);
	struct vf_terms terms = {.slice_ms = send->config->slice_ms};
	if (n_calls) {
		const struct vf_spec *spec = calls[0]->spec;
		terms.cores = spec->needs.cores > 0 ? (uint32_t)ceil(spec->needs.cores) : 0;
		terms.limit_ms = spec->limit_ms;
		terms.flags = spec->captures ? VF_BUNDLE_CAPTURES : 0;
	}

	if (!bundle) {
		for (uint32_t i = 0; i < n_calls; i++)
			vf_waiting_for_memory(send->waiting, calls[i]);
		return;
	}
	if (n_calls && vf_library_is_hopeless(send->library)) {
		vf_end_failed(send->end, bundle, VINE_RESULT_LIBRARY_EXIT,
				vf_library_why_hopeless());
		return;
	}
	if (vf_frame_pack(&send->frame, calls, n_calls, &terms, ++send->stamp) ||
			!submit(send, bundle)) {
		refuse(send, bundle);
		return;
	}
	bundle->expected_ns = expected_ns;
	bundle->sent_ns = vf_now_ns();
	VF_COUNT(send->counters, pack_ns, bundle->sent_ns - start_ns);
	if (vf_temps_mount(send->temps, bundle, bundle->task))
		vf_inflight_give_up(send->inflight, bundle);
	vf_place_begin(send->place, bundle);
	vf_place_bundle(send->place, bundle, worker);
	bundle->stages.sent_nbytes = send->frame.nbytes;
	VF_COUNT(send->counters, bundles_sent, 1);
	VF_COUNT(send->counters, calls_sent, n_calls);
	VF_COUNT(send->counters, bytes_sent, send->frame.nbytes);
}

static void drop_cancelled(struct vf_send *send, struct vf_call_list *cancelled)
{
	uint32_t n = (uint32_t)cancelled->n;
	if (!n)
		return;
	send->waiting->n -= n;
	struct vf_bundle *bundle = vf_bundle_create(n, NULL);
	struct vf_call *call;
	for (uint32_t i = 0; (call = vf_call_list_pop(cancelled)); i++) {
		if (bundle)
			bundle->calls[i] = call;
		else
			vf_waiting_for_memory(send->waiting, call);
	}
	if (bundle)
		vf_end_failed(send->end, bundle, VINE_RESULT_CANCELLED, NULL);
}

/* Calls that no worker has room for leave when they are cancelled, as others do when their turn
comes. */
static void drop_cancelled_head(struct vf_send *send, struct vf_group *group)
{
	struct vf_call_list cancelled = {0};
	struct vf_spec *spec = vf_queue_first(group);
	while (spec && vf_call_is_cancelled(spec->waiting.head)) {
		vf_call_list_push(&cancelled, vf_call_list_pop(&spec->waiting));
		spec = vf_queue_next(&send->waiting->queue, group, 1);
	}
	drop_cancelled(send, &cancelled);
}

static struct vf_sizing_choice begin(struct vf_send *send, uint64_t n_waiting, uint32_t slots)
{
	return (struct vf_sizing_choice){.rule = send->config->rule,
			.n_waiting = n_waiting,
			.slots = slots,
			.calls = send->chosen};
}

/* Take out those of the calls that fail, or wait, for a file; returns how many are left, in
order. */
static uint32_t admit(struct vf_send *send, uint32_t n_calls, struct vf_call **calls)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < n_calls; i++) {
		if (!calls[i]->files) {
			calls[n++] = calls[i];
			continue;
		}
		struct vf_files_verdict verdict = vf_files_check(send->files, calls[i]);
		switch (verdict.what) {
		case VF_FILES_GO:
			calls[n++] = calls[i];
			break;
		case VF_FILES_UNKNOWN:
			vf_waiting_hold_up(send->waiting, calls[i]);
			break;
		case VF_FILES_WAIT:
			break;
		case VF_FILES_FAILED:
			vf_end_for_file(send->end, calls[i], verdict.file, verdict.why);
			break;
		}
	}
	return n;
}

/* Send what was chosen. */
static void send_chosen(
		struct vf_send *send, struct vf_sizing_choice *choice, struct vf_worker *worker)
{
	send->waiting->n -= choice->n;
	drop_cancelled(send, &choice->cancelled);
	uint32_t n = admit(send, choice->n, choice->calls);
	if (n)
		send_bundle(send, n, choice->calls, worker, choice->expected_ns);
}

/* Make a bundle of the calls of a group that go next and send it. */
static void send_from(struct vf_send *send, struct vf_group *group, struct vf_worker *worker)
{
	struct vf_spec *spec = vf_queue_first(group);
	uint32_t slots = (uint32_t)VF_GET(send->counters, slots);
	struct vf_sizing_choice choice = begin(send, send->waiting->n,
			slots / (worker ? vf_worker_share(worker, &spec->needs) : 1));
	int more = 1;
	while (more && spec) {
		uint64_t before = spec->waiting.n;
		more = vf_sizing_choose(&choice, &spec->waiting);
		spec = vf_queue_next(&send->waiting->queue, group, before - spec->waiting.n);
	}
	send_chosen(send, &choice, worker);
}

static int was_dealt_some(void *arg, struct vf_worker *worker)
{
	(void)arg;
	return worker->dealt.n > 0;
}

/* Send calls that read files to where these lie. Tells whether anything was sent, negative if they
cannot be scored. */
static int send_scored(struct vf_send *send, struct vf_group *group)
{
	const struct vf_resources needs = vf_queue_first(group)->needs;
	struct vf_worker *worker =
			vf_workers_choose(send->workers, &needs, vf_now_ns(), NULL, NULL);
	int sent = 0;
	if (!worker)
		return 0;
	if (vf_score_deal(send->score, group))
		return -1;
	while ((worker = vf_workers_choose(
				send->workers, &needs, vf_now_ns(), was_dealt_some, NULL))) {
		uint32_t slots = worker->slots ? worker->slots : send->workers->typical_slots;
		struct vf_sizing_choice choice = begin(
				send, worker->dealt.n, slots / vf_worker_share(worker, &needs));
		vf_sizing_choose(&choice, &worker->dealt);
		send_chosen(send, &choice, worker);
		sent = 1;
	}
	/* One that has the files of such calls would take others for ever. */
	if (!sent && vf_resources_any(&needs))
		vf_workers_reserve(send->workers, &needs, was_dealt_some, NULL);
	vf_score_gather(send->score);
	return sent;
}

/* No worker has room for the calls of a group in this turn. Tells whether none has for any call. */
static int pass(struct vf_send *send, struct vf_group *group)
{
	const struct vf_resources needs = vf_queue_first(group)->needs;
	if (!send->config->placing || !vf_resources_any(&needs))
		return 1;
	drop_cancelled_head(send, group);
	vf_workers_reserve(send->workers, &needs, NULL, NULL);
	return 0;
}

/* In regular mode TaskVine chooses the worker. It would keep a task that is too large for all of
them, in the place of others. */
static int is_held_back(const struct vf_send *send, const struct vf_spec *spec)
{
	return send->config->command && vf_resources_any(&spec->needs) &&
			!vf_place_fits(send->place, &spec->needs);
}

/* What became of a group in this turn. */
enum served {
	SERVED_SENT,   /* something was sent, and more may be */
	SERVED_PASSED, /* no worker takes its calls */
	SERVED_FULL,   /* no worker takes any */
};

static enum served serve(struct vf_send *send, struct vf_group *group)
{
	const struct vf_spec *spec = vf_queue_first(group);
	struct vf_worker *worker;
	/* It fails: also what would wait until something is known of a worker, which a library that
	always ends never tells. */
	if (vf_library_is_hopeless(send->library)) {
		send_from(send, group, NULL);
		return SERVED_SENT;
	}
	if (is_held_back(send, spec)) {
		drop_cancelled_head(send, group);
		return SERVED_PASSED;
	}
	int is_scored = send->config->placing &&
			(send->config->locality ? group->scored : group->scored & 2);
	int sent = is_scored ? send_scored(send, group) : -1;
	if (sent > 0)
		return SERVED_SENT;
	if (sent == 0 && vf_workers_choose(send->workers, &spec->needs, vf_now_ns(), NULL, NULL))
		return SERVED_PASSED; /* all that wait do so for a worker that has their files */
	if (sent == 0 || !vf_place_next(send->place, spec, &worker))
		return pass(send, group) ? SERVED_FULL : SERVED_PASSED;
	send_from(send, group, worker);
	return SERVED_SENT;
}

void vf_send_count(struct vf_send *send)
{
	VF_SET(send->counters, calls_waiting,
			send->waiting->n + send->waiting->held_up.n +
					vf_place_calls_unplaced(send->place));
	VF_SET(send->counters, calls_taken, send->n_taken); /* after what has these among them */
	VF_SET(send->counters, bundles_running, send->inflight->n);
}

int vf_send_waiting(struct vf_send *send)
{
	struct vf_group *group, *passed = NULL;
	enum served served = SERVED_SENT;

	vf_place_unplaced(send->place);
	send->workers->reserved = NULL;
	while (served != SERVED_FULL && (group = vf_queue_take(&send->waiting->queue))) {
		served = serve(send, group);
		if (served == SERVED_PASSED) {
			group->next_passed = passed;
			passed = group;
		} else {
			vf_queue_put(&send->waiting->queue, group);
		}
	}
	while ((group = passed)) {
		passed = group->next_passed;
		vf_queue_put(&send->waiting->queue, group);
	}
	vf_send_count(send);
	return served == SERVED_FULL;
}

void vf_send_warm_up(struct vf_send *send)
{
	if (!send->workers->typical_slots)
		return;
	for (uint32_t i = 0; i < send->workers->n; i++) {
		struct vf_worker *worker = send->workers->items[i];
		int is_to_have = worker->warm == VF_WORKER_COLD ||
				(worker->warm == VF_WORKER_LOST_FIRST && send->waiting->n);
		if (!is_to_have)
			continue;
		send_bundle(send, 0, NULL, worker, -1);
		worker->warm = VF_WORKER_WARM;
	}
}
