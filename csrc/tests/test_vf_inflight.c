/* A bundle that cannot be noted is not taken over, and changes nothing. */

#include "vf_inflight.h"

#include "check.h"
#include "cluster.h"
#include "faults.h"
#include "taskvine.h"

static struct vf_inflight inflight;

static void test_short_memory_leaves_a_bundle_to_its_sender(void)
{
	struct vf_call call = {0}, *calls[] = {&call};
	int n_failed = 1;
	for (int n = 0; n_failed; n++) {
		faults_begin(n);
		struct vf_bundle *bundle = vf_bundle_create(1, calls);
		n_failed = faults_end();
		CHECK(!bundle == !!n_failed && (bundle || n < 2));
		if (bundle)
			vf_bundle_free(bundle);
	}
	struct vf_bundle *bundle = vf_bundle_create(1, calls);
	CHECK(bundle);
	vf_inflight_begin(&inflight);
	faults_begin(FAULTS_ALL);
	CHECK(vf_inflight_add(&inflight, bundle, 7) == -1 && faults_end() == 1);
	CHECK(!inflight.n && !vf_inflight_find(&inflight, 7));
	CHECK(!vf_inflight_add(&inflight, bundle, 7) && inflight.n == 1);
	CHECK(vf_inflight_find(&inflight, 7) == bundle);
	CHECK(vf_inflight_take(&inflight, 7) == bundle && !inflight.n);
	CHECK(!vf_inflight_take(&inflight, 7));
	vf_bundle_free(bundle);
	vf_inflight_end(&inflight);
}

/* TaskVine has taken it already: it comes back as a task that is nobody's. */
static void test_short_memory_after_taskvine_has_it(void)
{
	static struct cluster cluster;
	struct vf_call call = {0}, *calls[] = {&call};
	cluster_open(&cluster);
	struct vf_bundle *bundle = vf_bundle_create(1, calls);
	struct vine_task *task = vine_task_create(":");
	CHECK(bundle && task);
	vf_inflight_begin(&inflight);
	faults_begin(FAULTS_ALL);
	CHECK(vf_inflight_submit(&inflight, cluster.manager, bundle, task) == -1);
	CHECK(faults_end() == 1 && !inflight.n && !bundle->task);
	CHECK(vine_wait(cluster.manager, 5) == task);
	vine_task_delete(task);
	vf_bundle_free(bundle);
	vf_inflight_end(&inflight);
	cluster_close(&cluster);
}

int main(void)
{
	test_short_memory_after_taskvine_has_it();
	test_short_memory_leaves_a_bundle_to_its_sender();
	return 0;
}
