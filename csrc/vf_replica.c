#include "vf_replica.h"

#include <stdlib.h>

#include "taskvine_private.h"
#include "vf_bundle.h"
#include "vf_locality.h"
#include "vf_workers.h"

void vf_replica_end(struct vf_replicas *replicas)
{
	void *datum;
	for (size_t at = 0; (datum = vf_table_next(&replicas->data, &at));)
		free(datum);
	vf_table_free(&replicas->data);
}

struct vf_datum *vf_replica_of(const struct vf_replicas *replicas, const struct vine_file *file)
{
	return file ? vf_table_find(&replicas->data, (uintptr_t)file) : NULL;
}

struct vf_datum *vf_replica_know(
		struct vf_replicas *replicas, struct vine_file *file, struct vf_temp *temp)
{
	struct vf_datum *datum = vf_replica_of(replicas, file);
	if (datum) {
		datum->n_users++;
		return datum;
	}
	datum = calloc(1, sizeof *datum);
	uint32_t index = datum ? vf_locality_add_file(replicas->locality, vine_file_size(file)) :
				 VF_LOCALITY_NONE;
	if (index == VF_LOCALITY_NONE || vf_table_put(&replicas->data, (uintptr_t)file, datum)) {
		if (index != VF_LOCALITY_NONE)
			vf_locality_forget_file(replicas->locality, index);
		free(datum);
		return NULL;
	}
	*datum = (struct vf_datum){.file = file, .temp = temp, .index = index, .n_users = 1};
	return datum;
}

void vf_replica_find(
		struct vf_replicas *replicas, const struct vf_datum *datum, const char *cached_name)
{
	struct vf_locality *locality = replicas->locality;
	for (uint32_t i = 0; i < replicas->workers->n; i++) {
		const struct vf_worker *worker = replicas->workers->items[i];
		const struct vine_file_replica *replica =
				vine_file_replica_table_lookup(worker->id, cached_name);
		if (!replica)
			continue;
		if (replica->nbytes > 0 && !vine_file_size(datum->file))
			vf_locality_resize_file(locality, datum->index, (uint64_t)replica->nbytes);
		vf_locality_add_replica(locality, datum->index, worker->index);
	}
}

void vf_replica_forget(struct vf_replicas *replicas, struct vf_datum *datum)
{
	if (--datum->n_users)
		return;
	vf_table_take(&replicas->data, (uintptr_t)datum->file);
	vf_locality_forget_file(replicas->locality, datum->index);
	free(datum);
}

void vf_replica_measure(struct vf_replicas *replicas, const struct vf_datum *datum)
{
	size_t nbytes = vine_file_size(datum->file);
	if (nbytes)
		vf_locality_resize_file(replicas->locality, datum->index, nbytes);
}

void vf_replica_expect(struct vf_replicas *replicas, const struct vf_bundle *bundle)
{
	for (uint32_t i = 0; bundle->worker && i < bundle->n_calls; i++) {
		const struct vf_file_list *files = bundle->calls[i]->files;
		for (uint32_t k = 0; files && k < files->n; k++) {
			const struct vf_datum *datum = vf_file_datum(&files->items[k]);
			if (datum)
				vf_locality_add_replica(replicas->locality, datum->index,
						bundle->worker->index);
		}
	}
}
