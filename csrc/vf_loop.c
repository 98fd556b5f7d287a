#include "vf_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "itable.h"
#include "taskvine.h"
#include "vf_poll.h"

enum {
	WAIT_SECONDS = 5, /* turns happen inside vine_wait(), so its length hardly matters */
	STATS_INTERVAL_MS = 100,
	ORPHAN_GRACE_MS = 500,
	LOOKAHEAD = 1, /* bundles beyond the known slots, to find a slot that the last count did not know of */
};

uint64_t vf_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#define COUNT(loop, name, n) atomic_fetch_add_explicit(&(loop)->counters.name, (n), memory_order_relaxed)
#define SET(loop, name, n) atomic_store_explicit(&(loop)->counters.name, (n), memory_order_relaxed)

int vf_loop_init(struct vf_loop *loop)
{
	memset(loop, 0, sizeof *loop);
	loop->submitted_wake.fd = loop->done_wake.fd = -1;
	loop->polled_workers = -1;
	vf_ring_init(&loop->submitted);
	vf_ring_init(&loop->done);
	loop->bundles = itable_create(0);
	if (vf_wake_open(&loop->submitted_wake) || vf_wake_open(&loop->done_wake) || !loop->bundles) {
		vf_loop_free(loop);
		return -1;
	}
	return 0;
}

void vf_loop_free(struct vf_loop *loop)
{
	vf_wake_close(&loop->submitted_wake);
	vf_wake_close(&loop->done_wake);
	vf_buffer_free(&loop->frame);
	vf_buffer_free(&loop->command);
	if (loop->bundles)
		itable_delete(loop->bundles);
	loop->bundles = NULL;
}

void vf_loop_submit(struct vf_loop *loop, struct vf_call *call)
{
	vf_ring_push(&loop->submitted, &call->link);
	vf_wake_signal(&loop->submitted_wake);
}

void vf_loop_stop(struct vf_loop *loop)
{
	atomic_store(&loop->stop, 1);
	vf_wake_force(&loop->submitted_wake);
}

void vf_loop_count(struct vf_loop *loop, struct vf_snapshot *snapshot)
{
#define VF_LOAD(name) snapshot->name = atomic_load_explicit(&loop->counters.name, memory_order_relaxed);
	VF_COUNTERS(VF_LOAD)
#undef VF_LOAD
}

/* ---- the way back: bundles that are done ---- */

static struct vf_bundle *bundle_create(uint32_t n_calls, struct vf_call *const *calls)
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
	memcpy(bundle->calls, calls, n_calls * sizeof bundle->calls[0]);
	return bundle;
}

void vf_bundle_free(struct vf_bundle *bundle)
{
	free(bundle->outcomes);
	free(bundle->frame);
	free(bundle);
}

static void hand_over(struct vf_loop *loop, struct vf_bundle *bundle)
{
	if (bundle->n_outcomes == 0) {
		vf_bundle_free(bundle);
		return;
	}
	vf_ring_push(&loop->done, &bundle->link);
	vf_wake_signal(&loop->done_wake);
}

struct vf_bundle *vf_loop_take_done(struct vf_loop *loop)
{
	for (;;) {
		struct vf_link *done = vf_ring_take(&loop->done);
		if (done)
			return (struct vf_bundle *)done;
		if (atomic_load(&loop->done_closed))
			return NULL;
		vf_wake_park(&loop->done_wake);
		if (vf_ring_empty(&loop->done) && !atomic_load(&loop->done_closed))
			vf_poll_one(loop->done_wake.fd);
		vf_wake_done(&loop->done_wake);
	}
}

void vf_loop_close_done(struct vf_loop *loop)
{
	atomic_store(&loop->done_closed, 1);
	vf_wake_signal(&loop->done_wake);
}

/* Fail all calls of a bundle with the engine's result code. */
static void fail_bundle(struct vf_loop *loop, struct vf_bundle *bundle, int engine_result, const char *text)
{
	bundle->engine_result = engine_result;
	bundle->frame = text ? strdup(text) : NULL;
	bundle->n_outcomes = bundle->n_calls;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		bundle->outcomes[i].call = bundle->calls[i];
		bundle->outcomes[i].record.status = VF_STATUS_ENGINE;
	}
	COUNT(loop, calls_returned, bundle->n_calls);
	hand_over(loop, bundle);
}

/* ---- the way out: waiting calls and bundles ---- */

