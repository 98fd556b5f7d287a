/* Which calls go next, and how they travel. */

#include "cluster.h"

#include <string.h>

#include "taskvine.h"

enum {
	N = 10,
};

static struct cluster cluster;
static struct job jobs[N];

static int n_back(int n)
{
	int n_here = 0;
	for (int i = 0; i < n; i++)
		n_here += jobs[i].n_back;
	return n_here;
}

static void end(int n)
{
	cluster_close(&cluster);
	for (int i = 0; i < n; i++) {
		CHECK(jobs[i].n_back == 1);
		job_end(&jobs[i]);
	}
}

/* Their durations are known: then many travel together. */
static void know_function(void)
{
	cluster.function.mean_ns = 1000;
	cluster.function.limit = 100;
}

static int is_of(const struct worker_task *task, uint32_t i, const struct job *job)
{
	uint32_t nbytes;
	const char *payload = worker_payload(task, i, &nbytes);
	return nbytes == job->call.nbytes && !memcmp(payload, job->payload, nbytes);
}

/* Of what waits, not of what comes later. */
static void test_the_highest_priority_goes_first(void)
{
	static const double priorities[] = {0, 5, -1, 5, 7};
	static const int order[] = {4, 1, 3, 0, 2};
	struct vf_spec specs[5];
	cluster_open(&cluster);
	cluster.spec.needs.cores = 1; /* none goes before it has a place */
	for (int i = 0; i < 5; i++) {
		specs[i] = cluster.spec;
		specs[i].priority = priorities[i];
	}
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[5], 5);
	struct worker_task *first = cluster_bundle(&cluster, worker);
	for (int i = 0; i < 5; i++) {
		job_begin(&cluster, &jobs[i], i);
		jobs[i].call.spec = &specs[i];
		job_submit(&cluster, &jobs[i]);
	}
	UNTIL(&cluster, COUNT(&cluster, calls_waiting) == 5);
	worker_answer(worker, first, 1, NULL);
	for (int n = 0; n < 5;) {
		struct worker_task *task = cluster_bundle(&cluster, worker);
		for (uint32_t i = 0; i < task->n_calls; i++)
			CHECK(is_of(task, i, &jobs[order[n++]]));
		worker_answer(worker, task, task->n_calls, NULL);
	}
	UNTIL(&cluster, n_back(6) == 6);
	end(6);
}

static void test_calls_travel_together_and_what_is_handed_back_goes_first(void)
{
	cluster_open(&cluster);
	know_function();
	for (int i = 0; i < N; i++)
		job_run(&cluster, &jobs[i], i);
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(task->n_calls == N);
	for (uint32_t i = 0; i < N; i++)
		CHECK(is_of(task, i, &jobs[i]));
	worker_answer(worker, task, 4, NULL);
	UNTIL(&cluster, n_back(N) == 4);
	CHECK(COUNT(&cluster, calls_handed_back) == N - 4);

	for (uint32_t n = 4; n < N;) {
		task = cluster_bundle(&cluster, worker);
		CHECK(is_of(task, 0, &jobs[n]));
		n += task->n_calls;
		worker_answer(worker, task, task->n_calls, NULL);
	}
	UNTIL(&cluster, n_back(N) == N);
	for (int i = 0; i < N; i++)
		CHECK(job_has_returned(&jobs[i]));
	end(N);
}

static void test_what_was_cancelled_never_runs(void)
{
	cluster_open(&cluster);
	know_function();
	for (int i = 0; i < N; i++)
		job_run(&cluster, &jobs[i], i);
	for (int i = 0; i < N; i += 2)
		CHECK(vf_call_cancel(&jobs[i].call));
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(task->n_calls == N / 2 && is_of(task, 0, &jobs[1]));
	CHECK(!vf_call_cancel(&jobs[1].call));
	worker_answer(worker, task, N / 2, NULL);
	UNTIL(&cluster, n_back(N) == N);
	for (int i = 0; i < N; i++) {
		if (i % 2)
			CHECK(job_has_returned(&jobs[i]));
		else
			CHECK(jobs[i].engine_result == VINE_RESULT_CANCELLED);
	}
	CHECK(COUNT(&cluster, calls_sent) == N / 2);
	end(N);
}

/* Of those that know nothing of each other one bundle goes before there is a worker, which TaskVine
keeps; and again when its worker has left. */
static void test_what_taskvine_keeps_until_a_worker_comes_waits(int is_regular)
{
	cluster_open(&cluster);
	if (is_regular)
		cluster_settings(&cluster)->command = "run";
	cluster_start(&cluster);
	job_run(&cluster, &jobs[0], 0);
	UNTIL(&cluster, COUNT(&cluster, calls_sent) == 1);
	job_run(&cluster, &jobs[1], 1);
	UNTIL(&cluster, COUNT(&cluster, calls_waiting) == 2);
	struct worker *worker = cluster_join(&cluster, 2);
	for (int n = 0; n < 2; n++) {
		UNTIL(&cluster, COUNT(&cluster, calls_waiting) == 0 && worker->n_bundles == 2);
		cluster_lose(&cluster, worker);
		UNTIL(&cluster, COUNT(&cluster, calls_waiting) == 2);
		worker = cluster_join(&cluster, 2);
	}
	for (int i = 0; i < 2; i++)
		worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, n_back(2) == 2);
	end(2);
}

