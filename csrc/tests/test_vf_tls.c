/* TLS is spoken as bytes come, whatever comes and however; what it carries is read and written as
if there were none; and who does not speak as the manager does is told apart. */

#define _GNU_SOURCE
#include "vf_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "shake.h"
#include "sockets.h"
#include "faults.h"
#include "vf_accept.h"
#include "vf_certificate.h"
#include "vf_clock.h"
#include "vf_handshake.h"
#include "vf_hooks.h"

/* link.h has it in some releases. */
struct link *link_attach(int fd);

enum {
	LONG_MS = 20000,
	MANY_NBYTES = 3000000,
};

static const char GREETING[] =
		"taskvine 12 host Linux machine 7\ninfo worker-id a\nresources\ncores 1\nend\n";

static char directory[] = "/tmp/vinefast-tls-XXXXXX";
static char key_path[64], certificate_path[64], other_path[64];
static char why[256];
static struct link *server;

static void put(const char *path, const char *content)
{
	FILE *file = fopen(path, "w");
	CHECK(file && fputs(content, file) >= 0 && !fclose(file));
}

static void make_files(void)
{
	char *key, *certificate, *other, *another;
	CHECK(mkdtemp(directory));
	snprintf(key_path, sizeof key_path, "%s/key", directory);
	snprintf(certificate_path, sizeof certificate_path, "%s/certificate", directory);
	snprintf(other_path, sizeof other_path, "%s/other", directory);
	for (int n = 0; n < 2; n++) {
		faults_begin(n);
		CHECK(vf_certificate_make(&key, &certificate) && faults_end() == 1);
		CHECK(!key && !certificate);
		faults_fail("BIO_read", n, ENOMEM);
		CHECK(vf_certificate_make(&key, &certificate) && faults_has_failed());
		CHECK(!key && !certificate);
	}
	CHECK(!vf_certificate_make(&key, &certificate) && !vf_certificate_make(&other, &another));
	CHECK(strstr(key, "BEGIN PRIVATE KEY") && strstr(certificate, "BEGIN CERTIFICATE"));
	CHECK(strcmp(key, other) && strcmp(certificate, another));
	put(key_path, key);
	put(certificate_path, certificate);
	put(other_path, other);
	vf_certificate_free_key(key);
	vf_certificate_free_key(other);
	vf_certificate_free_key(NULL);
	free(certificate);
	free(another);
}

static void begin(void)
{
	CHECK(!vf_tls_begin(key_path, certificate_path, why, sizeof why) && vf_tls_is_on());
}

/* What it decrypts to does not matter: nobody is asked for its password. */
static const char WITH_PASSWORD[] = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
				    "DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
				    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
				    "-----END RSA PRIVATE KEY-----\n";

static void test_files_that_cannot_be_used(void)
{
	char with_password[80];
	snprintf(with_password, sizeof with_password, "%s/with-password", directory);
	put(with_password, WITH_PASSWORD);
	CHECK(vf_tls_begin(with_password, certificate_path, why, sizeof why) && *why);
	CHECK(!unlink(with_password) && !vf_tls_is_on());
	CHECK(vf_tls_begin("/no/such/key", certificate_path, why, sizeof why) && *why);
	CHECK(vf_tls_begin(key_path, "/no/such/certificate", why, sizeof why) && *why);
	CHECK(vf_tls_begin(other_path, certificate_path, why, sizeof why));
	CHECK(strstr(why, "mismatch") && !vf_tls_is_on());
	CHECK(vf_tls_begin(certificate_path, key_path, why, sizeof why) && !vf_tls_is_on());
	begin();
	vf_tls_end();
	CHECK(!vf_tls_is_on());
}

/* ---- connections ---- */

/* A worker with TaskVine's own TLS, on a thread of its own. */
struct client {
	pthread_t thread;
	int port;
	const char *words; /* what it says, */
	size_t nbytes;
	size_t n_heard; /* and how much it hears until the end */
	struct link *link;
	int leaves, is_welcome; /* at once, and before */
};

