#include "vf_ring.h"

#include <stddef.h>

void vf_ring_init(struct vf_ring *ring)
{
	atomic_init(&ring->newest, NULL);
}

void vf_ring_push(struct vf_ring *ring, struct vf_link *item)
{
	struct vf_link *newest = atomic_load_explicit(&ring->newest, memory_order_relaxed);
	do {
		item->next = newest;
		/* seq_cst, not release: a pusher reads the taker's parked flag next, and the two
		must not be reordered. */
	} while (!atomic_compare_exchange_weak_explicit(
			&ring->newest, &newest, item, memory_order_seq_cst, memory_order_relaxed));
}

struct vf_link *vf_ring_take(struct vf_ring *ring)
{
	struct vf_link *item = atomic_exchange_explicit(&ring->newest, NULL, memory_order_seq_cst);
	struct vf_link *oldest = NULL;
	while (item) {
		struct vf_link *older = item->next;
		item->next = oldest;
		oldest = item;
		item = older;
	}
	return oldest;
}

int vf_ring_empty(struct vf_ring *ring)
{
	return atomic_load_explicit(&ring->newest, memory_order_seq_cst) == NULL;
}
