/* The wire: what this side and the library on workers must agree on.

`vinefast/library/protocol.py` says the same for Python, by the same names but for VF_; a test
compares the two. The layout of the messages is described in docs/architecture.md. */

#ifndef VF_WIRE_H
#define VF_WIRE_H

#include <stdint.h>

#define VF_LIBRARY_NAME "vinefast"

#define VF_BUNDLE_MAGIC "VFB1"
#define VF_RESULT_MAGIC "VFR1"

enum {
	VF_DIGEST_NBYTES = 16,
	VF_BUNDLE_HEADER_NBYTES = 28,
	VF_BUNDLE_FUNCTION_NBYTES = 20,
	VF_BUNDLE_CALL_NBYTES = 12,
	VF_BUNDLE_NUMBER_NBYTES = 8,
	VF_RESULT_HEADER_NBYTES = 72,
	VF_RESULT_RECORD_NBYTES = 16,
	VF_OUTPUT_PIECE_NBYTES = 24,
	VF_LOSSES_SHIFT = 56, /* in a call's number: how often it was lost before */
	VF_ALIGNMENT = 64,       /* of payloads with buffers, and of buffers, in a frame */
	/* TaskVine sends a longer output by itself, and then it is a frame as it is. */
	VF_INLINE_NBYTES = 1024,
};

/* Flags of a bundle. */
enum {
	VF_BUNDLE_CAPTURES = 1, /* what its calls print is to come back call by call */
};

/* In the place of the length of a frame's output: there was some, but no room for it. */
enum {
	VF_OUTPUT_DROPPED = 2147483647,
};

/* Kinds of the pieces of output behind the records. */
enum vf_output_kind {
	VF_OUTPUT_OF_CALL = 1, /* what one call has printed */
	VF_OUTPUT_FILE = 2,    /* the name of the slot's file */
	VF_OUTPUT_OF_SLOT = 3, /* what was written to that */
};

/* How a frame travels where there may be no NUL byte: the first byte of what does. Then two bytes,
or one if nothing is escaped: the one that stands for NUL, and the escape. */
enum vf_encoding {
	VF_ENCODING_PLAIN = 'I',
	VF_ENCODING_ESCAPED = 'E',
};

/* What follows an escape. */
enum vf_escaped {
	VF_ESCAPED_ZERO = 1,   /* for the byte that stands for NUL */
	VF_ESCAPED_ESCAPE = 2, /* for the escape */
};

/* The whole COMMAND of a bundle whose frame is in this file of its sandbox. */
#define VF_COMMAND_IN_FILE "F"
#define VF_FRAME_FILE "frame"
/* A COMMAND that begins so is for the supervisor: calls of other bundles that are to end, as
" TASK:INDEX,INDEX" each. */
#define VF_COMMAND_STOP "S"
/* The same, for one call: the answer has the Python stack of that call, if it runs. */
#define VF_COMMAND_STACK "T"
/* Before the COMMAND of a bundle whose calls may take no more memory than so many MB, as
"M100 ". */
#define VF_COMMAND_LIMITED "M"
/* The same for the call of a task in regular mode: a variable of its environment. */
#define VF_VINEFAST_MEMORY_LIMIT_MB "VINEFAST_MEMORY_LIMIT_MB"

/* How the payload of a call is serialized (the `kind` of a call). */
enum vf_payload_kind {
	VF_PAYLOAD_NONE = 0,
	VF_PAYLOAD_PICKLE = 1,
	VF_PAYLOAD_PARSL = 2,
	VF_PAYLOAD_BUFFERS = 3,
	/* Added to the above: the arguments of many calls, column by column. */
	VF_PAYLOAD_CHUNK = 16,
	/* Added to the above: the call has files; what the worker does with them follows the
	payload. */
	VF_PAYLOAD_FILES = 32,
};

/* Large buffers are to be aligned. */
static inline int vf_payload_has_buffers(int kind)
{
	return (kind & ~(VF_PAYLOAD_CHUNK | VF_PAYLOAD_FILES)) == VF_PAYLOAD_BUFFERS;
}

/* Status of one record of a result frame. */
enum vf_status {
	VF_STATUS_NONE = 0,             /* the call returned None */
	VF_STATUS_PICKLE = 1,           /* its result, pickled */
	VF_STATUS_PARSL = 2,            /* its result, by parsl.serialize */
	VF_STATUS_EXCEPTION = 3,        /* it raised */
	VF_STATUS_DIED = 4,             /* the process that ran it died */
	VF_STATUS_UNKNOWN_FUNCTION = 5, /* not run: that worker does not have the function */
	VF_STATUS_BUFFERS = 6,          /* its result, pickled, large buffers beside the pickle */
	VF_STATUS_NODE = 7, /* about the worker's node: the answer to a bundle without calls */
	VF_STATUS_TOO_LARGE = 8, /* its result fits neither a result frame nor the worker's disk */
	VF_STATUS_ENGINE = 9, /* never in a frame: the engine failed the bundle */
	VF_STATUS_INPUT_CHANGED = 10, /* an input that calls share was written to while it ran */
	VF_STATUS_INPUT_SPOILED = 11, /* not run: that had happened before, on its worker */
	VF_STATUS_TIMED_OUT = 12, /* it ran longer than it may, and was ended */
};

static inline int vf_status_is_result(uint32_t status)
{
	return status <= VF_STATUS_PARSL || status == VF_STATUS_BUFFERS;
}

enum {
	VF_EXIT_NO_ROOM = 28, /* of a bundle whose result frame does not fit the worker's disk */
};

#endif
