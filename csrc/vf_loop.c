#include "vf_loop.h"

#include <string.h>

#include "itable.h"
#include "taskvine.h"
#include "vf_accept.h"
#include "vf_poll.h"
#include "vf_turn.h"

enum {
	WAIT_SECONDS = 5, /* turns happen inside vine_wait(), so its length hardly matters */
};

int vf_loop_init(struct vf_loop *loop)
{
	memset(loop, 0, sizeof *loop);
	loop->submitted_wake.fd = loop->done_wake.fd = -1;
	loop->connections = -1;
	vf_ring_init(&loop->submitted);
	vf_ring_init(&loop->done);
	vf_ring_init(&loop->let_go);
	vf_queue_init(&loop->queue);
	loop->looks.wake = &loop->submitted_wake;
	loop->bundles = itable_create(0);
	loop->data = itable_create(0);
	if (vf_wake_open(&loop->submitted_wake) || vf_wake_open(&loop->done_wake) || !loop->bundles || !loop->data) {
		vf_loop_free(loop);
		return -1;
	}
	return 0;
}

void vf_loop_free(struct vf_loop *loop)
{
	vf_looks_free(&loop->looks); /* whose threads use the wake */
	vf_wake_close(&loop->submitted_wake);
	vf_wake_close(&loop->done_wake);
	vf_buffer_free(&loop->frame);
	vf_buffer_free(&loop->command);
	vf_workers_free(&loop->workers);
	vf_files_free(&loop->shelf);
	vf_locality_free(&loop->locality);
	vf_score_free(&loop->score);
	vf_temps_forget_leftovers(loop);
	if (loop->bundles)
		itable_delete(loop->bundles);
	if (loop->data) {
		itable_clear(loop->data, free);
		itable_delete(loop->data);
	}
	loop->bundles = loop->data = NULL;
}

void vf_loop_submit(struct vf_loop *loop, struct vf_call *call)
{
	vf_ring_push(&loop->submitted, &call->link);
	vf_wake_signal(&loop->submitted_wake);
}

void vf_loop_let_go(struct vf_loop *loop, struct vf_temp *temp)
{
	vf_ring_push(&loop->let_go, &temp->link);
	vf_wake_signal(&loop->submitted_wake);
}

void vf_loop_stop(struct vf_loop *loop)
{
	atomic_store(&loop->stop, 1);
	vf_wake_force(&loop->submitted_wake);
}

void vf_loop_count(struct vf_loop *loop, struct vf_snapshot *snapshot)
{
#define VF_LOAD(name) snapshot->name = atomic_load_explicit(&loop->counters.name, memory_order_relaxed);
	VF_COUNTERS(VF_LOAD)
#undef VF_LOAD
}

struct vf_bundle *vf_loop_take_done(struct vf_loop *loop)
{
	for (;;) {
		/* Before the ring is looked at: what was pushed last is in it once this is set. */
		int closed = atomic_load(&loop->done_closed);
		struct vf_link *done = vf_ring_take(&loop->done);
		if (done)
			return (struct vf_bundle *)done;
		if (closed)
			return NULL;
		vf_wake_park(&loop->done_wake);
		if (vf_ring_empty(&loop->done) && !atomic_load(&loop->done_closed))
			vf_poll_one(loop->done_wake.fd, -1);
		vf_wake_done(&loop->done_wake);
	}
}

struct vf_bundle *vf_loop_take_done_within(struct vf_loop *loop, int timeout_ms)
{
	struct vf_link *done = vf_ring_take(&loop->done);
	if (done)
		return (struct vf_bundle *)done;
	vf_wake_park(&loop->done_wake);
	if (vf_ring_empty(&loop->done) && !atomic_load(&loop->done_closed))
		vf_poll_one(loop->done_wake.fd, timeout_ms);
	vf_wake_done(&loop->done_wake);
	return (struct vf_bundle *)vf_ring_take(&loop->done);
}

