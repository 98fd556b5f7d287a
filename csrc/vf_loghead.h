/* What each file of a log has to begin with, for TaskVine's tools to read it by itself.

That is what the log began with: its comments, or the first lines of a graph; and of transactions
also when the manager started, and which workers are connected since when: the tools stumble over a
worker of which they have not read that it has come. */

#ifndef VF_LOGHEAD_H
#define VF_LOGHEAD_H

#include <stddef.h>

#include "vf_buffer.h"
#include "vf_table.h"

struct vf_loghead {
	struct vf_buffer lines;
	size_t nbytes;
	int is_whole; /* what follows is no part of it */
	int has_workers; /* the log tells of them */
	struct vf_table workers; /* their lines by their names */
};

/* Note what has been written to the log: some lines, the last of which may not be whole. Without
memory something may be missing. */
void vf_loghead_note(struct vf_loghead *head, const char *data, size_t nbytes);

/* Put the head as it is now into a buffer. Returns its length, 0 also when memory is short. */
size_t vf_loghead_get(const struct vf_loghead *head, struct vf_buffer *buffer);

/* What a file has to end with, before the next one begins. */
const char *vf_loghead_foot(const struct vf_loghead *head);

void vf_loghead_free(struct vf_loghead *head);

#endif
