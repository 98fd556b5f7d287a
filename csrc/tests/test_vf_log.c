/* TaskVine's logs are bounded, each file can be read by itself, and nothing that is wrong with
their file system stops whoever writes to them. */

#define _GNU_SOURCE
#include "vf_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "vf_counters.h"
#include "vf_hooks.h"
#include "vf_logfile.h"
#include "vf_loghead.h"

enum {
	MAX = 200,
	N_LINES = 100,
	MANY = 1 << 16,
};

static const char BEGIN[] = "# time pid what\n1 7 MANAGER 7 START 0\n";

static struct vf_counters counters;
static char directory[] = "/tmp/vinefast-logs-XXXXXX";
static char path[PATH_MAX], old_path[PATH_MAX + 4];

static void begin(const char *name)
{
	memset(&counters, 0, sizeof counters);
	snprintf(path, sizeof path, "%s/%s", directory, name);
	snprintf(old_path, sizeof old_path, "%s.old", path);
	unlink(path);
	unlink(old_path);
}

/* What is in a file. */
static const char *content(const char *name)
{
	static char text[2][MANY];
	static int turn;
	char *all = text[turn ^= 1];
	int fd = open(name, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, all, MANY - 1);
	CHECK(n >= 0);
	all[n] = 0;
	if (fd >= 0)
		close(fd);
	return all;
}

static int begins(const char *text, const char *words)
{
	return !strncmp(text, words, strlen(words));
}

static void say(struct vf_logfile *log, const char *text)
{
	vf_logfile_write(log, text, strlen(text));
}

static void test_rotation(void)
{
	begin("transactions");
	struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
	say(log, "# time pid what\n");
	say(log, "1 7 MANAGER 7 START 0\n");
	say(log,
			"2 7 WORKER worker-a CONNECTION 1.2.3.4:5\n3 7 WORKER worker-b CONNECTION "
			"1.2.3.4:6\n");
	say(log, "4 7 WORKER worker-a RESOURCES {}\n5 7 WORKER worker-a RESOURCES {\"cores\":2}\n");
	say(log, "6 7 WORKER worker-b TRANSFER INPUT x 1 2 3\n");
	say(log, "7 7 WORKER worker-b DISCONNECTION UNKNOWN\n");
	uint64_t said = 0;
	for (int i = 0; i < N_LINES; i++) {
		char line[64];
		snprintf(line, sizeof line, "8 7 TASK %d DONE SUCCESS 0\n", i);
		say(log, line);
		said += strlen(line);
	}
	static const char HEAD[] = "# time pid what\n1 7 MANAGER 7 START 0\n"
				   "2 7 WORKER worker-a CONNECTION 1.2.3.4:5\n"
				   "5 7 WORKER worker-a RESOURCES {\"cores\":2}\n8 7 TASK ";
	const char *one = content(path), *other = content(old_path);
	CHECK(begins(one, HEAD) && begins(other, HEAD) && strstr(one, "TASK 99 "));
	CHECK(strlen(other) >= MAX && strlen(other) < 2 * MAX);
	uint64_t dropped = VF_GET(&counters, log_bytes_dropped);
	CHECK(dropped > said / 2 && dropped < said + MANY);
	CHECK(!VF_GET(&counters, log_bytes_unwritten) && !VF_GET(&counters, log_errno));
	vf_logfile_close(log);
}

/* Blocks that end within lines, as a stream has them that is not flushed by lines. */
static void test_blocks(void)
{
	begin("taskgraph");
	struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
	char all[MANY] = "digraph \"taskvine\" {\nnode [style=filled];\n";
	size_t head = strlen(all), used = head;
	for (int i = 0; i < N_LINES; i++)
		used += (size_t)snprintf(all + used, sizeof all - used, "\"task-%d\";\n", i);
	vf_logfile_write(log, all, head);
	for (size_t at = head; at < used; at += 33)
		vf_logfile_write(log, all + at, used - at < 33 ? used - at : 33);
	const char *one = content(path), *other = content(old_path);
	CHECK(!strncmp(one, all, head) && !strncmp(other, all, head));
	CHECK(begins(one + head, "\"task-") && begins(other + head, "\"task-"));
	CHECK(!strcmp(other + strlen(other) - 4, ";\n}\n") && strstr(one, "\"task-99\";\n"));
	CHECK(VF_GET(&counters, log_bytes_dropped) > 0);
	vf_logfile_close(log);
}

static void test_no_limit(void)
{
	begin("performance");
	struct vf_logfile *log = vf_logfile_open(path, 0, &counters);
	say(log, "# timestamp\n");
	for (int i = 0; i < N_LINES; i++)
		say(log, "1 2 3 4\n");
	CHECK(strlen(content(path)) == 12 + 8 * N_LINES && access(old_path, F_OK));
	vf_logfile_close(log);
}

