/* What is done, on its way to the demux thread: bundles with outcomes, temporary files that are
given back, news of workers.

What a turn has done is handed over in the end of the turn: where it is handed over, its calls may
be freed, with their specification and with what makes a temporary file again, so no such thing is
looked at there. */

#ifndef VF_DONE_H
#define VF_DONE_H

#include <stdatomic.h>

#include "vf_bundle.h"
#include "vf_ring.h"
#include "vf_wake.h"

struct vf_done {
	struct vf_ring ring; /* of struct vf_bundle */
	struct vf_wake wake;
	atomic_int closed; /* nothing more will come out of the ring */
	struct vf_link *over, *last_over; /* the manager thread's: to be handed over */
};

/* Returns 0, or -1 with errno; then it may be ended, too. The end frees what nobody has taken. */
int vf_done_begin(struct vf_done *done);
void vf_done_end(struct vf_done *done);

/* The manager thread: hand a bundle over in the end of the turn; and do so. */
void vf_done_later(struct vf_done *done, struct vf_bundle *bundle);
void vf_done_over(struct vf_done *done);

/* Any thread: nothing more will come. */
void vf_done_close(struct vf_done *done);
int vf_done_is_closed(const struct vf_done *done);

/* The demux thread: waits until something is done, or nothing more will come (then NULL). */
struct vf_bundle *vf_done_take(struct vf_done *done);

/* The same where it waits for something else as well: returns NULL also after so many milliseconds,
and when it is woken, which any thread may do. */
struct vf_bundle *vf_done_take_within(struct vf_done *done, int timeout_ms);
void vf_done_wake_taker(struct vf_done *done);

#endif
