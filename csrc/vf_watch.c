#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "itable.h"
#include "taskvine_private.h"
#include "vf_turn.h"

enum {
	STATS_INTERVAL_MS = 100,
	ORPHAN_GRACE_MS = 500,
	RELEASE_INTERVAL_MS = 1000,
};

/* How many bundles can run at once on the workers that are connected. */
static uint32_t count_slots(struct vf_loop *loop, const struct vine_stats *stats)
{
	const struct vf_loop_config *config = &loop->config;
	if (config->placing) {
		uint32_t cores = stats->workers_connected > 0 ? (uint32_t)(stats->total_cores / stats->workers_connected) : 0;
		loop->workers.typical_slots = cores && config->slots_per_worker > 0 ? (uint32_t)config->slots_per_worker : cores;
		return vf_workers_slots(&loop->workers);
	}
	if (config->command || config->slots_per_worker <= 0)
		return (uint32_t)stats->total_cores;
	double libraries = stats->workers_connected;
	if (config->cores_per_library > 0)
		libraries = (double)(int64_t)((double)stats->total_cores / config->cores_per_library);
	return (uint32_t)(libraries * config->slots_per_worker);
}

int vf_watch_fits(const struct vf_loop *loop, const struct vf_resources *needs)
{
	const struct vf_resources *most = &loop->largest;
	if (loop->config.placing)
		return vf_workers_fit(&loop->workers, needs);
	return needs->cores <= most->cores && needs->memory <= most->memory && needs->disk <= most->disk && needs->gpus <= most->gpus;
}

/* Calls that wait for a worker larger than any that is there. One of which little is known yet may be large enough. */
static uint64_t look_for_too_large(struct vf_loop *loop, uint64_t now_ns)
{
	uint64_t n = 0;
	int is_known = loop->config.placing ? loop->workers.n && vf_workers_slots(&loop->workers) : loop->largest.cores > 0;
	int all_known = is_known && (!loop->config.placing || vf_workers_known(&loop->workers));
	for (struct vf_group *group = loop->queue.any; group; group = group->next) {
		int fits = !is_known || vf_watch_fits(loop, &vf_group_first(group)->needs);
		n += fits ? 0 : group->n;
		if (fits)
			atomic_store_explicit(&group->too_large_ns, 0, memory_order_relaxed);
		else if (all_known && !vf_group_too_large_ns(group))
			atomic_store_explicit(&group->too_large_ns, now_ns, memory_order_relaxed);
	}
	return n;
}

/* Count a loss, and tell whether the bundle is to be given up: some call in it may be what takes workers down. The count is the
call's, since a call that is handed back goes on in another bundle. */
static int lose(struct vf_loop *loop, struct vf_bundle *bundle)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < bundle->n_calls; i++) {
		struct vf_call *call = bundle->calls[i];
		if (call->losses < UINT8_MAX)
			call->losses++;
		if (call->losses > most)
			most = call->losses;
	}
	return bundle->n_calls == 1 ? most > loop->config.max_losses : most >= VF_SUSPECT_LOSSES;
}

static int is_in_state(const struct vf_bundle *bundle, const char *state)
{
	return !strcmp(vine_task_get_state(bundle->task), state);
}

int vf_watch_runs(const struct vf_bundle *bundle)
{
	return is_in_state(bundle, "RUNNING");
}

/* Whether the last task that was offered to a worker is really there: TaskVine may have changed its
mind, and takes no other step with it before it offers another, or the next turn. */
static void look_at_offered(struct vf_loop *loop)
{
	struct vf_bundle *bundle = loop->offered_id ? itable_lookup(loop->bundles, loop->offered_id) : NULL;
	if (bundle && vf_watch_runs(bundle))
		bundle->has_run = 1;
	loop->offered_id = 0;
}

/* TaskVine gives a library up for good after so many failures, whatever succeeded in between, and 7.14.5
leaves the calls that need it waiting. It counts anew from when a library is installed. */
static void keep_library(struct vf_loop *loop)
{
	struct vine_task *library = loop->library_failed && loop->config.library ?
			vine_manager_find_library_template(loop->manager, loop->config.library) :
			NULL;
	loop->library_failed = 0;
	if (library)
		vine_manager_install_library(loop->manager, library, loop->config.library);
}

int vf_watch_is_hopeless(const struct vf_loop *loop)
{
	return loop->library_failures > loop->config.max_library_failures;
}

const char *vf_watch_why_hopeless(void)
{
	return "Libraries have ended by themselves more often in a row than max-library-retries allows, and no call "
	       "came back in between. The tune parameter watch-library-logfiles brings what they have written.";
}

/* What has been sent fails; what waits does so when it would be sent, and what comes later is tried. */
static void give_library_up(struct vf_loop *loop)
{
	uint64_t id;
	void *item;
	if (!vf_watch_is_hopeless(loop))
		return;
	if (!loop->n_waiting && !loop->running) {
		loop->library_failures = 0;
		return;
	}
	itable_firstkey(loop->bundles);
	while (itable_nextkey(loop->bundles, &id, &item)) {
		struct vf_bundle *bundle = item;
		if (bundle->n_calls && !bundle->given_up)
			vf_watch_abandon(loop, bundle);
	}
}

