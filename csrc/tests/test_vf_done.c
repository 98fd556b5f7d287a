/* What is done comes out in its order, at the end of the turn, and wakes whoever waits for it. */

#include "vf_done.h"

#include <errno.h>
#include <pthread.h>

#include "check.h"
#include "faults.h"

enum {
	BUNDLES = 100,
};

static struct vf_done done;
static struct vf_bundle *bundles[BUNDLES];

static void test_nothing_is_handed_over_within_a_turn(void)
{
	vf_done_later(&done, bundles[0]);
	vf_done_later(&done, bundles[1]);
	CHECK(!vf_done_take_within(&done, 0));
	vf_done_over(&done);
	struct vf_bundle *first = vf_done_take(&done);
	CHECK(first == bundles[0] && first->link.next == &bundles[1]->link &&
			!bundles[1]->link.next);
	vf_done_over(&done);
	CHECK(!vf_done_take_within(&done, 0));
}

/* As the manager thread does: a turn for each. */
static void *hand_over(void *arg)
{
	(void)arg;
	for (int i = 0; i < BUNDLES; i++) {
		vf_done_later(&done, bundles[i]);
		vf_done_over(&done);
	}
	vf_done_close(&done);
	return NULL;
}

static void test_all_come_out_before_it_is_closed(void)
{
	pthread_t manager;
	int n = 0;
	CHECK(!vf_done_is_closed(&done) && !pthread_create(&manager, NULL, hand_over, NULL));
	for (struct vf_bundle *bundle; (bundle = vf_done_take(&done));) {
		for (struct vf_link *item = &bundle->link; item; item = item->next)
			CHECK(item == &bundles[n++]->link);
	}
	CHECK(n == BUNDLES && vf_done_is_closed(&done) && !vf_done_take_within(&done, -1));
	pthread_join(manager, NULL);
}

static void *wake(void *arg)
{
	vf_done_wake_taker(arg);
	return NULL;
}

static void test_the_taker_can_be_woken_for_something_else(void)
{
	pthread_t other;
	CHECK(!pthread_create(&other, NULL, wake, &done));
	CHECK(!vf_done_take_within(&done, -1));
	pthread_join(other, NULL);
}

static void test_without_a_descriptor_it_does_not_begin(void)
{
	faults_close_descriptors();
	CHECK(vf_done_begin(&done) == -1 && errno == EMFILE);
	faults_open_descriptors();
	vf_done_end(&done);
}

/* As the sanitizers see. */
static void test_the_end_frees_what_nobody_has_taken(void)
{
	struct vf_done other;
	struct vf_bundle *bundle = vf_bundle_create(0, NULL);
	CHECK(bundle && !vf_done_begin(&other));
	vf_done_later(&other, bundle);
	vf_done_over(&other);
	vf_done_end(&other);
}

int main(void)
{
	test_without_a_descriptor_it_does_not_begin();
	CHECK(!vf_done_begin(&done));
	for (int i = 0; i < BUNDLES; i++)
		CHECK((bundles[i] = vf_bundle_create(0, NULL)));
	test_nothing_is_handed_over_within_a_turn();
	test_the_taker_can_be_woken_for_something_else();
	test_all_come_out_before_it_is_closed();
	for (int i = 0; i < BUNDLES; i++)
		vf_bundle_free(bundles[i]);
	vf_done_end(&done);
	test_the_end_frees_what_nobody_has_taken();
	return 0;
}
