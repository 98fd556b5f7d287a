/* A look at a file that hangs keeps nobody for long, and no other look; its answer comes when there
is one. */

#include "vf_look.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "vf_wake.h"

enum {
	LONG_MS = 20000,
	MANY = 200, /* more than may hang at a time */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int hangs, n_hanging;

/* Instead of the C library's: the file system at /hangs hangs. */
int access(const char *path, int mode)
{
	(void)mode;
	pthread_mutex_lock(&mutex);
	n_hanging++;
	while (hangs && !strncmp(path, "/hangs/", 7))
		pthread_cond_wait(&changed, &mutex);
	n_hanging--;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
	if (strcmp(path, "/hangs/denied"))
		return 0;
	errno = EACCES;
	return -1;
}

static void let_hang(int yes)
{
	pthread_mutex_lock(&mutex);
	hangs = yes;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const struct vf_look *look_for_long(
		struct vf_looks *looks, uint64_t *turn, const char *source)
{
	const struct vf_look *look = NULL;
	for (uint64_t end_ns = now_ns() + LONG_MS * 1000000ull; !look && now_ns() < end_ns;
			usleep(1000))
		look = vf_look(looks, ++*turn, source, 0);
	CHECK(look);
	return look;
}

static void test_answers(struct vf_looks *looks, uint64_t *turn)
{
	const struct vf_look *look = look_for_long(looks, turn, "/dev/null");
	uint64_t n_made = looks->n_made;
	CHECK(!look->error && S_ISCHR(look->mode));
	CHECK(vf_look(looks, *turn, "/dev/null", 0) == look && looks->n_made == n_made);
	/* A call that came since, however soon, has a look of its own. */
	uint64_t asked_ns = look->asked_ns;
	CHECK(vf_look(looks, *turn, "/dev/null", asked_ns) == look);
	look = vf_look(looks, *turn, "/dev/null", asked_ns + 1);
	CHECK(looks->n_made == n_made + 1 && (!look || look->asked_ns > asked_ns));
	look = look_for_long(looks, turn, "/no/such/file");
	CHECK(look->error == ENOENT && looks->n_made > n_made);
	/* Who comes later in the same turn does not get what was seen before. */
	n_made = looks->n_made;
	usleep(2000);
	vf_look(looks, *turn, "/no/such/file", now_ns());
	CHECK(looks->n_made == n_made + 1);
	CHECK(look_for_long(looks, turn, "/hangs/denied")->error == EACCES);
}

static void test_hanging(struct vf_looks *looks, uint64_t *turn, struct vf_wake *wake)
{
	char source[32];
	let_hang(1);
	vf_looks_ended(looks);
	uint64_t start_ns = now_ns();
	for (int i = 0; i < MANY / 10; i++) {
		snprintf(source, sizeof source, "/hangs/%d", i);
		CHECK(!vf_look(looks, ++*turn, source, 0));
		CHECK(!vf_look(looks, *turn, source, 0)); /* it is asked about once */
		CHECK(!look_for_long(looks, turn, "/dev/null")->error);
	}
	CHECK(now_ns() - start_ns < LONG_MS * 1000000ull / 2);
	for (int i = 0; i < MANY; i++) {
		snprintf(source, sizeof source, "/hangs/%d", i);
		CHECK(!vf_look(looks, ++*turn, source, 0));
	}
	vf_looks_ended(looks);
	let_hang(0);
	struct pollfd woken = {.fd = wake->fd, .events = POLLIN};
	CHECK(poll(&woken, 1, LONG_MS) == 1);
	for (uint64_t end_ns = now_ns() + LONG_MS * 1000000ull; !vf_looks_ended(looks);
			usleep(1000))
		CHECK(now_ns() < end_ns);
	for (int i = 0; i < MANY; i++) {
		snprintf(source, sizeof source, "/hangs/%d", i);
		CHECK(look_for_long(looks, turn, source)->error == ENOENT);
	}
	/* An answer that took long is that of a time. */
	uint64_t n_made = looks->n_made;
	CHECK(!look_for_long(looks, turn, "/dev/null")->error && looks->n_made > n_made);
}

/* Nobody waits for an answer that will not come: who asks is to ask again. */
static void test_short_memory(struct vf_wake *wake)
{
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		struct vf_looks looks = {.wake = wake};
		uint64_t turn = 0;
		vf_looks_ended(&looks);
		faults_begin(n);
		const struct vf_look *look = vf_look(&looks, ++turn, "/dev/null", 0);
		n_failed = faults_end();
		/* Unless it takes long. */
		CHECK(look || looks.slow.n || vf_looks_ended(&looks));
		CHECK(!look_for_long(&looks, &turn, "/dev/null")->error);
		CHECK(n_failed || n >= 6);
		vf_looks_free(&looks);
	}

	/* Nor for one whose thread nobody would find again. */
	n_failed = 1;
	for (int n = 0; n_failed; n++) {
		struct vf_looks looks = {.wake = wake};
		uint64_t turn = 0;
		let_hang(1);
		vf_looks_ended(&looks);
		faults_begin(n);
		CHECK(!vf_look(&looks, ++turn, "/hangs/unknown", 0));
		n_failed = faults_end();
		CHECK(looks.slow.n == !n_failed && (!n_failed || vf_looks_ended(&looks)));
		let_hang(0);
		CHECK(look_for_long(&looks, &turn, "/hangs/unknown")->error == ENOENT);
		CHECK(n_failed || n == 5);
		vf_looks_free(&looks);
	}
}

int main(void)
{
	struct vf_wake wake;
	struct vf_looks looks = {.wake = &wake};
	uint64_t turn = 0;
	CHECK(!vf_wake_open(&wake));
	test_answers(&looks, &turn);
	test_hanging(&looks, &turn, &wake);
	vf_looks_free(&looks);

	test_short_memory(&wake);

	/* Nobody waits in the end for one that hangs. */
	looks.wake = &wake;
	let_hang(1);
	CHECK(!vf_look(&looks, ++turn, "/hangs/still", 0));
	uint64_t start_ns = now_ns();
	vf_looks_free(&looks);
	CHECK(now_ns() - start_ns < LONG_MS * 1000000ull / 2);
	vf_wake_close(&wake);
	let_hang(0);
	pthread_mutex_lock(&mutex);
	while (n_hanging)
		pthread_cond_wait(&changed, &mutex);
	pthread_mutex_unlock(&mutex);
	usleep(100000); /* its thread frees what it has */
	return 0;
}
