#include "vf_workers.h"

#include <math.h>
#include <stdlib.h>

int vf_workers_add(struct vf_workers *workers, struct vine_worker_info *id, int fd, uint32_t index)
{
	if (workers->n == workers->capacity) {
		uint32_t capacity = workers->capacity ? 2 * workers->capacity : 16;
		struct vf_worker **items = realloc(workers->items, capacity * sizeof *items);
		if (!items)
			return -1;
		workers->items = items;
		workers->capacity = capacity;
	}
	struct vf_worker *worker = calloc(1, sizeof *worker);
	if (!worker)
		return -1;
	worker->id = id;
	worker->fd = fd;
	worker->index = index;
	workers->items[workers->n++] = worker;
	return 0;
}

struct vf_worker *vf_workers_find(
		const struct vf_workers *workers, const struct vine_worker_info *id)
{
	for (uint32_t i = 0; i < workers->n; i++) {
		if (workers->items[i]->id == id)
			return workers->items[i];
	}
	return NULL;
}

struct vf_worker *vf_workers_remove(struct vf_workers *workers, const struct vine_worker_info *id)
{
	for (uint32_t i = 0; i < workers->n; i++) {
		struct vf_worker *worker = workers->items[i];
		if (worker->id == id) {
			workers->items[i] = workers->items[--workers->n];
			if (workers->reserved == worker)
				workers->reserved = NULL;
			return worker;
		}
	}
	return NULL;
}

void vf_worker_free(struct vf_worker *worker)
{
	if (worker)
		free(worker->node);
	free(worker);
}

void vf_workers_free(struct vf_workers *workers)
{
	for (uint32_t i = 0; i < workers->n; i++)
		vf_worker_free(workers->items[i]);
	free(workers->items);
	*workers = (struct vf_workers){0};
}

static uint32_t slots_of(const struct vf_workers *workers, const struct vf_worker *worker)
{
	return worker->slots ? worker->slots : workers->typical_slots;
}

uint32_t vf_workers_slots(const struct vf_workers *workers)
{
	uint32_t slots = 0;
	for (uint32_t i = 0; i < workers->n; i++)
		slots += slots_of(workers, workers->items[i]);
	return slots;
}

static double larger_part(double part, double needed, double there)
{
	if (needed <= 0)
		return part;
	return there > 0 ? fmax(part, needed / there) : INFINITY;
}

uint32_t vf_worker_share(const struct vf_worker *worker, const struct vf_resources *needs)
{
	if (!vf_resources_any(needs))
		return 1;
	if (!worker->slots)
		return 0;
	double part = larger_part(0, needs->cores, worker->has.cores);
	part = larger_part(part, needs->memory, worker->has.memory);
	part = larger_part(part, needs->disk, worker->has.disk);
	part = larger_part(part, needs->gpus, worker->has.gpus);
	/* However little it is, a slot. */
	return part <= 1 ? (uint32_t)fmax(1, ceil(part * worker->slots - 1e-9)) : 0;
}

/* How many slots' bundles a worker may have. Behind a slot with a long bundle none is to wait; nor
beside a wide one; nor where nothing has ended for so long that what was thought to be short is
not. */
static uint32_t most_of(const struct vf_worker *worker, uint32_t slots, uint64_t now_ns)
{
	if (worker->n_wide || worker->n_long >= slots ||
			now_ns - worker->heard_ns > (uint64_t)VF_LONG_NS)
		return slots;
	return slots + (slots - worker->n_long);
}

void vf_worker_refuse(struct vf_worker *worker, uint64_t now_ns)
{
	if (vf_worker_is_paused(worker, now_ns))
		return;
	double pause_ns =
			fmin(fmax(2 * (double)worker->pause_ns, VF_PAUSE_NS), VF_LONGEST_PAUSE_NS);
	worker->pause_ns = (uint64_t)pause_ns;
	worker->paused_until_ns = now_ns + worker->pause_ns;
}