static void wait_again(struct vf_loop *loop, struct vf_call *call)
{
	atomic_store(&call->state, VF_CALL_QUEUED);
	vf_call_list_push_front(&call->spec->waiting, call);
	loop->n_waiting++;
}

static void know_spec(struct vf_loop *loop, struct vf_spec *spec)
{
	struct vf_spec **at = &loop->specs;
	while (*at && (*at)->priority >= spec->priority)
		at = &(*at)->next;
	spec->next = *at;
	*at = spec;
	spec->known = 1;
}

static void take_submitted(struct vf_loop *loop)
{
	struct vf_link *item = vf_ring_take(&loop->submitted);
	while (item) {
		struct vf_call *call = (struct vf_call *)item;
		item = item->next;
		if (!call->spec->known)
			know_spec(loop, call->spec);
		vf_call_list_push(&call->spec->waiting, call);
		loop->n_waiting++;
	}
}

/* The specification to serve next: the highest priority that has calls waiting, and among equals the one that waits longest. */
static struct vf_spec *choose_spec(struct vf_loop *loop)
{
	struct vf_spec *best = NULL;
	for (struct vf_spec *spec = loop->specs; spec; spec = spec->next) {
		if (!spec->waiting.head)
			continue;
		if (best && spec->priority < best->priority)
			break;
		if (!best || spec->waiting.head->submitted_ns < best->waiting.head->submitted_ns)
			best = spec;
	}
	return best;
}

static void apply_spec(struct vine_task *task, const struct vf_spec *spec, int fresh_process)
{
	vine_task_set_priority(task, spec->priority);
	if (spec->category)
		vine_task_set_category(task, spec->category);
	if (spec->running_time_min >= 0)
		vine_task_set_time_min(task, spec->running_time_min);
	if (!fresh_process)
		return; /* a function call takes a slot of its library; the library holds the resources */
	vine_task_set_cores(task, spec->cores >= 0 ? (int)spec->cores : 1);
	if (spec->memory >= 0)
		vine_task_set_memory(task, spec->memory);
	if (spec->disk >= 0)
		vine_task_set_disk(task, spec->disk);
	if (spec->gpus >= 0)
		vine_task_set_gpus(task, (int)spec->gpus);
}

static struct vine_task *make_task(struct vf_loop *loop, struct vf_bundle *bundle)
{
	const struct vf_loop_config *config = &loop->config;
	int spill = config->command || loop->frame.nbytes > config->inline_nbytes;

	const char *command = config->command;
	if (!command) {
		command = "F";
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
		if (!bundle->spilled || !vine_task_add_input(task, bundle->spilled, "frame", 0)) {
			vine_task_delete(task);
			return NULL;
		}
		COUNT(loop, bundles_spilled, 1);
	}
	if (config->command) {
		for (uint32_t i = 0; i < config->n_inputs; i++)
			vine_task_add_input(task, config->inputs[i], config->input_names[i], 0);
		for (uint32_t i = 0; i + 1 < config->n_env; i += 2)
			vine_task_set_env_var(task, config->env[i], config->env[i + 1]);
	} else {
		vine_task_set_library_required(task, config->library);
	}
	if (config->max_retries >= 0)
		vine_task_set_retries(task, config->max_retries);
	if (bundle->n_calls)
		apply_spec(task, bundle->calls[0]->spec, config->command != NULL);
	return task;
}

static void send_bundle(struct vf_loop *loop, uint32_t n_calls, struct vf_call *const *calls)
{
	struct vf_bundle *bundle = bundle_create(n_calls, calls);
	struct vine_task *task = NULL;
	int id = 0;

	if (bundle && vf_frame_pack(&loop->frame, calls, n_calls, loop->config.slice_ms, ++loop->stamp) == 0) {
		task = make_task(loop, bundle);
		id = task ? vine_submit(loop->manager, task) : 0;
	}
	if (!id) {
		if (task)
			vine_task_delete(task);
		if (bundle)
			fail_bundle(loop, bundle, VINE_RESULT_UNKNOWN, "TaskVine refused the task, or memory is short");
		return; /* without memory for the bundle itself its calls stay outstanding: the engine is about to die anyway */
	}
	bundle->task = task;
	bundle->sent_ns = vf_now_ns();
	itable_insert(loop->bundles, (uint64_t)id, bundle);
	loop->running++;
	COUNT(loop, bundles_sent, 1);
	COUNT(loop, calls_sent, n_calls);
	COUNT(loop, bytes_sent, loop->frame.nbytes);
}

