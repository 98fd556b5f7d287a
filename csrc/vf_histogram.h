/* How the times of calls are spread, stage by stage. The sums are in vf_counters.h.

Each histogram has one thread that adds to it, without a locked instruction, and any that read it.
What is read is right by itself, together it is a snapshot taken in motion. */

#ifndef VF_HISTOGRAM_H
#define VF_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* The manager thread's, but for the last one, which is the demux thread's. */
enum vf_stage {
	VF_STAGE_QUEUE,
	VF_STAGE_DISPATCH,
	VF_STAGE_TRANSFER,
	VF_STAGE_LIBRARY,
	VF_STAGE_COMPANIONS,
	VF_STAGE_EXECUTE,
	VF_STAGE_RETURN,
	VF_STAGES,
};

enum {
	/* The first bucket has what took up to 2^14 ns, 16 us, each further one up to twice as much
	as the one before, to 2^42 ns, 73 minutes; the last one has the rest. */
	VF_HISTOGRAM_FIRST_BIT = 14,
	VF_HISTOGRAM_BUCKETS = 30,
};

struct vf_histogram {
	atomic_uint_fast64_t n[VF_HISTOGRAM_BUCKETS];
};

/* Which bucket has so many nanoseconds. */
static inline uint32_t vf_histogram_bucket(uint64_t ns)
{
	if (ns <= 1ULL << VF_HISTOGRAM_FIRST_BIT)
		return 0;
	uint32_t bucket = 64 - (uint32_t)__builtin_clzll(ns - 1) - VF_HISTOGRAM_FIRST_BIT;
	return bucket < VF_HISTOGRAM_BUCKETS ? bucket : VF_HISTOGRAM_BUCKETS - 1;
}

/* So many calls took so long, each. */
static inline void vf_histogram_add(struct vf_histogram *histogram, uint64_t ns, uint64_t n_calls)
{
	atomic_uint_fast64_t *n = &histogram->n[vf_histogram_bucket(ns)];
	uint64_t before = atomic_load_explicit(n, memory_order_relaxed);
	atomic_store_explicit(n, before + n_calls, memory_order_relaxed);
}

static inline uint64_t vf_histogram_get(const struct vf_histogram *histogram, uint32_t bucket)
{
	return atomic_load_explicit(&histogram->n[bucket], memory_order_relaxed);
}

#endif
