#include "vf_watch.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "debug.h"
#include "taskvine_private.h"
#include "vf_clock.h"
#include "vf_config.h"
#include "vf_counters.h"
#include "vf_inflight.h"
#include "vf_library.h"
#include "vf_place.h"
#include "vf_queue.h"
#include "vf_temps.h"
#include "vf_tls.h"
#include "vf_unfetched.h"
#include "vf_waiting.h"
#include "vf_workers.h"

enum {
	STATS_INTERVAL_MS = 100,
	ORPHAN_GRACE_MS = 500,
	RELEASE_INTERVAL_MS = 1000,
	GIVEN_BACK_MAX = 10, /* as TaskVine means to, which never counts them */
};

/* How many bundles can run at once on the workers that are connected. */
static uint32_t count_slots(struct vf_watch *watch, const struct vine_stats *stats)
{
	const struct vf_config *config = watch->config;
	if (config->placing) {
		uint32_t cores = stats->workers_connected > 0 ?
				(uint32_t)(stats->total_cores / stats->workers_connected) :
				0;
		watch->workers->typical_slots = cores && config->slots_per_worker > 0 ?
				(uint32_t)config->slots_per_worker :
				cores;
		return vf_workers_slots(watch->workers);
	}
	if (config->command || config->slots_per_worker <= 0)
		return (uint32_t)stats->total_cores;
	double libraries = stats->workers_connected;
	if (config->cores_per_library > 0)
		libraries = (double)(int64_t)((double)stats->total_cores /
				config->cores_per_library);
	return (uint32_t)(libraries * config->slots_per_worker);
}

/* Calls that wait for a worker larger than any that is there. One of which little is known yet may
be large enough. */
static uint64_t look_for_too_large(struct vf_watch *watch, uint64_t now_ns)
{
	uint64_t n = 0;
	int is_known = watch->config->placing ?
			watch->workers->n && vf_workers_slots(watch->workers) :
			watch->workers->largest.cores > 0;
	int all_known = is_known && (!watch->config->placing || vf_workers_known(watch->workers));
	for (struct vf_group *group = watch->waiting->queue.any; group; group = group->next) {
		int fits = !is_known || vf_place_fits(watch->place, &vf_queue_first(group)->needs);
		n += fits ? 0 : group->n;
		if (fits)
			atomic_store_explicit(&group->too_large_ns, 0, memory_order_relaxed);
		else if (all_known && !vf_group_too_large_ns(group))
			atomic_store_explicit(&group->too_large_ns, now_ns, memory_order_relaxed);
	}
	return n;
}

/* Count a loss, and tell whether the bundle is to be given up. */
static int lose(struct vf_watch *watch, struct vf_bundle *bundle)
{
	vf_bundle_lose(bundle);
	return vf_bundle_has_lost(bundle, watch->config->max_losses);
}

/* Whether the last task that was offered to a worker is really there: TaskVine may have changed its
mind, and takes no other step with it before it offers another, or the next turn. */
static void look_at_offered(struct vf_watch *watch)
{
	struct vf_bundle *bundle = watch->offered_id ?
			vf_inflight_find(watch->inflight, watch->offered_id) :
			NULL;
	if (bundle && vf_bundle_runs(bundle))
		bundle->has_run = 1;
	watch->offered_id = 0;
}

/* What has been sent fails; what waits does so when it would be sent, and what comes later is
tried. */
static void give_library_up(struct vf_watch *watch)
{
	if (!vf_library_is_hopeless(watch->library))
		return;
	if (watch->waiting->n || watch->inflight->n)
		vf_inflight_give_all_up(watch->inflight);
	else
		vf_library_begin_anew(watch->library);
}

static int runs_another(const struct vf_worker *worker, const struct vf_bundle *bundle)
{
	const struct vf_bundle *other;
	LIST_FOREACH(other, &worker->bundles, there) {
		if (other != bundle && vf_bundle_runs(other))
			return 1;
	}
	return 0;
}

/* Regular mode: whether the worker that had a task is still there, and has given it back without
having run it, mostly since it failed to get a file. That is no fault of the calls, unless it goes
on, on whatever workers: then the loss counts. If it was always the same one, that worker begins
anew, with nothing that it had, unless it runs what would be lost with that. */
static int is_given_back(struct vf_watch *watch, struct vf_bundle *bundle)
{
	struct vf_worker *worker = bundle->worker;
	if (!watch->config->command || !worker || !bundle->n_calls)
		return 0;
	if (bundle->given_back_by != worker->number)
		bundle->n_given_back_by_one = 0;
	bundle->given_back_by = worker->number;
	bundle->n_given_back_by_one++;
	if (++bundle->n_given_back < GIVEN_BACK_MAX)
		return 1;
	bundle->n_given_back = 0;
	if (bundle->n_given_back_by_one < GIVEN_BACK_MAX || runs_another(worker, bundle))
		return 0;
	bundle->n_given_back_by_one = 0;
	debug(D_VINE | D_NOTICE,
			"ending the connection of worker %u, which has given back task %d %d "
			"times; is its disk full?",
			worker->number, vine_task_get_id(bundle->task), GIVEN_BACK_MAX);
	shutdown(worker->fd, SHUT_RDWR);
	worker->is_cut = 1;
	return 0;
}