/* It waits without a sound, lets others pass, and may be cancelled. */
static void test_a_call_that_is_too_large_waits(int is_regular)
{
	struct spec large;
	spec_begin(&large, 64, 1);
	cluster_open(&cluster);
	if (is_regular)
		cluster_settings(&cluster)->command = "run";
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 2);
	job_begin(&cluster, &jobs[0], 0);
	jobs[0].call.spec = &large.spec;
	job_submit(&cluster, &jobs[0]);
	job_run(&cluster, &jobs[1], 1);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, jobs[1].n_back == 1);
	UNTIL(&cluster, COUNT(&cluster, calls_too_large) == 1);
	UNTIL(&cluster, vf_group_too_large_ns(&large.group));
	CHECK(COUNT(&cluster, max_cores) == 2 && COUNT(&cluster, usable_cores) == 2);
	CHECK(jobs[0].n_back == 0 && COUNT(&cluster, calls_waiting) == 1);

	CHECK(vf_call_cancel(&jobs[0].call));
	job_run(&cluster, &jobs[2], 2); /* so that it is looked at what waits */
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].engine_result == VINE_RESULT_CANCELLED);
	CHECK(!vf_group_too_large_ns(&large.group));
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, n_back(3) == 3);
	end(3);
}

static void test_a_large_call_goes_where_it_fits(void)
{
	struct spec large;
	spec_begin(&large, 4, 0);
	cluster_open(&cluster);
	cluster_start(&cluster);
	cluster_join(&cluster, 2);
	struct worker *worker = cluster_join(&cluster, 8);
	UNTIL(&cluster, COUNT(&cluster, usable_cores) == 8);
	for (int i = 0; i < 2; i++) {
		job_begin(&cluster, &jobs[i], i);
		jobs[i].call.spec = &large.spec;
		job_submit(&cluster, &jobs[i]);
	}
	for (int i = 0; i < 2; i++) {
		struct worker_task *task = cluster_bundle(&cluster, worker);
		uint32_t cores;
		memcpy(&cores, task->frame.data + 16, sizeof cores);
		CHECK(cores == 4);
		worker_answer(worker, task, 1, NULL);
	}
	UNTIL(&cluster, n_back(2) == 2);
	CHECK(cluster.workers[0].n_bundles == 0);
	end(2);
}

/* A bundle of one call without files is answered, and another one submitted. */
static int go_on(struct worker *worker, struct job *small, int *n)
{
	struct worker_task *task = worker_bundle(worker);
	if (!task || task->n_inputs)
		return task != NULL;
	worker_answer(worker, task, 1, NULL);
	job_run(&cluster, &small[*n], *n);
	(*n)++;
	return 0;
}

/* Tells whether there was one. */
static int answer_one(struct worker *worker)
{
	struct worker_task *task = worker_bundle(worker);
	if (task)
		worker_answer(worker, task, 1, NULL);
	return task != NULL;
}

/* Also while others keep all workers busy, and it costs less to wait there than to move it. */
static void test_a_large_call_gets_a_turn_where_its_file_is(void)
{
	enum { WAITING = 30, MANY = 300 };
	static struct job small[MANY + 2];
	static struct spec spec, needs_memory;
	struct vf_temp temp = {.name = "file"};
	const struct worker_script script = {.cores = 2, .memory = 1000, .disk = 1000};
	const struct worker_script holding = {.cores = 2, .memory = 3000, .disk = 1000};
	cluster_open(&cluster);
	cluster.function.mean_ns = 10e6;
	cluster_settings(&cluster)->rule.target_ns = 0; /* each call is a bundle */
	cluster_settings(&cluster)->scoring.bandwidth_bytes_per_ns = 1e-9;
	cluster_start(&cluster);
	struct worker *other = cluster_join_by(&cluster, &script);
	UNTIL(&cluster, other->n_nodes == 1);
	struct worker *holder = cluster_join_by(&cluster, &holding);
	UNTIL(&cluster, holder->n_nodes == 1);

	spec_begin(&needs_memory, -1, 0);
	needs_memory.spec.needs.memory = 2000;
	job_begin(&cluster, &jobs[0], 0);
	jobs[0].call.spec = &needs_memory.spec;
	job_add_temp(&jobs[0], VF_FILE_MADE, &temp, "made");
	job_submit(&cluster, &jobs[0]);
	struct worker_task *task = cluster_bundle(&cluster, holder);
	worker_make(holder, task);
	worker_answer(holder, task, 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));

	int n = 0, is_there = 0;
	while (n < WAITING) {
		job_run(&cluster, &small[n], n);
		n++;
	}
	spec_begin(&spec, 2, 0);
	job_begin(&cluster, &jobs[1], 1);
	jobs[1].call.spec = &spec.spec;
	job_add_temp(&jobs[1], VF_FILE_READ, &temp, "read");
	job_submit(&cluster, &jobs[1]);
	UNTIL(&cluster,
			n >= MANY || go_on(other, small, &n) ||
					(is_there = go_on(holder, small, &n)));
	CHECK(is_there);
	UNTIL(&cluster, !answer_one(holder) && !answer_one(other) && cluster.n_back == n + 2);
	vf_loop_let_go(&cluster.loop, &temp);
	UNTIL(&cluster, cluster.n_temps_given == 1);
	cluster_close(&cluster);
	CHECK(jobs_returned(small, n) == n && jobs_returned(jobs, 2) == 2);
	for (int i = 0; i < n; i++)
		job_end(&small[i]);
	for (int i = 0; i < 2; i++)
		job_end(&jobs[i]);
	vf_temp_free(&temp);
}

