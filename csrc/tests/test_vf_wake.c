/* A sleeper that parks, looks, and sleeps never misses an item, however the waker's steps fall
between its own. */

#include "vf_wake.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "vf_ring.h"

enum {
	ROUNDS = 20000,
	LATEST_MS = 10000,
};

static struct vf_wake wake;
static struct vf_ring ring;
static struct vf_link items[ROUNDS];

static void *feed(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		vf_ring_push(&ring, &items[i]);
		vf_wake_signal(&wake);
	}
	return NULL;
}

static void test_without_a_descriptor_there_is_no_wake_and_no_harm(void)
{
	faults_close_descriptors();
	CHECK(vf_wake_open(&wake) == -1 && errno == EMFILE && wake.fd < 0);
	faults_open_descriptors();
	/* Nobody else's descriptor is touched. */
	vf_wake_force(&wake);
	vf_wake_done(&wake);
	vf_wake_close(&wake);
	CHECK(vf_wake_open(&wake) == 0);
	int fd = wake.fd;
	vf_wake_close(&wake);
	vf_wake_close(&wake);
	CHECK(wake.fd < 0 && close(fd) == -1 && errno == EBADF);
}

int main(void)
{
	test_without_a_descriptor_there_is_no_wake_and_no_harm();
	vf_ring_init(&ring);
	CHECK(vf_wake_open(&wake) == 0);
	struct pollfd fd = {.fd = wake.fd, .events = POLLIN};

	vf_wake_signal(&wake); /* nobody is parked: no trace is left */
	CHECK(poll(&fd, 1, 0) == 0);
	vf_wake_force(&wake);
	CHECK(poll(&fd, 1, 0) == 1);
	vf_wake_done(&wake);
	CHECK(poll(&fd, 1, 0) == 0);

	pthread_t feeder;
	CHECK(pthread_create(&feeder, NULL, feed, NULL) == 0);
	for (int taken = 0; taken < ROUNDS;) {
		struct vf_link *link = vf_ring_take(&ring);
		if (!link) {
			vf_wake_park(&wake);
			if (vf_ring_empty(&ring))
				CHECK(poll(&fd, 1, LATEST_MS) == 1);
			vf_wake_done(&wake);
		}
		for (; link; link = link->next)
			taken++;
	}
	pthread_join(feeder, NULL);
	vf_wake_close(&wake);
	return 0;
}
