/* Which times are in which bucket. */

#include "vf_histogram.h"

#include "check.h"

int main(void)
{
	static struct vf_histogram histogram;
	uint64_t first = 1ULL << VF_HISTOGRAM_FIRST_BIT;
	uint32_t last = VF_HISTOGRAM_BUCKETS - 1;

	CHECK(vf_histogram_bucket(0) == 0 && vf_histogram_bucket(first) == 0);
	for (uint32_t i = 1; i < last; i++) {
		uint64_t most = first << i;
		CHECK(vf_histogram_bucket(most) == i && vf_histogram_bucket(most / 2 + 1) == i);
	}
	CHECK(vf_histogram_bucket((first << (last - 1)) + 1) == last);
	CHECK(vf_histogram_bucket(UINT64_MAX) == last);

	vf_histogram_add(&histogram, 1, 3);
	vf_histogram_add(&histogram, 2 * first, 5);
	vf_histogram_add(&histogram, first + 1, 2);
	vf_histogram_add(&histogram, UINT64_MAX, 1);
	CHECK(vf_histogram_get(&histogram, 0) == 3 && vf_histogram_get(&histogram, 1) == 7);
	CHECK(vf_histogram_get(&histogram, last) == 1 && !vf_histogram_get(&histogram, 2));
	return 0;
}
