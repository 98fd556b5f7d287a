#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "itable.h"
#include "taskvine_private.h"
#include "vf_poll.h"
#include "vf_turn.h"

int vf_place_next(struct vf_loop *loop, const struct vf_spec *spec, struct vf_worker **worker)
{
	*worker = NULL;
	if (!loop->config.placing)
		return loop->running < atomic_load_explicit(&loop->counters.slots, memory_order_relaxed) + 1;
	*worker = vf_workers_choose(&loop->workers, &spec->needs, vf_now_ns(), NULL, NULL);
	/* One goes without a place, to find a slot that the last count did not know of. */
	return *worker || (LIST_EMPTY(&loop->unplaced) && !vf_needs_any(&spec->needs));
}

void vf_place_begin(struct vf_loop *loop, struct vf_bundle *bundle)
{
	LIST_INSERT_HEAD(&loop->unplaced, bundle, there);
}

/* It leaves its worker, or those that have none. */
static void leave(struct vf_bundle *bundle)
{
	if (bundle->worker)
		vf_worker_end(bundle->worker, bundle->share, bundle->expected_ns);
	LIST_REMOVE(bundle, there);
}

void vf_place_end(struct vf_bundle *bundle)
{
	leave(bundle);
	bundle->worker = NULL;
}

void vf_place_bundle(struct vf_loop *loop, struct vf_bundle *bundle, struct vf_worker *worker)
{
	if (bundle->worker == worker)
		return;
	leave(bundle);
	bundle->worker = worker;
	if (worker) {
		LIST_INSERT_HEAD(&worker->bundles, bundle, there);
		bundle->share = loop->config.placing && bundle->n_calls ? vf_worker_share(worker, &bundle->calls[0]->spec->needs) : 1;
		vf_worker_begin(worker, bundle->share, bundle->expected_ns, vf_now_ns());
		vf_replica_expect(loop, bundle);
	} else {
		vf_place_begin(loop, bundle);
	}
}

void vf_place_warm_up(struct vf_loop *loop)
{
	if (!loop->workers.typical_slots)
		return;
	for (uint32_t i = 0; i < loop->workers.n; i++) {
		struct vf_worker *worker = loop->workers.items[i];
		if (!worker->warm)
			vf_send_bundle(loop, 0, NULL, worker, -1);
		worker->warm = 1;
	}
}

void vf_place_joined(void *arg, struct vine_worker_info *id, int fd)
{
	struct vf_loop *loop = arg;
	uint32_t index = vf_locality_add_worker(&loop->locality, VF_LOCALITY_UNLIMITED);
	if (index != VF_LOCALITY_NONE) /* without the memory for it, it gets no bundles */
		vf_workers_add(&loop->workers, id, fd, index);
}

void vf_place_left(void *arg, struct vine_worker_info *id)
{
	struct vf_loop *loop = arg;
	struct vf_worker *worker = vf_workers_remove(&loop->workers, id);
	struct vf_bundle *bundle;
	while (worker && (bundle = LIST_FIRST(&worker->bundles))) {
		vf_place_bundle(loop, bundle, NULL);
		if (!bundle->n_calls) /* it was meant for that worker */
			vf_watch_abandon(loop, bundle);
	}
	if (worker) {
		vf_locality_remove_worker(&loop->locality, worker->index);
		vf_return_news(loop, worker, VF_NODE_LEFT);
	}
	vf_worker_free(worker);
}

/* Two suspects never share a worker: then the call that takes workers down is soon known. */
static int meets_suspect(const struct vf_bundle *bundle, const struct vf_worker *worker)
{
	const struct vf_bundle *other;
	if (!vf_watch_is_suspect(bundle))
		return 0;
	LIST_FOREACH(other, &worker->bundles, there) {
		if (vf_watch_is_suspect(other) && vf_watch_runs(other))
			return 1;
	}
	return 0;
}

/* A bundle that looks for a worker. */
struct seeker {
	struct vf_loop *loop;
	const struct vf_bundle *bundle;
};

