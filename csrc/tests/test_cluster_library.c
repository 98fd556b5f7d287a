/* Libraries that cannot be sent, and those that never answer: what becomes of the calls that need
them. */

#include "cluster.h"

#include <string.h>
#include <unistd.h>

#include "taskvine.h"

enum {
	N = 4,
};

static struct cluster cluster;
static struct job jobs[N];

/* TaskVine forgets the call that it was to send the library for (7.14), or tries for ever. Workers
that have one already go on. */
static void test_what_a_library_needs_may_go(void)
{
	cluster_open(&cluster);
	cluster.library_file = cluster_write(&cluster, "library-file", "text");
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	UNTIL(&cluster, worker->n_nodes == 1);
	CHECK(!unlink(cluster.library_file));
	struct worker *other = cluster_join(&cluster, 1);
	UNTIL(&cluster, COUNT(&cluster, workers_connected) == 2);
	for (int i = 0; i < 2; i++) {
		job_run(&cluster, &jobs[i], i);
		worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
		UNTIL(&cluster, job_has_returned(&jobs[i]));
	}
	worker_leave(worker);
	job_run(&cluster, &jobs[2], 2);
	UNTIL(&cluster, jobs[2].n_back == 1);
	CHECK(jobs[2].engine_result == VINE_RESULT_INPUT_MISSING);
	CHECK(!strncmp(jobs[2].text, "vinefast's own files: ", 22));
	CHECK(other->fd >= 0 && other->n_bundles == 0);
	cluster_end(&cluster, jobs, 3);
}

/* Nothing is ever known of such a worker, so that they are not even sent there. */
static void test_libraries_that_end_again_and_again_fail_calls_that_ask_for_resources(void)
{
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .ends_libraries = 1};
	static struct spec spec;
	spec_begin(&spec, 1, 0);
	cluster_open(&cluster);
	cluster_settings(&cluster)->max_library_failures = 1;
	cluster_start(&cluster);
	for (int i = 0; i < 3; i++) {
		job_begin(&cluster, &jobs[i], i);
		jobs[i].call.spec = &spec.spec;
		job_submit(&cluster, &jobs[i]);
	}
	struct worker *worker = cluster_join_by(&cluster, &script);
	UNTIL(&cluster, cluster.n_back == 3);
	for (int i = 0; i < 3; i++)
		CHECK(jobs[i].engine_result == VINE_RESULT_LIBRARY_EXIT);
	CHECK(worker->n_libraries >= 2 && worker->n_bundles == 0);

	/* Later ones are tried, on a worker that is not like that. */
	worker_leave(worker);
	worker = cluster_join(&cluster, 1);
	UNTIL(&cluster, worker->n_nodes == 1);
	job_begin(&cluster, &jobs[3], 3);
	jobs[3].call.spec = &spec.spec;
	job_submit(&cluster, &jobs[3]);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, jobs_returned(jobs, 4) == 1);
	cluster_end(&cluster, jobs, 4);
}

int main(void)
{
	test_libraries_that_end_again_and_again_fail_calls_that_ask_for_resources();
	test_what_a_library_needs_may_go();
	return 0;
}
