/* The waiting calls, in the order in which they go: the highest priority first, and among equals
the specification whose first call waits longest.

Specifications that differ in priority alone are a group: the same workers have room for their
calls, which may share bundles. Only what waits is in the queue, so that what has been costs
nothing. */

#ifndef VF_QUEUE_H
#define VF_QUEUE_H

#include "vf_call.h"

struct vf_queue {
	struct vf_heap groups;      /* but for those that are taken */
	struct vf_group *any;       /* all groups of which calls wait, in no order */
};

void vf_queue_init(struct vf_queue *queue);

/* A call waits, behind those of its specification, or before them. */
void vf_queue_push(struct vf_queue *queue, struct vf_call *call);
void vf_queue_push_front(struct vf_queue *queue, struct vf_call *call);

/* Take the group to serve next out of the order, NULL if there is none; and put it back, whatever
became of its calls. */
struct vf_group *vf_queue_take(struct vf_queue *queue);
void vf_queue_put(struct vf_queue *queue, struct vf_group *group);

/* Of a group that has calls: the specification to serve first. */
struct vf_spec *vf_queue_first(const struct vf_group *group);

/* Of a group that is taken: `n` calls were taken from the specification that was the first. Returns
the one that follows in the group, NULL if others follow before, or none. */
struct vf_spec *vf_queue_next(struct vf_queue *queue, struct vf_group *group, uint64_t n);

#endif
