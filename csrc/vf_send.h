/* From submitted calls to TaskVine's tasks. */

#ifndef VF_SEND_H
#define VF_SEND_H

#include <stdint.h>

#include "vf_frame.h"
#include "vf_ring.h"
#include "vf_sizing.h"

struct vf_config;
struct vf_counters;
struct vf_end;
struct vf_files;
struct vf_inflight;
struct vf_library;
struct vf_place;
struct vf_score;
struct vf_temps;
struct vf_waiting;
struct vf_workers;

struct vf_send {
	const struct vf_config *config;
	struct vf_counters *counters;
	struct vf_waiting *waiting;
	struct vf_workers *workers;
	struct vf_score *score;
	struct vf_place *place;
	struct vf_files *files;
	struct vf_temps *temps;
	const struct vf_library *library;
	struct vf_inflight *inflight;
	struct vf_end *end;
	uint64_t n_taken; /* calls, ever */
	uint64_t stamp; /* of the last bundle */
	struct vf_buffer frame, command;
	struct vf_call *chosen[VF_SIZING_MAX_CALLS];
};

void vf_send_free(struct vf_send *send);

/* Sort what was submitted, a list of struct vf_call, into the waiting lists. */
void vf_send_take(struct vf_send *send, struct vf_link *submitted);

/* How many calls wait, and how many bundles TaskVine has: for the counters. */
void vf_send_count(struct vf_send *send);

/* Send bundles as long as calls wait and slots are free. Tells whether no slot is left for any
call. */
int vf_send_waiting(struct vf_send *send);

/* Send an empty bundle to each worker that has not had any, which only makes TaskVine start a
library; and its answer tells of the node. */
void vf_send_warm_up(struct vf_send *send);

/* Give memory back that large frames needed. */
void vf_send_trim(struct vf_send *send);

#endif
