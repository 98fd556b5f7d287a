/* Bundle frames as a library reads them, and result frames as it writes them, right and wrong;
written from docs/architecture.md. */

#ifndef BUNDLE_H
#define BUNDLE_H

#include <stddef.h>
#include <stdint.h>

#include "vf_buffer.h"

enum {
	BUNDLE_CALLS_MAX = 4096,
	BUNDLE_FUNCTIONS_MAX = 16,
};

struct bundle_call {
	uint32_t function; /* which of the simulation's, */
	int has_body;      /* and whether its body came with it */
	uint32_t job;
};

struct bundle {
	uint32_t n_calls, slice_ms;
	struct bundle_call *calls;
};

struct bundle_record {
	uint32_t status;
	uint64_t duration_ns;
	char payload[32];
};

struct vine_task;

/* Read the bundle of a task, from its command or the file that this is in. Tells whether it is one;
what is not as it must be breaks a rule. To be freed by bundle_free(). */
int bundle_read(struct bundle *bundle, const struct vine_task *task);
void bundle_free(struct bundle *bundle);

/* Write what a library answers, in a frame that is a C string if it is short. */
struct bundle_answer {
	uint32_t slots, cores, memory, disk, gpus;
	uint64_t wait_ns, run_ns;
	uint32_t n_records;
	const struct bundle_record *records;
};
void bundle_answer(struct vf_buffer *out, const struct bundle_answer *answer);

/* The same, but wrong in one way of many. */
void bundle_lie(struct vf_buffer *out, const struct bundle_answer *answer);

#endif
