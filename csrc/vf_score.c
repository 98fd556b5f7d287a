#include "vf_score.h"

#include <stdlib.h>
#include <string.h>

#include "vf_clock.h"
#include "vf_file.h"
#include "vf_locality.h"
#include "vf_queue.h"
#include "vf_workers.h"

enum {
	/* Calls that are dealt out at a time: a few bundles for each of many workers. */
	WINDOW = 1024,
};

/* A call of which nothing is known. */
static const double UNKNOWN_NS = 10e6;

/* Longer than any file takes: nobody knows when a worker that TaskVine refuses will be one
again. */
static const double PAUSED_NS = 3600e9;

static int reserve(void *array, uint64_t n, size_t item_nbytes)
{
	void *items;
	memcpy(&items, array, sizeof items);
	if (!(items = realloc(items, n * item_nbytes)))
		return -1;
	memcpy(array, &items, sizeof items);
	return 0;
}

/* Room for one more file. */
static int reserve_file(struct vf_score *score, uint64_t n)
{
	if (n < score->files_room)
		return 0;
	uint64_t room = score->files_room ? 2 * score->files_room : 4 * WINDOW;
	if (reserve(&score->files, room, sizeof *score->files))
		return -1;
	score->files_room = room;
	return 0;
}

static int reserve_all(struct vf_score *score)
{
	const struct vf_locality *locality = score->locality;
	if (!score->offsets && /* the last of them */
			(reserve(&score->calls, WINDOW, sizeof *score->calls) ||
					reserve(&score->chosen, WINDOW, sizeof *score->chosen) ||
					reserve(&score->durations_ns, WINDOW,
							sizeof *score->durations_ns) ||
					reserve(&score->offsets, WINDOW + 1,
							sizeof *score->offsets)))
		return -1;
	if (score->by_index_room < locality->n_workers) {
		if (reserve(&score->by_index, locality->workers_room, sizeof(struct vf_worker *)))
			return -1;
		score->by_index_room = locality->workers_room;
	}
	return 0;
}

/* How long a call that takes so many slots would wait for them at this worker. What was thought to
be short and has not ended takes, as far as anybody knows, as long again. */
static double queue_ns(
		const struct vf_worker *worker, uint32_t share, uint32_t slots, uint64_t now_ns)
{
	if (vf_worker_is_paused(worker, now_ns))
		return PAUSED_NS;
	if (!slots || worker->running + share <= slots)
		return 0;
	double expected_ns = worker->expected_ns / slots;
	double silent_ns = (double)(now_ns - worker->heard_ns);
	return expected_ns > silent_ns ? expected_ns : silent_ns;
}

/* A worker that is too small for the calls gets none, whatever files it has, and whatever a queue
counts. Most keep theirs. */
static void set_capacity(struct vf_locality *locality, uint32_t index, uint32_t capacity)
{
	if (locality->workers[index].capacity != capacity)
		vf_locality_set_capacity(locality, index, capacity);
}

static void set_queues(struct vf_score *score, const struct vf_resources *needs)
{
	const struct vf_workers *workers = score->workers;
	uint64_t now_ns = vf_now_ns();
	for (uint32_t i = 0; i < workers->n; i++) {
		struct vf_worker *worker = workers->items[i];
		uint32_t slots = worker->slots ? worker->slots : workers->typical_slots;
		uint32_t share = vf_worker_share(worker, needs);
		score->by_index[worker->index] = worker;
		set_capacity(score->locality, worker->index, share ? VF_LOCALITY_UNLIMITED : 0);
		/* One that is kept free for others is, for now, none for these. */
		double queued_ns = worker == workers->reserved ?
				PAUSED_NS :
				queue_ns(worker, share, slots, now_ns);
		vf_locality_set_queue(score->locality, worker->index, (uint64_t)queued_ns);
	}
}

