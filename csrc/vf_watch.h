/* The workers, and what is lost with them. */

#ifndef VF_WATCH_H
#define VF_WATCH_H

#include <stdint.h>

#include "vf_bundle.h"

struct vf_config;
struct vf_counters;
struct vf_inflight;
struct vf_library;
struct vf_place;
struct vf_waiting;
struct vf_workers;
struct vine_task;

struct vf_watch {
	const struct vf_config *config;
	struct vf_counters *counters;
	struct vf_waiting *waiting;
	struct vf_workers *workers;
	const struct vf_place *place;
	struct vf_library *library;
	struct vf_inflight *inflight;
	struct vf_bundles orphans; /* those whose library has ended */
	int connections;      /* when we last looked; -1: never */
	uint64_t stats_ns;
	uint64_t released_ns; /* when we last looked for workers to let go */
	/* Of the task that TaskVine last sought a worker for; 0: it has been looked at. */
	uint64_t offered_id;
};

/* Count workers and slots, and look for bundles that nobody will finish. Does nothing if it was
done a moment ago and the number of connections is the same; tells whether it did something. */
int vf_watch_workers(struct vf_watch *watch, int connections);

/* A task is about to get a worker. Tells whether it may have one now. */
int vf_watch_may_run(struct vf_watch *watch, struct vine_task *task);

/* A task that is no bundle could not be sent. No vine_* call that changes anything is made. */
void vf_watch_unsent(struct vf_watch *watch, struct vine_task *task);

/* The library of a worker has ended. */
void vf_watch_library_ended(struct vf_watch *watch, const char *address, int by_itself);

/* Let workers go that have been idle for long, if that is wanted. Outside vine_wait(): it may end
connections. */
void vf_watch_release_idle(struct vf_watch *watch);

/* Tell all workers to end. Nobody is told of their leaving: call it when the loop has ended. */
void vf_watch_release_all(struct vf_watch *watch);

#endif
