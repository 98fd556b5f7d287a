/* How many calls travel together. */

#include "vf_sizing.h"

#include "check.h"

enum {
	MANY = 10000,
};

static struct vf_call calls[MANY];
static struct vf_call *chosen[VF_SIZING_MAX_CALLS];
static struct vf_call_list waiting, cancelled;
static double expected_ns;

static const struct vf_sizing_rule rule = {.target_ns = 20e6, .max_nbytes = 65536};

static void queue(struct vf_function *function, uint32_t n, uint32_t nbytes)
{
	waiting = cancelled = (struct vf_call_list){0};
	for (uint32_t i = 0; i < n; i++) {
		calls[i] = (struct vf_call){.function = function, .nbytes = nbytes};
		vf_call_list_push(&waiting, &calls[i]);
	}
}

static uint32_t choose(uint64_t n_waiting, uint32_t slots)
{
	struct vf_sizing_choice choice = {
			.rule = rule, .n_waiting = n_waiting, .slots = slots, .calls = chosen};
	CHECK(!vf_sizing_choose(&choice, &waiting) || !waiting.n);
	expected_ns = choice.expected_ns;
	cancelled = choice.cancelled;
	return choice.n;
}

int main(void)
{
	struct vf_function unknown = {.mean_ns = -1, .limit = 1};
	queue(&unknown, 100, 0);
	CHECK(choose(100, 2) == 1 && expected_ns < 0); /* one at a time until something is known */
	CHECK(chosen[0] == &calls[0]);

	/* The limit grows with each bundle that comes back. */
	vf_sizing_learn(&unknown, 1, 1000);
	CHECK(unknown.mean_ns == 1000);
	CHECK(choose(99, 2) == 8);
	CHECK(chosen[0] == &calls[1] && chosen[7] == &calls[8]);

	struct vf_function quick = {.mean_ns = 1000, .limit = VF_SIZING_MAX_CALLS};
	queue(&quick, MANY, 10);
	CHECK(choose(MANY, 4) == 2500); /* a fair share */
	queue(&quick, MANY, 2);
	CHECK(choose(MANY, 1) == VF_SIZING_MAX_CALLS);
	queue(&quick, 3, 10);
	CHECK(choose(3, 8) == 3); /* not worth more than one bundle */
	queue(&quick, MANY, 10);
	CHECK(choose(MANY, 100) == 1732); /* sqrt(10 ms * 0.3 ms) */
	queue(&quick, 100, 10000);
	CHECK(choose(100, 1) == 6); /* bytes */
	queue(&quick, 2, 1000000);
	CHECK(choose(2, 1) == 1); /* one large call is a bundle by itself */

	struct vf_function slow = {.mean_ns = 5e6, .limit = VF_SIZING_MAX_CALLS};
	queue(&slow, 3, 10);
	CHECK(choose(3, 8) == 1); /* fewer calls than slots */
	queue(&slow, 100, 10);
	CHECK(choose(100, 1) == 4 && expected_ns == 20e6); /* the target run time */
	slow.mean_ns = 11e6;
	CHECK(choose(96, 1) == 2); /* nearer to it than one */
	slow.mean_ns = 14e6;
	CHECK(choose(94, 1) == 1);
	struct vf_function slower = {.mean_ns = 1e9, .limit = VF_SIZING_MAX_CALLS};
	queue(&slower, 100, 10);
	CHECK(choose(100, 1) == 1);

	/* A call that waits alone after a loss neither joins nor is joined. */
	queue(&quick, 3, 10);
	calls[1].solo = 1;
	CHECK(choose(3, 1) == 1 && chosen[0] == &calls[0]);
	CHECK(choose(2, 1) == 1 && chosen[0] == &calls[1]);
	CHECK(choose(1, 1) == 1 && chosen[0] == &calls[2]);
	CHECK(choose(0, 1) == 0);

	/* So does one that has lost two workers, also if its bundle was handed back. */
	queue(&quick, 3, 10);
	calls[1].losses = 2;
	CHECK(choose(3, 1) == 1 && chosen[0] == &calls[0]);
	CHECK(choose(2, 1) == 1 && chosen[0] == &calls[1]);

	queue(&quick, 3, 10);
	CHECK(vf_call_cancel(&calls[1]));
	CHECK(!vf_call_cancel(&calls[1]));
	CHECK(choose(3, 1) == 2 && cancelled.n == 1 && cancelled.head == &calls[1]);
	CHECK(!vf_call_cancel(&calls[0])); /* sent already */

	/* What comes back unrun may be cancelled again, and what is cancelled stays so. */
	vf_call_queue_again(&calls[0]);
	CHECK(!vf_call_is_cancelled(&calls[0]) && vf_call_cancel(&calls[0]));
	vf_call_queue_again(&calls[0]);
	CHECK(vf_call_is_cancelled(&calls[0]) && !vf_call_send(&calls[0]));
	vf_call_queue_again(&calls[2]);
	CHECK(vf_call_send(&calls[2]) && !vf_call_send(&calls[2]));

	/* A bundle goes on with another list where one ends. */
	queue(&quick, 6, 10);
	struct vf_call_list other = {0};
	for (int i = 0; i < 3; i++)
		vf_call_list_push(&other, vf_call_list_pop(&waiting));
	struct vf_sizing_choice choice = {
			.rule = rule, .n_waiting = 6, .slots = 1, .calls = chosen};
	CHECK(vf_sizing_choose(&choice, &other) && choice.n == 3);
	calls[4].solo = 1;
	CHECK(!vf_sizing_choose(&choice, &waiting) && choice.n == 4 && chosen[3] == &calls[3]);

	queue(&quick, 2, 10);
	struct vf_call *first = vf_call_list_pop(&waiting);
	vf_call_list_pop(&waiting);
	CHECK(!waiting.head && !waiting.tail);
	vf_call_list_push_front(&waiting, first);
	CHECK(waiting.head == first && waiting.tail == first);
	return 0;
}
