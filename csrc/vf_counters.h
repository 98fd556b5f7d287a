/* What has happened so far, in calls, bundles, bytes and nanoseconds, and from `calls_waiting` on
the state now. vinefast/calls/counters.py says what each is, for users too; a test compares the
names. */

#ifndef VF_COUNTERS_H
#define VF_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* clang-format off */
#define VF_COUNTERS(_) \
	_(calls_taken) _(calls_sent) _(calls_returned) _(calls_handed_back) _(calls_missed) \
	_(calls_lost) \
	_(bundles_sent) _(bundles_spilled) _(bundles_lost) _(bytes_sent) _(bytes_returned) \
	_(pack_ns) _(wait_ns) _(run_ns) \
	_(queue_ns) _(dispatch_ns) _(transfer_ns) _(library_ns) _(bundle_ns) _(calls_ns) \
	_(calls_remade) _(temps_made) _(temps_lost) _(files_moved) _(file_bytes_moved) \
	_(manager_bytes_sent) _(manager_bytes_received) _(workers_joined) _(slots_replaced) \
	_(log_bytes_dropped) _(log_bytes_unwritten) \
	_(calls_waiting) _(calls_too_large) _(bundles_running) _(workers_connected) _(slots) \
	_(accept_errno) _(transfer_rate) _(max_cores) _(max_memory) _(max_disk) _(max_gpus) \
	_(files_looked_at) _(log_errno) _(event_log_errno) _(joins_without_ssl) _(joins_with_ssl) \
	_(joins_wrong_password) _(joins_with_password) _(joins_other_protocol) \
	_(usable_cores) _(usable_memory) _(usable_disk) _(usable_gpus)
/* clang-format on */

/* Written by the manager thread, read by anyone: each is right by itself, together they are a
snapshot taken in motion. */
struct vf_counters {
#define VF_MEMBER(name) atomic_uint_fast64_t name;
	VF_COUNTERS(VF_MEMBER)
#undef VF_MEMBER
};

struct vf_snapshot {
#define VF_MEMBER(name) uint64_t name;
	VF_COUNTERS(VF_MEMBER)
#undef VF_MEMBER
};

#define VF_COUNT(counters, name, n) \
	atomic_fetch_add_explicit(&(counters)->name, (n), memory_order_relaxed)
#define VF_SET(counters, name, n) \
	atomic_store_explicit(&(counters)->name, (n), memory_order_relaxed)
#define VF_GET(counters, name) atomic_load_explicit(&(counters)->name, memory_order_relaxed)

static inline void vf_counters_read(
		const struct vf_counters *counters, struct vf_snapshot *snapshot)
{
#define VF_LOAD(name) snapshot->name = VF_GET(counters, name);
	VF_COUNTERS(VF_LOAD)
#undef VF_LOAD
}

#endif
