/* The two binary messages between the core and the library on a worker: a bundle of calls out,
their results back.

`vinefast/library/frame.py` is the other end; vf_wire.h has the constants, docs/architecture.md the
layout. All integers are little-endian. */

#ifndef VF_FRAME_H
#define VF_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "vf_buffer.h"
#include "vf_call.h"
#include "vf_wire.h"

/* What holds for all calls of a bundle; 0: nothing of the kind. */
struct vf_terms {
	uint32_t slice_ms; /* the time slice */
	uint32_t cores;    /* each asks for */
	uint32_t limit_ms; /* each may run */
	uint32_t flags;    /* VF_BUNDLE_... */
};

/* Write a bundle frame of `n_calls` calls into `out` (what it held is dropped). `stamp` is a number
never used before: it marks the functions that the frame already names. Returns 0, or -1 when memory
is short. */
int vf_frame_pack(struct vf_buffer *out, struct vf_call *const *calls, uint32_t n_calls,
		const struct vf_terms *terms, uint64_t stamp);

/* Encode a frame as the COMMAND of a TaskVine function call: free of NUL bytes, NUL-terminated.
Returns 0, or -1 when memory is short. */
int vf_frame_encode(struct vf_buffer *out, const struct vf_buffer *frame);

/* Write before a COMMAND, which may be `out`'s own, that each of its calls may take so many MB of
memory. Returns 0, or -1 when memory is short. */
int vf_frame_limit(struct vf_buffer *out, const char *command, uint64_t memory_mb);

/* The reverse of encoding, for a result frame that came as a C string. Returns 0, or -1 when it
is not encoded like that or memory is short. */
int vf_frame_decode(struct vf_buffer *out, const char *encoded);

struct vf_result_header {
	uint32_t n_records;
	uint64_t nbytes;
	uint64_t end; /* of the records; output follows */
	uint64_t wait_ns, run_ns;
	uint32_t slot, pid;
	uint32_t slots; /* of that library */
	struct vf_resources has; /* it, too */
	uint32_t replaced; /* processes of its slots that others have replaced, not told before */
	int output_dropped; /* there was no room for output */
};

struct vf_record {
	uint32_t status;
	uint32_t nbytes;
	uint64_t duration_ns;
	const char *payload;
};

/* Read the header of a result frame. `available` bytes may be read. Returns 0, or -1 when this is
not a whole result frame. */
int vf_result_open(const char *frame, size_t available, struct vf_result_header *header);

/* Read the record at `*offset` and move `*offset` behind it. Returns 0, or -1 when the frame ends
before the record does. */
int vf_result_next(const char *frame, const struct vf_result_header *header, uint64_t *offset,
		struct vf_record *record);

#endif
