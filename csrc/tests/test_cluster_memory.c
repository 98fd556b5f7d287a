/* Whichever request for memory fails on the way of calls with files: each call comes back, with its
result or told that it failed, and those after it run. */

#include "cluster.h"

#include "faults.h"

enum {
	N = 4,
};

static struct cluster cluster;
static struct job jobs[N];
static struct vf_temp temp;

static int n_back(void)
{
	int n = 0;
	for (int i = 0; i < N; i++)
		n += jobs[i].n_back;
	return n;
}

/* One makes a file, of an input; another reads it; one that is cancelled; one without files. */
static void submit_all(int round)
{
	char name[32];
	temp = (struct vf_temp){.name = "the user's name"};
	snprintf(name, sizeof name, "input-%d", round);
	const char *path = cluster_write(&cluster, name, "content");
	for (int i = 0; i < N; i++)
		job_begin(&cluster, &jobs[i], i);
	job_add(&jobs[0], VF_FILE_INPUT, path, "input");
	job_add_temp(&jobs[0], VF_FILE_MADE, &temp, "made");
	job_add_temp(&jobs[1], VF_FILE_READ, &temp, "read");
	CHECK(vf_call_cancel(&jobs[2].call));
	for (int i = 0; i < N; i++)
		job_submit(&cluster, &jobs[i]);
}

static int is_over(const struct job *job)
{
	return job_has_returned(job) || (job->n_back == 1 && job->status == VF_STATUS_ENGINE);
}

static void run_round(int round, int n_done)
{
	submit_all(round);
	UNTIL(&cluster, n_back() == N);
	for (int i = 0; i < N; i++)
		CHECK(is_over(&jobs[i]));
	CHECK(!job_has_returned(&jobs[2]));
	if (n_done == N - 1)
		CHECK(jobs_returned(jobs, N) == N - 1);
}

static void end_round(void)
{
	for (int i = 0; i < N; i++)
		job_end(&jobs[i]);
	int before = cluster.n_temps_given;
	vf_loop_let_go(&cluster.loop, &temp);
	UNTIL(&cluster, cluster.n_temps_given == before + 1);
	vf_temp_free(&temp);
}

int main(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	const struct worker_script script = {
			.cores = 2, .memory = 1000, .disk = 1000, .is_automatic = 1};
	cluster_join_by(&cluster, &script);
	run_round(0, N - 1);
	end_round();
	int round = 1, n_failed = 1;
	for (int n = 0; n_failed; n++) {
		faults_begin_elsewhere(n);
		run_round(round++, 0);
		n_failed = faults_end();
		end_round();
		run_round(round++, N - 1);
		end_round();
	}
	CHECK(round > 20);
	cluster_close(&cluster);
	return 0;
}
