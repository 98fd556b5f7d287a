/* The manager thread: the only thread that touches a TaskVine manager once it runs.

vf_loop_run() alternates vine_wait() with turns of its own; a turn takes what was submitted, packs bundles and gives them to
TaskVine. Turns happen inside vine_wait() too (vf_border.h), so a submit is never kept waiting: TaskVine alone would sleep there for
up to a second.

No Python object is touched and the GIL is not held. */

#ifndef VF_LOOP_H
#define VF_LOOP_H

#include <stdatomic.h>
#include <stdint.h>

#include "vf_sizing.h"
#include "vf_call.h"
#include "vf_clock.h"
#include "vf_files.h"
#include "vf_frame.h"
#include "vf_locality.h"
#include "vf_look.h"
#include "vf_queue.h"
#include "vf_replica.h"
#include "vf_ring.h"
#include "vf_score.h"
#include "vf_temps.h"
#include "vf_wake.h"
#include "vf_workers.h"

struct vine_file;
struct vine_manager;
struct vine_task;
struct vine_worker_info;

enum {
	VF_ADDRPORT_NBYTES = 80,
};

/* What became of one call of a bundle. */
struct vf_outcome {
	struct vf_call *call;
	struct vf_record record;
};

enum vf_node_news {
	VF_NODE_NONE = 0,
	VF_NODE_JOINED,
	VF_NODE_LEFT,
};

/* A bundle: out with `calls`, back with `outcomes`. Made by the manager thread, freed with vf_bundle_free() by the taker of
the done ring. */
struct vf_bundle {
	struct vf_link link; /* first: done ring */
	struct vine_task *task;
	struct vine_file *spilled;
	struct vf_mounts mounts;
	int64_t input_nbytes; /* of those that are here */
	struct vf_worker *worker; /* chosen for it; NULL: none yet, or TaskVine chooses */
	uint32_t share;           /* of its worker's slots */
	LIST_ENTRY(vf_bundle) there; /* among those of its worker, or those without */
	double expected_ns;       /* its run time; negative: nothing is known */
	int has_run;          /* on a worker; when TaskVine offers it to another, that one was lost */
	uint64_t orphaned_ns; /* when the library that had it ended; 0: it has not */
	LIST_ENTRY(vf_bundle) orphan, giving_up, reader; /* while the member with a like name is not 0 */
	int reads;            /* temporary files */
	char orphaned_at[VF_ADDRPORT_NBYTES];
	int given_up;         /* to be cancelled */
	int unsent;           /* the connection broke while it was sent */
	uint64_t sent_ns, returned_ns;
	char *frame;         /* result frame that the outcomes point into; or the text of a failure */
	size_t frame_nbytes;
	int engine_result;   /* vine_result_t when the engine failed the bundle */
	enum vf_node_news news; /* about a worker: no calls then, and the frame tells of its node (library/node.py) */
	uint32_t worker_slots;
	struct vf_temp *temp; /* given back: no calls then */
	uint64_t generation;  /* of the temporary files that it reads */
	int unreached;        /* its worker could not fetch one of them */
	uint32_t n_calls, n_outcomes;
	struct vf_outcome *outcomes;
	struct vf_call *calls[];
};

