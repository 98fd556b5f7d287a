/* Where TaskVine chooses workers, a suspect goes to one that has no other suspect, and can take it
now. TaskVine's part is played by this test. */

#define check_worker_against_task played_check
#define vf_border_choose played_choice
#define vine_schedule_find_library played_library
#define vine_task_get_id played_id
#define vine_task_get_state played_state

#include "vf_bundle.c"
#include "vf_place.c"

#include "check.h"
#include "vf_loop.h"

enum {
	N = 2,
	N_WORKERS = 3,
};

struct vine_task {
	int id;
};

static struct vf_loop loop;
static struct vine_task tasks[N];
static struct vf_function function = {.mean_ns = 1e6};
static struct vf_group group;
static struct vf_spec spec = {.group = &group};
static struct vf_call calls[N];
static struct vf_bundle *bundles[N];
static int fits_on[N_WORKERS], has_library[N_WORKERS];

static struct vine_worker_info *id(uintptr_t n)
{
	return (struct vine_worker_info *)(n + 1);
}

static uintptr_t number(const struct vine_worker_info *worker)
{
	return (uintptr_t)worker - 1;
}

int played_check(struct vine_manager *manager, struct vine_worker_info *worker,
		struct vine_task *task)
{
	(void)manager, (void)task;
	return fits_on[number(worker)];
}

struct vine_worker_info *played_choice(struct vine_manager *manager, struct vine_task *task)
{
	(void)manager, (void)task;
	return id(0);
}

struct vine_task *played_library(
		struct vine_manager *manager, struct vine_worker_info *worker, const char *name)
{
	(void)manager, (void)name;
	return has_library[number(worker)] ? &tasks[0] : NULL;
}

int played_id(struct vine_task *task)
{
	return task->id;
}

const char *played_state(struct vine_task *task)
{
	return task == &tasks[0] ? "RUNNING" : "READY";
}

int main(void)
{
	const struct vf_locality_rule rule = {1.0, 1.0, VF_LOCALITY_MOVED_BATCH};
	CHECK(vf_loop_init(&loop) == 0 && vf_locality_init(&loop.locality, &rule, 1) == 0);
	loop.config.library_pause_ns = 3600000000000u;
	for (uintptr_t i = 0; i < N_WORKERS; i++) {
		vf_place_joined(&loop.place, id(i), -1);
		fits_on[i] = has_library[i] = 1;
	}
	for (int i = 0; i < N; i++) {
		struct vf_call *call = &calls[i];
		*call = (struct vf_call){.function = &function, .spec = &spec};
		call->losses = VF_BUNDLE_SUSPECT_LOSSES;
		tasks[i].id = i + 1;
		bundles[i] = vf_bundle_create(1, &call);
		bundles[i]->task = &tasks[i];
		vf_inflight_add(&loop.inflight, bundles[i], (uint64_t)i + 1);
		vf_place_begin(&loop.place, bundles[i]);
	}
	CHECK(vf_place_choose(&loop.place, &tasks[0]) == id(0));
	CHECK(vf_place_choose(&loop.place, &tasks[1]) == id(1));

	/* Not to one that is too small, or goes. */
	fits_on[1] = 0;
	CHECK(vf_place_choose(&loop.place, &tasks[1]) == id(2));
	fits_on[1] = loop.workers.items[1]->is_cut = 1;
	CHECK(vf_place_choose(&loop.place, &tasks[1]) == id(2));
	loop.workers.items[1]->is_cut = 0;

	/* Nor to one that can have no library now, while others have one. */
	has_library[1] = 0;
	CHECK(vf_place_choose(&loop.place, &tasks[1]) == id(1));
	vf_library_fail(&loop.library, vf_now_ns());
	CHECK(vf_place_choose(&loop.place, &tasks[1]) == id(2));
	has_library[2] = 0;
	CHECK(!vf_place_choose(&loop.place, &tasks[1]));

	for (int i = 0; i < N; i++) {
		vf_place_end(bundles[i]);
		vf_inflight_take(&loop.inflight, (uint64_t)i + 1);
		vf_bundle_free(bundles[i]);
	}
	for (uintptr_t i = 0; i < N_WORKERS; i++)
		vf_place_left(&loop.place, id(i));
	vf_loop_free(&loop);
	return 0;
}
