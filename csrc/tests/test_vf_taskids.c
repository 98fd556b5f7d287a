/* The numbers of TaskVine's tasks begin anew before they are too large, where none is in use. */

#include "vf_taskids.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "cluster.h"
#include "faults.h"
#include "taskvine.h"

enum {
	SPARE = 1 << 20,
	N = 300,
};

static struct cluster cluster;
static struct job jobs[N];
static struct vf_taskids ids;

static int next_id(void)
{
	return vine_set_task_id_min(cluster.manager, 0);
}

static void use(struct vf_table *table, uint64_t id)
{
	CHECK(!vf_table_put(table, id, &ids));
}

/* What was submitted here comes back. */
static void drain(void)
{
	struct vine_task *task;
	while ((task = vine_wait(cluster.manager, 0)))
		vine_task_delete(task);
}

static void submit(int wanted)
{
	struct vine_task *task = vine_task_create(":");
	CHECK(vine_submit(cluster.manager, task) == wanted);
	CHECK(vine_cancel_by_task_id(cluster.manager, wanted));
}

static int renewed_at(const struct vf_table *bundles)
{
	uint64_t before = ids.renewed;
	vf_taskids_prepare(&ids, cluster.manager, bundles);
	CHECK(ids.renewed == before + 1);
	int id = next_id();
	vf_taskids_prepare(&ids, cluster.manager, bundles);
	CHECK(ids.renewed == before + 1 && next_id() == id);
	return id;
}

static void test_the_count_begins_in_the_widest_gap(void)
{
	struct vf_table bundles = {0};
	cluster_open(&cluster);
	vf_taskids_begin(&ids);
	vf_taskids_prepare(&ids, cluster.manager, &bundles);
	CHECK(!ids.renewed && next_id() == 1);

	vine_set_task_id_min(cluster.manager, INT_MAX - SPARE + 1);
	CHECK(renewed_at(&bundles) == 1 && ids.last == INT_MAX - SPARE);

	/* Those of bundles and libraries are left out. */
	use(&bundles, 1000000);
	use(&ids.libraries, 7);
	use(&bundles, INT_MAX - 5);
	use(&bundles, 3000000);
	vine_set_task_id_min(cluster.manager, INT_MAX - SPARE + 1);
	CHECK(renewed_at(&bundles) == 3000001 && ids.last == INT_MAX - 5 - SPARE);

	/* Upwards it goes without a step behind the last number. */
	use(&bundles, 1 << 30);
	ids.last = 3000001;
	vine_set_task_id_min(cluster.manager, 3000002);
	int id = renewed_at(&bundles);
	CHECK(id == (1 << 30) + 1 || id == 3000001);

	/* Where TaskVine has counted on by itself. */
	vine_set_task_id_min(cluster.manager, INT_MAX);
	drain();
	submit(INT_MAX);
	CHECK(next_id() <= 0);
	CHECK(renewed_at(&bundles) > 0);

	drain();
	vf_table_free(&bundles);
	vf_taskids_end(&ids);
	cluster_close(&cluster);
}

static void test_short_memory(void)
{
	struct vf_table bundles = {0};
	cluster_open(&cluster);
	vf_taskids_begin(&ids);
	vine_set_task_id_min(cluster.manager, INT_MAX - SPARE + 1);
	faults_begin(FAULTS_ALL);
	vf_taskids_prepare(&ids, cluster.manager, &bundles); /* no task for the step: later */
	CHECK(faults_end() == 2 && !ids.renewed && next_id() == INT_MAX - SPARE + 1);
	submit(INT_MAX - SPARE + 1);
	CHECK(renewed_at(&bundles) == 1);
	/* Nor is there one if TaskVine does not take it. */
	vine_set_task_id_min(cluster.manager, INT_MAX - SPARE + 1);
	faults_fail("vine_submit", 0, ENOMEM);
	vf_taskids_prepare(&ids, cluster.manager, &bundles);
	CHECK(faults_has_failed() && ids.renewed == 2 && next_id() == INT_MAX);
	drain();
	vf_table_free(&bundles);
	vf_taskids_end(&ids);
	cluster_close(&cluster);
}

/* Calls go through, and a library is there meanwhile. */
static void test_calls_go_on(void)
{
	const struct worker_script script = {
			.cores = 2, .memory = 1000, .disk = 1000, .is_automatic = 1};
	cluster_open(&cluster);
	vine_set_task_id_min(cluster.manager, INT_MAX - SPARE - N / 3);
	cluster_start(&cluster);
	cluster_join_by(&cluster, &script);
	for (int i = 0; i < N; i++) {
		job_run(&cluster, &jobs[i], i);
		UNTIL(&cluster, job_has_returned(&jobs[i]));
	}
	CHECK(cluster.workers[0].n_libraries == 1 && COUNT(&cluster, calls_lost) == 0);
	cluster_end(&cluster, jobs, N);
}

int main(void)
{
	test_the_count_begins_in_the_widest_gap();
	test_short_memory();
	test_calls_go_on();
	return 0;
}