void vf_worker_accept(struct vf_worker *worker)
{
	worker->paused_until_ns = worker->pause_ns = 0;
}

int vf_worker_is_paused(const struct vf_worker *worker, uint64_t now_ns)
{
	return now_ns < worker->paused_until_ns;
}

struct vf_worker *vf_workers_choose(struct vf_workers *workers, const struct vf_resources *needs,
		uint64_t now_ns, vf_workers_accept *accept, void *arg)
{
	struct vf_worker *best = NULL;
	uint32_t best_slots = 1, first = workers->turn;
	for (uint32_t i = 0; i < workers->n; i++) {
		uint32_t at = (first + i) % workers->n;
		struct vf_worker *worker = workers->items[at];
		uint32_t slots = slots_of(workers, worker);
		uint32_t share = vf_worker_share(worker, needs);
		uint32_t most = share > 1 ? slots : most_of(worker, slots, now_ns);
		if (!slots || !share || worker->running + share > most ||
				worker == workers->reserved)
			continue;
		if (vf_worker_is_paused(worker, now_ns))
			continue;
		/* running / slots < best->running / best_slots */
		if (best &&
				(uint64_t)worker->running * best_slots >=
						(uint64_t)best->running * slots)
			continue;
		if (accept && !accept(arg, worker))
			continue;
		best = worker;
		best_slots = slots;
		workers->turn = at + 1;
		if (!worker->running)
			break;
	}
	return best;
}

uint32_t vf_workers_most(const struct vf_workers *workers, struct vf_resources *most)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < workers->n; i++) {
		const struct vf_worker *worker = workers->items[i];
		if (!worker->slots)
			continue;
		n++;
		most->cores = fmax(most->cores, worker->has.cores);
		most->memory = fmax(most->memory, worker->has.memory);
		most->disk = fmax(most->disk, worker->has.disk);
		most->gpus = fmax(most->gpus, worker->has.gpus);
	}
	return n;
}

int vf_workers_known(const struct vf_workers *workers)
{
	uint32_t i = 0;
	while (i < workers->n && workers->items[i]->slots)
		i++;
	return i == workers->n;
}

int vf_workers_fit(const struct vf_workers *workers, const struct vf_resources *needs)
{
	for (uint32_t i = 0; i < workers->n; i++) {
		if (vf_worker_share(workers->items[i], needs))
			return 1;
	}
	return 0;
}

void vf_workers_reserve(struct vf_workers *workers, const struct vf_resources *needs,
		vf_workers_accept *accept, void *arg)
{
	const struct vf_worker *best = NULL;
	double least = INFINITY;
	for (uint32_t i = 0; i < workers->n; i++) {
		struct vf_worker *worker = workers->items[i];
		uint32_t share = worker->pause_ns || (accept && !accept(arg, worker)) ?
				0 :
				vf_worker_share(worker, needs);
		double excess = share ? ((double)worker->running + share) / worker->slots :
					INFINITY;
		if (excess < least) {
			least = excess;
			best = worker;
		}
	}
	if (!workers->reserved)
		workers->reserved = best;
}

static int is_long(double expected_ns)
{
	return expected_ns < 0 || expected_ns > VF_LONG_NS;
}

static double known(double expected_ns)
{
	return expected_ns < 0 ? 0 : expected_ns;
}

void vf_worker_begin(struct vf_worker *worker, uint32_t share, double expected_ns, uint64_t now_ns)
{
	if (!worker->running)
		worker->heard_ns = now_ns;
	worker->running += share;
	worker->expected_ns += known(expected_ns);
	worker->n_long += is_long(expected_ns) ? share : 0;
	worker->n_wide += share > 1;
}

void vf_worker_end(struct vf_worker *worker, uint32_t share, double expected_ns)
{
	worker->running -= share;
	worker->expected_ns -= known(expected_ns);
	worker->n_long -= is_long(expected_ns) ? share : 0;
	worker->n_wide -= share > 1;
}
