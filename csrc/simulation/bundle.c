#include "bundle.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "sim.h"
#include "vf_frame.h"
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

/* The frame as it was packed. Tells whether there is one. */
static int open_frame(struct vf_buffer *frame, const struct vine_task *task)
{
	const char *command = task->command;
	if (*command == 'M')
		command = strchr(command, ' ') + 1;
	if (task->provides_library || *command == 'S' || *command == 'T' || *command == ':')
		return 0;
	if (strcmp(command, VF_COMMAND_IN_FILE) != 0) {
		if (vf_frame_decode(frame, command))
			sim_broken("a command is a frame", "task %d", task->id);
		return 1;
	}
	for (uint32_t i = 0; i < task->n_inputs; i++) {
		const struct vine_file *file = task->inputs[i].file;
		if (strcmp(task->inputs[i].name, VF_FRAME_FILE) != 0)
			continue;
		if (vf_buffer_reserve(frame, file->nbytes))
			abort();
		memcpy(frame->data, file->data, file->nbytes);
		frame->nbytes = file->nbytes;
		return 1;
	}
	sim_broken("a frame in a file has that file", "task %d", task->id);
}

int bundle_read(struct bundle *bundle, const struct vine_task *task)
{
	struct vf_buffer frame = {0};
	*bundle = (struct bundle){0};
	if (!open_frame(&frame, task))
		return 0;
	const char *data = frame.data;
	if (frame.nbytes < VF_BUNDLE_HEADER_NBYTES || memcmp(data, VF_BUNDLE_MAGIC, 4) != 0)
		sim_broken("a frame has its header", "task %d", task->id);
	uint32_t n_functions = number_at(data + 8);
	bundle->n_calls = number_at(data + 4);
	bundle->slice_ms = number_at(data + 12);
	const char *functions = data + VF_BUNDLE_HEADER_NBYTES;
	const char *calls = functions + (size_t)n_functions * VF_BUNDLE_FUNCTION_NBYTES;
	const char *payload = calls + (size_t)bundle->n_calls * VF_BUNDLE_CALL_NBYTES;
	for (uint32_t k = 0; k < n_functions; k++)
		payload += number_at(functions + (size_t)k * VF_BUNDLE_FUNCTION_NBYTES + 16);
	bundle->calls = calloc(bundle->n_calls + 1, sizeof *bundle->calls);
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		const char *call = calls + (size_t)i * VF_BUNDLE_CALL_NBYTES;
		const char *function =
				functions + (size_t)number_at(call) * VF_BUNDLE_FUNCTION_NBYTES;
		char text[32] = "";
		uint32_t nbytes = number_at(call + 4);
		if (number_at(call) >= n_functions || nbytes >= sizeof text ||
				payload + nbytes > data + frame.nbytes)
			sim_broken("a frame has its calls", "task %d, call %u", task->id, i);
		memcpy(text, payload, nbytes);
		payload += nbytes;
		bundle->calls[i].function = (unsigned char)function[0];
		bundle->calls[i].has_body = number_at(function + 16) > 0;
		if (sscanf(text, "call %u", &bundle->calls[i].job) != 1)
			sim_broken("a frame has its payloads", "task %d: \"%s\"", task->id, text);
	}
	vf_buffer_free(&frame);
	return 1;
}

void bundle_free(struct bundle *bundle)
{
	free(bundle->calls);
	bundle->calls = NULL;
}

static void write_frame(struct vf_buffer *out, const struct bundle_answer *answer)
{
	size_t room = VF_RESULT_HEADER_NBYTES +
			answer->n_records *
					(VF_RESULT_RECORD_NBYTES + sizeof(struct bundle_record));
	if (vf_buffer_reserve(out, room))
		abort();
	memset(out->data, 0, VF_RESULT_HEADER_NBYTES);
	char *at = out->data + VF_RESULT_HEADER_NBYTES;
	for (uint32_t i = 0; i < answer->n_records; i++) {
		const struct bundle_record *record = &answer->records[i];
		size_t nbytes = strlen(record->payload);
		put_number(at, record->status, 4);
		put_number(at + 4, nbytes, 4);
		put_number(at + 8, record->duration_ns, 8);
		memcpy(at + VF_RESULT_RECORD_NBYTES, record->payload, nbytes);
		at += VF_RESULT_RECORD_NBYTES + nbytes;
	}
	out->nbytes = (size_t)(at - out->data);
	memcpy(out->data, VF_RESULT_MAGIC, 4);
	put_number(out->data + 4, answer->n_records, 4);
	put_number(out->data + 8, out->nbytes, 8);
	put_number(out->data + 16, answer->wait_ns, 8);
	put_number(out->data + 24, answer->run_ns, 8);
	put_number(out->data + 40, answer->slots, 4);
	put_number(out->data + 44, answer->cores, 4);
	put_number(out->data + 48, answer->memory, 4);
	put_number(out->data + 52, answer->disk, 4);
	put_number(out->data + 56, answer->gpus, 4);
}

static void encode(struct vf_buffer *out, struct vf_buffer *frame)
{
	if (frame->nbytes > VF_INLINE_NBYTES) {
		*out = *frame;
		return;
	}
	if (vf_frame_encode(out, frame))
		abort();
	out->nbytes = strlen(out->data);
	vf_buffer_free(frame);
}

void bundle_answer(struct vf_buffer *out, const struct bundle_answer *answer)
{
	struct vf_buffer frame = {0};
	write_frame(&frame, answer);
	encode(out, &frame);
}

void bundle_lie(struct vf_buffer *out, const struct bundle_answer *answer)
{
	struct vf_buffer frame = {0};
	write_frame(&frame, answer);
	char *first = frame.data + VF_RESULT_HEADER_NBYTES;
	int has_record = answer->n_records > 0;
	switch (sim_below(8)) {
	case 0: /* cut */
		frame.nbytes = sim_below((uint32_t)frame.nbytes);
		break;
	case 1: /* records of calls that it never had */
		put_number(frame.data + 4, answer->n_records + 1 + sim_below(5), 4);
		break;
	case 2: /* a length that is none */
		put_number(frame.data + 8, sim_random(), 8);
		break;
	case 3:
		put_number(has_record ? first + 4 : frame.data + 8, sim_random(), 4);
		break;
	case 4: /* a status that is none */
		put_number(has_record ? first : frame.data, 13 + sim_below(1000), 4);
		break;
	case 5: /* one that is of no call */
		put_number(has_record ? first : frame.data, VF_STATUS_ENGINE, 4);
		break;
	case 6: /* output behind the records that is not there */
		put_number(frame.data + 64, 1 + sim_below(1 << 30), 4);
		break;
	default: /* noise */
		for (size_t i = 0; i < frame.nbytes; i++)
			frame.data[i] = (char)(1 + sim_below(255));
	}
	encode(out, &frame);
	if (sim_chance(100))
		out->nbytes = sim_below((uint32_t)out->nbytes + 1);
}
