/* Inputs that do not reach a worker: the call waits for another try, or fails with the reason. */

#include "cluster.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "taskvine.h"

static const char URL[] = "http://127.0.0.1:9/file\" --silent";
static const char NOBODY[] = "curl: (7) Failed to connect to 127.0.0.1 port 9\n";
static const char REFUSED[] = "error creating file at worker: curl: (22) The requested URL "
			      "returned error: 404\n";

enum {
	N = 3,
};

static struct cluster cluster;
static struct job jobs[N];

static void end(int n)
{
	cluster_close(&cluster);
	for (int i = 0; i < n; i++) {
		CHECK(jobs[i].n_back == 1);
		job_end(&jobs[i]);
	}
}

static struct worker *join(void)
{
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .leaves_fetches = 1};
	return cluster_join_by(&cluster, &script);
}

static void submit_with(int i, int kind, const char *source)
{
	static const char *const names[N] = {"in0", "in1", "in2"};
	job_begin(&cluster, &jobs[i], i);
	job_add(&jobs[i], kind, source, names[i]);
	job_submit(&cluster, &jobs[i]);
}

static struct worker_file *fetch_at(struct worker *worker, int line)
{
	for (int64_t end_ms = vf_now_ms() + PATIENCE_MS; !worker_fetch(worker);) {
		cluster_serve(&cluster);
		if (vf_now_ms() > end_ms)
			cluster_give_up(__FILE__, line, "a fetch");
	}
	return worker_fetch(worker);
}

/* What a worker is to fetch, as soon as there is something. */
#define fetch_of(worker) fetch_at(worker, __LINE__)

static void check_failed(int i, const char *text)
{
	UNTIL(&cluster, jobs[i].n_back == 1);
	CHECK(jobs[i].engine_result == VINE_RESULT_INPUT_MISSING);
	if (strcmp(jobs[i].text, text))
		fprintf(stderr, "%s\n", jobs[i].text);
	CHECK(!strcmp(jobs[i].text, text));
}

/* A worker does not try for a name again. */
static void test_a_url_is_tried_once_more_under_another_name(void)
{
	char name[WORKER_NAME_NBYTES];
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *worker = join();
	submit_with(0, VF_FILE_URL, URL);
	struct worker_file *file = fetch_of(worker);
	memcpy(name, file->name, sizeof name);
	worker_not_fetched(worker, file, NOBODY);
	worker_complete(worker, cluster_bundle(&cluster, worker), VINE_RESULT_FORSAKEN, 1, "", 0);
	file = fetch_of(worker);
	CHECK(strcmp(name, file->name) && worker->n_fetches == 2);
	worker_fetched(worker, file, 10);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	end(1);
}

static void test_a_url_that_cannot_be_had_twice_fails_the_call(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *worker = join();
	submit_with(0, VF_FILE_URL, URL);
	for (int n = 0; n < 2; n++) {
		worker_not_fetched(worker, fetch_of(worker), NOBODY);
		struct worker_task *task = cluster_bundle(&cluster, worker);
		worker_complete(worker, task, VINE_RESULT_FORSAKEN, 1, "", 0);
	}
	check_failed(0, "http://127.0.0.1:9/file: curl: (7) Failed to connect to 127.0.0.1 port 9");
	CHECK(worker->n_fetches == 2);
	end(1);
}

/* The server knows that it will not have it later either; nor are those asked that wait. */
static void test_a_url_that_is_refused_fails_all_that_wait_for_it(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *worker = join();
	submit_with(0, VF_FILE_URL, URL);
	struct worker_file *file = fetch_of(worker);
	submit_with(1, VF_FILE_URL, URL);
	UNTIL(&cluster, COUNT(&cluster, calls_waiting) + COUNT(&cluster, bundles_running) == 2);
	worker_not_fetched(worker, file, REFUSED);
	worker_complete(worker, cluster_bundle(&cluster, worker), VINE_RESULT_FORSAKEN, 1, "", 0);
	for (int i = 0; i < 2; i++)
		check_failed(i,
				"http://127.0.0.1:9/file: curl: (22) The requested URL returned "
				"error: 404");
	CHECK(worker->n_fetches == 1);
	/* Who asks after that has not heard of it. */
	submit_with(2, VF_FILE_URL, URL);
	worker_fetched(worker, fetch_of(worker), 10);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[2]));
	end(3);
}

