/* Whatever comes on a connection with TLS, what is read from it is what its other end has said, in
that order and nothing else, whether it is looked at before it is given to TaskVine or read by that;
and what is said to the other end is what that reads.

Each byte says what happens, and the next one how much of it; the client's words are on their way
until so many bytes of them are delivered. */

#include "vf_tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz.h"
#include "sockets.h"
#include "vf_certificate.h"
#include "vf_openssl.h"

const SSL_METHOD *TLS_client_method(void);
const BIO_METHOD *BIO_s_mem(void);
int BIO_write(BIO *bio, const void *data, int nbytes);
void SSL_set_bio(SSL *ssl, BIO *in, BIO *out);
void SSL_set_connect_state(SSL *ssl);
int SSL_key_update(SSL *ssl, int is_asked_for);

enum {
	INPUT_MAX = 600,
	WORDS_MAX = 1 << 16,
	WAY_MAX = 1 << 17,
	CHANGES_MAX = 4, /* of keys that nobody takes for an attack */
	ROUNDS_MAX = 8,  /* that a handshake takes at the most */
};

/* What one end has said so far, and the other has heard. */
struct words {
	char said[WORDS_MAX];
	size_t n_said, n_heard;
};

static struct {
	SSL *ssl;
	BIO *in, *out;
	int fd;
	unsigned char way[WAY_MAX]; /* what is not delivered yet */
	size_t n_way;
	int n_changes, is_done;
} client;

static struct {
	struct vf_tls *tls;
	int fd, is_open, is_given, is_broken, has_ended;
} server;

static struct words up, down;
static SSL_CTX *clients;

static void put(const char *path, const char *content)
{
	FILE *file = fopen(path, "w");
	CHECK(file && fputs(content, file) >= 0 && !fclose(file));
}

static void begin(void)
{
	char directory[] = "/tmp/vinefast-fuzz-XXXXXX", key_path[64], certificate_path[64];
	char *key, *certificate, why[256];
	if (clients)
		return;
	CHECK(mkdtemp(directory) && !vf_certificate_make(&key, &certificate));
	snprintf(key_path, sizeof key_path, "%s/key", directory);
	snprintf(certificate_path, sizeof certificate_path, "%s/certificate", directory);
	put(key_path, key);
	put(certificate_path, certificate);
	vf_certificate_free_key(key);
	free(certificate);
	CHECK(!vf_tls_begin(key_path, certificate_path, why, sizeof why));
	CHECK(!unlink(key_path) && !unlink(certificate_path) && !rmdir(directory));
	CHECK((clients = SSL_CTX_new(TLS_client_method())));
}

static void connect_both(void)
{
	int pair[2];
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	CHECK(!fcntl(pair[0], F_SETFL, O_NONBLOCK));
	memset(&client, 0, sizeof client);
	memset(&server, 0, sizeof server);
	up.n_said = up.n_heard = down.n_said = down.n_heard = 0;
	client.fd = pair[0];
	CHECK((client.ssl = SSL_new(clients)));
	CHECK((client.in = BIO_new(BIO_s_mem())) && (client.out = BIO_new(BIO_s_mem())));
	SSL_set_bio(client.ssl, client.in, client.out);
	SSL_set_connect_state(client.ssl);
	server.fd = pair[1];
	CHECK((server.tls = vf_tls_new(server.fd)));
}

static void disconnect_both(void)
{
	SSL_free(client.ssl);
	close(client.fd);
	if (!server.is_given)
		vf_tls_free(server.tls);
	close(server.fd); /* which frees what was given */
	ERR_clear_error();
}

/* What is new of the client's is on its way. */
static void gather(void)
{
	int n = 1;
	while (client.n_way < WAY_MAX && n > 0) {
		n = BIO_read(client.out, client.way + client.n_way, (int)(WAY_MAX - client.n_way));
		client.n_way += n > 0 ? (size_t)n : 0;
	}
	ERR_clear_error();
}

static void deliver(size_t nbytes)
{
	gather();
	nbytes = nbytes < client.n_way ? nbytes : client.n_way;
	ssize_t n = nbytes ? send(client.fd, client.way, nbytes, MSG_NOSIGNAL) : 0;
	if (n <= 0)
		return;
	client.n_way -= (size_t)n;
	memmove(client.way, client.way + n, client.n_way);
}

/* All of this has been said, and not been heard before. */
static void check_heard(const struct words *words, const char *heard, ssize_t n)
{
	CHECK(n <= 0 || (size_t)n <= words->n_said - words->n_heard);
	CHECK(n <= 0 || !memcmp(heard, words->said + words->n_heard, (size_t)n));
}

static void listen_to_server(void)
{
	char data[4096];
	ssize_t n;
	while ((n = recv(client.fd, data, sizeof data, MSG_DONTWAIT)) > 0)
		CHECK(BIO_write(client.in, data, (int)n) == n);
	if (!client.is_done)
		return;
	while ((n = SSL_read(client.ssl, data, sizeof data)) > 0) {
		check_heard(&down, data, n);
		down.n_heard += (size_t)n;
	}
	ERR_clear_error();
}

static void shake(void)
{
	if (server.is_open || server.is_broken)
		return;
	int is_over = vf_tls_shake(server.tls);
	server.is_open = is_over > 0;
	server.is_broken = is_over < 0;
}