static void let_pause_pass(void)
{
	usleep(1100 * 1000);
}

/* The most that a file may have is another's limit, and as sudden. */
static void limit_files(rlim_t nbytes)
{
	struct rlimit limit;
	CHECK(!getrlimit(RLIMIT_FSIZE, &limit));
	limit.rlim_cur = nbytes;
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
}

static void test_full(void)
{
	begin("transactions");
	signal(SIGXFSZ, SIG_IGN);
	struct vf_logfile *log = vf_logfile_open(path, 0, &counters);
	limit_files(sizeof BEGIN - 1 + 12);
	say(log, BEGIN);
	say(log, "8 7 TASK 1\n"); /* 11 bytes */
	CHECK(!VF_GET(&counters, log_errno));
	say(log, "8 7 TASK 2\n8 7 TA");
	CHECK(VF_GET(&counters, log_errno) == EFBIG);
	say(log, "SK 3\n");
	CHECK(VF_GET(&counters, log_bytes_unwritten) == 11 + 6 + 5);
	limit_files(RLIM_INFINITY);
	say(log, "8 7 TASK 4\n"); /* too soon */
	let_pause_pass();
	say(log, "8 7 TASK 5\n");
	CHECK(VF_GET(&counters, log_bytes_unwritten) == 11 + 6 + 5 + 11);
	char expected[256];
	snprintf(expected, sizeof expected, "%s8 7 TASK 1\n8 7 TASK 5\n", BEGIN);
	CHECK(!strcmp(content(path), expected));
	vf_logfile_close(log);

	/* From the first byte on: what it should have begun with comes first all the same. */
	begin("transactions");
	log = vf_logfile_open(path, 0, &counters);
	limit_files(1);
	say(log, BEGIN);
	CHECK(VF_GET(&counters, log_errno) == EFBIG && !*content(path));
	limit_files(RLIM_INFINITY);
	let_pause_pass();
	say(log, "8 7 TASK 1\n");
	snprintf(expected, sizeof expected, "%s8 7 TASK 1\n", BEGIN);
	CHECK(!strcmp(content(path), expected));
	vf_logfile_close(log);
}

static void fill(struct vf_logfile *log)
{
	for (int i = 0; i < 2 * MAX / 11; i++)
		say(log, "8 7 TASK 1\n");
}

/* Who removes files to make room gets the room. */
static void test_removed(void)
{
	begin("transactions");
	struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
	say(log, BEGIN);
	CHECK(!unlink(path));
	fill(log);
	CHECK(begins(content(path), BEGIN) && !VF_GET(&counters, log_errno));
	/* No directory any more: it is still bounded. */
	char moved[PATH_MAX + 8];
	snprintf(moved, sizeof moved, "%s-moved", directory);
	CHECK(!rename(directory, moved));
	for (int i = 0; i < 10; i++)
		fill(log);
	CHECK(VF_GET(&counters, log_errno) == ENOENT && !VF_GET(&counters, log_bytes_unwritten));
	CHECK(!rename(moved, directory));
	struct stat file;
	CHECK(!stat(path, &file) && file.st_size < 3 * MAX && begins(content(path), BEGIN));
	fill(log);
	CHECK(begins(content(path), BEGIN) && begins(content(old_path), BEGIN));
	vf_logfile_close(log);
}

static void test_not_opened(void)
{
	begin("transactions");
	CHECK(!mkdir(path, 0700));
	struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
	CHECK(log && VF_GET(&counters, log_errno) == EISDIR);
	say(log, BEGIN);
	CHECK(VF_GET(&counters, log_bytes_unwritten) == sizeof BEGIN - 1);
	CHECK(!rmdir(path));
	let_pause_pass();
	say(log, "8 7 TASK 1\n");
	CHECK(begins(content(path), BEGIN) && strstr(content(path), "TASK 1\n"));
	vf_logfile_close(log);
}

/* Neither is there another file, nor does the old one get its name back: it goes on where it is. */
static void test_no_descriptor_to_rotate(void)
{
	begin("transactions");
	struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
	say(log, BEGIN);
	faults_fail("rename", 1, EACCES);
	faults_close_descriptors();
	for (int i = 0; i < MAX / 16; i++) /* once over the limit, and not twice */
		say(log, "8 7 TASK 1 READY \n");
	faults_open_descriptors();
	CHECK(faults_has_failed() && VF_GET(&counters, log_errno) == EMFILE);
	CHECK(VF_GET(&counters, log_bytes_dropped) > 0 && !VF_GET(&counters, log_bytes_unwritten));
	CHECK(begins(content(old_path), BEGIN) && strstr(content(old_path), "TASK 1 "));
	vf_logfile_close(log);
}

