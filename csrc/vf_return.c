#include "vf_return.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskvine.h"
#include "vf_bundle.h"
#include "vf_call.h"
#include "vf_clock.h"
#include "vf_config.h"
#include "vf_counters.h"
#include "vf_end.h"
#include "vf_eventlog.h"
#include "vf_files.h"
#include "vf_frame.h"
#include "vf_histogram.h"
#include "vf_inflight.h"
#include "vf_library.h"
#include "vf_output.h"
#include "vf_place.h"
#include "vf_sizing.h"
#include "vf_temps.h"
#include "vf_unfetched.h"
#include "vf_waiting.h"
#include "vf_workers.h"

enum {
	TEXT_NBYTES = 512,
	/* A shell and Python end with the statuses before by themselves. */
	FIRST_SIGNAL = 3,
	LAST_SIGNAL = 64,
};

/* Does this result mean that the bundle's calls may never have run, through no fault of the bundle
as such? */
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

static void count_lost(struct vf_return *returns, const struct vf_bundle *bundle, int result)
{
	vf_eventlog_lost(returns->log, bundle, result);
	VF_COUNT(returns->counters, bundles_lost, 1);
	VF_COUNT(returns->counters, calls_lost, bundle->n_calls);
}

/* The worker's disk had no room for any result, which may be the work of other calls. Another
worker may have room, and so may this one soon: it gets nothing new for a moment. The call that
fills disks by itself fails in the end. Tells whether the bundle goes again. */
static int return_without_room(
		struct vf_return *returns, struct vf_bundle *bundle, struct vf_worker *worker)
{
	if (worker)
		vf_worker_refuse(worker, vf_now_ns());
	if (bundle->n_calls != 1 || bundle->calls[0]->losses >= returns->config->max_losses)
		return 0; /* several go again, each alone, as after any loss */
	bundle->calls[0]->losses++;
	bundle->calls[0]->solo = 1;
	count_lost(returns, bundle, VINE_RESULT_STDOUT_MISSING);
	vf_waiting_again(returns->waiting, bundle->calls[0]);
	vf_bundle_free(bundle);
	return 1;
}

static void return_lost(
		struct vf_return *returns, struct vf_bundle *bundle, int result, const char *text)
{
	count_lost(returns, bundle, result);
	int alone = bundle->n_calls == 1;
	int again = alone ? bundle->orphaned_ns &&
					bundle->calls[0]->losses <= returns->config->max_losses :
			    bundle->n_calls > 1;
	if (!again || !was_lost(result)) {
		vf_end_failed(returns->end, bundle, result, text);
		return;
	}
	/* One of these calls may be what takes workers down. Alone, it cannot take others with
	it. */
	for (uint32_t i = bundle->n_calls; i-- > 0;) {
		bundle->calls[i]->solo = 1;
		vf_waiting_again(returns->waiting, bundle->calls[i]);
	}
	vf_bundle_free(bundle);
}

static void return_to_queue(struct vf_return *returns, struct vf_bundle *bundle)
{
	vf_eventlog_lost(returns->log, bundle, VINE_RESULT_CANCELLED);
	for (uint32_t i = bundle->n_calls; i-- > 0;) {
		bundle->calls[i]->at_home |= bundle->unreached;
		vf_waiting_again(returns->waiting, bundle->calls[i]);
	}
	vf_bundle_free(bundle);
}

static void send_without_inputs(struct vf_return *returns, struct vf_call *call)
{
	call->solo = 1;
	if (++call->losses > returns->config->max_losses)
		vf_end_without_inputs(returns->end, call);
	else
		vf_waiting_again(returns->waiting, call);
}

/* An input of some call vanished on the way, or cannot be fetched: each call is checked again, and
goes alone. */
static void return_without_inputs(struct vf_return *returns, struct vf_bundle *bundle)
{
	count_lost(returns, bundle, VINE_RESULT_INPUT_MISSING);
	for (uint32_t i = bundle->n_calls; i-- > 0;)
		send_without_inputs(returns, bundle->calls[i]);
	vf_bundle_free(bundle);
}

/* The library that they need could not be sent to their worker: something of it is gone here, or
finds no room there. Another worker may have one. */
static void return_without_library(struct vf_return *returns, struct vf_bundle *bundle)
{
	count_lost(returns, bundle, VINE_RESULT_INPUT_MISSING);
	for (uint32_t i = bundle->n_calls; i-- > 0;) {
		struct vf_call *call = bundle->calls[i];
		if (++call->losses > returns->config->max_losses)
			vf_end_for_file(returns->end, call, NULL,
					"the library could not be sent to a worker");
		else
			vf_waiting_again(returns->waiting, call);
	}
	vf_bundle_free(bundle);
}