static void end_orphaned(struct vf_bundle *bundle)
{
	if (bundle->orphaned_ns)
		LIST_REMOVE(bundle, orphan);
	bundle->orphaned_ns = 0;
}

/* TaskVine gives the task of a lost worker to the next one, for ever. This is where it does so. */
int vf_watch_may_run(void *arg, struct vine_task *task)
{
	struct vf_loop *loop = arg;
	keep_library(loop); /* here, since TaskVine looks at its count when it sends one */
	look_at_offered(loop); /* from 7.16 on several are offered within a turn */
	loop->offered_id = (uint64_t)vine_task_get_id(task);
	struct vf_bundle *bundle = itable_lookup(loop->bundles, loop->offered_id);
	if (!bundle)
		return 1;
	if (!bundle->given_up)
		end_orphaned(bundle); /* the same worker may have it again before anybody has looked */
	if (!bundle->given_up && vf_unfetched_any(bundle)) {
		vf_watch_abandon(loop, bundle);
	} else if (bundle->has_run && !bundle->given_up) {
		bundle->has_run = 0;
		/* A worker that is still there could not fetch a temporary file, which is no fault of the call. */
		bundle->unreached = bundle->worker && vf_temps_any(bundle);
		if (bundle->unreached || lose(loop, bundle))
			vf_watch_abandon(loop, bundle);
	}
	loop->giving_up |= bundle->given_up; /* or again: it could not be cancelled when that was wanted */
	return !bundle->given_up && vf_temps_there(bundle) && !vf_temps_outdated(bundle);
}

int vf_watch_is_suspect(const struct vf_bundle *bundle)
{
	return bundle->n_calls == 1 && bundle->calls[0]->losses >= VF_SUSPECT_LOSSES;
}

void vf_watch_library_ended(void *arg, const char *address, int by_itself)
{
	struct vf_loop *loop = arg;
	uint64_t now_ns = vf_now_ns();
	if (by_itself) {
		/* Several at once are one failure: of a file system, say. */
		uint64_t last_ns = loop->library_failed_ns;
		loop->library_failures += !last_ns || now_ns - last_ns > loop->config.library_pause_ns;
		loop->library_failed_ns = now_ns;
		loop->library_failed = 1;
	}
	for (uint32_t i = 0; i < loop->workers.n; i++) {
		struct vf_bundle *bundle;
		LIST_FOREACH(bundle, &loop->workers.items[i]->bundles, there) {
			const char *at = vine_task_get_addrport(bundle->task);
			if (!vf_watch_runs(bundle) || !at)
				continue;
			if (strcmp(at, address))
				break; /* it is another worker */
			if (!bundle->orphaned_ns)
				LIST_INSERT_HEAD(&loop->orphans, bundle, orphan);
			bundle->orphaned_ns = now_ns;
			snprintf(bundle->orphaned_at, sizeof bundle->orphaned_at, "%s", address);
		}
	}
}

/* TaskVine 7.14.5 waits for ever for the function calls of a library that ended; later versions hand them out again, for which
there is time here. */
static void look_for_orphans(struct vf_loop *loop, uint64_t now_ns)
{
	struct vf_bundle *next;
	for (struct vf_bundle *bundle = LIST_FIRST(&loop->orphans); bundle; bundle = next) {
		next = LIST_NEXT(bundle, orphan);
		if (bundle->given_up)
			continue;
		if (!vf_watch_runs(bundle) || strcmp(vine_task_get_addrport(bundle->task), bundle->orphaned_at)) {
			end_orphaned(bundle);
		} else if (now_ns - bundle->orphaned_ns > ORPHAN_GRACE_MS * 1000000ull) {
			lose(loop, bundle);
			vf_watch_abandon(loop, bundle);
		}
	}
}

/* What has come back from its worker is left alone: TaskVine up to 7.15 would leave a task that it is
about to fetch in the table of its worker, after it has been deleted. It comes by itself, or is offered
once more. */
static int may_be_cancelled(const struct vf_bundle *bundle)
{
	return is_in_state(bundle, "READY") || vf_watch_runs(bundle);
}

void vf_watch_abandon(struct vf_loop *loop, struct vf_bundle *bundle)
{
	if (!bundle->given_up)
		LIST_INSERT_HEAD(&loop->given_up, bundle, giving_up);
	bundle->given_up = loop->giving_up = 1;
}

void vf_watch_end(struct vf_bundle *bundle)
{
	if (bundle->orphaned_ns)
		LIST_REMOVE(bundle, orphan);
	if (bundle->given_up)
		LIST_REMOVE(bundle, giving_up);
	if (bundle->reads)
		LIST_REMOVE(bundle, reader);
}

