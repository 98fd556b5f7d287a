/* Records come to the file whole and in their order, definitions to each file; what is missing is
counted; nothing of that holds up who puts them. */

#define _GNU_SOURCE
#include "vf_eventfile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "vf_clock.h"

enum {
	DEFINITION = VF_EVENT_DEFINES | 2,
	NUMBER = 3,
};

struct number {
	struct vf_event event;
	uint64_t value;
};

static char directory[] = "/tmp/vf-eventfile-XXXXXX";
static char path[64], old_path[64];

/* What a reader finds in a file. */
struct found {
	struct vf_event_head head;
	uint64_t n_numbers, n_definitions, n_left_out, first, last;
};

static struct found read_file(const char *of)
{
	struct found found = {0};
	struct vf_event event;
	FILE *file = fopen(of, "r");
	CHECK(file && fread(&found.head, sizeof found.head, 1, file) == 1);
	CHECK(!memcmp(found.head.magic, VF_EVENT_MAGIC, 4) && found.head.version == 1);
	while (fread(&event, sizeof event, 1, file) == 1) {
		uint64_t value;
		CHECK(event.nbytes == sizeof(struct number));
		CHECK(fread(&value, sizeof value, 1, file) == 1);
		if (event.kind == DEFINITION) {
			CHECK(value == ++found.n_definitions);
		} else if (event.kind == VF_EVENT_LEFT_OUT) {
			found.n_left_out += value;
		} else {
			CHECK(event.kind == NUMBER);
			CHECK(value == found.last + 1 || !found.n_numbers || found.n_left_out);
			found.first = found.n_numbers++ ? found.first : value;
			found.last = value;
		}
	}
	CHECK(feof(file));
	fclose(file);
	return found;
}

static int put(struct vf_eventfile *file, uint16_t kind, uint64_t value)
{
	struct number *number = vf_eventfile_put(file, kind, sizeof *number - 3);
	if (number)
		number->value = value;
	return number != NULL;
}

/* What is handed over from now on is a write of its own: the writer has begun with all before. */
static void wait_for_write(struct stat *before)
{
	struct stat now = *before;
	int64_t until_ms = vf_now_ms() + 10000;
	while (stat(path, &now) || !now.st_size ||
			(now.st_ino == before->st_ino && now.st_size == before->st_size)) {
		CHECK(vf_now_ms() < until_ms);
		usleep(1000);
	}
	*before = now;
}

static void wait_for_size(off_t nbytes)
{
	struct stat now;
	int64_t until_ms = vf_now_ms() + 10000;
	while (stat(path, &now) || now.st_size != nbytes) {
		CHECK(vf_now_ms() < until_ms);
		usleep(1000);
	}
}

static void test_records_come_whole_and_while_it_is_open(void)
{
	struct vf_eventfile *file = vf_eventfile_open(path, 1 << 20);
	CHECK(file && !vf_eventfile_errno(file));
	CHECK(put(file, DEFINITION, 1) && put(file, NUMBER, 1));
	vf_eventfile_hand_over(file);
	wait_for_size(32 + 2 * 16);
	struct stat status;
	CHECK(!stat(path, &status) && (status.st_mode & 0777) == 0600);
	for (uint64_t i = 2; i <= 1000; i++) {
		CHECK(put(file, NUMBER, i));
		if (i % 10 == 0)
			vf_eventfile_hand_over(file);
	}
	vf_eventfile_close(file);
	struct found found = read_file(path);
	CHECK(found.n_numbers == 1000 && found.n_definitions == 1 && !found.n_left_out);
	CHECK(found.head.pid == (uint32_t)getpid() && !found.head.generation);
	CHECK(access(old_path, F_OK));
}

static void test_each_file_has_the_definitions(void)
{
	struct stat written = {0};
	unlink(path);
	struct vf_eventfile *file = vf_eventfile_open(path, 2048);
	uint64_t n = 0;
	for (int i = 1; i <= 5; i++) {
		CHECK(put(file, DEFINITION, (uint64_t)i));
		for (int k = 0; k < 100; k++)
			CHECK(put(file, NUMBER, ++n));
		vf_eventfile_hand_over(file);
		wait_for_write(&written);
	}
	vf_eventfile_close(file);
	struct found old = read_file(old_path), now = read_file(path);
	CHECK(old.n_definitions >= 2 && now.n_definitions == 5 && now.head.generation >= 2);
	CHECK(now.last == 500 && old.last + 1 == now.first && !now.n_left_out);
	unlink(old_path);
}

