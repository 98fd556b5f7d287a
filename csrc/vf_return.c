#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "itable.h"
#include "taskvine.h"
#include "vf_output.h"
#include "vf_turn.h"

enum {
	TEXT_NBYTES = 512,
};

struct vf_bundle *vf_bundle_create(uint32_t n_calls, struct vf_call *const *calls)
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
	if (n_calls) /* else `calls` may be NULL */
		memcpy(bundle->calls, calls, n_calls * sizeof bundle->calls[0]);
	return bundle;
}

void vf_bundle_free(struct vf_bundle *bundle)
{
	free(bundle->mounts.inputs);
	free(bundle->mounts.outputs);
	free(bundle->outcomes);
	free(bundle->frame);
	free(bundle);
}

void vf_return_later(struct vf_loop *loop, struct vf_bundle *bundle)
{
	bundle->link.next = NULL;
	*(loop->over ? &loop->last_over->next : &loop->over) = &bundle->link;
	loop->last_over = &bundle->link;
}

void vf_return_over(struct vf_loop *loop)
{
	struct vf_link *item = loop->over;
	if (!item)
		return;
	loop->over = loop->last_over = NULL;
	while (item) {
		struct vf_link *next = item->next;
		vf_ring_push(&loop->done, item);
		item = next;
	}
	vf_wake_signal(&loop->done_wake);
}

static void hand_over(struct vf_loop *loop, struct vf_bundle *bundle)
{
	if (bundle->n_outcomes)
		vf_return_later(loop, bundle);
	else
		vf_bundle_free(bundle);
}

void vf_return_news(struct vf_loop *loop, const struct vf_worker *worker, enum vf_node_news news)
{
	struct vf_bundle *bundle = loop->config.monitored && worker->node ? vf_bundle_create(0, NULL) : NULL;
	if (!bundle)
		return;
	bundle->news = news;
	bundle->worker_slots = loop->config.placing ? worker->slots : loop->workers.typical_slots;
	bundle->frame = strdup(worker->node);
	if (!bundle->frame) {
		vf_bundle_free(bundle);
		return;
	}
	vf_return_later(loop, bundle);
}

/* A call has come back for good. Nobody waits for one that only made files again. */
static void end_call(struct vf_loop *loop, struct vf_bundle *bundle, struct vf_call *call, const struct vf_record *record)
{
	if (!vf_call_makes_again(call))
		bundle->outcomes[bundle->n_outcomes++] = (struct vf_outcome){.call = call, .record = *record};
	if (call->files)
		vf_files_end(loop, call, !vf_status_is_result(record->status));
}

void vf_return_failed(struct vf_loop *loop, struct vf_bundle *bundle, int engine_result, const char *text)
{
	struct vf_record record = {.status = VF_STATUS_ENGINE};
	bundle->engine_result = engine_result;
	bundle->frame = text ? strdup(text) : NULL;
	for (uint32_t i = 0; i < bundle->n_calls; i++)
		end_call(loop, bundle, bundle->calls[i], &record);
	VF_COUNT(loop, calls_returned, bundle->n_outcomes);
	hand_over(loop, bundle);
}

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
	VF_COUNT(loop, bundles_lost, 1);
	VF_COUNT(loop, calls_lost, bundle->n_calls);
	int alone = bundle->n_calls == 1;
	int again = alone ? bundle->orphaned_ns && bundle->calls[0]->losses <= loop->config.max_losses : bundle->n_calls > 1;
	if (!again || !was_lost(result)) {
		vf_return_failed(loop, bundle, result, text);
		return;
	}
	/* One of these calls may be what takes workers down. Alone, it cannot take others with it. */
	for (uint32_t i = bundle->n_calls; i-- > 0;) {
		bundle->calls[i]->solo = 1;
		vf_send_again(loop, bundle->calls[i]);
	}
	vf_bundle_free(bundle);
}

static void return_to_queue(struct vf_loop *loop, struct vf_bundle *bundle)
{
	for (uint32_t i = bundle->n_calls; i-- > 0;) {
		bundle->calls[i]->at_home |= bundle->unreached;
		vf_send_again(loop, bundle->calls[i]);
	}
	vf_bundle_free(bundle);
}

static void send_without_inputs(struct vf_loop *loop, struct vf_call *call)
{
	call->solo = 1;
	if (++call->losses > loop->config.max_losses)
		vf_files_fail(loop, call);
	else
		vf_send_again(loop, call);
}

/* An input of some call vanished on the way, or cannot be fetched: each call is checked again, and goes alone. */
static void return_without_inputs(struct vf_loop *loop, struct vf_bundle *bundle)
{
	VF_COUNT(loop, bundles_lost, 1);
	VF_COUNT(loop, calls_lost, bundle->n_calls);
	for (uint32_t i = bundle->n_calls; i-- > 0;)
		send_without_inputs(loop, bundle->calls[i]);
	vf_bundle_free(bundle);
}

