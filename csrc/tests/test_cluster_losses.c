/* Workers, libraries and frames that are lost: what becomes of the calls that they had. */

#include "cluster.h"

#include <string.h>

#include "taskvine.h"

enum {
	N = 6,
};

static struct cluster cluster;
static struct job jobs[N];

/* A bundle of several calls is on a worker: all that wait as it begins. */
static struct worker *begin_with_bundle(int n)
{
	cluster_open(&cluster);
	cluster.function.mean_ns = 1000;
	cluster.function.limit = 100;
	for (int i = 0; i < n; i++)
		job_run(&cluster, &jobs[i], i);
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	CHECK(cluster_bundle(&cluster, worker)->n_calls == (uint32_t)n);
	return worker;
}

/* Any of them may be what took the worker down, which is known at the second loss. */
static void test_calls_that_lost_two_workers_together_go_alone(void)
{
	cluster_lose(&cluster, begin_with_bundle(N));
	struct worker *worker = cluster_join(&cluster, 1);
	CHECK(cluster_bundle(&cluster, worker)->n_calls == N);
	cluster_lose(&cluster, worker);
	worker = cluster_join(&cluster, 2);
	for (int i = 0; i < N; i++) {
		struct worker_task *task = cluster_bundle(&cluster, worker);
		CHECK(task->n_calls == 1);
		worker_answer(worker, task, 1, NULL);
	}
	UNTIL(&cluster, jobs_returned(jobs, N) == N);
	CHECK(COUNT(&cluster, calls_lost) == N && COUNT(&cluster, bundles_lost) == 1);
	cluster_end(&cluster, jobs, N);
}

static void test_a_call_that_takes_workers_down_fails(void)
{
	struct worker *worker = begin_with_bundle(1);
	for (int losses = 1; losses <= 4; losses++) {
		cluster_bundle(&cluster, worker);
		cluster_lose(&cluster, worker);
		worker = cluster_join(&cluster, 1);
	}
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].engine_result == VINE_RESULT_MAX_RETRIES);
	CHECK(strstr(jobs[0].text, "was lost"));
	CHECK(worker->n_bundles == 0);
	cluster_end(&cluster, jobs, 1);
}

static uint32_t n_tasks(const struct worker *worker)
{
	uint32_t n = 0;
	for (const struct worker_task *task = worker->tasks; task; task = task->next)
		n++;
	return n;
}

/* Else the one that is to blame would take the other with it, and it would not be known which. */
static void test_two_suspects_share_no_worker(int is_placing)
{
	cluster_open(&cluster);
	cluster_settings(&cluster)->placing = is_placing;
	cluster_settings(&cluster)->slots_per_worker = 2;
	cluster_start(&cluster);
	struct worker *worker;
	for (int i = 0; i < 2; i++)
		job_run(&cluster, &jobs[i], i);
	for (int losses = 0; losses < 2; losses++) {
		worker = cluster_join(&cluster, 2);
		UNTIL(&cluster, n_tasks(worker) == 2);
		cluster_lose(&cluster, worker);
	}
	worker = cluster_join(&cluster, 2);
	job_run(&cluster, &jobs[2], 2);
	UNTIL(&cluster, n_tasks(worker) == 2); /* one of them, and what came last */
	struct worker *other = cluster_join(&cluster, 2);
	UNTIL(&cluster, n_tasks(other) == 1);
	CHECK(n_tasks(worker) == 2);
	worker_answer(other, worker_bundle(other), 1, NULL);
	worker_answer(worker, worker_bundle(worker), 1, NULL);
	worker_answer(worker, worker_bundle(worker), 1, NULL);
	UNTIL(&cluster, jobs_returned(jobs, 3) == 3);
	cluster_end(&cluster, jobs, 3);
}

