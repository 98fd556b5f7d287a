/* A file of records, which a thread of its own writes: a file system that hangs, or has no room,
holds up nobody, and costs records alone.

The thread that owns the file puts records into memory, and hands them over from time to time. The
other one appends them to the file, in their order and whole. When the file has half of the bytes
that it may have, it gets the name with ".old" behind it, in the place of the one before, and the
next one begins with the records that were defined so far. What could not be kept in memory, or
written, is counted, and the count is the first record after the gap. docs/events.md describes the
file. */

#ifndef VF_EVENTFILE_H
#define VF_EVENTFILE_H

#include <stddef.h>
#include <stdint.h>

#define VF_EVENT_MAGIC "VFEV"

enum {
	VF_EVENT_VERSION = 1,
	/* In a record's `kind`: it is repeated in the beginning of each later file. */
	VF_EVENT_DEFINES = 0x8000,
	/* As well: in the beginning of later files neither this one is repeated any more, nor other
	definitions of the same `of` and `number`. Its `of` is not 0. */
	VF_EVENT_ENDS = VF_EVENT_DEFINES | 0x4000,
	/* The only kind that this unit writes by itself: so many records are missing. */
	VF_EVENT_LEFT_OUT = 1,
};

/* What a file begins with, in the machine's byte order, as all of it. */
struct vf_event_head {
	char magic[4];
	uint32_t version;
	uint64_t monotonic_ns, wall_ns; /* the same moment by both clocks */
	uint32_t pid;
	uint32_t generation; /* how many files there were before */
};

/* A multiple of 8 bytes, `nbytes`, this included; the rest of it depends on the kind. */
struct vf_event {
	uint16_t kind;
	uint16_t of; /* of a vf_event_about, the kind of thing; else 0 */
	uint32_t nbytes;
};

/* What a definition begins with that can come to an end. */
struct vf_event_about {
	struct vf_event event;
	uint64_t at_ns;
	uint32_t number, slots;
};

struct vf_event_left_out {
	struct vf_event event;
	uint64_t n;
};

struct vf_eventfile;

/* A file that is new, in the place of one that has the name: who writes that goes on, for nobody.
The thread writes it until the file is closed. `max_nbytes`
counts the file before it, too. Returns NULL with errno if there is no memory for it, or no
thread. One that cannot be opened now may be later. */
struct vf_eventfile *vf_eventfile_open(const char *path, uint64_t max_nbytes);

/* Room for a record of so many bytes, rounded up and zeroed but for its beginning; valid until the
next call for this file. NULL: it is left out. */
void *vf_eventfile_put(struct vf_eventfile *file, uint16_t kind, size_t nbytes);

/* What was put goes to the other thread. */
void vf_eventfile_hand_over(struct vf_eventfile *file);

/* The last error of the system while writing; 0: none. Any thread. */
int vf_eventfile_errno(const struct vf_eventfile *file);

/* Waits until all is written, but for a second at the most: a thread that hangs frees what it has
when it ends. In a process that was forked this does nothing, as all above. NULL is fine. */
void vf_eventfile_close(struct vf_eventfile *file);

#endif
