#include "vf_linger.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vf_clock.h"

enum {
	PAUSE_US = 1000, /* so that thousands that end together are found together */
	READ_NBYTES = 65536,
};

int vf_linger_add(struct vf_linger *linger, int fd)
{
	if (linger->n_left == linger->n_room) {
		size_t n_room = 2 * linger->n_room + 16;
		struct pollfd *grown = realloc(linger->left, n_room * sizeof *grown);
		if (!grown)
			return -1;
		linger->left = grown;
		linger->n_room = n_room;
	}
	shutdown(fd, SHUT_WR);
	linger->left[linger->n_left++] = (struct pollfd){.fd = fd, .events = POLLIN};
	return 0;
}

/* Whether the other end has closed it. What it still says is read, else closing resets it. */
static int is_over(int fd)
{
	char data[READ_NBYTES];
	ssize_t nbytes = recv(fd, data, sizeof data, MSG_DONTWAIT);
	return !nbytes || (nbytes < 0 && errno != EAGAIN && errno != EINTR);
}

void vf_linger_close(struct vf_linger *linger, int max_ms)
{
	int64_t end_ms = vf_now_ms() + max_ms, now_ms;
	while (linger->n_left && (now_ms = vf_now_ms()) < end_ms) {
		/* It fails if there are more than this process may have open by now. */
		int is_blind = poll(linger->left, linger->n_left, (int)(end_ms - now_ms)) < 0;
		for (size_t i = linger->n_left; i-- > 0;) {
			if ((!is_blind && !linger->left[i].revents) || !is_over(linger->left[i].fd))
				continue;
			close(linger->left[i].fd);
			linger->left[i] = linger->left[--linger->n_left];
		}
		if (linger->n_left)
			usleep(PAUSE_US);
	}
	for (size_t i = 0; i < linger->n_left; i++)
		close(linger->left[i].fd);
	free(linger->left);
	*linger = (struct vf_linger){0};
}