static void drop_cancelled(struct vf_loop *loop, struct vf_call_list *cancelled, uint32_t n)
{
	uint32_t i = 0;
	struct vf_call **calls = calloc(n, sizeof *calls);
	struct vf_call *call;
	while (calls && (call = vf_call_list_pop(cancelled)))
		calls[i++] = call;
	struct vf_bundle *bundle = calls ? bundle_create(n, calls) : NULL;
	if (bundle)
		fail_bundle(loop, bundle, VINE_RESULT_CANCELLED, NULL);
	free(calls);
}

static void pack(struct vf_loop *loop)
{
	uint32_t slots = (uint32_t)atomic_load_explicit(&loop->counters.slots, memory_order_relaxed);
	uint32_t window = slots + LOOKAHEAD;

	while (loop->n_waiting && loop->running < window) {
		struct vf_spec *spec = choose_spec(loop);
		struct vf_call_list cancelled = {0};
		uint32_t n_cancelled = 0;
		uint32_t n = vf_bundle_choose(&loop->config.rule, &spec->waiting, loop->n_waiting, slots, loop->chosen, &cancelled, &n_cancelled);
		loop->n_waiting -= n + n_cancelled;
		if (n_cancelled)
			drop_cancelled(loop, &cancelled, n_cancelled);
		if (n)
			send_bundle(loop, n, loop->chosen);
	}
	SET(loop, calls_waiting, loop->n_waiting);
	SET(loop, bundles_running, loop->running);
}

/* How many bundles can run at once on the workers that are connected. */
static uint32_t count_slots(const struct vf_loop_config *config, const struct vine_stats *stats)
{
	if (config->command || config->slots_per_worker <= 0)
		return (uint32_t)stats->total_cores;
	double libraries = stats->workers_connected;
	if (config->cores_per_library > 0)
		libraries = (double)(int64_t)((double)stats->total_cores / config->cores_per_library);
	return (uint32_t)(libraries * config->slots_per_worker);
}

/* Make vine_wait() return at once: a task that is submitted and cancelled is ready to be handed out. */
static void break_wait(struct vf_loop *loop)
{
	struct vine_task *task = vine_task_create(":");
	if (!task)
		return;
	int id = vine_submit(loop->manager, task);
	if (id)
		vine_cancel_by_task_id(loop->manager, id);
}

/* Count a loss, and tell whether it was one too many: something in the bundle may be what takes workers down. */
static int lose(struct vf_loop *loop, struct vf_bundle *bundle)
{
	if (bundle->n_calls == 1)
		return ++bundle->calls[0]->losses > loop->config.max_losses;
	return ++bundle->n_losses > 1;
}

/* TaskVine gives the task of a lost worker to another one, for ever and without a word, and the function calls of a library
that ended to nobody: 7.14.5 waits for them for ever, later versions hand them out again, for which there is time. */
static void look_for_losses(struct vf_loop *loop, uint64_t now_ns)
{
	uint64_t id;
	void *value;
	itable_firstkey(loop->bundles);
	while (itable_nextkey(loop->bundles, &id, &value)) {
		struct vf_bundle *bundle = value;
		int waits = !strcmp(vine_task_get_state(bundle->task), "READY");
		const char *worker = waits ? NULL : vine_task_get_addrport(bundle->task);
		if (bundle->worker[0] && (!worker || strcmp(worker, bundle->worker))) {
			bundle->orphaned_ns = 0;
			bundle->given_up = lose(loop, bundle);
		} else if (bundle->orphaned_ns && now_ns - bundle->orphaned_ns > ORPHAN_GRACE_MS * 1000000ull) {
			lose(loop, bundle);
			bundle->given_up = 1;
		}
		loop->giving_up |= bundle->given_up;
		snprintf(bundle->worker, sizeof bundle->worker, "%s", worker ? worker : "");
	}
}

static void library_ended(void *arg, const char *worker)
{
	struct vf_loop *loop = arg;
	uint64_t id, now_ns = vf_now_ns();
	void *value;
	itable_firstkey(loop->bundles);
	while (itable_nextkey(loop->bundles, &id, &value)) {
		struct vf_bundle *bundle = value;
		const char *at = vine_task_get_addrport(bundle->task);
		if (at && !strcmp(at, worker) && !strcmp(vine_task_get_state(bundle->task), "RUNNING"))
			bundle->orphaned_ns = now_ns;
	}
}

