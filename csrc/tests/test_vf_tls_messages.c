/* TLS's own messages between words are read, and nobody has us read them for as long as he likes */

#define _GNU_SOURCE
#include "vf_tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "shake.h"
#include "sockets.h"
#include "vf_certificate.h"
#include "vf_hooks.h"
#include "vf_openssl.h"

enum {
	LONG_MS = 20000,
};

static char directory[] = "/tmp/vinefast-tls-XXXXXX";
static char key_path[64], certificate_path[64];
static struct link *server;

static void put(const char *path, const char *content)
{
	FILE *file = fopen(path, "w");
	CHECK(file && fputs(content, file) >= 0 && !fclose(file));
}

static void begin(void)
{
	char *key, *certificate, why[256];
	CHECK(mkdtemp(directory) && !vf_certificate_make(&key, &certificate));
	snprintf(key_path, sizeof key_path, "%s/key", directory);
	snprintf(certificate_path, sizeof certificate_path, "%s/certificate", directory);
	put(key_path, key);
	put(certificate_path, certificate);
	vf_certificate_free_key(key);
	free(certificate);
	CHECK(!vf_tls_begin(key_path, certificate_path, why, sizeof why));
	unlink(key_path), unlink(certificate_path);
	CHECK(!rmdir(directory));
}

static int port_of(struct link *link)
{
	char host[LINK_ADDRESS_MAX];
	int number;
	CHECK(link_address_local(link, host, &number));
	return number;
}

const SSL_METHOD *TLS_client_method(void);
void SSL_set_connect_state(SSL *ssl);
int SSL_key_update(SSL *ssl, int is_asked_for);

/* Who changes its key again and again, and says nothing else but now and then a word. */
struct changer {
	pthread_t thread;
	int port, n_changes, n_words; /* so many before each word */
	int is_asked_for; /* that the other end changes its own, too */
};

static void *be_changer(void *arg)
{
	const struct changer *changer = arg;
	char answers[1000];
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	int fd = come(changer->port);
	CHECK(ssl && SSL_set_fd(ssl, fd));
	SSL_set_connect_state(ssl);
	CHECK(SSL_do_handshake(ssl) == 1);
	for (int word = 0; word < changer->n_words; word++) {
		int goes_on = 1;
		for (int n = 0; n < changer->n_changes && goes_on; n++)
			goes_on = SSL_key_update(ssl, changer->is_asked_for) == 1 &&
					SSL_do_handshake(ssl) == 1;
		if (!goes_on || SSL_write(ssl, "x", 1) != 1)
			break;
	}
	/* What it has not read when it closes would cut off what it has sent. */
	shutdown(fd, SHUT_WR);
	while (recv(fd, answers, sizeof answers, 0) > 0)
		;
	SSL_free(ssl);
	SSL_CTX_free(context);
	close(fd);
	return NULL;
}

static void test_who_changes_its_key(int is_asked_for)
{
	char data[10];
	/* As TLS lets it. */
	struct changer changer = {.port = port_of(server),
			.n_changes = 3,
			.n_words = 10,
			.is_asked_for = is_asked_for};
	CHECK(!pthread_create(&changer.thread, NULL, be_changer, &changer));
	int fd = take_one(link_fd(server), LONG_MS);
	struct vf_tls *tls = shake(fd, LONG_MS);
	CHECK(!vf_tls_give(tls));
	for (int word = 0; word < changer.n_words;) {
		CHECK(can_be_read(fd, LONG_MS) || vf_tls_pending(fd));
		ssize_t n = read(fd, data, sizeof data);
		CHECK(n > 0 || (n < 0 && errno == EAGAIN));
		word += n > 0 ? (int)n : 0;
	}
	close(fd);
	CHECK(!pthread_join(changer.thread, NULL));

	/* And to have us read for as long as it likes. */
	changer.n_changes = 1000000;
	changer.n_words = 1;
	CHECK(!pthread_create(&changer.thread, NULL, be_changer, &changer));
	fd = take_one(link_fd(server), LONG_MS);
	tls = shake(fd, LONG_MS);
	ssize_t n = -1;
	for (errno = EAGAIN; n < 0 && errno == EAGAIN;) {
		CHECK(can_be_read(fd, LONG_MS));
		n = vf_tls_peek(tls, data, sizeof data);
	}
	CHECK(n < 0 && errno == EPIPE && vf_tls_peek(tls, data, sizeof data) < 0);
	vf_tls_free(tls);
	close(fd);
	CHECK(!pthread_join(changer.thread, NULL));
}

static void test_what_the_system_refuses_is_no_connection(void)
{
	static const char *const refused[] = {"fcntl", "SSL_set_fd"};
	int pair[2];
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	for (int i = 0; i < 2; i++) {
		faults_fail(refused[i], 0, ENOMEM);
		CHECK(!vf_tls_new(pair[0]) && faults_has_failed());
	}
	struct vf_tls *tls = vf_tls_new(pair[0]);
	CHECK(tls);
	vf_tls_free(tls);
	CHECK(!close(pair[0]) && !close(pair[1]));
}

int main(void)
{
	server = link_serve_address("127.0.0.1", 0);
	CHECK(server);
	begin();
	test_what_the_system_refuses_is_no_connection();
	test_who_changes_its_key(0);
	test_who_changes_its_key(1);
	vf_tls_end();
	link_close(server);
	return 0;
}