/* TaskVine would wait for ever for what its library had. */
static void test_a_library_that_ends_has_its_calls_run_again(void)
{
	struct worker *worker = begin_with_bundle(2);
	worker_end_library(worker);
	UNTIL(&cluster, worker->n_killed == 1);
	UNTIL(&cluster, COUNT(&cluster, calls_lost) == 2);
	for (int i = 0; i < 2; i++) {
		struct worker_task *task = cluster_bundle(&cluster, worker);
		CHECK(task->n_calls == 1);
		worker_answer(worker, task, 1, NULL);
	}
	CHECK(worker->n_libraries == 2);
	UNTIL(&cluster, jobs_returned(jobs, 2) == 2);
	cluster_end(&cluster, jobs, 2);
}

static void test_libraries_that_end_again_and_again_fail_the_calls(void)
{
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .ends_libraries = 1};
	cluster_open(&cluster);
	cluster_settings(&cluster)->max_library_failures = 1;
	cluster_start(&cluster);
	job_run(&cluster, &jobs[0], 0);
	struct worker *worker = cluster_join_by(&cluster, &script);
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].engine_result == VINE_RESULT_LIBRARY_EXIT);
	CHECK(strstr(jobs[0].text, "max-library-retries"));
	CHECK(worker->n_libraries >= 2);

	/* What comes later is tried, as soon as it is seen that nothing is left. */
	worker_leave(worker);
	worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[1], 1);
	UNTIL(&cluster, jobs[1].n_back || worker_bundle(worker));
	while (jobs[1].n_back) {
		CHECK(jobs[1].engine_result == VINE_RESULT_LIBRARY_EXIT);
		job_end(&jobs[1]);
		job_run(&cluster, &jobs[1], 1);
		UNTIL(&cluster, jobs[1].n_back || worker_bundle(worker));
	}
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, jobs_returned(jobs, 2) == 1);
	cluster_end(&cluster, jobs, 2);
}

static void test_a_frame_whose_length_lies_fails_the_call(void)
{
	struct worker *worker = begin_with_bundle(1);
	char frame[2000] = "VFR1\1\0\0\0\377\377\377\377";
	memset(frame + 64, 'x', sizeof frame - 64);
	worker_complete(worker, worker_bundle(worker), 0, 0, frame, sizeof frame);
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].engine_result == VINE_RESULT_UNKNOWN);
	CHECK(strstr(jobs[0].text, "answered with 2000 bytes that are no whole result frame"));
	cluster_end(&cluster, jobs, 1);
}

/* The frame of a call that has returned so many bytes, which begin with what it was given. */
static void answer_long(struct worker *worker, struct worker_task *task, size_t nbytes)
{
	size_t frame_nbytes;
	static const uint32_t statuses[] = {VF_STATUS_PICKLE};
	char *frame = worker_frame(worker, task, 1, statuses, &frame_nbytes);
	char *longer = calloc(1, nbytes + frame_nbytes);
	uint64_t whole = nbytes + frame_nbytes;
	uint32_t record_nbytes;
	CHECK(longer);
	memcpy(longer, frame, frame_nbytes);
	memcpy(longer + 8, &whole, sizeof whole);
	memcpy(&record_nbytes, frame + VF_RESULT_HEADER_NBYTES + 4, sizeof record_nbytes);
	record_nbytes += (uint32_t)nbytes;
	memcpy(longer + VF_RESULT_HEADER_NBYTES + 4, &record_nbytes, sizeof record_nbytes);
	worker_complete(worker, task, 0, 0, longer, whole);
	free(longer);
	free(frame);
}

