/* What vinefast uses of TaskVine and TaskVine installs no header for: each once, as in the releases
named below. They are seen nowhere else in csrc. setup.py proves that an engine has them
(conf/border.py reads this file); that they still mean the same is seen by vf_selftest.c, and by
whoever compares them with a new release and adds it here. */

#ifndef TASKVINE_PRIVATE_H
#define TASKVINE_PRIVATE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "taskvine.h"
#include "timestamp.h"

/* The releases whose sources these declarations were compared with. */
#define VINE_COMPARED "7.14.5 7.15.9 7.16.5 7.17.1"

/* VF_TASKVINE is the release that is built with: 100 times its major plus its minor number. */
#ifndef VF_TASKVINE
#error VF_TASKVINE is defined by the build (conf/taskvine.py)
#endif

struct link;
struct rmsummary;
struct vine_worker_info;

#if VF_TASKVINE < 717
#define VINE_PROTOCOL 12
#else
#define VINE_PROTOCOL 13
#endif

/* vine_protocol.h; with the byte that ends it */
enum {
	VINE_LINE_MAX = 4096,
};

/* As it begins. */
struct vine_file_replica {
	vine_file_type_t type;
	vine_cache_level_t level;
	int64_t nbytes;
};

/* Of a replica that a worker is about to get or make. From 7.15 on the others are several. */
enum {
	VINE_REPLICA_PENDING = 0,
};

/* What debug() is given when a worker has failed to get a file: its host, its address, the file,
the reason. */
#define VINE_FORMAT_INVALIDATED "%s (%s) invalidated %s with error: %s"

/* link_auth.h, sha1.h */
int link_auth_password(struct link *link, const char *password, time_t stoptime);
void dttools_sha1_buffer(const void *data, size_t nbytes, unsigned char *digest);

/* vine_worker_info.h */
struct vine_worker_info *vine_worker_create(struct link *link);
void vine_worker_delete(struct vine_worker_info *worker);

/* vine_schedule.h; the second is its check of a worker's state, resources, library and blocklist,
the third gives a library there that has a free slot */
struct vine_worker_info *vine_schedule_task_to_worker(
		struct vine_manager *manager, struct vine_task *task);
int check_worker_against_task(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task);
struct vine_task *vine_schedule_find_library(struct vine_manager *manager,
		struct vine_worker_info *worker, const char *library_name);

/* vine_manager.h, vine_manager_put.h; the result of the last is 0 for success */
int vine_manager_send(struct vine_manager *manager, struct vine_worker_info *worker,
		const char *format, ...);
int vine_manager_shut_down_worker(struct vine_manager *manager, struct vine_worker_info *worker);
struct vine_file *vine_manager_lookup_file(struct vine_manager *manager, const char *cached_name);
struct vine_file *vine_manager_declare_file(struct vine_manager *manager, struct vine_file *file);
int vine_manager_put_task(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task, const char *command, struct rmsummary *limits,
		struct vine_file *target);

/* vine_manager_get.h */
int vine_manager_get_output_files(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task);

/* What it may return, vine_result_code_t of vine_manager.h. */
enum {
	VINE_FAILURE_WORKER = 1,
	VINE_FAILURE_MANAGER = 3,
};

/* vine_task.h, vine_file.h */
int vine_file_has_changed(struct vine_file *file);
int vine_task_set_result(struct vine_task *task, vine_result_t result);
struct vine_task *vine_task_addref(struct vine_task *task);
struct vine_file *vine_file_create(const char *source, const char *cached_name, const char *data,
		size_t nbytes, vine_file_type_t type, struct vine_task *mini_task,
		vine_cache_level_t level, vine_file_flags_t flags);

/* vine_file_replica_table.h; from 7.15 on vine_file_replica_table_get_or_create() is the only one
to call the first */
int vine_file_replica_table_insert(struct vine_manager *manager, struct vine_worker_info *worker,
		const char *cached_name, struct vine_file_replica *replica);
struct vine_file_replica *vine_file_replica_table_get_or_create(struct vine_manager *manager,
		struct vine_worker_info *worker, const char *cached_name, vine_file_type_t type,
		vine_cache_level_t level, int64_t nbytes, time_t mtime);
struct vine_file_replica *vine_file_replica_table_remove(struct vine_manager *manager,
		struct vine_worker_info *worker, const char *cached_name);
struct vine_file_replica *vine_file_replica_table_lookup(
		struct vine_worker_info *worker, const char *cached_name);
int vine_file_replica_table_count_replicas(
		struct vine_manager *manager, const char *cached_name, int state);

/* vine_current_transfers.h */
#if VF_TASKVINE < 715
int vine_current_transfers_set_failure(struct vine_manager *manager, char *id);
#else
int vine_current_transfers_set_failure(
		struct vine_manager *manager, char *id, const char *cached_name);
#endif
int vine_current_transfers_url_in_use(struct vine_manager *manager, const char *source);

/* debug.c, which declares them for itself */
int debug_file_path(const char *path);
void debug_file_write(int64_t flags, const char *text);

/* vine_txn_log.h */
void vine_txn_log_write_cache_update(struct vine_manager *manager, struct vine_worker_info *worker,
		size_t nbytes, timestamp_t took_us, timestamp_t began_us, const char *cached_name);

#endif
