/* Which worker takes the next bundle. */

#include "vf_workers.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "faults.h"

static struct vf_workers workers;
static const struct vf_resources none = {-1, -1, -1, -1};

static struct vine_worker_info *id(uintptr_t number)
{
	return (struct vine_worker_info *)number;
}

static struct vf_worker *give(double expected_ns, uint64_t now_ns)
{
	struct vf_worker *worker = vf_workers_choose(&workers, &none, now_ns, NULL, NULL);
	if (worker)
		vf_worker_begin(worker, 1, expected_ns, now_ns);
	return worker;
}

static int is_not(void *arg, struct vf_worker *worker)
{
	return worker->id != arg;
}

static struct vf_worker *give_wide(const struct vf_resources *needs, uint64_t now_ns)
{
	struct vf_worker *worker = vf_workers_choose(&workers, needs, now_ns, NULL, NULL);
	if (worker)
		vf_worker_begin(worker, vf_worker_share(worker, needs), 1e6, now_ns);
	return worker;
}

/* Calls that ask for resources. */
static void test_shares(void)
{
	const uint64_t now_ns = 1000000000;
	const struct vf_resources half = {4, -1, -1, -1}, memory = {1, 3000, 0, -1},
				  gpu = {-1, -1, -1, 1}, huge = {9, -1, -1, -1},
				  little = {1e-9, -1, -1, -1};
	CHECK(vf_workers_add(&workers, id(1), 0, 0) == 0);
	workers.typical_slots = 8;
	struct vf_worker *first = workers.items[0];
	/* Nothing is known about it. */
	CHECK(vf_worker_share(first, &none) == 1 && vf_worker_share(first, &half) == 0);
	CHECK(!vf_workers_fit(&workers, &half) && !give_wide(&half, now_ns));
	first->slots = 8;
	first->has = (struct vf_resources){8, 8000, 100, 0};
	CHECK(vf_worker_share(first, &half) == 4 && vf_worker_share(first, &memory) == 3);
	CHECK(vf_worker_share(first, &gpu) == 0 && vf_worker_share(first, &huge) == 0);
	CHECK(vf_worker_share(first, &little) == 1);
	CHECK(vf_workers_fit(&workers, &half) && !vf_workers_fit(&workers, &gpu));

	/* What is left can be used, and nothing waits beside a wide one. */
	CHECK(give_wide(&half, now_ns) == first && give_wide(&memory, now_ns) == first &&
			first->running == 7);
	CHECK(!give_wide(&half, now_ns) && !give_wide(&memory, now_ns));
	CHECK(give(1e6, now_ns) == first && !give(1e6, now_ns));

	/* A worker is kept free for one that waits, others go elsewhere. */
	CHECK(vf_workers_add(&workers, id(2), 0, 0) == 0);
	struct vf_worker *second = workers.items[1];
	second->slots = 8;
	second->has = first->has;
	for (int i = 0; i < 5; i++)
		CHECK(give(1e6, now_ns) == second);
	CHECK(!give_wide(&half, now_ns));
	vf_workers_reserve(&workers, &half, NULL, NULL);
	CHECK(workers.reserved == second && !give(1e6, now_ns));
	vf_worker_end(first, 1, 1e6);
	CHECK(give(1e6, now_ns) == first);
	workers.reserved = NULL;
	vf_worker_end(second, 1, 1e6);
	CHECK(give_wide(&half, now_ns) == second && second->running == 8 && second->n_wide == 1);
	vf_worker_end(second, 4, 1e6);
	CHECK(second->running == 4 && !second->n_wide);
	vf_workers_free(&workers);
}

/* Workers that TaskVine refuses. */
static void test_pauses(void)
{
	const uint64_t pause_ns = (uint64_t)VF_PAUSE_NS;
	const struct vf_resources half = {2, -1, -1, -1};
	uint64_t now_ns = 1000000000;
	workers.typical_slots = 4;
	CHECK(vf_workers_add(&workers, id(1), 0, 0) == 0);
	struct vf_worker *worker = workers.items[0];
	vf_worker_refuse(worker, now_ns);
	CHECK(vf_worker_is_paused(worker, now_ns) && !give(1e6, now_ns));
	vf_worker_refuse(worker, now_ns + pause_ns - 1); /* the same refusal, of another bundle */
	CHECK(!give(1e6, now_ns + pause_ns - 1) && give(1e6, now_ns + pause_ns) == worker);

	/* Longer each time, with an end. */
	double expected_ns = VF_PAUSE_NS;
	for (int i = 0; i < 10; i++) {
		now_ns = worker->paused_until_ns;
		vf_worker_refuse(worker, now_ns);
		expected_ns = expected_ns < VF_LONGEST_PAUSE_NS / 2 ? 2 * expected_ns :
								      VF_LONGEST_PAUSE_NS;
		CHECK(worker->paused_until_ns - now_ns == (uint64_t)expected_ns);
	}

	/* Nothing is kept free there, and others get what there is. */
	CHECK(vf_workers_add(&workers, id(2), 0, 0) == 0);
	for (int i = 0; i < 2; i++) {
		workers.items[i]->slots = 4;
		workers.items[i]->has = (struct vf_resources){4, 100, 100, 0};
	}
	vf_workers_reserve(&workers, &half, NULL, NULL);
	CHECK(workers.reserved == workers.items[1]);
	workers.reserved = NULL;
	for (int i = 0; i < 8; i++)
		CHECK(give(1e6, now_ns) == workers.items[1]);
	CHECK(!give(1e6, now_ns));

	/* Accepted once, it is as it was. */
	vf_worker_accept(worker);
	CHECK(!vf_worker_is_paused(worker, now_ns) && give(1e6, now_ns) == worker);
	vf_worker_refuse(worker, now_ns);
	CHECK(worker->paused_until_ns == now_ns + pause_ns);
	vf_workers_free(&workers);
}