static uint64_t difference(uint64_t later, uint64_t earlier)
{
	return later > earlier ? later - earlier : 0;
}

/* Where the calls of a bundle that came back spent their time. TaskVine's times are of another clock, so it is only asked for a
difference; and clocks of other machines are not compared with ours at all. */
static void count_stages(struct vf_loop *loop, const struct vf_bundle *bundle, const struct vf_result_header *header)
{
	uint64_t submitted_us = (uint64_t)vine_task_get_metric(bundle->task, "time_when_submitted");
	uint64_t committed_us = (uint64_t)vine_task_get_metric(bundle->task, "time_when_commit_end");
	uint64_t dispatch_ns = difference(committed_us, submitted_us) * 1000;
	uint64_t away_ns = difference(bundle->returned_ns, bundle->sent_ns);
	VF_COUNT(loop, dispatch_ns, bundle->n_outcomes * dispatch_ns);
	VF_COUNT(loop, transfer_ns, bundle->n_outcomes * difference(away_ns, dispatch_ns + header->wait_ns + header->run_ns));
	VF_COUNT(loop, library_ns, bundle->n_outcomes * header->wait_ns);
	VF_COUNT(loop, bundle_ns, bundle->n_outcomes * header->run_ns);
}

static int is_of_call(uint32_t status)
{
	return status <= VF_STATUS_SPOILED && status != VF_STATUS_NODE && status != VF_STATUS_ENGINE;
}