/* Take calls with their files, in their order. */
static int take(struct vf_score *score, struct vf_group *group)
{
	struct vf_spec *spec = vf_queue_first(group);
	double slots = score->workers->typical_slots ? score->workers->typical_slots : 1;
	uint64_t n_files = 0;
	score->n_calls = 0;
	while (score->n_calls < WINDOW && spec) {
		const struct vf_file_list *files = spec->waiting.head->files;
		uint64_t before = n_files;
		for (uint32_t k = 0; files && k < files->n; k++) {
			const struct vf_datum *datum = vf_file_datum(&files->items[k]);
			if (!datum)
				continue;
			if (reserve_file(score, n_files)) {
				n_files = before;
				return -1;
			}
			score->files[n_files++] = datum->index;
		}
		struct vf_call *call = vf_call_list_pop(&spec->waiting);
		double mean_ns = call->function->mean_ns;
		call->place = score->n_calls;
		score->offsets[score->n_calls] = before;
		score->durations_ns[score->n_calls] =
				(uint64_t)((mean_ns < 0 ? UNKNOWN_NS : mean_ns) / slots);
		score->calls[score->n_calls++] = call;
		spec = vf_queue_next(score->queue, group, 1);
	}
	score->offsets[score->n_calls] = n_files;
	return 0;
}

/* A worker that holds a file and is not too small; NULL: there is none. */
static const struct vf_worker *holder_of(
		const struct vf_temp *temp, const struct vf_resources *needs)
{
	uint32_t i = 0;
	while (i < temp->n_holders && !vf_worker_share(temp->holders[i], needs))
		i++;
	return i < temp->n_holders ? temp->holders[i] : NULL;
}

/* The worker that holds the largest file that a call reads, of those that are not too small; NONE
if there is none. */
static uint32_t home_of(const struct vf_score *score, const struct vf_call *call)
{
	const struct vf_worker *home = NULL;
	int64_t most = -1;
	for (uint32_t k = 0; call->files && k < call->files->n; k++) {
		const struct vf_file *file = &call->files->items[k];
		const struct vf_worker *holder = file->kind == VF_FILE_READ ?
				holder_of(file->temp, &call->spec->needs) :
				NULL;
		int64_t nbytes = holder ? score->locality->files[file->temp->datum->index].nbytes :
					  -1;
		if (nbytes > most) {
			most = nbytes;
			home = holder;
		}
	}
	return home ? home->index : VF_LOCALITY_NONE;
}

int vf_score_deal(struct vf_score *score, struct vf_group *group)
{
	const struct vf_resources needs = vf_queue_first(group)->needs;
	score->n_calls = 0;
	if (reserve_all(score) || take(score, group)) {
		vf_score_gather(score);
		return -1;
	}
	set_queues(score, &needs);
	vf_locality_assign(score->locality, score->n_calls, score->offsets, score->files,
			score->durations_ns, score->chosen, NULL);
	for (uint32_t i = 0; i < score->n_calls; i++) {
		struct vf_call *call = score->calls[i];
		uint32_t home = call->at_home ? home_of(score, call) : VF_LOCALITY_NONE;
		if (home != VF_LOCALITY_NONE)
			score->chosen[i] = home;
		if (score->chosen[i] == VF_LOCALITY_NONE)
			continue;
		vf_call_list_push(&score->by_index[score->chosen[i]]->dealt, call);
		score->calls[i] = NULL;
	}
	return 0;
}

void vf_score_gather(struct vf_score *score)
{
	struct vf_call *call;
	for (uint32_t i = 0; i < score->workers->n; i++) {
		while ((call = vf_call_list_pop(&score->workers->items[i]->dealt)))
			score->calls[call->place] = call;
	}
	for (uint32_t i = score->n_calls; i-- > 0;) {
		if (score->calls[i])
			vf_queue_push_front(score->queue, score->calls[i]);
	}
	score->n_calls = 0;
}

void vf_score_free(struct vf_score *score)
{
	free(score->calls);
	free(score->offsets);
	free(score->durations_ns);
	free(score->files);
	free(score->chosen);
	free(score->by_index);
	memset(score, 0, sizeof *score);
}
