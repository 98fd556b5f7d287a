/* What waits again goes before what has come later, and what is cancelled stays so. */

#include "vf_waiting.h"

#include "check.h"

enum {
	CALLS = 5,
};

static struct vf_waiting waiting;
static struct vf_group group;
static struct vf_spec spec = {.group = &group};
static struct vf_call calls[CALLS];

static void begin(void)
{
	vf_waiting_init(&waiting);
	group = (struct vf_group){0};
	spec = (struct vf_spec){.group = &group};
	for (uint32_t i = 0; i < CALLS; i++) {
		calls[i] = (struct vf_call){.spec = &spec, .submitted_ns = i};
		vf_waiting_add(&waiting, &calls[i]);
	}
	CHECK(waiting.n == CALLS && group.n == CALLS);
}

/* As vf_send.c takes the first one. */
static struct vf_call *send_one(void)
{
	struct vf_group *first = vf_queue_take(&waiting.queue);
	struct vf_call *call = vf_call_list_pop(&vf_queue_first(first)->waiting);
	vf_queue_next(&waiting.queue, first, 1);
	vf_queue_put(&waiting.queue, first);
	waiting.n--;
	return vf_call_send(call) ? call : NULL;
}

static void check_order(void)
{
	CHECK(waiting.n == CALLS);
	for (uint32_t i = 0; i < CALLS; i++)
		CHECK(send_one() == &calls[i]);
	CHECK(!waiting.n && !vf_queue_take(&waiting.queue));
}

static void test_what_was_not_run_is_first(void)
{
	begin();
	CHECK(send_one() == &calls[0] && send_one() == &calls[1]);
	vf_waiting_again(&waiting, &calls[1]);
	vf_waiting_again(&waiting, &calls[0]);
	check_order();
}

static void test_a_list_waits_again_in_its_order(void)
{
	struct vf_call_list parked = {0};
	begin();
	for (uint32_t i = 0; i < 3; i++) {
		CHECK(send_one() == &calls[i]);
		vf_call_queue_again(&calls[i]);
		vf_call_list_push(&parked, &calls[i]);
	}
	vf_waiting_again_all(&waiting, &parked);
	CHECK(!parked.head && !parked.n);
	check_order();
}

static void test_what_is_held_up_goes_on_in_its_order(void)
{
	begin();
	for (uint32_t i = 0; i < 2; i++) {
		CHECK(send_one() == &calls[i]);
		vf_waiting_hold_up(&waiting, &calls[i]);
	}
	CHECK(waiting.n == CALLS - 2 && waiting.held_up.n == 2);
	CHECK(vf_call_cancel(&calls[1])); /* which it could not be, were it sent */
	vf_waiting_go_on(&waiting);
	CHECK(waiting.n == CALLS && !waiting.held_up.head);
	CHECK(send_one() == &calls[0] && !send_one() && send_one() == &calls[2]);
}

static void test_a_group_is_scored_for_calls_that_read(void)
{
	begin();
	CHECK(!group.scored);
	calls[0].reads = 1;
	CHECK(send_one() == &calls[0]);
	vf_waiting_again(&waiting, &calls[0]);
	CHECK(group.scored == 1);
	CHECK(send_one() == &calls[0]);
	calls[0].at_home = 1;
	vf_waiting_again(&waiting, &calls[0]);
	CHECK(group.scored == 3);
}

static void test_what_lacks_memory_is_known_until_it_goes_on(void)
{
	begin();
	CHECK(send_one() == &calls[0]);
	vf_waiting_for_memory(&waiting, &calls[0]);
	CHECK(waiting.lacks_memory && waiting.held_up.n == 1);
	vf_waiting_go_on(&waiting);
	CHECK(!waiting.lacks_memory && !waiting.held_up.n);
	check_order();
}

int main(void)
{
	test_what_was_not_run_is_first();
	test_a_list_waits_again_in_its_order();
	test_what_is_held_up_goes_on_in_its_order();
	test_a_group_is_scored_for_calls_that_read();
	test_what_lacks_memory_is_known_until_it_goes_on();
	return 0;
}
