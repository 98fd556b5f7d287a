/* Which of the waiting calls go to which worker, where they read files that lie on workers
(vf_locality.h).

Each time a worker has room, the waiting calls that go next are dealt out anew: each to the worker
where it costs least, given what the workers have to do already and what was dealt to them before. A
worker's bundles are then made of what was dealt to it. So calls that read the same travel together,
to where that lies, and a worker without work takes calls from elsewhere once the wait there would
take longer than to move their files. What no worker has room for stays where it was. */

#ifndef VF_SCORE_H
#define VF_SCORE_H

#include <stdint.h>

struct vf_call;
struct vf_group;
struct vf_locality;
struct vf_queue;
struct vf_worker;
struct vf_workers;

struct vf_score {
	struct vf_queue *queue;
	struct vf_workers *workers;
	struct vf_locality *locality;
	struct vf_call **calls; /* those that are dealt out */
	uint64_t *offsets, *durations_ns;
	uint32_t *files, *chosen;
	uint32_t n_calls;
	uint64_t files_room;
	struct vf_worker **by_index; /* workers by their index in the locality table */
	uint32_t by_index_room;
};

/* Deal the calls of a group that go next, which is taken, out to the workers (`dealt` of struct
vf_worker). Returns 0, or -1 when memory is short: then all of them wait as before. */
int vf_score_deal(struct vf_score *score, struct vf_group *group);

/* What was dealt and not taken waits again, where it was. */
void vf_score_gather(struct vf_score *score);

void vf_score_free(struct vf_score *score);

#endif
