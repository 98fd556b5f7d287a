/* Which worker holds a replica of which file: keeps the locality table in step with TaskVine's own.

TaskVine records a replica when it sends a file, asks a worker to fetch one, or hears that a call
has made one (vf_events.h). A bundle that has been given to TaskVine for a worker makes replicas of
its inputs there in the table at once: TaskVine sends it a little later, and meanwhile other calls
with the same inputs are to follow it. */

#ifndef VF_REPLICA_H
#define VF_REPLICA_H

#include <stdint.h>

#include "vf_file.h"
#include "vf_table.h"

struct vf_bundle;
struct vf_locality;
struct vf_workers;
struct vine_file;

struct vf_replicas {
	struct vf_locality *locality;
	struct vf_workers *workers;
	struct vf_table data; /* struct vf_datum by address of its vine_file */
};

void vf_replica_end(struct vf_replicas *replicas);

/* Of a file that is `temp`, or with NULL an input. Returns NULL when memory is short. */
struct vf_datum *vf_replica_know(
		struct vf_replicas *replicas, struct vine_file *file, struct vf_temp *temp);

/* Of a file that may be known; NULL: it is not. */
struct vf_datum *vf_replica_of(const struct vf_replicas *replicas, const struct vine_file *file);

/* Workers may have it from the time of another manager. */
void vf_replica_find(struct vf_replicas *replicas, const struct vf_datum *datum,
		const char *cached_name);

/* Before the file is undeclared. */
void vf_replica_forget(struct vf_replicas *replicas, struct vf_datum *datum);

/* Take the size that TaskVine knows by now: that of a temporary file or URL is only known where it
is. */
void vf_replica_measure(struct vf_replicas *replicas, const struct vf_datum *datum);

/* The inputs of a bundle will be at its worker. (If it goes elsewhere after all, a choice or two is
worse than it could be.) */
void vf_replica_expect(struct vf_replicas *replicas, const struct vf_bundle *bundle);

#endif