static uint64_t difference(uint64_t later, uint64_t earlier)
{
	return later > earlier ? later - earlier : 0;
}

/* Where the calls of a bundle that came back spent their time. TaskVine's times are of another
clock, so it is only asked for a difference; and clocks of other machines are not compared with ours
at all. */
static void count_stages(struct vf_return *returns, struct vf_bundle *bundle,
		const struct vf_result_header *header)
{
	uint64_t submitted_us = (uint64_t)vine_task_get_metric(bundle->task, "time_when_submitted");
	uint64_t committed_us =
			(uint64_t)vine_task_get_metric(bundle->task, "time_when_commit_end");
	uint64_t dispatch_ns = difference(committed_us, submitted_us) * 1000;
	uint64_t away_ns = difference(bundle->returned_ns, bundle->sent_ns);
	bundle->stages.dispatch_ns = dispatch_ns;
	bundle->stages.wait_ns = header->wait_ns;
	bundle->stages.run_ns = header->run_ns;
	bundle->stages.slot = header->slot;
	bundle->stages.pid = header->pid;
	uint64_t transfer_ns = difference(away_ns, dispatch_ns + header->wait_ns + header->run_ns);
	uint32_t n_calls = bundle->n_outcomes;
	VF_COUNT(returns->counters, dispatch_ns, n_calls * dispatch_ns);
	VF_COUNT(returns->counters, transfer_ns, n_calls * transfer_ns);
	VF_COUNT(returns->counters, library_ns, n_calls * header->wait_ns);
	VF_COUNT(returns->counters, bundle_ns, n_calls * header->run_ns);
	vf_histogram_add(&returns->histograms[VF_STAGE_DISPATCH], dispatch_ns, n_calls);
	vf_histogram_add(&returns->histograms[VF_STAGE_TRANSFER], transfer_ns, n_calls);
	vf_histogram_add(&returns->histograms[VF_STAGE_LIBRARY], header->wait_ns, n_calls);
}

static int is_of_call(uint32_t status)
{
	return status <= VF_STATUS_TIMED_OUT && status != VF_STATUS_NODE &&
			status != VF_STATUS_ENGINE;
}

/* Sort the records of a result frame: outcomes for the done ring, durations for the next packing,
the rest waits again. Returns 0, or -1 when the frame is not what a library writes; nothing has been
changed then. */
static int read_frame(struct vf_return *returns, struct vf_bundle *bundle,
		const struct vf_result_header *header)
{
	struct vf_record record;
	uint64_t offset = VF_RESULT_HEADER_NBYTES;
	if (!bundle->n_calls)
		return 0;
	if (header->n_records > bundle->n_calls)
		return -1;
	for (uint32_t i = 0; i < header->n_records; i++) {
		if (vf_result_next(bundle->frame, header, &offset, &record) ||
				!is_of_call(record.status))
			return -1;
	}
	if (offset != header->end) /* then the records are not what the header says */
		return -1;

	for (uint32_t i = bundle->n_calls; i-- > header->n_records;)
		vf_waiting_again(returns->waiting, bundle->calls[i]);
	VF_COUNT(returns->counters, calls_handed_back, bundle->n_calls - header->n_records);

	struct vf_function *function = NULL;
	uint32_t n_of_function = 0, missed = 0;
	uint64_t function_ns = 0, calls_ns = 0, queue_ns = 0;
	struct vf_histogram *histograms = returns->histograms;
	uint64_t away_ns = difference(bundle->returned_ns, bundle->sent_ns);
	offset = VF_RESULT_HEADER_NBYTES;
	for (uint32_t i = 0; i < header->n_records; i++) {
		struct vf_call *call = bundle->calls[i];
		vf_result_next(bundle->frame, header, &offset, &record);
		if (record.status == VF_STATUS_UNKNOWN_FUNCTION) {
			call->with_body = 1;
			vf_waiting_again(returns->waiting, call);
			missed++;
			continue;
		}
		if (record.status == VF_STATUS_INPUT_CHANGED ||
				record.status == VF_STATUS_INPUT_SPOILED)
			vf_files_spoiled(returns->files, call);
		if (record.status == VF_STATUS_INPUT_SPOILED) {
			send_without_inputs(returns, call);
			continue;
		}
		if (call->function != function) {
			if (n_of_function)
				vf_sizing_learn(function, n_of_function, function_ns);
			function = call->function;
			n_of_function = 0;
			function_ns = 0;
		}
		/* The next bundles depend on it, so no more is believed than can be. */
		uint64_t duration_ns = record.duration_ns < away_ns ? record.duration_ns : away_ns;
		if (!vf_call_is_cancelled(call)) { /* else it has ended before its time */
			n_of_function++;
			function_ns += duration_ns;
		}
		calls_ns += duration_ns;
		uint64_t waited_ns = bundle->sent_ns - call->submitted_ns;
		queue_ns += waited_ns;
		vf_histogram_add(&histograms[VF_STAGE_QUEUE], waited_ns, 1);
		vf_histogram_add(&histograms[VF_STAGE_EXECUTE], duration_ns, 1);
		vf_histogram_add(&histograms[VF_STAGE_COMPANIONS],
				difference(header->run_ns, duration_ns), 1);
		function->delivered = !returns->config->command; /* a fresh process keeps nothing */
		vf_end_call(returns->end, bundle, call, &record);
	}
	if (n_of_function)
		vf_sizing_learn(function, n_of_function, function_ns);
	VF_COUNT(returns->counters, calls_missed, missed);
	VF_COUNT(returns->counters, calls_returned, bundle->n_outcomes);
	VF_COUNT(returns->counters, queue_ns, queue_ns);
	VF_COUNT(returns->counters, calls_ns, calls_ns);
	count_stages(returns, bundle, header);
	VF_COUNT(returns->counters, run_ns, header->run_ns);
	VF_COUNT(returns->counters, wait_ns, header->wait_ns);
	VF_COUNT(returns->counters, bytes_returned, header->nbytes);
	return 0;
}

