#include "vf_loop.h"

#include <string.h>

#include "taskvine.h"
#include "vf_accept.h"
#include "vf_border.h"
#include "vf_clock.h"
#include "vf_handshake.h"
#include "vf_unfetched.h"

enum {
	WAIT_SECONDS = 5, /* turns happen inside vine_wait(), so its length hardly matters */
};

/* Who uses what. */
static void connect_parts(struct vf_loop *loop)
{
	const struct vf_config *config = &loop->config;
	struct vf_counters *counters = &loop->counters;
	struct vf_waiting *waiting = &loop->waiting;
	struct vf_inflight *inflight = &loop->inflight;
	struct vf_workers *workers = &loop->workers;
	loop->library = (struct vf_library){.config = config};
	loop->replicas = (struct vf_replicas){.locality = &loop->locality, .workers = workers};
	loop->leftovers = (struct vf_leftovers){.config = config};
	loop->declare = (struct vf_declare){
			.config = config,
			.replicas = &loop->replicas,
			.leftovers = &loop->leftovers,
	};
	loop->inputs = (struct vf_inputs){
			.counters = counters, .declare = &loop->declare, .looks.wake = &loop->wake};
	loop->temps = (struct vf_temps){
			.config = config,
			.counters = counters,
			.replicas = &loop->replicas,
			.leftovers = &loop->leftovers,
			.waiting = waiting,
			.inflight = inflight,
			.done = &loop->done,
			.log = &loop->log,
	};
	loop->files = (struct vf_files){
			.config = config,
			.replicas = &loop->replicas,
			.inputs = &loop->inputs,
			.temps = &loop->temps,
	};
	loop->end = (struct vf_end){
			.counters = counters,
			.waiting = waiting,
			.files = &loop->files,
			.done = &loop->done,
			.log = &loop->log,
	};
	loop->score = (struct vf_score){
			.queue = &waiting->queue, .workers = workers, .locality = &loop->locality};
	loop->place = (struct vf_place){
			.config = config,
			.counters = counters,
			.workers = workers,
			.replicas = &loop->replicas,
			.library = &loop->library,
			.inflight = inflight,
			.done = &loop->done,
			.log = &loop->log,
	};
	loop->events = (struct vf_events){
			.config = config,
			.counters = counters,
			.workers = workers,
			.replicas = &loop->replicas,
			.temps = &loop->temps,
			.log = &loop->log,
	};
	loop->tell = (struct vf_tell){
			.config = config, .inflight = inflight, .place = &loop->place};
	loop->cancel = (struct vf_cancel){
			.config = config, .inflight = inflight, .tell = &loop->tell};
	loop->ask = (struct vf_ask){
			.config = config,
			.inflight = inflight,
			.done = &loop->done,
			.tell = &loop->tell,
	};
	struct vf_send *send = &loop->send; /* which is too large for the stack */
	send->config = config;
	send->counters = counters;
	send->waiting = waiting;
	send->workers = workers;
	send->score = &loop->score;
	send->place = &loop->place;
	send->files = &loop->files;
	send->temps = &loop->temps;
	send->library = &loop->library;
	send->inflight = inflight;
	send->end = &loop->end;
	loop->returns = (struct vf_return){
			.config = config,
			.counters = counters,
			.histograms = loop->histograms,
			.waiting = waiting,
			.place = &loop->place,
			.files = &loop->files,
			.library = &loop->library,
			.inflight = inflight,
			.end = &loop->end,
			.log = &loop->log,
	};
	loop->watch = (struct vf_watch){
			.config = config,
			.counters = counters,
			.waiting = waiting,
			.workers = workers,
			.place = &loop->place,
			.library = &loop->library,
			.inflight = inflight,
			.connections = -1,
	};
}

int vf_loop_init(struct vf_loop *loop)
{
	memset(loop, 0, sizeof *loop);
	loop->done.wake.fd = -1;
	connect_parts(loop);
	vf_ring_init(&loop->submitted);
	vf_ring_init(&loop->let_go);
	vf_ring_init(&loop->ask.questions);
	vf_waiting_init(&loop->waiting);
	vf_inflight_begin(&loop->inflight);
	if (vf_wake_open(&loop->wake) || vf_done_begin(&loop->done)) {
		vf_loop_free(loop);
		return -1;
	}
	return 0;
}

