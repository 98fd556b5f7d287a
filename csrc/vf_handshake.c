#define _GNU_SOURCE
#include "vf_handshake.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vf_accept.h"
#include "vf_clock.h"
#include "vf_greeting.h"
#include "vf_hooks.h"
#include "vf_tls.h"

enum {
	PROOF_MS = 5000,     /* for all of the password's way there and back; TaskVine's own */
	GREETING_MS = 60000, /* a worker counts its GPUs between connecting and its first word */
	YOUNG_MS = 250,      /* one that has come just now is not closed for another */
	ASIDE_MAX = 256,
	ACCEPTED_MAX = 64, /* at once */
	N_EVENTS = 64,
	LINE_NBYTES = 1024, /* of the proof; TaskVine's own */
	PEEK_NBYTES = VF_TLS_PEEK_NBYTES, /* TaskVine's longest line */
	CHALLENGE_NBYTES = 32,
	DIGEST_NBYTES = 20,
};

static const char IDENTITY[] = "auth password sha1";

/* What is to come next. Each proves to the other that it knows the password: both name the
procedure, send a challenge, answer that of the other with the digest of password and challenge, and
say whether the answer is right.

Our answer comes last, to who has given the right one. Both would do the same, so whoever is
answered before could give the answer to his own challenge back to us, or to another manager with
that password, and be taken for a worker. A worker does not wait for the answer before it sends its
own. */
enum expected {
	TLS_EXPECTED,
	IDENTITY_EXPECTED,
	CHALLENGE_EXPECTED,
	ANSWER_EXPECTED,
	VERDICT_EXPECTED,
	GREETING_EXPECTED,
	NOTHING_EXPECTED, /* ready for TaskVine */
};

struct stranger {
	/* Those that are kept aside, oldest first, or that are ready. */
	TAILQ_ENTRY(stranger) among;
	int fd;
	struct vf_tls *tls; /* from its first word on; NULL: none */
	enum expected expected;
	int is_proven, is_right;
	int64_t since_ms;
	char challenge[2 * CHALLENGE_NBYTES + 1], answer[2 * DIGEST_NBYTES + 1];
};

TAILQ_HEAD(strangers, stranger);

static _Thread_local struct {
	int is_on;
	const char *password;
	int epoll; /* from the first one on; those that are kept aside */
	struct strangers aside, ready;
	int n_aside;
	/* Of the one that TaskVine was given last, if it has proven that it knows the password. */
	int proven_fd;
	uint64_t n_without_tls, n_with_tls, n_wrong_password, n_with_password;
} door;

static void leave_aside(struct stranger *stranger)
{
	/* Not by itself as it is closed: a fork of the program may have it, too. */
	epoll_ctl(door.epoll, EPOLL_CTL_DEL, stranger->fd, NULL);
	TAILQ_REMOVE(&door.aside, stranger, among);
	door.n_aside--;
}

static void end(struct stranger *stranger)
{
	vf_tls_free(stranger->tls);
	close(stranger->fd);
	free(stranger);
}

static void turn_away(struct stranger *stranger)
{
	leave_aside(stranger);
	end(stranger);
}

static void make_ready(struct stranger *stranger)
{
	leave_aside(stranger);
	stranger->expected = NOTHING_EXPECTED;
	TAILQ_INSERT_TAIL(&door.ready, stranger, among);
}

void vf_handshake_begin(const char *password)
{
	memset(&door, 0, sizeof door);
	TAILQ_INIT(&door.aside);
	TAILQ_INIT(&door.ready);
	door.password = password;
	door.epoll = door.proven_fd = -1;
	door.is_on = 1;
	vf_accept_pause(0, 0); /* what an earlier manager of this thread lacked is no matter */
}

void vf_handshake_end(void)
{
	struct stranger *stranger;
	if (!door.is_on)
		return;
	while ((stranger = TAILQ_FIRST(&door.aside)))
		turn_away(stranger);
	while ((stranger = TAILQ_FIRST(&door.ready))) {
		TAILQ_REMOVE(&door.ready, stranger, among);
		end(stranger);
	}
	if (door.epoll >= 0)
		close(door.epoll);
	door.is_on = 0;
}

int vf_handshake_fd(void)
{
	return door.is_on && door.n_aside ? door.epoll : -1;
}

