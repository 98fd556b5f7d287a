#define _GNU_SOURCE
#include "vf_eventfile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vf_append.h"
#include "vf_buffer.h"
#include "vf_clock.h"

enum {
	MOST_NBYTES = 16 << 20, /* that wait to be written */
	GATHER_MS = 50,         /* between two writes */
	PAUSE_MS = 1000,        /* what could not be written is not tried again at once */
	CLOSE_MS = 1000,
};

struct vf_eventfile {
	/* Either thread's, by the mutex. */
	pthread_mutex_t lock;
	pthread_cond_t filled, ended;
	struct vf_buffer filling;
	uint64_t n_left_out; /* for which there was no room in memory */
	int writer_waits, closing, over;
	int n_holders; /* of the two; the last one frees it */

	/* The owner's. */
	struct vf_buffer pending;
	uint64_t n_dropped;
	pid_t owner;

	/* The writer's. */
	char *path, *old_path;
	uint64_t max_nbytes, nbytes;
	struct vf_buffer writing, defined;
	uint64_t n_unwritten;
	uint32_t generation;
	int lacks_definitions; /* the file does: some were not written */
	int fd;
	int64_t again_ms; /* not before */
	atomic_int error;
};

static void free_file(struct vf_eventfile *file)
{
	if (file->fd >= 0)
		close(file->fd);
	vf_buffer_free(&file->filling);
	vf_buffer_free(&file->pending);
	vf_buffer_free(&file->writing);
	vf_buffer_free(&file->defined);
	free(file->path);
	free(file->old_path);
	pthread_cond_destroy(&file->filled);
	pthread_cond_destroy(&file->ended);
	pthread_mutex_destroy(&file->lock);
	free(file);
}

static int append_bytes(struct vf_buffer *buffer, const void *data, size_t nbytes)
{
	if (vf_buffer_reserve(buffer, buffer->nbytes + nbytes))
		return -1;
	memcpy(buffer->data + buffer->nbytes, data, nbytes);
	buffer->nbytes += nbytes;
	return 0;
}

/* ---- the writer ---- */

static void note_error(struct vf_eventfile *file, int error)
{
	atomic_store(&file->error, error);
	file->again_ms = vf_now_ms() + PAUSE_MS;
}

/* Returns 0, or -1 with nothing of it in the file. */
static int write_whole(struct vf_eventfile *file, const char *data, size_t nbytes)
{
	int error = vf_append(file->fd, data, nbytes, 0);
	if (error) {
		note_error(file, error);
		return -1;
	}
	file->nbytes += nbytes;
	return 0;
}

static int begin_file(struct vf_eventfile *file)
{
	struct timespec wall;
	struct vf_event_head head = {.version = VF_EVENT_VERSION,
			.pid = (uint32_t)file->owner,
			.generation = file->generation};
	memcpy(head.magic, VF_EVENT_MAGIC, sizeof head.magic);
	head.monotonic_ns = vf_now_ns();
	clock_gettime(CLOCK_REALTIME, &wall);
	head.wall_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
	if (write_whole(file, (const char *)&head, sizeof head))
		return -1;
	file->lacks_definitions = file->defined.nbytes > 0;
	return 0;
}

/* Another executor may still write what has the name: its records go on there, not into ours. */
static int open_new(const char *path)
{
	struct stat former;
	if (!lstat(path, &former) && S_ISREG(former.st_mode))
		unlink(path);
	return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
}

static int is_open(struct vf_eventfile *file)
{
	if (file->again_ms && vf_now_ms() < file->again_ms)
		return 0;
	file->again_ms = 0;
	if (file->fd < 0) {
		file->fd = open_new(file->path);
		file->nbytes = 0;
		if (file->fd < 0) {
			note_error(file, errno);
			return 0;
		}
	}
	return file->nbytes > 0 || !begin_file(file);
}

static uint64_t key_of(const struct vf_event_about *about)
{
	return (uint64_t)about->event.of << 32 | about->number;
}

static int compare(const void *one, const void *other)
{
	uint64_t a, b;
	memcpy(&a, one, sizeof a);
	memcpy(&b, other, sizeof b);
	return (a > b) - (a < b);
}

/* What some definitions say to have come to its end, sorted. Returns 0, or -1 when memory is
short. */
static int find_ended(const struct vf_buffer *defined, struct vf_buffer *ended)
{
	struct vf_event_about each;
	for (size_t at = 0; at < defined->nbytes; at += each.event.nbytes) {
		memcpy(&each.event, defined->data + at, sizeof each.event);
		if ((each.event.kind & VF_EVENT_ENDS) != VF_EVENT_ENDS)
			continue;
		memcpy(&each, defined->data + at, sizeof each);
		uint64_t key = key_of(&each);
		if (append_bytes(ended, &key, sizeof key))
			return -1;
	}
	if (ended->nbytes)
		qsort(ended->data, ended->nbytes / sizeof(uint64_t), sizeof(uint64_t), compare);
	return 0;
}

