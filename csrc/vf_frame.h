/* The two binary messages between the core and the library on a worker: a bundle of calls out,
their results back.

`vinefast/library/frame.py` is the other end; the layout is described in docs/architecture.md. All
integers are little-endian. */

#ifndef VF_FRAME_H
#define VF_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "vf_buffer.h"
#include "vf_call.h"

enum {
	VF_BUNDLE_HEADER_NBYTES = 20,
	VF_BUNDLE_FUNCTION_NBYTES = 20,
	VF_BUNDLE_CALL_NBYTES = 12,
	VF_RESULT_HEADER_NBYTES = 64,
	VF_RESULT_RECORD_NBYTES = 16,
	VF_ALIGNMENT = 64, /* of payloads with buffers, and of buffers, in a frame */
};

/* Write a bundle frame of `n_calls` calls into `out` (what it held is dropped). `stamp` is a number
never used before: it marks the functions that the frame already names. Returns 0, or -1 when memory
is short. */
int vf_frame_pack(struct vf_buffer *out, struct vf_call *const *calls, uint32_t n_calls,
		uint32_t slice_ms, uint32_t cores, uint64_t stamp);

/* Encode a frame as the COMMAND of a TaskVine function call: free of NUL bytes, NUL-terminated.
Returns 0, or -1 when memory is short. */
int vf_frame_encode(struct vf_buffer *out, const struct vf_buffer *frame);

/* The reverse, for a result frame that came as a C string. Returns 0, or -1 when it is not encoded
like that or memory is short. */
int vf_frame_decode(struct vf_buffer *out, const char *encoded);

enum {
	/* Of a bundle whose result frame does not fit the worker's disk:
	vinefast/library/memory.py. */
	VF_EXIT_NO_ROOM = 28,
};

/* Status of one record of a result frame. */
enum vf_status {
	VF_STATUS_NONE = 0,      /* the call returned None */
	VF_STATUS_PICKLE = 1,    /* its result, pickled */
	VF_STATUS_PARSL = 2,     /* its result, by parsl.serialize */
	VF_STATUS_EXCEPTION = 3, /* it raised */
	VF_STATUS_DIED = 4,      /* the process that ran it died */
	VF_STATUS_MISSED = 5,    /* not run: that worker does not have the function */
	VF_STATUS_BUFFERS = 6,   /* its result, pickled, large buffers beside the pickle */
	VF_STATUS_NODE = 7, /* about the worker's node: the answer to a bundle without calls */
	VF_STATUS_TOO_LARGE = 8, /* its result fits neither a result frame nor the worker's disk */
	VF_STATUS_ENGINE = 9, /* never in a frame: the engine failed the bundle */
	VF_STATUS_CHANGED = 10, /* an input that calls share was written to while it ran */
	VF_STATUS_SPOILED = 11, /* not run: that had happened before, on its worker */
};

static inline int vf_status_is_result(uint32_t status)
{
	return status <= VF_STATUS_PARSL || status == VF_STATUS_BUFFERS;
}

struct vf_result_header {
	uint32_t n_records;
	uint64_t nbytes;
	uint64_t wait_ns, run_ns;
	uint32_t slot, pid;
	uint32_t slots; /* of that library */
	struct vf_resources has; /* it, too */
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
