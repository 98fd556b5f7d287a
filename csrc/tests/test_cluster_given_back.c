/* Bundles that a worker gives back, and stays: in regular mode. */

#include "cluster.h"

#include <string.h>

#include "taskvine_private.h"

enum {
	N = 2,
	GIVEN_BACK_MAX = 10,
};

static struct cluster cluster;
static struct job jobs[N];

/* Each task needs a file, which workers get from each other. */
static void begin_regular(struct vine_file **input, uint32_t max_losses)
{
	static const char *const names[] = {"program"};
	cluster_open(&cluster);
	struct vf_config *config = cluster_settings(&cluster);
	config->command = "run";
	config->placing = 0;
	config->max_losses = max_losses;
	*input = vine_declare_file(cluster.manager, cluster_write(&cluster, "program", "text"),
			VINE_CACHE_LEVEL_WORKFLOW, 0);
	config->inputs = input;
	config->input_names = (const char **)names;
	config->n_inputs = 1;
	cluster_start(&cluster);
}

static void give_back(struct worker *worker)
{
	struct worker_task *task = cluster_bundle(&cluster, worker);
	worker_complete(worker, task, VINE_RESULT_FORSAKEN, 1, "", 0);
}

/* A worker of TaskVine 7.14 does not do so by itself. */
static void test_a_file_that_a_worker_failed_to_get_is_tried_again(void)
{
	static const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .leaves_fetches = 1};
	struct vine_file *input;
	begin_regular(&input, 3);
	struct worker *one = cluster_join_by(&cluster, &script);
	job_run(&cluster, &jobs[0], 0);
	cluster_bundle(&cluster, one);
	CHECK(one->n_fetches == 0);
	struct worker *other = cluster_join_by(&cluster, &script);
	job_run(&cluster, &jobs[1], 1);
	UNTIL(&cluster, worker_fetch(other));
	char name[WORKER_NAME_NBYTES];
	memcpy(name, worker_fetch(other)->name, sizeof name);
	worker_not_fetched(other, worker_fetch(other), "Could not establish connection");
	give_back(other);
	/* From there again, or from the manager. */
	UNTIL(&cluster, worker_file(other, name) && !worker_file(other, name)->has_failed);
	if (worker_fetch(other))
		worker_fetched(other, worker_fetch(other), 4);
	worker_answer(other, cluster_bundle(&cluster, other), 1, NULL);
	worker_answer(one, cluster_bundle(&cluster, one), 1, NULL);
	UNTIL(&cluster, jobs_returned(jobs, 2) == 2);
	CHECK(jobs[1].call.losses == 0);
	cluster_end(&cluster, jobs, 2);
}

/* That is no fault of the call's, but such a worker would take call after call. */
static void test_a_worker_that_gives_back_all_it_gets_begins_anew(void)
{
	struct vine_file *input;
	begin_regular(&input, 3);
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[0], 0);
	for (int n = 0; n < GIVEN_BACK_MAX; n++)
		give_back(worker);
	UNTIL(&cluster, worker->fd < 0);
	CHECK(!worker->was_told_to_exit && worker->n_bundles == GIVEN_BACK_MAX);
	worker = cluster_join(&cluster, 1);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, jobs_returned(jobs, 1) == 1);
	CHECK(jobs[0].call.losses == 1);
	cluster_end(&cluster, jobs, 1);
}

/* What it runs is not to be lost with that. */
static void test_a_worker_that_runs_another_call_keeps_its_connection(void)
{
	struct vine_file *input;
	begin_regular(&input, 3);
	struct worker *worker = cluster_join(&cluster, 2);
	job_run(&cluster, &jobs[0], 0);
	cluster_bundle(&cluster, worker);
	job_run(&cluster, &jobs[1], 1);
	for (int n = 0; n <= GIVEN_BACK_MAX; n++) {
		UNTIL(&cluster, worker->tasks && worker->tasks->next);
		if (n < GIVEN_BACK_MAX)
			worker_complete(worker, worker->tasks->next, VINE_RESULT_FORSAKEN, 1, "",
					0);
	}
	CHECK(worker->fd >= 0);
	worker_answer(worker, worker->tasks->next, 1, NULL);
	worker_answer(worker, worker->tasks, 1, NULL);
	UNTIL(&cluster, jobs_returned(jobs, 2) == 2);
	CHECK(jobs[0].call.losses == 0 && jobs[1].call.losses == 1);
	cluster_end(&cluster, jobs, 2);
}

/* As where a disk is full that they share. None of them is to blame by itself. */
static void test_a_call_that_worker_after_worker_gives_back_fails(void)
{
	struct vine_file *input;
	begin_regular(&input, 1);
	job_run(&cluster, &jobs[0], 0);
	struct worker *worker = cluster_join(&cluster, 1);
	for (int n = 0; n <= GIVEN_BACK_MAX; n++) {
		give_back(worker);
		if (n == GIVEN_BACK_MAX / 2) {
			worker_leave(worker); /* so this time it is lost */
			worker = cluster_join(&cluster, 1);
		}
	}
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].engine_result == VINE_RESULT_MAX_RETRIES && worker->fd >= 0);
	cluster_end(&cluster, jobs, 1);
}

static void test_a_call_that_is_given_back_for_ever_fails(void)
{
	struct vine_file *input;
	begin_regular(&input, 1);
	job_run(&cluster, &jobs[0], 0);
	for (int losses = 1; losses <= 2; losses++) {
		struct worker *worker = cluster_join(&cluster, 1);
		for (int n = 0; n < GIVEN_BACK_MAX; n++)
			give_back(worker);
		UNTIL(&cluster, worker->fd < 0);
	}
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].engine_result == VINE_RESULT_MAX_RETRIES);
	cluster_end(&cluster, jobs, 1);
}

int main(void)
{
	test_a_file_that_a_worker_failed_to_get_is_tried_again();
	test_a_worker_that_gives_back_all_it_gets_begins_anew();
	test_a_worker_that_runs_another_call_keeps_its_connection();
	test_a_call_that_worker_after_worker_gives_back_fails();
	test_a_call_that_is_given_back_for_ever_fails();
	return 0;
}
