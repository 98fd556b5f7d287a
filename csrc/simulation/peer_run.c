/* How a library runs bundles: one after another in each slot; what takes too long it hands back. */

#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "peer.h"
#include "sim.h"
#include "vf_wire.h"
#include "workers.h"

static const uint64_t HAND_BACK_NS = 150 * SIM_MS;

static struct bundle_answer begin_answer(const struct peer_task *task)
{
	const struct peer *peer = task->peer;
	return (struct bundle_answer){.slots = peer->cores,
			.cores = peer->cores,
			.memory = peer->memory,
			.disk = peer->disk};
}

static void say(struct peer_task *task, int exit_code, struct vf_buffer *out)
{
	peer_say_complete(task->peer, task->id, VINE_RESULT_SUCCESS, exit_code, out->data,
			out->nbytes);
	vf_buffer_free(out);
	peer_end_task(task);
}

static void answer(struct peer_task *task, uint32_t n_records, const struct bundle_record *records)
{
	struct vf_buffer out = {0};
	struct bundle_answer what = begin_answer(task);
	what.n_records = n_records;
	what.records = records;
	what.wait_ns = 10000;
	what.run_ns = sim.now_ns - task->came_ns;
	if (task->is_lied_about)
		bundle_lie(&out, &what);
	else
		bundle_answer(&out, &what);
	say(task, 0, &out);
}

/* Another worker may have more luck; each of its calls has lost something. */
static void forsake(struct peer_task *task)
{
	peer_say_complete(task->peer, task->id, VINE_RESULT_FORSAKEN, 1, "", 0);
	peer_end_task(task);
}

static void make_outputs(struct peer_task *task, const struct job *job)
{
	for (uint32_t i = 0; i < task->n_outputs; i++) {
		if (task->outputs[i].job != job->id)
			continue;
		struct peer_file *file = peer_add_file(
				task->peer, task->outputs[i].cached_name, 1 + sim_below(1 << 20));
		file->state = PEER_FILE_THERE;
		peer_say_cached(task->peer, file, 1000);
	}
}

static struct bundle_record run_call(struct peer_task *task, const struct bundle_call *call)
{
	struct job *job = model_job(call->job);
	struct bundle_record record = {.duration_ns = job->duration_ns};
	uint32_t bit = 1u << call->function;
	task->peer->functions |= call->has_body ? bit : 0;
	if (!(task->peer->functions & bit)) {
		record.status = VF_STATUS_UNKNOWN_FUNCTION;
		return record;
	}
	/* A call before may have written to what it reads; or it does so itself. */
	if ((job->maker || job->inputs || job->has_url) && sim_chance(habits.spoil)) {
		model_fault(FAULT_input_spoiled, "call", job->id);
		record.status = sim_chance(500) ? VF_STATUS_INPUT_SPOILED : VF_STATUS_INPUT_CHANGED;
		job->was_spoiled = 1;
		job->n_losses++;
		return record;
	}
	model_runs(job);
	snprintf(record.payload, sizeof record.payload, "done %u", job->id);
	record.status = job->deed == DEED_RAISE ? VF_STATUS_EXCEPTION : VF_STATUS_PICKLE;
	if (record.status == VF_STATUS_PICKLE)
		make_outputs(task, job);
	return record;
}

static void finish_without_room(struct peer_task *task)
{
	struct vf_buffer out = {0};
	for (uint32_t i = 0; i < task->bundle.n_calls; i++) {
		struct job *job = model_job(task->bundle.calls[i].job);
		job->lacked_room = 1;
		job->n_losses++;
	}
	model_fault(FAULT_no_room_for_result, "task", (uint32_t)task->id);
	if (vf_buffer_reserve(&out, 1))
		abort();
	say(task, sim_chance(500) ? VF_EXIT_NO_ROOM : 0, &out);
}

static void finish(void *arg)
{
	struct peer_task *task = arg;
	struct peer *peer = task->peer;
	if (task->state != PEER_TASK_RUNS)
		return;
	peer->n_running--;
	task->state = PEER_TASK_WAITS;
	for (uint32_t i = 0; i < task->n_done; i++) {
		const struct job *job = model_job(task->bundle.calls[i].job);
		if (job->deed == DEED_KILL_WORKER) {
			model_fault(FAULT_worker_killed_by_call, "call", job->id);
			peer_die(peer);
			return;
		}
		if (job->deed == DEED_KILL_LIBRARY) {
			peer_end_library(peer);
			return;
		}
	}
	if (task->lacks_room) {
		finish_without_room(task);
		peer_go_on(peer);
		return;
	}
	struct bundle_record *records = calloc(task->n_done + 1, sizeof *records);
	for (uint32_t i = 0; i < task->n_done; i++)
		records[i] = run_call(task, &task->bundle.calls[i]);
	if (task->is_lied_about) {
		model_fault(FAULT_result_malformed, "task", (uint32_t)task->id);
		for (uint32_t i = 0; i < task->bundle.n_calls; i++) {
			struct job *job = model_job(task->bundle.calls[i].job);
			job->was_lied_about = job->lacked_room = 1; /* there may be nothing left */
			job->n_losses++;
		}
	}
	answer(task, task->n_done, records);
	free(records);
	peer_go_on(peer);
}