static int is_among(const struct vf_buffer *ended, uint64_t key)
{
	return bsearch(&key, ended->data, ended->nbytes / sizeof key, sizeof key, compare) != NULL;
}

/* What has come to its end is known to the file in which it has, and to the one before: it is not
repeated any more. There may be thousands. */
static void forget_ended(struct vf_buffer *defined)
{
	struct vf_event_about each;
	struct vf_buffer ended = {0};
	size_t kept = 0;
	if (find_ended(defined, &ended) || !ended.nbytes) {
		vf_buffer_free(&ended);
		return;
	}
	for (size_t at = 0; at < defined->nbytes; at += each.event.nbytes) {
		memcpy(&each.event, defined->data + at, sizeof each.event);
		if (each.event.of) {
			memcpy(&each, defined->data + at, sizeof each);
			if (is_among(&ended, key_of(&each)))
				continue;
		}
		memmove(defined->data + kept, defined->data + at, each.event.nbytes);
		kept += each.event.nbytes;
	}
	defined->nbytes = kept;
	vf_buffer_free(&ended);
}

static int another_has_the_name(const struct vf_eventfile *file)
{
	struct stat named, ours;
	return !stat(file->path, &named) && !fstat(file->fd, &ours) &&
			(named.st_ino != ours.st_ino || named.st_dev != ours.st_dev);
}

/* A file that cannot be renamed begins anew under its own name, and one that has no name any more
where it is. */
static void rotate(struct vf_eventfile *file)
{
	file->generation++;
	forget_ended(&file->defined);
	if (another_has_the_name(file) && !ftruncate(file->fd, 0)) {
		file->nbytes = 0;
		return;
	}
	if (rename(file->path, file->old_path) && errno != ENOENT) {
		atomic_store(&file->error, errno);
		unlink(file->path);
	}
	close(file->fd);
	file->fd = -1;
}

/* Remember the definitions among some records, and count the others. */
static uint64_t look_through(struct vf_eventfile *file, const struct vf_buffer *records)
{
	struct vf_event event;
	uint64_t n = 0;
	for (size_t at = 0; at < records->nbytes; at += event.nbytes) {
		memcpy(&event, records->data + at, sizeof event);
		/* Without memory, later files lack it. */
		if (event.kind & VF_EVENT_DEFINES)
			append_bytes(&file->defined, records->data + at, event.nbytes);
		else
			n++;
	}
	return n;
}

/* Have the file ready for what comes next: it tells of what is missing, and has all definitions. */
static int catch_up(struct vf_eventfile *file)
{
	struct vf_event_left_out gap = {.event = {.kind = VF_EVENT_LEFT_OUT, .nbytes = sizeof gap},
			.n = file->n_unwritten};
	if (!is_open(file))
		return -1;
	if (file->n_unwritten && write_whole(file, (const char *)&gap, sizeof gap))
		return -1;
	file->n_unwritten = 0;
	if (file->lacks_definitions && write_whole(file, file->defined.data, file->defined.nbytes))
		return -1;
	file->lacks_definitions = 0;
	return 0;
}

static void write_records(struct vf_eventfile *file, uint64_t n_left_out)
{
	file->n_unwritten += n_left_out;
	if (file->fd >= 0 && file->nbytes >= file->max_nbytes / 2)
		rotate(file);
	int failed = catch_up(file) || write_whole(file, file->writing.data, file->writing.nbytes);
	size_t before = file->defined.nbytes;
	uint64_t n = look_through(file, &file->writing);
	if (failed) {
		file->n_unwritten += n;
		file->lacks_definitions |= file->defined.nbytes > before;
	}
}

static void wait_for(pthread_cond_t *condition, pthread_mutex_t *lock, int ms)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(condition, lock, &until);
}

