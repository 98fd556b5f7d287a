/* What the manager thread notices of tasks between two turns. TaskVine's tasks are played by this
test, with as many offers per turn as the engines from 7.16 on make. */

#define vine_cancel_by_task_id played_cancel
#define vine_task_get_id played_id
#define vine_task_get_state played_state
#define vine_task_get_addrport played_address

#include "vf_bundle.c"
#include "vf_inflight.c"
#include "vf_watch.c"

#include "check.h"
#include "vf_loop.h"

enum {
	N = 6,
};

struct vine_task {
	int id;
	const char *state;
};

static struct vf_loop loop;
static struct vine_task tasks[N];
static struct vf_call calls[N];
static struct vf_bundle *bundles[N];
static int n_cancelled, cancelled[N];
static void (*while_cancelling)(void);

const char *played_state(struct vine_task *task)
{
	return task->state;
}

const char *played_address(struct vine_task *task)
{
	(void)task;
	return "127.0.0.1:9123";
}

int played_id(struct vine_task *task)
{
	return task->id;
}

int played_cancel(struct vine_manager *manager, int id)
{
	(void)manager;
	cancelled[n_cancelled++] = id;
	tasks[id - 1].state = "RETRIEVED";
	if (while_cancelling)
		while_cancelling();
	return 1;
}

static void begin(void)
{
	CHECK(vf_loop_init(&loop) == 0);
	loop.config.max_losses = 3;
	n_cancelled = 0;
	while_cancelling = NULL;
	for (int i = 0; i < N; i++) {
		struct vf_call *call = &calls[i];
		*call = (struct vf_call){0};
		tasks[i] = (struct vine_task){.id = i + 1, .state = "READY"};
		bundles[i] = vf_bundle_create(1, &call);
		bundles[i]->task = &tasks[i];
		vf_inflight_add(&loop.inflight, bundles[i], (uint64_t)i + 1);
	}
}

static void end(void)
{
	for (int i = 0; i < N; i++)
		vf_bundle_free(bundles[i]);
	vf_loop_free(&loop);
}

static void offer(int i, const char *state)
{
	CHECK(vf_watch_may_run(&loop.watch, &tasks[i]));
	tasks[i].state = state;
}

static void test_each_of_several_that_are_offered_in_a_turn_has_run(void)
{
	begin();
	offer(0, "RUNNING");
	offer(1, "READY"); /* no worker for it, after all */
	offer(2, "RUNNING");
	offer(3, "RUNNING");
	look_at_offered(&loop.watch); /* as the next turn does */
	CHECK(bundles[0]->has_run && !bundles[1]->has_run && bundles[2]->has_run &&
			bundles[3]->has_run);

	/* Their worker is lost. */
	for (int i = 0; i < 4; i++)
		tasks[i].state = "READY";
	for (int i = 0; i < 4; i++)
		offer(i, "READY");
	CHECK(calls[0].losses == 1 && calls[1].losses == 0 && calls[2].losses == 1 &&
			calls[3].losses == 1);

	/* The first one goes on to lose its workers, until it is given up. */
	for (int losses = 2; losses <= 4; losses++) {
		tasks[0].state = "READY";
		CHECK(vf_watch_may_run(&loop.watch, &tasks[0]));
		tasks[0].state = "RUNNING";
		offer(1, "READY");
		tasks[0].state = "READY";
		CHECK(vf_watch_may_run(&loop.watch, &tasks[0]) == (losses <= 3));
		CHECK(calls[0].losses == losses);
	}
	CHECK(bundles[0]->given_up && loop.inflight.giving_up);
	end();
}

static int was_cancelled(int i)
{
	for (int k = 0; k < n_cancelled; k++) {
		if (cancelled[k] == i + 1)
			return 1;
	}
	return 0;
}

static void test_only_what_is_ready_or_runs_is_cancelled(void)
{
	static const char *const states[N] = {
			"READY", "RUNNING", "WAITING_RETRIEVAL", "RETRIEVED", "DONE", "READY"};
	begin();
	for (int i = 0; i < N; i++) {
		tasks[i].state = states[i];
		if (i < N - 1)
			vf_inflight_give_up(&loop.inflight, bundles[i]);
	}
	loop.inflight.breaking = 1;
	vf_inflight_cancel(&loop.inflight, NULL);
	CHECK(n_cancelled == 2 && was_cancelled(0) && was_cancelled(1));
	CHECK(!loop.inflight.giving_up && !loop.inflight.breaking);

	/* One that was about to be fetched when its worker left is offered again, and cancelled
	then. */
	tasks[2].state = "READY";
	CHECK(!vf_watch_may_run(&loop.watch, &tasks[2]) && loop.inflight.giving_up);
	vf_inflight_cancel(&loop.inflight, NULL);
	CHECK(n_cancelled == 3 && was_cancelled(2));
	end();
}

