/* Where calls are that run: their workers are asked, and whoever asks gets an answer, whatever
happens. */

#include "cluster.h"
#include "faults.h"
#include "vf_ask.h"

#include <string.h>

static struct cluster cluster;
static struct job jobs[2];
static struct vf_question question;

static void begin(void)
{
	memset(jobs, 0, sizeof jobs);
	cluster_open(&cluster);
	cluster_start(&cluster);
	cluster.n_answers = cluster.n_known = 0;
}

static void ask(struct job *job)
{
	question = (struct vf_question){.call = &job->call};
	vf_loop_ask(&cluster.loop, &question);
}

static void test_a_call_that_runs(void)
{
	char command[64];
	begin();
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[0], 0);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	cluster_turn(&cluster);
	for (int i = 1; i <= 3; i++) {
		ask(&jobs[0]);
		UNTIL(&cluster, cluster.n_answers == i);
		CHECK(cluster.n_known == i && worker->n_questions == i);
	}
	snprintf(command, sizeof command, "T %lld:0", (long long)task->id);
	CHECK(!strcmp(worker->asked, command));
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	cluster_end(&cluster, jobs, 1);
}

static void test_one_that_waits_or_is_done(void)
{
	begin();
	job_run(&cluster, &jobs[0], 0);
	UNTIL(&cluster, COUNT(&cluster, bundles_running) == 1);
	ask(&jobs[0]);
	UNTIL(&cluster, cluster.n_answers == 1);
	struct worker *worker = cluster_join(&cluster, 1);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	ask(&jobs[0]);
	UNTIL(&cluster, cluster.n_answers == 2);
	CHECK(!cluster.n_known && !worker->n_questions);
	cluster_end(&cluster, jobs, 1);
}

static void test_its_worker_is_lost(void)
{
	begin();
	struct worker *worker = cluster_join_by(&cluster,
			&(struct worker_script){.cores = 1,
					.memory = 1000,
					.disk = 1000,
					.keeps_stacks_to_itself = 1});
	job_run(&cluster, &jobs[0], 0);
	cluster_bundle(&cluster, worker);
	cluster_turn(&cluster);
	ask(&jobs[0]);
	UNTIL(&cluster, worker->n_questions == 1);
	CHECK(!cluster.n_answers);
	cluster_lose(&cluster, worker);
	struct worker *other = cluster_join(&cluster, 1);
	UNTIL(&cluster, cluster.n_answers == 1);
	CHECK(!cluster.n_known && !other->n_questions);
	worker_answer(other, cluster_bundle(&cluster, other), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	cluster_end(&cluster, jobs, 1);
}

static void test_short_memory_delays_it(void)
{
	begin();
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[0], 0);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	cluster_turn(&cluster);
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		int before = cluster.n_answers;
		faults_begin_elsewhere(n);
		ask(&jobs[0]);
		UNTIL(&cluster, cluster.n_answers == before + 1);
		n_failed = faults_end();
		CHECK(n < 100);
	}
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	cluster_end(&cluster, jobs, 1);
}

int main(void)
{
	test_a_call_that_runs();
	test_one_that_waits_or_is_done();
	test_its_worker_is_lost();
	test_short_memory_delays_it();
	return 0;
}
