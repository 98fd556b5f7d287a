/* Waiting calls are dealt out by where their files lie, and come back in their order. */

#include "vf_score.h"

#include "check.h"
#include "faults.h"
#include "vf_clock.h"
#include "vf_file.h"
#include "vf_locality.h"
#include "vf_queue.h"
#include "vf_workers.h"

enum {
	CALLS = 12,
	FILES = 6,
	WORKERS = 3,
	MB = 1 << 20,
};

static struct vf_queue queue;
static struct vf_workers workers;
static struct vf_locality locality;
static struct vf_score score;
static struct vf_function function = {.mean_ns = 1e6};
static struct vf_group group;
static struct vf_spec spec;
static struct vf_call calls[CALLS];
static struct vf_datum data[FILES];
static struct vf_temp temps[FILES];
static struct {
	struct vf_file_list files;
	struct vf_file item;
} lists[CALLS];

static struct vine_worker_info *id(uintptr_t n)
{
	return (struct vine_worker_info *)(n + 1);
}

static void add_workers(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t index = vf_locality_add_worker(&locality, VF_LOCALITY_UNLIMITED);
		CHECK(index == i && vf_workers_add(&workers, id(i), 0, index) == 0);
		workers.items[i]->slots = 1;
	}
}

/* Call i reads file i % FILES. */
static void queue_calls(void)
{
	group = (struct vf_group){0};
	spec = (struct vf_spec){.group = &group};
	vf_queue_init(&queue);
	for (uint32_t i = 0; i < CALLS; i++) {
		lists[i].files.n = 1;
		lists[i].files.items[0] =
				(struct vf_file){.kind = VF_FILE_READ, .temp = &temps[i % FILES]};
		calls[i] = (struct vf_call){
				.function = &function, .spec = &spec, .files = &lists[i].files};
		vf_queue_push(&queue, &calls[i]);
	}
}

static void check_order(void)
{
	struct vf_call *call = spec.waiting.head;
	for (uint32_t i = 0; i < CALLS; i++, call = (struct vf_call *)call->link.next)
		CHECK(call == &calls[i]);
	CHECK(!call && spec.waiting.n == CALLS);
}

static void begin(double bandwidth_bytes_per_ns, uint32_t n_workers)
{
	workers = (struct vf_workers){0};
	score = (struct vf_score){.queue = &queue, .workers = &workers, .locality = &locality};
	struct vf_locality_rule rule = {bandwidth_bytes_per_ns, 1.0, VF_LOCALITY_MOVED_BATCH};
	CHECK(vf_locality_init(&locality, &rule, 1) == 0);
	workers.typical_slots = 1;
	add_workers(n_workers);
	for (uint32_t i = 0; i < FILES; i++) {
		data[i].index = vf_locality_add_file(&locality, 100 * MB);
		temps[i].datum = &data[i];
	}
	queue_calls();
	CHECK(vf_queue_take(&queue) == &group);
}

static void end(void)
{
	vf_score_free(&score);
	vf_workers_free(&workers);
	vf_locality_free(&locality);
}

static void test_short_memory_leaves_all_calls_waiting(void)
{
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		begin(0.1, WORKERS);
		faults_begin(n);
		int failed = vf_score_deal(&score, &group);
		n_failed = faults_end();
		CHECK(!failed || n_failed);
		if (failed)
			check_order();
		else
			vf_score_gather(&score);
		CHECK(vf_score_deal(&score, &group) == 0 && spec.waiting.n == 0);
		vf_score_gather(&score);
		check_order();
		end();
		CHECK(n_failed || n > 6);
	}
}

