#include "vf_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vf_hooks.h"
#include "vf_linger.h"
#include "vf_openssl.h"

enum {
	MESSAGES_MAX = 8, /* that carry nothing, one behind the other */
	LEAVE_MAX_MS = 5000, /* a worker hears nothing for the 3 s that it gives a process to end */
};

struct vf_tls {
	SSL *ssl;
	int fd;
	int is_open, is_broken;
	int n_messages; /* of TLS's own since something has been decrypted */
	/* What has been decrypted to be looked at, and is still to be read. */
	size_t head_at, n_head;
	char head[VF_TLS_PEEK_NBYTES];
};

static _Thread_local SSL_CTX *context;

/* The connections that have been given to TaskVine, by their descriptors. */
static _Thread_local struct vf_tls **given __attribute__((tls_model("initial-exec")));
static _Thread_local int n_given __attribute__((tls_model("initial-exec")));

/* Of the workers that have been told to leave. */
static _Thread_local struct vf_linger leaving;
static _Thread_local int is_ending;

/* A key that has a password is none of ours; OpenSSL would ask for it on the terminal. */
static int know_no_password(char *buffer, int nbytes, int is_written, void *arg)
{
	(void)buffer, (void)nbytes, (void)is_written, (void)arg;
	return -1;
}

static int set_up(SSL_CTX *made, const char *key, const char *certificate)
{
	/* All workers of TaskVine's that know TLS know this; and it has no renegotiation. */
	SSL_CTX_ctrl(made, VF_SSL_CTRL_SET_MIN_PROTO_VERSION, VF_TLS1_3_VERSION, NULL);
	SSL_CTX_ctrl(made, VF_SSL_CTRL_MODE,
			VF_SSL_MODE_ENABLE_PARTIAL_WRITE | VF_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					VF_SSL_MODE_RELEASE_BUFFERS,
			NULL);
	/* Else who sends one message of TLS's own behind the other has us read for ever. */
	SSL_CTX_ctrl(made, VF_SSL_CTRL_CLEAR_MODE, VF_SSL_MODE_AUTO_RETRY, NULL);
	/* A worker would read them when it has nothing else to read, and wait for what is behind
	them. */
	SSL_CTX_set_num_tickets(made, 0);
	SSL_CTX_set_default_passwd_cb(made, know_no_password);
	return SSL_CTX_use_certificate_chain_file(made, certificate) == 1 &&
			SSL_CTX_use_PrivateKey_file(made, key, VF_SSL_FILETYPE_PEM) == 1 &&
			SSL_CTX_check_private_key(made) == 1;
}

int vf_tls_begin(const char *key, const char *certificate, char *why, size_t why_nbytes)
{
	sigset_t pipe;
	ERR_clear_error();
	context = SSL_CTX_new(TLS_server_method());
	if (!context || !set_up(context, key, certificate)) {
		ERR_error_string_n(ERR_peek_last_error(), why, why_nbytes);
		ERR_clear_error();
		vf_tls_end();
		return -1;
	}
	/* OpenSSL writes to sockets that may be closed as it would to others. */
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	return 0;
}

void vf_tls_end_soon(void)
{
	is_ending = context != NULL;
}

void vf_tls_end(void)
{
	vf_linger_close(&leaving, LEAVE_MAX_MS);
	is_ending = 0;
	for (int fd = 0; fd < n_given; fd++)
		vf_tls_free(given[fd]);
	free(given);
	given = NULL;
	n_given = 0;
	SSL_CTX_free(context);
	context = NULL;
}

int vf_tls_is_on(void)
{
	return context != NULL;
}

static void note_message(int is_written, int version, int type, const void *data, size_t nbytes,
		SSL *ssl, void *arg)
{
	(void)version, (void)data, (void)nbytes, (void)ssl;
	struct vf_tls *tls = arg;
	tls->n_messages += tls->is_open && !is_written && type == VF_SSL3_RT_HANDSHAKE;
}

struct vf_tls *vf_tls_new(int fd)
{
	struct vf_tls *tls = calloc(1, sizeof *tls);
	if (!tls)
		return NULL;
	tls->fd = fd;
	/* As all links are; OpenSSL knows no flag for a single read. */
	int flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || !(tls->ssl = SSL_new(context)) ||
			!SSL_set_fd(tls->ssl, fd)) {
		vf_tls_free(tls);
		return NULL;
	}
	SSL_set_msg_callback(tls->ssl, note_message);
	SSL_ctrl(tls->ssl, VF_SSL_CTRL_SET_MSG_CALLBACK_ARG, 0, tls);
	SSL_set_accept_state(tls->ssl);
	return tls;
}

void vf_tls_free(struct vf_tls *tls)
{
	if (!tls)
		return;
	ERR_clear_error();
	if (tls->is_open && !tls->is_broken)
		SSL_shutdown(tls->ssl);
	SSL_free(tls->ssl);
	free(tls);
}

/* What a function of OpenSSL's has returned, as the system's would have. The errors of a connection
stay with it: OpenSSL has them with the thread. */
static ssize_t outcome(struct vf_tls *tls, int result)
{
	if (result > 0)
		return result;
	switch (SSL_get_error(tls->ssl, result)) {
	case VF_SSL_ERROR_WANT_READ:
	case VF_SSL_ERROR_WANT_WRITE:
		errno = EAGAIN;
		return -1;
	case VF_SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		/* Also if it has ended without a word, which anybody can bring about. ECONNRESET
		stands for the time being up (vf_border.c). */
		ERR_clear_error();
		tls->is_broken = 1;
		errno = EPIPE;
		return -1;
	}
}