/* The connection of the worker ends: another bundle that ran there comes back meanwhile, and one is
given up with that worker. */
static void lose_worker(void)
{
	tasks[3].state = "WAITING_RETRIEVAL";
	vf_inflight_give_up(&loop.inflight, bundles[4]);
}

static void test_a_worker_may_leave_while_its_tasks_are_cancelled(void)
{
	begin();
	for (int i = 0; i < 4; i++) {
		tasks[i].state = "RUNNING";
		vf_inflight_give_up(&loop.inflight, bundles[i]);
	}
	while_cancelling = lose_worker;
	vf_inflight_cancel(&loop.inflight, NULL);
	CHECK(was_cancelled(0) && was_cancelled(1) && was_cancelled(2));
	CHECK(loop.inflight.giving_up); /* there is one more */
	vf_inflight_cancel(&loop.inflight, NULL);
	CHECK(was_cancelled(4) && !was_cancelled(5));
	end();
}

/* TaskVine from 7.15 on takes it from its worker when its library has ended; and that worker may
get it again before anybody looks. */
static void test_what_has_another_library_on_its_worker_goes_on(void)
{
	begin();
	struct vine_worker_info *id = (struct vine_worker_info *)&tasks;
	CHECK(!vf_workers_add(&loop.workers, id, -1, 0));
	for (int i = 0; i < 2; i++) {
		LIST_INSERT_HEAD(&loop.workers.items[0]->bundles, bundles[i], there);
		offer(i, "RUNNING");
	}
	vf_watch_library_ended(&loop.watch, "127.0.0.1:9123", 0);
	CHECK(bundles[0]->orphaned_ns && bundles[1]->orphaned_ns);
	uint64_t late_ns = vf_now_ns() + 2 * ORPHAN_GRACE_MS * 1000000ull;
	tasks[0].state = "READY";
	offer(0, "RUNNING");
	look_for_orphans(&loop.watch, late_ns);
	CHECK(!bundles[0]->given_up && bundles[1]->given_up);
	/* Again. */
	vf_watch_library_ended(&loop.watch, "127.0.0.1:9123", 0);
	look_for_orphans(&loop.watch, vf_now_ns() + 2 * ORPHAN_GRACE_MS * 1000000ull);
	CHECK(bundles[0]->given_up);
	for (int i = 0; i < 2; i++) {
		LIST_REMOVE(bundles[i], there);
		vf_bundle_unlist(bundles[i]);
	}
	vf_worker_free(vf_workers_remove(&loop.workers, id));
	end();
}

/* TaskVine up to 7.14 writes to the task of the library when it takes such a bundle from its
worker, and may have freed that task long before. */
static void test_a_library_that_ended_stays_as_long_as_a_bundle_that_it_may_have_had(void)
{
	struct vine_task *library = vine_task_create("a library");
	begin();
	uint64_t now_ns = vf_now_ns();
	for (int i = 0; i < N; i++)
		bundles[i]->sent_ns = now_ns + (uint64_t)i;
	vf_library_hold(&loop.library, library, now_ns + 2);
	vine_task_delete(library);
	let_libraries_go(&loop.watch);
	if (VF_TASKVINE < 715) {
		CHECK(loop.library.ended);
		/* The address sanitizer knows whether it is there. */
		CHECK(!strcmp(vine_task_get_command(library), "a library"));
		for (int i = 0; i < 3; i++) {
			CHECK(loop.library.ended);
			bundles[i]->sent_ns = now_ns + N;
			let_libraries_go(&loop.watch);
		}
	}
	CHECK(!loop.library.ended);
	end();
}

int main(void)
{
	test_a_library_that_ended_stays_as_long_as_a_bundle_that_it_may_have_had();
	test_what_has_another_library_on_its_worker_goes_on();
	test_each_of_several_that_are_offered_in_a_turn_has_run();
	test_only_what_is_ready_or_runs_is_cancelled();
	test_a_worker_may_leave_while_its_tasks_are_cancelled();
	return 0;
}
