/* Which worker TaskVine takes for a task. */

#include <string.h>

#include "engine.h"
#include "sim.h"

/* Function calls that it runs. */
static int n_functions(const struct vine_worker_info *worker)
{
	const struct vine_task *task;
	int n = 0;
	LIST_FOREACH(task, &worker->tasks, there)
		n += task->needs_library != NULL;
	return n;
}

static int has_library(const struct vine_worker_info *worker)
{
	const struct vine_task *task;
	LIST_FOREACH(task, &worker->tasks, there) {
		if (task->provides_library && task->state == TASK_RUNNING)
			return 1;
	}
	return 0;
}

struct vine_task *vine_schedule_find_library(
		struct vine_manager *manager, struct vine_worker_info *worker, const char *name)
{
	struct vine_task *task;
	LIST_FOREACH(task, &worker->tasks, there) {
		if (task->provides_library && !strcmp(task->provides_library, name) &&
				task->state == TASK_RUNNING &&
				n_functions(worker) < manager->template->slots)
			return task;
	}
	return NULL;
}

struct vine_worker_info *engine_source(struct vine_manager *manager, const char *name)
{
	struct vine_worker_info *worker;
	LIST_FOREACH(worker, &manager->workers, entry) {
		const struct replica *replica = engine_replica(worker, name);
		if (replica && replica->is_there)
			return worker;
	}
	return NULL;
}

static int are_inputs_there(struct vine_manager *manager, struct vine_worker_info *worker,
		const struct vine_task *task)
{
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		const struct vine_file *file = task->inputs[i].file;
		if (file->type == VINE_TEMP && !engine_replica(worker, file->cached_name) &&
				!engine_source(manager, file->cached_name))
			return 0;
	}
	return 1;
}

int check_worker_against_task(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task)
{
	if (!worker->is_known)
		return 0;
	if (worker->failed_us && worker->failed_us + manager->transient_error_us > engine_now_us())
		return 0;
	if (!are_inputs_there(manager, worker, task))
		return 0;
	/* A library takes its worker whole: there is no room for another one. */
	return !task->needs_library || !has_library(worker) ||
			vine_schedule_find_library(manager, worker, task->needs_library);
}

struct vine_worker_info *vine_schedule_task_to_worker(
		struct vine_manager *manager, struct vine_task *task)
{
	struct vine_worker_info *worker;
	LIST_FOREACH(worker, &manager->workers, entry) {
		if (check_worker_against_task(manager, worker, task))
			return worker;
	}
	return NULL;
}
