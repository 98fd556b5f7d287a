/* What a call is while it is inside the core: the call itself, its function, and its resource
specification.

The submitting side (which holds the GIL) makes and frees these, each call as part of its future;
the manager thread reads them and writes only the members marked so. Python objects appear as opaque
pointers that no C code touches. */

#ifndef VF_CALL_H
#define VF_CALL_H

#include <stdatomic.h>
#include <stdint.h>

#include "vf_heap.h"
#include "vf_ring.h"
#include "vf_wire.h"

/* Each way from one state to another is one of the functions below, by compare-and-swap. The
manager thread sends a call that is QUEUED, and queues it again when it comes back unrun; the
submitting side may cancel it, and CANCELLED it stays. */
enum vf_call_state {
	VF_CALL_QUEUED = 0,
	VF_CALL_SENT = 1,
	VF_CALL_CANCELLED = 2,
};

struct vf_function {
	unsigned char digest[VF_DIGEST_NBYTES];
	const char *body; /* parsl.serialize bytes of the function */
	uint32_t body_nbytes;
	const char *name;

	/* The manager thread's. */
	/* Moving average of a call's duration on a worker; negative while unknown. */
	double mean_ns;
	/* The most calls of this function that a bundle may hold, grows with experience. */
	uint32_t limit;
	int delivered;         /* some worker has run it, so bundles need not carry the body */
	uint64_t bundle_stamp; /* the bundle being packed that has seen this function, and */
	uint32_t bundle_index; /* its index there */
	uint32_t number;       /* in the event log; 0: none yet */
};

struct vf_file_list;

struct vf_call_list {
	struct vf_call *head, *tail;
	uint64_t n;
};

/* What a worker has, or a call needs; memory and disk in MB. */
struct vf_resources {
	double cores, memory, disk, gpus;
};

/* Whether anything is needed that makes a call more than an ordinary one. */
static inline int vf_resources_any(const struct vf_resources *needs)
{
	return needs->cores > 0 || needs->memory > 0 || needs->disk > 0 || needs->gpus > 0;
}

/* Specifications that differ in priority alone: their calls may share bundles. */
struct vf_group {
	/* The manager thread's, and of vf_queue.c, while calls wait. */
	struct vf_heap_node order;
	struct vf_heap specs; /* those of which calls wait, highest priority first */
	uint64_t n;           /* calls that wait */
	int taken;            /* out of the order, while it is served */
	/* Some of those that wait read files that may lie on workers, or (2) have to go there. */
	int scored;
	struct vf_group *next, *previous, *next_passed;
	/* Since when all workers that are there are too small; 0: they are not. Anybody reads
	it. */
	atomic_uint_fast64_t too_large_ns;
};

/* One distinct resource specification. The manager thread looks at it, and at its group, only while
calls of it wait or run. */
struct vf_spec {
	double priority;
	struct vf_resources needs; /* negative: not given, as for what is below */
	int64_t running_time_min;  /* seconds */
	uint32_t limit_ms;         /* of a call's time; 0: none */
	uint64_t memory_limit;     /* MB that a call may take; 0: any */
	int captures;              /* what a call prints comes back with its result */
	const char *category;     /* NULL: not given */
	struct vf_group *group;

	/* The manager thread's, and of vf_queue.c. */
	struct vf_heap_node order; /* in its group */
	struct vf_call_list waiting;
};

struct vf_call {
	struct vf_link link; /* first: submit ring, then a waiting list */
	struct vf_function *function;
	struct vf_spec *spec;
	const char *payload;
	struct vf_file_list *files; /* NULL: none that TaskVine moves (vf_file.h) */
	/* Makes its temporary files again if they are lost (vf_temps.h), and nobody waits for it;
	NULL: has none. */
	struct vf_call *again;
	uint64_t submitted_ns;
	uint64_t number; /* the executor's, by which the program knows it */
	uint32_t nbytes;
	uint8_t kind;
	atomic_uchar state;

	/* The manager thread's. */
	uint8_t with_body; /* a worker missed the function: its next bundle carries the body */
	uint8_t losses;    /* workers or libraries lost while they had it */
	/* Its bundle was given up: it travels alone from now on, to find the call that kills
	workers. */
	uint8_t solo;
	uint8_t reads;     /* files that may lie on workers */
	uint8_t at_home;   /* a worker could not fetch what it reads: it goes where that is */
	uint8_t at_work;   /* of one that makes files again: it waits or runs */
	uint32_t place;    /* among those that are scored together */

	/* The submitting side's. */
	struct vf_call *newer, *older; /* all outstanding calls */
	void *future;
};

static inline uint64_t vf_group_too_large_ns(const struct vf_group *group)
{
	return atomic_load_explicit(&group->too_large_ns, memory_order_relaxed);
}

/* Such a call: it is its own `again`. */
static inline int vf_call_makes_again(const struct vf_call *call)
{
	return call->again == call;
}

static inline int vf_call_change(struct vf_call *call, unsigned char from, unsigned char to)
{
	return atomic_compare_exchange_strong(&call->state, &from, to);
}

/* The manager thread. Tells whether the call may run; else it has been cancelled. */
static inline int vf_call_send(struct vf_call *call)
{
	return vf_call_change(call, VF_CALL_QUEUED, VF_CALL_SENT);
}

/* The manager thread. One that was not sent, but waited for a file, is what it was. */
static inline void vf_call_queue_again(struct vf_call *call)
{
	vf_call_change(call, VF_CALL_SENT, VF_CALL_QUEUED);
}

/* The submitting side. Tells whether the call was still queued: then it will never run, and comes
back through the done ring. */
static inline int vf_call_cancel(struct vf_call *call)
{
	return vf_call_change(call, VF_CALL_QUEUED, VF_CALL_CANCELLED);
}

/* The submitting side. Tells whether the call was with a worker, or on the way there. It comes back
as any other, unless it is to be sent again (vf_cancel.h). */
static inline int vf_call_cancel_sent(struct vf_call *call)
{
	return vf_call_change(call, VF_CALL_SENT, VF_CALL_CANCELLED);
}

/* Whether it is with a worker, or on the way there, as far as is known. */
static inline int vf_call_is_sent(const struct vf_call *call)
{
	return atomic_load(&call->state) == VF_CALL_SENT;
}

static inline int vf_call_is_cancelled(struct vf_call *call)
{
	return atomic_load(&call->state) == VF_CALL_CANCELLED;
}

void vf_call_list_push(struct vf_call_list *list, struct vf_call *call);
void vf_call_list_push_front(struct vf_call_list *list, struct vf_call *call);
struct vf_call *vf_call_list_pop(struct vf_call_list *list);

#endif