/* Of what has been looked at, a part is taken. */
static void look(size_t nbytes)
{
	char data[VF_TLS_PEEK_NBYTES], again[VF_TLS_PEEK_NBYTES];
	ssize_t n = vf_tls_peek(server.tls, data, sizeof data);
	check_heard(&up, data, n);
	if (n < 0 && errno != EAGAIN)
		server.is_broken = 1;
	server.has_ended |= !n;
	if (n <= 0)
		return;
	nbytes = nbytes < (size_t)n ? nbytes : (size_t)n;
	CHECK(vf_tls_peek(server.tls, again, sizeof again) >= n && !memcmp(data, again, (size_t)n));
	vf_tls_skip(server.tls, nbytes);
	up.n_heard += nbytes;
}

static void read_as_taskvine(size_t nbytes)
{
	char data[256];
	int has_come = can_be_read(server.fd, 0) ? vf_tls_has_come(server.fd) :
						   vf_tls_pending(server.fd);
	/* Behind a message of TLS's own, which is no word: the next poll() sees it. */
	int is_seen = can_be_read(server.fd, 0);
	ssize_t n = read(server.fd, data, nbytes);
	check_heard(&up, data, n);
	CHECK(n <= 0 || has_come || is_seen);
	CHECK(n >= 0 || errno != EAGAIN || !has_come);
	if (n < 0 && errno != EAGAIN)
		server.is_broken = 1;
	server.has_ended |= !n;
	up.n_heard += n > 0 ? (size_t)n : 0;
}

static void hear(size_t nbytes)
{
	shake();
	if (!server.is_open)
		return;
	if (server.is_given)
		read_as_taskvine(nbytes);
	else
		look(nbytes);
}

static void give(void)
{
	if (!server.is_open || server.is_given)
		return;
	CHECK(!vf_tls_give(server.tls));
	server.is_given = 1;
}

static void say_up(size_t nbytes)
{
	char *words = up.said + up.n_said;
	if (!client.is_done || up.n_said + nbytes > WORDS_MAX)
		return;
	for (size_t i = 0; i < nbytes; i++)
		words[i] = (char)(up.n_said + i * 7);
	if (SSL_write(client.ssl, words, (int)nbytes) == (int)nbytes)
		up.n_said += nbytes;
	ERR_clear_error();
}

static void say_down(size_t nbytes)
{
	char *words = down.said + down.n_said;
	if (!server.is_open || down.n_said + nbytes > WORDS_MAX)
		return;
	for (size_t i = 0; i < nbytes; i++)
		words[i] = (char)(down.n_said + i * 5);
	ssize_t n = server.is_given ? write(server.fd, words, nbytes) :
				      vf_tls_send(server.tls, words, nbytes);
	down.n_said += n > 0 ? (size_t)n : 0;
}

static void shake_hands(void)
{
	for (int i = 0; i < ROUNDS_MAX && !(client.is_done && server.is_open); i++) {
		client.is_done |= SSL_do_handshake(client.ssl) == 1;
		ERR_clear_error();
		deliver(WAY_MAX);
		shake();
		listen_to_server();
	}
}

static void change_key(int is_asked_for)
{
	if (client.is_done && SSL_key_update(client.ssl, is_asked_for) == 1) {
		SSL_do_handshake(client.ssl);
		client.n_changes++;
	}
	ERR_clear_error();
}

/* Half a record is none that is seen: it is taken over when it is read. */
static int sees_more(void)
{
	return server.is_open && !server.is_broken && !server.has_ended &&
			can_be_read(server.fd, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes)
{
	struct fuzz_input input = {data, nbytes};
	int is_damaged = 0, has_left = 0;
	if (nbytes > INPUT_MAX)
		return 0;
	begin();
	int spare = dup(STDERR_FILENO);
	CHECK(spare >= 0 && !close(spare));
	connect_both();
	while (input.nbytes) {
		unsigned what = fuzz_choice(&input, 10), n = 1 + fuzz_choice(&input, 255);
		switch (what) {
		case 0:
			shake_hands();
			break;
		case 1:
			say_up(n);
			break;
		case 2:
			say_up(n * 16);
			break;
		case 3:
			deliver(n);
			break;
		case 4:
			deliver(WAY_MAX);
			break;
		case 5:
			hear(n);
			break;
		case 6:
			give();
			break;
		case 7:
			say_down(n);
			listen_to_server();
			break;
		case 8:
			change_key(n & 1);
			break;
		default:
			/* It stands before what is on its way, and may be half a record. */
			if (n == 1 && client.is_done) {
				has_left |= SSL_shutdown(client.ssl) >= 0;
				ERR_clear_error();
				break;
			}
			n = n < input.nbytes ? n : (unsigned)input.nbytes;
			is_damaged |= n > 0;
			if (n)
				send(client.fd, input.data, n, MSG_NOSIGNAL);
			input.data += n;
			input.nbytes -= n;
		}
	}
	/* Nothing is lost, whatever happens between the words. */
	for (size_t left = SIZE_MAX, before = 0; left != before || sees_more();) {
		before = left;
		deliver(WAY_MAX);
		hear(200);
		left = up.n_said - up.n_heard + client.n_way;
	}
	listen_to_server();
	if (!is_damaged && client.n_changes <= CHANGES_MAX && server.is_open) {
		CHECK(!server.is_broken && up.n_heard == up.n_said && !client.n_way);
		CHECK(has_left || down.n_heard == down.n_said);
	}
	disconnect_both();
	int again = dup(STDERR_FILENO);
	CHECK(again == spare && !close(again));
	return 0;
}
