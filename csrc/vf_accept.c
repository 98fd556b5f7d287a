#include "vf_accept.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vf_hooks.h"

enum {
	PAUSE_MS = 500,
	FALLBACK_RESERVE = 64,
	RESERVED_PART = 8, /* of few descriptors */
};

/* The link that workers are accepted on, and when it may be looked at again after a failure. */
static _Thread_local const struct link *listening;
static _Thread_local int64_t again_ms;
static _Thread_local int accept_errno;

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int vf_accept_pause_ms(const struct link *link, int64_t at_ms)
{
	return link == listening && again_ms > at_ms ? (int)(again_ms - at_ms) : 0;
}

int vf_accept_errno(void)
{
	return accept_errno;
}

/* The lowest descriptor that a connection may have. */
static int first_for_workers(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return FALLBACK_RESERVE;
	return limit.rlim_cur >= 2 * FD_SETSIZE ? FD_SETSIZE : (int)limit.rlim_cur / RESERVED_PART;
}

static int is_lack_of_descriptors(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

int __wrap_accept(int fd, struct sockaddr *restrict address, socklen_t *restrict nbytes)
{
	VF_FIRED(accept);
	int first = first_for_workers();
	int connection = -1;
	/* Before: what has been accepted can only be closed, and its worker would come back at once. */
	int place = fcntl(fd, F_DUPFD_CLOEXEC, first);
	if (place >= 0) {
		close(place);
		connection = __real_accept(fd, address, nbytes);
	}
	if (connection < 0) {
		if (is_lack_of_descriptors(errno)) {
			accept_errno = errno;
			again_ms = now_ms() + PAUSE_MS;
		}
		return -1;
	}
	accept_errno = 0;
	place = fcntl(connection, F_DUPFD_CLOEXEC, first);
	if (place < 0) /* another thread was faster */
		return connection;
	close(connection);
	return place;
}

struct link *__wrap_link_accept(struct link *parent, time_t stoptime)
{
	(void)stoptime;
	VF_FIRED(link_accept);
	listening = parent;
	return __real_link_accept(parent, LINK_NOWAIT);
}

int __wrap_listen(int fd, int backlog)
{
	(void)backlog;
	VF_FIRED(listen);
	return __real_listen(fd, SOMAXCONN);
}