void vf_watch_give_up(struct vf_loop *loop)
{
	/* First: to cancel may end a connection, and what follows from that may give up more bundles, which
	come in front. */
	loop->giving_up = loop->breaking = 0;
	const struct vf_bundle *bundle;
	LIST_FOREACH(bundle, &loop->given_up, giving_up) {
		if (may_be_cancelled(bundle))
			vine_cancel_by_task_id(loop->manager, vine_task_get_id(bundle->task));
	}
}

/* A worker has a time-out of its own, but one with a library never takes itself for idle. */
void vf_watch_release_idle(struct vf_loop *loop)
{
	const struct vf_loop_config *config = &loop->config;
	uint64_t now_ns = vf_now_ns();
	if (!config->idle_timeout_ns || now_ns - loop->released_ns < RELEASE_INTERVAL_MS * 1000000ull)
		return;
	loop->released_ns = now_ns;
	uint64_t n_workers = atomic_load_explicit(&loop->counters.workers_connected, memory_order_relaxed);
	uint32_t i = 0;
	while (i < loop->workers.n && n_workers > config->min_workers) {
		const struct vf_worker *worker = loop->workers.items[i];
		if (worker->running || !worker->heard_ns || now_ns - worker->heard_ns < config->idle_timeout_ns) {
			i++;
			continue;
		}
		vine_manager_shut_down_worker(loop->manager, worker->id); /* and another takes its place in the table */
		n_workers--;
	}
}

/* TaskVine's own vine_workers_shutdown takes a worker with a library for busy, and leaves it to look for this manager for a quarter
of an hour. */
void vf_watch_release_all(struct vf_loop *loop)
{
	for (uint32_t i = 0; i < loop->workers.n; i++)
		vine_manager_shut_down_worker(loop->manager, loop->workers.items[i]->id);
}

/* The tasks that the waiting calls will make, going by those that were made so far. vine_factory asks how many workers are needed,
and TaskVine itself knows only of what has a slot. */
static int count_tasks_left(const struct vf_loop *loop)
{
	uint64_t calls = atomic_load_explicit(&loop->counters.calls_sent, memory_order_relaxed);
	uint64_t bundles = atomic_load_explicit(&loop->counters.bundles_sent, memory_order_relaxed);
	double tasks = calls > bundles ? ceil((double)loop->n_waiting * (double)bundles / (double)calls) : (double)loop->n_waiting;
	return tasks < INT_MAX ? (int)tasks : INT_MAX;
}

void vf_watch_workers(struct vf_loop *loop, int connections)
{
	look_at_offered(loop);
	vine_set_tasks_left_count(loop->manager, count_tasks_left(loop));
	uint64_t now = vf_now_ns();
	/* A worker tells its cores some time after it has connected: until then there is nothing to do but to wait for that. */
	int new_to_us = loop->workers.n && (loop->config.placing ? !loop->workers.typical_slots : loop->largest.cores <= 0);
	if (connections == loop->connections && !new_to_us && now - loop->stats_ns < STATS_INTERVAL_MS * 1000000ull)
		return;
	struct vine_stats stats;
	vine_get_stats(loop->manager, &stats);
	loop->connections = connections;
	loop->stats_ns = now;
	look_for_orphans(loop, now);
	give_library_up(loop);
	vf_buffer_trim(&loop->frame);
	vf_buffer_trim(&loop->command);

	uint32_t slots = count_slots(loop, &stats);
	if (!loop->config.placing && stats.workers_connected > 0)
		loop->workers.typical_slots = slots / (uint32_t)stats.workers_connected;
	VF_SET(loop, workers_connected, (unsigned)stats.workers_connected);
	VF_SET(loop, workers_joined, (unsigned)stats.workers_joined);
	VF_SET(loop, slots, slots);
	/* A library has a little less than its worker: of the disk, part is for files that are kept. */
	struct vf_resources most = {0};
	if (!loop->config.placing || !vf_workers_most(&loop->workers, &most))
		most = (struct vf_resources){(double)stats.max_cores, (double)stats.max_memory, (double)stats.max_disk, (double)stats.max_gpus};
	loop->largest = most;
	if (loop->config.placing || loop->config.command)
		VF_SET(loop, calls_too_large, look_for_too_large(loop, now));
	VF_SET(loop, manager_bytes_sent, (uint64_t)stats.bytes_sent);
	VF_SET(loop, manager_bytes_received, (uint64_t)stats.bytes_received);
	VF_SET(loop, max_cores, (uint64_t)stats.max_cores);
	VF_SET(loop, max_memory, (uint64_t)stats.max_memory);
	VF_SET(loop, max_disk, (uint64_t)stats.max_disk);
	VF_SET(loop, max_gpus, (uint64_t)stats.max_gpus);
	VF_SET(loop, usable_cores, (uint64_t)most.cores);
	VF_SET(loop, usable_memory, (uint64_t)most.memory);
	VF_SET(loop, usable_disk, (uint64_t)most.disk);
	VF_SET(loop, usable_gpus, (uint64_t)most.gpus);

	/* TaskVine starts a library only when a function call needs it: an empty bundle spares the first real call that wait. And its
	answer tells of the node. */
	if (!loop->config.command || loop->config.monitored)
		vf_place_warm_up(loop);
}
