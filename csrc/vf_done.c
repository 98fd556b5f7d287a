#include "vf_done.h"

#include <stddef.h>
#include <string.h>

int vf_done_begin(struct vf_done *done)
{
	memset(done, 0, sizeof *done);
	vf_ring_init(&done->ring);
	return vf_wake_open(&done->wake);
}

void vf_done_end(struct vf_done *done)
{
	struct vf_link *item = vf_ring_take(&done->ring);
	while (item) {
		struct vf_link *next = item->next;
		vf_bundle_free((struct vf_bundle *)item);
		item = next;
	}
	vf_wake_close(&done->wake);
}

void vf_done_later(struct vf_done *done, struct vf_bundle *bundle)
{
	bundle->link.next = NULL;
	*(done->over ? &done->last_over->next : &done->over) = &bundle->link;
	done->last_over = &bundle->link;
}

void vf_done_over(struct vf_done *done)
{
	struct vf_link *item = done->over;
	if (!item)
		return;
	done->over = done->last_over = NULL;
	while (item) {
		struct vf_link *next = item->next;
		vf_ring_push(&done->ring, item);
		item = next;
	}
	vf_wake_signal(&done->wake);
}

void vf_done_close(struct vf_done *done)
{
	atomic_store(&done->closed, 1);
	vf_wake_signal(&done->wake);
}

int vf_done_is_closed(const struct vf_done *done)
{
	return atomic_load(&done->closed);
}

/* Until something is done, nothing more will come, or it is woken; for so long at the most;
negative: for ever. */
static void sleep_on(struct vf_done *done, int timeout_ms)
{
	vf_wake_park(&done->wake);
	if (vf_ring_empty(&done->ring) && !atomic_load(&done->closed))
		vf_wake_sleep(&done->wake, timeout_ms);
	vf_wake_done(&done->wake);
}

struct vf_bundle *vf_done_take(struct vf_done *done)
{
	for (;;) {
		/* Before the ring is looked at: what was pushed last is in it once this is set. */
		int closed = atomic_load(&done->closed);
		struct vf_link *first = vf_ring_take(&done->ring);
		if (first)
			return (struct vf_bundle *)first;
		if (closed)
			return NULL;
		sleep_on(done, -1);
	}
}

struct vf_bundle *vf_done_take_within(struct vf_done *done, int timeout_ms)
{
	struct vf_link *first = vf_ring_take(&done->ring);
	if (first)
		return (struct vf_bundle *)first;
	sleep_on(done, timeout_ms);
	return (struct vf_bundle *)vf_ring_take(&done->ring);
}

void vf_done_wake_taker(struct vf_done *done)
{
	vf_wake_force(&done->wake);
}