/* As a worker is that hears nothing while it ends its processes, and has something to say then. */
static void *be_busy_client(void *arg)
{
	struct client *client = arg;
	char heard[16];
	client->link = link_connect("127.0.0.1", client->port, time(NULL) + 20);
	client->is_welcome = link_ssl_wrap_connect(client->link, NULL) > 0;
	for (int n = 0; n < 3; n++) {
		usleep(100000);
		link_putlstring(client->link, client->words, client->nbytes, time(NULL) + 20);
	}
	ssize_t n = link_read(client->link, heard, sizeof heard, time(NULL) + 20);
	client->n_heard = n > 0 ? (size_t)n : 0;
	link_close(client->link);
	return NULL;
}

static void *be_client(void *arg)
{
	struct client *client = arg;
	static _Thread_local char heard[1 << 16];
	client->link = link_connect("127.0.0.1", client->port, time(NULL) + 20);
	client->is_welcome = link_ssl_wrap_connect(client->link, NULL) > 0;
	if (!client->is_welcome)
		return NULL;
	link_putlstring(client->link, client->words, client->nbytes, time(NULL) + 20);
	for (ssize_t n = !client->leaves; n > 0; client->n_heard += n > 0 ? (size_t)n : 0)
		n = link_read(client->link, heard, sizeof heard, time(NULL) + 20);
	return NULL;
}

static int port_of(struct link *link)
{
	char host[LINK_ADDRESS_MAX];
	int number;
	CHECK(link_address_local(link, host, &number));
	return number;
}

static void start_one(struct client *client, const char *words, size_t nbytes, int leaves, int port)
{
	*client = (struct client){.words = words, .nbytes = nbytes, .port = port, .leaves = leaves};
	CHECK(!pthread_create(&client->thread, NULL, be_client, client));
}

static void start(struct client *client, const char *words, size_t nbytes, int port)
{
	start_one(client, words, nbytes, 0, port);
}

static void finish(struct client *client)
{
	CHECK(!pthread_join(client->thread, NULL));
	link_close(client->link);
	client->link = NULL;
}

static int is_closed(int fd)
{
	char byte;
	while (can_be_read(fd, 0)) {
		if (recv(fd, &byte, 1, MSG_DONTWAIT) <= 0)
			return 1;
	}
	return 0;
}

static void test_what_it_carries(void)
{
	struct client client;
	char line[100];
	char *words = malloc(MANY_NBYTES);
	CHECK(words);
	for (size_t i = 0; i < MANY_NBYTES; i++)
		words[i] = (char)('a' + i % 23);
	memcpy(words, "one\ntwo\n", 8);
	begin();
	start(&client, words, MANY_NBYTES, port_of(server));
	int fd = take_one(link_fd(server), LONG_MS);
	struct vf_tls *tls = shake(fd, LONG_MS);

	/* It is looked at, and taken in part, and is still there for the link. */
	CHECK(can_be_read(fd, LONG_MS) && vf_tls_peek(tls, line, sizeof line) == sizeof line);
	CHECK(!memcmp(line, words, sizeof line));
	vf_tls_skip(tls, 4);
	CHECK(vf_tls_peek(tls, line, 3) == 3 && !memcmp(line, "two", 3));
	CHECK(!vf_tls_pending(fd));
	faults_begin(0);
	CHECK(vf_tls_give(tls) && faults_end() == 1);
	CHECK(!vf_tls_give(tls) && vf_tls_pending(fd) && vf_tls_has_come(fd));
	struct link *link = link_attach(fd);
	CHECK(link && link_readline(link, line, sizeof line, time(NULL) + 20) &&
			!strcmp(line, "two"));
	char *read = malloc(MANY_NBYTES);
	CHECK(read);
	/* In pieces that end amid records. */
	for (size_t n = 8; n < MANY_NBYTES;) {
		size_t piece = n % 2 ? 70001 : 333;
		piece = piece < MANY_NBYTES - n ? piece : MANY_NBYTES - n;
		CHECK(link_read(link, read + n, piece, time(NULL) + 20) == (ssize_t)piece);
		n += piece;
	}
	CHECK(!memcmp(read + 8, words + 8, MANY_NBYTES - 8));
	CHECK(!vf_tls_pending(fd) && !link_readline(link, line, sizeof line, LINK_NOWAIT));

	CHECK(link_putlstring(link, words, MANY_NBYTES, time(NULL) + 20) == MANY_NBYTES);
	link_close(link); /* which says so */
	CHECK(fcntl(fd, F_GETFD) < 0 && !vf_tls_pending(fd) && vf_tls_has_come(fd));
	finish(&client);
	CHECK(client.is_welcome && client.n_heard == MANY_NBYTES);
	vf_tls_end();
	free(read);
	free(words);
}

