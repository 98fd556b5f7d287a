/* A manager of TaskVine's on this machine with the loop on a thread of its own, the scripted
workers that have joined it, and the calls that a test submits.

The test's thread does all else: while it waits for something (UNTIL), the workers work. */

#ifndef CLUSTER_H
#define CLUSTER_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "scripted_worker.h"
#include "vf_clock.h"
#include "vf_loop.h"

enum {
	CLUSTER_WORKERS_MAX = 8,
	JOB_FILES_MAX = 4,
	JOB_TEXT_NBYTES = 512,
};

/* A call, with the one that makes its temporary files again, and what came back of it. */
struct job {
	struct vf_call call, again;
	struct vf_file_list *files, *files_again;
	char payload[32];
	int n_back;
	uint32_t status;
	int engine_result;            /* VINE_RESULT_..., if the engine failed it */
	char text[JOB_TEXT_NBYTES];   /* of that, */
	char result[JOB_TEXT_NBYTES]; /* else what it returned */
};

struct cluster {
	struct vf_loop loop;
	struct vine_manager *manager;
	int port;
	char directory[64];
	pthread_t thread;
	int is_running;
	const char *library_file; /* that its library needs; NULL: none */
	struct worker workers[CLUSTER_WORKERS_MAX];
	uint32_t n_workers; /* that have ever joined */
	int n_back, n_node_joined, n_node_left, n_temps_given;
	int n_answers, n_known; /* to questions, and those that have one */
	struct vf_function function; /* all jobs': nothing is known of it, */
	struct vf_group group;
	struct vf_spec spec; /* and it asks for nothing */
};

/* Open a manager; until it is started, its configuration may be changed. */
void cluster_open(struct cluster *cluster);
struct vf_config *cluster_settings(struct cluster *cluster);
void cluster_start(struct cluster *cluster);

/* Stop the loop, end what is left, and look that nothing is. Jobs that are not back stay so. */
void cluster_close(struct cluster *cluster);

/* A worker of these many cores, or by a script, joins. */
struct worker *cluster_join(struct cluster *cluster, uint32_t cores);
struct worker *cluster_join_by(struct cluster *cluster, const struct worker_script *script);

/* All that the workers and the taker of the done ring have to do now. */
void cluster_serve(struct cluster *cluster);

void cluster_count(struct cluster *cluster, struct vf_snapshot *snapshot);
#define COUNT(cluster, name) cluster_counter(cluster, offsetof(struct vf_snapshot, name))
uint64_t cluster_counter(struct cluster *cluster, size_t offset);

/* Serve until something is so; that it never is fails the test. */
#define UNTIL(cluster, condition) \
	do { \
		int64_t end_ms_ = vf_now_ms() + PATIENCE_MS; \
		while (!(condition)) { \
			cluster_serve(cluster); \
			if (vf_now_ms() > end_ms_) \
				cluster_give_up(__FILE__, __LINE__, #condition); \
		} \
	} while (0)

static inline _Noreturn void cluster_give_up(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: never: %s\n", file, line, condition);
	exit(1);
}

static inline struct worker_task *cluster_bundle_at(
		struct cluster *cluster, struct worker *worker, const char *file, int line)
{
	for (int64_t end_ms = vf_now_ms() + PATIENCE_MS; !worker_bundle(worker);) {
		cluster_serve(cluster);
		if (vf_now_ms() > end_ms)
			cluster_give_up(file, line, "a bundle");
	}
	return worker_bundle(worker);
}

/* The bundle that a worker has been given and has not answered, as soon as there is one. */
#define cluster_bundle(cluster, worker) cluster_bundle_at(cluster, worker, __FILE__, __LINE__)

/* A specification that asks for so much. */
struct spec {
	struct vf_group group;
	struct vf_spec spec;
};
void spec_begin(struct spec *spec, double cores, double priority);

/* A call of the cluster's function and specification, told by its number; files are added to it
before it is submitted. */
void job_begin(struct cluster *cluster, struct job *job, int number);
struct vf_file *job_add(struct job *job, int kind, const char *source, const char *name);
void job_add_temp(struct job *job, int kind, struct vf_temp *temp, const char *name);
void job_submit(struct cluster *cluster, struct job *job);

/* The same at once, without files. */
void job_run(struct cluster *cluster, struct job *job, int number);

/* Whether it is back with what it was given. */
int job_has_returned(const struct job *job);
void job_end(struct job *job);

/* How many are back with what they were given; close the cluster, and look that each is back
once. */
int jobs_returned(const struct job *jobs, int n);
void cluster_end(struct cluster *cluster, struct job *jobs, int n);

/* A whole turn of the manager thread goes by. */
void cluster_turn(struct cluster *cluster);

/* A worker leaves with what it has been seen to run: what it is sent and loses before the next turn
is no loss that counts. */
void cluster_lose(struct cluster *cluster, struct worker *worker);

/* Write a file into the cluster's directory; returns its path, which stays for the next ones. */
const char *cluster_write(struct cluster *cluster, const char *name, const char *content);

#endif
