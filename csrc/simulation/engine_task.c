/* TaskVine's tasks. */

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "sim.h"

int engine_n_tasks;

static void set_text(char **place, const char *text)
{
	free(*place);
	*place = text ? strdup(text) : NULL;
}

struct vine_task *vine_task_create(const char *command)
{
	struct vine_task *task = calloc(1, sizeof *task);
	task->refs = 1;
	set_text(&task->command, command);
	engine_n_tasks++;
	return task;
}

struct vine_task *vine_task_addref(struct vine_task *task)
{
	task->refs++;
	return task;
}

static void free_mounts(struct mount *mounts, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		engine_file_release(mounts[i].file);
		free(mounts[i].name);
	}
	free(mounts);
}

void vine_task_delete(struct vine_task *task)
{
	if (!task)
		return;
	if (task->refs <= 0)
		sim_broken("a task is released once", "task %d", task->id);
	if (--task->refs)
		return;
	if (task->is_queued || task->worker)
		sim_broken("a task is not freed while it is in use", "task %d", task->id);
	free_mounts(task->inputs, task->n_inputs);
	free_mounts(task->outputs, task->n_outputs);
	free(task->command);
	free(task->output);
	free(task->needs_library);
	free(task->provides_library);
	free(task);
	engine_n_tasks--;
}

struct vine_task *engine_copy_library(const struct vine_task *template)
{
	struct vine_task *task = vine_task_create(template->command);
	set_text(&task->provides_library, template->provides_library);
	return task;
}

static struct mount *add_mount(
		struct mount *mounts, uint32_t *n, struct vine_file *file, const char *name)
{
	mounts = realloc(mounts, (*n + 1) * sizeof *mounts);
	mounts[(*n)++] = (struct mount){file, strdup(name)};
	file->refs++;
	return mounts;
}

int vine_task_add_input(struct vine_task *task, struct vine_file *file, const char *name,
		vine_mount_flags_t flags)
{
	(void)flags;
	if (!task || !file || !name)
		return 0;
	if (!file->is_declared)
		sim_broken("no task gets a file that is undeclared", "%s", file->cached_name);
	task->inputs = add_mount(task->inputs, &task->n_inputs, file, name);
	return 1;
}

int vine_task_add_output(struct vine_task *task, struct vine_file *file, const char *name,
		vine_mount_flags_t flags)
{
	(void)flags;
	if (!task || !file || !name)
		return 0;
	task->outputs = add_mount(task->outputs, &task->n_outputs, file, name);
	file->is_created = 0;
	return 1;
}

/* In one block, as TaskVine reads it. */
void engine_task_store(struct vine_task *task, const char *output, size_t nbytes)
{
	free(task->output);
	task->output = malloc(nbytes + 1);
	memcpy(task->output, output, nbytes);
	task->output[nbytes] = 0;
	task->output_nbytes = nbytes;
}

int vine_task_set_result(struct vine_task *task, vine_result_t result)
{
	task->result = (int)result;
	return 1;
}

const char *vine_task_get_state(struct vine_task *task)
{
	static const char *const names[] = {
			"INITIAL", "READY", "RUNNING", "WAITING_RETRIEVAL", "RETRIEVED", "DONE"};
	return names[task->state];
}

int vine_task_get_id(struct vine_task *task)
{
	return task->id;
}

vine_result_t vine_task_get_result(struct vine_task *task)
{
	return (vine_result_t)task->result;
}

int vine_task_get_exit_code(struct vine_task *task)
{
	return task->exit_code;
}

const char *vine_task_get_stdout(struct vine_task *task)
{
	return task->output;
}

const char *vine_task_get_addrport(struct vine_task *task)
{
	return task->addrport[0] ? task->addrport : NULL;
}

const char *vine_task_get_library_provided(struct vine_task *task)
{
	return task->provides_library;
}

int64_t vine_task_get_metric(struct vine_task *task, const char *name)
{
	return (int64_t)(strcmp(name, "time_when_submitted") ? task->committed_us :
							       task->submitted_us);
}

void vine_task_set_library_required(struct vine_task *task, const char *name)
{
	set_text(&task->needs_library, name);
}

void vine_task_set_library_provided(struct vine_task *task, const char *name)
{
	set_text(&task->provides_library, name);
}

void vine_task_set_priority(struct vine_task *task, double priority)
{
	task->priority = priority;
}

void vine_task_set_function_slots(struct vine_task *task, int slots)
{
	task->slots = slots;
}

/* What is of no concern here. */

void vine_task_set_category(struct vine_task *task, const char *category)
{
	(void)task, (void)category;
}

void vine_task_set_cores(struct vine_task *task, int cores)
{
	(void)task, (void)cores;
}

void vine_task_set_memory(struct vine_task *task, int64_t memory)
{
	(void)task, (void)memory;
}

void vine_task_set_disk(struct vine_task *task, int64_t disk)
{
	(void)task, (void)disk;
}

void vine_task_set_gpus(struct vine_task *task, int gpus)
{
	(void)task, (void)gpus;
}

void vine_task_set_time_min(struct vine_task *task, int64_t seconds)
{
	(void)task, (void)seconds;
}

void vine_task_set_retries(struct vine_task *task, int64_t retries)
{
	(void)task, (void)retries;
}

void vine_task_set_env_var(struct vine_task *task, const char *name, const char *value)
{
	(void)task, (void)name, (void)value;
}
