#define _GNU_SOURCE
#include "vf_selftest.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vf_border.h"
#include "vf_certificate.h"
#include "vf_clock.h"
#include "vf_fatal.h"
#include "vf_frame.h"
#include "vf_hooks.h"
#include "vf_output.h"
#include "vf_tls.h"

enum {
	PATIENCE_S = 20, /* far longer than anything here takes */
	FILE_NBYTES = 12345, /* as the worker says */
	TOOK_US = 678,
	NOBODY = 1 << 30, /* a task of which there is none */
	OUTPUT_NBYTES = 2000, /* TaskVine asks for it, and reads it into a block of its own */
};

static const char PASSWORD[] = "open sesame\n";
static const char BUFFER[] = "vinefast-buffer";
static const char URL[] = "vinefast-url";
static const char LIBRARY[] = "vinefast-selftest";
static const char LAST_WORDS[] = "not a message\nbut 2 lines\n";
static const char REASON[] = "nobody answers there";

struct meeting {
	struct vine_manager *manager;
	struct vine_worker_info *worker;
	struct vf_wake wake;
	int port;
	int n_left, n_begun, n_sent, library_ended;
	int has_buffer, has_url, lost_url;
	struct vine_task *fatal_task;
	uint64_t fatal_fired;
	sem_t fatal_seen;
	char *wrong;
	size_t wrong_nbytes;
};

__attribute__((format(printf, 2, 3))) static void add_wrong(
		struct meeting *meeting, const char *format, ...)
{
	size_t used = strlen(meeting->wrong);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(meeting->wrong + used, meeting->wrong_nbytes - used, format, arguments);
	va_end(arguments);
}

static void expect(struct meeting *meeting, int is_so, const char *what)
{
	if (!is_so)
		add_wrong(meeting, "%s\n", what);
}

/* What the worker does. */

struct script {
	struct link *link;
	time_t stoptime;
	long long task;
	int is_library;
	char transfer[256];
};

__attribute__((format(printf, 2, 3))) static void say(
		const struct script *script, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	link_vprintf(script->link, script->stoptime, format, arguments);
	va_end(arguments);
}

static void answer_task(struct script *script)
{
	/* 7.14 takes the seventh number for the task, later ones the eighth. */
	if (script->is_library) {
		say(script, "complete %d 0 %zu %zu 1 2 %lld %lld\n%s", VINE_RESULT_LIBRARY_EXIT,
				strlen(LAST_WORDS), strlen(LAST_WORDS), script->task, script->task,
				LAST_WORDS);
	} else if (*script->transfer) {
		say(script, "cache-update %s %d %d %d 0 %d 1 X\n", BUFFER, VINE_BUFFER,
				VINE_CACHE_LEVEL_WORKFLOW, FILE_NBYTES, TOOK_US);
		say(script, "cache-invalid %s %zu %s\n%s", URL, strlen(REASON), script->transfer,
				REASON);
		/* Of none that the manager has; its output, if it is long, is to be asked for. */
		say(script, "complete 0 0 %d 0 1 2 %d %d\n", OUTPUT_NBYTES, NOBODY, NOBODY);
		say(script, "complete 0 0 1 1 1 2 %d %d\no", NOBODY, NOBODY);
		say(script, "complete 0 0 %d 0 1 2 %lld %lld\n", OUTPUT_NBYTES, script->task,
				script->task);
		*script->transfer = 0;
	} else {
		say(script, "complete %d 0 %zu %zu 1 2 %lld %lld\n%s", VINE_RESULT_FORSAKEN,
				strlen(LAST_WORDS), strlen(LAST_WORDS), script->task, script->task,
				LAST_WORDS);
	}
}

static int follow(struct script *script, const char *line)
{
	long long task;
	if (sscanf(line, "task %lld", &task) == 1) {
		script->task = task;
		script->is_library = 0;
	} else if (sscanf(line, "puturl %*s %*s %*s %*s %*s %255s", script->transfer) == 1) {
		return 1;
		/* Behind the command, which no newline ends. */
	} else if (strstr(line, "provides_library ")) {
		script->is_library = 1;
	} else if (!strcmp(line, "end")) {
		answer_task(script);
	} else if (sscanf(line, "send_stdout %lld", &task) == 1) {
		char output[OUTPUT_NBYTES];
		memset(output, 'o', sizeof output);
		say(script, "stdout %lld %d\n%.*s", task, OUTPUT_NBYTES, OUTPUT_NBYTES, output);
	} else if (!strncmp(line, "exit", 4)) {
		return 0;
	}
	return 1;
}

