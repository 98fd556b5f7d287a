/* Workers that do what a test tells them, on the test's own thread: they speak TaskVine's protocol
over a real connection, and run nothing.

A worker takes its library, tells of its node, keeps the files that it is sent and hands out those
that it has made. What to answer to a bundle of calls is the test's choice, or, in automatic mode,
that each call returns what it was given. */

#ifndef SCRIPTED_WORKER_H
#define SCRIPTED_WORKER_H

#include <stddef.h>
#include <stdint.h>

#include "vf_buffer.h"
#include "vf_frame.h"

enum {
	WORKER_NAME_NBYTES = 256,
	WORKER_MOUNTS_MAX = 16,
	/* Far longer than anything here takes: who waits so long fails. */
	PATIENCE_MS = 30000,
};

/* What a worker has; slots 0: as many as cores. And what is wrong with it. */
struct worker_script {
	uint32_t cores, slots, memory, disk, gpus;
	int is_automatic;         /* calls return what they were given */
	int keeps_node_to_itself; /* bundles without calls are handed back */
	int keeps_stacks_to_itself; /* who asks for one has no answer */
	int ends_libraries;       /* each ends at once, by itself */
	int breaks_at_files;      /* it leaves when it is sent one */
	int leaves_fetches;       /* the test says what becomes of them; else all succeed */
	int leaves_unpacking;     /* so with what a task is to make of a file */
	int breaks_before_outputs; /* it leaves when it is asked for one, or a file, */
	int breaks_in_outputs;     /* or amid that, or amid what comes with a task's end */
	uint64_t end_time_s;      /* when its batch job ends; 0: never */
};

struct worker_mount {
	char cached_name[WORKER_NAME_NBYTES]; /* TaskVine's name of the file */
	char name[WORKER_NAME_NBYTES];        /* in the sandbox */
};

/* A task that a worker has been given, which has not been answered. */
struct worker_task {
	struct worker_task *next;
	long long id;
	int is_library;
	char *command;
	struct vf_buffer frame; /* of the bundle */
	uint32_t n_calls;
	uint32_t n_inputs, n_outputs;
	struct worker_mount inputs[WORKER_MOUNTS_MAX], outputs[WORKER_MOUNTS_MAX];
	char made_name[WORKER_NAME_NBYTES]; /* it makes this file, and is no task of its own */
	char environment[WORKER_NAME_NBYTES]; /* the last variable */
	char category[WORKER_NAME_NBYTES];
	char cores[32];
};

struct worker_file {
	struct worker_file *next;
	char name[WORKER_NAME_NBYTES];
	char *data;
	size_t nbytes;
	/* Where it is to be fetched from, and TaskVine's number of that; or empty. */
	char source[WORKER_NAME_NBYTES], transfer[WORKER_NAME_NBYTES];
	int has_failed; /* to be fetched, and is not tried for again until it is to be forgotten */
};

struct worker {
	struct worker_script script;
	int fd; /* negative: it has left */
	int was_told_to_exit;
	char *input;
	size_t n_input, n_read;
	struct worker_task *tasks; /* oldest first; those that are answered at once are not here */
	struct worker_file *files;
	char stopped[WORKER_NAME_NBYTES]; /* the last command to stop calls */
	char asked[WORKER_NAME_NBYTES]; /* the last one that asks for a stack */
	long long library; /* the task that it is; 0: none runs */
	int n_libraries, n_bundles, n_nodes, n_fetches, n_files, n_unlinked, n_killed, n_stops,
			n_questions;
	int32_t pid;
};

/* Connect to a manager on this machine, and greet it. */
void worker_join(struct worker *worker, int port, const struct worker_script *script);

/* Do what the manager has asked for meanwhile. Returns whether there was anything. */
int worker_serve(struct worker *worker);

/* Break the connection; what the worker had is gone. */
void worker_leave(struct worker *worker);

/* The oldest bundle with calls that is not answered; NULL: there is none. */
struct worker_task *worker_bundle(const struct worker *worker);

/* Read the frame of a task that is a bundle, which it may have got as a file. */
void worker_open_bundle(const struct worker *worker, struct worker_task *task);

/* What the i-th call of a bundle was given. */
const char *worker_payload(const struct worker_task *task, uint32_t i, uint32_t *nbytes);

/* Answer a bundle with the first calls' statuses; NULL: each returns what it was given. The task is
gone then, as it is with all that end it. */
void worker_answer(struct worker *worker, struct worker_task *task, uint32_t n_records,
		const uint32_t *statuses);

/* The same with an output as it is, and TaskVine's result code. */
void worker_complete(struct worker *worker, struct worker_task *task, int result, int exit_code,
		const char *output, size_t nbytes);

/* Make all outputs of a task. */
void worker_make(struct worker *worker, const struct worker_task *task);

/* It has a file, from an earlier manager's time. */
void worker_bring(struct worker *worker, const char *name, size_t nbytes);

/* The library ends by itself. */
void worker_end_library(struct worker *worker);

/* A file that the worker has, or is to fetch; NULL: there is none of that name, or none. */
struct worker_file *worker_file(const struct worker *worker, const char *name);
struct worker_file *worker_fetch(const struct worker *worker);

/* What became of a fetch. */
void worker_fetched(struct worker *worker, struct worker_file *file, size_t nbytes);
void worker_not_fetched(struct worker *worker, struct worker_file *file, const char *reason);

/* The result frame of a bundle's first calls, as a library writes it: to be freed. */
char *worker_frame(const struct worker *worker, const struct worker_task *task, uint32_t n_records,
		const uint32_t *statuses, size_t *nbytes);

#endif