/* A worker answers its first bundle with a record about its node. One that was handed back, since
all slots were busy, goes again. */
static void read_node(struct vf_return *returns, const struct vf_bundle *bundle,
		const struct vf_result_header *header, struct vf_worker *worker)
{
	struct vf_record record;
	uint64_t offset = VF_RESULT_HEADER_NBYTES;
	if (!worker || worker->node)
		return;
	if (!header->n_records) {
		worker->warm = returns->config->monitored ? VF_WORKER_COLD : VF_WORKER_WARM;
	} else if (!vf_result_next(bundle->frame, header, &offset, &record) &&
			record.status == VF_STATUS_NODE) {
		worker->node = strndup(record.payload, record.nbytes);
		if (worker->node)
			vf_eventlog_node(returns->log, worker);
		vf_place_tell(returns->place, worker, VF_NODE_JOINED);
	}
}

/* Find the result frame in a task's output: a long one is used where it is, a short one is an
encoded C string. A call's C code shares memory with the library, so no length is believed that is
not within what TaskVine has received. */
static int open_frame(struct vf_bundle *bundle, char *output, struct vf_result_header *header)
{
	size_t received = vf_output_nbytes(output);
	if (received && !strncmp(output, VF_RESULT_MAGIC, 4)) {
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
			"The library on the worker at %s answered with %zu bytes that are no whole "
			"result frame. C code that "
			"a call runs may have written into memory that is not its own: look at "
			"what it uses.",
			worker ? worker : "an unknown address",
			received ? received : strlen(output));
}

/* The process that was to run the call has been ended itself. A worker tells a signal as it would
an exit status (seen with 7.14.5). */
static int was_signalled(struct vine_task *task, char text[TEXT_NBYTES])
{
	int exit_code = vine_task_get_exit_code(task);
	if (exit_code < FIRST_SIGNAL || exit_code > LAST_SIGNAL)
		return 0;
	snprintf(text, TEXT_NBYTES, "It was signal %d.", exit_code);
	return 1;
}

/* An input of the bundle did not reach a worker, which concerns some of its calls. */
static void return_unfetched(struct vf_return *returns, struct vf_bundle *bundle)
{
	uint32_t n_inputs = 0;
	count_lost(returns, bundle, VINE_RESULT_INPUT_MISSING);
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		const struct vf_file *file;
		struct vf_call *call = bundle->calls[i];
		const char *why = vf_unfetched_judge(bundle, call, &n_inputs, &file);
		if (why)
			vf_end_for_file(returns->end, call, file, why);
		else
			vf_waiting_again(returns->waiting, call);
	}
	vf_files_unmount(returns->files, bundle);
	vf_bundle_free(bundle);
}

/* A whole frame has come, and its records are read. */
static void return_answered(struct vf_return *returns, struct vf_bundle *bundle,
		const struct vf_result_header *header, struct vf_worker *worker)
{
	vf_library_begin_anew(returns->library);
	if (worker) {
		worker->slots = header->slots;
		worker->has = header->has;
		if (header->n_records || !bundle->n_calls)
			worker->heard_ns = vf_now_ns();
	}
	if (!bundle->n_calls && !bundle->question)
		read_node(returns, bundle, header, worker);
	VF_COUNT(returns->counters, slots_replaced, header->replaced);
	bundle->output_at = header->end < header->nbytes ? header->end : 0;
	bundle->output_dropped = header->output_dropped;
}

