/* What the two units of workers share: workers.c is the connection, the library and the files,
peer_run.c how bundles run. */

#ifndef PEER_H
#define PEER_H

#include <stdint.h>

#include "bundle.h"
#include "engine.h"

enum {
	PEER_INPUTS_MAX = 32,
};

enum peer_file_state {
	PEER_FILE_COMING,
	PEER_FILE_THERE,
	PEER_FILE_FAILED, /* and is not tried again under its name */
};

struct peer_file {
	LIST_ENTRY(peer_file) entry;
	char name[160];
	size_t nbytes;
	enum peer_file_state state;
	int is_fetched; /* from another worker, or a URL */
	int is_put;     /* by the manager */
};

enum peer_task_state {
	PEER_TASK_ON_ITS_WAY,
	PEER_TASK_WAITS, /* for files, the library, a slot */
	PEER_TASK_RUNS,
	PEER_TASK_OVER, /* answered, killed, or forgotten with its library */
};

struct peer_task {
	struct peer_task *next; /* all there ever were: happenings point to them */
	LIST_ENTRY(peer_task) entry; /* of those that are not over */
	struct peer *peer;
	int id, is_library, is_bundle;
	enum peer_task_state state;
	char *command;
	struct bundle bundle;
	uint32_t n_inputs, n_outputs;
	char (*inputs)[160];
	int *is_temp;
	struct {
		char cached_name[160];
		uint32_t job;
	} *outputs;
	uint64_t came_ns;
	uint32_t n_done; /* calls that are run, when it ends */
	int is_lied_about, lacks_room;
};

struct peer {
	struct peer *next;
	struct link link;
	uint32_t number, cores, memory, disk;
	int is_gone;
	int library; /* its task; 0: none */
	int is_library_up;
	uint32_t functions; /* that its library knows, a bit each */
	uint32_t n_running;
	uint64_t latency_ns;
	double bytes_per_ns;
	LIST_HEAD(, peer_file) files;
	LIST_HEAD(, peer_task) tasks;
};

/* It says that a task has ended. */
void peer_say_complete(struct peer *peer, int id, int result, int exit_code, const char *output,
		size_t nbytes);
void peer_say_cached(struct peer *peer, const struct peer_file *file, uint64_t took_us);

/* It dies, with all that it has; its library does. */
void peer_die(struct peer *peer);
void peer_end_library(struct peer *peer);

struct peer_file *peer_find_file(struct peer *peer, const char *name);
struct peer_file *peer_add_file(struct peer *peer, const char *name, size_t nbytes);

void peer_end_task(struct peer_task *task);
/* Go on with what waits: something that it may have waited for has come. */
void peer_go_on(struct peer *peer);
/* A task has come that is no library. */
void peer_begin(struct peer_task *task);

#endif