/* A call whose result came in part is run again, whatever part of it is missing, and though it is
alone. */
static void test_a_result_that_came_in_part_is_none(void)
{
	static const size_t lengths[] = {0, 2000, 1 << 20};
	for (int i = 0; i < 2 * 3; i++) {
		struct worker_script script = {.cores = 1, .memory = 1000, .disk = 1000};
		size_t nbytes = lengths[i / 2];
		cluster_open(&cluster);
		cluster_start(&cluster);
		job_run(&cluster, &jobs[0], 0);
		/* An output that comes with its task's end is not asked for. */
		script.breaks_in_outputs = i % 2 || !nbytes;
		script.breaks_before_outputs = !script.breaks_in_outputs;
		/* What it has to tell of its node is short, and is wanted whole. */
		struct worker *worker = cluster_join(&cluster, 1);
		struct worker_task *task = cluster_bundle(&cluster, worker);
		worker->script = script;
		if (nbytes)
			answer_long(worker, task, nbytes);
		else
			worker_answer(worker, task, 1, NULL);
		UNTIL(&cluster, worker->fd < 0);
		worker = cluster_join(&cluster, 1);
		worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
		UNTIL(&cluster, jobs_returned(jobs, 1) == 1);
		CHECK(worker->n_bundles == 1);
		cluster_end(&cluster, jobs, 1);
	}
}

/* Nor is a file. */
static void test_a_file_that_came_in_part_is_none(void)
{
	for (int is_before = 0; is_before < 2; is_before++) {
		cluster_open(&cluster);
		cluster_start(&cluster);
		job_begin(&cluster, &jobs[0], 0);
		char *path = strdup(cluster_write(&cluster, "output", "old"));
		job_add(&jobs[0], VF_FILE_OUTPUT, path, "output");
		job_submit(&cluster, &jobs[0]);
		for (int n = 0; n < 2; n++) {
			struct worker *worker = cluster_join(&cluster, 1);
			struct worker_task *task = cluster_bundle(&cluster, worker);
			worker_make(worker, task);
			worker_answer(worker, task, 1, NULL);
			worker->script.breaks_in_outputs = !n && !is_before;
			worker->script.breaks_before_outputs = !n && is_before;
			if (!n)
				UNTIL(&cluster, worker->fd < 0);
		}
		UNTIL(&cluster, jobs_returned(jobs, 1) == 1);
		char content[32] = "";
		FILE *file = fopen(path, "r");
		CHECK(file && fgets(content, sizeof content, file) && !strcmp(content, "output"));
		fclose(file);
		free(path);
		cluster_end(&cluster, jobs, 1);
	}
}

static void test_calls_whose_frame_lies_run_again_each_alone(void)
{
	struct worker *worker = begin_with_bundle(3);
	worker_complete(worker, worker_bundle(worker), 0, 0, "VF", 2);
	for (int i = 0; i < 3; i++) {
		struct worker_task *task = cluster_bundle(&cluster, worker);
		CHECK(task->n_calls == 1);
		worker_answer(worker, task, 1, NULL);
	}
	UNTIL(&cluster, jobs_returned(jobs, 3) == 3);
	CHECK(COUNT(&cluster, calls_lost) == 3);
	cluster_end(&cluster, jobs, 3);
}

/* A record too many, and one that a library does not write. */
static void test_records_that_no_library_writes_fail_the_call(void)
{
	static const uint32_t node[] = {VF_STATUS_NODE};
	struct worker *worker = begin_with_bundle(1);
	worker_answer(worker, worker_bundle(worker), 1, node);
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].engine_result == VINE_RESULT_UNKNOWN);
	CHECK(strstr(jobs[0].text, "no whole result frame"));
	cluster_end(&cluster, jobs, 1);
}

