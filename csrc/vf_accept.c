#include "vf_accept.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vf_hooks.h"
#include "vf_listen.h"

enum {
	PAUSE_MS = 500,
	SHORT_PAUSE_MS = 50,
	FALLBACK_RESERVE = 64,
	RESERVED_PART = 8, /* of few descriptors */
};

/* The link that workers are accepted on, and when it may be looked at again after a failure. */
static _Thread_local const struct link *listening;
static _Thread_local int64_t again_ms;
static _Thread_local int accept_errno;

/* Where links listen that name no address (vf_listen). */
static _Thread_local struct in6_addr chosen;

int vf_accept_at(const char *address)
{
	return vf_listen_choose(&chosen, address);
}

int vf_accept_is_listening(const struct link *link)
{
	return link == listening;
}

int vf_accept_pause_ms(int64_t at_ms)
{
	return again_ms > at_ms ? (int)(again_ms - at_ms) : 0;
}

void vf_accept_pause(int64_t at_ms, int error)
{
	accept_errno = error;
	again_ms = at_ms + (error ? PAUSE_MS : SHORT_PAUSE_MS);
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

int vf_accept_is_lack(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

int vf_accept_one(int fd, struct sockaddr *restrict address, socklen_t *restrict nbytes)
{
	int first = first_for_workers();
	/* Before: what has been accepted can only be closed, and its worker would come back at
	once. */
	int place = fcntl(fd, F_DUPFD_CLOEXEC, first);
	if (place < 0)
		return -1;
	close(place);
	int connection = __real_accept(fd, address, nbytes);
	if (connection < 0)
		return -1;
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

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t nbytes)
{
	VF_FIRED(bind);
	struct sockaddr_storage place;
	address = vf_listen_place(&chosen, address, nbytes, &place);
	return address ? __real_bind(fd, address, nbytes) : -1;
}

int __wrap_listen(int fd, int backlog)
{
	(void)backlog;
	VF_FIRED(listen);
	return __real_listen(fd, SOMAXCONN);
}
