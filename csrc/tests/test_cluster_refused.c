/* What TaskVine refuses is a failed call that says so, and the calls after it run. */

#include "cluster.h"

#include <errno.h>
#include <string.h>

#include "faults.h"

enum {
	N = 2,
};

static struct cluster cluster;
static struct job jobs[N];

static void run_one(void)
{
	memset(&jobs[1], 0, sizeof jobs[1]);
	job_run(&cluster, &jobs[1], 1);
	UNTIL(&cluster, job_has_returned(&jobs[1]));
	job_end(&jobs[1]);
}

static void check_refused(const char *name, int n, int unpack)
{
	memset(&jobs[0], 0, sizeof jobs[0]);
	job_begin(&cluster, &jobs[0], 0);
	const char *path = cluster_write(&cluster, unpack ? "archive" : "input", "content");
	job_add(&jobs[0], VF_FILE_INPUT, path, "input")->unpack = unpack;
	job_add(&jobs[0], VF_FILE_OUTPUT, cluster_write(&cluster, "output", ""), "output");
	faults_fail(name, n, ENOMEM);
	job_submit(&cluster, &jobs[0]);
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(faults_has_failed() && jobs[0].status == VF_STATUS_ENGINE);
	CHECK(strstr(jobs[0].text, "TaskVine refused the task"));
	job_end(&jobs[0]);
	run_one();
}

/* Before TaskVine is asked: a frame, and the limit before it, need room. */
static void test_short_memory_for_a_frame(void)
{
	int n_failed = 1, n_refused = 0;
	cluster_open(&cluster);
	cluster_start(&cluster);
	cluster.spec.memory_limit = 100;
	const struct worker_script script = {
			.cores = 2, .memory = 1000, .disk = 1000, .is_automatic = 1};
	cluster_join_by(&cluster, &script);
	run_one();
	for (int n = 0; n_failed; n++) {
		memset(&jobs[0], 0, sizeof jobs[0]);
		cluster_turn(&cluster);
		vf_buffer_free(&cluster.loop.send.command);
		faults_begin_elsewhere(n);
		job_run(&cluster, &jobs[0], 0);
		UNTIL(&cluster, jobs[0].n_back == 1);
		n_failed = faults_end();
		n_refused += strstr(jobs[0].text, "TaskVine refused the task") != NULL;
		CHECK(n_failed || job_has_returned(&jobs[0]));
		job_end(&jobs[0]);
	}
	CHECK(n_refused > 0);
	cluster_close(&cluster);
}

static void test_a_stop_does_without_a_task(const char *name)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	cluster_turn(&cluster);
	faults_fail(name, 0, ENOMEM);
	cluster_close(&cluster);
	CHECK(faults_has_failed());
}

static void test_calls(void)
{
	cluster_open(&cluster);
	cluster_settings(&cluster)->inline_nbytes = 10; /* then a frame is an input, too */
	cluster_start(&cluster);
	const struct worker_script script = {
			.cores = 2, .memory = 1000, .disk = 1000, .is_automatic = 1};
	cluster_join_by(&cluster, &script);
	run_one(); /* behind what starts the library */
	check_refused("vine_task_add_input", 0, 0);
	check_refused("vine_task_add_input", 1, 0);
	check_refused("vine_task_add_input", 1, 1);
	check_refused("vine_declare_file", 0, 0);
	check_refused("vine_submit", 0, 0);
	cluster_close(&cluster);
}

int main(void)
{
	test_calls();
	test_short_memory_for_a_frame();
	test_a_stop_does_without_a_task("vine_task_create");
	test_a_stop_does_without_a_task("vine_submit");
	return 0;
}
