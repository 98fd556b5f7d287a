/* Calls are cancelled that were sent: workers are told, once, and of no other call. */

#include "cluster.h"
#include "faults.h"
#include "taskvine.h"

#include <string.h>

enum {
	N = 1200, /* whose numbers take more room than is asked for at first */
};

static struct cluster cluster;
static struct job jobs[N];
static char told[WORKER_NAME_NBYTES];

static int n_back(void)
{
	int n = 0;
	for (int i = 0; i < N; i++)
		n += jobs[i].n_back;
	return n;
}

static void begin(void)
{
	memset(jobs, 0, sizeof jobs);
	cluster_open(&cluster);
	/* Their durations are known: then many travel together. */
	cluster.function.mean_ns = 1000;
	cluster.function.limit = N;
	cluster_start(&cluster);
}

static void end(void)
{
	cluster_close(&cluster);
	for (int i = 0; i < N; i++) {
		CHECK(jobs[i].n_back <= 1);
		if (jobs[i].payload[0])
			job_end(&jobs[i]);
	}
}

/* A worker that joins gets one bundle of these calls: none goes before it has a place. */
static struct worker_task *together(int n)
{
	cluster.spec.needs.cores = 1;
	for (int i = 0; i < n; i++)
		job_run(&cluster, &jobs[i], i);
	UNTIL(&cluster, COUNT(&cluster, calls_waiting) == (uint64_t)n);
	struct worker_task *task = cluster_bundle(&cluster, cluster_join(&cluster, 1));
	CHECK(task->n_calls == (uint32_t)n);
	return task;
}

static void cancel(int i)
{
	CHECK(vf_call_cancel_sent(&jobs[i].call));
	CHECK(!vf_call_cancel_sent(&jobs[i].call) && !vf_call_cancel(&jobs[i].call));
}

static int is_told(const struct worker *worker, long long id, const char *indices)
{
	snprintf(told, sizeof told, "S %lld:%s", id, indices);
	return !strcmp(worker->stopped, told);
}

/* An outcome for each, but what is cancelled is nobody's. */
static void test_its_worker_is_told_which(void)
{
	begin();
	struct worker_task *task = together(3);
	struct worker *worker = &cluster.workers[0];
	cancel(1);
	vf_loop_cancel_sent(&cluster.loop);
	UNTIL(&cluster, worker->n_stops == 1);
	CHECK(is_told(worker, task->id, "1"));
	vf_loop_cancel_sent(&cluster.loop); /* nothing new */
	cluster_turn(&cluster);
	cancel(2);
	vf_loop_cancel_sent(&cluster.loop);
	UNTIL(&cluster, worker->n_stops == 2);
	CHECK(is_told(worker, task->id, "1,2"));
	worker_answer(worker, task, 3, NULL);
	UNTIL(&cluster, n_back() == 3);
	cluster_turn(&cluster);
	CHECK(worker->n_stops == 2 && worker->n_killed == 0);
	end();
}

static void test_one_message_for_all_bundles_of_a_worker(void)
{
	begin();
	struct worker *worker = cluster_join(&cluster, 2);
	for (int i = 0; i < 2; i++) {
		job_run(&cluster, &jobs[i], i);
		UNTIL(&cluster, worker->n_bundles == i + 1);
	}
	cluster_turn(&cluster);
	cancel(0);
	cancel(1);
	vf_loop_cancel_sent(&cluster.loop);
	UNTIL(&cluster, worker->n_stops == 1);
	struct worker_task *tasks[] = {worker->tasks, worker->tasks->next};
	for (int i = 0; i < 2; i++) {
		snprintf(told, sizeof told, " %lld:0", tasks[i]->id);
		CHECK(strstr(worker->stopped, told));
	}
	for (int i = 0; i < 2; i++)
		worker_answer(worker, tasks[i], 1, NULL);
	UNTIL(&cluster, n_back() == 2);
	end();
}