static void test_a_large_frame_travels_as_a_file(void)
{
	cluster_open(&cluster);
	cluster_settings(&cluster)->inline_nbytes = 10;
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[0], 0);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(!strcmp(task->command, "F") && task->n_inputs == 1 && is_of(task, 0, &jobs[0]));
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	CHECK(COUNT(&cluster, bundles_spilled) >= 1);
	end(1);
}

static uint32_t nbytes_of_body(const struct worker_task *task)
{
	uint32_t nbytes;
	memcpy(&nbytes, task->frame.data + VF_BUNDLE_HEADER_NBYTES + 16, sizeof nbytes);
	return nbytes;
}

static void test_a_worker_that_does_not_know_the_function_gets_it(void)
{
	static const uint32_t missed[] = {VF_STATUS_UNKNOWN_FUNCTION};
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[0], 0);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(nbytes_of_body(task) == cluster.function.body_nbytes);
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, n_back(1) == 1);

	job_run(&cluster, &jobs[1], 1);
	task = cluster_bundle(&cluster, worker);
	CHECK(nbytes_of_body(task) == 0);
	worker_answer(worker, task, 1, missed);
	task = cluster_bundle(&cluster, worker);
	CHECK(nbytes_of_body(task) == cluster.function.body_nbytes);
	CHECK(COUNT(&cluster, calls_missed) == 1);
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, n_back(2) == 2 && job_has_returned(&jobs[1]));
	end(2);
}

/* Each call is a process of its own, with files, environment and resources. */
static void test_the_regular_mode(void)
{
	static const char *names[] = {"library.py"}, *env[] = {"NAME", "value"};
	struct vine_file *files[1];
	cluster_open(&cluster);
	struct vf_config *config = cluster_settings(&cluster);
	config->command = "python3 library.py";
	const char *path = cluster_write(&cluster, "library.py", "pass\n");
	files[0] = vine_declare_file(cluster.manager, path, VINE_CACHE_LEVEL_WORKFLOW, 0);
	config->inputs = files;
	config->input_names = names;
	config->n_inputs = 1;
	config->env = env;
	config->n_env = 2;
	config->monitored = 1;
	config->allocation_mode = VINE_ALLOCATION_MODE_FIXED;
	config->slow_factor = 2;
	config->max_retries = 5;
	cluster.spec.category = "heavy";
	cluster.spec.running_time_min = 1;
	cluster.spec.needs = (struct vf_resources){2, 100, 100, 1};
	cluster_start(&cluster);
	const struct worker_script script = {.cores = 2, .memory = 1000, .disk = 1000, .gpus = 1};
	struct worker *worker = cluster_join_by(&cluster, &script);
	UNTIL(&cluster, worker->n_nodes == 1);
	job_run(&cluster, &jobs[0], 0);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(!strcmp(task->command, "python3 library.py"));
	CHECK(!strcmp(task->environment, "NAME=value") && !strcmp(task->category, "heavy"));
	CHECK(!strncmp(task->cores, "2.", 2) && task->n_inputs == 2 && worker->n_libraries == 0);
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	CHECK(cluster.n_node_joined == 1 && !cluster.function.delivered);
	CHECK(COUNT(&cluster, slots) == 2);
	config->n_env = 0;
	cluster.spec.memory_limit = 100;
	job_run(&cluster, &jobs[1], 1);
	task = cluster_bundle(&cluster, worker);
	CHECK(!strcmp(task->environment, "VINEFAST_MEMORY_LIMIT_MB=100"));
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[1]));
	end(2);
}

int main(void)
{
	test_the_highest_priority_goes_first();
	test_calls_travel_together_and_what_is_handed_back_goes_first();
	test_what_was_cancelled_never_runs();
	test_what_taskvine_keeps_until_a_worker_comes_waits(0);
	test_what_taskvine_keeps_until_a_worker_comes_waits(1);
	test_a_call_that_is_too_large_waits(0);
	test_a_call_that_is_too_large_waits(1);
	test_a_large_call_goes_where_it_fits();
	test_a_large_call_gets_a_turn_where_its_file_is();
	test_a_large_frame_travels_as_a_file();
	test_a_worker_that_does_not_know_the_function_gets_it();
	test_the_regular_mode();
	return 0;
}