/* Sort the records of a result frame: outcomes for the done ring, durations for the next packing, the rest waits again. Returns
0, or -1 when the frame is not what a library writes; nothing has been changed then. */
static int read_frame(struct vf_loop *loop, struct vf_bundle *bundle, const struct vf_result_header *header)
{
	struct vf_record record;
	uint64_t offset = VF_RESULT_HEADER_NBYTES;
	if (!bundle->n_calls)
		return 0;
	if (header->n_records > bundle->n_calls)
		return -1;
	for (uint32_t i = 0; i < header->n_records; i++) {
		if (vf_result_next(bundle->frame, header, &offset, &record) || !is_of_call(record.status))
			return -1;
	}

	for (uint32_t i = bundle->n_calls; i-- > header->n_records;)
		vf_send_again(loop, bundle->calls[i]);
	VF_COUNT(loop, calls_handed_back, bundle->n_calls - header->n_records);

	struct vf_function *function = NULL;
	uint32_t n_of_function = 0, missed = 0;
	uint64_t function_ns = 0, calls_ns = 0, queue_ns = 0;
	uint64_t away_ns = difference(bundle->returned_ns, bundle->sent_ns);
	offset = VF_RESULT_HEADER_NBYTES;
	for (uint32_t i = 0; i < header->n_records; i++) {
		struct vf_call *call = bundle->calls[i];
		vf_result_next(bundle->frame, header, &offset, &record);
		if (record.status == VF_STATUS_MISSED) {
			call->with_body = 1;
			vf_send_again(loop, call);
			missed++;
			continue;
		}
		if (record.status >= VF_STATUS_CHANGED)
			vf_files_spoiled(loop, call);
		if (record.status == VF_STATUS_SPOILED) {
			send_without_inputs(loop, call);
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
		/* The next bundles depend on it, so no more is believed than can be. */
		uint64_t duration_ns = record.duration_ns < away_ns ? record.duration_ns : away_ns;
		function_ns += duration_ns;
		calls_ns += duration_ns;
		queue_ns += bundle->sent_ns - call->submitted_ns;
		function->delivered = !loop->config.command; /* a fresh process keeps nothing */
		end_call(loop, bundle, call, &record);
	}
	if (n_of_function)
		vf_bundle_learn(function, n_of_function, function_ns);
	VF_COUNT(loop, calls_missed, missed);
	VF_COUNT(loop, calls_returned, bundle->n_outcomes);
	VF_COUNT(loop, queue_ns, queue_ns);
	VF_COUNT(loop, calls_ns, calls_ns);
	count_stages(loop, bundle, header);
	VF_COUNT(loop, run_ns, header->run_ns);
	VF_COUNT(loop, wait_ns, header->wait_ns);
	VF_COUNT(loop, bytes_returned, header->nbytes);
	return 0;
}

/* A worker answers its first bundle with a record about its node. One that was handed back, since all slots were busy, goes again. */
static void read_node(struct vf_loop *loop, const struct vf_bundle *bundle, const struct vf_result_header *header, struct vf_worker *worker)
{
	struct vf_record record;
	uint64_t offset = VF_RESULT_HEADER_NBYTES;
	if (!worker || worker->node)
		return;
	if (!header->n_records) {
		worker->warm = !loop->config.monitored;
	} else if (!vf_result_next(bundle->frame, header, &offset, &record) && record.status == VF_STATUS_NODE) {
		worker->node = strndup(record.payload, record.nbytes);
		vf_return_news(loop, worker, VF_NODE_JOINED);
	}
}

/* Find the result frame in a task's output: a long one is used where it is, a short one is an encoded
C string. A call's C code shares memory with the library, so no length is believed that is not within what
TaskVine has received. */
static int open_frame(struct vf_bundle *bundle, char *output, struct vf_result_header *header)
{
	size_t received = vf_output_nbytes(output);
	if (received && !strncmp(output, "VFR1", 4)) {
		bundle->frame = output;
		if (vf_result_open(output, received, header))
			return -1;
		bundle->frame_nbytes = header->nbytes;
		return 0;
	}
	struct vf_buffer decoded = {0};
	if (vf_frame_decode(&decoded, output)) {
		vf_buffer_free(&decoded);
		return -1;
	}
	bundle->frame = decoded.data;
	bundle->frame_nbytes = decoded.nbytes;
	return vf_result_open(decoded.data, decoded.nbytes, header);
}

static void describe_bad_frame(char text[TEXT_NBYTES], struct vine_task *task, const char *output)
{
	size_t received = vf_output_nbytes(output);
	const char *worker = vine_task_get_addrport(task);
	snprintf(text, TEXT_NBYTES,
			"The library on the worker at %s answered with %zu bytes that are no whole result frame. C code that "
			"a call runs may have written into memory that is not its own: look at what it uses.",
			worker ? worker : "an unknown address", received ? received : strlen(output));
}

void vf_return_task(struct vf_loop *loop, struct vine_task *task)
{
	struct vf_bundle *bundle = itable_remove(loop->bundles, (uint64_t)vine_task_get_id(task));
	if (bundle) {
		loop->running -= bundle->n_calls > 0;
		bundle->returned_ns = vf_now_ns();
		struct vf_worker *worker = bundle->worker;
		vf_place_end(bundle);
		vf_watch_end(bundle);
		if (bundle->spilled)
			vine_undeclare_file(loop->manager, bundle->spilled);
		bundle->spilled = NULL;

		int result = (int)vine_task_get_result(task);
		int unfetched = bundle->given_up && result == VINE_RESULT_CANCELLED && vf_unfetched_any(bundle);
		if (unfetched)
			vf_unfetched_return(loop, bundle);
		vf_files_unmount(loop, bundle);
		if (unfetched) {
			vf_bundle_free(bundle);
			vine_task_delete(task);
			return;
		}
		char *output = (char *)vine_task_get_stdout(task);
		if (bundle->given_up && result == VINE_RESULT_CANCELLED) {
			int hopeless = vf_watch_is_hopeless(loop);
			result = hopeless ? VINE_RESULT_LIBRARY_EXIT : VINE_RESULT_MAX_RETRIES;
			output = hopeless ? (char *)vf_watch_why_hopeless() : "each worker or library that had the call was lost";
		} else if (result == VINE_RESULT_SUCCESS && vine_task_get_exit_code(task) == VF_EXIT_NO_ROOM) {
			result = VINE_RESULT_STDOUT_MISSING;
			output = "The worker's disk is full: there is no room for any result.";
		}
		struct vf_result_header header;
		/* What is not there is told by the library, call by call. */
		int complete = result == VINE_RESULT_SUCCESS || result == VINE_RESULT_OUTPUT_MISSING;
		int whole = complete && vine_task_get_exit_code(task) == 0 && output;
		if (whole && open_frame(bundle, output, &header) == 0 && read_frame(loop, bundle, &header) == 0) {
			loop->library_failures = 0;
			if (worker) {
				worker->slots = header.slots;
				worker->has = header.has;
				if (header.n_records || !bundle->n_calls)
					worker->heard_ns = vf_now_ns();
			}
			if (!bundle->n_calls)
				read_node(loop, bundle, &header, worker);
			vf_output_delete(task, bundle->frame); /* before another thread may free the frame */
			hand_over(loop, bundle);
			return;
		}
		if (bundle->frame != output)
			free(bundle->frame);
		bundle->frame = NULL;
		char bad_frame[TEXT_NBYTES];
		if (whole) {
			describe_bad_frame(bad_frame, task, output);
			output = bad_frame;
			result = VINE_RESULT_UNKNOWN;
		}
		int again = bundle->unreached || vf_temps_failed(bundle) || vf_temps_outdated(bundle);
		if (bundle->given_up && again)
			return_to_queue(loop, bundle);
		else if (result == VINE_RESULT_INPUT_MISSING)
			return_without_inputs(loop, bundle);
		else
			return_lost(loop, bundle, result == VINE_RESULT_SUCCESS ? VINE_RESULT_UNKNOWN : result, output);
	}
	vine_task_delete(task);
}
