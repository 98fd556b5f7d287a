#include "vf_replica.h"

#include <stdlib.h>

#include "itable.h"
#include "taskvine_private.h"
#include "vf_turn.h"

struct vf_datum *vf_replica_know(struct vf_loop *loop, struct vine_file *file, struct vf_temp *temp)
{
	struct vf_datum *datum = itable_lookup(loop->data, (uintptr_t)file);
	if (datum) {
		datum->n_users++;
		return datum;
	}
	datum = calloc(1, sizeof *datum);
	uint32_t index = datum ? vf_locality_add_file(&loop->locality, vine_file_size(file)) : VF_LOCALITY_NONE;
	if (index == VF_LOCALITY_NONE) {
		free(datum);
		return NULL;
	}
	*datum = (struct vf_datum){.file = file, .temp = temp, .index = index, .n_users = 1};
	itable_insert(loop->data, (uintptr_t)file, datum);
	return datum;
}

void vf_replica_find(struct vf_loop *loop, const struct vf_datum *datum, const char *cached_name)
{
	for (uint32_t i = 0; i < loop->workers.n; i++) {
		const struct vf_worker *worker = loop->workers.items[i];
		const struct vine_file_replica *replica = vine_file_replica_table_lookup(worker->id, cached_name);
		if (!replica)
			continue;
		if (replica->nbytes > 0 && !vine_file_size(datum->file))
			vf_locality_resize_file(&loop->locality, datum->index, (uint64_t)replica->nbytes);
		vf_locality_add_replica(&loop->locality, datum->index, worker->index);
	}
}

void vf_replica_forget(struct vf_loop *loop, struct vf_datum *datum)
{
	if (--datum->n_users)
		return;
	itable_remove(loop->data, (uintptr_t)datum->file);
	vf_locality_forget_file(&loop->locality, datum->index);
	free(datum);
}

void vf_replica_measure(struct vf_loop *loop, const struct vf_datum *datum)
{
	size_t nbytes = vine_file_size(datum->file);
	if (nbytes)
		vf_locality_resize_file(&loop->locality, datum->index, nbytes);
}

void vf_replica_expect(struct vf_loop *loop, const struct vf_bundle *bundle)
{
	for (uint32_t i = 0; bundle->worker && i < bundle->n_calls; i++) {
		const struct vf_files *files = bundle->calls[i]->files;
		for (uint32_t k = 0; files && k < files->n; k++) {
			const struct vf_datum *datum = vf_files_datum(&files->items[k]);
			if (datum)
				vf_locality_add_replica(&loop->locality, datum->index, bundle->worker->index);
		}
	}
}

/* A transfer counts by its bytes against so many of those before it. */
static const double REMEMBERED_NBYTES = 64 << 20;

static void learn_rate(struct vf_loop *loop, uint64_t nbytes, uint64_t took_us)
{
	struct vf_rate *rate = &loop->rate;
	if (!rate->nbytes) {
		rate->nbytes = REMEMBERED_NBYTES;
		rate->ns = REMEMBERED_NBYTES / loop->config.scoring.bandwidth_bytes_per_ns;
	}
	double kept = REMEMBERED_NBYTES / (REMEMBERED_NBYTES + (double)nbytes);
	rate->nbytes = kept * (rate->nbytes + (double)nbytes);
	rate->ns = kept * (rate->ns + 1e3 * (double)took_us);
	loop->locality.rule.bandwidth_bytes_per_ns = rate->nbytes / rate->ns;
	VF_SET(loop, transfer_rate, (uint64_t)(1e9 * rate->nbytes / rate->ns));
}

void vf_replica_cached(void *arg, const struct vine_worker_info *id, const char *cached_name, uint64_t nbytes, uint64_t took_us)
{
	struct vf_loop *loop = arg;
	struct vine_file *file = vine_manager_lookup_file(loop->manager, cached_name);
	const struct vf_datum *datum = file ? itable_lookup(loop->data, (uintptr_t)file) : NULL;
	const struct vf_worker *worker = datum && datum->temp ? vf_workers_find(&loop->workers, id) : NULL;
	if (!worker)
		return;
	/* Only these come from another worker for sure; and while a file is made, this is how long its bundle ran. */
	if (loop->config.learn_bandwidth && datum->temp->state == VF_TEMP_THERE && nbytes && took_us)
		learn_rate(loop, nbytes, took_us);
	vf_temps_hold(datum->temp, worker, cached_name);
}

void vf_replica_changed(void *arg, const struct vine_worker_info *id, const char *cached_name, int there)
{
	struct vf_loop *loop = arg;
	struct vine_file *file = vine_manager_lookup_file(loop->manager, cached_name);
	struct vf_datum *datum = file ? itable_lookup(loop->data, (uintptr_t)file) : NULL;
	const struct vf_worker *worker = datum ? vf_workers_find(&loop->workers, id) : NULL;
	if (!worker)
		return;
	/* TaskVine may tell twice of what a worker is to fetch. */
	if (there && worker->sending && loop->last_moved != file) {
		loop->last_moved = file;
		VF_COUNT(loop, files_moved, 1);
		VF_COUNT(loop, file_bytes_moved, vine_file_size(file));
	}
	if (there)
		vf_locality_add_replica(&loop->locality, datum->index, worker->index);
	else
		vf_locality_remove_replica(&loop->locality, datum->index, worker->index);
	if (datum->temp && !there)
		vf_temps_drop(loop, datum->temp, worker);
}
