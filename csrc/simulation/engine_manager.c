/* TaskVine's manager: its tables of tasks and workers. */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "link.h"
#include "sim.h"

uint64_t engine_now_us(void)
{
	return sim.now_ns / 1000;
}

struct vine_manager *engine_create(void)
{
	struct vine_manager *manager = calloc(1, sizeof *manager);
	manager->next_id = 1;
	engine_n_made = 0;
	TAILQ_INIT(&manager->ready);
	TAILQ_INIT(&manager->waiting_retrieval);
	TAILQ_INIT(&manager->retrieved);
	STAILQ_INIT(&manager->arrivals);
	return manager;
}

static struct task_queue *queue_of(struct vine_manager *manager, enum task_state state)
{
	switch (state) {
	case TASK_READY:
		return &manager->ready;
	case TASK_WAITING_RETRIEVAL:
		return &manager->waiting_retrieval;
	case TASK_RETRIEVED:
		return &manager->retrieved;
	default:
		return NULL;
	}
}

static void unqueue(struct vine_manager *manager, struct vine_task *task)
{
	if (task->is_queued)
		TAILQ_REMOVE(queue_of(manager, task->state), task, queued);
	task->is_queued = 0;
}

/* Highest priority first; of equals, who has come first. */
static void queue_ready(struct vine_manager *manager, struct vine_task *task)
{
	struct vine_task *other;
	TAILQ_FOREACH(other, &manager->ready, queued) {
		if (other->priority < task->priority)
			break;
	}
	if (other)
		TAILQ_INSERT_BEFORE(other, task, queued);
	else
		TAILQ_INSERT_TAIL(&manager->ready, task, queued);
}

void engine_change_state(
		struct vine_manager *manager, struct vine_task *task, enum task_state state)
{
	unqueue(manager, task);
	task->state = state;
	if (state == TASK_DONE) {
		LIST_REMOVE(task, known);
		vine_task_delete(task);
		return;
	}
	if (state == TASK_READY)
		vine_task_set_result(task, VINE_RESULT_UNKNOWN);
	if (state == TASK_RETRIEVED && task->provides_library)
		vine_task_set_result(task, VINE_RESULT_LIBRARY_EXIT);
	task->is_queued = queue_of(manager, state) != NULL;
	if (state == TASK_READY)
		queue_ready(manager, task);
	else if (task->is_queued)
		TAILQ_INSERT_HEAD(queue_of(manager, state), task, queued);
}

int engine_is_idle(const struct vine_worker_info *worker)
{
	const struct vine_task *task;
	LIST_FOREACH(task, &worker->tasks, there) {
		if (!task->provides_library)
			return 0;
	}
	return 1;
}

int engine_is_busy(const struct vine_manager *manager)
{
	const struct vine_worker_info *worker;
	LIST_FOREACH(worker, &manager->workers, entry) {
		if (!engine_is_idle(worker))
			return 1;
	}
	return 0;
}

void engine_reap(struct vine_manager *manager, struct vine_task *task, enum task_state state)
{
	struct vine_worker_info *worker = task->worker;
	worker->link->calls->kill(worker->link->peer, task->id);
	LIST_REMOVE(task, there);
	task->worker = NULL;
	if (manager->left)
		manager->left(task);
	if (engine_is_idle(worker))
		worker->idle_since_ns = sim.now_ns;
	engine_change_state(manager, task, task->provides_library ? TASK_RETRIEVED : state);
}

int vine_submit(struct vine_manager *manager, struct vine_task *task)
{
	if (task->state != TASK_INITIAL)
		sim_broken("a task is submitted once", "task %d", task->id);
	task->id = manager->next_id++;
	task->submitted_us = engine_now_us();
	vine_task_addref(task);
	LIST_INSERT_HEAD(&manager->tasks, task, known);
	engine_change_state(manager, task, TASK_READY);
	return task->id;
}

static struct vine_task *find_task(struct vine_manager *manager, int id)
{
	struct vine_task *task;
	LIST_FOREACH(task, &manager->tasks, known) {
		if (task->id == id)
			return task;
	}
	return NULL;
}

static void delete_files(struct vine_manager *manager, struct vine_worker_info *worker,
		const struct mount *mounts, uint32_t n, vine_cache_level_t most)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct vine_file *file = mounts[i].file;
		if (file->level > most)
			continue;
		worker->link->calls->unlink(worker->link->peer, file->cached_name);
		engine_forget_replica(manager, worker, file->cached_name);
	}
}

int vine_cancel_by_task_id(struct vine_manager *manager, int id)
{
	struct vine_task *task = find_task(manager, id);
	if (!task || task->state == TASK_RETRIEVED)
		return 0;
	if (task->state == TASK_WAITING_RETRIEVAL)
		sim_broken("a task that has come back is not cancelled", "task %d", id);
	sim_trace("cancel task %d in state %s", id, vine_task_get_state(task));
	task->result = VINE_RESULT_CANCELLED;
	struct vine_worker_info *worker = task->worker;
	if (worker) {
		engine_reap(manager, task, TASK_RETRIEVED);
		delete_files(manager, worker, task->inputs, task->n_inputs, VINE_CACHE_LEVEL_TASK);
		delete_files(manager, worker, task->outputs, task->n_outputs,
				VINE_CACHE_LEVEL_FOREVER);
	} else {
		engine_change_state(manager, task, TASK_RETRIEVED);
	}
	if (worker && worker->link->is_over && sim_chance(500))
		engine_remove_worker(manager, worker);
	return 1;
}

