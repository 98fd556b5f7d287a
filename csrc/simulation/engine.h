/* A stand-in for TaskVine's manager, as far as csrc uses it: tasks, files, replicas, libraries, and
connections to workers over which messages go.

It does what the release that csrc is built for does (VF_TASKVINE), in the order in which that does
it, as far as csrc may notice; what TaskVine is known to do wrong, it does, too. Its functions have
TaskVine's names, in objects of their own where the linker is to replace a call (conf/border.py). */

#ifndef ENGINE_H
#define ENGINE_H

#include <stdint.h>
#include <sys/queue.h>

#include "taskvine_private.h"

struct peer;
struct vine_file;
struct vine_task;

enum message_kind {
	MESSAGE_RESOURCES,
	MESSAGE_COMPLETE,
	MESSAGE_CACHED,
	MESSAGE_INVALID,
};

/* From a worker. */
struct message {
	STAILQ_ENTRY(message) next;
	enum message_kind kind;
	int id, result, exit_code;
	char *output; /* of a task, with a 0 behind it */
	size_t nbytes;
	char name[160]; /* of a file, */
	char reason[96]; /* and why there is none */
	uint64_t took_us;
	int cores, memory, disk, gpus;
};

/* What a worker is told, at once; when it hears of it is its own affair. Each returns 0, or -1 if
the connection is found to be broken. */
struct peer_calls {
	int (*task)(struct peer *peer, const struct vine_task *task);
	int (*put)(struct peer *peer, const struct vine_file *file);
	int (*fetch)(struct peer *peer, const struct vine_file *file, struct peer *source);
	int (*unlink)(struct peer *peer, const char *name);
	int (*kill)(struct peer *peer, int id);
	void (*exit)(struct peer *peer);
};

struct link {
	int fd;
	struct peer *peer;
	const struct peer_calls *calls;
	STAILQ_HEAD(, message) come;
	int is_over; /* nothing more comes */
};

struct replica {
	struct vine_file_replica is; /* first */
	char *name;
	int is_there; /* else it is on its way */
	LIST_ENTRY(replica) entry;
};

LIST_HEAD(replicas, replica);
LIST_HEAD(tasks_there, vine_task);

struct vine_worker_info {
	struct link *link;
	char addrport[32];
	int is_known; /* it has told what it has */
	int cores, memory, disk, gpus;
	uint64_t failed_us, idle_since_ns;
	struct replicas replicas;
	struct tasks_there tasks;
	LIST_ENTRY(vine_worker_info) entry;
};

struct mount {
	struct vine_file *file;
	char *name;
};

enum task_state {
	TASK_INITIAL,
	TASK_READY,
	TASK_RUNNING,
	TASK_WAITING_RETRIEVAL,
	TASK_RETRIEVED,
	TASK_DONE,
};

struct vine_task {
	int id, refs, result, exit_code;
	enum task_state state;
	char *command, *output;
	size_t output_nbytes;
	char *needs_library, *provides_library;
	struct mount *inputs, *outputs;
	uint32_t n_inputs, n_outputs;
	double priority;
	int slots; /* of a library */
	struct vine_worker_info *worker;
	struct vine_task *library; /* that it runs in */
	char addrport[32];
	uint64_t submitted_us, committed_us, failed_us;
	uint64_t sent_turn; /* of vine_wait()'s iterations, when it was sent */
	int is_queued;
	TAILQ_ENTRY(vine_task) queued;
	LIST_ENTRY(vine_task) there, known;
};

TAILQ_HEAD(task_queue, vine_task);

struct vine_file {
	int refs, is_declared;
	int is_created; /* a temporary file: it has been somewhere */
	vine_file_type_t type;
	vine_cache_level_t level;
	char *source, *cached_name, *data;
	size_t nbytes;
	struct vine_task *mini_task;
	LIST_ENTRY(vine_file) entry;
};

enum {
	FILE_BUCKETS = 256,
};

struct vine_manager {
	LIST_HEAD(, vine_worker_info) workers;
	LIST_HEAD(, vine_task) tasks;
	struct task_queue ready, waiting_retrieval, retrieved;
	LIST_HEAD(, vine_file) files[FILE_BUCKETS];
	struct vine_task *template;
	STAILQ_HEAD(, arrival) arrivals;
	int next_id;
	uint32_t n_joined;
	uint64_t n_turns; /* iterations of vine_wait() */
	uint64_t transient_error_us;
	uint32_t n_files, n_buffers; /* declared; of these, buffers */
	/* Whoever judges is told: a task has been given to a worker; it was lost with that, for
	sure if csrc must have seen it run; it has left its worker. */
	void (*sent)(const struct vine_task *task);
	void (*lost)(const struct vine_task *task, int is_sure);
	void (*left)(const struct vine_task *task);
};

struct arrival {
	STAILQ_ENTRY(arrival) next;
	struct link *link;
};

/* All that there is of these, to be none in the end. */
extern int engine_n_tasks, engine_n_files;
extern uint64_t engine_n_made; /* names of files, of this run */

struct vine_manager *engine_create(void);

/* A worker connects; it says something; its connection ends. */
void engine_connect(struct vine_manager *manager, struct link *link);
void engine_hear(struct link *link, struct message *message);
void engine_hear_end(struct link *link);

/* Whether a worker has nothing to do but to keep its library. */
int engine_is_idle(const struct vine_worker_info *worker);

/* Whether any has more to do. */
int engine_is_busy(const struct vine_manager *manager);

/* Between the engine's own units. */
uint64_t engine_now_us(void);
struct replica *engine_replica(struct vine_worker_info *worker, const char *name);
struct vine_task *engine_copy_library(const struct vine_task *template);
void engine_file_release(struct vine_file *file);
void engine_files_end(struct vine_manager *manager);
void engine_task_store(struct vine_task *task, const char *output, size_t nbytes);
/* A worker that has the file and sends it to others; NULL: none. */
struct vine_worker_info *engine_source(struct vine_manager *manager, const char *name);
void engine_forget_replica(
		struct vine_manager *manager, struct vine_worker_info *worker, const char *name);
void engine_remove_worker(struct vine_manager *manager, struct vine_worker_info *worker);
void engine_change_state(
		struct vine_manager *manager, struct vine_task *task, enum task_state state);
/* A task leaves its worker. */
void engine_reap(struct vine_manager *manager, struct vine_task *task, enum task_state state);

#endif