static void *work(void *arg)
{
	struct meeting *meeting = arg;
	time_t stoptime = time(NULL) + PATIENCE_S;
	struct script script = {.stoptime = stoptime};
	struct link *link = link_connect("127.0.0.1", meeting->port, stoptime);
	/* On this thread that is TaskVine's own. */
	if (!link || link_ssl_wrap_connect(link, NULL) <= 0 ||
			!link_auth_password(link, PASSWORD, stoptime)) {
		link_close(link);
		return NULL;
	}
	script.link = link;
	say(&script,
			"taskvine %d localhost Linux machine vinefast\n"
			"info worker-id vinefast-selftest\ninfo worker-end-time 0\n"
			"resources\ncores 4\nmemory 4000\ndisk 4000\ngpus 0\nworkers 1\ntag "
			"0\nend\n",
			VINE_PROTOCOL);
	char line[4096];
	while (link_readline(link, line, sizeof line, stoptime) && follow(&script, line))
		continue;
	link_close(link);
	return NULL;
}

/* What TaskVine's manager tells. */

static enum vf_turn turn(void *arg, int workers)
{
	struct meeting *meeting = arg;
	if (workers != (meeting->worker != NULL))
		add_wrong(meeting, "There are %d workers, where one is expected\n", workers);
	return VF_TURN_IDLE;
}

static void joined(void *arg, struct vine_worker_info *worker, int fd)
{
	struct meeting *meeting = arg;
	int type = 0;
	socklen_t nbytes = sizeof type;
	meeting->worker = worker;
	expect(meeting, !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &nbytes),
			"A worker's descriptor is no socket");
}

static void left(void *arg, struct vine_worker_info *worker)
{
	struct meeting *meeting = arg;
	expect(meeting, worker == meeting->worker, "Another worker leaves than has come");
	meeting->worker = NULL;
	meeting->n_left++;
}

static int may_run(void *arg, struct vine_task *task)
{
	struct meeting *meeting = arg;
	expect(meeting, vine_task_get_id(task) > 0, "A task that seeks a worker has no number");
	return 1;
}

static struct vine_worker_info *choose(void *arg, struct vine_task *task)
{
	struct meeting *meeting = arg;
	struct vine_worker_info *worker = meeting->worker;
	return worker && check_worker_against_task(meeting->manager, worker, task) ? worker : NULL;
}

static void sending(
		void *arg, const struct vine_worker_info *worker, struct vine_task *task, int begin)
{
	(void)task;
	struct meeting *meeting = arg;
	expect(meeting, worker == meeting->worker,
			"A task is sent to another worker than was chosen");
	meeting->n_begun += begin;
	meeting->n_sent += !begin;
}

static void replica(void *arg, const struct vine_worker_info *worker, const char *cached_name,
		int there)
{
	struct meeting *meeting = arg;
	if (worker != meeting->worker)
		return;
	meeting->has_buffer |= there && !strcmp(cached_name, BUFFER);
	meeting->has_url |= there && !strcmp(cached_name, URL);
	meeting->lost_url |= !there && !strcmp(cached_name, URL);
}

static void cached(void *arg, const struct vine_worker_info *worker, const char *cached_name,
		uint64_t nbytes, uint64_t took_us)
{
	struct meeting *meeting = arg;
	expect(meeting, !strcmp(cached_name, BUFFER) && nbytes == FILE_NBYTES && took_us == TOOK_US,
			"What a worker says of a file it has got is told otherwise");
	const struct vine_file_replica *held = vine_file_replica_table_lookup(
			(struct vine_worker_info *)worker, cached_name);
	expect(meeting,
			held && held->type == VINE_BUFFER &&
					held->level == VINE_CACHE_LEVEL_WORKFLOW &&
					held->nbytes == FILE_NBYTES,
			"struct vine_file_replica is laid out otherwise");
}

static void library_ended(void *arg, struct vine_task *library, const char *worker, int by_itself)
{
	struct meeting *meeting = arg;
	(void)library;
	expect(meeting, !strncmp(worker, "127.0.0.1:", 10),
			"The worker of a library that has ended has another address");
	meeting->library_ended |= by_itself;
}

static int invalidated(void *arg, const char *cachename, const char *reason)
{
	struct meeting *meeting = arg;
	expect(meeting, !strcmp(cachename, URL) && !strcmp(reason, REASON),
			"Why a worker did not get a file is told otherwise");
	expect(meeting,
			vine_file_replica_table_count_replicas(
					meeting->manager, URL, VINE_REPLICA_PENDING) == 1,
			"A replica on its way is not counted as such");
	return 1;
}