/* Outside vine_wait(): to cancel a task that runs may end its worker's connection, which vine_wait() would still use. */
static void cancel_given_up(struct vf_loop *loop)
{
	uint64_t id;
	void *value;
	itable_firstkey(loop->bundles);
	while (itable_nextkey(loop->bundles, &id, &value)) {
		if (((struct vf_bundle *)value)->given_up)
			vine_cancel_by_task_id(loop->manager, (int)id);
	}
	loop->giving_up = 0;
}

static void look_at_workers(struct vf_loop *loop, int workers)
{
	uint64_t now = vf_now_ns();
	if (workers == loop->polled_workers && now - loop->stats_ns < STATS_INTERVAL_MS * 1000000ull)
		return;
	struct vine_stats stats;
	vine_get_stats(loop->manager, &stats);
	loop->polled_workers = workers;
	loop->stats_ns = now;
	look_for_losses(loop, now);

	uint32_t slots = count_slots(&loop->config, &stats);
	uint64_t before = atomic_load_explicit(&loop->counters.slots, memory_order_relaxed);
	SET(loop, workers_connected, (unsigned)stats.workers_connected);
	SET(loop, workers_joined, (unsigned)stats.workers_joined);
	SET(loop, slots, slots);

	/* TaskVine starts a library only when a function call needs it: an empty bundle spares the first real call that wait. */
	if (slots > before && !loop->n_waiting && !loop->running && !loop->config.command)
		send_bundle(loop, 0, NULL);
}

/* One turn, on the manager thread, at a point where TaskVine has no iteration in progress. */
static enum vf_turn turn(void *arg, int workers)
{
	struct vf_loop *loop = arg;
	if (atomic_load(&loop->stop)) {
		if (!loop->stopping)
			break_wait(loop);
		loop->stopping = 1;
		return VF_TURN_ACTIVE;
	}
	uint64_t stamp = loop->stamp;
	take_submitted(loop);
	int giving_up = loop->giving_up;
	look_at_workers(loop, workers);
	if (loop->giving_up > giving_up)
		break_wait(loop);
	pack(loop);
	if (loop->stamp != stamp || loop->giving_up)
		return VF_TURN_ACTIVE;
	return loop->n_waiting ? VF_TURN_FULL : VF_TURN_IDLE;
}

/* ---- a task came back ---- */

/* Does this result mean that the bundle's calls may never have run, through no fault of the bundle as such? */
static int was_lost(int result)
{
	switch (result) {
	case VINE_RESULT_FORSAKEN:
	case VINE_RESULT_MAX_RETRIES:
	case VINE_RESULT_STDOUT_MISSING:
	case VINE_RESULT_UNKNOWN:
	case VINE_RESULT_SIGNAL:
		return 1;
	default:
		return 0;
	}
}

static void return_lost(struct vf_loop *loop, struct vf_bundle *bundle, int result, const char *text)
{
	COUNT(loop, bundles_lost, 1);
	COUNT(loop, calls_lost, bundle->n_calls);
	int alone = bundle->n_calls == 1;
	int again = alone ? bundle->orphaned_ns && bundle->calls[0]->losses <= loop->config.max_losses : bundle->n_calls > 1;
	if (!again || !was_lost(result)) {
		fail_bundle(loop, bundle, result, text);
		return;
	}
	/* One of these calls may be what takes workers down. Alone, it cannot take others with it. */
	for (uint32_t i = bundle->n_calls; i-- > 0;) {
		bundle->calls[i]->solo = 1;
		wait_again(loop, bundle->calls[i]);
	}
	vf_bundle_free(bundle);
}