/* ---- workers ---- */

void engine_forget_replica(
		struct vine_manager *manager, struct vine_worker_info *worker, const char *name)
{
	struct vine_file_replica *replica = vine_file_replica_table_remove(manager, worker, name);
	free(replica);
}

void engine_remove_worker(struct vine_manager *manager, struct vine_worker_info *worker)
{
	struct vine_task *task;
	sim_trace("worker %d is removed", worker->link->fd - SIM_FD_BASE);
	while ((task = LIST_FIRST(&worker->tasks))) {
		if (manager->lost)
			manager->lost(task,
					task->state == TASK_RUNNING &&
							manager->n_turns > task->sent_turn + 1);
		engine_reap(manager, task, TASK_READY);
		if (task->state == TASK_READY)
			task->addrport[0] = 0;
	}
	while (!LIST_EMPTY(&worker->replicas))
		engine_forget_replica(manager, worker, LIST_FIRST(&worker->replicas)->name);
	LIST_REMOVE(worker, entry);
	vine_worker_delete(worker);
}

int vine_manager_shut_down_worker(struct vine_manager *manager, struct vine_worker_info *worker)
{
	sim_trace("worker %d is told to exit", worker->link->fd - SIM_FD_BASE);
	worker->link->calls->exit(worker->link->peer);
	engine_remove_worker(manager, worker);
	return 1;
}

int vine_manager_send(struct vine_manager *manager, struct vine_worker_info *worker,
		const char *format, ...)
{
	char text[256], name[160];
	va_list arguments;
	(void)manager;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (sscanf(text, "unlink %159s", name) != 1)
		sim_broken("the simulation is complete", "a worker is sent \"%s\"", text);
	return worker->link->calls->unlink(worker->link->peer, name) ? -1 : (int)strlen(text);
}

void engine_connect(struct vine_manager *manager, struct link *link)
{
	struct arrival *arrival = calloc(1, sizeof *arrival);
	arrival->link = link;
	STAILQ_INSERT_TAIL(&manager->arrivals, arrival, next);
}

void engine_hear(struct link *link, struct message *message)
{
	STAILQ_INSERT_TAIL(&link->come, message, next);
}

void engine_hear_end(struct link *link)
{
	link->is_over = 1;
}

/* ---- libraries ---- */

void vine_manager_install_library(
		struct vine_manager *manager, struct vine_task *task, const char *name)
{
	vine_task_set_library_provided(task, name);
	manager->template = task;
}

struct vine_task *vine_manager_find_library_template(struct vine_manager *manager, const char *name)
{
	struct vine_task *template = manager->template;
	return template && !strcmp(template->provides_library, name) ? template : NULL;
}

/* ---- the rest ---- */

void vine_get_stats(struct vine_manager *manager, struct vine_stats *stats)
{
	struct vine_worker_info *worker;
	memset(stats, 0, sizeof *stats);
	stats->workers_joined = (int)manager->n_joined;
	LIST_FOREACH(worker, &manager->workers, entry) {
		if (!worker->is_known)
			continue;
		stats->workers_connected++;
		stats->total_cores += worker->cores;
		if (stats->max_cores < worker->cores)
			stats->max_cores = worker->cores;
		if (stats->max_memory < worker->memory)
			stats->max_memory = worker->memory;
		if (stats->max_disk < worker->disk)
			stats->max_disk = worker->disk;
		if (stats->max_gpus < worker->gpus)
			stats->max_gpus = worker->gpus;
	}
}

int vine_set_task_id_min(struct vine_manager *manager, int least)
{
	if (least > manager->next_id)
		manager->next_id = least;
	return manager->next_id;
}

void vine_set_tasks_left_count(struct vine_manager *manager, int n)
{
	(void)manager, (void)n;
}

int vine_enable_disconnect_slow_workers_category(
		struct vine_manager *manager, const char *category, double factor)
{
	(void)manager, (void)category, (void)factor;
	return 0;
}

int vine_set_category_mode(
		struct vine_manager *manager, const char *category, vine_category_mode_t mode)
{
	(void)manager, (void)category, (void)mode;
	return 0;
}

/* What woke the loop for its end has nobody who deletes it. */
static int is_of_wake(const struct vine_task *task)
{
	return !strcmp(task->command, ":") && !task->provides_library;
}

void vine_delete(struct vine_manager *manager)
{
	struct vine_task *task;
	while (!LIST_EMPTY(&manager->workers))
		engine_remove_worker(manager, LIST_FIRST(&manager->workers));
	while (!STAILQ_EMPTY(&manager->arrivals)) {
		struct arrival *arrival = STAILQ_FIRST(&manager->arrivals);
		STAILQ_REMOVE_HEAD(&manager->arrivals, next);
		link_close(arrival->link);
		free(arrival);
	}
	while ((task = LIST_FIRST(&manager->tasks))) {
		if (is_of_wake(task) && task->refs > 1)
			vine_task_delete(task);
		engine_change_state(manager, task, TASK_DONE);
	}
	if (manager->template)
		vine_task_delete(manager->template);
	engine_files_end(manager);
	free(manager);
}
