#define _GNU_SOURCE
#include "vf_log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "vf_hooks.h"
#include "vf_logfile.h"

static const char *const NAMES[] = {"performance", "transactions", "taskgraph"};

static _Thread_local uint64_t next_max_nbytes;
static _Thread_local struct vf_counters *next_counters; /* NULL: of managers that are not ours */

/* The debug log, to which all threads write. */
static pthread_mutex_t debug_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int debug_is_ours; /* not TaskVine's own */
static atomic_int debug_owner;   /* the process that has opened it */
static struct vf_logfile *debug_log;
static const struct vf_counters *debug_counters;

void vf_log_begin(uint64_t max_nbytes, struct vf_counters *counters)
{
	next_max_nbytes = max_nbytes;
	next_counters = counters;
}

void vf_log_begun(void)
{
	next_counters = NULL;
}

static int is_log(const char *path)
{
	const char *slash = strrchr(path, '/');
	for (size_t i = 0; slash && i < sizeof NAMES / sizeof *NAMES; i++) {
		if (!strcmp(slash + 1, NAMES[i]))
			return 1;
	}
	return 0;
}

static ssize_t write_log(void *log, const char *data, size_t nbytes)
{
	vf_logfile_write(log, data, nbytes);
	return (ssize_t)nbytes;
}

static int close_log(void *log)
{
	vf_logfile_close(log);
	return 0;
}

FILE *__wrap_fopen(const char *restrict path, const char *restrict mode)
{
	VF_FIRED(fopen);
	if (!next_counters || *mode != 'w' || !is_log(path))
		return __real_fopen(path, mode);
	struct vf_logfile *log = vf_logfile_open(path, next_max_nbytes, next_counters);
	if (!log)
		return NULL;
	cookie_io_functions_t functions = {.write = write_log, .close = close_log};
	FILE *stream = fopencookie(log, "w", functions);
	if (!stream)
		vf_logfile_close(log);
	return stream;
}

static void set_debug_log(struct vf_logfile *log)
{
	if (debug_log)
		vf_logfile_close(debug_log);
	debug_log = log;
	debug_counters = log ? next_counters : NULL;
}

int __wrap_debug_file_path(const char *path)
{
	VF_FIRED(debug_file_path);
	if (atomic_load(&debug_owner) != getpid()) {
		/* Another thread of the process that has forked may have held it. */
		pthread_mutex_init(&debug_lock, NULL);
		debug_log = NULL;
		atomic_store(&debug_owner, getpid());
	}
	pthread_mutex_lock(&debug_lock);
	set_debug_log(next_counters ? vf_logfile_open(path, next_max_nbytes, next_counters) : NULL);
	atomic_store(&debug_is_ours, next_counters != NULL);
	pthread_mutex_unlock(&debug_lock);
	return next_counters ? 0 : __real_debug_file_path(path);
}

void __wrap_debug_file_write(int64_t flags, const char *text)
{
	VF_FIRED(debug_file_write);
	if (!atomic_load(&debug_is_ours)) {
		__real_debug_file_write(flags, text);
	} else if (atomic_load(&debug_owner) == getpid()) {
		pthread_mutex_lock(&debug_lock);
		if (debug_log)
			vf_logfile_write(debug_log, text, strlen(text));
		pthread_mutex_unlock(&debug_lock);
	}
}

void vf_log_end(const struct vf_counters *counters)
{
	if (atomic_load(&debug_owner) != getpid())
		return;
	pthread_mutex_lock(&debug_lock);
	if (debug_counters == counters)
		set_debug_log(NULL);
	pthread_mutex_unlock(&debug_lock);
}
