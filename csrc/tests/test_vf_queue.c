/* Waiting calls go by priority, then by age; what waits no more leaves nothing behind. */

#include "vf_queue.h"

#include <math.h>

#include "check.h"
#include "vf_sizing.h"

enum {
	MANY = 8000,
};

static struct vf_queue queue;
static struct vf_function function = {.mean_ns = 1000, .limit = VF_SIZING_MAX_CALLS};
static struct vf_spec specs[MANY];
static struct vf_group groups[MANY];
static struct vf_call calls[MANY];
static struct vf_call *chosen[VF_SIZING_MAX_CALLS];

/* A call of a group, with a specification of its own. */
static struct vf_call *make(uint32_t i, double priority, struct vf_group *group)
{
	specs[i] = (struct vf_spec){.priority = priority, .group = group};
	calls[i] = (struct vf_call){.function = &function, .spec = &specs[i], .submitted_ns = i};
	return &calls[i];
}

/* Take a bundle as vf_send.c does. */
static struct vf_sizing_choice take_bundle(void)
{
	const struct vf_sizing_rule rule = {.target_ns = INFINITY, .max_nbytes = 1 << 30};
	struct vf_sizing_choice choice = {
			.rule = rule, .n_waiting = MANY, .slots = 1, .calls = chosen};
	struct vf_group *group = vf_queue_take(&queue);
	struct vf_spec *spec = group ? vf_queue_first(group) : NULL;
	int more = 1;
	while (more && spec) {
		uint64_t before = spec->waiting.n;
		more = vf_sizing_choose(&choice, &spec->waiting);
		spec = vf_queue_next(&queue, group, before - spec->waiting.n);
	}
	if (group)
		vf_queue_put(&queue, group);
	return choice;
}

static void check_empty(void)
{
	CHECK(!vf_queue_take(&queue) && !queue.any && !queue.groups.first);
}

int main(void)
{
	vf_queue_init(&queue);
	check_empty();

	/* Of one group, they share a bundle, in order. */
	for (uint32_t i = 0; i < MANY; i++)
		vf_queue_push(&queue, make(i, i * 7 % MANY, &groups[0]));
	double last = INFINITY;
	for (uint32_t n = 0; n < MANY;) {
		struct vf_sizing_choice choice = take_bundle();
		CHECK(choice.n == (n ? MANY - VF_SIZING_MAX_CALLS : VF_SIZING_MAX_CALLS));
		for (uint32_t i = 0; i < choice.n; i++) {
			CHECK(chosen[i]->spec->priority < last);
			last = chosen[i]->spec->priority;
		}
		n += choice.n;
	}
	check_empty();

	/* Not where a call of another group goes in between. */
	vf_queue_push(&queue, make(0, 3, &groups[0]));
	vf_queue_push(&queue, make(1, 1, &groups[0]));
	vf_queue_push(&queue, make(2, 2, &groups[1]));
	vf_queue_push(&queue, make(3, 1, &groups[1]));
	for (uint32_t i = 0; i < 4; i++) {
		static const uint32_t order[] = {0, 2, 1, 3};
		CHECK(take_bundle().n == 1 && chosen[0] == &calls[order[i]]);
	}
	check_empty();

	/* Among equals the oldest, also if it comes back; and a new one of higher priority
	overtakes. */
	vf_queue_push(&queue, make(1, 0, &groups[0]));
	vf_queue_push(&queue, make(2, 0, &groups[1]));
	vf_queue_push_front(&queue, make(0, 0, &groups[2]));
	vf_queue_push(&queue, make(3, 5, &groups[1]));
	CHECK(take_bundle().n == 1 && chosen[0] == &calls[3]);
	CHECK(take_bundle().n == 1 && chosen[0] == &calls[0]);
	calls[0].spec = &specs[2];
	vf_call_queue_again(&calls[0]);
	vf_queue_push_front(&queue, &calls[0]); /* older than what its specification has */
	CHECK(take_bundle().n == 2 && chosen[0] == &calls[0] && chosen[1] == &calls[2]);
	CHECK(take_bundle().n == 1 && chosen[0] == &calls[1]);
	check_empty();

	/* What comes to a group while it is taken waits for its turn; a group without calls leaves
	when it is put back. */
	vf_queue_push(&queue, make(0, 0, &groups[0]));
	struct vf_group *group = vf_queue_take(&queue);
	CHECK(group == &groups[0] && !vf_queue_take(&queue));
	vf_call_list_pop(&specs[0].waiting);
	CHECK(!vf_queue_next(&queue, group, 1));
	vf_queue_push_front(&queue, &calls[0]);
	vf_queue_push(&queue, make(1, 9, &groups[0]));
	CHECK(!vf_queue_take(&queue) && vf_queue_first(group) == &specs[1] && group->n == 2);
	vf_queue_put(&queue, group);
	CHECK(take_bundle().n == 2 && chosen[0] == &calls[1]);
	check_empty();

	/* Many groups. */
	for (uint32_t i = 0; i < MANY; i++)
		vf_queue_push(&queue, make(i, i * 7 % MANY, &groups[i]));
	for (uint32_t i = 0; i < MANY; i++)
		CHECK(take_bundle().n == 1 && chosen[0]->spec->priority == MANY - 1 - i);
	check_empty();
	return 0;
}
