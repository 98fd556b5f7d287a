/* An unbounded hand-over from many pushing threads to one taking thread, without locks.

Items are intrusive: the first member of an item is a `struct vf_link`. A taker gets everything that
was pushed so far in one atomic exchange, oldest first, so its cost per item falls as the pushers
get faster. */

#ifndef VF_RING_H
#define VF_RING_H

#include <stdatomic.h>

struct vf_link {
	struct vf_link *next;
};

struct vf_ring {
	_Atomic(struct vf_link *) newest;
};

void vf_ring_init(struct vf_ring *ring);

/* Any thread. The item belongs to the ring until it is taken. */
void vf_ring_push(struct vf_ring *ring, struct vf_link *item);

/* The taking thread only. Returns all items, oldest first, linked by `next`; NULL when there are
none. */
struct vf_link *vf_ring_take(struct vf_ring *ring);

/* Any thread. A hint: the answer may be outdated when it arrives. */
int vf_ring_empty(struct vf_ring *ring);

#endif
