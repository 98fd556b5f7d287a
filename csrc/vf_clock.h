/* The monotonic clock, as all of csrc reads it. */

#ifndef VF_CLOCK_H
#define VF_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t vf_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline int64_t vf_now_ms(void)
{
	return (int64_t)(vf_now_ns() / 1000000u);
}

#endif
