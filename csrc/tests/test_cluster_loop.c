/* Calls go through the loop, a real manager and scripted workers: each comes back once. */

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cluster.h"

enum {
	N = 40,
};

static struct cluster cluster;
static struct job jobs[N];

static void test_each_call_comes_back_once(void)
{
	const struct worker_script script = {
			.cores = 2, .memory = 1000, .disk = 1000, .is_automatic = 1};
	cluster_open(&cluster);
	cluster_start(&cluster);
	for (int i = 0; i < N / 2; i++)
		job_run(&cluster, &jobs[i], i);
	cluster_join_by(&cluster, &script);
	cluster_join_by(&cluster, &script);
	UNTIL(&cluster, jobs_returned(jobs, N / 2) == N / 2);
	for (int i = N / 2; i < N; i++)
		job_run(&cluster, &jobs[i], i);
	UNTIL(&cluster, jobs_returned(jobs, N) == N);

	UNTIL(&cluster, COUNT(&cluster, workers_connected) == 2);
	CHECK(COUNT(&cluster, calls_sent) == N && COUNT(&cluster, calls_returned) == N);
	CHECK(COUNT(&cluster, calls_lost) == 0 && COUNT(&cluster, workers_joined) == 2);
	CHECK(cluster.workers[0].n_libraries == 1 && cluster.workers[1].n_libraries == 1);
	CHECK(cluster.workers[0].n_nodes == 1 && cluster.workers[0].n_bundles > 0);
	cluster_end(&cluster, jobs, N);
	CHECK(cluster.workers[0].was_told_to_exit && cluster.workers[1].was_told_to_exit);
}

/* What was sent and not answered stays the submitting side's, as does what waits. */
static void test_it_stops_in_the_midst(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	for (int i = 0; i < 4; i++)
		job_run(&cluster, &jobs[i], i);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, jobs_returned(jobs, 4) == 1);
	cluster_bundle(&cluster, worker);
	cluster_close(&cluster);
	CHECK(cluster.n_back == 1 && worker->was_told_to_exit);
	for (int i = 0; i < 4; i++)
		job_end(&jobs[i]);
}

static void test_it_stops_before_anybody_has_come(void)
{
	cluster_open(&cluster);
	job_run(&cluster, &jobs[0], 0);
	cluster_start(&cluster);
	UNTIL(&cluster, COUNT(&cluster, bundles_sent) == 1);
	cluster_close(&cluster);
	CHECK(jobs[0].n_back == 0);
	job_end(&jobs[0]);
}

static void test_a_manager_that_never_served_is_closed(void)
{
	cluster_open(&cluster);
	job_run(&cluster, &jobs[0], 0);
	cluster_close(&cluster);
	CHECK(jobs[0].n_back == 0);
	job_end(&jobs[0]);
}

/* A call without the descriptors that it needs leaves none behind. */
static void test_no_descriptor_is_left(void)
{
	static struct vf_loop loop;
	struct rlimit before, none;
	int lowest = dup(0);
	CHECK(lowest >= 0 && !close(lowest) && !getrlimit(RLIMIT_NOFILE, &before));
	for (int n = 0; n < 2; n++) {
		none = (struct rlimit){(rlim_t)(lowest + n), before.rlim_max};
		CHECK(!setrlimit(RLIMIT_NOFILE, &none));
		CHECK(vf_loop_init(&loop) == -1 && errno == EMFILE);
	}
	CHECK(!setrlimit(RLIMIT_NOFILE, &before));
	int same = dup(0);
	CHECK(same == lowest && !close(same));
}

/* Who waits for what is done is woken for other things, too, and in the end. */
static void test_the_taker_is_woken(void)
{
	static struct vf_loop loop;
	CHECK(!vf_loop_init(&loop));
	vf_done_wake_taker(&loop.done);
	CHECK(!vf_done_take_within(&loop.done, PATIENCE_MS));
	CHECK(!vf_done_is_closed(&loop.done));
	vf_done_close(&loop.done);
	CHECK(!vf_done_take(&loop.done) && vf_done_is_closed(&loop.done));
	vf_loop_free(&loop);
}

int main(void)
{
	test_the_taker_is_woken();
	test_no_descriptor_is_left();
	test_a_manager_that_never_served_is_closed();
	test_it_stops_before_anybody_has_come();
	test_it_stops_in_the_midst();
	test_each_call_comes_back_once();
	return 0;
}
