/* Which worker gets a bundle: applies the decisions of vf_workers.h to what TaskVine has. */

#ifndef VF_PLACE_H
#define VF_PLACE_H

#include "vf_bundle.h"

struct vf_config;
struct vf_counters;
struct vf_done;
struct vf_eventlog;
struct vf_inflight;
struct vf_library;
struct vf_replicas;
struct vf_resources;
struct vf_spec;
struct vf_worker;
struct vf_workers;
struct vine_task;
struct vine_worker_info;

struct vf_place {
	const struct vf_config *config;
	struct vf_counters *counters;
	struct vf_workers *workers;
	struct vf_replicas *replicas;
	struct vf_library *library;
	struct vf_inflight *inflight;
	struct vf_done *done;
	struct vf_eventlog *log;
	struct vf_bundles unplaced; /* those with no worker chosen */
	/* Asks for nothing, is never submitted; NULL: not needed so far. */
	struct vine_task *plain;
};

/* When no bundle is under way any more. */
void vf_place_free(struct vf_place *place);

/* Whether some worker that is there is large enough. */
int vf_place_fits(const struct vf_place *place, const struct vf_resources *needs);

/* The worker for the next bundle of these calls, NULL for none yet, and whether one may be sent at
all. */
int vf_place_next(struct vf_place *place, const struct vf_spec *spec, struct vf_worker **worker);

/* A new bundle has no worker yet; it gets one, or with NULL has none any more; it has come back. */
void vf_place_begin(struct vf_place *place, struct vf_bundle *bundle);
void vf_place_bundle(struct vf_place *place, struct vf_bundle *bundle, struct vf_worker *worker);
void vf_place_end(struct vf_bundle *bundle);

/* The calls of the bundles that TaskVine keeps until a worker takes them. */
uint64_t vf_place_calls_unplaced(const struct vf_place *place);

/* Bundles without a worker get those that have room, before others do. */
void vf_place_unplaced(struct vf_place *place);

/* Tell of a worker that has joined or left, if its node is known. */
void vf_place_tell(struct vf_place *place, const struct vf_worker *worker, enum vf_node_news news);

/* A worker has connected; its connection has ended. */
void vf_place_joined(struct vf_place *place, struct vine_worker_info *worker, int fd);
void vf_place_left(struct vf_place *place, struct vine_worker_info *worker);

/* The worker that TaskVine is to send a task to now; NULL: none. */
struct vine_worker_info *vf_place_choose(struct vf_place *place, struct vine_task *task);

#endif