/* What is left in a record that was read in part is seen by no poll. */
static void test_what_no_poll_sees(void)
{
	struct client client;
	char data[3];
	begin();
	start(&client, "0123456789", 10, port_of(server));
	int fd = take_one(link_fd(server), LONG_MS);
	struct vf_tls *tls = shake(fd, LONG_MS);
	CHECK(!vf_tls_give(tls) && can_be_read(fd, LONG_MS));
	CHECK(read(fd, data, sizeof data) == 3 && !memcmp(data, "012", 3));
	CHECK(!can_be_read(fd, 0) && vf_tls_pending(fd) && vf_tls_has_come(fd));
	CHECK(read(fd, data, sizeof data) == 3 && !memcmp(data, "345", 3));
	char rest[10];
	CHECK(read(fd, rest, sizeof rest) == 4 && read(fd, rest, sizeof rest) < 0);
	CHECK(errno == EAGAIN && !vf_tls_pending(fd));
	CHECK(write(fd, "", 0) == 0);
	close(fd);
	finish(&client);
	vf_tls_end();
}

/* Who writes to one that has said farewell is told, and is not told that nothing was written. */
static void test_who_is_busy_hears_the_last_word(void)
{
	struct client client = {.words = "x", .nbytes = 1, .port = port_of(server)};
	begin();
	CHECK(!pthread_create(&client.thread, NULL, be_busy_client, &client));
	int fd = take_one(link_fd(server), LONG_MS);
	struct vf_tls *tls = shake(fd, LONG_MS);
	CHECK(!vf_tls_give(tls));
	CHECK(write(fd, "exit\n", 5) == 5);
	vf_tls_end_soon();
	close(fd);
	CHECK(!vf_tls_pending(fd) && fcntl(fd, F_GETFD) >= 0);
	vf_tls_end();
	CHECK(fcntl(fd, F_GETFD) < 0);
	CHECK(!pthread_join(client.thread, NULL) && client.is_welcome && client.n_heard == 5);
}

static void test_one_that_has_left(void)
{
	struct client client;
	char data[10];
	begin();
	start_one(&client, "x", 1, 1, port_of(server));
	int fd = take_one(link_fd(server), LONG_MS);
	struct vf_tls *tls = shake(fd, LONG_MS);
	CHECK(!vf_tls_give(tls));
	finish(&client);
	CHECK(can_be_read(fd, LONG_MS) && read(fd, data, sizeof data) == 1);
	CHECK(can_be_read(fd, LONG_MS) && vf_tls_has_come(fd) && !read(fd, data, sizeof data));
	CHECK(!read(fd, data, sizeof data));
	ssize_t n = 1;
	for (int64_t end_ms = vf_now_ms() + LONG_MS; n > 0 && vf_now_ms() < end_ms;)
		n = write(fd, "y", 1);
	CHECK(n < 0 && errno == EPIPE);
	CHECK(write(fd, "y", 1) < 0 && errno == EPIPE && read(fd, data, sizeof data) < 0);
	close(fd);
	vf_tls_end();
}

