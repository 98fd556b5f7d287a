/* The frames of scripted workers, written from docs/architecture.md. */

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "scripted_worker.h"
#include "taskvine.h"
#include "vf_wire.h"

static uint32_t number_at(const char *at)
{
	uint32_t number;
	memcpy(&number, at, sizeof number);
	return number;
}

static void put_number(char *at, uint64_t number, size_t nbytes)
{
	memcpy(at, &number, nbytes);
}

/* The bundle of a function call is its command, or the file that is called "frame". */
void worker_open_bundle(const struct worker *worker, struct worker_task *task)
{
	const struct worker_file *file = NULL;
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		if (!strcmp(task->inputs[i].name, "frame"))
			file = worker_file(worker, task->inputs[i].cached_name);
	}
	if (file) {
		CHECK((task->frame.data = malloc(file->nbytes)));
		memcpy(task->frame.data, file->data, file->nbytes);
		task->frame.nbytes = task->frame.capacity = file->nbytes;
	} else {
		/* What its calls may take is for a supervisor. */
		const char *command = task->command;
		if (*command == 'M')
			command = strchr(command, ' ') + 1;
		CHECK(!vf_frame_decode(&task->frame, command));
	}
	CHECK(task->frame.nbytes >= VF_BUNDLE_HEADER_NBYTES);
	CHECK(!memcmp(task->frame.data, "VFB1", 4));
	task->n_calls = number_at(task->frame.data + 4);
}

const char *worker_payload(const struct worker_task *task, uint32_t i, uint32_t *nbytes)
{
	const char *frame = task->frame.data;
	uint32_t n_functions = number_at(frame + 8);
	const char *functions = frame + VF_BUNDLE_HEADER_NBYTES;
	const char *calls = functions + (size_t)n_functions * VF_BUNDLE_FUNCTION_NBYTES;
	const char *payload = calls + (size_t)task->n_calls * VF_BUNDLE_CALL_NBYTES;
	for (uint32_t k = 0; k < n_functions; k++)
		payload += number_at(functions + (size_t)k * VF_BUNDLE_FUNCTION_NBYTES + 16);
	for (uint32_t k = 0; k < i; k++)
		payload += number_at(calls + (size_t)k * VF_BUNDLE_CALL_NBYTES + 4);
	*nbytes = number_at(calls + (size_t)i * VF_BUNDLE_CALL_NBYTES + 4);
	return payload;
}

char *worker_frame(const struct worker *worker, const struct worker_task *task, uint32_t n_records,
		const uint32_t *statuses, size_t *nbytes)
{
	const struct worker_script *script = &worker->script;
	size_t size = VF_RESULT_HEADER_NBYTES + (size_t)n_records * VF_RESULT_RECORD_NBYTES;
	char *frame = calloc(1, size + task->frame.nbytes + 16);
	char *record = frame + VF_RESULT_HEADER_NBYTES;
	CHECK(frame);
	for (uint32_t i = 0; i < n_records; i++) {
		uint32_t n = 2;
		const char *payload = task->n_calls ? worker_payload(task, i, &n) : "{}";
		put_number(record, statuses ? statuses[i] : VF_STATUS_PICKLE, 4);
		put_number(record + 4, n, 4);
		put_number(record + 8, 1000, 8);
		memcpy(record + VF_RESULT_RECORD_NBYTES, payload, n);
		record += VF_RESULT_RECORD_NBYTES + n;
	}
	*nbytes = (size_t)(record - frame);
	memcpy(frame, "VFR1", 4);
	put_number(frame + 4, n_records, 4);
	put_number(frame + 8, *nbytes, 8);
	put_number(frame + 16, 100, 8);
	put_number(frame + 24, 1000, 8);
	put_number(frame + 36, (uint32_t)worker->pid, 4);
	put_number(frame + 40, script->slots ? script->slots : script->cores, 4);
	put_number(frame + 44, script->cores, 4);
	put_number(frame + 48, script->memory, 4);
	put_number(frame + 52, script->disk, 4);
	put_number(frame + 56, script->gpus, 4);
	return frame;
}

void worker_answer(struct worker *worker, struct worker_task *task, uint32_t n_records,
		const uint32_t *statuses)
{
	struct vf_buffer frame = {0}, encoded = {0};
	frame.data = worker_frame(worker, task, n_records, statuses, &frame.nbytes);
	if (frame.nbytes > VF_INLINE_NBYTES) {
		worker_complete(worker, task, VINE_RESULT_SUCCESS, 0, frame.data, frame.nbytes);
	} else {
		CHECK(!vf_frame_encode(&encoded, &frame));
		worker_complete(worker, task, VINE_RESULT_SUCCESS, 0, encoded.data,
				strlen(encoded.data));
	}
	free(frame.data);
	vf_buffer_free(&encoded);
}