void vf_loop_free(struct vf_loop *loop)
{
	vf_inputs_free(&loop->inputs); /* first: the threads that look use the wake */
	vf_wake_close(&loop->wake);
	vf_done_end(&loop->done);
	vf_cancel_free(&loop->cancel);
	vf_send_free(&loop->send);
	vf_workers_free(&loop->workers);
	vf_declare_free(&loop->declare);
	vf_locality_free(&loop->locality);
	vf_score_free(&loop->score);
	vf_leftover_free(&loop->leftovers);
	vf_inflight_end(&loop->inflight);
	vf_replica_end(&loop->replicas);
	vf_library_let_go(&loop->library, UINT64_MAX);
}

void vf_loop_submit(struct vf_loop *loop, struct vf_call *call)
{
	vf_ring_push(&loop->submitted, &call->link);
	vf_wake_signal(&loop->wake);
}

void vf_loop_let_go(struct vf_loop *loop, struct vf_temp *temp)
{
	vf_ring_push(&loop->let_go, &temp->link);
	vf_wake_signal(&loop->wake);
}

void vf_loop_cancel_sent(struct vf_loop *loop)
{
	atomic_store(&loop->cancel.wanted, 1);
	vf_wake_signal(&loop->wake);
}

void vf_loop_ask(struct vf_loop *loop, struct vf_question *question)
{
	vf_ring_push(&loop->ask.questions, &question->link);
	vf_wake_signal(&loop->wake);
}

void vf_loop_stop(struct vf_loop *loop)
{
	atomic_store(&loop->stop, 1);
	vf_wake_force(&loop->wake);
}

/* Make vine_wait() return at once: a task that is submitted and cancelled is ready to be handed
out. */
static void break_wait(struct vf_loop *loop)
{
	struct vine_manager *manager = loop->config.manager;
	struct vine_task *task = vine_task_create(":");
	if (!task)
		return;
	int id = vine_submit(manager, task);
	if (id)
		vine_cancel_by_task_id(manager, id);
	else
		vine_task_delete(task);
}

/* TaskVine starts a library only when a function call needs it: an empty bundle spares the first
real call that wait. */
static void look_at_workers(struct vf_loop *loop, int connections)
{
	if (!vf_watch_workers(&loop->watch, connections))
		return;
	vf_send_trim(&loop->send);
	if (!loop->config.command || loop->config.monitored)
		vf_send_warm_up(&loop->send);
}

static enum vf_turn take_turn(struct vf_loop *loop, int connections)
{
	struct vf_inflight *inflight = &loop->inflight;
	if (atomic_load(&loop->stop)) {
		if (!loop->stopping)
			break_wait(loop);
		loop->stopping = 1;
		return VF_TURN_ACTIVE;
	}
	uint64_t stamp = loop->send.stamp;
	loop->inputs.turn++;
	vf_send_take(&loop->send, vf_ring_take(&loop->submitted));
	if (loop->waiting.held_up.head &&
			(vf_inputs_have_seen(&loop->inputs) || loop->waiting.lacks_memory))
		vf_waiting_go_on(&loop->waiting);
	vf_temps_settle(&loop->temps, vf_ring_take(&loop->let_go));
	vf_leftover_settle(&loop->leftovers);
	look_at_workers(loop, connections);
	int told = vf_cancel_sent(&loop->cancel) | vf_ask_all(&loop->ask);
	if (vf_accept_errno())
		VF_SET(&loop->counters, accept_errno, (uint64_t)vf_accept_errno());
	VF_SET(&loop->counters, joins_without_ssl, vf_handshake_without_tls());
	VF_SET(&loop->counters, joins_with_ssl, vf_handshake_with_tls());
	VF_SET(&loop->counters, joins_wrong_password, vf_handshake_wrong_password());
	VF_SET(&loop->counters, joins_with_password, vf_handshake_with_password());
	if (inflight->giving_up && !inflight->breaking)
		break_wait(loop);
	inflight->breaking = inflight->giving_up;
	int full = vf_send_waiting(&loop->send);
	if (told || loop->send.stamp != stamp || inflight->giving_up)
		return VF_TURN_ACTIVE;
	/* Where there is no worker yet, each submit changes how many vine_factory should start. */
	return full && loop->workers.n ? VF_TURN_FULL : VF_TURN_IDLE;
}

/* What TaskVine asks and tells goes to the step whose business it is. Each of these is on the
manager thread; the first is at a point where TaskVine has no iteration in progress. */

static enum vf_turn turn(void *arg, int connections)
{
	struct vf_loop *loop = arg;
	enum vf_turn next = take_turn(loop, connections);
	vf_eventlog_turn(&loop->log, &loop->counters);
	vf_done_over(&loop->done);
	return next;
}

static void joined(void *arg, struct vine_worker_info *worker, int fd)
{
	struct vf_loop *loop = arg;
	vf_place_joined(&loop->place, worker, fd);
}