/* TaskVine's connection is taken as it is if it was given, and no other one is. */
static void test_taskvine_waits_for_no_handshake(void)
{
	struct client client;
	begin();
	start(&client, "x", 1, port_of(server));
	int fd = take_one(link_fd(server), LONG_MS), silent = come(port_of(server));
	struct vf_tls *tls = shake(fd, LONG_MS);
	CHECK(!vf_tls_give(tls));
	struct link *link = link_attach(fd);
	CHECK(link && link_ssl_wrap_accept(link, "-", "-"));
	struct link *other = link_attach(take_one(link_fd(server), LONG_MS));
	CHECK(other && !link_ssl_wrap_accept(other, "-", "-"));
	link_close(other);
	close(silent);
	/* What is still there when all ends is let go; its descriptor is TaskVine's. */
	vf_tls_end();
	link_close(link);
	finish(&client);
	CHECK(client.is_welcome);
}

/* Bytes of one connection are passed on to another, so many and no more. */
static void pass(int from, int to, size_t nbytes)
{
	char data[1024];
	while (nbytes) {
		CHECK(can_be_read(from, LONG_MS));
		ssize_t n = recv(from, data, nbytes < sizeof data ? nbytes : sizeof data, 0);
		CHECK(n > 0 && send(to, data, (size_t)n, MSG_NOSIGNAL) == n);
		nbytes -= (size_t)n;
	}
}

static void test_a_connection_that_ends_amid_a_record(void)
{
	struct client client;
	char data[100];
	struct link *relay = link_serve_address("127.0.0.1", 0);
	CHECK(relay);
	begin();
	start(&client, "0123456789", 10, port_of(relay));
	int near = take_one(link_fd(relay), LONG_MS), far = come(port_of(server));
	int fd = take_one(link_fd(server), LONG_MS), is_over = 0;
	struct vf_tls *tls = vf_tls_new(fd);
	CHECK(tls);
	/* A byte at a time: its end takes no part of what is behind it. */
	while (!is_over) {
		while (can_be_read(far, 0))
			pass(far, near, 1);
		if (!can_be_read(near, 1))
			continue;
		pass(near, far, 1);
		CHECK(can_be_read(fd, LONG_MS));
		is_over = vf_tls_shake(tls);
		CHECK(is_over >= 0);
	}
	CHECK(!vf_tls_give(tls));
	pass(near, far, 7);
	CHECK(can_be_read(fd, LONG_MS) && !vf_tls_has_come(fd) && vf_tls_has_begun(fd));
	CHECK(!can_be_read(fd, 0) && !vf_tls_pending(fd));
	CHECK(read(fd, data, sizeof data) < 0 && errno == EAGAIN);
	close(far);
	CHECK(can_be_read(fd, LONG_MS) && vf_tls_has_come(fd));
	/* Never what stands for the time being up. */
	CHECK(read(fd, data, sizeof data) < 0 && errno == EPIPE);
	CHECK(read(fd, data, sizeof data) < 0 && errno == EPIPE);
	CHECK(write(fd, "x", 1) < 0 && errno == EPIPE);
	close(fd);
	close(near);
	finish(&client);
	link_close(relay);
	vf_tls_end();
}

/* ---- the handshake with the manager ---- */

static void hear(void)
{
	vf_handshake_hear(link_fd(server), vf_now_ms());
}

static int becomes_ready(int ms)
{
	for (int64_t end_ms = vf_now_ms() + ms; !vf_handshake_ready() && vf_now_ms() < end_ms;) {
		hear();
		usleep(1000);
	}
	return vf_handshake_ready();
}

static int becomes_closed(int fd)
{
	for (int64_t end_ms = vf_now_ms() + LONG_MS; vf_now_ms() < end_ms && !is_closed(fd);) {
		hear();
		usleep(1000);
	}
	return is_closed(fd);
}

