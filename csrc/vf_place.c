#include "vf_place.h"

#include <string.h>

#include "taskvine_private.h"
#include "vf_border.h"
#include "vf_call.h"
#include "vf_clock.h"
#include "vf_config.h"
#include "vf_counters.h"
#include "vf_done.h"
#include "vf_eventlog.h"
#include "vf_inflight.h"
#include "vf_library.h"
#include "vf_locality.h"
#include "vf_replica.h"
#include "vf_unfetched.h"
#include "vf_workers.h"

void vf_place_free(struct vf_place *place)
{
	if (place->plain)
		vine_task_delete(place->plain);
	place->plain = NULL;
}

int vf_place_fits(const struct vf_place *place, const struct vf_resources *needs)
{
	const struct vf_resources *most = &place->workers->largest;
	if (place->config->placing)
		return vf_workers_fit(place->workers, needs);
	return needs->cores <= most->cores && needs->memory <= most->memory &&
			needs->disk <= most->disk && needs->gpus <= most->gpus;
}

int vf_place_next(struct vf_place *place, const struct vf_spec *spec, struct vf_worker **worker)
{
	*worker = NULL;
	if (!place->config->placing)
		return place->inflight->n < VF_GET(place->counters, slots) + 1;
	*worker = vf_workers_choose(place->workers, &spec->needs, vf_now_ns(), NULL, NULL);
	/* One goes without a place, to find a slot that the last count did not know of. */
	return *worker || (LIST_EMPTY(&place->unplaced) && !vf_resources_any(&spec->needs));
}

