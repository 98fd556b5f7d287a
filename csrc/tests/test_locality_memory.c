/* The locality table when memory is short: what it knows stays so, and it goes on. */

#include "check.h"
#include "faults.h"
#include "vf_locality.h"

enum {
	MANY = 40, /* so that each array has grown a few times */
};

static struct vf_locality table;

/* Add what can fail, again until it does not. */
#define INSIST(is_added) \
	for (int n_ = 0, failed_ = 1; failed_; n_++) { \
		faults_begin(n_); \
		failed_ = !(is_added); \
		CHECK(!!faults_end() == failed_); \
	}

static void add_all(void)
{
	for (uint32_t i = 0; i < MANY; i++) {
		INSIST(vf_locality_add_file(&table, i + 1) == i);
		INSIST(vf_locality_add_worker(&table, VF_LOCALITY_UNLIMITED) == i);
		CHECK(!vf_locality_has_file(&table, i + 1) &&
				!vf_locality_has_worker(&table, i + 1));
	}
	for (uint32_t i = 0; i < MANY; i++) {
		for (uint32_t k = 0; k <= i; k++) {
			INSIST(!vf_locality_add_replica(&table, i, k));
			CHECK(vf_locality_has_replica(&table, i, k));
		}
		CHECK(i == MANY - 1 || !vf_locality_has_replica(&table, i, i + 1));
	}
}

/* A call goes to a worker, though what moves there is not known. */
static void test_calls_get_workers(enum vf_locality_moved moved)
{
	const struct vf_locality_rule rule = {1.0, 1.0, moved};
	const uint64_t offsets[] = {0, MANY}, duration_ns = 1;
	uint32_t files[MANY], worker;
	int n_failed = 1;
	CHECK(!vf_locality_init(&table, &rule, 1));
	add_all();
	/* A newcomer that holds nothing, and is the only one with room. */
	for (uint32_t i = 0; i < MANY; i++) {
		files[i] = i;
		vf_locality_set_capacity(&table, i, 0);
	}
	for (int n = 0; n_failed; n++) {
		uint32_t newcomer = vf_locality_add_worker(&table, VF_LOCALITY_UNLIMITED);
		CHECK(newcomer == MANY);
		faults_begin(n);
		int failed = vf_locality_assign(
				&table, 1, offsets, files, &duration_ns, &worker, NULL);
		n_failed = faults_end();
		CHECK(!failed == !n_failed && worker == newcomer);
		CHECK(vf_locality_has_replica(&table, 0, newcomer) ==
				(moved == VF_LOCALITY_MOVED_KEEP &&
						(!n_failed || table.workers[newcomer].replicas.n)));
		vf_locality_remove_worker(&table, newcomer);
	}
	for (uint32_t i = 0; i < MANY; i++) {
		for (uint32_t k = 0; k < MANY; k++)
			CHECK(vf_locality_has_replica(&table, i, k) == (k <= i));
		vf_locality_forget_file(&table, i);
	}
	vf_locality_free(&table);
}

int main(void)
{
	test_calls_get_workers(VF_LOCALITY_MOVED_BATCH);
	test_calls_get_workers(VF_LOCALITY_MOVED_KEEP);
	return 0;
}
