/* Each line that comes over a worker's connection, before TaskVine reads it.

TaskVine takes a worker at its word: it reads as many bytes as a message says into as many plus one,
copies what is longer than its place, waits an hour for the rest of a line. A line that it must not
see is none, and the connection ends as it does for others that it cannot read. */

#ifndef VF_LINE_H
#define VF_LINE_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "taskvine_private.h"

enum vf_line {
	VF_LINE_NONE = 0, /* the connection is to be ended */
	VF_LINE_FOREIGN,  /* so is this one: its worker speaks another protocol */
	VF_LINE_OTHER,
	VF_LINE_COMPLETE, /* a task is */
	VF_LINE_CACHED,   /* a worker has a file */
	VF_LINE_UPDATES,  /* it has more of a file that it was told to watch */
};

/* As link_readline(), but once its first byte is there, or a message has begun that it is a part
of, all of that has to come at once. */
enum vf_line vf_line_read(struct link *link, char *line, size_t length, time_t stoptime);

/* How many bytes of its output come behind the line that a task is complete, which was the last. */
int64_t vf_line_unasked(void);

/* What a worker says of a file that it has. Returns 0 if TaskVine will not understand it. */
int vf_line_cached(const char *line, char name[VINE_LINE_MAX], int64_t *nbytes);

/* The message is over, and nothing else has begun. */
void vf_line_forget(void);

/* Whether TaskVine may read the line, which no message of several lines is before. */
int vf_line_is_sound(const char *line);

/* The same of a line that tells of a worker's resources. */
int vf_line_is_amount(const char *line);

#endif
