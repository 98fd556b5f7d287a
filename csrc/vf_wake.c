#include "vf_wake.h"

#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

int vf_wake_open(struct vf_wake *wake)
{
	atomic_init(&wake->parked, 0);
	wake->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return wake->fd < 0 ? -1 : 0;
}

void vf_wake_close(struct vf_wake *wake)
{
	if (wake->fd >= 0)
		close(wake->fd);
	wake->fd = -1;
}

void vf_wake_force(struct vf_wake *wake)
{
	uint64_t one = 1;
	/* It can only fail when the counter is already near 2^64: then the sleeper is awake
	anyway. */
	ssize_t written = write(wake->fd, &one, sizeof one);
	(void)written;
}

void vf_wake_signal(struct vf_wake *wake)
{
	if (atomic_load(&wake->parked) && atomic_exchange(&wake->parked, 0))
		vf_wake_force(wake);
}

void vf_wake_park(struct vf_wake *wake)
{
	atomic_store(&wake->parked, 1);
}

void vf_wake_sleep(const struct vf_wake *wake, int timeout_ms)
{
	struct pollfd one = {.fd = wake->fd, .events = POLLIN};
	poll(&one, 1, timeout_ms);
}

void vf_wake_done(struct vf_wake *wake)
{
	atomic_store(&wake->parked, 0);
	uint64_t count;
	ssize_t nread = read(wake->fd, &count, sizeof count);
	(void)nread;
}