void vf_place_begin(struct vf_place *place, struct vf_bundle *bundle)
{
	LIST_INSERT_HEAD(&place->unplaced, bundle, there);
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

void vf_place_bundle(struct vf_place *place, struct vf_bundle *bundle, struct vf_worker *worker)
{
	if (bundle->worker == worker)
		return;
	leave(bundle);
	bundle->worker = worker;
	if (worker) {
		LIST_INSERT_HEAD(&worker->bundles, bundle, there);
		bundle->share = place->config->placing && bundle->n_calls ?
				vf_worker_share(worker, &bundle->calls[0]->spec->needs) :
				1;
		vf_worker_begin(worker, bundle->share, bundle->expected_ns, vf_now_ns());
		vf_replica_expect(place->replicas, bundle);
	} else {
		vf_place_begin(place, bundle);
	}
}

void vf_place_tell(struct vf_place *place, const struct vf_worker *worker, enum vf_node_news news)
{
	struct vf_bundle *bundle =
			place->config->monitored && worker->node ? vf_bundle_create(0, NULL) : NULL;
	if (!bundle)
		return;
	bundle->news = news;
	bundle->worker_slots =
			place->config->placing ? worker->slots : place->workers->typical_slots;
	bundle->stages.worker = worker->number;
	bundle->frame = strdup(worker->node);
	if (!bundle->frame) {
		vf_bundle_free(bundle);
		return;
	}
	vf_done_later(place->done, bundle);
}

void vf_place_joined(struct vf_place *place, struct vine_worker_info *id, int fd)
{
	uint32_t index = vf_locality_add_worker(place->replicas->locality, VF_LOCALITY_UNLIMITED);
	/* Without the memory for it, it gets no bundles, and is nowhere to be chosen. */
	if (index == VF_LOCALITY_NONE)
		return;
	if (vf_workers_add(place->workers, id, fd, index))
		vf_locality_remove_worker(place->replicas->locality, index);
	else
		vf_eventlog_joined(place->log, vf_workers_find(place->workers, id));
}

void vf_place_left(struct vf_place *place, struct vine_worker_info *id)
{
	struct vf_worker *worker = vf_workers_remove(place->workers, id);
	struct vf_bundle *bundle;
	while (worker && (bundle = LIST_FIRST(&worker->bundles))) {
		vf_place_bundle(place, bundle, NULL);
		if (!bundle->n_calls) /* it was meant for that worker */
			vf_inflight_give_up(place->inflight, bundle);
	}
	if (worker) {
		vf_locality_remove_worker(place->replicas->locality, worker->index);
		vf_place_tell(place, worker, VF_NODE_LEFT);
		vf_eventlog_left(place->log, worker);
	}
	vf_worker_free(worker);
}

/* Two suspects never share a worker: then the call that takes workers down is soon known. */
static int meets_suspect(const struct vf_bundle *bundle, const struct vf_worker *worker)
{
	const struct vf_bundle *other;
	if (!vf_bundle_is_suspect(bundle))
		return 0;
	LIST_FOREACH(other, &worker->bundles, there) {
		if (vf_bundle_is_suspect(other) && vf_bundle_runs(other))
			return 1;
	}
	return 0;
}

/* A bundle that looks for a worker. */
struct seeker {
	struct vf_place *place;
	const struct vf_bundle *bundle;
};

/* What TaskVine says of a worker holds for other bundles too, unless this one asks for time, or for
files: it may only have to wait for these. Then a task that asks for nothing is tried. */
static int is_refused_to_all(const struct seeker *seeker, const struct vf_worker *worker)
{
	struct vf_place *place = seeker->place;
	const struct vf_bundle *bundle = seeker->bundle;
	if (!bundle->n_calls ||
			(bundle->calls[0]->spec->running_time_min <= 0 &&
					!bundle->mounts.n_inputs && !bundle->reads))
		return 1;
	if (!place->plain && (place->plain = vine_task_create(VF_COMMAND_IN_FILE)))
		vine_task_set_library_required(place->plain, place->config->library);
	return place->plain &&
			!check_worker_against_task(
					place->config->manager, worker->id, place->plain);
}

/* TaskVine 7.14.5 takes a task off its list before it asks itself whether it may send the library
for it, and never comes back to the task if not; later versions look for a worker again and
again. */
static int lacks_library(struct vf_place *place, const struct vf_worker *worker)
{
	const struct vf_config *config = place->config;
	return vf_library_is_paused(place->library) &&
			!vine_schedule_find_library(config->manager, worker->id, config->library);
}

static int is_accepted(const struct seeker *seeker, struct vf_worker *worker)
{
	if (lacks_library(seeker->place, worker)) {
		vf_worker_refuse(worker, vf_now_ns());
		return 0;
	}
	if (check_worker_against_task(
			    seeker->place->config->manager, worker->id, seeker->bundle->task)) {
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
			!vf_unfetched_too_large(seeker->place->workers, seeker->bundle, worker);
}

/* A worker that has room for it. */
static struct vf_worker *choose_for(struct vf_place *place, struct vf_bundle *bundle)
{
	struct seeker seeker = {place, bundle};
	struct vf_resources none = {0};
	const struct vf_resources *needs = bundle->n_calls ? &bundle->calls[0]->spec->needs : &none;
	return vf_workers_choose(place->workers, needs, vf_now_ns(), fits, &seeker);
}

void vf_place_unplaced(struct vf_place *place)
{
	struct vf_bundle *next;
	for (struct vf_bundle *bundle = place->config->placing ? LIST_FIRST(&place->unplaced) :
								 NULL;
			bundle; bundle = next) {
		next = LIST_NEXT(bundle, there);
		struct vf_worker *worker = bundle->n_calls ? choose_for(place, bundle) : NULL;
		if (worker)
			vf_place_bundle(place, bundle, worker);
	}
}

uint64_t vf_place_calls_unplaced(const struct vf_place *place)
{
	uint64_t n_calls = 0;
	const struct vf_bundle *bundle;
	LIST_FOREACH(bundle, &place->unplaced, there)
		n_calls += bundle->n_calls;
	return n_calls;
}

/* TaskVine's choice may be the same each time: a suspect that would meet another one there goes
elsewhere. */
static struct vf_worker *choose_apart(struct vf_place *place, const struct vf_bundle *bundle)
{
	for (uint32_t i = 0; i < place->workers->n; i++) {
		struct vf_worker *worker = place->workers->items[i];
		if (!worker->is_cut && !meets_suspect(bundle, worker) &&
				!lacks_library(place, worker) &&
				check_worker_against_task(
						place->config->manager, worker->id, bundle->task))
			return worker;
	}
	return NULL;
}

struct vine_worker_info *vf_place_choose(struct vf_place *place, struct vine_task *task)
{
	struct vf_bundle *bundle =
			vf_inflight_find(place->inflight, (uint64_t)vine_task_get_id(task));
	if (!bundle)
		return vf_border_choose(place->config->manager, task);

	if (!place->config->placing && bundle->n_calls) {
		struct vf_worker *chosen = vf_workers_find(
				place->workers, vf_border_choose(place->config->manager, task));
		if (chosen && meets_suspect(bundle, chosen))
			chosen = choose_apart(place, bundle);
		if (!chosen || chosen->is_cut || lacks_library(place, chosen))
			return NULL;
		vf_place_bundle(place, bundle, chosen);
		return chosen->id;
	}
	struct seeker seeker = {place, bundle};
	if (!bundle->worker || !fits(&seeker, bundle->worker)) {
		if (bundle->worker && !bundle->n_calls)
			return NULL; /* it is meant for that worker and no other */
		/* With none it is first in line for the next slot. */
		vf_place_bundle(place, bundle, choose_for(place, bundle));
	}
	return bundle->worker ? bundle->worker->id : NULL;
}