/* What has happened so far, in calls, bundles, bytes and nanoseconds. Times are sums, over bundles: `pack_ns` making frames, `wait_ns`
in a library's queue, `run_ns` in a slot; and over the calls that came back: what each spent waiting to be packed (`queue_ns`), until
its bundle was written to a worker (`dispatch_ns`), on the way there and back (`transfer_ns`), in the library's queue (`library_ns`),
in the slot with its companions (`bundle_ns`), and running (`calls_ns`). From `calls_waiting` on they are not sums but the state now;
`files_moved` and `file_bytes_moved` are files that workers were sent or told to fetch for calls, as far as their size was known;
`manager_bytes_...` those that the manager itself sent and received as files.

`accept_errno` is the system's reason why some worker could not be accepted, at last; 0: all could.
`transfer_rate` is what transfers between workers have lately achieved, each by itself, in bytes per second, if that is to be learned;
`calls_too_large` are those of the waiting ones that ask for more than any worker has, `max_...` is the most that any worker has, and `usable_...` the most that a call can get. `files_looked_at` counts looks at the inputs of calls. */
/* clang-format off */
#define VF_COUNTERS(_) \
	_(calls_sent) _(calls_returned) _(calls_handed_back) _(calls_missed) _(calls_lost) \
	_(bundles_sent) _(bundles_spilled) _(bundles_lost) _(bytes_sent) _(bytes_returned) \
	_(pack_ns) _(wait_ns) _(run_ns) \
	_(queue_ns) _(dispatch_ns) _(transfer_ns) _(library_ns) _(bundle_ns) _(calls_ns) \
	_(calls_remade) _(temps_made) _(temps_lost) _(files_moved) _(file_bytes_moved) _(manager_bytes_sent) _(manager_bytes_received) \
	_(workers_joined) _(calls_waiting) _(calls_too_large) _(bundles_running) _(workers_connected) _(slots) \
	_(accept_errno) _(transfer_rate) _(max_cores) _(max_memory) _(max_disk) _(max_gpus) \
	_(files_looked_at) _(usable_cores) _(usable_memory) _(usable_disk) _(usable_gpus)
/* clang-format on */

/* Written by the manager thread, read by anyone: each is right by itself, together they are a snapshot taken in motion. */
struct vf_counters {
#define VF_MEMBER(name) atomic_uint_fast64_t name;
	VF_COUNTERS(VF_MEMBER)
#undef VF_MEMBER
};

struct vf_snapshot {
#define VF_MEMBER(name) uint64_t name;
	VF_COUNTERS(VF_MEMBER)
#undef VF_MEMBER
};

struct vf_loop_config {
	const char *password; /* of the manager; NULL: none */
	const char *command;  /* regular mode: the shell command of one call; NULL: function calls of a library */
	const char *library;  /* name of the library, in serverless mode */
	struct vine_file **inputs; /* regular mode: files that each task needs */
	const char **input_names;
	uint32_t n_inputs;
	const char **env; /* regular mode: name, value, name, value, ... */
	uint32_t n_env;
	int64_t max_retries; /* negative: no limit */
	uint32_t max_losses; /* a call may lose so many workers before it fails */
	uint32_t slice_ms;
	struct vf_sizing_rule rule;
	const char *category;  /* of calls that do not name one; NULL: their function's name */
	int allocation_mode;   /* how TaskVine chooses the resources of a category's tasks; negative: it does not */
	size_t inline_nbytes;  /* larger frames are spilled */
	uint64_t library_pause_ns; /* TaskVine starts no library anywhere for so long after one has failed */
	uint32_t max_library_failures; /* in a row, with no bundle that came back in between; then calls fail */
	double slow_factor; /* of disconnect-slow-worker-factor; 0: none */
	double slots_per_worker; /* 0: slots = cores */
	double cores_per_library; /* 0: a library takes its worker whole */
	int monitored; /* tell when workers join and leave */
	int placing; /* choose workers ourselves (vf_workers.h), which needs one library per worker */
	uint64_t idle_timeout_ns; /* let a worker go that had nothing to do for so long; 0: keep it */
	uint32_t min_workers;     /* but keep so many */
	int locality;             /* score calls that read files (vf_score.h) */
	struct vf_locality_rule scoring;
	int learn_bandwidth;      /* what `scoring` says of it is where to begin */
	int peer_transfers;       /* workers may fetch files from each other */
	int recover_at_once;      /* make temporary files that are lost again before anybody needs them */
	const char *temps_prefix; /* of their paths here, if workers may not fetch from each other; nobody else's */
};