/* Its calls run one after another, until the time slice is over. */
static void run(struct peer_task *task)
{
	uint64_t slice_ns = task->bundle.slice_ms * SIM_MS, took_ns = 0;
	uint32_t n = 0;
	while (n < task->bundle.n_calls && (!n || !slice_ns || took_ns < slice_ns))
		took_ns += model_job(task->bundle.calls[n++].job)->duration_ns;
	task->n_done = n;
	task->state = PEER_TASK_RUNS;
	task->peer->n_running++;
	task->is_lied_about = task->bundle.n_calls && sim_chance(habits.lie);
	task->lacks_room = task->bundle.n_calls && sim_chance(habits.no_room);
	if (sim_chance(habits.stall)) {
		model_fault(FAULT_worker_stalled, "task", (uint32_t)task->id);
		took_ns += sim_between(SIM_S, 120 * SIM_S);
	}
	sim_after(took_ns, finish, task);
	if (sim_chance(habits.die)) {
		model_fault(FAULT_worker_died, "worker", task->peer->number);
		sim_after(0, (void (*)(void *))peer_die, task->peer);
	}
}

static void hand_back(void *arg)
{
	struct peer_task *task = arg;
	if (task->state == PEER_TASK_WAITS && task->peer->is_library_up) {
		model_fault(FAULT_bundle_given_back, "task", (uint32_t)task->id);
		answer(task, 0, NULL);
	}
}

/* Whether all its inputs are there; one that never will be has it given back. */
static int has_inputs(struct peer_task *task)
{
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		const struct peer_file *file = peer_find_file(task->peer, task->inputs[i]);
		if (!file || file->state == PEER_FILE_FAILED) {
			model_fault(FAULT_bundle_forsaken, "task", (uint32_t)task->id);
			forsake(task);
			return 0;
		}
		if (file->state == PEER_FILE_COMING)
			return 0;
	}
	return 1;
}

static void try(struct peer_task *task)
{
	static const struct bundle_record node = {.status = VF_STATUS_NODE, .payload = "{}"},
					  stack = {.status = VF_STATUS_PICKLE, .payload = "at"};
	struct peer *peer = task->peer;
	if (task->state != PEER_TASK_WAITS || !has_inputs(task) || !peer->is_library_up)
		return;
	if (!task->is_bundle)
		answer(task, *task->command == 'T', &stack);
	else if (!task->bundle.n_calls)
		answer(task, sim_chance(900), &node);
	else if (peer->n_running < peer->cores)
		run(task);
}

void peer_go_on(struct peer *peer)
{
	struct peer_task *task, *next;
	for (task = LIST_FIRST(&peer->tasks); task && !peer->is_gone; task = next) {
		next = LIST_NEXT(task, entry);
		if (!task->is_library)
			try(task);
	}
}

/* A call is only to be stopped if somebody has cancelled it. */
static void stop(const struct peer_task *told)
{
	int id, at;
	uint32_t index;
	struct peer_task *task;
	for (const char *word = strchr(told->command, ' '); word; word = strchr(word + 1, ' ')) {
		if (sscanf(word, " %d:%n", &id, &at) != 1)
			sim_broken("a stop names calls", "\"%s\"", told->command);
		LIST_FOREACH(task, &told->peer->tasks, entry) {
			if (task->id == id)
				break;
		}
		for (const char *number = word + at; task && sscanf(number, "%u", &index) == 1;
				number++) {
			if (index >= task->bundle.n_calls ||
					!model_job(task->bundle.calls[index].job)->is_cancelled)
				sim_broken("only cancelled calls are stopped", "\"%s\"",
						told->command);
			number += strspn(number, "0123456789");
			if (*number != ',')
				break;
		}
	}
}

void peer_begin(struct peer_task *task)
{
	task->state = PEER_TASK_WAITS;
	task->came_ns = sim.now_ns;
	if (*task->command == 'S')
		stop(task);
	if (task->bundle.n_calls && sim_chance(habits.forsake)) {
		model_fault(FAULT_bundle_forsaken, "task", (uint32_t)task->id);
		forsake(task);
		return;
	}
	if (task->bundle.n_calls) {
		if (sim_chance(habits.give_back))
			sim_after(SIM_MS, hand_back, task);
		sim_after(HAND_BACK_NS + sim_below(1000) * SIM_MS, hand_back, task);
	}
	try(task);
}
