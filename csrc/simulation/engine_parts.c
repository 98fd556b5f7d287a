/* Small parts of TaskVine, each in an object apart from its callers, so that the linker replaces
the calls: connections, workers, transfers, messages for a log; and what csrc names, and a
simulation never comes to. */

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "category.h"
#include "debug.h"
#include "engine.h"
#include "itable.h"
#include "link.h"
#include "sim.h"

/* ---- connections ---- */

int link_fd(struct link *link)
{
	return link->fd;
}

int link_buffer_empty(struct link *link)
{
	(void)link;
	return 1;
}

int link_poll(struct link_info *array, int nlinks, int msec)
{
	(void)msec; /* csrc has waited */
	int n_ready = 0;
	for (int i = 0; i < nlinks; i++) {
		array[i].revents = sim_is_readable(array[i].link->fd) ? LINK_READ : 0;
		n_ready += array[i].revents != 0;
	}
	return n_ready;
}

void link_close(struct link *link)
{
	while (!STAILQ_EMPTY(&link->come)) {
		struct message *message = STAILQ_FIRST(&link->come);
		STAILQ_REMOVE_HEAD(&link->come, next);
		free(message->output);
		free(message);
	}
	link->fd = -1;
}

/* ---- workers ---- */

struct vine_worker_info *vine_worker_create(struct link *link)
{
	struct vine_worker_info *worker = calloc(1, sizeof *worker);
	worker->link = link;
	snprintf(worker->addrport, sizeof worker->addrport, "10.0.0.1:%d", link->fd);
	return worker;
}

void vine_worker_delete(struct vine_worker_info *worker)
{
	link_close(worker->link);
	free(worker);
}

/* ---- transfers and logs ---- */

void vine_txn_log_write_cache_update(struct vine_manager *manager, struct vine_worker_info *worker,
		size_t nbytes, timestamp_t took_us, timestamp_t began_us, const char *name)
{
	(void)manager, (void)worker, (void)nbytes, (void)took_us, (void)began_us, (void)name;
}

#if VF_TASKVINE < 715
int vine_current_transfers_set_failure(struct vine_manager *manager, char *id)
{
	(void)manager, (void)id;
	return 1;
}
#else
int vine_current_transfers_set_failure(struct vine_manager *manager, char *id, const char *name)
{
	(void)manager, (void)id, (void)name;
	return 1;
}
#endif

int vine_current_transfers_url_in_use(struct vine_manager *manager, const char *source)
{
	(void)manager, (void)source;
	return 0;
}

void cctools_debug(int64_t flags, const char *format, ...)
{
	(void)flags, (void)format;
}

void vdebug(int64_t flags, const char *format, va_list arguments)
{
	(void)flags, (void)format, (void)arguments;
}

int64_t debug_flags_clear(void)
{
	return 0;
}

int vine_manager_get_output_files(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task)
{
	(void)manager, (void)task;
	return worker->link->is_over && sim_chance(500) ? VINE_FAILURE_WORKER : 0;
}

/* ---- what no simulation comes to ---- */

#define NEVER(type, name, ...) \
	type name(__VA_ARGS__) \
	{ \
		sim_broken("the simulation is complete", "%s() was called", __func__); \
	}

#pragma GCC diagnostic ignored "-Wunused-parameter"
NEVER(void, cctools_fatal, const char *format, ...)
NEVER(int, link_readline, struct link *link, char *line, size_t length, time_t stoptime)
NEVER(void *, itable_lookup, struct itable *table, UINT64_T key)
NEVER(int64_t, link_soak, struct link *link, int64_t length, time_t stoptime)
NEVER(struct link *, link_accept, struct link *parent, time_t stoptime)
NEVER(int, link_auth_password, struct link *link, const char *password, time_t stoptime)
NEVER(int, link_ssl_wrap_accept, struct link *link, const char *key, const char *certificate)
NEVER(ssize_t, link_read, struct link *link, char *data, size_t length, time_t stoptime)
NEVER(struct link *, link_connect, const char *address, int port, time_t stoptime)
NEVER(int, link_ssl_wrap_connect, struct link *link, const char *name)
NEVER(ssize_t, link_vprintf, struct link *link, time_t stoptime, const char *format, va_list words)
NEVER(const struct rmsummary *, category_task_max_resources, struct category *category,
		struct rmsummary *user, category_allocation_t request, int id)
NEVER(const struct rmsummary *, category_task_min_resources, struct category *category,
		struct rmsummary *user, category_allocation_t request, int id)
NEVER(int, debug_file_path, const char *path)
NEVER(void, debug_file_write, int64_t flags, const char *text)
NEVER(void, dttools_sha1_buffer, const void *data, size_t nbytes, unsigned char *digest)
NEVER(void, vine_set_password, struct vine_manager *manager, const char *password)
NEVER(void, vine_set_runtime_info_path, const char *path)
NEVER(struct vine_manager *, vine_ssl_create, int port, const char *key, const char *certificate)
NEVER(int, vine_port, struct vine_manager *manager)