void vf_loop_wake_taker(struct vf_loop *loop)
{
	vf_wake_force(&loop->done_wake);
}

int vf_loop_is_done_closed(const struct vf_loop *loop)
{
	return atomic_load(&loop->done_closed);
}

void vf_loop_close_done(struct vf_loop *loop)
{
	atomic_store(&loop->done_closed, 1);
	vf_wake_signal(&loop->done_wake);
}

/* Make vine_wait() return at once: a task that is submitted and cancelled is ready to be handed out. */
static void break_wait(struct vf_loop *loop)
{
	struct vine_task *task = vine_task_create(":");
	if (!task)
		return;
	int id = vine_submit(loop->manager, task);
	if (id)
		vine_cancel_by_task_id(loop->manager, id);
}

static enum vf_turn take_turn(struct vf_loop *loop, int connections)
{
	if (atomic_load(&loop->stop)) {
		if (!loop->stopping)
			break_wait(loop);
		loop->stopping = 1;
		return VF_TURN_ACTIVE;
	}
	uint64_t stamp = loop->stamp;
	loop->turn++;
	vf_send_take(loop);
	vf_files_go_on(loop);
	vf_temps_settle(loop);
	vf_watch_workers(loop, connections);
	if (vf_accept_errno())
		atomic_store_explicit(&loop->counters.accept_errno, (uint64_t)vf_accept_errno(), memory_order_relaxed);
	if (loop->giving_up && !loop->breaking)
		break_wait(loop);
	loop->breaking = loop->giving_up;
	int full = vf_send_waiting(loop);
	if (loop->stamp != stamp || loop->giving_up)
		return VF_TURN_ACTIVE;
	/* Where there is no worker yet, each submit changes how many vine_factory should start. */
	return full && loop->workers.n ? VF_TURN_FULL : VF_TURN_IDLE;
}

/* One turn, on the manager thread, at a point where TaskVine has no iteration in progress. */
static enum vf_turn turn(void *arg, int connections)
{
	struct vf_loop *loop = arg;
	enum vf_turn next = take_turn(loop, connections);
	vf_return_over(loop);
	return next;
}

void vf_loop_run(struct vf_loop *loop)
{
	/* The seed decides which of equal workers comes first. */
	vf_locality_init(&loop->locality, &loop->config.scoring, vf_now_ns());
	vf_poll_own(&(struct vf_poller){
			.turn = turn,
			.joined = vf_place_joined,
			.left = vf_place_left,
			.may_run = vf_watch_may_run,
			.choose = vf_place_choose,
			.sending = vf_place_sending,
			.replica = vf_replica_changed,
			.cached = vf_replica_cached,
			.library_ended = vf_watch_library_ended,
			.unsent = vf_unfetched_unsent,
			.invalidated = vf_unfetched_note,
			.fetching = vf_unfetched_wait,
			.is_there = vf_files_is_there,
			.arg = loop,
			.wake = &loop->submitted_wake,
			.password = loop->config.password,
	});
	while (!atomic_load(&loop->stop)) {
		struct vine_task *task = vine_wait(loop->manager, WAIT_SECONDS);
		if (task)
			vf_return_task(loop, task);
		if (loop->giving_up)
			vf_watch_give_up(loop);
		vf_watch_release_idle(loop);
		vf_return_over(loop);
	}
	vf_poll_own(NULL);

	uint64_t id;
	void *bundle;
	itable_firstkey(loop->bundles);
	while (itable_nextkey(loop->bundles, &id, &bundle)) {
		vine_task_delete(((struct vf_bundle *)bundle)->task); /* TaskVine has its own hold on it */
		vf_bundle_free(bundle);
	}
	itable_clear(loop->bundles, NULL);
	if (loop->plain)
		vine_task_delete(loop->plain);
	loop->plain = NULL;
	vf_watch_release_all(loop);
}
