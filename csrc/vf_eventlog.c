#include "vf_eventlog.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "vf_bundle.h"
#include "vf_call.h"
#include "vf_clock.h"
#include "vf_counters.h"
#include "vf_workers.h"

enum {
	ADDRESS_NBYTES = 64,
};

/* The counters are recorded when something has changed, not more often. */
static const uint64_t COUNTERS_NS = 1000000000;
static const uint64_t PAYLOADS_NS = 1000000000;

struct counters_record {
	struct vf_event event;
	uint64_t at_ns;
	struct vf_snapshot counters;
};

static int is_on(const struct vf_eventlog *log)
{
	return log && log->file;
}

static void put_name(struct vf_eventlog *log, uint16_t kind, uint32_t number, uint32_t slots,
		const char *text)
{
	size_t nbytes = strlen(text);
	struct vf_event_name *record =
			vf_eventfile_put(log->file, kind, sizeof *record + nbytes + 1);
	if (!record)
		return;
	if (kind == VF_EVENT_WORKER || kind == VF_EVENT_NODE || kind == VF_EVENT_WORKER_LEFT)
		record->about.event.of = VF_EVENT_OF_WORKER;
	record->about.at_ns = vf_now_ns();
	record->about.number = number;
	record->about.slots = slots;
	memcpy(record->text, text, nbytes);
}

