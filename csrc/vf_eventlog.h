/* What is recorded of calls, bundles and workers, for commands that tell of a run while it goes on
or when it has ended. docs/events.md and vinefast/events/ are the other end.

The manager thread's. Without a file, or a log, nothing is recorded. */

#ifndef VF_EVENTLOG_H
#define VF_EVENTLOG_H

#include <stdint.h>

#include "vf_eventfile.h"

struct vf_bundle;
struct vf_call;
struct vf_counters;
struct vf_function;
struct vf_worker;

/* Kinds of records; the structs are their layouts. Moments are nanoseconds of the monotonic clock,
and 0 means that there was none. */
enum vf_event_kind {
	VF_EVENT_RUN = VF_EVENT_DEFINES | 2,      /* vf_event_name: JSON about the program */
	VF_EVENT_FUNCTION = VF_EVENT_DEFINES | 3, /* vf_event_name: the name of an app */
	VF_EVENT_WORKER = VF_EVENT_DEFINES | 4,   /* vf_event_name: the address of a worker */
	VF_EVENT_NODE = VF_EVENT_DEFINES | 5,     /* vf_event_name: JSON about a worker's node */
	VF_EVENT_WORKER_LEFT = VF_EVENT_ENDS | 6, /* vf_event_name, without a text */
	VF_EVENT_SENT = 7,
	VF_EVENT_ENDED = 8,  /* vf_event_ended, and its calls */
	VF_EVENT_FAILURE = 9, /* vf_event_failure, and a payload */
	VF_EVENT_LOST = 10,  /* vf_event_lost, and the numbers of its calls */
	VF_EVENT_COUNTERS = 11,
	VF_EVENT_CACHED = 12,
	VF_EVENT_STOPPED = 14, /* vf_event_name, without a text: the executor's end */
	VF_EVENT_REMADE = 15,
	VF_EVENT_COUNTER_NAMES = VF_EVENT_DEFINES | 13, /* vf_event_name: with spaces between */
};

enum {
	VF_EVENT_OF_WORKER = 1, /* in `of` */
	VF_EVENT_NO_WORKER = 0, /* workers are counted from 1 */
	/* A longer payload is cut; and when those of a second were as long as this, no more of them
	are kept in it. */
	VF_EVENT_PAYLOAD_NBYTES = 16 << 10,
	VF_EVENT_PAYLOADS_NBYTES = 1 << 20,
};

struct vf_event_name {
	struct vf_event_about about;
	char text[];
};

/* A bundle goes to a worker. Its numbers are there unless they follow each other. */
struct vf_event_sent {
	struct vf_event event;
	uint64_t at_ns, task, first_call;
	uint32_t n_calls, function, worker, nbytes;
	uint64_t numbers[];
};

struct vf_event_call {
	uint64_t number;
	uint64_t duration_ns;
	uint32_t function;
	uint32_t queue_us; /* between submit and sent */
	uint32_t nbytes; /* of the result */
	uint8_t status; /* vf_status, of vf_wire.h */
	uint8_t losses;
	uint8_t is_cancelled, zero;
};

struct vf_event_ended {
	struct vf_event event;
	uint64_t sent_ns, returned_ns, task;
	uint64_t wait_ns, run_ns, dispatch_ns;
	uint32_t worker, slot, pid, n_calls;
	uint32_t result; /* vine_result_t, if the engine has failed it */
	uint32_t n_sent; /* calls that it had */
	struct vf_event_call calls[];
};

/* Of a call whose end is in the record before: what its status goes with. */
struct vf_event_failure {
	struct vf_event event;
	uint64_t number;
	uint32_t status, nbytes; /* of the payload, which may have been longer */
	char payload[];
};

/* Calls of a bundle that did not come back with it, and are run again, or fail with what comes
next. */
struct vf_event_lost {
	struct vf_event event;
	uint64_t at_ns, task;
	uint32_t worker, result, n_calls, zero;
	uint64_t numbers[];
};

/* A call that has ended runs once more, for a temporary file of its that was lost; it does not end
again. */
struct vf_event_remade {
	struct vf_event event;
	uint64_t at_ns, number;
};

struct vf_event_cached {
	struct vf_event event;
	uint64_t at_ns, nbytes, took_us;
	uint32_t worker, zero;
};

struct vf_eventlog {
	struct vf_eventfile *file; /* NULL: none */
	uint32_t n_functions, n_workers;
	uint64_t counted_ns, counters_sum;
	uint64_t payloads_ns, payloads_nbytes; /* of failures, since then */
};

/* JSON about the program. */
void vf_eventlog_run(struct vf_eventlog *log, const char *about);

/* A worker has joined, has told of its node, has left. */
void vf_eventlog_joined(struct vf_eventlog *log, struct vf_worker *worker);
void vf_eventlog_node(struct vf_eventlog *log, const struct vf_worker *worker);
void vf_eventlog_left(struct vf_eventlog *log, const struct vf_worker *worker);

/* NULL: it is none. */
void vf_eventlog_sent(struct vf_eventlog *log, const struct vf_bundle *bundle);

/* All that have an outcome. */
void vf_eventlog_ended(struct vf_eventlog *log, const struct vf_bundle *bundle);

void vf_eventlog_lost(struct vf_eventlog *log, const struct vf_bundle *bundle, int result);

void vf_eventlog_remade(struct vf_eventlog *log, const struct vf_call *call);

void vf_eventlog_cached(struct vf_eventlog *log, const struct vf_worker *worker, uint64_t nbytes,
		uint64_t took_us);

/* The end of a turn: the counters, if they have changed for a while, and all goes to the file. */
void vf_eventlog_turn(struct vf_eventlog *log, struct vf_counters *counters);

/* The executor's end, with the counters as they are then, and the file's. */
void vf_eventlog_close(struct vf_eventlog *log, const struct vf_counters *counters);

#endif
