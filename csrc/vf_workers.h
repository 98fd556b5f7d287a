/* The connected workers, and which of them takes the next bundle.

TaskVine would give a worker as many bundles as its library has slots, and each next one when the result of another is in: in
between the slot waits for a millisecond or two. So TaskVine is told of more function slots than there are, and this table decides:
every slot gets a bundle of its own, and while all that a worker has is expected to end soon, one more per slot, which waits in the
library. The library hands back what waited there too long (vinefast/library/supervisor.py). */

#ifndef VF_WORKERS_H
#define VF_WORKERS_H

#include <stdint.h>

struct vine_worker_info;

/* A bundle that will take longer is a long one: nothing is to wait behind it. The library hands back after the same time. */
#define VF_LONG_NS 100e6

struct vf_worker {
	struct vine_worker_info *id;
	int fd;          /* of its connection */
	uint32_t slots;   /* 0: not known yet */
	uint32_t running; /* bundles it has */
	uint32_t n_long;  /* of these, long ones */
	uint8_t warm;      /* has had its first bundle */
	uint64_t heard_ns; /* when it last ended a bundle, or began with one after doing nothing */
};

struct vf_workers {
	struct vf_worker **items;
	uint32_t n, capacity;
	uint32_t typical_slots; /* of a worker whose slots are not known; 0: it gets nothing */
	uint32_t turn;          /* where the next search begins, so that equals take turns */
};

/* Whether a worker can take a certain bundle, apart from its slots. */
typedef int vf_workers_accept(void *arg, const struct vf_worker *worker);

/* Returns 0, or -1 when memory is short. */
int vf_workers_add(struct vf_workers *workers, struct vine_worker_info *id, int fd);

/* Returns the worker, or NULL when it is not there; a removed one is to be freed by the caller. */
struct vf_worker *vf_workers_find(const struct vf_workers *workers, const struct vine_worker_info *id);
struct vf_worker *vf_workers_remove(struct vf_workers *workers, const struct vine_worker_info *id);

void vf_workers_free(struct vf_workers *workers);

/* All slots of all workers. */
uint32_t vf_workers_slots(const struct vf_workers *workers);

/* The worker that takes the next bundle: the one with the most idle part of its slots; if none is idle, the one with the fewest bundles
waiting per slot. NULL when no worker may have another. `accept` may be NULL. */
struct vf_worker *vf_workers_choose(struct vf_workers *workers, uint64_t now_ns, vf_workers_accept *accept, void *arg);

/* A bundle goes to a worker, and has ended there. `expected_ns` is negative while nothing is known about it, and the same both times. */
void vf_worker_begin(struct vf_worker *worker, double expected_ns, uint64_t now_ns);
void vf_worker_end(struct vf_worker *worker, double expected_ns);

#endif
