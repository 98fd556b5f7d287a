#include "vf_events.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "taskvine_private.h"
#include "vf_config.h"
#include "vf_counters.h"
#include "vf_eventlog.h"
#include "vf_locality.h"
#include "vf_replica.h"
#include "vf_temps.h"
#include "vf_workers.h"

/* A transfer counts by its bytes against so many of those before it. */
static const double REMEMBERED_NBYTES = 64 << 20;

/* Each of TaskVine's writes would be a packet of its own and wake the worker up. */
void vf_events_sending(struct vf_events *events, const struct vine_worker_info *id, int begin)
{
	struct vf_worker *worker = vf_workers_find(events->workers, id);
	if (!worker)
		return;
	setsockopt(worker->fd, IPPROTO_TCP, TCP_CORK, &begin, sizeof begin);
	worker->sending = begin != 0;
	events->last_moved = NULL;
}

static void learn_rate(struct vf_events *events, uint64_t nbytes, uint64_t took_us)
{
	struct vf_events_rate *rate = &events->rate;
	if (!rate->nbytes) {
		rate->nbytes = REMEMBERED_NBYTES;
		rate->ns = REMEMBERED_NBYTES / events->config->scoring.bandwidth_bytes_per_ns;
	}
	double kept = REMEMBERED_NBYTES / (REMEMBERED_NBYTES + (double)nbytes);
	rate->nbytes = kept * (rate->nbytes + (double)nbytes);
	rate->ns = kept * (rate->ns + 1e3 * (double)took_us);
	events->replicas->locality->rule.bandwidth_bytes_per_ns = rate->nbytes / rate->ns;
	VF_SET(events->counters, transfer_rate, (uint64_t)(1e9 * rate->nbytes / rate->ns));
}

/* TaskVine believes it of any file, and would send so much of a buffer to the next worker. */
int vf_events_fits(const struct vf_events *events, const char *cached_name, int64_t nbytes)
{
	struct vine_file *file = vine_manager_lookup_file(events->config->manager, cached_name);
	return !file || vine_file_type(file) != VINE_BUFFER || !vine_file_contents(file) ||
			vine_file_size(file) == (size_t)nbytes;
}

void vf_events_cached(struct vf_events *events, const struct vine_worker_info *id,
		const char *cached_name, uint64_t nbytes, uint64_t took_us)
{
	const struct vine_file *file =
			vine_manager_lookup_file(events->config->manager, cached_name);
	const struct vf_datum *datum = vf_replica_of(events->replicas, file);
	const struct vf_worker *worker = vf_workers_find(events->workers, id);
	if (worker)
		vf_eventlog_cached(events->log, worker, nbytes, took_us);
	if (!worker || !datum || !datum->temp)
		return;
	/* Only these come from another worker for sure; and while a file is made, this is how long
	its bundle ran. */
	if (events->config->learn_bandwidth && datum->temp->state == VF_TEMP_THERE && nbytes &&
			took_us)
		learn_rate(events, nbytes, took_us);
	vf_temp_hold(datum->temp, worker, cached_name);
}

void vf_events_replica(struct vf_events *events, const struct vine_worker_info *id,
		const char *cached_name, int there)
{
	const struct vine_file *file =
			vine_manager_lookup_file(events->config->manager, cached_name);
	const struct vf_datum *datum = vf_replica_of(events->replicas, file);
	const struct vf_worker *worker = datum ? vf_workers_find(events->workers, id) : NULL;
	if (!worker)
		return;
	/* TaskVine may tell twice of what a worker is to fetch. */
	if (there && worker->sending && events->last_moved != file) {
		events->last_moved = file;
		VF_COUNT(events->counters, files_moved, 1);
		VF_COUNT(events->counters, file_bytes_moved, vine_file_size(datum->file));
	}
	struct vf_locality *locality = events->replicas->locality;
	if (there)
		vf_locality_add_replica(locality, datum->index, worker->index);
	else
		vf_locality_remove_replica(locality, datum->index, worker->index);
	if (datum->temp && !there)
		vf_temps_drop(events->temps, datum->temp, worker);
}
