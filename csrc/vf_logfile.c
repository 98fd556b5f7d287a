#define _GNU_SOURCE
#include "vf_logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vf_append.h"
#include "vf_clock.h"
#include "vf_counters.h"
#include "vf_loghead.h"

enum {
	/* What could not be written is not tried again at once: a full file system may look hard
	for room before it says that it has none. */
	PAUSE_MS = 1000,
};

struct vf_logfile {
	char *path, *old_path;
	int fd; /* negative: it could not be opened */
	pid_t owner;
	uint64_t max_nbytes;
	struct vf_counters *counters;
	struct vf_loghead head;
	uint64_t nbytes, head_nbytes; /* of the file, and of its head */
	uint64_t line_nbytes;         /* behind the last newline */
	uint64_t old_nbytes;
	int64_t again_ms; /* not before */
	int torn;         /* what comes next is the rest of a line that could not be written */
};

static void note_error(struct vf_logfile *log, int error)
{
	VF_SET(log->counters, log_errno, (uint64_t)error);
	log->again_ms = vf_now_ms() + PAUSE_MS;
}

static int open_file(const struct vf_logfile *log)
{
	return open(log->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY,
			0666);
}

struct vf_logfile *vf_logfile_open(
		const char *path, uint64_t max_nbytes, struct vf_counters *counters)
{
	struct vf_logfile *log = calloc(1, sizeof *log);
	if (!log)
		return NULL;
	*log = (struct vf_logfile){.fd = -1, .max_nbytes = max_nbytes, .counters = counters};
	log->owner = getpid();
	log->path = strdup(path);
	if (!log->path || asprintf(&log->old_path, "%s.old", path) < 0) {
		log->old_path = NULL;
		vf_logfile_close(log);
		return NULL;
	}
	log->fd = open_file(log);
	if (log->fd < 0)
		note_error(log, errno);
	return log;
}

void vf_logfile_close(struct vf_logfile *log)
{
	if (log->fd >= 0)
		close(log->fd);
	vf_loghead_free(&log->head);
	free(log->path);
	free(log->old_path);
	free(log);
}

/* Returns 0, or -1 if there is nothing of it in the file, nor of the line that it goes on with. */
static int append(struct vf_logfile *log, const char *data, size_t nbytes)
{
	int error = vf_append(log->fd, data, nbytes, log->line_nbytes);
	if (error) {
		note_error(log, error);
		VF_COUNT(log->counters, log_bytes_unwritten, log->line_nbytes);
		log->nbytes -= log->line_nbytes;
		log->line_nbytes = 0;
		return -1;
	}
	const char *newline = memrchr(data, '\n', nbytes);
	log->nbytes += nbytes;
	log->line_nbytes = newline ? (uint64_t)(data + nbytes - newline - 1) :
				     log->line_nbytes + nbytes;
	return 0;
}

/* Have the file open, with its head. */
static int begin(struct vf_logfile *log)
{
	if (log->again_ms && vf_now_ms() < log->again_ms)
		return -1;
	log->again_ms = 0;
	if (log->fd < 0 && (log->fd = open_file(log)) < 0) {
		note_error(log, errno);
		return -1;
	}
	if (log->nbytes)
		return 0;
	struct vf_buffer buffer = {0};
	size_t nbytes = vf_loghead_get(&log->head, &buffer);
	int result = nbytes ? append(log, buffer.data, nbytes) : 0;
	log->head_nbytes = log->nbytes;
	vf_buffer_free(&buffer);
	return result;
}

/* Write some lines, or parts of one, or leave them out. */
static void put(struct vf_logfile *log, const char *data, size_t nbytes)
{
	if (log->torn) {
		const char *newline = memchr(data, '\n', nbytes);
		size_t rest = newline ? (size_t)(newline + 1 - data) : nbytes;
		VF_COUNT(log->counters, log_bytes_unwritten, rest);
		log->torn = !newline;
		data += rest;
		nbytes -= rest;
	}
	if (!nbytes || (!begin(log) && !append(log, data, nbytes)))
		return;
	VF_COUNT(log->counters, log_bytes_unwritten, nbytes);
	log->torn = data[nbytes - 1] != '\n';
}

static int is_full(const struct vf_logfile *log)
{
	return log->max_nbytes && log->nbytes - log->head_nbytes >= log->max_nbytes;
}

static void rotate(struct vf_logfile *log)
{
	append(log, vf_loghead_foot(&log->head), strlen(vf_loghead_foot(&log->head)));
	/* First, so that there is room where the former one was. What somebody has removed has no
	name to lose. */
	int error = rename(log->path, log->old_path) ? errno : 0;
	int is_gone = error == ENOENT;
	int fd = !error || is_gone ? open_file(log) : -1;
	if (fd >= 0) {
		close(log->fd);
		log->fd = fd;
		VF_COUNT(log->counters, log_bytes_dropped, is_gone ? log->nbytes : log->old_nbytes);
		log->old_nbytes = is_gone ? log->old_nbytes : log->nbytes;
	} else {
		/* There is to be no other file: the directory is gone, or read-only. So this one
		begins anew. */
		note_error(log, error && !is_gone ? error : errno);
		if (!error && rename(log->old_path, log->path))
			log->old_nbytes = 0;
		if (ftruncate(log->fd, 0) == 0)
			VF_COUNT(log->counters, log_bytes_dropped, log->nbytes);
	}
	log->nbytes = log->head_nbytes = log->line_nbytes = 0;
	log->again_ms = 0;
}

void vf_logfile_write(struct vf_logfile *log, const char *data, size_t nbytes)
{
	if (log->owner != getpid())
		return;
	for (size_t done = 0, n; done < nbytes; done += n) {
		if (is_full(log) && !log->line_nbytes && !log->torn)
			rotate(log);
		const char *newline =
				is_full(log) ? memchr(data + done, '\n', nbytes - done) : NULL;
		n = newline ? (size_t)(newline + 1 - data) - done : nbytes - done;
		put(log, data + done, n);
	}
	vf_loghead_note(&log->head, data, nbytes);
}