static void test_short_memory_leaves_the_workers_as_they_were(void)
{
	for (int n = 0, n_failed = 1; n_failed; n++) {
		/* The next one needs a longer table. */
		for (uintptr_t i = 1; i <= 16; i++)
			CHECK(vf_workers_add(&workers, id(i), 0, 0) == 0);
		faults_begin(n);
		int failed = vf_workers_add(&workers, id(17), 0, 0);
		n_failed = faults_end();
		CHECK(!failed == !n_failed && workers.n == (failed ? 16 : 17));
		CHECK(!vf_workers_find(&workers, id(17)) == !!failed);
		if (failed)
			CHECK(vf_workers_add(&workers, id(17), 0, 0) == 0);
		CHECK(vf_workers_find(&workers, id(16)) && vf_workers_find(&workers, id(17)));
		vf_workers_free(&workers);
	}
}

int main(void)
{
	test_short_memory_leaves_the_workers_as_they_were();
	test_shares();
	test_pauses();
	const double quick = 1e6, slow = 1e9, unknown = -1;
	uint64_t now_ns = 1000000000;

	CHECK(!give(quick, now_ns)); /* nobody is there */
	CHECK(vf_workers_add(&workers, id(1), 0, 0) == 0);
	CHECK(!give(quick, now_ns)); /* its slots are not known */
	workers.typical_slots = 2;
	CHECK(vf_workers_slots(&workers) == 2);

	/* Every slot gets one, and one more waits behind each. */
	struct vf_worker *first = give(quick, now_ns);
	CHECK(first && first->id == id(1));
	for (int i = 0; i < 3; i++)
		CHECK(give(quick, now_ns) == first);
	CHECK(!give(quick, now_ns) && first->running == 4);

	/* Not where nothing has ended for long. */
	vf_worker_end(first, 1, quick);
	CHECK(!give(quick, now_ns + 200000000));
	first->heard_ns = now_ns + 200000000;
	CHECK(give(quick, now_ns + 200000000) == first);
	for (int i = 0; i < 4; i++)
		vf_worker_end(first, 1, quick);
	CHECK(first->running == 0 && first->n_long == 0);

	/* Not behind a long one, or one of which nothing is known. */
	CHECK(give(slow, now_ns) && give(unknown, now_ns) && !give(quick, now_ns));
	vf_worker_end(first, 1, unknown);
	CHECK(give(quick, now_ns) && give(quick, now_ns) && !give(quick, now_ns));
	vf_worker_end(first, 1, quick);
	vf_worker_end(first, 1, quick);

	/* An idle slot before any that is not, and equals take turns. */
	first->slots = 2;
	CHECK(vf_workers_add(&workers, id(2), 0, 0) == 0 &&
			vf_workers_add(&workers, id(3), 0, 0) == 0);
	CHECK(vf_workers_slots(&workers) == 6);
	int counts[4] = {0};
	for (int i = 0; i < 5; i++)
		counts[(uintptr_t)give(quick, now_ns)->id]++;
	CHECK(counts[1] == 1 && counts[2] == 2 && counts[3] == 2);

	/* Where it is refused it goes elsewhere. */
	CHECK(vf_workers_choose(&workers, &none, now_ns, is_not, (void *)id(1))->id != id(1));

	/* A worker that has left takes nothing. */
	struct vf_worker *left = vf_workers_remove(&workers, id(2));
	CHECK(vf_workers_find(&workers, id(3))->id == id(3) && !vf_workers_find(&workers, id(2)));
	CHECK(left && left->id == id(2) && left->running == 2);
	free(left);
	CHECK(!vf_workers_remove(&workers, id(2)));
	CHECK(vf_workers_slots(&workers) == 4);
	memset(counts, 0, sizeof counts);
	struct vf_worker *worker;
	while ((worker = give(quick, now_ns)))
		counts[(uintptr_t)worker->id]++;
	/* Up to two per slot, behind the long one none. */
	CHECK(counts[2] == 0 && counts[3] == 2 && counts[1] == 1);

	/* A thousand bundles on ten equal workers: a hundred each. */
	vf_workers_free(&workers);
	workers.typical_slots = 100;
	int thousand[11] = {0};
	for (uintptr_t i = 1; i <= 10; i++)
		CHECK(vf_workers_add(&workers, id(i), 0, 0) == 0);
	for (int i = 0; i < 1000; i++)
		thousand[(uintptr_t)give(quick, now_ns)->id]++;
	for (int i = 1; i <= 10; i++)
		CHECK(thousand[i] == 100);
	vf_workers_free(&workers);
	return 0;
}
