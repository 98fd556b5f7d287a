/* Inputs and outputs of calls, as workers get and give them. */

#define _GNU_SOURCE
#include "cluster.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "taskvine.h"

enum {
	N = 6,
};

static struct cluster cluster;
static struct job jobs[N];

/* ---- a file system that hangs ---- */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int hangs, n_hanging;

/* Instead of the C library's. */
int access(const char *path, int mode)
{
	pthread_mutex_lock(&mutex);
	n_hanging++;
	while (hangs && strstr(path, "hangs"))
		pthread_cond_wait(&changed, &mutex);
	n_hanging--;
	pthread_mutex_unlock(&mutex);
	return faccessat(AT_FDCWD, path, mode, 0);
}

static void let_hang(int yes)
{
	pthread_mutex_lock(&mutex);
	hangs = yes;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&mutex);
}

static int n_that_hang(void)
{
	pthread_mutex_lock(&mutex);
	int n = n_hanging;
	pthread_mutex_unlock(&mutex);
	return n;
}

/* ---- */

static const char *path_of(const char *name, const char *content)
{
	return cluster_write(&cluster, name, content);
}

static void end(int n)
{
	cluster_close(&cluster);
	for (int i = 0; i < n; i++) {
		CHECK(jobs[i].n_back == 1);
		job_end(&jobs[i]);
	}
}

static struct worker *begin(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	return cluster_join(&cluster, 1);
}

static struct vf_file *add_input(int i, const char *path)
{
	static const char *const names[N] = {"in0", "in1", "in2", "in3", "in4", "in5"};
	job_begin(&cluster, &jobs[i], i);
	return job_add(&jobs[i], VF_FILE_INPUT, path, names[i]);
}

/* The content that a worker has of the first file of a task. */
static const char *input_of(const struct worker *worker, const struct worker_task *task)
{
	CHECK(task->n_inputs == task->n_calls && !strncmp(task->inputs[0].name, "in", 2));
	const struct worker_file *file = worker_file(worker, task->inputs[0].cached_name);
	CHECK(file);
	return file->data;
}

/* A call with an input is given to a worker, which has it then. */
static struct worker_task *run_with(
		struct worker *worker, int i, const char *path, const char *content)
{
	add_input(i, path);
	job_submit(&cluster, &jobs[i]);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(!strcmp(input_of(worker, task), content));
	return task;
}

static void finish(struct worker *worker, struct worker_task *task, int i)
{
	worker_answer(worker, task, 1, NULL);
	UNTIL(&cluster, jobs[i].n_back == 1);
	CHECK(job_has_returned(&jobs[i]));
}

static void test_an_input_travels_once_and_again_when_it_has_changed(void)
{
	struct worker *worker = begin();
	const char *path = path_of("input", "one");
	finish(worker, run_with(worker, 0, path, "one"), 0);
	finish(worker, run_with(worker, 1, path, "one"), 1);
	CHECK(worker->n_files == 1);
	path_of("input", "two two");
	finish(worker, run_with(worker, 2, path, "two two"), 2);
	CHECK(worker->n_files == 2);
	/* Of the same size within the same second, which TaskVine would take for the same file. */
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = 1, .tv_nsec = 1}};
	CHECK(!utimensat(AT_FDCWD, path, times, 0));
	finish(worker, run_with(worker, 3, path, "two two"), 3);
	path_of("input", "TWO TWO");
	times[1].tv_nsec = 2;
	CHECK(!utimensat(AT_FDCWD, path, times, 0));
	finish(worker, run_with(worker, 4, path, "TWO TWO"), 4);
	CHECK(worker->n_files == 4 && COUNT(&cluster, files_moved) == 4);
	CHECK(COUNT(&cluster, files_looked_at) > 0 && COUNT(&cluster, file_bytes_moved) == 24);
	end(5);
}

static void check_missing(int i, const char *path, const char *why)
{
	UNTIL(&cluster, jobs[i].n_back == 1);
	CHECK(jobs[i].engine_result == VINE_RESULT_INPUT_MISSING);
	CHECK(!strncmp(jobs[i].text, path, strlen(path)) && strstr(jobs[i].text, why));
}

static void test_an_input_that_is_not_there_fails_the_call(void)
{
	struct worker *worker = begin();
	add_input(0, "/no/such/file");
	job_submit(&cluster, &jobs[0]);
	check_missing(0, "/no/such/file", "No such file");

	/* It has gone since the submitting side has seen it. */
	const char *path = path_of("input", "one");
	vf_look_here(path, &add_input(1, path)->look);
	CHECK(!unlink(path));
	jobs[1].files->items[0].look.asked_ns -= 1000000000;
	job_submit(&cluster, &jobs[1]);
	check_missing(1, path, "No such file");

	/* Something of it that is not a file on the way there. */
	path_of("file", "");
	char below[128];
	snprintf(below, sizeof below, "%s/file/below", cluster.directory);
	add_input(2, below);
	job_submit(&cluster, &jobs[2]);
	check_missing(2, below, "Not a directory");
	CHECK(worker->n_bundles == 0);

	/* Others of the bundle go on. */
	job_run(&cluster, &jobs[3], 3);
	finish(worker, cluster_bundle(&cluster, worker), 3);
	end(4);
}