struct vf_loop {
	struct vf_loop_config config;
	struct vine_manager *manager;

	struct vf_ring submitted; /* of struct vf_call */
	struct vf_wake submitted_wake;
	struct vf_ring done; /* of struct vf_bundle */
	struct vf_wake done_wake;
	struct vf_ring let_go; /* of struct vf_temp */
	atomic_int stop; /* set by anyone: leave vf_loop_run() */
	atomic_int done_closed; /* nothing more will come out of the done ring */
	struct vf_counters counters;

	/* The manager thread's. */
	uint64_t turn;
	struct vf_queue queue;
	struct vf_link *over, *last_over; /* of struct vf_bundle: to be handed over in the end of the turn */
	uint64_t n_waiting;
	uint32_t running; /* bundles that TaskVine has, but for those without calls */
	struct vf_bundles unplaced; /* those with no worker chosen */
	struct vf_bundles orphans, given_up, readers;
	struct vf_workers workers;
	struct vf_resources largest; /* the most that any worker has, each by itself */
	int connections; /* when we last looked; -1: never */
	uint64_t stats_ns;
	uint64_t library_failed_ns; /* when a library last ended by itself; 0: none has */
	int library_failed; /* and TaskVine counts it */
	uint32_t library_failures; /* in a row */
	uint64_t released_ns; /* when we last looked for workers to let go */
	uint64_t stamp;
	int stopping;
	uint64_t offered_id; /* of the task that TaskVine last sought a worker for; 0: it has been looked at */
	int giving_up; /* some bundles are to be cancelled, */
	int breaking;  /* for which vine_wait() has been told to return */
	struct itable *bundles; /* by task id */
	struct vine_task *plain; /* asks for nothing, is never submitted; NULL: not needed so far */
	struct vf_shelf shelf;
	struct vf_looks looks;
	uint64_t look_span, look_ns, look_turn; /* looks are repeated in the next span, which began then; when one was made last */
	struct vf_call_list held_up; /* an input of theirs takes long to look at */
	struct vf_locality locality;
	struct vf_rate rate;
	struct itable *data; /* struct vf_datum by address of its vine_file */
	const void *last_moved; /* the file of which TaskVine last told that it moves, during one task */
	struct vf_temp *lost;
	struct vf_leftover *leftovers;
	int outdated; /* some bundle reads what is made again as another file */
	uint64_t n_temps;
	struct vf_score score;
	struct vf_buffer frame, command;
	struct vf_call *chosen[VF_SIZING_MAX_CALLS];
};

/* Returns 0, or -1 with errno. */
int vf_loop_init(struct vf_loop *loop);

/* After both threads have ended. */
void vf_loop_free(struct vf_loop *loop);

/* The manager thread: until `stop`. `manager` is ready, its library installed. Returns when stopped; every bundle that was sent
and not answered has been dropped (its calls stay outstanding at the submitting side). */
void vf_loop_run(struct vf_loop *loop);

/* Any thread. */
void vf_loop_submit(struct vf_loop *loop, struct vf_call *call);
void vf_loop_let_go(struct vf_loop *loop, struct vf_temp *temp);
void vf_loop_stop(struct vf_loop *loop);
void vf_loop_count(struct vf_loop *loop, struct vf_snapshot *snapshot);

/* The taker of the done ring: waits until something is done, or the ring is closed (then NULL). */
struct vf_bundle *vf_loop_take_done(struct vf_loop *loop);
void vf_loop_close_done(struct vf_loop *loop);

/* The same where the taker waits for something else as well: returns NULL also after so many milliseconds, and when it is woken. */
struct vf_bundle *vf_loop_take_done_within(struct vf_loop *loop, int timeout_ms);
void vf_loop_wake_taker(struct vf_loop *loop);
int vf_loop_is_done_closed(const struct vf_loop *loop);
void vf_bundle_free(struct vf_bundle *bundle);

#endif