static void test_other_results_fail_the_call_with_their_code(void)
{
	static const struct {
		int result, exit_code, engine_result;
		const char *text;
	} cases[] = {
			{VINE_RESULT_RMONITOR_ERROR, 1, VINE_RESULT_RMONITOR_ERROR, "words"},
			{VINE_RESULT_SIGNAL, 9, VINE_RESULT_SIGNAL, "words"},
			{VINE_RESULT_MAX_WALL_TIME, 0, VINE_RESULT_MAX_WALL_TIME, "words"},
			{VINE_RESULT_SUCCESS, 1, VINE_RESULT_UNKNOWN, "words"},
			{VINE_RESULT_SUCCESS, 9, VINE_RESULT_SIGNAL, "signal 9"},
			{VINE_RESULT_OUTPUT_MISSING, 1, VINE_RESULT_UNKNOWN, "words"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct worker *worker = begin_with_bundle(1);
		worker_complete(worker, worker_bundle(worker), cases[i].result, cases[i].exit_code,
				"words", 5);
		UNTIL(&cluster, jobs[0].n_back == 1);
		CHECK(jobs[0].status == VF_STATUS_ENGINE);
		CHECK(jobs[0].engine_result == cases[i].engine_result);
		CHECK(strstr(jobs[0].text, cases[i].text));
		cluster_end(&cluster, jobs, 1);
	}
}

/* Who fills the disks of workers fails; who only met a full one does not. */
static void test_a_call_for_whose_result_no_worker_has_room_is_tried_elsewhere(void)
{
	enum { MOST = 3 }; /* max_losses, as cluster_open() sets it */
	static const uint32_t answers[] = {1, MOST, MOST + 1};
	for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
		struct worker *worker = begin_with_bundle(1);
		for (uint32_t n = 0; n < answers[i]; n++) {
			worker_complete(worker, cluster_bundle(&cluster, worker),
					VINE_RESULT_SUCCESS, VF_EXIT_NO_ROOM, "", 0);
			UNTIL(&cluster, COUNT(&cluster, calls_lost) == n + 1);
		}
		if (answers[i] <= MOST)
			worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
		UNTIL(&cluster, jobs[0].n_back == 1);
		if (answers[i] <= MOST) {
			CHECK(!strcmp(jobs[0].result, jobs[0].payload));
		} else {
			CHECK(jobs[0].engine_result == VINE_RESULT_STDOUT_MISSING);
			CHECK(strstr(jobs[0].text, "disk is full"));
		}
		cluster_end(&cluster, jobs, 1);
	}
}

/* Its files are missing as well then: they came from the same disk. */
static void test_calls_for_whose_frame_there_was_no_room_go_again_whatever_else_is_missing(void)
{
	static const struct {
		int result, exit_code;
	} cases[] = {
			{VINE_RESULT_OUTPUT_MISSING, VF_EXIT_NO_ROOM},
			{VINE_RESULT_OUTPUT_MISSING, 0},
			{VINE_RESULT_OUTPUT_MISSING, 1},
			{VINE_RESULT_SUCCESS, 0},
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct worker *worker = begin_with_bundle(3);
		worker_complete(worker, worker_bundle(worker), cases[i].result, cases[i].exit_code,
				"", 0);
		UNTIL(&cluster, COUNT(&cluster, calls_lost) == 3);
		for (int call = 0; call < 3; call++) {
			struct worker_task *task = cluster_bundle(&cluster, worker);
			CHECK(task->n_calls == 1);
			/* And once more, alone: only what was not for lack of room is no loss. */
			if (!call && cases[i].exit_code != 1) {
				worker_complete(worker, task, cases[i].result, cases[i].exit_code,
						"", 0);
				UNTIL(&cluster, COUNT(&cluster, calls_lost) == 4);
				task = cluster_bundle(&cluster, worker);
			}
			worker_answer(worker, task, 1, NULL);
		}
		UNTIL(&cluster, jobs_returned(jobs, 3) == 3);
		cluster_end(&cluster, jobs, 3);
	}
}

/* Its process died, or it raised: that is the call's, and told as it is. */
static void test_what_a_call_did_is_no_loss(void)
{
	static const uint32_t statuses[] = {
			VF_STATUS_EXCEPTION, VF_STATUS_DIED, VF_STATUS_TOO_LARGE, VF_STATUS_NONE};
	struct worker *worker = begin_with_bundle(4);
	worker_answer(worker, worker_bundle(worker), 4, statuses);
	UNTIL(&cluster, cluster.n_back == 4);
	for (int i = 0; i < 4; i++)
		CHECK(jobs[i].status == statuses[i] && !strcmp(jobs[i].result, jobs[i].payload));
	CHECK(COUNT(&cluster, calls_lost) == 0);
	cluster_end(&cluster, jobs, 4);
}

