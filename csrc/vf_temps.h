/* Temporary files: made, waited for, lost, and made again.

For TaskVine they are temp files. It would make a lost one again by running the task once more that
made it, with all the calls of that bundle; so it is told of a task's temp files only when it has
the task, and makes no copy of it, and recovery happens here: the one call that made the file runs
again (`again` of struct vf_call), and so do those that made its inputs, if these are gone too. */

#ifndef VF_TEMPS_H
#define VF_TEMPS_H

#include <stdint.h>

#include "vf_bundle.h"
#include "vf_file.h"

struct vf_config;
struct vf_counters;
struct vf_done;
struct vf_eventlog;
struct vf_inflight;
struct vf_leftovers;
struct vf_replicas;
struct vf_waiting;
struct vine_task;

struct vf_temps {
	const struct vf_config *config;
	struct vf_counters *counters;
	struct vf_replicas *replicas;
	struct vf_waiting *waiting;
	struct vf_inflight *inflight;
	struct vf_done *done;
	struct vf_eventlog *log;
	struct vf_bundles readers;
	struct vf_temp *lost;
	struct vf_leftovers *leftovers;
	int outdated; /* some bundle reads what is made again as another file */
	uint64_t n_paths;
};

/* A call has come. */
void vf_temps_begin(struct vf_temps *temps, struct vf_call *call);

/* Before a call is packed. One that is to wait is taken over. */
enum vf_temps_verdict {
	VF_TEMPS_GO,     /* all that it reads is there */
	VF_TEMPS_WAIT,   /* for a file that is being made */
	VF_TEMPS_FAILED, /* `file` will never be there */
};
enum vf_temps_verdict vf_temps_park(struct vf_call *call, const struct vf_file **file);

/* Give the temporary files of all calls of a bundle to its task, which TaskVine has already.
Returns 0, or -1 when that is impossible. */
int vf_temps_mount(struct vf_temps *temps, struct vf_bundle *bundle, struct vine_task *task);

/* Whether the calls of a bundle read any; whether all of these are there; whether one never will
be. */
int vf_temps_any(const struct vf_bundle *bundle);
int vf_temps_there(const struct vf_bundle *bundle);
int vf_temps_failed(const struct vf_bundle *bundle);

/* Whether one was made again since, as another file of TaskVine's. */
int vf_temps_outdated(const struct vf_bundle *bundle);

/* A call has come back for good; one that has failed has made nothing that others may read. */
void vf_temps_end(struct vf_temps *temps, struct vf_call *call, int failed);

/* A worker has it no longer. Within one of TaskVine's iterations. */
void vf_temps_drop(struct vf_temps *temps, struct vf_temp *temp, const struct vf_worker *worker);

/* A call has written to it on its worker. Other copies may be of that one. */
void vf_temps_spoiled(struct vf_temps *temps, struct vf_temp *temp);

/* Each turn: take what the submitting side lets go (a list of struct vf_temp), and have made again
what is lost and needed. */
void vf_temps_settle(struct vf_temps *temps, struct vf_link *let_go);

#endif
