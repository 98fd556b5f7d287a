/* Wakes one sleeping thread, and costs the waker nothing while that thread is awake.

The sleeper calls vf_wake_park(), looks once more for work, and then polls `fd`; vf_wake_done() ends
the sleep. A waker makes its work visible first and calls vf_wake_signal() after it: either the
sleeper's last look sees the work, or the waker sees the parked flag. */

#ifndef VF_WAKE_H
#define VF_WAKE_H

#include <stdatomic.h>

struct vf_wake {
	int fd; /* an eventfd, non-blocking, close-on-exec */
	atomic_int parked;
};

/* Returns 0, or -1 with errno. */
int vf_wake_open(struct vf_wake *wake);
void vf_wake_close(struct vf_wake *wake);

/* Any thread. The second form wakes a sleeper that has not parked. */
void vf_wake_signal(struct vf_wake *wake);
void vf_wake_force(struct vf_wake *wake);

/* The sleeping thread. The second one sleeps, for so many milliseconds at the most; negative: for
ever. */
void vf_wake_park(struct vf_wake *wake);
void vf_wake_sleep(const struct vf_wake *wake, int timeout_ms);
void vf_wake_done(struct vf_wake *wake);

#endif
