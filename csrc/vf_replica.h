/* Which worker holds a replica of which file: keeps the locality table in step with TaskVine's own.

TaskVine records a replica when it sends a file, asks a worker to fetch one, or hears that a call has made one (vf_border.h, `replica`). A
bundle that has been given to TaskVine for a worker makes replicas of its inputs there in the table at once: TaskVine sends it a
little later, and meanwhile other calls with the same inputs are to follow it. */

#ifndef VF_REPLICA_H
#define VF_REPLICA_H

#include <stdint.h>

struct vf_bundle;
struct vf_loop;
struct vf_temp;
struct vine_file;
struct vine_worker_info;

/* A file that TaskVine knows. */
struct vf_datum {
	struct vine_file *file;
	struct vf_temp *temp; /* that it is; NULL: an input */
	uint32_t index;       /* in the locality table */
	uint32_t n_users;     /* inputs that are this file: TaskVine declares the same content once */
};

/* Returns NULL when memory is short. */
struct vf_datum *vf_replica_know(struct vf_loop *loop, struct vine_file *file, struct vf_temp *temp);

/* Workers may have it from the time of another manager. */
void vf_replica_find(struct vf_loop *loop, const struct vf_datum *datum, const char *cached_name);

/* Before the file is undeclared. */
void vf_replica_forget(struct vf_loop *loop, struct vf_datum *datum);

/* Take the size that TaskVine knows by now: that of a temporary file or URL is only known where it is. */
void vf_replica_measure(struct vf_loop *loop, const struct vf_datum *datum);

/* The inputs of a bundle will be at its worker. (If it goes elsewhere after all, a choice or two is worse than it could be.) */
void vf_replica_expect(struct vf_loop *loop, const struct vf_bundle *bundle);

/* A poller's `replica`. */
void vf_replica_changed(void *loop, const struct vine_worker_info *worker, const char *cached_name, int there);

/* What moving a byte costs, from how long transfers between workers take. */
struct vf_rate {
	double nbytes, ns; /* of the last transfers: each makes those before it count less */
};

/* A poller's `cached`. */
void vf_replica_cached(void *loop, const struct vine_worker_info *worker, const char *cached_name, uint64_t nbytes, uint64_t took_us);

#endif
