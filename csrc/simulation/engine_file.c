/* TaskVine's files, and who has a replica of which. */

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "sim.h"

int engine_n_files;
uint64_t engine_n_made;

static uint32_t bucket_of(const char *name)
{
	uint32_t hash = 2166136261u;
	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash % FILE_BUCKETS;
}

struct vine_file *vine_file_create(const char *source, const char *cached_name, const char *data,
		size_t nbytes, vine_file_type_t type, struct vine_task *mini_task,
		vine_cache_level_t level, vine_file_flags_t flags)
{
	(void)flags;
	char name[64];
	snprintf(name, sizeof name, "made-%llu", (unsigned long long)++engine_n_made);
	struct vine_file *file = calloc(1, sizeof *file);
	*file = (struct vine_file){.refs = 1,
			.type = type,
			.level = level,
			.nbytes = nbytes,
			.mini_task = mini_task};
	file->source = source ? strdup(source) : NULL;
	file->cached_name = strdup(cached_name ? cached_name : name);
	if (data) {
		file->data = malloc(nbytes + 1);
		memcpy(file->data, data, nbytes);
	}
	engine_n_files++;
	return file;
}

void engine_file_release(struct vine_file *file)
{
	if (file->refs <= 0)
		sim_broken("a file is released once", "%s", file->cached_name);
	if (--file->refs)
		return;
	if (file->mini_task)
		vine_task_delete(file->mini_task);
	free(file->source);
	free(file->cached_name);
	free(file->data);
	free(file);
	engine_n_files--;
}

struct vine_file *vine_manager_lookup_file(struct vine_manager *manager, const char *name)
{
	struct vine_file *file;
	LIST_FOREACH(file, &manager->files[bucket_of(name)], entry) {
		if (!strcmp(file->cached_name, name))
			return file;
	}
	return NULL;
}

struct vine_file *vine_manager_declare_file(struct vine_manager *manager, struct vine_file *file)
{
	if (!file)
		return NULL;
	struct vine_file *there = vine_manager_lookup_file(manager, file->cached_name);
	if (there) { /* the first one stays */
		engine_file_release(file);
		return there;
	}
	file->is_declared = 1;
	manager->n_files++;
	manager->n_buffers += file->type == VINE_BUFFER;
	LIST_INSERT_HEAD(&manager->files[bucket_of(file->cached_name)], file, entry);
	return file;
}

struct vine_file *vine_declare_buffer(struct vine_manager *manager, const char *data, size_t nbytes,
		vine_cache_level_t level, vine_file_flags_t flags)
{
	return vine_manager_declare_file(manager,
			vine_file_create("buffer", NULL, data, nbytes, VINE_BUFFER, NULL, level,
					flags));
}

struct vine_file *vine_declare_temp(struct vine_manager *manager)
{
	return vine_manager_declare_file(manager,
			vine_file_create("temp", NULL, NULL, 0, VINE_TEMP, NULL,
					VINE_CACHE_LEVEL_WORKFLOW, 0));
}

struct vine_file *vine_declare_file(struct vine_manager *manager, const char *source,
		vine_cache_level_t level, vine_file_flags_t flags)
{
	return vine_manager_declare_file(manager,
			vine_file_create(source, NULL, NULL, 0, VINE_FILE, NULL, level, flags));
}

static void remove_file(struct vine_manager *manager, struct vine_file *file)
{
	LIST_REMOVE(file, entry);
	file->is_declared = 0;
	manager->n_files--;
	manager->n_buffers -= file->type == VINE_BUFFER;
	engine_file_release(file);
}

void vine_undeclare_file(struct vine_manager *manager, struct vine_file *file)
{
	if (!file || !manager)
		return;
	if (!file->is_declared)
		sim_broken("a file is undeclared once", "%s", file->cached_name);
	struct vine_worker_info *worker;
	LIST_FOREACH(worker, &manager->workers, entry) {
		if (!engine_replica(worker, file->cached_name))
			continue;
		worker->link->calls->unlink(worker->link->peer, file->cached_name);
		engine_forget_replica(manager, worker, file->cached_name);
	}
	remove_file(manager, file);
}

void engine_files_end(struct vine_manager *manager)
{
	for (uint32_t i = 0; i < FILE_BUCKETS; i++) {
		while (!LIST_EMPTY(&manager->files[i]))
			remove_file(manager, LIST_FIRST(&manager->files[i]));
	}
}

const char *vine_file_contents(struct vine_file *file)
{
	return file->data;
}

size_t vine_file_size(struct vine_file *file)
{
	return file->nbytes;
}

const char *vine_file_source(struct vine_file *file)
{
	return file->source;
}

vine_file_type_t vine_file_type(struct vine_file *file)
{
	return file->type;
}

int vine_file_has_changed(struct vine_file *file)
{
	(void)file;
	return 0;
}

/* ---- replicas ---- */

struct replica *engine_replica(struct vine_worker_info *worker, const char *name)
{
	struct replica *replica;
	LIST_FOREACH(replica, &worker->replicas, entry) {
		if (!strcmp(replica->name, name))
			return replica;
	}
	return NULL;
}

struct vine_file_replica *vine_file_replica_table_lookup(
		struct vine_worker_info *worker, const char *name)
{
	struct replica *replica = engine_replica(worker, name);
	return replica ? &replica->is : NULL;
}

int vine_file_replica_table_count_replicas(
		struct vine_manager *manager, const char *name, int state)
{
	int n = 0;
	struct vine_worker_info *worker;
	LIST_FOREACH(worker, &manager->workers, entry) {
		const struct replica *replica = engine_replica(worker, name);
		n += replica && replica->is_there == (state != VINE_REPLICA_PENDING);
	}
	return n;
}

static struct replica *add_replica(struct vine_worker_info *worker, const char *name,
		vine_file_type_t type, vine_cache_level_t level, int64_t nbytes)
{
	struct replica *replica = engine_replica(worker, name);
	if (replica)
		return replica;
	replica = calloc(1, sizeof *replica);
	replica->is = (struct vine_file_replica){type, level, nbytes};
	replica->name = strdup(name);
	LIST_INSERT_HEAD(&worker->replicas, replica, entry);
	return replica;
}

#if VF_TASKVINE < 715
/* The replica is copied, where TaskVine keeps it. */
int vine_file_replica_table_insert(struct vine_manager *manager, struct vine_worker_info *worker,
		const char *name, struct vine_file_replica *is)
{
	(void)manager;
	add_replica(worker, name, is->type, is->level, is->nbytes);
	return 1;
}
#else
struct vine_file_replica *vine_file_replica_table_get_or_create(struct vine_manager *manager,
		struct vine_worker_info *worker, const char *name, vine_file_type_t type,
		vine_cache_level_t level, int64_t nbytes, time_t mtime)
{
	(void)manager, (void)mtime;
	return &add_replica(worker, name, type, level, nbytes)->is;
}
#endif

struct vine_file_replica *vine_file_replica_table_remove(
		struct vine_manager *manager, struct vine_worker_info *worker, const char *name)
{
	(void)manager;
	struct replica *replica = engine_replica(worker, name);
	if (!replica)
		return NULL;
	LIST_REMOVE(replica, entry);
	free(replica->name);
	return &replica->is;
}
