/* TaskVine's functions that do not suit a guest in somebody's program, as replaced by the linker;
vf_hooks.h says which, and why.

On a thread that owns a border, its functions take part in what TaskVine does; on all others
TaskVine's functions are its own. */

#ifndef VF_BORDER_H
#define VF_BORDER_H

#include <stdint.h>

#include "vf_wake.h"

struct link;
struct vine_file;
struct vine_manager;
struct vine_task;
struct vine_worker_info;

enum vf_turn {
	VF_TURN_IDLE, /* nothing to do until something is submitted or a worker speaks */
	VF_TURN_FULL, /* a submit would change nothing: only a worker can */
	VF_TURN_ACTIVE, /* TaskVine was given something to do: no sleep now */
};

struct vf_border {
	/* Called before each sleep, and after each wake, with the number of connected workers. */
	enum vf_turn (*turn)(void *arg, int workers);
	/* Called when a worker connects (nothing is known about it yet), and when its connection
	has ended. */
	void (*joined)(void *arg, struct vine_worker_info *worker, int fd);
	void (*left)(void *arg, struct vine_worker_info *worker);
	/* Called when a worker has greeted the manager in another protocol, with that line. */
	void (*foreign)(void *arg, const char *greeting);
	/* Called when a task is about to get a worker. Tells whether it may have one now, */
	int (*may_run)(void *arg, struct vine_task *task);
	/* and which; NULL for none. */
	struct vine_worker_info *(*choose)(void *arg, struct vine_task *task);
	/* Called before and after a task is sent to a worker. */
	void (*sending)(void *arg, const struct vine_worker_info *worker, struct vine_task *task,
			int begin);
	/* Called when a worker gets a replica of a file, or loses it; the file is TaskVine's name
	for it. No vine_* call that changes anything may be made. */
	void (*replica)(void *arg, const struct vine_worker_info *worker, const char *cached_name,
			int there);
	/* Called when a worker has got or made a file, with how long that took. */
	void (*cached)(void *arg, const struct vine_worker_info *worker, const char *cached_name,
			uint64_t nbytes, uint64_t took_us);
	/* Called before, with what the worker says of it. Tells whether the file can be so long. */
	int (*fits)(void *arg, const char *cached_name, int64_t nbytes);
	/* Called when a library has ended, by itself or since its worker left or it was to, with
	the address of its worker. No vine_* call that changes anything may be made. */
	void (*library_ended)(
			void *arg, struct vine_task *library, const char *worker, int by_itself);
	/* Called when a task could not be sent, which may be tried again. No vine_* call that
	changes anything may be made. */
	void (*unsent)(void *arg, struct vine_task *task);
	/* Called when a worker failed to get a file. Tells whether it was from a URL. No vine_*
	call that changes anything may be made. */
	int (*invalidated)(void *arg, const char *cachename, const char *reason);
	/* How many workers are about to get a URL; `source` is that of TaskVine's file itself, not
	a copy. */
	int (*fetching)(void *arg, const char *source);
	/* Whether a worker that is sent a task has an input of it. */
	int (*is_there)(void *arg, struct vine_worker_info *worker, struct vine_file *file);
	void *arg;
	struct vf_wake *wake;
	/* TaskVine has told workers to watch files. */
	int is_watching;
	/* That workers have to know, and that TaskVine has, too; NULL: none. */
	const char *password;
};

/* The calling thread's, copied; NULL for none. */
void vf_border_own(const struct vf_border *border);

/* TaskVine's own choice of a worker. */
struct vine_worker_info *vf_border_choose(struct vine_manager *manager, struct vine_task *task);

#endif