/* Sort the records of a result frame: outcomes for the done ring, durations for the next packing, the rest waits again. Returns
0, or -1 when the frame is not what a library writes; nothing has been changed then. */
static int read_frame(struct vf_loop *loop, struct vf_bundle *bundle, const struct vf_result_header *header)
{
	struct vf_record record;
	uint64_t offset = VF_RESULT_HEADER_NBYTES;
	if (header->n_records > bundle->n_calls)
		return -1;
	for (uint32_t i = 0; i < header->n_records; i++) {
		if (vf_result_next(bundle->frame, header, &offset, &record) || record.status > VF_STATUS_MISSED)
			return -1;
	}

	for (uint32_t i = bundle->n_calls; i-- > header->n_records;)
		wait_again(loop, bundle->calls[i]);
	COUNT(loop, calls_handed_back, bundle->n_calls - header->n_records);

	struct vf_function *function = NULL;
	uint32_t n_of_function = 0, missed = 0;
	uint64_t function_ns = 0, calls_ns = 0;
	offset = VF_RESULT_HEADER_NBYTES;
	for (uint32_t i = 0; i < header->n_records; i++) {
		struct vf_call *call = bundle->calls[i];
		vf_result_next(bundle->frame, header, &offset, &record);
		if (record.status == VF_STATUS_MISSED) {
			call->with_body = 1;
			wait_again(loop, call);
			missed++;
			continue;
		}
		if (call->function != function) {
			if (n_of_function)
				vf_bundle_learn(function, n_of_function, function_ns);
			function = call->function;
			n_of_function = 0;
			function_ns = 0;
		}
		n_of_function++;
		function_ns += record.duration_ns;
		calls_ns += record.duration_ns;
		function->delivered = 1;
		struct vf_outcome *outcome = &bundle->outcomes[bundle->n_outcomes++];
		outcome->call = call;
		outcome->record = record;
	}
	if (n_of_function)
		vf_bundle_learn(function, n_of_function, function_ns);
	COUNT(loop, calls_missed, missed);
	COUNT(loop, calls_returned, bundle->n_outcomes);
	COUNT(loop, calls_ns, calls_ns);
	COUNT(loop, run_ns, header->run_ns);
	COUNT(loop, wait_ns, header->wait_ns);
	COUNT(loop, bytes_returned, header->nbytes);
	return 0;
}

/* Give the bundle its own copy of the result frame. TaskVine does not tell how much it received: a long frame announces its own
length (had less come, the result would be VINE_RESULT_STDOUT_MISSING), a short one is a C string. */
static int copy_frame(struct vf_bundle *bundle, const char *output, struct vf_result_header *header)
{
	if (!strncmp(output, "VFR1", 4)) {
		if (vf_result_open(output, SIZE_MAX, header))
			return -1;
		bundle->frame = malloc(header->nbytes);
		if (!bundle->frame)
			return -1;
		memcpy(bundle->frame, output, header->nbytes);
		return 0;
	}
	struct vf_buffer decoded = {0};
	if (vf_frame_decode(&decoded, output)) {
		vf_buffer_free(&decoded);
		return -1;
	}
	bundle->frame = decoded.data;
	return vf_result_open(decoded.data, decoded.nbytes, header);
}

static void take_returned(struct vf_loop *loop, struct vine_task *task)
{
	struct vf_bundle *bundle = itable_remove(loop->bundles, (uint64_t)vine_task_get_id(task));
	if (bundle) {
		loop->running--;
		if (bundle->spilled)
			vine_undeclare_file(loop->manager, bundle->spilled);
		bundle->spilled = NULL;

		int result = (int)vine_task_get_result(task);
		const char *output = vine_task_get_stdout(task);
		if (bundle->given_up && result == VINE_RESULT_CANCELLED) {
			result = VINE_RESULT_MAX_RETRIES;
			output = "each worker or library that had the call was lost";
		}
		struct vf_result_header header;
		int whole = result == VINE_RESULT_SUCCESS && vine_task_get_exit_code(task) == 0 && output;
		if (whole && copy_frame(bundle, output, &header) == 0 && read_frame(loop, bundle, &header) == 0) {
			hand_over(loop, bundle);
			bundle = NULL;
		}
		if (bundle) {
			free(bundle->frame);
			bundle->frame = NULL;
			return_lost(loop, bundle, result == VINE_RESULT_SUCCESS ? VINE_RESULT_UNKNOWN : result, output);
		}
	}
	vine_task_delete(task);
}

void vf_loop_run(struct vf_loop *loop)
{
	vf_poll_own(&(struct vf_poller){.turn = turn, .library_ended = library_ended, .arg = loop, .wake = &loop->submitted_wake});
	while (!atomic_load(&loop->stop)) {
		struct vine_task *task = vine_wait(loop->manager, WAIT_SECONDS);
		if (task)
			take_returned(loop, task);
		if (loop->giving_up)
			cancel_given_up(loop);
	}
	vf_poll_own(NULL);

	uint64_t id;
	void *bundle;
	itable_firstkey(loop->bundles);
	while (itable_nextkey(loop->bundles, &id, &bundle))
		vf_bundle_free(bundle);
	itable_clear(loop->bundles, NULL);
}
