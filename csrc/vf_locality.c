#include "vf_locality.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tickets of workers that were never chosen lie below, so that these go first, in random order. */
static const uint64_t FIRST_CHOSEN_TICKET = UINT64_C(1) << 32;

/* splitmix64 */
static uint64_t next_random(struct vf_locality *l)
{
	uint64_t x = l->random += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* `pointer` is that of the array. It is copied, since a pointer to something must not be read as
one to void. */
static int resize(void *pointer, uint64_t n, size_t item_nbytes)
{
	void *items;
	memcpy(&items, pointer, sizeof items);
	if (n > SIZE_MAX / item_nbytes || !(items = realloc(items, n * item_nbytes)))
		return -1;
	memcpy(pointer, &items, sizeof items);
	return 0;
}

static uint32_t larger_room(uint32_t room)
{
	return room < 4 ? 4 : (room < UINT32_MAX / 2 ? 2 * room : UINT32_MAX);
}

int vf_locality_init(struct vf_locality *l, const struct vf_locality_rule *rule, uint64_t seed)
{
	memset(l, 0, sizeof *l);
	if (!(rule->bandwidth_bytes_per_ns > 0) || !(rule->queue_weight >= 0) ||
			isinf(rule->queue_weight))
		return -1;
	l->rule = *rule;
	l->random = seed;
	return 0;
}

void vf_locality_free(struct vf_locality *l)
{
	for (uint32_t i = 0; i < l->n_files; i++)
		free(l->files[i].replicas.ends);
	for (uint32_t i = 0; i < l->n_workers; i++)
		free(l->workers[i].replicas.ends);
	free(l->files);
	free(l->free_files);
	free(l->workers);
	free(l->free_workers);
	free(l->heap);
	free(l->candidates);
	free(l->moved);
	memset(l, 0, sizeof *l);
}

int vf_locality_has_file(const struct vf_locality *l, uint32_t file)
{
	return file < l->n_files && l->files[file].nbytes >= 0;
}

int vf_locality_has_worker(const struct vf_locality *l, uint32_t worker)
{
	return worker < l->n_workers && l->workers[worker].ticket != 0;
}

/* ---- the heap ---- */

static int goes_before(const struct vf_locality_worker *a, const struct vf_locality_worker *b)
{
	return a->weighted < b->weighted || (a->weighted == b->weighted && a->ticket < b->ticket);
}

static void put(struct vf_locality *l, uint32_t place, uint32_t worker)
{
	l->heap[place] = worker;
	l->workers[worker].place = place;
}

/* The worker at `place` may belong elsewhere. */
static void settle(struct vf_locality *l, uint32_t place)
{
	uint32_t index = l->heap[place];
	const struct vf_locality_worker *worker = &l->workers[index];

	while (place > 0) {
		uint32_t above = (place - 1) / 2;
		if (!goes_before(worker, &l->workers[l->heap[above]]))
			break;
		put(l, place, l->heap[above]);
		place = above;
	}
	for (;;) {
		uint64_t below = 2 * (uint64_t)place + 1;
		if (below >= l->n_heap)
			break;
		if (below + 1 < l->n_heap &&
				goes_before(&l->workers[l->heap[below + 1]],
						&l->workers[l->heap[below]]))
			below++;
		if (!goes_before(&l->workers[l->heap[below]], worker))
			break;
		put(l, place, l->heap[below]);
		place = (uint32_t)below;
	}
	put(l, place, index);
}

/* A worker's queue, ticket or capacity has changed. */
static void update(struct vf_locality *l, uint32_t index)
{
	struct vf_locality_worker *worker = &l->workers[index];
	worker->weighted = l->rule.queue_weight * (double)worker->queued_ns;

	if (worker->capacity > 0) {
		if (worker->place == VF_LOCALITY_NONE)
			put(l, l->n_heap++, index);
		settle(l, worker->place);
	} else if (worker->place != VF_LOCALITY_NONE) {
		uint32_t place = worker->place;
		uint32_t last = l->heap[--l->n_heap];
		worker->place = VF_LOCALITY_NONE;
		if (last != index) {
			put(l, place, last);
			settle(l, place);
		}
	}
}

/* ---- replicas ---- */

static int list_reserve(struct vf_locality_list *list)
{
	if (list->n < list->room)
		return 0;
	uint32_t room = larger_room(list->room);
	if (resize(&list->ends, room, sizeof *list->ends))
		return -1;
	list->room = room;
	return 0;
}

/* The place in the file's list. The shorter list is searched. */
static uint32_t find_replica(const struct vf_locality *l, uint32_t file, uint32_t worker)
{
	const struct vf_locality_list *workers = &l->files[file].replicas;
	const struct vf_locality_list *files = &l->workers[worker].replicas;
	if (workers->n <= files->n) {
		for (uint32_t i = 0; i < workers->n; i++)
			if (workers->ends[i].other == worker)
				return i;
	} else {
		for (uint32_t i = 0; i < files->n; i++)
			if (files->ends[i].other == file)
				return files->ends[i].twin;
	}
	return VF_LOCALITY_NONE;
}

int vf_locality_has_replica(const struct vf_locality *l, uint32_t file, uint32_t worker)
{
	return find_replica(l, file, worker) != VF_LOCALITY_NONE;
}

static int append_replica(struct vf_locality *l, uint32_t file, uint32_t worker)
{
	struct vf_locality_list *workers = &l->files[file].replicas;
	struct vf_locality_list *files = &l->workers[worker].replicas;
	if (list_reserve(workers) || list_reserve(files))
		return -1;
	workers->ends[workers->n] = (struct vf_locality_end){.other = worker, .twin = files->n};
	files->ends[files->n++] = (struct vf_locality_end){.other = file, .twin = workers->n++};
	return 0;
}

int vf_locality_add_replica(struct vf_locality *l, uint32_t file, uint32_t worker)
{
	return vf_locality_has_replica(l, file, worker) ? 0 : append_replica(l, file, worker);
}

/* Take the end at `place` out of `list`; the last takes its place, and its twin, in the list of
another, is told. */
static void drop_file_end(struct vf_locality *l, struct vf_locality_list *list, uint32_t place)
{
	struct vf_locality_end last = list->ends[--list->n];
	if (place == list->n)
		return;
	list->ends[place] = last;
	l->workers[last.other].replicas.ends[last.twin].twin = place;
}

static void drop_worker_end(struct vf_locality *l, struct vf_locality_list *list, uint32_t place)
{
	struct vf_locality_end last = list->ends[--list->n];
	if (place == list->n)
		return;
	list->ends[place] = last;
	l->files[last.other].replicas.ends[last.twin].twin = place;
}

static void drop_replica(struct vf_locality *l, uint32_t file, uint32_t place)
{
	struct vf_locality_end end = l->files[file].replicas.ends[place];
	drop_file_end(l, &l->files[file].replicas, place);
	drop_worker_end(l, &l->workers[end.other].replicas, end.twin);
}

void vf_locality_remove_replica(struct vf_locality *l, uint32_t file, uint32_t worker)
{
	uint32_t place = find_replica(l, file, worker);
	if (place != VF_LOCALITY_NONE)
		drop_replica(l, file, place);
}

/* ---- files and workers ---- */

/* What is as long as the list of files, or of workers, grows with it, so that to remove one needs
no memory. */

static int reserve_file(struct vf_locality *l)
{
	if (l->n_files < l->files_room)
		return 0;
	uint32_t room = larger_room(l->files_room);
	if (l->n_files == VF_LOCALITY_NONE || resize(&l->files, room, sizeof *l->files) ||
			resize(&l->free_files, room, sizeof *l->free_files))
		return -1;
	l->files_room = room;
	return 0;
}

static int reserve_worker(struct vf_locality *l)
{
	if (l->n_workers < l->workers_room)
		return 0;
	uint32_t room = larger_room(l->workers_room);
	if (l->n_workers == VF_LOCALITY_NONE || resize(&l->workers, room, sizeof *l->workers) ||
			resize(&l->free_workers, room, sizeof *l->free_workers) ||
			resize(&l->heap, room, sizeof *l->heap) ||
			resize(&l->candidates, room, sizeof *l->candidates))
		return -1;
	l->workers_room = room;
	return 0;
}

uint32_t vf_locality_add_file(struct vf_locality *l, uint64_t nbytes)
{
	uint32_t index;
	if (l->n_free_files > 0) {
		index = l->free_files[--l->n_free_files];
	} else {
		if (reserve_file(l))
			return VF_LOCALITY_NONE;
		index = l->n_files++;
		l->files[index] = (struct vf_locality_file){0};
	}
	l->files[index].nbytes = (int64_t)nbytes;
	return index;
}

void vf_locality_resize_file(struct vf_locality *l, uint32_t index, uint64_t nbytes)
{
	l->files[index].nbytes = (int64_t)nbytes;
}

void vf_locality_forget_file(struct vf_locality *l, uint32_t index)
{
	struct vf_locality_file *file = &l->files[index];
	while (file->replicas.n > 0)
		drop_replica(l, index, file->replicas.n - 1);
	file->nbytes = -1;
	l->free_files[l->n_free_files++] = index;
}

uint32_t vf_locality_add_worker(struct vf_locality *l, uint32_t capacity)
{
	uint32_t index;
	if (l->n_free_workers > 0) {
		index = l->free_workers[--l->n_free_workers];
	} else {
		if (reserve_worker(l))
			return VF_LOCALITY_NONE;
		index = l->n_workers++;
		l->workers[index] = (struct vf_locality_worker){0};
	}
	struct vf_locality_worker *worker = &l->workers[index];
	worker->ticket = 1 + next_random(l) % (FIRST_CHOSEN_TICKET - 1);
	worker->queued_ns = 0;
	worker->capacity = capacity;
	worker->place = VF_LOCALITY_NONE;
	update(l, index);
	return index;
}

void vf_locality_remove_worker(struct vf_locality *l, uint32_t index)
{
	struct vf_locality_worker *worker = &l->workers[index];
	while (worker->replicas.n > 0) {
		struct vf_locality_end last = worker->replicas.ends[worker->replicas.n - 1];
		drop_replica(l, last.other, last.twin);
	}
	worker->capacity = 0;
	update(l, index);
	worker->ticket = 0;
	l->free_workers[l->n_free_workers++] = index;
}

void vf_locality_set_capacity(struct vf_locality *l, uint32_t worker, uint32_t capacity)
{
	l->workers[worker].capacity = capacity;
	update(l, worker);
}

static int64_t add_ns(uint64_t a, uint64_t b)
{
	if (a > VF_LOCALITY_MAX_QUEUE_NS || b > VF_LOCALITY_MAX_QUEUE_NS - a)
		return VF_LOCALITY_MAX_QUEUE_NS;
	return (int64_t)(a + b);
}

void vf_locality_set_queue(struct vf_locality *l, uint32_t worker, uint64_t queued_ns)
{
	l->workers[worker].queued_ns = add_ns(queued_ns, 0);
	update(l, worker);
}

void vf_locality_finish(struct vf_locality *l, uint32_t index, uint64_t charged_ns)
{
	struct vf_locality_worker *worker = &l->workers[index];
	int64_t charged = add_ns(charged_ns, 0);
	worker->queued_ns = worker->queued_ns > charged ? worker->queued_ns - charged : 0;
	if (worker->capacity < VF_LOCALITY_UNLIMITED - 1)
		worker->capacity++;
	update(l, index);
}

/* ---- the choice ---- */

enum vf_locality_fault vf_locality_check(struct vf_locality *l, uint64_t n_calls,
		const uint64_t *offsets, const uint32_t *files, uint64_t n_inputs, uint64_t *at)
{
	for (uint64_t i = 0; i <= n_calls; i++) {
		*at = i;
		if (offsets[i] > n_inputs ||
				(i == 0 ? offsets[i] != 0 : offsets[i] < offsets[i - 1]))
			return VF_LOCALITY_BAD_OFFSET;
	}
	for (uint64_t i = 0; i < n_calls; i++) {
		uint64_t call = ++l->n_scored;
		int64_t total = 0;
		for (uint64_t k = offsets[i]; k < offsets[i + 1]; k++) {
			*at = k;
			if (!vf_locality_has_file(l, files[k]))
				return VF_LOCALITY_BAD_FILE;
			struct vf_locality_file *file = &l->files[files[k]];
			if (file->seen == call)
				continue;
			file->seen = call;
			*at = i;
			if (file->nbytes > VF_LOCALITY_MAX_NBYTES - total)
				return VF_LOCALITY_BAD_NBYTES;
			total += file->nbytes;
		}
	}
	return VF_LOCALITY_FINE;
}

/* Returns the worker that costs least, and what moves there. The heap is not empty. */
static uint32_t choose(
		struct vf_locality *l, const uint32_t *files, uint64_t n_inputs, int64_t *nbytes)
{
	struct vf_locality_worker *workers = l->workers;
	uint32_t known = l->n_workers - l->n_free_workers;
	uint64_t call = ++l->n_scored;
	uint32_t n_candidates = 0;
	int64_t total = 0;

	for (uint64_t k = 0; k < n_inputs; k++) {
		struct vf_locality_file *file = &l->files[files[k]];
		/* What all workers hold, say the software that every call needs, moves to none: not
		worth a look at each. */
		if (file->seen == call || file->replicas.n == known)
			continue;
		file->seen = call;
		total += file->nbytes;
		for (uint32_t i = 0; i < file->replicas.n; i++) {
			uint32_t index = file->replicas.ends[i].other;
			struct vf_locality_worker *worker = &workers[index];
			if (worker->seen != call) {
				worker->seen = call;
				worker->present = 0;
				l->candidates[n_candidates] = index;
				n_candidates += worker->place != VF_LOCALITY_NONE;
			}
			worker->present += file->nbytes;
		}
	}

	/* The top of the heap, as if it held nothing. If it does, it is a candidate too, at what it
	really costs. */
	double bandwidth = l->rule.bandwidth_bytes_per_ns;
	uint32_t best = l->heap[0];
	double least = (double)total / bandwidth + workers[best].weighted;
	for (uint32_t i = 0; i < n_candidates; i++) {
		const struct vf_locality_worker *worker = &workers[l->candidates[i]];
		double cost = (double)(total - worker->present) / bandwidth + worker->weighted;
		if (cost < least || (cost == least && worker->ticket < workers[best].ticket)) {
			least = cost;
			best = l->candidates[i];
		}
	}
	*nbytes = total - (workers[best].seen == call ? workers[best].present : 0);
	return best;
}

/* The worker is to run the call: returns what that adds to its queue. */
static int64_t charge(struct vf_locality *l, uint32_t index, int64_t nbytes, uint64_t duration_ns)
{
	struct vf_locality_worker *worker = &l->workers[index];
	double transfer_ns = (double)nbytes / l->rule.bandwidth_bytes_per_ns;
	int64_t charged = VF_LOCALITY_MAX_QUEUE_NS;
	if (transfer_ns < (double)VF_LOCALITY_MAX_QUEUE_NS)
		charged = add_ns(duration_ns, (uint64_t)transfer_ns);
	worker->queued_ns = add_ns((uint64_t)worker->queued_ns, (uint64_t)charged);
	worker->ticket = FIRST_CHOSEN_TICKET + l->n_chosen++;
	if (worker->capacity != VF_LOCALITY_UNLIMITED)
		worker->capacity--;
	update(l, index);
	return charged;
}

/* Make what moves to the worker replicas. */
static int move(struct vf_locality *l, uint32_t worker, const uint32_t *files, uint64_t n_inputs)
{
	for (uint64_t k = 0; k < n_inputs; k++) {
		if (vf_locality_has_replica(l, files[k], worker))
			continue;
		if (append_replica(l, files[k], worker))
			return -1;
		if (l->rule.moved == VF_LOCALITY_MOVED_BATCH)
			l->moved[l->n_moved++] = files[k];
	}
	return 0;
}

/* In reverse, each is the last of its lists. */
static void move_back(struct vf_locality *l)
{
	while (l->n_moved > 0) {
		uint32_t file = l->moved[--l->n_moved];
		drop_replica(l, file, l->files[file].replicas.n - 1);
	}
}

int vf_locality_assign(struct vf_locality *l, uint64_t n_calls, const uint64_t *offsets,
		const uint32_t *files, const uint64_t *durations_ns, uint32_t *workers,
		uint64_t *charged_ns)
{
	int moves = l->rule.moved != VF_LOCALITY_MOVED_IGNORE;
	int failed = 0;
	if (l->rule.moved == VF_LOCALITY_MOVED_BATCH && offsets[n_calls] > l->moved_room) {
		if (resize(&l->moved, offsets[n_calls], sizeof *l->moved))
			moves = 0, failed = -1;
		else
			l->moved_room = offsets[n_calls];
	}

	for (uint64_t i = 0; i < n_calls; i++) {
		const uint32_t *inputs = files + offsets[i];
		uint64_t n_inputs = offsets[i + 1] - offsets[i];
		uint32_t worker = VF_LOCALITY_NONE;
		int64_t nbytes, charged = 0;
		if (l->n_heap > 0) {
			worker = choose(l, inputs, n_inputs, &nbytes);
			charged = charge(l, worker, nbytes, durations_ns[i]);
			if (moves && move(l, worker, inputs, n_inputs))
				failed = -1;
		}
		workers[i] = worker;
		if (charged_ns)
			charged_ns[i] = (uint64_t)charged;
	}
	move_back(l);
	return failed;
}