static void test_what_hangs_holds_up_nobody_else(void)
{
	struct worker *worker = begin();
	const char *path = path_of("hangs", "one");
	let_hang(1);
	for (int i = 0; i < 2; i++) {
		add_input(i, path);
		job_submit(&cluster, &jobs[i]);
	}
	UNTIL(&cluster, n_that_hang() == 1);
	job_run(&cluster, &jobs[2], 2);
	finish(worker, cluster_bundle(&cluster, worker), 2);
	CHECK(jobs[0].n_back == 0 && jobs[1].n_back == 0);
	let_hang(0);
	for (uint32_t n = 0; n < 2;) {
		struct worker_task *task = cluster_bundle(&cluster, worker);
		CHECK(!strcmp(input_of(worker, task), "one"));
		n += task->n_calls;
		worker_answer(worker, task, task->n_calls, NULL);
	}
	UNTIL(&cluster, job_has_returned(&jobs[0]) && job_has_returned(&jobs[1]));
	end(3);
}

/* A look that cannot begin is made later. */
static void test_a_lack_of_threads_passes(void)
{
	struct worker *worker = begin();
	const char *path = path_of("input", "one");
	pthread_attr_t before, huge;
	CHECK(!pthread_getattr_default_np(&before) && !pthread_attr_init(&huge));
	/* No machine has memory for such a thread. */
	CHECK(!pthread_attr_setstacksize(&huge, (size_t)1 << 60));
	CHECK(!pthread_setattr_default_np(&huge));
	add_input(0, path);
	job_submit(&cluster, &jobs[0]);
	for (int i = 0; i < 3; i++)
		cluster_turn(&cluster);
	CHECK(!worker_bundle(worker) && !jobs[0].n_back);
	CHECK(!pthread_setattr_default_np(&before));
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(!strcmp(input_of(worker, task), "one"));
	finish(worker, task, 0);
	pthread_attr_destroy(&before);
	pthread_attr_destroy(&huge);
	end(1);
}

/* A call has written to it: others get it anew. */
static void test_an_input_that_a_call_has_changed_travels_again(void)
{
	static const uint32_t was_changed[] = {VF_STATUS_INPUT_CHANGED};
	static const uint32_t is_spoilt[] = {VF_STATUS_INPUT_SPOILED};
	struct worker *worker = begin();
	const char *path = path_of("input", "one");
	worker_answer(worker, run_with(worker, 0, path, "one"), 1, was_changed);
	UNTIL(&cluster, jobs[0].n_back == 1);
	CHECK(jobs[0].status == VF_STATUS_INPUT_CHANGED && !strcmp(jobs[0].result, "call 0"));
	struct worker_task *task = run_with(worker, 1, path, "one");
	CHECK(worker->n_files == 2);

	/* Not run, since that had happened before, until it has happened too often. */
	for (int n = 3; n <= 5; n++) {
		worker_answer(worker, task, 1, is_spoilt);
		task = cluster_bundle(&cluster, worker);
		CHECK(worker->n_files == n);
	}
	worker_answer(worker, task, 1, is_spoilt);
	check_missing(1, path, "no worker could get it");
	end(2);
}

static void test_an_input_that_vanishes_on_the_worker_is_sent_again(void)
{
	struct worker *worker = begin();
	const char *path = path_of("input", "one");
	struct worker_task *task = run_with(worker, 0, path, "one");
	for (int n = 0; n < 3; n++) {
		worker_complete(worker, task, VINE_RESULT_INPUT_MISSING, 1, "", 0);
		task = cluster_bundle(&cluster, worker);
	}
	finish(worker, task, 0);
	CHECK(COUNT(&cluster, calls_lost) == 3);

	task = run_with(worker, 1, path, "one");
	for (int n = 0; n < 3; n++) {
		worker_complete(worker, task, VINE_RESULT_INPUT_MISSING, 1, "", 0);
		task = cluster_bundle(&cluster, worker);
	}
	worker_complete(worker, task, VINE_RESULT_INPUT_MISSING, 1, "", 0);
	check_missing(1, path, "no worker could get it");

	/* What has no files cannot be told of any. */
	job_run(&cluster, &jobs[2], 2);
	for (int n = 0; n < 4; n++) {
		task = cluster_bundle(&cluster, worker);
		worker_complete(worker, task, VINE_RESULT_INPUT_MISSING, 1, "", 0);
	}
	check_missing(2, "vinefast's own files", "no worker could get it");
	end(3);
}