static void *write_file(void *arg)
{
	struct vf_eventfile *file = arg;
	int closing;
	do {
		pthread_mutex_lock(&file->lock);
		while (!file->filling.nbytes && !file->n_left_out && !file->closing) {
			file->writer_waits = 1;
			pthread_cond_wait(&file->filled, &file->lock);
		}
		file->writer_waits = 0;
		if (!file->closing)
			wait_for(&file->ended, &file->lock, GATHER_MS);
		struct vf_buffer empty = file->writing;
		file->writing = file->filling;
		file->filling = empty;
		file->filling.nbytes = 0;
		uint64_t n_left_out = file->n_left_out;
		file->n_left_out = 0;
		closing = file->closing;
		pthread_mutex_unlock(&file->lock);
		if (file->writing.nbytes || n_left_out)
			write_records(file, n_left_out);
		vf_buffer_trim(&file->writing);
	} while (!closing);
	pthread_mutex_lock(&file->lock);
	file->over = 1;
	pthread_cond_signal(&file->filled);
	int last = !--file->n_holders;
	pthread_mutex_unlock(&file->lock);
	if (last)
		free_file(file);
	return NULL;
}

/* ---- the owner ---- */

/* Have the definitions of what is pending wait for the writer, and count the others as missing. */
static void hand_over_definitions(struct vf_eventfile *file)
{
	struct vf_event event;
	for (size_t at = 0; at < file->pending.nbytes; at += event.nbytes) {
		const char *record = file->pending.data + at;
		memcpy(&event, record, sizeof event);
		if (!(event.kind & VF_EVENT_DEFINES) ||
				append_bytes(&file->filling, record, event.nbytes))
			file->n_left_out++;
	}
}

static int start_writer(struct vf_eventfile *file)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int error = pthread_attr_init(&attributes);
	if (error)
		return error;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* The program's signals are for its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, write_file, file);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

struct vf_eventfile *vf_eventfile_open(const char *path, uint64_t max_nbytes)
{
	struct vf_eventfile *file = calloc(1, sizeof *file);
	pthread_condattr_t monotonic;
	if (!file)
		return NULL;
	file->fd = -1;
	file->owner = getpid();
	file->max_nbytes = max_nbytes;
	file->n_holders = 2;
	pthread_mutex_init(&file->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&file->filled, &monotonic);
	pthread_cond_init(&file->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	file->path = strdup(path);
	int error = ENOMEM;
	if (asprintf(&file->old_path, "%s.old", path) < 0)
		file->old_path = NULL;
	if (file->path && file->old_path)
		error = start_writer(file);
	if (!error)
		return file;
	free_file(file);
	errno = error;
	return NULL;
}

void *vf_eventfile_put(struct vf_eventfile *file, uint16_t kind, size_t nbytes)
{
	size_t whole = (nbytes + 7) & ~(size_t)7;
	struct vf_buffer *pending = &file->pending;
	if (file->owner != getpid())
		return NULL;
	/* Definitions are few, and without them later records say little. */
	size_t before = kind & VF_EVENT_DEFINES ? 0 : pending->nbytes;
	if (before + whole > MOST_NBYTES || vf_buffer_reserve(pending, pending->nbytes + whole)) {
		file->n_dropped++;
		return NULL;
	}
	struct vf_event *event = (struct vf_event *)(void *)(pending->data + pending->nbytes);
	memset(event, 0, whole);
	event->kind = kind;
	event->nbytes = (uint32_t)whole;
	pending->nbytes += whole;
	return event;
}

void vf_eventfile_hand_over(struct vf_eventfile *file)
{
	struct vf_buffer *pending = &file->pending;
	if ((!pending->nbytes && !file->n_dropped) || file->owner != getpid())
		return;
	pthread_mutex_lock(&file->lock);
	file->n_left_out += file->n_dropped;
	if (!file->filling.nbytes) {
		struct vf_buffer empty = file->filling;
		file->filling = *pending;
		*pending = empty;
	} else if (file->filling.nbytes + pending->nbytes > MOST_NBYTES ||
			append_bytes(&file->filling, pending->data, pending->nbytes)) {
		hand_over_definitions(file);
	}
	if (file->writer_waits) {
		file->writer_waits = 0;
		pthread_cond_signal(&file->filled);
	}
	pthread_mutex_unlock(&file->lock);
	pending->nbytes = 0;
	file->n_dropped = 0;
}

int vf_eventfile_errno(const struct vf_eventfile *file)
{
	return atomic_load(&file->error);
}

void vf_eventfile_close(struct vf_eventfile *file)
{
	if (!file || file->owner != getpid())
		return;
	vf_eventfile_hand_over(file);
	pthread_mutex_lock(&file->lock);
	file->closing = 1;
	pthread_cond_signal(&file->filled);
	pthread_cond_signal(&file->ended);
	int64_t until_ms = vf_now_ms() + CLOSE_MS;
	while (!file->over && vf_now_ms() < until_ms)
		wait_for(&file->filled, &file->lock, (int)(until_ms - vf_now_ms()) + 1);
	int last = !--file->n_holders;
	pthread_mutex_unlock(&file->lock);
	if (last)
		free_file(file);
}
