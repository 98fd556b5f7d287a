/* Who is left with a last word can read it after having written, and is waited for no longer than
said. */

#define _GNU_SOURCE
#include "vf_linger.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "vf_clock.h"

enum {
	MANY = 40,
	LONG_MS = 20000,
};

static int ends[MANY][2];

static void open_them(struct vf_linger *linger, int n)
{
	for (int i = 0; i < n; i++) {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[i]));
		CHECK(send(ends[i][0], "exit", 4, 0) == 4 && !vf_linger_add(linger, ends[i][0]));
	}
}

static int is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Each writes, reads the last word, and that nothing more comes; and leaves. */
static void *leave(void *arg)
{
	(void)arg;
	char word[10];
	for (int i = 0; i < MANY; i++) {
		usleep(2000);
		for (int n = 0; n < 3; n++)
			CHECK(send(ends[i][1], "busy", 4, MSG_NOSIGNAL) == 4);
		CHECK(recv(ends[i][1], word, sizeof word, 0) == 4);
		CHECK(!recv(ends[i][1], word, sizeof word, 0));
		close(ends[i][1]);
	}
	return NULL;
}

static void test_all_leave(void)
{
	struct vf_linger linger = {0};
	pthread_t thread;
	open_them(&linger, MANY);
	int64_t begin_ms = vf_now_ms();
	CHECK(!pthread_create(&thread, NULL, leave, NULL));
	vf_linger_close(&linger, LONG_MS);
	CHECK(vf_now_ms() - begin_ms < LONG_MS / 2);
	CHECK(!pthread_join(thread, NULL) && !linger.n_left && !linger.left);
	for (int i = 0; i < MANY; i++)
		CHECK(!is_open(ends[i][0]));
}

/* Who has lowered his limit meanwhile: no poll() looks at so many. */
static void test_more_than_may_be_open(void)
{
	struct rlimit before, low;
	CHECK(!getrlimit(RLIMIT_NOFILE, &before));
	low = before;
	low.rlim_cur = MANY / 2;
	struct vf_linger linger = {0};
	pthread_t thread;
	open_them(&linger, MANY);
	int64_t begin_ms = vf_now_ms();
	CHECK(!pthread_create(&thread, NULL, leave, NULL));
	CHECK(!setrlimit(RLIMIT_NOFILE, &low));
	vf_linger_close(&linger, LONG_MS);
	CHECK(!setrlimit(RLIMIT_NOFILE, &before));
	CHECK(vf_now_ms() - begin_ms < LONG_MS / 2);
	CHECK(!pthread_join(thread, NULL));
}

static void test_one_stays(void)
{
	struct vf_linger linger = {0};
	open_them(&linger, 3);
	close(ends[0][1]);
	close(ends[2][1]);
	int64_t begin_ms = vf_now_ms();
	vf_linger_close(&linger, 100);
	CHECK(vf_now_ms() - begin_ms >= 100 && !linger.n_left);
	for (int i = 0; i < 3; i++)
		CHECK(!is_open(ends[i][0]));
	close(ends[1][1]);
	vf_linger_close(&linger, LONG_MS);
}

static void test_short_memory(void)
{
	struct vf_linger linger = {0};
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[0]));
	faults_begin(0);
	CHECK(vf_linger_add(&linger, ends[0][0]) && faults_end() == 1);
	CHECK(is_open(ends[0][0]) && !linger.n_left);
	close(ends[0][0]);
	close(ends[0][1]);
	vf_linger_close(&linger, LONG_MS);
}

int main(void)
{
	test_all_leave();
	test_more_than_may_be_open();
	test_one_stays();
	test_short_memory();
	return 0;
}
