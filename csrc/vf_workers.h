/* The connected workers, and which of them takes the next bundle.

TaskVine would give a worker as many bundles as its library has slots, and each next one when the
result of another is in: in between the slot waits for a millisecond or two. So TaskVine is told of
more function slots than there are, and this table decides: every slot gets a bundle of its own, and
while all that a worker has is expected to end soon, one more per slot, which waits in the library.
The library hands back what waited there too long (vinefast/library/supervisor.py).

A bundle whose calls ask for resources takes several slots: the part of the worker's slots that the
largest of its parts of the worker's cores, memory, disk and GPUs makes. None waits behind such a
bundle, since there the library has more processes than are to run. */

#ifndef VF_WORKERS_H
#define VF_WORKERS_H

#include <stdint.h>

#include "vf_bundle.h"
#include "vf_call.h"

struct vine_worker_info;

/* A bundle that will take longer is a long one: nothing is to wait behind it. The library hands
back after the same time. */
#define VF_LONG_NS 100e6

/* A worker that TaskVine refuses (it has not said what it is, drains, is blocked, has failed a
moment ago) gets nothing new for this time, and for twice as long whenever it is refused again, up
to a limit. */
#define VF_PAUSE_NS 100e6
#define VF_LONGEST_PAUSE_NS 2e9

/* Whether it has had its first bundle, which is empty. One that lost it with its library gets
another one when calls wait: those that ask for resources go to no worker of which nothing is
known. */
enum vf_worker_warmth {
	VF_WORKER_COLD = 0,
	VF_WORKER_WARM,
	VF_WORKER_LOST_FIRST,
};

struct vf_worker {
	struct vine_worker_info *id;
	int fd;          /* of its connection */
	uint32_t slots;   /* 0: neither they nor what it `has` are known yet */
	struct vf_resources has;
	uint32_t running; /* slots of the bundles it has, waiting ones included */
	uint32_t n_long;  /* of these, those of long ones */
	uint32_t n_wide;  /* bundles that take more than one */
	double expected_ns; /* run time of the bundles it has, as far as it is known */
	uint32_t index;    /* in the locality table */
	uint32_t number;   /* in the event log */
	uint8_t sending;   /* TaskVine sends it a task, with the files */
	struct vf_bundles bundles;
	struct vf_call_list dealt; /* what is to go there next (vf_score.h) */
	uint8_t is_cut;    /* its connection ends, which TaskVine has not seen yet */
	uint8_t warm;      /* vf_worker_warmth */
	char *node;        /* what that told of the worker's node; NULL: nothing yet */
	uint64_t heard_ns; /* when it last ended a bundle, or began with one after doing nothing */
	uint64_t paused_until_ns, pause_ns; /* 0: it was not refused the last time */
};

struct vf_workers {
	struct vf_worker **items;
	uint32_t n, capacity;
	uint32_t typical_slots; /* of a worker whose slots are not known; 0: it gets nothing */
	uint32_t turn; /* where the next search begins, so that equals take turns */
	struct vf_resources largest; /* the most that any worker has, each by itself */
	/* It gets nothing for now, until a bundle has room there. */
	const struct vf_worker *reserved;
};

/* Whether a worker can take a certain bundle, apart from its slots. */
typedef int vf_workers_accept(void *arg, struct vf_worker *worker);

/* Returns 0, or -1 when memory is short. */
int vf_workers_add(struct vf_workers *workers, struct vine_worker_info *id, int fd, uint32_t index);

/* Returns the worker, or NULL when it is not there; a removed one is to be freed by the caller,
with vf_worker_free(). */
struct vf_worker *vf_workers_find(
		const struct vf_workers *workers, const struct vine_worker_info *id);
struct vf_worker *vf_workers_remove(struct vf_workers *workers, const struct vine_worker_info *id);

void vf_worker_free(struct vf_worker *worker);
void vf_workers_free(struct vf_workers *workers);

/* All slots of all workers. */
uint32_t vf_workers_slots(const struct vf_workers *workers);

/* How many slots of a worker a bundle takes; 0: the worker is too small, or nothing is known about
it. */
uint32_t vf_worker_share(const struct vf_worker *worker, const struct vf_resources *needs);

/* The worker that takes the next bundle: the one with the most idle part of its slots; if none is
idle, the one with the fewest bundles waiting per slot. NULL when no worker may have another.
`accept` may be NULL. */
struct vf_worker *vf_workers_choose(struct vf_workers *workers, const struct vf_resources *needs,
		uint64_t now_ns, vf_workers_accept *accept, void *arg);

/* TaskVine refuses a worker, or would not. The first says nothing new within a pause. */
void vf_worker_refuse(struct vf_worker *worker, uint64_t now_ns);
void vf_worker_accept(struct vf_worker *worker);
int vf_worker_is_paused(const struct vf_worker *worker, uint64_t now_ns);
/* Raise `most` to what the workers have of which that is known, each by itself. Tells of how many
it is. */
uint32_t vf_workers_most(const struct vf_workers *workers, struct vf_resources *most);

/* Whether it is known of all workers what they have. */
int vf_workers_known(const struct vf_workers *workers);

/* Whether any worker could ever take such a bundle. */
int vf_workers_fit(const struct vf_workers *workers, const struct vf_resources *needs);

/* Keep the worker that is nearest to having room for such a bundle free of others. `accept` may be
NULL. */
void vf_workers_reserve(struct vf_workers *workers, const struct vf_resources *needs,
		vf_workers_accept *accept, void *arg);

/* A bundle goes to a worker, and has ended there. `expected_ns` is negative while nothing is known
about it. The same `share` and `expected_ns` both times. */
void vf_worker_begin(struct vf_worker *worker, uint32_t share, double expected_ns, uint64_t now_ns);
void vf_worker_end(struct vf_worker *worker, uint32_t share, double expected_ns);

#endif
