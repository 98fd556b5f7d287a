/* Many threads push, one takes: nothing is lost, nothing comes twice, and each pusher's items keep
their order. */

#include "vf_ring.h"

#include <pthread.h>

#include "check.h"

enum {
	PUSHERS = 4,
	EACH = 20000,
};

struct item {
	struct vf_link link;
	int pusher, number;
};

static struct vf_ring ring;
static struct item items[PUSHERS][EACH];

static void *push_all(void *arg)
{
	struct item *own = arg;
	for (int i = 0; i < EACH; i++)
		vf_ring_push(&ring, &own[i].link);
	return NULL;
}

int main(void)
{
	pthread_t threads[PUSHERS];
	int expected[PUSHERS] = {0};

	vf_ring_init(&ring);
	CHECK(vf_ring_empty(&ring));
	CHECK(vf_ring_take(&ring) == NULL);

	for (int p = 0; p < PUSHERS; p++) {
		for (int i = 0; i < EACH; i++)
			items[p][i] = (struct item){.pusher = p, .number = i};
		CHECK(pthread_create(&threads[p], NULL, push_all, items[p]) == 0);
	}
	for (int taken = 0; taken < PUSHERS * EACH;) {
		struct vf_link *link = vf_ring_take(&ring);
		while (link) {
			struct item *item = (struct item *)link;
			link = link->next;
			CHECK(item->number == expected[item->pusher]);
			expected[item->pusher]++;
			taken++;
		}
	}
	for (int p = 0; p < PUSHERS; p++)
		pthread_join(threads[p], NULL);
	CHECK(vf_ring_empty(&ring));
	return 0;
}
