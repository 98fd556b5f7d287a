/* A task is sent to a worker, with the inputs that this lacks. */

#include "engine.h"
#include "sim.h"

static void note_replica(struct vine_manager *manager, struct vine_worker_info *worker,
		const struct vine_file *file)
{
#if VF_TASKVINE < 715
	struct vine_file_replica replica = {file->type, file->level, (int64_t)file->nbytes};
	vine_file_replica_table_insert(manager, worker, file->cached_name, &replica);
#else
	vine_file_replica_table_get_or_create(manager, worker, file->cached_name, file->type,
			file->level, (int64_t)file->nbytes, 0);
#endif
}

static int put_input(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_file *file)
{
	const struct link *link = worker->link;
	if (engine_replica(worker, file->cached_name))
		return 0;
	if (file->type == VINE_URL) {
		if (link->calls->fetch(link->peer, file, NULL))
			return VINE_FAILURE_WORKER;
	} else if (file->type == VINE_TEMP) {
		const struct vine_worker_info *source = engine_source(manager, file->cached_name);
		if (!source)
			return 0; /* the worker finds out */
		if (link->calls->fetch(link->peer, file, source->link->peer))
			return VINE_FAILURE_WORKER;
	} else {
		vine_file_has_changed(file);
		if (link->calls->put(link->peer, file))
			return VINE_FAILURE_WORKER;
	}
	note_replica(manager, worker, file);
	return 0;
}

int vine_manager_put_task(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task, const char *command, struct rmsummary *limits,
		struct vine_file *target)
{
	(void)command, (void)limits, (void)target;
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		int result = put_input(manager, worker, task->inputs[i].file);
		if (result)
			return result;
	}
	return worker->link->calls->task(worker->link->peer, task) ? VINE_FAILURE_WORKER : 0;
}
