/* From TaskVine's tasks to the done ring, or to the waiting lists again. */

#ifndef VF_RETURN_H
#define VF_RETURN_H

struct vf_config;
struct vf_counters;
struct vf_end;
struct vf_eventlog;
struct vf_files;
struct vf_histogram;
struct vf_inflight;
struct vf_library;
struct vf_place;
struct vf_waiting;
struct vine_task;

struct vf_return {
	const struct vf_config *config;
	struct vf_counters *counters;
	struct vf_histogram *histograms; /* by vf_stage */
	struct vf_waiting *waiting;
	struct vf_place *place;
	struct vf_files *files;
	struct vf_library *library;
	struct vf_inflight *inflight;
	struct vf_end *end;
	struct vf_eventlog *log;
};

/* Deal with a task that vine_wait() returned; deletes it. */
void vf_return_task(struct vf_return *returns, struct vine_task *task);

#endif