static void left(void *arg, struct vine_worker_info *worker)
{
	struct vf_loop *loop = arg;
	vf_place_left(&loop->place, worker);
}

static void foreign(void *arg, const char *greeting)
{
	struct vf_loop *loop = arg;
	vf_foreign_note(&loop->foreign, greeting);
	VF_COUNT(&loop->counters, joins_other_protocol, 1);
}

static int may_run(void *arg, struct vine_task *task)
{
	struct vf_loop *loop = arg;
	return vf_watch_may_run(&loop->watch, task);
}

static struct vine_worker_info *choose(void *arg, struct vine_task *task)
{
	struct vf_loop *loop = arg;
	return vf_place_choose(&loop->place, task);
}

static void sending(
		void *arg, const struct vine_worker_info *worker, struct vine_task *task, int begin)
{
	struct vf_loop *loop = arg;
	if (begin) {
		vf_taskids_sending(&loop->inflight.ids, task);
		vf_eventlog_sent(&loop->log,
				vf_inflight_find(
						&loop->inflight, (uint64_t)vine_task_get_id(task)));
	}
	vf_events_sending(&loop->events, worker, begin);
}

static void replica(void *arg, const struct vine_worker_info *worker, const char *cached_name,
		int there)
{
	struct vf_loop *loop = arg;
	vf_events_replica(&loop->events, worker, cached_name, there);
}

static void cached(void *arg, const struct vine_worker_info *worker, const char *cached_name,
		uint64_t nbytes, uint64_t took_us)
{
	struct vf_loop *loop = arg;
	vf_events_cached(&loop->events, worker, cached_name, nbytes, took_us);
}

static int fits(void *arg, const char *cached_name, int64_t nbytes)
{
	const struct vf_loop *loop = arg;
	return vf_events_fits(&loop->events, cached_name, nbytes);
}

static void library_ended(void *arg, struct vine_task *library, const char *worker, int by_itself)
{
	struct vf_loop *loop = arg;
	vf_taskids_ended(&loop->inflight.ids, library);
	vf_library_hold(&loop->library, library, vf_now_ns());
	vf_watch_library_ended(&loop->watch, worker, by_itself);
}

static void unsent(void *arg, struct vine_task *task)
{
	struct vf_loop *loop = arg;
	struct vf_bundle *bundle =
			vf_inflight_find(&loop->inflight, (uint64_t)vine_task_get_id(task));
	if (bundle)
		vf_unfetched_unsent(bundle);
	else
		vf_watch_unsent(&loop->watch, task);
}

static int invalidated(void *arg, const char *cachename, const char *reason)
{
	const struct vf_loop *loop = arg;
	return vf_unfetched_note(&loop->declare, cachename, reason);
}

static int fetching(void *arg, const char *source)
{
	const struct vf_loop *loop = arg;
	return vf_unfetched_count(&loop->declare, source);
}

static int is_there(void *arg, struct vine_worker_info *worker, struct vine_file *file)
{
	const struct vf_loop *loop = arg;
	return vf_inputs_is_there(&loop->inputs, worker, file);
}

void vf_loop_run(struct vf_loop *loop)
{
	/* The seed decides which of equal workers comes first. */
	vf_locality_init(&loop->locality, &loop->config.scoring, vf_now_ns());
	vf_border_own(&(struct vf_border){
			.turn = turn,
			.joined = joined,
			.left = left,
			.foreign = foreign,
			.may_run = may_run,
			.choose = choose,
			.sending = sending,
			.replica = replica,
			.cached = cached,
			.fits = fits,
			.library_ended = library_ended,
			.unsent = unsent,
			.invalidated = invalidated,
			.fetching = fetching,
			.is_there = is_there,
			.arg = loop,
			.wake = &loop->wake,
			.password = loop->config.password,
			.is_watching = loop->config.is_watching,
	});
	while (!atomic_load(&loop->stop)) {
		struct vine_task *task = vine_wait(loop->config.manager, WAIT_SECONDS);
		if (task)
			vf_return_task(&loop->returns, task);
		if (loop->inflight.giving_up)
			vf_inflight_cancel(&loop->inflight, loop->config.manager);
		vf_watch_release_idle(&loop->watch);
		vf_eventlog_turn(&loop->log, &loop->counters);
		vf_done_over(&loop->done);
	}
	vf_border_own(NULL);

	vf_send_count(&loop->send); /* since the last turn, calls have come back, or left */
	vf_inflight_drop(&loop->inflight);
	vf_place_free(&loop->place);
	vf_watch_release_all(&loop->watch);
	vf_eventlog_close(&loop->log, &loop->counters);
}