static void put_with(struct vf_eventfile *file, uint16_t kind, uint16_t of, uint32_t number,
		size_t nbytes)
{
	struct vf_event_about *about = vf_eventfile_put(file, kind, sizeof *about + nbytes);
	CHECK(about);
	about->event.of = of;
	about->number = number;
}

static void put_about(struct vf_eventfile *file, uint16_t kind, uint16_t of, uint32_t number)
{
	put_with(file, kind, of, number, 8 * number);
}

static void test_what_has_come_to_its_end_is_defined_no_more(void)
{
	enum { ENDED = VF_EVENT_ENDS | 4 };
	struct stat written = {0};
	unlink(path);
	struct vf_eventfile *file = vf_eventfile_open(path, 2048);
	put_about(file, DEFINITION, 0, 1);
	for (uint32_t number = 1; number <= 3; number++) {
		put_about(file, DEFINITION, 1, number);
		put_about(file, DEFINITION, 2, number);
	}
	for (int i = 0; i < 3; i++) {
		if (i == 1) {
			put_about(file, ENDED, 1, 2);
			put_about(file, DEFINITION, 1, 4);
			put_about(file, ENDED, 2, 3);
		}
		for (uint64_t k = 0; k < 200; k++)
			CHECK(put(file, NUMBER, k));
		vf_eventfile_hand_over(file);
		wait_for_write(&written);
	}
	vf_eventfile_close(file);
	char data[512];
	struct vf_event_about about;
	uint32_t n = 0;
	FILE *stream = fopen(path, "r");
	CHECK(stream && fread(data, 1, sizeof data, stream) == sizeof data);
	fclose(stream);
	const uint32_t wanted[][2] = {{0, 1}, {1, 1}, {2, 1}, {2, 2}, {1, 3}, {1, 4}};
	for (size_t at = sizeof(struct vf_event_head);; at += about.event.nbytes) {
		memcpy(&about, data + at, sizeof about);
		if (about.event.kind != DEFINITION)
			break;
		CHECK(n < 6 && about.event.of == wanted[n][0] && about.number == wanted[n][1]);
		n++;
	}
	CHECK(n == 6 && about.event.kind == NUMBER);
	unlink(old_path);
}

/* The writer has time for little else than what comes. */
static void test_many_that_have_come_to_their_end_are_soon_forgotten(void)
{
	enum { ENDED = VF_EVENT_ENDS | 4, N = 200000 };
	struct stat written = {0};
	unlink(path);
	struct vf_eventfile *file = vf_eventfile_open(path, 1 << 20);
	for (uint32_t number = 1; number <= N; number++) {
		put_with(file, DEFINITION, 1, number, 0);
		if (number > 1)
			put_with(file, ENDED, 1, number, 0);
	}
	for (int i = 0; i < 2; i++) {
		for (uint64_t k = 0; k < 1000; k++)
			CHECK(put(file, NUMBER, k));
		vf_eventfile_hand_over(file);
		wait_for_write(&written);
	}
	vf_eventfile_close(file);
	/* A head, one definition, and the rest, even if that took longer than closing may. */
	wait_for_size(32 + 24 + 1000 * 16);
	unlink(old_path);
}