static void test_news_of_workers_are_told(void)
{
	cluster_open(&cluster);
	cluster_settings(&cluster)->monitored = 1;
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 1);
	UNTIL(&cluster, cluster.n_node_joined == 1);
	CHECK(cluster.n_node_left == 0);
	worker_leave(worker);
	UNTIL(&cluster, cluster.n_node_left == 1);
	UNTIL(&cluster, COUNT(&cluster, workers_connected) == 0);

	/* One that hands the question back is asked again. */
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .keeps_node_to_itself = 1};
	worker = cluster_join_by(&cluster, &script);
	UNTIL(&cluster, worker->n_nodes == 3);
	CHECK(cluster.n_node_joined == 1);
	cluster_end(&cluster, jobs, 0);
}

static void test_idle_workers_are_let_go(void)
{
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .is_automatic = 1};
	cluster_open(&cluster);
	cluster_settings(&cluster)->idle_timeout_ns = 1;
	cluster_settings(&cluster)->min_workers = 1;
	cluster_start(&cluster);
	struct worker *one = cluster_join_by(&cluster, &script);
	struct worker *other = cluster_join_by(&cluster, &script);
	UNTIL(&cluster, one->n_nodes == 1 && other->n_nodes == 1);
	for (int i = 0; !one->was_told_to_exit && !other->was_told_to_exit; i++) {
		job_run(&cluster, &jobs[0], i);
		UNTIL(&cluster, jobs[0].n_back == 1);
		job_end(&jobs[0]);
	}
	UNTIL(&cluster, COUNT(&cluster, workers_connected) == 1);
	CHECK(one->was_told_to_exit != other->was_told_to_exit);
	cluster_end(&cluster, jobs, 0);
}

/* TaskVine chooses workers where more than one library fits on one. */
static void test_slots_are_counted_by_libraries(void)
{
	static const struct {
		double slots_per_worker, cores_per_library;
		uint64_t slots;
	} cases[] = {{0, 0, 8}, {3, 0, 3}, {2, 4, 4}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		cluster_open(&cluster);
		struct vf_config *config = cluster_settings(&cluster);
		config->placing = 0;
		config->slots_per_worker = cases[i].slots_per_worker;
		config->cores_per_library = cases[i].cores_per_library;
		cluster_start(&cluster);
		struct worker *worker = cluster_join(&cluster, 8);
		job_run(&cluster, &jobs[0], 0);
		worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
		UNTIL(&cluster, jobs_returned(jobs, 1) == 1);
		UNTIL(&cluster, COUNT(&cluster, slots) == cases[i].slots);
		cluster_end(&cluster, jobs, 1);
	}
}

int main(void)
{
	test_calls_that_lost_two_workers_together_go_alone();
	test_a_call_that_takes_workers_down_fails();
	test_two_suspects_share_no_worker(1);
	test_two_suspects_share_no_worker(0);
	test_a_library_that_ends_has_its_calls_run_again();
	test_libraries_that_end_again_and_again_fail_the_calls();
	test_a_frame_whose_length_lies_fails_the_call();
	test_a_result_that_came_in_part_is_none();
	test_a_file_that_came_in_part_is_none();
	test_calls_whose_frame_lies_run_again_each_alone();
	test_records_that_no_library_writes_fail_the_call();
	test_other_results_fail_the_call_with_their_code();
	test_a_call_for_whose_result_no_worker_has_room_is_tried_elsewhere();
	test_calls_for_whose_frame_there_was_no_room_go_again_whatever_else_is_missing();
	test_what_a_call_did_is_no_loss();
	test_news_of_workers_are_told();
	test_idle_workers_are_let_go();
	test_slots_are_counted_by_libraries();
	return 0;
}