/* A worker that is told to delete what it fetches aborts (7.14.5), with all that it runs. In
regular mode TaskVine ends a task of which nothing is wanted. */
static void test_what_a_cancelled_call_fetches_alone_is_deleted_after_that(void)
{
	char name[WORKER_NAME_NBYTES];
	cluster_open(&cluster);
	cluster_settings(&cluster)->command = "run";
	cluster_settings(&cluster)->placing = 0;
	cluster_start(&cluster);
	struct worker *worker = join();
	job_begin(&cluster, &jobs[0], 0);
	struct vf_file *file = job_add(&jobs[0], VF_FILE_URL, URL, "in0");
	file->key = "0 0 the URL";
	file->level = VINE_CACHE_LEVEL_TASK;
	job_submit(&cluster, &jobs[0]);
	cluster_bundle(&cluster, worker);
	memcpy(name, fetch_of(worker)->name, sizeof name);
	CHECK(vf_call_cancel_sent(&jobs[0].call));
	vf_loop_cancel_sent(&cluster.loop);
	UNTIL(&cluster, jobs[0].n_back == 1 && worker->n_killed == 1);
	cluster_turn(&cluster);
	CHECK(worker_fetch(worker) && worker_fetch(worker) == worker_file(worker, name));
	worker_fetched(worker, worker_fetch(worker), 10);
	UNTIL(&cluster, !worker_file(worker, name));
	end(1);
}

static void submit_archive(int i, const char *path, const char *label, int level)
{
	job_begin(&cluster, &jobs[i], i);
	struct vf_file *file = job_add(&jobs[i], VF_FILE_INPUT, path, "in0");
	vf_look_here(path, &file->look);
	file->key = "the archive";
	file->label = label;
	file->level = level;
	file->unpack = 1;
	const struct timespec *modified = &file->look.modified;
	file->version = (uint64_t)modified->tv_sec * 1000000000u + (uint64_t)modified->tv_nsec;
	job_submit(&cluster, &jobs[i]);
}

/* What a worker's task calls it that is unpacked for it. */
static void name_unpacked(struct worker *worker, char name[WORKER_NAME_NBYTES])
{
	const struct worker_task *task = cluster_bundle(&cluster, worker);
	uint32_t i = 0;
	while (i < task->n_inputs && strcmp(task->inputs[i].name, "in0"))
		i++;
	CHECK(i < task->n_inputs && strstr(task->inputs[i].cached_name, "-unpacked"));
	memcpy(name, task->inputs[i].cached_name, WORKER_NAME_NBYTES);
}

/* Nor is it to delete what it unpacks; and what is unpacked anew meanwhile is another file. */
static void test_what_a_cancelled_call_unpacks_is_deleted_after_that(int is_alone)
{
	static const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .leaves_unpacking = 1};
	static const struct timespec later[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 2000000000}};
	const char *label = is_alone ? NULL : "tree";
	int level = is_alone ? VINE_CACHE_LEVEL_TASK : VINE_CACHE_LEVEL_WORKER;
	char name[WORKER_NAME_NBYTES], other[WORKER_NAME_NBYTES];
	cluster_open(&cluster);
	cluster_settings(&cluster)->command = "run";
	cluster_settings(&cluster)->placing = 0;
	cluster_start(&cluster);
	const char *path = cluster_write(&cluster, "archive", "text");
	struct worker *worker = cluster_join_by(&cluster, &script);
	submit_archive(0, path, label, level);
	name_unpacked(worker, name);
	CHECK(is_alone || !strcmp(name, "tree-unpacked"));
	CHECK(vf_call_cancel_sent(&jobs[0].call));
	vf_loop_cancel_sent(&cluster.loop);
	UNTIL(&cluster, jobs[0].n_back == 1 && worker->n_killed == 1);

	CHECK(!utimensat(AT_FDCWD, path, later, 0));
	submit_archive(1, path, label, level);
	name_unpacked(worker, other);
	CHECK(worker_file(worker, name) && strcmp(name, other));
	worker_bring(worker, name, 10);
	UNTIL(&cluster, !worker_file(worker, name));
	CHECK(worker_file(worker, other));
	worker_bring(worker, other, 10);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[1]));
	end(2);
}

static void test_a_worker_that_does_not_say_why(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *worker = join();
	submit_with(0, VF_FILE_URL, URL);
	for (int n = 0; n < 2; n++) {
		worker_not_fetched(worker, fetch_of(worker), "\n");
		struct worker_task *task = cluster_bundle(&cluster, worker);
		worker_complete(worker, task, VINE_RESULT_FORSAKEN, 1, "", 0);
	}
	check_failed(0,
			"http://127.0.0.1:9/file: the worker could not get it, and does not say "
			"why");
	end(1);
}

/* The server is asked once, also for many workers. */
static void test_workers_get_a_url_from_each_other(void)
{
	cluster_open(&cluster);
	cluster_settings(&cluster)->locality = 0; /* a call for each worker */
	cluster_start(&cluster);
	struct worker *workers[] = {join(), join()};
	UNTIL(&cluster, workers[0]->n_nodes && workers[1]->n_nodes);
	submit_with(0, VF_FILE_URL, URL);
	submit_with(1, VF_FILE_URL, URL);
	UNTIL(&cluster, worker_fetch(workers[0]) || worker_fetch(workers[1]));
	int first = worker_fetch(workers[0]) ? 0 : 1;
	struct worker *one = workers[first], *other = workers[!first];
	cluster_turn(&cluster);
	CHECK(!worker_fetch(other));
	worker_fetched(one, worker_fetch(one), 10);
	CHECK(strstr(fetch_of(other)->source, "workerip"));
	worker_fetched(other, worker_fetch(other), 10);
	worker_answer(one, cluster_bundle(&cluster, one), 1, NULL);
	worker_answer(other, cluster_bundle(&cluster, other), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]) && job_has_returned(&jobs[1]));
	end(2);
}