static void test_what_finds_no_room_is_counted_and_writing_goes_on(void)
{
	struct rlimit before, limit;
	struct stat written = {0};
	unlink(path);
	CHECK(!getrlimit(RLIMIT_FSIZE, &before));
	limit = before;
	limit.rlim_cur = 32 + 5 * 16 + 8; /* in the midst of a record */
	signal(SIGXFSZ, SIG_IGN);
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	struct vf_eventfile *file = vf_eventfile_open(path, 1 << 20);
	CHECK(put(file, DEFINITION, 1) && put(file, NUMBER, 1));
	vf_eventfile_hand_over(file);
	wait_for_write(&written);
	CHECK(put(file, DEFINITION, 2));
	for (uint64_t i = 2; i <= 11; i++)
		CHECK(put(file, NUMBER, i));
	vf_eventfile_hand_over(file);
	int64_t until_ms = vf_now_ms() + 10000;
	while (vf_eventfile_errno(file) != EFBIG) {
		CHECK(vf_now_ms() < until_ms);
		usleep(1000);
	}
	CHECK(!setrlimit(RLIMIT_FSIZE, &before));
	usleep(1100000); /* until it tries again */
	CHECK(put(file, NUMBER, 12));
	vf_eventfile_close(file);
	/* The definitions are there once more, which readers take for one. */
	FILE *stream = fopen(path, "r");
	uint16_t kinds[16] = {0};
	struct number number;
	size_t n = 0;
	CHECK(!fseek(stream, 32, SEEK_SET));
	while (n < 16 && fread(&number, sizeof number, 1, stream) == 1) {
		kinds[n++] = number.event.kind;
		CHECK(number.event.kind != VF_EVENT_LEFT_OUT || number.value == 10);
	}
	fclose(stream);
	const uint16_t wanted[] = {
			DEFINITION, NUMBER, VF_EVENT_LEFT_OUT, DEFINITION, DEFINITION, NUMBER};
	CHECK(n == 6 && !memcmp(kinds, wanted, sizeof wanted));
	CHECK(number.value == 12);
}

static void test_a_file_system_that_hangs_holds_up_nobody(void)
{
	char pipe_path[64];
	snprintf(pipe_path, sizeof pipe_path, "%s/pipe", directory);
	CHECK(!mkfifo(pipe_path, 0600));
	/* Opening it for writing waits until somebody reads. */
	struct vf_eventfile *file = vf_eventfile_open(pipe_path, 1 << 30);
	int64_t began_ms = vf_now_ms();
	uint64_t n_refused = 0;
	for (uint64_t i = 0; i < 3000000; i++) {
		n_refused += !put(file, NUMBER, i);
		if (i % 100000 == 0)
			vf_eventfile_hand_over(file);
	}
	CHECK(vf_now_ms() - began_ms < 30000 && !n_refused);
	vf_eventfile_hand_over(file);
	CHECK(put(file, NUMBER, 0) && put(file, DEFINITION, 1));
	vf_eventfile_hand_over(file);
	for (uint64_t i = 0; i < (16 << 20) / 16 + 5; i++)
		n_refused += !put(file, NUMBER, i);
	CHECK(n_refused >= 5); /* nobody has taken them over */
	CHECK(put(file, DEFINITION, 2) && !vf_eventfile_put(file, DEFINITION, (16 << 20) + 1));
	began_ms = vf_now_ms();
	vf_eventfile_close(file);
	CHECK(vf_now_ms() - began_ms < 10000);
	/* The thread goes on, and frees what it has. */
	int fd = open(pipe_path, O_RDONLY | O_CLOEXEC);
	FILE *stream = fdopen(fd, "r");
	struct number number;
	uint64_t n_definitions = 0;
	struct vf_event_head head;
	CHECK(stream && fread(&head, sizeof head, 1, stream) == 1);
	while (fread(&number, sizeof number, 1, stream) == 1)
		n_definitions += number.event.kind == DEFINITION;
	CHECK(n_definitions == 2); /* although there was no room for others */
	fclose(stream);
	unlink(pipe_path);
}

static void test_a_fork_writes_nothing(void)
{
	struct vf_eventfile *file = vf_eventfile_open(path, 1 << 20);
	CHECK(put(file, NUMBER, 1));
	vf_eventfile_hand_over(file);
	pid_t pid = fork();
	if (!pid) {
		int refused = !put(file, NUMBER, 2);
		vf_eventfile_hand_over(file);
		vf_eventfile_close(file);
		_exit(refused ? 0 : 1);
	}
	int status;
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(put(file, NUMBER, 2));
	vf_eventfile_close(file);
	struct found found = read_file(path);
	CHECK(found.n_numbers == 2 && found.last == 2);
}