static void test_who_comes(void)
{
	struct client client;
	char line[64];
	begin();
	vf_handshake_begin(NULL);
	CHECK(!link_accept(server, 0));
	int silent = come(port_of(server)), half = come(port_of(server));
	int plain = come(port_of(server)), rubbish = come(port_of(server));
	int bad = come(port_of(server));
	CHECK(send(half, "\x16\x03\x01\x02", 4, 0) == 4);
	CHECK(send(plain, GREETING, strlen(GREETING), 0) > 0);
	CHECK(send(rubbish, "rubbish", 7, 0) > 0);
	CHECK(send(bad, "\x16\x03\x01\x00\x04\x0e\x00\x00\x00", 9, 0) == 9);
	CHECK(becomes_closed(plain) && becomes_closed(rubbish) && becomes_closed(bad));
	CHECK(vf_handshake_without_tls() == 1 && !vf_handshake_with_tls());
	start(&client, GREETING, strlen(GREETING), port_of(server));
	CHECK(becomes_ready(LONG_MS));
	struct link *link = link_accept(server, 0);
	CHECK(link && link_ssl_wrap_accept(link, "-", "-") && !link_accept(server, 0));
	CHECK(link_readline(link, line, sizeof line, time(NULL) + 20));
	CHECK(!strcmp(line, "taskvine 12 host Linux machine 7"));
	CHECK(!is_closed(silent) && !is_closed(half));
	vf_handshake_end();
	CHECK(is_closed(silent) && is_closed(half));
	link_close(link);
	finish(&client);
	vf_tls_end();

	/* One that has spoken, and that TaskVine is never given. */
	begin();
	vf_handshake_begin(NULL);
	CHECK(!link_accept(server, 0));
	start(&client, GREETING, strlen(GREETING), port_of(server));
	CHECK(becomes_ready(LONG_MS));
	vf_handshake_end();
	finish(&client);
	vf_tls_end();

	/* And with TLS where there is none, with and without a password. */
	for (int i = 0; i < 2; i++) {
		vf_handshake_begin(i ? "password\n" : NULL);
		CHECK(!link_accept(server, 0));
		start(&client, "x", 1, port_of(server));
		while (!vf_handshake_with_tls())
			hear();
		CHECK(vf_handshake_with_tls() == 1 && !vf_handshake_without_tls());
		finish(&client);
		CHECK(!client.is_welcome);
		vf_handshake_end();
	}
	close(silent), close(half), close(plain), close(rubbish), close(bad);
}

/* Who cannot have TLS for want of memory is closed, and comes again. */
static void test_short_memory(void)
{
	struct client client;
	int n_failed = 1;
	begin();
	for (int n = 0; n_failed; n++) {
		vf_handshake_begin(NULL);
		CHECK(!link_accept(server, 0));
		faults_begin(n);
		start(&client, GREETING, strlen(GREETING), port_of(server));
		struct link *link = NULL;
		for (int64_t end_ms = vf_now_ms() + 500; !link && vf_now_ms() < end_ms;)
			link = becomes_ready(100) ? link_accept(server, 0) : NULL;
		n_failed = faults_end();
		CHECK(link || n_failed);
		link_close(link);
		vf_handshake_end();
		finish(&client);
	}
	vf_tls_end();
}

int main(void)
{
	make_files();
	server = link_serve_address("127.0.0.1", 0);
	CHECK(server);
	test_files_that_cannot_be_used();
	test_what_it_carries();
	test_what_no_poll_sees();
	test_one_that_has_left();
	test_who_is_busy_hears_the_last_word();
	test_taskvine_waits_for_no_handshake();
	test_a_connection_that_ends_amid_a_record();
	test_who_comes();
	test_short_memory();
	link_close(server);
	unlink(key_path), unlink(certificate_path), unlink(other_path);
	CHECK(!rmdir(directory));
	return 0;
}
