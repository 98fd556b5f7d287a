/* TaskVine's vine_wait(): hears workers, takes back what they have done, sends tasks. */

#include <stdlib.h>
#include <string.h>

#include "debug.h"
#include "engine.h"
#include "link.h"
#include "sim.h"
#include "vf_wire.h"

enum {
	WORKERS_MAX = 64,
};

static struct vine_task *find_at(struct vine_worker_info *worker, int id)
{
	struct vine_task *task;
	LIST_FOREACH(task, &worker->tasks, there) {
		if (task->id == id && task->state == TASK_RUNNING)
			return task;
	}
	return NULL;
}

/* Up to 7.14 its function calls are left where they are. */
static void note_library_end(struct vine_manager *manager, struct vine_worker_info *worker)
{
	const struct vine_task *task;
	manager->template->failed_us = engine_now_us();
	LIST_FOREACH(task, &worker->tasks, there) {
		if (manager->lost && !task->provides_library && task->state == TASK_RUNNING)
			manager->lost(task, 0);
	}
}

static void hear_complete(struct vine_manager *manager, struct vine_worker_info *worker,
		const struct message *message)
{
	struct vine_task *task = find_at(worker, message->id);
	if (!task)
		return; /* it has been cancelled, or was completed before */
	if (message->result != VINE_RESULT_SUCCESS)
		worker->failed_us = engine_now_us();
	if (message->result == VINE_RESULT_LIBRARY_EXIT)
		note_library_end(manager, worker);
	if (message->result != VINE_RESULT_FORSAKEN) {
		task->exit_code = message->exit_code;
		engine_task_store(task, message->output ? message->output : "", message->nbytes);
	}
	engine_change_state(manager, task, TASK_WAITING_RETRIEVAL);
	vine_task_set_result(task, (vine_result_t)message->result);
}

static void hear_cached(struct vine_manager *manager, struct vine_worker_info *worker,
		const struct message *message)
{
	struct vine_file *file = vine_manager_lookup_file(manager, message->name);
	if (!file)
		return;
#if VF_TASKVINE < 715
	struct vine_file_replica is = {file->type, file->level, (int64_t)message->nbytes};
	if (!engine_replica(worker, message->name))
		vine_file_replica_table_insert(manager, worker, message->name, &is);
#else
	vine_file_replica_table_get_or_create(manager, worker, message->name, file->type,
			file->level, (int64_t)message->nbytes, 0);
#endif
	struct replica *replica = engine_replica(worker, message->name);
	replica->is_there = 1;
	file->is_created = 1;
	replica->is.nbytes = (int64_t)message->nbytes;
	if (file->type == VINE_TEMP)
		file->nbytes = message->nbytes;
	vine_txn_log_write_cache_update(
			manager, worker, message->nbytes, message->took_us, 0, message->name);
}

static void hear_invalid(struct vine_manager *manager, struct vine_worker_info *worker,
		const struct message *message)
{
	char id[] = "transfer";
	debug(D_VINE, VINE_FORMAT_INVALIDATED, "host", worker->addrport, message->name,
			message->reason);
	engine_forget_replica(manager, worker, message->name);
#if VF_TASKVINE < 715
	vine_current_transfers_set_failure(manager, id);
#else
	vine_current_transfers_set_failure(manager, id, message->name);
#endif
}

static void hear(struct vine_manager *manager, struct vine_worker_info *worker,
		const struct message *message)
{
	switch (message->kind) {
	case MESSAGE_RESOURCES:
		worker->cores = message->cores;
		worker->memory = message->memory;
		worker->disk = message->disk;
		worker->gpus = message->gpus;
		worker->is_known = 1;
		break;
	case MESSAGE_COMPLETE:
		hear_complete(manager, worker, message);
		break;
	case MESSAGE_CACHED:
		hear_cached(manager, worker, message);
		break;
	case MESSAGE_INVALID:
		hear_invalid(manager, worker, message);
		break;
	}
}

/* One message, or its end. */
static void hear_worker(struct vine_manager *manager, struct vine_worker_info *worker)
{
	struct link *link = worker->link;
	struct message *message = STAILQ_FIRST(&link->come);
	if (!message) {
		if (link->is_over)
			engine_remove_worker(manager, worker);
		return;
	}
	STAILQ_REMOVE_HEAD(&link->come, next);
	hear(manager, worker, message);
	free(message->output);
	free(message);
}

static void accept_all(struct vine_manager *manager)
{
	while (!STAILQ_EMPTY(&manager->arrivals)) {
		struct arrival *arrival = STAILQ_FIRST(&manager->arrivals);
		STAILQ_REMOVE_HEAD(&manager->arrivals, next);
		struct vine_worker_info *worker = vine_worker_create(arrival->link);
		free(arrival);
		worker->idle_since_ns = sim.now_ns;
		LIST_INSERT_HEAD(&manager->workers, worker, entry);
		manager->n_joined++;
	}
}

/* Tells whether anything has come. */
static int poll_workers(struct vine_manager *manager, int msec)
{
	struct link_info links[WORKERS_MAX];
	struct vine_worker_info *worker, *next;
	int n = 0;
	LIST_FOREACH(worker, &manager->workers, entry) {
		if (n == WORKERS_MAX)
			sim_broken("the simulation is complete", "more than %d workers", n);
		links[n++] = (struct link_info){.link = worker->link, .events = LINK_READ};
	}
	int n_ready = link_poll(links, n, msec);
	/* Which are there now: turns end connections, too. */
	for (worker = LIST_FIRST(&manager->workers); worker; worker = next) {
		next = LIST_NEXT(worker, entry);
		if (sim_is_readable(worker->link->fd))
			hear_worker(manager, worker);
	}
	return n_ready > 0;
}