/* That outputs are missing is not looked at: the library tells that, call by call. Without its
frame, no call is known to have run, so that they are missing then is no call's failure. */
static int result_of(struct vine_task *task)
{
	int result = (int)vine_task_get_result(task);
	return result == VINE_RESULT_OUTPUT_MISSING ? VINE_RESULT_SUCCESS : result;
}

/* Was there no room for a result frame where the task ran? The library says so, or its file has
stayed empty, which no frame is. */
static int lacks_room(struct vine_task *task, const char *output)
{
	int exit_code = vine_task_get_exit_code(task);
	return exit_code == VF_EXIT_NO_ROOM || (exit_code == 0 && output && !*output);
}

/* Takes the bundle over. Tells whether the task has been deleted, too. */
static int return_bundle(
		struct vf_return *returns, struct vf_bundle *bundle, struct vine_task *task)
{
	bundle->returned_ns = vf_now_ns();
	struct vf_worker *worker = bundle->worker;
	bundle->stages.worker = worker ? worker->number : 0;
	vf_place_end(bundle);
	if (bundle->spilled)
		vine_undeclare_file(returns->config->manager, bundle->spilled);
	bundle->spilled = NULL;

	int result = result_of(task);
	int is_cancelled = bundle->given_up && result == VINE_RESULT_CANCELLED;
	if (is_cancelled && vf_unfetched_any(bundle)) {
		return_unfetched(returns, bundle);
		return 0;
	}
	vf_files_unmount(returns->files, bundle);
	if (is_cancelled && vf_bundle_is_cancelled(bundle)) {
		vf_end_failed(returns->end, bundle, VINE_RESULT_CANCELLED, NULL);
		return 0;
	}
	if (is_cancelled && bundle->without_library && bundle->n_calls) {
		return_without_library(returns, bundle);
		return 0;
	}
	char *output = (char *)vine_task_get_stdout(task);
	int has_room = result != VINE_RESULT_SUCCESS || !lacks_room(task, output);
	if (!has_room && return_without_room(returns, bundle, worker))
		return 0;
	if (is_cancelled) {
		int hopeless = vf_library_is_hopeless(returns->library);
		result = hopeless ? VINE_RESULT_LIBRARY_EXIT : VINE_RESULT_MAX_RETRIES;
		output = hopeless ? (char *)vf_library_why_hopeless() :
				    "each worker or library that had the call was lost";
	} else if (!has_room) {
		result = VINE_RESULT_STDOUT_MISSING;
		output = "The worker's disk is full: there is no room for any result.";
	}
	struct vf_result_header header;
	int whole = result == VINE_RESULT_SUCCESS && vine_task_get_exit_code(task) == 0 && output;
	if (whole && open_frame(bundle, output, &header) == 0 &&
			read_frame(returns, bundle, &header) == 0) {
		return_answered(returns, bundle, &header, worker);
		/* Before another thread may free the frame. */
		vf_output_delete(task, bundle->frame);
		vf_end_bundle(returns->end, bundle);
		return 1;
	}
	if (!bundle->n_calls && worker && !worker->slots)
		worker->warm = VF_WORKER_LOST_FIRST;
	if (bundle->frame != output)
		free(bundle->frame);
	bundle->frame = NULL;
	char text[TEXT_NBYTES];
	if (whole) {
		describe_bad_frame(text, task, output);
		output = text;
		result = VINE_RESULT_UNKNOWN;
	} else if (result == VINE_RESULT_SUCCESS && was_signalled(task, text)) {
		output = text;
		result = VINE_RESULT_SIGNAL;
	}
	/* TaskVine does not offer it again, where that is counted, while a temporary file that it
	reads is lost as well. */
	if (bundle->given_up && bundle->has_run && !worker)
		vf_bundle_lose(bundle);
	int again = bundle->unreached || vf_temps_failed(bundle) || vf_temps_outdated(bundle);
	/* The worker that a call takes down may be the one that has what it reads, each time. */
	int is_suspect = vf_bundle_has_lost(bundle, returns->config->max_losses);
	if (bundle->given_up && again && !is_suspect)
		return_to_queue(returns, bundle);
	else if (result == VINE_RESULT_INPUT_MISSING)
		return_without_inputs(returns, bundle);
	else
		return_lost(returns, bundle,
				result == VINE_RESULT_SUCCESS ? VINE_RESULT_UNKNOWN : result,
				output);
	return 0;
}

void vf_return_task(struct vf_return *returns, struct vine_task *task)
{
	struct vf_bundle *bundle =
			vf_inflight_take(returns->inflight, (uint64_t)vine_task_get_id(task));
	if (!bundle || !return_bundle(returns, bundle, task))
		vine_task_delete(task);
}