static int was_cancelled(const struct job *job)
{
	return job->n_back == 1 && job->status == VF_STATUS_ENGINE &&
			job->engine_result == VINE_RESULT_CANCELLED;
}

static void test_what_has_no_worker_comes_back(void)
{
	begin();
	job_run(&cluster, &jobs[0], 0);
	UNTIL(&cluster, COUNT(&cluster, bundles_running) == 1);
	cancel(0);
	vf_loop_cancel_sent(&cluster.loop);
	UNTIL(&cluster, was_cancelled(&jobs[0]));
	end();
}

static void test_it_does_not_go_to_another_worker(void)
{
	begin();
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[0], 0);
	cluster_bundle(&cluster, worker);
	cluster_turn(&cluster);
	cancel(0);
	cluster_lose(&cluster, worker);
	vf_loop_cancel_sent(&cluster.loop);
	struct worker *other = cluster_join(&cluster, 1);
	UNTIL(&cluster, was_cancelled(&jobs[0]));
	CHECK(!other->n_bundles);
	end();
}

/* What is handed back unrun is not sent again. */
static void test_unrun(void)
{
	begin();
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[0], 0);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	cancel(0);
	worker_answer(worker, task, 0, NULL);
	UNTIL(&cluster, was_cancelled(&jobs[0]));
	CHECK(worker->n_bundles == 1);
	end();
}

static void test_short_memory_delays_it(void)
{
	begin();
	struct worker *worker = cluster_join(&cluster, 1);
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		memset(&jobs[0], 0, sizeof jobs[0]);
		int before = worker->n_stops;
		job_run(&cluster, &jobs[0], 0);
		struct worker_task *task = cluster_bundle(&cluster, worker);
		cluster_turn(&cluster);
		cancel(0);
		vf_buffer_free(&cluster.loop.cancel.command);
		faults_begin_elsewhere(n);
		vf_loop_cancel_sent(&cluster.loop);
		UNTIL(&cluster, worker->n_stops == before + 1);
		n_failed = faults_end();
		CHECK(is_told(worker, task->id, "0"));
		worker_answer(worker, task, 1, NULL);
		UNTIL(&cluster, jobs[0].n_back == 1);
		if (n_failed)
			job_end(&jobs[0]);
		CHECK(n < 100);
	}
	end();
}

/* What has no room in what there is for its words is told later. */
static void test_short_memory_for_many(void)
{
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		begin();
		struct worker_task *task = together(N);
		struct worker *worker = &cluster.workers[0];
		cluster_turn(&cluster);
		for (int i = 0; i < N; i++)
			cancel(i);
		vf_buffer_free(&cluster.loop.cancel.command);
		faults_begin_elsewhere(n);
		vf_loop_cancel_sent(&cluster.loop);
		UNTIL(&cluster, worker->n_stops == 1);
		n_failed = faults_end();
		worker_answer(worker, task, N, NULL);
		UNTIL(&cluster, n_back() == N);
		end();
		CHECK(n < 100);
	}
}

/* Its worker is told as soon as TaskVine takes what tells it. */
static void test_a_refused_message_is_sent_again(void)
{
	begin();
	struct worker_task *task = together(1);
	struct worker *worker = &cluster.workers[0];
	cluster_turn(&cluster);
	cancel(0);
	faults_fail("vine_submit", 0, 0);
	vf_loop_cancel_sent(&cluster.loop);
	UNTIL(&cluster, worker->n_stops == 1);
	CHECK(faults_has_failed() && is_told(worker, task->id, "0"));
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, jobs[0].n_back == 1);
	end();
}

int main(void)
{
	test_a_refused_message_is_sent_again();
	test_its_worker_is_told_which();
	test_one_message_for_all_bundles_of_a_worker();
	test_what_has_no_worker_comes_back();
	test_it_does_not_go_to_another_worker();
	test_unrun();
	test_short_memory_delays_it();
	test_short_memory_for_many();
	return 0;
}
