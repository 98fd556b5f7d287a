/* Temporary files: what a call makes on a worker, and other calls read there or on another worker.

For TaskVine they are temp files. It would make a lost one again by running the task once more that made it, with all the calls of that
bundle; so it is told of a task's temp files only when it has the task, and makes no copy of it, and recovery happens here: the one
call that made the file runs again (`again` of struct vf_call), and so do those that made its inputs, if these are gone too.

The submitting side makes and frees the records. One that it lets go is given back through the done ring once no call needs the file
any more; its data has left the workers then. */

#ifndef VF_TEMPS_H
#define VF_TEMPS_H

#include <stdint.h>

#include "vf_call.h"

struct vf_bundle;
struct vf_datum;
struct vf_loop;
struct vf_worker;
struct vine_task;

enum vf_temp_state {
	VF_TEMP_PLANNED = 0, /* no call has come that makes it */
	VF_TEMP_MAKING,      /* that call waits or runs */
	VF_TEMP_THERE,       /* some worker holds it */
	VF_TEMP_LOST,        /* none does any more */
	VF_TEMP_FAILED,      /* that call ended without it */
};

struct vf_temp {
	struct vf_link link; /* first: the ring of those that the submitting side lets go */
	const char *name;    /* the user's */
	void *object;        /* the submitting side's */

	/* The manager thread's. */
	struct vf_datum *datum; /* NULL: TaskVine does not know it */
	char *path;             /* where it lies here, if workers may not fetch from each other */
	struct vf_call *maker;
	enum vf_temp_state state;
	uint8_t made;    /* since its task was sent, a worker has had it */
	uint8_t let_go;  /* the submitting side wants it no more, */
	uint8_t given;   /* and knows that we do not either */
	uint64_t generation;        /* files of TaskVine's that it was before */
	uint32_t n_readers;         /* calls here that read it; */
	struct vf_call_list parked; /* of these, those that wait for it */
	const struct vf_worker **holders;
	uint32_t n_holders, holders_room;
	struct vf_temp *next_lost, *next_needed;
	char *cached_name; /* TaskVine's name for it; NULL: no worker has had it */
	uint8_t needed;    /* on the stack of those to be made again */
};

/* A call has come. */
void vf_temps_begin(struct vf_loop *loop, struct vf_call *call);

/* Before a call is packed: whether it has to wait for a temporary file, or has failed for want of one. It is taken over then. */
int vf_temps_park(struct vf_loop *loop, struct vf_call *call);

/* Give the temporary files of all calls of a bundle to its task, which TaskVine has already. Returns 0, or -1 when that is impossible. */
int vf_temps_mount(struct vf_loop *loop, struct vf_bundle *bundle, struct vine_task *task);

/* Whether the calls of a bundle read any; whether all of these are there; whether one never will be. */
int vf_temps_any(const struct vf_bundle *bundle);
int vf_temps_there(const struct vf_bundle *bundle);
int vf_temps_failed(const struct vf_bundle *bundle);

/* Whether one was made again since, as another file of TaskVine's. */
int vf_temps_outdated(const struct vf_bundle *bundle);

/* A call has come back for good; one that has failed has made nothing that others may read. */
void vf_temps_end(struct vf_loop *loop, struct vf_call *call, int failed);

/* A worker has it, and no longer; not one that is still fetching it. Within one of TaskVine's iterations. */
void vf_temps_hold(struct vf_temp *temp, const struct vf_worker *worker, const char *cached_name);
void vf_temps_drop(struct vf_loop *loop, struct vf_temp *temp, const struct vf_worker *worker);

/* A call has written to it on its worker. Other copies may be of that one. */
void vf_temps_spoiled(struct vf_loop *loop, struct vf_temp *temp);

/* Each turn: take what the submitting side lets go, and have made again what is lost and needed. */
void vf_temps_settle(struct vf_loop *loop);

/* After the manager has been deleted. */
void vf_temps_forget_leftovers(struct vf_loop *loop);
void vf_temps_free(struct vf_temp *temp);

#endif