int vf_tls_shake(struct vf_tls *tls)
{
	ERR_clear_error();
	ssize_t result = outcome(tls, SSL_do_handshake(tls->ssl));
	if (result > 0)
		tls->is_open = 1;
	return result > 0 ? 1 : (result < 0 && errno == EAGAIN ? 0 : -1);
}

static ssize_t decrypt(struct vf_tls *tls, void *data, size_t nbytes)
{
	while (!tls->is_broken && tls->n_messages <= MESSAGES_MAX) {
		int n_before = tls->n_messages;
		ERR_clear_error();
		ssize_t n = outcome(tls,
				SSL_read(tls->ssl, data, nbytes < INT_MAX ? (int)nbytes : INT_MAX));
		if (n > 0)
			tls->n_messages = 0;
		/* A read ends behind a message of TLS's own, whatever lies behind that. */
		if (n >= 0 || tls->n_messages == n_before)
			return n;
	}
	tls->is_broken = 1;
	errno = EPIPE;
	return -1;
}

ssize_t vf_tls_send(struct vf_tls *tls, const char *data, size_t nbytes)
{
	if (tls->is_broken) {
		errno = EPIPE;
		return -1;
	}
	if (!nbytes)
		return 0;
	ERR_clear_error();
	ssize_t n = outcome(
			tls, SSL_write(tls->ssl, data, nbytes < INT_MAX ? (int)nbytes : INT_MAX));
	if (n)
		return n;
	/* The other end has said farewell. TaskVine would write nothing again and again. */
	tls->is_broken = 1;
	errno = EPIPE;
	return -1;
}

/* Decrypt what has come, as far as there is room for it, a record at a time. The result is that of
the last read. */
static ssize_t fill_head(struct vf_tls *tls)
{
	ssize_t n = 1;
	if (tls->head_at)
		memmove(tls->head, tls->head + tls->head_at, tls->n_head);
	tls->head_at = 0;
	while (n > 0 && tls->n_head < sizeof tls->head) {
		n = decrypt(tls, tls->head + tls->n_head, sizeof tls->head - tls->n_head);
		tls->n_head += n > 0 ? (size_t)n : 0;
	}
	return n;
}

static size_t copy_head(const struct vf_tls *tls, char *data, size_t nbytes)
{
	nbytes = nbytes < tls->n_head ? nbytes : tls->n_head;
	memcpy(data, tls->head + tls->head_at, nbytes);
	return nbytes;
}

ssize_t vf_tls_peek(struct vf_tls *tls, char *data, size_t nbytes)
{
	ssize_t n = fill_head(tls);
	return tls->n_head ? (ssize_t)copy_head(tls, data, nbytes) : n;
}

void vf_tls_skip(struct vf_tls *tls, size_t nbytes)
{
	tls->head_at += nbytes;
	tls->n_head -= nbytes;
}

/* ---- for TaskVine ---- */

static struct vf_tls *of(int fd)
{
	return fd >= 0 && fd < n_given ? given[fd] : NULL;
}

int vf_tls_give(struct vf_tls *tls)
{
	if (tls->fd >= n_given) {
		int n = 2 * tls->fd + 1;
		struct vf_tls **grown = realloc(given, (size_t)n * sizeof *grown);
		if (!grown)
			return -1;
		memset(grown + n_given, 0, (size_t)(n - n_given) * sizeof *grown);
		given = grown;
		n_given = n;
	}
	given[tls->fd] = tls;
	return 0;
}

int vf_tls_pending(int fd)
{
	const struct vf_tls *tls = of(fd);
	return tls && (tls->n_head || SSL_pending(tls->ssl) > 0);
}

int vf_tls_has_come(int fd)
{
	struct vf_tls *tls = of(fd);
	return !tls || tls->n_head || fill_head(tls) >= 0 || errno != EAGAIN || tls->n_head;
}

int vf_tls_has_begun(int fd)
{
	const struct vf_tls *tls = of(fd);
	return tls && SSL_has_pending(tls->ssl);
}

ssize_t __wrap_read(int fd, void *data, size_t nbytes)
{
	VF_FIRED(read);
	struct vf_tls *tls = of(fd);
	if (!tls)
		return __real_read(fd, data, nbytes);
	if (!tls->n_head)
		return decrypt(tls, data, nbytes);
	nbytes = copy_head(tls, data, nbytes);
	vf_tls_skip(tls, nbytes);
	return (ssize_t)nbytes;
}

ssize_t __wrap_write(int fd, const void *data, size_t nbytes)
{
	VF_FIRED(write);
	struct vf_tls *tls = of(fd);
	return tls ? vf_tls_send(tls, data, nbytes) : __real_write(fd, data, nbytes);
}

int __wrap_close(int fd)
{
	VF_FIRED(close);
	struct vf_tls *tls = of(fd);
	if (tls) {
		int lingers = is_ending && !tls->is_broken;
		given[fd] = NULL;
		vf_tls_free(tls);
		if (lingers && !vf_linger_add(&leaving, fd))
			return 0;
	}
	return __real_close(fd);
}

int __wrap_link_ssl_wrap_accept(struct link *link, const char *key, const char *certificate)
{
	VF_FIRED(link_ssl_wrap_accept);
	if (context)
		return of(link_fd(link)) != NULL;
	return __real_link_ssl_wrap_accept(link, key, certificate);
}