/* Which of two workers has a bundle now. */
static struct worker *busy_one(struct worker *const workers[2])
{
	UNTIL(&cluster, worker_bundle(workers[0]) || worker_bundle(workers[1]));
	return workers[worker_bundle(workers[0]) ? 0 : 1];
}

/* The other one may be cut off: what is here comes from here then, to whoever needs it. */
static void test_a_file_that_a_worker_could_not_get_from_another_is_sent(void)
{
	cluster_open(&cluster);
	cluster_settings(&cluster)->locality = 0; /* a call for each worker */
	const char *path = cluster_write(&cluster, "input", "some text");
	cluster_start(&cluster);
	struct worker *workers[] = {join(), join()};
	UNTIL(&cluster, workers[0]->n_nodes && workers[1]->n_nodes);
	submit_with(0, VF_FILE_INPUT, path);
	struct worker *one = busy_one(workers), *other = workers[one == workers[0]];
	submit_with(1, VF_FILE_INPUT, path);
	CHECK(strstr(fetch_of(other)->source, "workerip"));
	worker_not_fetched(other, fetch_of(other), "Could not establish connection");
	worker_complete(other, cluster_bundle(&cluster, other), VINE_RESULT_FORSAKEN, 1, "", 0);

	/* One has the call again, with the file under another name; the next call is for the
	other. */
	worker_answer(one, cluster_bundle(&cluster, one), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[0]));
	one = busy_one(workers);
	other = workers[one == workers[0]];
	submit_with(2, VF_FILE_INPUT, path);
	worker_answer(other, cluster_bundle(&cluster, other), 1, NULL);
	worker_answer(one, cluster_bundle(&cluster, one), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[1]) && job_has_returned(&jobs[2]));
	CHECK(one->n_files + other->n_files == 3 && one->n_fetches + other->n_fetches == 1);
	end(N);
}

/* A worker whose disk is full says nothing: it closes the connection, and comes back. */
static void test_a_file_that_cannot_be_sent_twice_fails_the_call(void)
{
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .breaks_at_files = 1};
	char text[300];
	cluster_open(&cluster);
	/* More than the connection takes while nobody reads. */
	size_t nbytes = (size_t)64 << 20;
	const char *path = cluster_write(&cluster, "input", "");
	CHECK(!truncate(path, (off_t)nbytes));
	cluster_start(&cluster);
	submit_with(0, VF_FILE_INPUT, path);
	for (int n = 0; n < 2; n++) {
		struct worker *worker = cluster_join_by(&cluster, &script);
		UNTIL(&cluster, worker->fd < 0);
	}
	snprintf(text, sizeof text,
			"%s: the connection to its worker broke each time it was sent; is the "
			"worker's disk full?",
			path);
	check_failed(0, text);

	/* What else there is, goes on. */
	struct worker *worker = cluster_join(&cluster, 1);
	job_run(&cluster, &jobs[1], 1);
	worker_answer(worker, cluster_bundle(&cluster, worker), 1, NULL);
	UNTIL(&cluster, job_has_returned(&jobs[1]));
	end(2);
}

static void test_a_file_goes_where_there_is_room_for_it(void)
{
	const struct worker_script script = {.cores = 1, .memory = 1000, .disk = 1};
	cluster_open(&cluster);
	const char *path = cluster_write(&cluster, "input", "");
	CHECK(!truncate(path, 2 << 20));
	cluster_start(&cluster);
	struct worker *small = cluster_join_by(&cluster, &script);
	struct worker *large = cluster_join(&cluster, 1);
	UNTIL(&cluster, small->n_nodes && large->n_nodes);
	UNTIL(&cluster, COUNT(&cluster, usable_disk) == 1000);
	for (int i = 0; i < N; i++) {
		submit_with(i, VF_FILE_INPUT, path);
		worker_answer(large, cluster_bundle(&cluster, large), 1, NULL);
		UNTIL(&cluster, job_has_returned(&jobs[i]));
	}
	CHECK(small->n_bundles == 0 && large->n_files == 1);
	end(N);
}

int main(void)
{
	test_a_file_that_a_worker_could_not_get_from_another_is_sent();
	test_a_url_is_tried_once_more_under_another_name();
	test_a_url_that_cannot_be_had_twice_fails_the_call();
	test_a_url_that_is_refused_fails_all_that_wait_for_it();
	test_what_a_cancelled_call_fetches_alone_is_deleted_after_that();
	test_what_a_cancelled_call_unpacks_is_deleted_after_that(1);
	test_what_a_cancelled_call_unpacks_is_deleted_after_that(0);
	test_a_worker_that_does_not_say_why();
	test_workers_get_a_url_from_each_other();
	test_a_file_that_cannot_be_sent_twice_fails_the_call();
	test_a_file_goes_where_there_is_room_for_it();
	return 0;
}