static int fetching(void *arg, const char *source)
{
	struct meeting *meeting = arg;
	expect(meeting, strstr(source, "://") != NULL, "What TaskVine asks about as a URL is none");
	return 0;
}

/* A fatal error ends the thread that it happens on. */

static void note_fatal(const char *message, void *arg)
{
	struct meeting *meeting = arg;
	(void)message;
	meeting->fatal_fired = vf_hooks_fired;
	sem_post(&meeting->fatal_seen);
}

static void *run_into_fatal(void *arg)
{
	struct meeting *meeting = arg;
	vf_fatal_catch(note_fatal, meeting);
	vine_task_set_library_provided(meeting->fatal_task, LIBRARY);
	/* Which no task can do both. */
	vine_task_set_library_required(meeting->fatal_task, LIBRARY);
	sem_post(&meeting->fatal_seen);
	return NULL;
}

static void try_fatal(struct meeting *meeting)
{
	pthread_t thread;
	meeting->fatal_task = vine_task_create(":");
	sem_init(&meeting->fatal_seen, 0, 0);
	if (!pthread_create(&thread, NULL, run_into_fatal, meeting)) {
		sem_wait(&meeting->fatal_seen);
		pthread_cancel(thread); /* it sleeps for ever, and holds nothing */
		pthread_join(thread, NULL);
	}
	sem_destroy(&meeting->fatal_seen);
	vine_task_delete(meeting->fatal_task);
}

/* What the manager does. */

static struct vine_file *declare(struct meeting *meeting, const char *name, const char *source,
		const char *data, int type)
{
	struct vine_file *file = vine_file_create(source, name, data, data ? strlen(data) : 0,
			(vine_file_type_t)type, NULL, VINE_CACHE_LEVEL_WORKFLOW, 0);
	expect(meeting,
			file && vine_manager_declare_file(meeting->manager, file) == file &&
					vine_manager_lookup_file(meeting->manager, name) == file,
			"A file that was declared is not found");
	return file;
}

static void take_output(struct meeting *meeting, struct vine_task *task)
{
	char *output = (char *)vine_task_get_stdout(task);
	if (vine_task_get_result(task) != VINE_RESULT_SUCCESS || !output) {
		add_wrong(meeting, "A task that has succeeded is said to have failed: %d\n",
				vine_task_get_result(task));
		vine_task_delete(task);
		return;
	}
	expect(meeting, (uintptr_t)output % VF_ALIGNMENT == 0,
			"A task's output does not begin where arrays can");
	vf_output_delete(task, output);
	expect(meeting,
			output[0] == 'o' && output[OUTPUT_NBYTES - 1] == 'o' &&
					!output[OUTPUT_NBYTES],
			"A task's output is not what the worker has sent");
	free(output);
}

static struct vine_task *wait_for_task(struct meeting *meeting)
{
	struct vine_task *task = NULL;
	for (int64_t end_s = vf_now_ms() / 1000 + PATIENCE_S; !task && vf_now_ms() / 1000 < end_s;)
		task = vine_wait(meeting->manager, 1);
	if (!task)
		add_wrong(meeting, "A task does not come back\n");
	return task;
}

static void run_task(struct meeting *meeting)
{
	struct vine_task *task = vine_task_create(":");
	vine_task_add_input(task, declare(meeting, BUFFER, "buffer", "data\n", VINE_BUFFER),
			"buffer", 0);
	vine_task_add_input(task, declare(meeting, URL, "http://127.0.0.1:9/", NULL, VINE_URL),
			"url", 0);
	vine_submit(meeting->manager, task);
	task = wait_for_task(meeting);
	if (task)
		take_output(meeting, task);
}

static void run_library(struct meeting *meeting)
{
	struct vine_task *library = vine_task_create(":");
	vine_task_set_library_provided(library, LIBRARY);
	vine_task_set_function_slots(library, 1);
	vine_manager_install_library(meeting->manager, library, LIBRARY);
	struct vine_task *call = vine_task_create("call");
	vine_task_set_library_required(call, LIBRARY);
	int id = vine_submit(meeting->manager, call);
	for (int64_t end_s = vf_now_ms() / 1000 + PATIENCE_S;
			!meeting->library_ended && vf_now_ms() / 1000 < end_s;)
		vine_wait(meeting->manager, 1);
	vine_wait(meeting->manager, 1);
	expect(meeting, meeting->worker != NULL,
			"What a library has said ends its worker's connection");
	vine_cancel_by_task_id(meeting->manager, id);
	vine_task_delete(wait_for_task(meeting));
}