static void read_into(char content[100], const char *path)
{
	FILE *file = fopen(path, "r");
	CHECK(file);
	content[fread(content, 1, 99, file)] = 0;
	fclose(file);
}

static void test_an_output_comes_back(void)
{
	struct worker *worker = begin();
	char path[128], content[100];
	snprintf(path, sizeof path, "%s/output", cluster.directory);
	job_begin(&cluster, &jobs[0], 0);
	job_add(&jobs[0], VF_FILE_OUTPUT, path, "made here");
	job_submit(&cluster, &jobs[0]);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	worker_make(worker, task);
	finish(worker, task, 0);
	read_into(content, path);
	CHECK(!strncmp(content, "made", 4));
	UNTIL(&cluster, COUNT(&cluster, manager_bytes_received) == strlen(content));

	/* That it is not there is for the library to tell. */
	CHECK(!unlink(path));
	job_begin(&cluster, &jobs[1], 1);
	job_add(&jobs[1], VF_FILE_OUTPUT, path, "not-made");
	job_submit(&cluster, &jobs[1]);
	finish(worker, cluster_bundle(&cluster, worker), 1);
	CHECK(access(path, F_OK));
	end(2);
}

static struct vf_file *add_cached(
		int i, const char *path, const char *key, const char *label, int level)
{
	struct vf_file *file = add_input(i, path);
	vf_look_here(path, &file->look);
	file->key = key;
	file->label = label;
	file->level = level;
	const struct timespec *modified = &file->look.modified;
	file->version = (uint64_t)modified->tv_sec * 1000000000u + (uint64_t)modified->tv_nsec;
	return file;
}

static void test_files_of_the_same_content_are_one(void)
{
	struct worker *worker = begin();
	const char *one = path_of("one", "same"), *other = path_of("other", "same");
	add_cached(0, one, "key", "label", VINE_CACHE_LEVEL_WORKER);
	add_cached(1, other, "key", "label", VINE_CACHE_LEVEL_WORKER);
	for (int i = 0; i < 2; i++) {
		job_submit(&cluster, &jobs[i]);
		struct worker_task *task = cluster_bundle(&cluster, worker);
		CHECK(!strcmp(task->inputs[0].cached_name, "label"));
		CHECK(!strcmp(input_of(worker, task), "same"));
		finish(worker, task, i);
	}
	CHECK(worker->n_files == 1);
	/* The first one is another now: its name is not that of what it was. */
	path_of("one", "not the same");
	add_cached(2, other, "key", "label", VINE_CACHE_LEVEL_WORKER);
	job_submit(&cluster, &jobs[2]);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(!strcmp(input_of(worker, task), "same"));
	finish(worker, task, 2);
	end(3);
}

/* It goes where the file is, and nothing is sent. */
static void test_what_workers_have_from_an_earlier_manager_is_found(void)
{
	cluster_open(&cluster);
	cluster_settings(&cluster)->monitored = 1;
	cluster_start(&cluster);
	struct worker *workers[] = {cluster_join(&cluster, 1), cluster_join(&cluster, 1)};
	worker_bring(workers[1], "label", 12);
	worker_bring(workers[0], "label-of-a-URL", 1000);
	UNTIL(&cluster, cluster.n_node_joined == 2); /* which they say later */
	const char *path = path_of("input", "from the past");
	add_cached(0, path, "key", "label", VINE_CACHE_LEVEL_WORKER);
	job_submit(&cluster, &jobs[0]);
	finish(workers[1], cluster_bundle(&cluster, workers[1]), 0);
	job_begin(&cluster, &jobs[1], 1);
	struct vf_file *file = job_add(&jobs[1], VF_FILE_URL, "http://127.0.0.1:9/", "in1");
	file->key = "http://127.0.0.1:9/";
	file->label = "label-of-a-URL";
	file->level = VINE_CACHE_LEVEL_WORKER;
	job_submit(&cluster, &jobs[1]);
	finish(workers[0], cluster_bundle(&cluster, workers[0]), 1);
	CHECK(workers[0]->n_files + workers[1]->n_files == 0);
	CHECK(workers[0]->n_fetches + workers[1]->n_fetches == 0);
	end(2);
}