int main(void)
{
	test_short_memory_leaves_all_calls_waiting();
	/* Each to the one that holds its file, oldest first. */
	begin(0.1, WORKERS);
	for (uint32_t i = 0; i < FILES; i++)
		CHECK(vf_locality_add_replica(&locality, data[i].index, i % WORKERS) == 0);
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(spec.waiting.n == 0);
	for (uint32_t k = 0; k < WORKERS; k++) {
		struct vf_call_list *dealt = &workers.items[k]->dealt;
		CHECK(dealt->n == CALLS / WORKERS);
		uint32_t i = k;
		for (struct vf_call *call = dealt->head; call;
				call = (struct vf_call *)call->link.next, i += WORKERS)
			CHECK(call == &calls[i]);
	}

	/* What is not taken waits where it was, also behind what came back in between. */
	CHECK(vf_call_list_pop(&workers.items[0]->dealt) == &calls[0]);
	vf_queue_push_front(&queue, &calls[0]);
	CHECK(vf_call_list_pop(&workers.items[1]->dealt) == &calls[1]);
	vf_score_gather(&score);
	CHECK(spec.waiting.n == CALLS - 1 && spec.waiting.head == &calls[2]);
	end();

	begin(0.1, WORKERS);
	CHECK(vf_score_deal(&score, &group) == 0);
	/* Files that nobody holds go to one worker each, with all that read them. */
	for (uint32_t i = 0; i < FILES; i++)
		CHECK(score.chosen[i] == score.chosen[i + FILES]);
	vf_score_gather(&score);
	check_order();

	/* A worker that has been silent for as long as it takes to move a file keeps no call
	waiting. */
	for (uint32_t i = 0; i < FILES; i++)
		CHECK(vf_locality_add_replica(&locality, data[i].index, 0) == 0);
	struct vf_worker *busy = workers.items[0];
	vf_worker_begin(busy, 1, -1, vf_now_ns());
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(busy->dealt.n == CALLS);
	vf_score_gather(&score);
	busy->heard_ns = vf_now_ns() - (uint64_t)20e9;
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(busy->dealt.n == 0);
	vf_score_gather(&score);
	check_order();
	end();

	/* Where the files lie on a worker that is too small, calls go to another one. */
	begin(0.1, WORKERS);
	for (uint32_t i = 0; i < FILES; i++)
		CHECK(vf_locality_add_replica(&locality, data[i].index, 0) == 0);
	spec.needs.cores = 2;
	for (uint32_t k = 0; k < WORKERS; k++)
		workers.items[k]->has.cores = k ? 2 : 1;
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(workers.items[0]->dealt.n == 0);
	vf_score_gather(&score);
	check_order();
	/* Also if only bytes count, or these take very long. */
	for (int takes_long = 0; takes_long < 2; takes_long++) {
		locality.rule.queue_weight = takes_long;
		locality.rule.bandwidth_bytes_per_ns = takes_long ? 1e-5 : 0.1;
		CHECK(vf_score_deal(&score, &group) == 0);
		CHECK(workers.items[0]->dealt.n == 0);
		CHECK(workers.items[1]->dealt.n + workers.items[2]->dealt.n == CALLS);
		vf_score_gather(&score);
		check_order();
	}
	spec.needs.cores = 1;
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(workers.items[0]->dealt.n == CALLS);
	vf_score_gather(&score);
	locality.rule = (struct vf_locality_rule){0.1, 1.0, VF_LOCALITY_MOVED_BATCH};
	spec.needs.cores = 2;
	/* Also if they could not be fetched elsewhere. */
	const struct vf_worker *holders[] = {workers.items[0]};
	for (uint32_t i = 0; i < FILES; i++) {
		temps[i].holders = holders;
		temps[i].n_holders = 1;
	}
	calls[0].at_home = 1;
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(workers.items[0]->dealt.n == 0);
	vf_score_gather(&score);
	/* Then to one that is large enough and holds them too, however long that takes. */
	const struct vf_worker *several[] = {workers.items[0], workers.items[1]};
	for (uint32_t i = 0; i < FILES; i++) {
		temps[i].holders = several;
		temps[i].n_holders = 2;
	}
	vf_worker_begin(workers.items[1], 1, -1, vf_now_ns());
	workers.items[1]->heard_ns = vf_now_ns() - (uint64_t)20e9;
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(workers.items[1]->dealt.n == 1 && workers.items[1]->dealt.head == &calls[0]);
	vf_score_gather(&score);
	check_order();
	end();

	/* One that has some slots free, but not as many as a call takes, has a queue. */
	begin(0.1, WORKERS);
	for (uint32_t i = 0; i < FILES; i++)
		CHECK(vf_locality_add_replica(&locality, data[i].index, 0) == 0);
	spec.needs.cores = 2;
	for (uint32_t k = 0; k < WORKERS; k++)
		workers.items[k]->slots = workers.items[k]->has.cores = 2;
	vf_worker_begin(workers.items[0], 1, -1, vf_now_ns());
	workers.items[0]->heard_ns = vf_now_ns() - (uint64_t)20e9;
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(workers.items[0]->dealt.n == 0);
	vf_score_gather(&score);
	check_order();
	end();

	/* So has one that is kept free for a call that takes more. */
	begin(0.1, WORKERS);
	for (uint32_t i = 0; i < FILES; i++)
		CHECK(vf_locality_add_replica(&locality, data[i].index, 0) == 0);
	workers.reserved = workers.items[0];
	CHECK(vf_score_deal(&score, &group) == 0);
	CHECK(workers.items[0]->dealt.n == 0);
	vf_score_gather(&score);
	check_order();
	end();

	/* Without a worker all wait. */
	begin(0.1, 0);
	CHECK(vf_score_deal(&score, &group) == 0);
	vf_score_gather(&score);
	check_order();
	end();
	return 0;
}