int vf_handshake_ready(void)
{
	return door.is_on && !TAILQ_EMPTY(&door.ready);
}

/* ---- the connection ---- */

/* As recv(). */
static ssize_t peek(struct stranger *stranger, char *data, size_t nbytes)
{
	return stranger->tls ? vf_tls_peek(stranger->tls, data, nbytes) :
			       recv(stranger->fd, data, nbytes, MSG_PEEK | MSG_DONTWAIT);
}

/* Take what was seen. Tells whether it was still there. */
static int skip(struct stranger *stranger, char *data, size_t nbytes)
{
	if (!stranger->tls)
		return recv(stranger->fd, data, nbytes, MSG_DONTWAIT) == (ssize_t)nbytes;
	vf_tls_skip(stranger->tls, nbytes);
	return 1;
}

static int say(const struct stranger *stranger, const char *line)
{
	char words[LINE_NBYTES];
	int nbytes = snprintf(words, sizeof words, "%s\n", line);
	/* A fresh connection has room for so little. */
	return nbytes ==
			(stranger->tls ? vf_tls_send(stranger->tls, words, (size_t)nbytes) :
					 send(stranger->fd, words, (size_t)nbytes,
							 MSG_DONTWAIT | MSG_NOSIGNAL));
}

/* ---- TLS ---- */

/* Look whether a first word is that of somebody who takes the manager for one with TLS. */
static int is_lost(const struct stranger *stranger, const char *data, size_t nbytes)
{
	int is_so = !stranger->tls && vf_greeting_is_tls(data, nbytes);
	door.n_with_tls += (uint64_t)is_so;
	return is_so;
}

/* Go on with the handshake. Tells whether it can still succeed. */
static int hear_tls(struct stranger *stranger)
{
	char data[64];
	if (stranger->expected != TLS_EXPECTED)
		return 1;
	if (!stranger->tls) {
		ssize_t nbytes = peek(stranger, data, sizeof data);
		if (nbytes <= 0)
			return nbytes < 0 && (errno == EAGAIN || errno == EINTR);
		if (!vf_greeting_may_be_tls(data, (size_t)nbytes)) {
			door.n_without_tls += (uint64_t)vf_greeting_is_plain(data, (size_t)nbytes);
			return 0;
		}
		if (!(stranger->tls = vf_tls_new(stranger->fd)))
			return 0;
	}
	int is_over = vf_tls_shake(stranger->tls);
	if (is_over > 0)
		stranger->expected = door.password ? IDENTITY_EXPECTED : GREETING_EXPECTED;
	return is_over >= 0;
}

uint64_t vf_handshake_without_tls(void)
{
	return door.n_without_tls;
}

uint64_t vf_handshake_with_tls(void)
{
	return door.n_with_tls;
}

uint64_t vf_handshake_wrong_password(void)
{
	return door.n_wrong_password;
}

uint64_t vf_handshake_with_password(void)
{
	return door.n_with_password;
}

/* ---- the password ---- */

static int challenge(struct stranger *stranger)
{
	unsigned char random[CHALLENGE_NBYTES];
	if (getrandom(random, sizeof random, 0) != sizeof random)
		return 0;
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(stranger->challenge + 2 * i, 3, "%02x", random[i]);
	return say(stranger, stranger->challenge);
}

static int digest(const char *key, char answer[2 * DIGEST_NBYTES + 1])
{
	unsigned char bytes[DIGEST_NBYTES];
	char *words = NULL;
	int nbytes = asprintf(&words, "%s %s", door.password, key);
	if (nbytes < 0)
		return 0;
	dttools_sha1_buffer(words, (size_t)nbytes, bytes);
	explicit_bzero(words, (size_t)nbytes);
	free(words);
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(answer + 2 * i, 3, "%02x", bytes[i]);
	return 1;
}