static void test_the_last_of_two_with_one_name_has_it(void)
{
	struct stat written = {0}, status;
	unlink(path);
	struct vf_eventfile *first = vf_eventfile_open(path, 2048);
	CHECK(put(first, DEFINITION, 1) && put(first, NUMBER, 1));
	vf_eventfile_hand_over(first);
	wait_for_write(&written);
	struct vf_eventfile *last = vf_eventfile_open(path, 1 << 20);
	CHECK(put(last, NUMBER, 1));
	vf_eventfile_hand_over(last);
	wait_for_write(&written);
	/* It goes on for more than the bytes that it may have. */
	for (uint64_t n = 2; n <= 400; n++) {
		CHECK(put(first, NUMBER, n));
		if (n % 100 == 0) {
			vf_eventfile_hand_over(first);
			usleep(100000);
		}
	}
	vf_eventfile_close(first);
	CHECK(put(last, NUMBER, 2));
	vf_eventfile_close(last);
	struct found found = read_file(path);
	CHECK(found.n_numbers == 2 && !found.n_definitions && !found.head.generation);
	CHECK(!stat(path, &status) && status.st_ino == written.st_ino && access(old_path, F_OK));
}

static void test_without_memory_or_a_thread_there_is_none(void)
{
	for (int n = 0; n < 4; n++) {
		faults_begin(n);
		struct vf_eventfile *file = vf_eventfile_open(path, 1 << 20);
		int error = errno;
		CHECK(faults_end() == 1);
		CHECK(!file && error);
	}
	vf_eventfile_close(NULL);
	faults_fail("pthread_attr_init", 0, ENOMEM);
	CHECK(!vf_eventfile_open(path, 1 << 20) && errno == ENOMEM && faults_has_failed());
}

/* The writer's own: what it does not know by heart is missing in later files alone. */
static void test_short_memory_of_the_writer(void)
{
	struct stat written = {0};
	unlink(path);
	unlink(old_path);
	struct vf_eventfile *file = vf_eventfile_open(path, 2048);
	uint64_t n = 0;
	for (int i = 1; i <= 3; i++) {
		CHECK(put(file, DEFINITION, 1));
		put_about(file, VF_EVENT_ENDS | 4, 1, 7);
		for (int k = 0; k < 150; k++)
			CHECK(put(file, NUMBER, ++n));
		faults_begin_elsewhere(FAULTS_ALL);
		vf_eventfile_hand_over(file);
		wait_for_write(&written);
		CHECK(faults_end() > 0);
	}
	vf_eventfile_close(file);
	struct number last;
	FILE *stream = fopen(path, "r");
	CHECK(stream && !fseek(stream, -(long)sizeof last, SEEK_END));
	CHECK(fread(&last, sizeof last, 1, stream) == 1 && last.value == n && !fclose(stream));
	CHECK(!unlink(old_path));
}

/* The file that has no other name begins anew, and nothing else is lost. */
static void test_what_cannot_be_renamed_begins_anew(void)
{
	struct stat written = {0};
	unlink(path);
	struct vf_eventfile *file = vf_eventfile_open(path, 2048);
	uint64_t n = 0;
	faults_fail("rename", 0, EACCES);
	for (int i = 1; i <= 2; i++) {
		CHECK(put(file, DEFINITION, (uint64_t)i));
		for (int k = 0; k < 150; k++)
			CHECK(put(file, NUMBER, ++n));
		vf_eventfile_hand_over(file);
		wait_for_write(&written);
	}
	vf_eventfile_close(file);
	CHECK(faults_has_failed() && access(old_path, F_OK));
	struct found found = read_file(path);
	CHECK(found.head.generation == 1 && found.n_definitions == 2 && found.last == n);
}

int main(void)
{
	CHECK(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/events", directory);
	snprintf(old_path, sizeof old_path, "%s/events.old", directory);
	test_records_come_whole_and_while_it_is_open();
	test_each_file_has_the_definitions();
	test_what_has_come_to_its_end_is_defined_no_more();
	test_many_that_have_come_to_their_end_are_soon_forgotten();
	test_what_finds_no_room_is_counted_and_writing_goes_on();
	test_a_file_system_that_hangs_holds_up_nobody();
	test_a_fork_writes_nothing();
	test_the_last_of_two_with_one_name_has_it();
	test_without_memory_or_a_thread_there_is_none();
	test_short_memory_of_the_writer();
	test_what_cannot_be_renamed_begins_anew();
	unlink(path);
	CHECK(!rmdir(directory));
	return 0;
}