static void judge(struct meeting *meeting, uint64_t fired)
{
	expect(meeting, meeting->n_begun && meeting->n_begun == meeting->n_sent,
			"Tasks are sent unseen");
	expect(meeting, meeting->has_buffer && meeting->has_url, "A worker gets replicas unseen");
	expect(meeting, meeting->lost_url, "A worker loses a replica unseen");
	expect(meeting, meeting->library_ended, "A library ends unseen");
	expect(meeting, meeting->n_left == 1 && !meeting->worker, "A worker leaves unseen");
#define JUDGE(name, first, last, ...) \
	if (first <= VF_TASKVINE && VF_TASKVINE <= last && !(fired >> VF_HOOK_##name & 1)) \
		add_wrong(meeting, "%s() is never called where it is replaced\n", #name);
	VF_HOOKS(JUDGE)
#undef JUDGE
}

static void meet(struct meeting *meeting)
{
	pthread_t worker;
	vf_border_own(&(struct vf_border){
			.turn = turn,
			.joined = joined,
			.left = left,
			.may_run = may_run,
			.choose = choose,
			.sending = sending,
			.replica = replica,
			.cached = cached,
			.library_ended = library_ended,
			.invalidated = invalidated,
			.fetching = fetching,
			.arg = meeting,
			.wake = &meeting->wake,
			.password = PASSWORD,
	});
	if (pthread_create(&worker, NULL, work, meeting)) {
		add_wrong(meeting, "No thread can be started\n");
	} else {
		run_task(meeting);
		run_library(meeting);
		if (meeting->worker)
			vine_manager_shut_down_worker(meeting->manager, meeting->worker);
		vf_border_own(NULL); /* whoever still shakes hands is let go */
		pthread_join(worker, NULL);
	}
	vf_border_own(NULL);
}

/* TLS with a key of its own. Returns 0, or -1. */
static int begin_tls(struct meeting *meeting, const char *directory)
{
	static const char *const NAMES[] = {"key.pem", "certificate.pem"};
	char *texts[2], *paths[2] = {NULL, NULL}, why[256] = "";
	int failed = vf_certificate_make(&texts[0], &texts[1]);
	for (int i = 0; i < 2 && !failed; i++) {
		int fd = -1;
		ssize_t nbytes = (ssize_t)strlen(texts[i]);
		failed = asprintf(&paths[i], "%s/%s", directory, NAMES[i]) < 0 ||
				(fd = open(paths[i], O_WRONLY | O_CREAT | O_TRUNC, 0600)) < 0 ||
				write(fd, texts[i], (size_t)nbytes) != nbytes;
		if (fd >= 0)
			close(fd);
	}
	failed = failed || vf_tls_begin(paths[0], paths[1], why, sizeof why);
	if (failed)
		add_wrong(meeting, "No manager can be made in %s\n%s", directory, why);
	vf_certificate_free_key(texts[0]);
	free(texts[1]);
	for (int i = 0; i < 2; i++) {
		if (paths[i])
			unlink(paths[i]);
		free(paths[i]);
	}
	return failed ? -1 : 0;
}

int vf_selftest_run(const char *directory, char *wrong, size_t wrong_nbytes)
{
	struct meeting meeting = {.wrong = wrong, .wrong_nbytes = wrong_nbytes};
	*wrong = 0;
	vf_hooks_fired = 0;
	vine_set_runtime_info_path(directory);
	if (begin_tls(&meeting, directory))
		return -1;
	/* It is not to read the files, which are gone. */
	if (vf_wake_open(&meeting.wake) || !(meeting.manager = vine_ssl_create(0, "-", "-"))) {
		add_wrong(&meeting, "No manager can be made in %s\n", directory);
		vf_wake_close(&meeting.wake);
		vf_tls_end();
		return -1;
	}
	debug_flags_clear();
	vine_set_password(meeting.manager, PASSWORD);
	meeting.port = vine_port(meeting.manager);
	meet(&meeting);
	vine_delete(meeting.manager);
	vf_tls_end();
	vf_wake_close(&meeting.wake);
	try_fatal(&meeting);
	judge(&meeting, vf_hooks_fired | meeting.fatal_fired);
	return *wrong ? -1 : 0;
}