static void tell_of_wrong_password(const struct stranger *stranger)
{
	struct sockaddr_storage address;
	socklen_t nbytes = sizeof address;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	door.n_wrong_password++;
	if (!getpeername(stranger->fd, (struct sockaddr *)&address, &nbytes) &&
			!getnameinfo((struct sockaddr *)&address, nbytes, host, sizeof host, port,
					sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
		debug(D_VINE | D_NOTICE, "worker %s:%s presented the wrong password", host, port);
}

/* Take one line of the proof. Tells whether it is what it should be. */
static int take_line(struct stranger *stranger, const char *line)
{
	char answer[2 * DIGEST_NBYTES + 1];
	switch (stranger->expected) {
	case IDENTITY_EXPECTED:
		/* A worker without a password is told that it needs one. */
		return say(stranger, IDENTITY) && !strcmp(line, IDENTITY) && challenge(stranger);
	case CHALLENGE_EXPECTED:
		return digest(line, stranger->answer);
	case ANSWER_EXPECTED:
		stranger->is_right = digest(stranger->challenge, answer) && !strcmp(line, answer);
		return say(stranger, stranger->is_right ? stranger->answer : "") &&
				say(stranger, stranger->is_right ? "ok" : "failure");
	default: /* VERDICT_EXPECTED */
		stranger->is_proven = stranger->is_right && !strcmp(line, "ok");
		return stranger->is_proven;
	}
}

/* Go on with the proof as far as lines are there. Tells whether it can still succeed. */
static int hear_proof(struct stranger *stranger)
{
	char line[LINE_NBYTES];
	while (stranger->expected > TLS_EXPECTED && stranger->expected < GREETING_EXPECTED) {
		ssize_t nbytes = peek(stranger, line, sizeof line);
		if (nbytes <= 0)
			return nbytes < 0 && (errno == EAGAIN || errno == EINTR);
		if (stranger->expected == IDENTITY_EXPECTED &&
				is_lost(stranger, line, (size_t)nbytes))
			return 0;
		char *end = memchr(line, '\n', (size_t)nbytes);
		if (!end)
			return nbytes < (ssize_t)sizeof line;
		/* No more than that: what follows is for TaskVine. */
		if (!skip(stranger, line, (size_t)(end + 1 - line)))
			return 0;
		*end = 0;
		if (end > line && end[-1] == '\r')
			end[-1] = 0;
		if (!take_line(stranger, line)) {
			/* Of others than workers there may be many. */
			if (stranger->expected > IDENTITY_EXPECTED ||
					vf_greeting_is_of_worker(line, (size_t)(end - line)))
				tell_of_wrong_password(stranger);
			return 0;
		}
		stranger->expected++;
	}
	return 1;
}

/* ---- the greeting ---- */

/* Look at what lies in the socket, which TaskVine is to read. Tells whether it can still become a
greeting. */
static int hear_greeting(struct stranger *stranger, int is_late)
{
	char data[PEEK_NBYTES];
	ssize_t n = peek(stranger, data, sizeof data);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	size_t nbytes = (size_t)n;
	if (is_lost(stranger, data, nbytes))
		return 0;
	if (vf_greeting_has_password(data, nbytes)) {
		door.n_with_password++;
		return 0;
	}
	int is_worker = vf_greeting_is_of_worker(data, nbytes);
	int is_full = nbytes == sizeof data;
	/* A worker that knows many files says more than can be seen here. */
	if (vf_greeting_is_whole(data, nbytes) ||
			(is_worker && (is_full || is_late) && memchr(data, '\n', nbytes)))
		make_ready(stranger);
	else if (is_full)
		return 0;
	return 1;
}

/* ---- those that are kept aside ---- */

/* One has spoken, or its time is up, or it will not say any more. */
static void hear_one(struct stranger *stranger, int is_late, int is_over)
{
	int goes_on = hear_tls(stranger) && hear_proof(stranger);
	if (goes_on && stranger->expected == GREETING_EXPECTED) {
		/* Who knows the password is a worker, and may be as slow as TaskVine lets it be. */
		if (stranger->is_proven)
			make_ready(stranger);
		else
			goes_on = hear_greeting(stranger, is_late);
	}
	if (stranger->expected != NOTHING_EXPECTED && (!goes_on || is_late || is_over))
		turn_away(stranger);
}

static int patience_ms(void)
{
	return door.password ? PROOF_MS : GREETING_MS;
}

/* Close the oldest one, unless it came just now. */
static int make_room(int64_t at_ms)
{
	struct stranger *oldest = TAILQ_FIRST(&door.aside);
	if (!oldest || oldest->since_ms + YOUNG_MS > at_ms)
		return 0;
	turn_away(oldest);
	return 1;
}

static int keep_aside(int fd, int64_t at_ms)
{
	struct stranger *stranger = calloc(1, sizeof *stranger);
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = stranger};
	if (!stranger || epoll_ctl(door.epoll, EPOLL_CTL_ADD, fd, &event)) {
		free(stranger);
		close(fd);
		return 0;
	}
	stranger->fd = fd;
	stranger->since_ms = at_ms;
	stranger->expected = door.password ? IDENTITY_EXPECTED : GREETING_EXPECTED;
	if (vf_tls_is_on())
		stranger->expected = TLS_EXPECTED;
	TAILQ_INSERT_TAIL(&door.aside, stranger, among);
	door.n_aside++;
	return 1;
}

static void accept_waiting(int listening, int64_t at_ms)
{
	if (door.epoll < 0 && (door.epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) {
		vf_accept_pause(at_ms, errno);
		return;
	}
	for (int n = 0; n < ACCEPTED_MAX; n++) {
		if (door.n_aside >= ASIDE_MAX && !make_room(at_ms)) {
			vf_accept_pause(at_ms, 0);
			return;
		}
		int fd = vf_accept_one(listening, NULL, NULL);
		if (fd < 0 && vf_accept_is_lack(errno)) {
			int lacking = errno;
			if (make_room(at_ms))
				continue;
			vf_accept_pause(at_ms, lacking);
		}
		if (fd < 0 || !keep_aside(fd, at_ms))
			return;
	}
}

void vf_handshake_hear(int listening, int64_t at_ms)
{
	struct epoll_event events[N_EVENTS];
	struct stranger *stranger;
	if (!door.is_on)
		return;
	if (listening >= 0)
		accept_waiting(listening, at_ms);
	int n = door.n_aside ? epoll_wait(door.epoll, events, N_EVENTS, 0) : 0;
	for (int i = 0; i < n; i++)
		hear_one(events[i].data.ptr, 0,
				(events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
	/* What has come too late to be told of is heard, too. */
	while ((stranger = TAILQ_FIRST(&door.aside)) && stranger->since_ms + patience_ms() <= at_ms)
		hear_one(stranger, 1, 1);
}

/* Give one to TaskVine; negative: it cannot be. */
static int give(struct stranger *stranger)
{
	struct sockaddr_storage address;
	socklen_t nbytes = sizeof address;
	int fd = stranger->fd;
	TAILQ_REMOVE(&door.ready, stranger, among);
	door.proven_fd = stranger->is_proven ? fd : -1;
	/* Of one that has gone, TaskVine would close the descriptor twice, of which the second may
	be somebody else's. */
	if (getpeername(fd, (struct sockaddr *)&address, &nbytes) ||
			(stranger->tls && vf_tls_give(stranger->tls))) {
		end(stranger);
		return -1;
	}
	free(stranger);
	return fd;
}

/* The next one that is ready; negative, with errno: none is. */
static int take(void)
{
	struct stranger *stranger;
	while ((stranger = TAILQ_FIRST(&door.ready))) {
		int fd = give(stranger);
		if (fd >= 0)
			return fd;
	}
	errno = EAGAIN;
	return -1;
}

int __wrap_accept(int fd, struct sockaddr *restrict address, socklen_t *restrict nbytes)
{
	VF_FIRED(accept);
	int64_t at_ms = vf_now_ms();
	if (!door.is_on) {
		int accepted = vf_accept_one(fd, address, nbytes);
		if (accepted < 0 && vf_accept_is_lack(errno))
			vf_accept_pause(at_ms, errno);
		return accepted;
	}
	int taken = take();
	if (taken >= 0)
		return taken;
	vf_handshake_hear(vf_accept_pause_ms(at_ms) ? -1 : fd, at_ms);
	return take();
}

int __wrap_link_auth_password(struct link *link, const char *password, time_t stoptime)
{
	VF_FIRED(link_auth_password);
	if (door.is_on && door.proven_fd >= 0 && door.proven_fd == link_fd(link)) {
		door.proven_fd = -1;
		return 1;
	}
	return __real_link_auth_password(link, password, stoptime);
}