/* While the file cannot be opened, it is tried now and then. */
static void test_not_opened_for_long(void)
{
	begin("transactions");
	CHECK(!mkdir(path, 0700));
	struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
	let_pause_pass();
	say(log, BEGIN);
	CHECK(VF_GET(&counters, log_bytes_unwritten) == sizeof BEGIN - 1);
	CHECK(!rmdir(path));
	vf_logfile_close(log);
}

static void test_forked(void)
{
	begin("transactions");
	struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
	say(log, BEGIN);
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		fill(log);
		_exit(0);
	}
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(!strcmp(content(path), BEGIN));
	vf_logfile_close(log);
}

/* So many that a new file's head has no room in what is asked for first. */
static void say_workers(struct vf_logfile *log)
{
	char line[64];
	for (int i = 0; i < 120; i++) {
		snprintf(line, sizeof line, "2 7 WORKER worker-%d CONNECTION 1.2.3.4:5\n", i);
		say(log, line);
	}
}

static void test_short_memory(void)
{
	begin("transactions");
	for (int n = 0, failed = 1; failed; n++) {
		faults_begin(n);
		struct vf_logfile *log = vf_logfile_open(path, MAX, &counters);
		if (log) {
			say(log, BEGIN);
			say_workers(log);
			fill(log);
			say(log, "3 7 WORKER worker-0 DISCONNECTION UNKNOWN\n");
			vf_logfile_close(log);
		}
		failed = faults_end();
		CHECK(!log || strstr(content(path), "DISCONNECTION UNKNOWN\n"));
	}
}

/* As TaskVine opens and writes them. */

static void test_streams(void)
{
	begin("transactions");
	FILE *stream = __wrap_fopen(path, "w");
	CHECK(stream && fileno(stream) >= 0 && !fclose(stream)); /* it is the C library's */
	vf_log_begin(MAX, &counters);
	stream = __wrap_fopen(path, "w");
	CHECK(stream && fileno(stream) < 0);
	FILE *other = __wrap_fopen("/dev/null", "w");
	CHECK(other && fileno(other) >= 0 && !fclose(other));
	vf_log_begun();
	setvbuf(stream, NULL, _IOLBF, 1024);
	fputs(BEGIN, stream);
	for (int i = 0; i < N_LINES; i++)
		fprintf(stream, "8 7 TASK %d\n", i);
	CHECK(strstr(content(path), "TASK 99\n") && begins(content(path), BEGIN));
	CHECK(!fclose(stream));
}

static void *debug_much(void *arg)
{
	for (int i = 0; i < N_LINES; i++)
		__wrap_debug_file_write(0, arg);
	return NULL;
}

static void test_debug_log(void)
{
	begin("debug");
	vf_log_begin(MAX, &counters);
	CHECK(!__wrap_debug_file_path(path));
	vf_log_begun();
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(
				&threads[i], NULL, debug_much, i ? "one line\n" : "another\n"));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	struct stat file;
	CHECK(!stat(path, &file) && file.st_size < 2 * MAX && !stat(old_path, &file));
	CHECK(VF_GET(&counters, log_bytes_dropped) > MAX);
	struct vf_counters others = {0};
	vf_log_end(&others); /* another manager's end */
	__wrap_debug_file_write(0, "last\n");
	CHECK(strstr(content(path), "last\n"));
	vf_log_end(&counters);
	__wrap_debug_file_write(0, "after the end\n");
	CHECK(!strstr(content(path), "after the end"));

	/* One that cannot be opened does not end the process. */
	begin("none/debug");
	vf_log_begin(MAX, &counters);
	CHECK(!__wrap_debug_file_path(path) && VF_GET(&counters, log_errno) == ENOENT);
	vf_log_begun();
	__wrap_debug_file_write(0, "line\n");
	pid_t child = fork();
	CHECK(child >= 0);
	if (!child) {
		begin("child");
		__wrap_debug_file_write(0, "the parent's\n");
		vf_log_begin(MAX, &counters);
		__wrap_debug_file_path(path);
		__wrap_debug_file_write(0, "the child's\n");
		_exit(strcmp(content(path), "the child's\n") != 0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		vf_log_end(&counters); /* the parent's */
		_exit(0);
	}
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	vf_log_end(&counters);
}

int main(void)
{
	CHECK(mkdtemp(directory));
	test_rotation();
	test_blocks();
	test_no_limit();
	test_full();
	test_removed();
	test_not_opened();
	test_not_opened_for_long();
	test_no_descriptor_to_rotate();
	test_forked();
	test_short_memory();
	test_streams();
	test_debug_log();
	DIR *all = opendir(directory);
	CHECK(all);
	for (struct dirent *entry; (entry = readdir(all)) != NULL;)
		unlinkat(dirfd(all), entry->d_name, 0);
	closedir(all);
	CHECK(!rmdir(directory));
	return 0;
}
