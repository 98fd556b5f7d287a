/* A worker that leaves costs what it had, not what others have: theirs lies in memory that nobody
may touch meanwhile. */

#include "vf_place.h"

#include <sys/mman.h>

#include "check.h"
#include "faults.h"
#include "vf_loop.h"

enum {
	MANY = 10000,
	FEW = 3,
};

static struct vf_loop loop;
static struct vf_function function = {.mean_ns = 1e6};
static struct vf_group group;
static struct vf_spec spec = {.group = &group};
static struct vf_call call = {.function = &function, .spec = &spec};

static struct vine_worker_info *id(uintptr_t n)
{
	return (struct vine_worker_info *)(n + 1);
}

static void give(struct vf_bundle *bundle, uint64_t task_id, uint32_t worker)
{
	vf_inflight_add(&loop.inflight, bundle, task_id);
	vf_place_begin(&loop.place, bundle);
	vf_place_bundle(&loop.place, bundle, loop.workers.items[worker]);
}

/* A worker that there is no memory for gets nothing, in no table. */
static void test_short_memory(void)
{
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		CHECK(vf_loop_init(&loop) == 0);
		const struct vf_locality_rule rule = {1.0, 1.0, VF_LOCALITY_MOVED_BATCH};
		CHECK(vf_locality_init(&loop.locality, &rule, 1) == 0);
		faults_begin(n);
		vf_place_joined(&loop.place, id(0), 0);
		n_failed = faults_end();
		CHECK(loop.workers.n == (n_failed ? 0 : 1));
		CHECK(vf_locality_has_worker(&loop.locality, 0) == !n_failed);
		vf_place_left(&loop.place, id(0));
		vf_place_joined(&loop.place, id(1), 0);
		CHECK(loop.workers.n == 1 && loop.workers.items[0]->index == 0 &&
				loop.locality.n_heap == 1);
		vf_place_left(&loop.place, id(1));
		CHECK(n_failed || n == 6);
		vf_loop_free(&loop);
	}
}

/* The news of one are no more than news. */
static void test_short_memory_keeps_news_back(void)
{
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		CHECK(vf_loop_init(&loop) == 0);
		loop.config.monitored = 1;
		const struct vf_worker worker = {.node = "about the node"};
		faults_begin(n);
		vf_place_tell(&loop.place, &worker, VF_NODE_JOINED);
		n_failed = faults_end();
		vf_done_over(&loop.done);
		struct vf_bundle *news = vf_done_take_within(&loop.done, 0);
		CHECK(!news == !!n_failed);
		if (news)
			vf_bundle_free(news);
		vf_loop_free(&loop);
	}
}

int main(void)
{
	test_short_memory();
	test_short_memory_keeps_news_back();
	size_t nbytes = MANY * sizeof(struct vf_bundle);
	struct vf_bundle *others = mmap(
			NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(others != MAP_FAILED && vf_loop_init(&loop) == 0);
	const struct vf_locality_rule rule = {1.0, 1.0, VF_LOCALITY_MOVED_BATCH};
	CHECK(vf_locality_init(&loop.locality, &rule, 1) == 0);
	for (uint32_t i = 0; i < 2; i++)
		vf_place_joined(&loop.place, id(i), 0);

	struct vf_call *calls[] = {&call};
	struct vf_bundle *own[FEW];
	for (uint32_t i = 0; i < MANY; i++)
		give(&others[i], i + 1, 1);
	for (uint32_t i = 0; i < FEW; i++) {
		/* The first one only asks about the node. */
		own[i] = vf_bundle_create(i > 0, calls);
		give(own[i], MANY + i + 1, 0);
	}

	CHECK(mprotect(others, nbytes, PROT_NONE) == 0);
	vf_place_left(&loop.place, id(0));
	CHECK(vf_place_calls_unplaced(&loop.place) == FEW - 1);
	for (uint32_t i = 0; i < FEW; i++) {
		CHECK(!own[i]->worker && own[i]->given_up == !i);
		vf_place_end(own[i]);
		vf_bundle_unlist(own[i]);
	}
	CHECK(LIST_EMPTY(&loop.place.unplaced) && LIST_EMPTY(&loop.inflight.given_up) &&
			loop.inflight.giving_up);
	CHECK(mprotect(others, nbytes, PROT_READ | PROT_WRITE) == 0);

	uint32_t n = 0;
	struct vf_bundle *bundle;
	CHECK(loop.workers.n == 1);
	LIST_FOREACH(bundle, &loop.workers.items[0]->bundles, there)
		n += bundle->worker == loop.workers.items[0];
	CHECK(n == MANY && loop.workers.items[0]->running == MANY);
	vf_place_left(&loop.place, id(1));
	for (uint32_t i = 0; i < MANY; i++)
		CHECK(!others[i].worker);

	for (uint32_t i = 0; i < FEW; i++)
		vf_bundle_free(own[i]);
	vf_loop_free(&loop);
	munmap(others, nbytes);
	return 0;
}