/* What TaskVine says of a worker holds for other bundles too, unless this one asks for time, or for files: it may only have to wait for
these. Then a task that asks for nothing is tried. */
static int is_refused_to_all(const struct seeker *seeker, const struct vf_worker *worker)
{
	struct vf_loop *loop = seeker->loop;
	const struct vf_bundle *bundle = seeker->bundle;
	if (!bundle->n_calls || (bundle->calls[0]->spec->running_time_min <= 0 && !bundle->mounts.n_inputs && !bundle->reads))
		return 1;
	if (!loop->plain && (loop->plain = vine_task_create(VF_COMMAND_IN_FILE)))
		vine_task_set_library_required(loop->plain, loop->config.library);
	return loop->plain && !check_worker_against_task(loop->manager, worker->id, loop->plain);
}

/* TaskVine 7.14.5 takes a task off its list before it asks itself whether it may send the library for it, and never comes back to
the task if not; later versions look for a worker again and again. */
static int lacks_library(struct vf_loop *loop, const struct vf_worker *worker)
{
	return loop->library_failed_ns && vf_now_ns() - loop->library_failed_ns <= loop->config.library_pause_ns &&
			!vine_schedule_find_library(loop->manager, worker->id, loop->config.library);
}

static int is_accepted(const struct seeker *seeker, struct vf_worker *worker)
{
	if (lacks_library(seeker->loop, worker)) {
		vf_worker_refuse(worker, vf_now_ns());
		return 0;
	}
	if (check_worker_against_task(seeker->loop->manager, worker->id, seeker->bundle->task)) {
		vf_worker_accept(worker);
		return 1;
	}
	if (is_refused_to_all(seeker, worker))
		vf_worker_refuse(worker, vf_now_ns());
	return 0;
}

static int fits(void *arg, struct vf_worker *worker)
{
	const struct seeker *seeker = arg;
	return is_accepted(seeker, worker) && !meets_suspect(seeker->bundle, worker) &&
			!vf_unfetched_too_large(seeker->loop, seeker->bundle, worker);
}

/* A worker that has room for it. */
static struct vf_worker *choose_for(struct vf_loop *loop, struct vf_bundle *bundle)
{
	struct seeker seeker = {loop, bundle};
	struct vf_resources none = {0};
	const struct vf_resources *needs = bundle->n_calls ? &bundle->calls[0]->spec->needs : &none;
	return vf_workers_choose(&loop->workers, needs, vf_now_ns(), fits, &seeker);
}

void vf_place_unplaced(struct vf_loop *loop)
{
	struct vf_bundle *next;
	for (struct vf_bundle *bundle = loop->config.placing ? LIST_FIRST(&loop->unplaced) : NULL; bundle; bundle = next) {
		next = LIST_NEXT(bundle, there);
		struct vf_worker *worker = bundle->n_calls ? choose_for(loop, bundle) : NULL;
		if (worker)
			vf_place_bundle(loop, bundle, worker);
	}
}

struct vine_worker_info *vf_place_choose(void *arg, struct vine_task *task)
{
	struct vf_loop *loop = arg;
	struct vf_bundle *bundle = itable_lookup(loop->bundles, (uint64_t)vine_task_get_id(task));
	if (!bundle)
		return vf_poll_choose(loop->manager, task);

	if (!loop->config.placing && bundle->n_calls) {
		struct vf_worker *chosen = vf_workers_find(&loop->workers, vf_poll_choose(loop->manager, task));
		if (!chosen || lacks_library(loop, chosen) || meets_suspect(bundle, chosen))
			return NULL;
		vf_place_bundle(loop, bundle, chosen);
		return chosen->id;
	}
	struct seeker seeker = {loop, bundle};
	if (!bundle->worker || !fits(&seeker, bundle->worker)) {
		if (bundle->worker && !bundle->n_calls)
			return NULL; /* it is meant for that worker and no other */
		/* With none it is first in line for the next slot. */
		vf_place_bundle(loop, bundle, choose_for(loop, bundle));
	}
	return bundle->worker ? bundle->worker->id : NULL;
}

/* Each of TaskVine's writes would be a packet of its own and wake the worker up. */
void vf_place_sending(void *arg, const struct vine_worker_info *id, int begin)
{
	struct vf_loop *loop = arg;
	struct vf_worker *worker = vf_workers_find(&loop->workers, id);
	if (!worker)
		return;
	setsockopt(worker->fd, IPPROTO_TCP, TCP_CORK, &begin, sizeof begin);
	worker->sending = begin != 0;
	loop->last_moved = NULL;
}