static void end_orphaned(struct vf_bundle *bundle)
{
	if (bundle->orphaned_ns)
		LIST_REMOVE(bundle, orphan);
	bundle->orphaned_ns = 0;
}

/* TaskVine gives the task of a lost worker to the next one, for ever. This is where it does so. */
int vf_watch_may_run(struct vf_watch *watch, struct vine_task *task)
{
	/* Here, since TaskVine looks at its count when it sends one. */
	vf_library_keep(watch->library);
	look_at_offered(watch); /* from 7.16 on several are offered within a turn */
	watch->offered_id = (uint64_t)vine_task_get_id(task);
	struct vf_bundle *bundle = vf_inflight_find(watch->inflight, watch->offered_id);
	if (!bundle)
		return 1;
	/* The same worker may have it again before anybody has looked. */
	if (!bundle->given_up)
		end_orphaned(bundle);
	if (!bundle->given_up && vf_unfetched_any(bundle)) {
		vf_inflight_give_up(watch->inflight, bundle);
	} else if (bundle->has_run && !bundle->given_up) {
		bundle->has_run = 0;
		bundle->n_told = 0;
		/* A worker that is still there could not fetch a temporary file, which is no fault
		of the call. */
		bundle->unreached = bundle->worker && vf_temps_any(bundle);
		if (bundle->unreached || (!is_given_back(watch, bundle) && lose(watch, bundle)))
			vf_inflight_give_up(watch->inflight, bundle);
	}
	/* It may have been given up before, and not been cancelled when that was wanted. */
	watch->inflight->giving_up |= bundle->given_up;
	return !bundle->given_up && vf_temps_there(bundle) && !vf_temps_outdated(bundle);
}

/* TaskVine sends a library for the function call that it has offered last. If that fails, 7.14.5
never comes back to the call, which it has taken off its list; later versions try for ever. Either
the connection has broken, or a file that the library needs is gone here: then the worker stays, and
would get one call after another. */
void vf_watch_unsent(struct vf_watch *watch, struct vine_task *task)
{
	if (!vine_task_get_library_provided(task))
		return;
	struct vf_bundle *bundle = vf_inflight_find(watch->inflight, watch->offered_id);
	if (!bundle)
		return;
	bundle->without_library = 1;
	vf_inflight_give_up(watch->inflight, bundle);
	if (bundle->worker)
		vf_worker_refuse(bundle->worker, vf_now_ns());
}

void vf_watch_library_ended(struct vf_watch *watch, const char *address, int by_itself)
{
	uint64_t now_ns = vf_now_ns();
	if (by_itself)
		vf_library_fail(watch->library, now_ns);
	for (uint32_t i = 0; i < watch->workers->n; i++) {
		struct vf_bundle *bundle;
		LIST_FOREACH(bundle, &watch->workers->items[i]->bundles, there) {
			const char *at = vine_task_get_addrport(bundle->task);
			if (!vf_bundle_runs(bundle) || !at)
				continue;
			if (strcmp(at, address))
				break; /* it is another worker */
			if (!bundle->orphaned_ns)
				LIST_INSERT_HEAD(&watch->orphans, bundle, orphan);
			bundle->orphaned_ns = now_ns;
			snprintf(bundle->orphaned_at, sizeof bundle->orphaned_at, "%s", address);
		}
	}
}

/* TaskVine 7.14.5 waits for ever for the function calls of a library that ended; later versions
hand them out again, for which there is time here. */
static void look_for_orphans(struct vf_watch *watch, uint64_t now_ns)
{
	struct vf_bundle *next;
	for (struct vf_bundle *bundle = LIST_FIRST(&watch->orphans); bundle; bundle = next) {
		next = LIST_NEXT(bundle, orphan);
		if (bundle->given_up)
			continue;
		if (!vf_bundle_runs(bundle) ||
				strcmp(vine_task_get_addrport(bundle->task), bundle->orphaned_at)) {
			end_orphaned(bundle);
		} else if (now_ns - bundle->orphaned_ns > ORPHAN_GRACE_MS * 1000000ull) {
			lose(watch, bundle);
			bundle->has_run = 0; /* its worker may leave before it is cancelled */
			vf_inflight_give_up(watch->inflight, bundle);
		}
	}
}

static void note_sent(struct vf_bundle *bundle, void *arg)
{
	uint64_t *oldest_ns = arg;
	/* 0 for one without calls, which is soon back. */
	if (bundle->sent_ns < *oldest_ns)
		*oldest_ns = bundle->sent_ns;
}

