#define _GNU_SOURCE
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "check.h"
#include "taskvine.h"
#include "vf_openssl.h"

enum {
	MANY = 10000, /* more than anything here asks for: whoever goes on so long never ends */
};

static atomic_int is_on, n_asked, n_failed;
static int failing;
static _Thread_local int is_spared;

void faults_begin(int n)
{
	CHECK(!atomic_load(&is_on) && n < MANY);
	failing = n;
	atomic_store(&n_asked, 0);
	atomic_store(&n_failed, 0);
	atomic_store(&is_on, 1);
}

void faults_begin_elsewhere(int n)
{
	is_spared = 1;
	faults_begin(n);
}

int faults_end(void)
{
	CHECK(atomic_exchange(&is_on, 0));
	is_spared = 0;
	return atomic_load(&n_failed);
}

static int fails(void)
{
	if (!atomic_load(&is_on) || is_spared || failing == FAULTS_OUTPUT)
		return 0;
	int n = atomic_fetch_add(&n_asked, 1);
	if (failing >= 0 && n != failing)
		return 0;
	atomic_fetch_add(&n_failed, 1);
	errno = ENOMEM;
	return 1;
}

static const char *failing_name;
static int failing_error;
static atomic_int n_until; /* it fails, with itself */

void faults_fail(const char *name, int n, int error)
{
	failing_name = name;
	failing_error = error;
	atomic_store(&n_until, n + 1);
}

int faults_has_failed(void)
{
	return !atomic_exchange(&n_until, 0);
}

static int is_to_fail(const char *name)
{
	if (!atomic_load(&n_until) || strcmp(name, failing_name) ||
			atomic_fetch_sub(&n_until, 1) > 1)
		return 0;
	errno = failing_error;
	return 1;
}

static rlim_t descriptors;

void faults_close_descriptors(void)
{
	struct rlimit limit;
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	descriptors = limit.rlim_cur;
	/* All below the first free one are in use. */
	int free_one = open("/dev/null", O_RDONLY);
	CHECK(free_one >= 0 && !close(free_one));
	limit.rlim_cur = (rlim_t)free_one;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
}

void faults_open_descriptors(void)
{
	struct rlimit limit;
	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = descriptors;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
}

/* What csrc calls instead of the functions without `faults_`, which fail by returning 0. */
#define FAULT(type, name, parameters, arguments) \
	type faults_##name parameters; \
	type faults_##name parameters \
	{ \
		return is_to_fail(#name) || fails() ? (type)0 : name arguments; \
	}

FAULT(void *, malloc, (size_t nbytes), (nbytes))
FAULT(void *, calloc, (size_t n, size_t nbytes), (n, nbytes))
FAULT(void *, realloc, (void *block, size_t nbytes), (block, nbytes))
FAULT(char *, strdup, (const char *text), (text))
FAULT(char *, strndup, (const char *text, size_t nbytes), (text, nbytes))
FAULT(struct vine_task *, vine_task_create, (const char *command), (command))
FAULT(struct vine_file *, vine_declare_buffer,
		(struct vine_manager * manager, const char *data, size_t nbytes,
				vine_cache_level_t level, vine_file_flags_t flags),
		(manager, data, nbytes, level, flags))
FAULT(struct vine_file *, vine_declare_temp, (struct vine_manager * manager), (manager))
FAULT(struct vine_file *, vine_declare_file,
		(struct vine_manager * manager, const char *source, vine_cache_level_t level,
				vine_file_flags_t flags),
		(manager, source, level, flags))

void *faults_aligned_alloc(size_t alignment, size_t nbytes);
void *faults_aligned_alloc(size_t alignment, size_t nbytes)
{
	if (!atomic_load(&is_on) || failing != FAULTS_OUTPUT)
		return aligned_alloc(alignment, nbytes);
	atomic_fetch_add(&n_failed, 1);
	errno = ENOMEM;
	return NULL;
}

int faults_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
		void *(*start)(void *arg), void *arg);
int faults_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
		void *(*start)(void *arg), void *arg)
{
	return fails() ? EAGAIN : pthread_create(thread, attributes, start, arg);
}

static int fail_or_print(char **text, const char *format, va_list arguments)
{
	return fails() ? -1 : vasprintf(text, format, arguments);
}

int faults_asprintf(char **text, const char *format, ...);
int faults_asprintf(char **text, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	int nbytes = fail_or_print(text, format, arguments);
	va_end(arguments);
	return nbytes;
}

/* What it is with _FORTIFY_SOURCE. */
int faults___asprintf_chk(char **text, int flag, const char *format, ...);
int faults___asprintf_chk(char **text, int flag, const char *format, ...)
{
	(void)flag;
	va_list arguments;
	va_start(arguments, format);
	int nbytes = fail_or_print(text, format, arguments);
	va_end(arguments);
	return nbytes;
}

/* What csrc calls instead of the functions without `faults_`, which fail by returning that. */
#define FAILURE(type, failed, name, parameters, arguments) \
	type faults_##name parameters; \
	type faults_##name parameters \
	{ \
		return is_to_fail(#name) ? (failed) : name arguments; \
	}

FAILURE(int, -1, getrlimit, (__rlimit_resource_t resource, struct rlimit *limit), (resource, limit))
FAILURE(int, -1, ftruncate, (int fd, off_t nbytes), (fd, nbytes))
FAILURE(int, -1, rename, (const char *path, const char *to), (path, to))
FAILURE(int, -1, epoll_create1, (int flags), (flags))
FAILURE(ssize_t, -1, getrandom, (void *data, size_t nbytes, unsigned flags), (data, nbytes, flags))
FAILURE(int, failing_error, pthread_attr_init, (pthread_attr_t * attributes), (attributes))
FAILURE(int, 0, SSL_set_fd, (SSL * ssl, int fd), (ssl, fd))
FAILURE(int, -1, BIO_read, (BIO * bio, void *data, int nbytes), (bio, data, nbytes))
FAILURE(int, 0, vine_submit, (struct vine_manager * manager, struct vine_task *task),
		(manager, task))
FAILURE(int, 0, vine_task_add_input,
		(struct vine_task * task, struct vine_file *file, const char *name,
				vine_mount_flags_t flags),
		(task, file, name, flags))

int faults_fcntl(int fd, int what, ...);
int faults_fcntl(int fd, int what, ...)
{
	va_list arguments;
	va_start(arguments, what);
	int value = what == F_GETFL ? 0 : va_arg(arguments, int);
	va_end(arguments);
	return is_to_fail("fcntl") ? -1 : fcntl(fd, what, value);
}
