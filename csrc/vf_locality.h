/* Which worker is to run a call: a table of replicas (a replica is a copy of a file that a worker
holds), and the choice of the worker that costs least, without touching the engine.

    cost(call, worker) = bytes to move / bandwidth + queue_weight * queued_ns(worker)

A call's bytes to move to a worker are those of its input files that have no replica there; a file
that a call lists twice counts once. Only workers with a replica of some input have fewer bytes to
move than all, and of the others the one with the smallest queue costs least, so a choice looks at
the former and at the top of a heap, and finds the minimum over all workers, not an estimate.

The table hands out the indices of files and workers, dense from 0, and those of what has gone
again. No function here locks. */

#ifndef VF_LOCALITY_H
#define VF_LOCALITY_H

#include <stdint.h>

#define VF_LOCALITY_NONE UINT32_MAX        /* no worker, no file */
#define VF_LOCALITY_UNLIMITED UINT32_MAX   /* a capacity that calls do not use up */
#define VF_LOCALITY_MAX_NBYTES INT64_MAX   /* of a file, and of all inputs of a call */
#define VF_LOCALITY_MAX_QUEUE_NS INT64_MAX /* queues and what is charged to them stay there */

/* What the files that a call makes move are to the calls after it. */
enum vf_locality_moved {
	VF_LOCALITY_MOVED_IGNORE, /* nothing */
	VF_LOCALITY_MOVED_BATCH,  /* replicas, until the batch has been assigned */
	VF_LOCALITY_MOVED_KEEP,   /* replicas from then on */
};

struct vf_locality_rule {
	double bandwidth_bytes_per_ns; /* above 0; infinite: bytes cost nothing */
	/* Finite, at least 0: a nanosecond of queue against one of transfer. */
	double queue_weight;
	enum vf_locality_moved moved;
};

/* The two ends of a replica know each other's place, so that it goes without a search. */
struct vf_locality_end {
	uint32_t other; /* the worker in a file's list, the file in a worker's */
	uint32_t twin;  /* the place in the other's list */
};

struct vf_locality_list {
	struct vf_locality_end *ends;
	uint32_t n, room;
};

struct vf_locality_file {
	int64_t nbytes; /* negative: not in the table */
	uint64_t seen;  /* the last call that listed it */
	struct vf_locality_list replicas;
};

/* 64 bytes. */
struct vf_locality_worker {
	double weighted;   /* queue_weight * queued_ns */
	/* The lower, the longer since it was chosen: breaks ties; 0: not in the table. */
	uint64_t ticket;
	uint64_t seen;     /* the last call that has an input here */
	int64_t present;   /* bytes of that call's inputs here */
	int64_t queued_ns;
	struct vf_locality_list replicas;
	uint32_t capacity; /* how many more calls it may get */
	uint32_t place;    /* in the heap; NONE: full */
};

struct vf_locality {
	struct vf_locality_rule rule;
	uint64_t random;
	uint64_t n_chosen, n_scored;

	struct vf_locality_file *files;
	uint32_t n_files, files_room; /* n_files: all indices are below it */
	uint32_t *free_files;
	uint32_t n_free_files;

	struct vf_locality_worker *workers;
	uint32_t n_workers, workers_room; /* n_workers: all indices are below it */
	uint32_t *free_workers;
	uint32_t n_free_workers;

	uint32_t *heap; /* workers that are not full, by weighted queue, then ticket */
	uint32_t n_heap;
	uint32_t *candidates; /* of one call */
	uint32_t *moved;      /* files whose last replica goes with the batch */
	uint64_t n_moved, moved_room;
};

/* Returns 0, or -1 when the rule is none. The same seed gives the same choices. */
int vf_locality_init(
		struct vf_locality *locality, const struct vf_locality_rule *rule, uint64_t seed);
void vf_locality_free(struct vf_locality *locality);

/* Any index. */
int vf_locality_has_file(const struct vf_locality *locality, uint32_t file);
int vf_locality_has_worker(const struct vf_locality *locality, uint32_t worker);

/* From here on files and workers must be in the table. */

/* Returns the index, or VF_LOCALITY_NONE when memory is short. `nbytes` is at most
VF_LOCALITY_MAX_NBYTES. */
uint32_t vf_locality_add_file(struct vf_locality *locality, uint64_t nbytes);
uint32_t vf_locality_add_worker(struct vf_locality *locality, uint32_t capacity);

void vf_locality_resize_file(struct vf_locality *locality, uint32_t file, uint64_t nbytes);

/* Its replicas go with it. */
void vf_locality_forget_file(struct vf_locality *locality, uint32_t file);
void vf_locality_remove_worker(struct vf_locality *locality, uint32_t worker);

/* To add what is there and to remove what is not changes nothing. Returns 0, or -1 when memory is
short. */
int vf_locality_add_replica(struct vf_locality *locality, uint32_t file, uint32_t worker);
void vf_locality_remove_replica(struct vf_locality *locality, uint32_t file, uint32_t worker);
int vf_locality_has_replica(const struct vf_locality *locality, uint32_t file, uint32_t worker);

/* How many more calls the worker may get; 0: it is full. */
void vf_locality_set_capacity(struct vf_locality *locality, uint32_t worker, uint32_t capacity);

/* The expected run time of what the worker has been given already. */
void vf_locality_set_queue(struct vf_locality *locality, uint32_t worker, uint64_t queued_ns);

/* A call is done: its place is free again, and what it was charged leaves the queue. */
void vf_locality_finish(struct vf_locality *locality, uint32_t worker, uint64_t charged_ns);

enum vf_locality_fault {
	VF_LOCALITY_FINE,
	/* Offsets[*at] is not 0 for the first, is below the one before, or above n_inputs. */
	VF_LOCALITY_BAD_OFFSET,
	VF_LOCALITY_BAD_FILE,   /* files[*at] is not in the table */
	/* The inputs of call *at have more than VF_LOCALITY_MAX_NBYTES together. */
	VF_LOCALITY_BAD_NBYTES,
};

/* Whether vf_locality_assign() may be given this batch: `n_calls + 1` offsets, and call i's inputs
are files[offsets[i]] up to, not including, files[offsets[i + 1]]. */
enum vf_locality_fault vf_locality_check(struct vf_locality *locality, uint64_t n_calls,
		const uint64_t *offsets, const uint32_t *files, uint64_t n_inputs, uint64_t *at);

/* Choose the worker that costs least for each call of a batch that vf_locality_check() finds fine,
in order: VF_LOCALITY_NONE when all are full or there is none. Before the next call is looked at,
the worker's queue grows by `charged_ns[i]`, which is the call's duration and its transfer time, and
its capacity falls by one. `charged_ns` may be NULL.

Of workers that cost the same, the one not chosen for the longest time is taken, and at first a
random one; where a cost is too large for a double to tell queues apart, a shorter queue goes before
that.

Returns 0, or -1 when memory is short: then some moved files are not known as replicas, and all else
is done. */
int vf_locality_assign(struct vf_locality *locality, uint64_t n_calls, const uint64_t *offsets,
		const uint32_t *files, const uint64_t *durations_ns, uint32_t *workers,
		uint64_t *charged_ns);

#endif