static void let_libraries_go(struct vf_watch *watch)
{
	uint64_t oldest_ns = UINT64_MAX;
	if (!watch->library->ended)
		return;
	vf_inflight_each(watch->inflight, note_sent, &oldest_ns);
	vf_library_let_go(watch->library, oldest_ns);
}

/* A worker has a time-out of its own, but one with a library never takes itself for idle. */
void vf_watch_release_idle(struct vf_watch *watch)
{
	const struct vf_config *config = watch->config;
	uint64_t now_ns = vf_now_ns();
	if (!config->idle_timeout_ns ||
			now_ns - watch->released_ns < RELEASE_INTERVAL_MS * 1000000ull)
		return;
	watch->released_ns = now_ns;
	uint64_t n_workers = VF_GET(watch->counters, workers_connected);
	uint32_t i = 0;
	while (i < watch->workers->n && n_workers > config->min_workers) {
		const struct vf_worker *worker = watch->workers->items[i];
		if (worker->running || !worker->heard_ns ||
				now_ns - worker->heard_ns < config->idle_timeout_ns) {
			i++;
			continue;
		}
		/* Another one takes its place in the table. */
		vine_manager_shut_down_worker(watch->config->manager, worker->id);
		n_workers--;
	}
}

/* TaskVine's own vine_workers_shutdown takes a worker with a library for busy, and leaves it to
look for this manager for a quarter of an hour. */
void vf_watch_release_all(struct vf_watch *watch)
{
	/* Whoever is to be waited for may hear nothing for seconds. */
	if (!watch->config->ends_workers)
		vf_tls_end_soon();
	for (uint32_t i = 0; i < watch->workers->n; i++)
		vine_manager_shut_down_worker(watch->config->manager, watch->workers->items[i]->id);
}

/* The tasks that the waiting calls will make, going by those that were made so far. vine_factory
asks how many workers are needed, and TaskVine itself knows only of what has a slot. */
static int count_tasks_left(const struct vf_watch *watch)
{
	uint64_t calls = VF_GET(watch->counters, calls_sent);
	uint64_t bundles = VF_GET(watch->counters, bundles_sent);
	double tasks = calls > bundles ?
			ceil((double)watch->waiting->n * (double)bundles / (double)calls) :
			(double)watch->waiting->n;
	return tasks < INT_MAX ? (int)tasks : INT_MAX;
}

int vf_watch_workers(struct vf_watch *watch, int connections)
{
	look_at_offered(watch);
	vine_set_tasks_left_count(watch->config->manager, count_tasks_left(watch));
	uint64_t now = vf_now_ns();
	/* A worker tells its cores some time after it has connected: until then there is nothing to
	do but to wait for that. */
	int new_to_us = watch->workers->n &&
			(watch->config->placing ? !watch->workers->typical_slots :
						  watch->workers->largest.cores <= 0);
	if (connections == watch->connections && !new_to_us &&
			now - watch->stats_ns < STATS_INTERVAL_MS * 1000000ull)
		return 0;
	struct vine_stats stats;
	vine_get_stats(watch->config->manager, &stats);
	watch->connections = connections;
	watch->stats_ns = now;
	look_for_orphans(watch, now);
	give_library_up(watch);
	let_libraries_go(watch);

	uint32_t slots = count_slots(watch, &stats);
	if (!watch->config->placing && stats.workers_connected > 0)
		watch->workers->typical_slots = slots / (uint32_t)stats.workers_connected;
	VF_SET(watch->counters, workers_connected, (unsigned)stats.workers_connected);
	VF_SET(watch->counters, workers_joined, (unsigned)stats.workers_joined);
	VF_SET(watch->counters, slots, slots);
	/* A library has a little less than its worker: of the disk, part is for files that are
	kept. */
	struct vf_resources most = {0};
	if (!watch->config->placing || !vf_workers_most(watch->workers, &most))
		most = (struct vf_resources){(double)stats.max_cores, (double)stats.max_memory,
				(double)stats.max_disk, (double)stats.max_gpus};
	watch->workers->largest = most;
	if (watch->config->placing || watch->config->command)
		VF_SET(watch->counters, calls_too_large, look_for_too_large(watch, now));
	VF_SET(watch->counters, manager_bytes_sent, (uint64_t)stats.bytes_sent);
	VF_SET(watch->counters, manager_bytes_received, (uint64_t)stats.bytes_received);
	VF_SET(watch->counters, max_cores, (uint64_t)stats.max_cores);
	VF_SET(watch->counters, max_memory, (uint64_t)stats.max_memory);
	VF_SET(watch->counters, max_disk, (uint64_t)stats.max_disk);
	VF_SET(watch->counters, max_gpus, (uint64_t)stats.max_gpus);
	VF_SET(watch->counters, usable_cores, (uint64_t)most.cores);
	VF_SET(watch->counters, usable_memory, (uint64_t)most.memory);
	VF_SET(watch->counters, usable_disk, (uint64_t)most.disk);
	VF_SET(watch->counters, usable_gpus, (uint64_t)most.gpus);
	return 1;
}
