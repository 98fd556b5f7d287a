/* What TaskVine tells of the files on workers: who gets or loses a replica, and how long that took.
All of it within one of its iterations. */

#ifndef VF_EVENTS_H
#define VF_EVENTS_H

#include <stdint.h>

struct vf_config;
struct vf_counters;
struct vf_eventlog;
struct vf_replicas;
struct vf_temps;
struct vf_workers;
struct vine_worker_info;

/* What moving a byte costs, from how long transfers between workers take. */
struct vf_events_rate {
	double nbytes, ns; /* of the last transfers: each makes those before it count less */
};

struct vf_events {
	const struct vf_config *config;
	struct vf_counters *counters;
	struct vf_workers *workers;
	struct vf_replicas *replicas;
	struct vf_temps *temps;
	struct vf_eventlog *log;
	struct vf_events_rate rate;
	/* The file of which TaskVine last told that it moves, during one task. */
	const void *last_moved;
};

/* Before and after a task is sent to a worker. */
void vf_events_sending(struct vf_events *events, const struct vine_worker_info *worker, int begin);

/* A worker gets a replica of a file, or loses it. */
void vf_events_replica(struct vf_events *events, const struct vine_worker_info *worker,
		const char *cached_name, int there);

/* Whether a file that a worker has can be so long. */
int vf_events_fits(const struct vf_events *events, const char *cached_name, int64_t nbytes);

/* A worker has got or made a file. */
void vf_events_cached(struct vf_events *events, const struct vine_worker_info *worker,
		const char *cached_name, uint64_t nbytes, uint64_t took_us);

#endif