/* As the worker's own side of the connection has it. */
static void address_of(int fd, char text[ADDRESS_NBYTES])
{
	struct sockaddr_storage address;
	socklen_t nbytes = sizeof address;
	char host[ADDRESS_NBYTES - 8], port[8];
	text[0] = 0;
	if (!getpeername(fd, (struct sockaddr *)&address, &nbytes) &&
			!getnameinfo((struct sockaddr *)&address, nbytes, host, sizeof host, port,
					sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(text, ADDRESS_NBYTES, "%s:%s", host, port);
}

void vf_eventlog_run(struct vf_eventlog *log, const char *about)
{
#define VF_SAY(name) #name " "
	static const char names[] = VF_COUNTERS(VF_SAY);
#undef VF_SAY
	if (!is_on(log))
		return;
	put_name(log, VF_EVENT_RUN, 0, 0, about);
	put_name(log, VF_EVENT_COUNTER_NAMES, 0, 0, names);
}

void vf_eventlog_joined(struct vf_eventlog *log, struct vf_worker *worker)
{
	/* Monitoring tells workers apart by that, whether it is written or not. */
	if (log)
		worker->number = ++log->n_workers;
	if (!is_on(log))
		return;
	char address[ADDRESS_NBYTES];
	address_of(worker->fd, address);
	put_name(log, VF_EVENT_WORKER, worker->number, worker->slots, address);
}

void vf_eventlog_node(struct vf_eventlog *log, const struct vf_worker *worker)
{
	if (is_on(log))
		put_name(log, VF_EVENT_NODE, worker->number, worker->slots, worker->node);
}

void vf_eventlog_left(struct vf_eventlog *log, const struct vf_worker *worker)
{
	if (is_on(log))
		put_name(log, VF_EVENT_WORKER_LEFT, worker->number, worker->slots, "");
}

static uint32_t number_of(struct vf_eventlog *log, struct vf_function *function)
{
	if (!function->number) {
		function->number = ++log->n_functions;
		put_name(log, VF_EVENT_FUNCTION, function->number, 0, function->name);
	}
	return function->number;
}

static int follow_each_other(const struct vf_bundle *bundle)
{
	for (uint32_t i = 1; i < bundle->n_calls; i++) {
		if (bundle->calls[i]->number != bundle->calls[0]->number + i)
			return 0;
	}
	return 1;
}

void vf_eventlog_sent(struct vf_eventlog *log, const struct vf_bundle *bundle)
{
	if (!is_on(log) || !bundle || !bundle->n_calls)
		return;
	uint32_t function = number_of(log, bundle->calls[0]->function);
	uint32_t n_numbers = follow_each_other(bundle) ? 0 : bundle->n_calls;
	struct vf_event_sent *record = vf_eventfile_put(log->file, VF_EVENT_SENT,
			sizeof *record + n_numbers * sizeof record->numbers[0]);
	if (!record)
		return;
	for (uint32_t i = 0; i < n_numbers; i++)
		record->numbers[i] = bundle->calls[i]->number;
	uint64_t nbytes = bundle->stages.sent_nbytes;
	record->at_ns = vf_now_ns();
	record->task = bundle->task_id;
	record->first_call = bundle->calls[0]->number;
	record->n_calls = bundle->n_calls;
	record->function = function;
	record->worker = bundle->worker ? bundle->worker->number : VF_EVENT_NO_WORKER;
	record->nbytes = (uint32_t)(nbytes < UINT32_MAX ? nbytes : UINT32_MAX);
}

static uint32_t microseconds(uint64_t later_ns, uint64_t earlier_ns)
{
	uint64_t us = later_ns > earlier_ns ? (later_ns - earlier_ns) / 1000 : 0;
	return us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

/* What says why, of a call that has no result. */
static void put_failure(struct vf_eventlog *log, const struct vf_bundle *bundle,
		const struct vf_outcome *outcome)
{
	const char *payload = outcome->record.payload;
	uint32_t nbytes = outcome->record.nbytes;
	if (outcome->record.status == VF_STATUS_ENGINE) {
		payload = bundle->frame;
		nbytes = payload ? (uint32_t)strlen(payload) : 0;
	}
	uint32_t kept = nbytes < VF_EVENT_PAYLOAD_NBYTES ? nbytes : VF_EVENT_PAYLOAD_NBYTES;
	if (log->payloads_nbytes >= VF_EVENT_PAYLOADS_NBYTES)
		kept = 0;
	log->payloads_nbytes += kept;
	struct vf_event_failure *record =
			vf_eventfile_put(log->file, VF_EVENT_FAILURE, sizeof *record + kept);
	if (!record)
		return;
	record->number = outcome->call->number;
	record->status = outcome->record.status;
	record->nbytes = nbytes;
	if (kept)
		memcpy(record->payload, payload, kept);
}

static int tells_why(const struct vf_outcome *outcome)
{
	return !vf_status_is_result(outcome->record.status) && !vf_call_is_cancelled(outcome->call);
}

void vf_eventlog_ended(struct vf_eventlog *log, const struct vf_bundle *bundle)
{
	/* One that has come back with nothing done is no longer with its worker. */
	if (!is_on(log) || !(bundle->n_outcomes || (bundle->n_calls && bundle->returned_ns)))
		return;
	/* First of all: it may put a record. */
	for (uint32_t i = 0; i < bundle->n_outcomes; i++)
		number_of(log, bundle->outcomes[i].call->function);
	struct vf_event_ended *record = vf_eventfile_put(log->file, VF_EVENT_ENDED,
			sizeof *record + bundle->n_outcomes * sizeof record->calls[0]);
	if (!record)
		return;
	uint64_t now_ns = vf_now_ns();
	if (now_ns - log->payloads_ns >= PAYLOADS_NS) {
		log->payloads_ns = now_ns;
		log->payloads_nbytes = 0;
	}
	record->sent_ns = bundle->sent_ns;
	record->returned_ns = bundle->returned_ns ? bundle->returned_ns : now_ns;
	record->task = bundle->task_id;
	record->wait_ns = bundle->stages.wait_ns;
	record->run_ns = bundle->stages.run_ns;
	record->dispatch_ns = bundle->stages.dispatch_ns;
	record->worker = bundle->stages.worker;
	record->slot = bundle->stages.slot;
	record->pid = bundle->stages.pid;
	record->n_calls = bundle->n_outcomes;
	record->n_sent = bundle->n_calls;
	record->result = (uint32_t)bundle->engine_result;
	for (uint32_t i = 0; i < bundle->n_outcomes; i++) {
		const struct vf_outcome *outcome = &bundle->outcomes[i];
		struct vf_call *call = outcome->call;
		record->calls[i] = (struct vf_event_call){
				.number = call->number,
				.duration_ns = outcome->record.duration_ns,
				.function = call->function->number,
				.queue_us = microseconds(bundle->sent_ns, call->submitted_ns),
				.nbytes = outcome->record.nbytes,
				.status = (uint8_t)outcome->record.status,
				.losses = call->losses,
				.is_cancelled = (uint8_t)vf_call_is_cancelled(call),
		};
	}
	for (uint32_t i = 0; i < bundle->n_outcomes; i++) {
		if (tells_why(&bundle->outcomes[i]))
			put_failure(log, bundle, &bundle->outcomes[i]);
	}
}

void vf_eventlog_lost(struct vf_eventlog *log, const struct vf_bundle *bundle, int result)
{
	if (!is_on(log) || !bundle->n_calls)
		return;
	struct vf_event_lost *record = vf_eventfile_put(log->file, VF_EVENT_LOST,
			sizeof *record + bundle->n_calls * sizeof record->numbers[0]);
	if (!record)
		return;
	record->at_ns = vf_now_ns();
	record->task = bundle->task_id;
	record->worker = bundle->stages.worker;
	record->result = (uint32_t)result;
	record->n_calls = bundle->n_calls;
	for (uint32_t i = 0; i < bundle->n_calls; i++)
		record->numbers[i] = bundle->calls[i]->number;
}

void vf_eventlog_remade(struct vf_eventlog *log, const struct vf_call *call)
{
	struct vf_event_remade *record = is_on(log) ?
			vf_eventfile_put(log->file, VF_EVENT_REMADE, sizeof *record) :
			NULL;
	if (!record)
		return;
	record->at_ns = vf_now_ns();
	record->number = call->number;
}

void vf_eventlog_cached(struct vf_eventlog *log, const struct vf_worker *worker, uint64_t nbytes,
		uint64_t took_us)
{
	struct vf_event_cached *record = is_on(log) ?
			vf_eventfile_put(log->file, VF_EVENT_CACHED, sizeof *record) :
			NULL;
	if (!record)
		return;
	record->at_ns = vf_now_ns();
	record->nbytes = nbytes;
	record->took_us = took_us;
	record->worker = worker->number;
}

static uint64_t sum_of(const struct vf_snapshot *snapshot)
{
	uint64_t sum = 0;
#define VF_ADD(name) sum = sum * 31 + snapshot->name;
	VF_COUNTERS(VF_ADD)
#undef VF_ADD
	return sum;
}

static void put_counters(
		struct vf_eventlog *log, const struct vf_counters *counters, uint64_t now_ns)
{
	struct vf_snapshot snapshot;
	vf_counters_read(counters, &snapshot);
	log->counted_ns = now_ns;
	uint64_t sum = sum_of(&snapshot);
	if (sum == log->counters_sum)
		return;
	struct counters_record *record =
			vf_eventfile_put(log->file, VF_EVENT_COUNTERS, sizeof *record);
	if (!record)
		return;
	record->at_ns = now_ns;
	record->counters = snapshot;
	log->counters_sum = sum;
}

void vf_eventlog_turn(struct vf_eventlog *log, struct vf_counters *counters)
{
	if (!is_on(log))
		return;
	VF_SET(counters, event_log_errno, (uint64_t)vf_eventfile_errno(log->file));
	uint64_t now_ns = vf_now_ns();
	if (now_ns - log->counted_ns >= COUNTERS_NS)
		put_counters(log, counters, now_ns);
	vf_eventfile_hand_over(log->file);
}

void vf_eventlog_close(struct vf_eventlog *log, const struct vf_counters *counters)
{
	if (!is_on(log))
		return;
	put_counters(log, counters, vf_now_ns());
	put_name(log, VF_EVENT_STOPPED, 0, 0, "");
	vf_eventfile_close(log->file);
	log->file = NULL;
}