static void test_a_cached_file_is_unpacked_by_workers(void)
{
	struct worker *worker = begin();
	const char *path = path_of("archive", "tar");
	struct vf_file *file = add_cached(0, path, "key", "label", VINE_CACHE_LEVEL_WORKER);
	file->unpack = file->linked = 1;
	job_submit(&cluster, &jobs[0]);
	struct worker_task *task = cluster_bundle(&cluster, worker);
	CHECK(!strcmp(task->inputs[0].cached_name, "label-unpacked"));
	const struct worker_file *archive = worker_file(worker, "label");
	CHECK(archive && !strcmp(archive->data, "tar"));
	finish(worker, task, 0);
	end(1);
}

/* One that stays for its task alone is every call's own. */
static void test_a_file_of_one_task_is_not_shared(void)
{
	struct worker *worker = begin();
	const char *path = path_of("input", "one");
	char names[2][WORKER_NAME_NBYTES];
	for (int i = 0; i < 2; i++) {
		add_cached(i, path, "key", NULL, VINE_CACHE_LEVEL_TASK);
		job_submit(&cluster, &jobs[i]);
		struct worker_task *task = cluster_bundle(&cluster, worker);
		CHECK(!strcmp(input_of(worker, task), "one"));
		memcpy(names[i], task->inputs[0].cached_name, sizeof names[i]);
		finish(worker, task, i);
	}
	CHECK(worker->n_files == 2 && strcmp(names[0], names[1]));
	end(2);
}

/* Two calls run with an input that has changed in between, and the loop ends: the sanitizers see
what is not freed. */
static void test_the_end_frees_former_inputs_that_are_in_use(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *worker = cluster_join(&cluster, 2);
	static const char *const contents[] = {"one", "two two"};
	for (int i = 0; i < 2; i++) {
		add_input(i, path_of("input", contents[i]));
		job_submit(&cluster, &jobs[i]);
		UNTIL(&cluster, worker->n_files == i + 1);
	}
	cluster_close(&cluster);
	for (int i = 0; i < 2; i++) {
		CHECK(!jobs[i].n_back);
		job_end(&jobs[i]);
	}
}

static void test_calls_go_where_their_files_are(void)
{
	cluster_open(&cluster);
	cluster_start(&cluster);
	struct worker *first = cluster_join(&cluster, 1), *second = cluster_join(&cluster, 1);
	UNTIL(&cluster, first->n_nodes == 1 && second->n_nodes == 1);
	const char *path = path_of("input", "a file that is worth going to");
	for (int i = 0; i < N; i++) {
		add_input(i, path);
		job_submit(&cluster, &jobs[i]);
		UNTIL(&cluster, worker_bundle(first) || worker_bundle(second));
		struct worker *worker = worker_bundle(first) ? first : second;
		finish(worker, worker_bundle(worker), i);
	}
	CHECK(first->n_files + second->n_files == 1);
	end(N);
}

/* Of thousands that nobody uses, those that were used last are kept. */
static void test_inputs_that_nobody_uses_are_forgotten(void)
{
	enum { MANY = 4200, AT_ONCE = JOB_FILES_MAX };
	static const char *const names[AT_ONCE] = {"one", "two", "three", "four"};
	char name[32];
	cluster_open(&cluster);
	cluster_start(&cluster);
	const struct worker_script script = {
			.cores = 1, .memory = 1000, .disk = 1000, .is_automatic = 1};
	cluster_join_by(&cluster, &script);
	for (int i = 0; i < MANY / AT_ONCE; i++) {
		memset(&jobs[0], 0, sizeof jobs[0]);
		job_begin(&cluster, &jobs[0], 0);
		for (int k = 0; k < AT_ONCE; k++) {
			snprintf(name, sizeof name, "input-%d-%d", i, k);
			job_add(&jobs[0], VF_FILE_INPUT, path_of(name, "content"), names[k]);
		}
		job_submit(&cluster, &jobs[0]);
		UNTIL(&cluster, job_has_returned(&jobs[0]));
		job_end(&jobs[0]);
	}
	CHECK(cluster.loop.inputs.n_idle == 4096);
	cluster_close(&cluster);
}

int main(void)
{
	test_inputs_that_nobody_uses_are_forgotten();
	test_an_input_travels_once_and_again_when_it_has_changed();
	test_an_input_that_is_not_there_fails_the_call();
	test_what_hangs_holds_up_nobody_else();
	test_a_lack_of_threads_passes();
	test_an_input_that_a_call_has_changed_travels_again();
	test_an_input_that_vanishes_on_the_worker_is_sent_again();
	test_an_output_comes_back();
	test_files_of_the_same_content_are_one();
	test_what_workers_have_from_an_earlier_manager_is_found();
	test_a_cached_file_is_unpacked_by_workers();
	test_a_file_of_one_task_is_not_shared();
	test_the_end_frees_former_inputs_that_are_in_use();
	test_calls_go_where_their_files_are();
	return 0;
}