/* ---- what has come back ---- */

static void delete_uncacheable(struct vine_manager *manager, struct vine_task *task)
{
	struct vine_worker_info *worker = task->worker;
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		const struct vine_file *file = task->inputs[i].file;
		if (file->level != VINE_CACHE_LEVEL_TASK ||
				!engine_replica(worker, file->cached_name))
			continue;
		worker->link->calls->unlink(worker->link->peer, file->cached_name);
		engine_forget_replica(manager, worker, file->cached_name);
	}
}

static int receive_one_task(struct vine_manager *manager)
{
	struct vine_task *task = TAILQ_FIRST(&manager->waiting_retrieval);
	if (!task)
		return 0;
	struct vine_worker_info *worker = task->worker;
	if (task->result == VINE_RESULT_FORSAKEN) {
		if (manager->lost)
			manager->lost(task, 0);
		engine_reap(manager, task, TASK_READY);
		return 1;
	}
	/* A long output is asked for now. */
	int is_cut = task->output_nbytes > VF_INLINE_NBYTES && worker->link->is_over &&
			sim_chance(500);
	if (is_cut || vine_manager_get_output_files(manager, worker, task)) {
		engine_remove_worker(manager, worker);
		return 1;
	}
	delete_uncacheable(manager, task);
	engine_reap(manager, task, TASK_RETRIEVED);
	return 1;
}

/* ---- what is sent ---- */

enum sent {
	SENT,
	SENT_FAILED, /* the worker is gone */
	SENT_NOT,    /* no library can be sent now */
};

static enum sent commit(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task);

static struct vine_task *send_library(struct vine_manager *manager, struct vine_worker_info *worker)
{
	const struct vine_task *template = manager->template;
	if (template->failed_us &&
			template->failed_us + manager->transient_error_us > engine_now_us())
		return NULL;
	struct vine_task *library = engine_copy_library(template);
	library->id = manager->next_id++;
	LIST_INSERT_HEAD(&manager->tasks, library, known);
	return commit(manager, worker, library) == SENT ? library : NULL;
}

static enum sent commit(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task)
{
	if (task->needs_library &&
			!vine_schedule_find_library(manager, worker, task->needs_library) &&
			!send_library(manager, worker)) {
		if (manager->lost)
			manager->lost(task, 0);
		return SENT_NOT;
	}
	snprintf(task->addrport, sizeof task->addrport, "%s", worker->addrport);
	int result = vine_manager_put_task(manager, worker, task, task->command, NULL, NULL);
	task->committed_us = engine_now_us();
	task->sent_turn = manager->n_turns;
	LIST_INSERT_HEAD(&worker->tasks, task, there);
	task->worker = worker;
	engine_change_state(manager, task, TASK_RUNNING);
	if (manager->sent && !result)
		manager->sent(task);
	if (!result)
		return SENT;
	sim_trace("task %d could not be sent", task->id);
	engine_remove_worker(manager, worker);
	return SENT_FAILED;
}

/* A task that reads a temporary file which is nowhere any more is offered to no worker. */
static int are_inputs_somewhere(struct vine_manager *manager, const struct vine_task *task)
{
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		const struct vine_file *file = task->inputs[i].file;
		struct vine_worker_info *worker;
		if (file->type != VINE_TEMP || !file->is_created)
			continue;
		LIST_FOREACH(worker, &manager->workers, entry) {
			if (engine_replica(worker, file->cached_name))
				break;
		}
		if (!worker)
			return 0;
	}
	return 1;
}

static int send_one_task(struct vine_manager *manager)
{
	struct vine_task *task, *next;
	for (task = TAILQ_FIRST(&manager->ready); task; task = next) {
		next = TAILQ_NEXT(task, queued);
		if (!are_inputs_somewhere(manager, task))
			continue;
		struct vine_worker_info *worker = vine_schedule_task_to_worker(manager, task);
		if (!worker)
			continue;
		TAILQ_REMOVE(&manager->ready, task, queued);
		task->is_queued = 0;
		sim_trace("task %d goes to worker %d", task->id, worker->link->fd - SIM_FD_BASE);
		/* 7.14 forgets a task whose library is not sent, for whatever reason. */
		if (commit(manager, worker, task) == SENT_NOT && VF_TASKVINE >= 715)
			engine_change_state(manager, task, TASK_READY);
		return 1;
	}
	return 0;
}

/* Of those that have been retrieved, the application gets all but libraries. */
static struct vine_task *take_retrieved(struct vine_manager *manager)
{
	struct vine_task *task;
	while ((task = TAILQ_FIRST(&manager->retrieved))) {
		int is_library = task->provides_library != NULL;
		engine_change_state(manager, task, TASK_DONE);
		if (!is_library)
			return task;
	}
	return NULL;
}

struct vine_task *vine_wait(struct vine_manager *manager, int timeout)
{
	uint64_t end_ns = sim.now_ns + (uint64_t)timeout * SIM_S;
	struct vine_task *task;
	int is_busy = 0;
	while (sim.now_ns < end_ns) {
		manager->n_turns++;
		if ((task = take_retrieved(manager)))
			return task;
		sim_spend(sim_between(5, 50) * SIM_US);
		int left_ms = sim.now_ns < end_ns ? (int)((end_ns - sim.now_ns) / SIM_MS) : 0;
		is_busy = poll_workers(manager, is_busy ? 0 : left_ms) ||
				!TAILQ_EMPTY(&manager->retrieved);
		while (receive_one_task(manager))
			is_busy = 1;
		is_busy |= send_one_task(manager);
		if (!STAILQ_EMPTY(&manager->arrivals)) {
			accept_all(manager);
			is_busy = 1;
		}
	}
	return take_retrieved(manager);
}
