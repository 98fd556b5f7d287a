/* A log file of TaskVine's, which does not grow without end, and never stops whoever writes to it.

When it has as many bytes as it may, it gets the name with ".old" behind it, as TaskVine's own debug
logs do, in the place of the one before; and the next one begins with what TaskVine's tools have to
know (vf_loghead.h). What cannot be written, to a full disk say, is counted and left out, line by
line: the file has whole lines only, also if it is the same one that can be written to again. */

#ifndef VF_LOGFILE_H
#define VF_LOGFILE_H

#include <stddef.h>
#include <stdint.h>

struct vf_counters;
struct vf_logfile;

/* A file that is new, or emptied; `max_nbytes`, without its head, 0: no limit. Its counters are
`log_...` of vf_counters.h. Returns NULL when memory is short. One that cannot be opened now may be
later. */
struct vf_logfile *vf_logfile_open(
		const char *path, uint64_t max_nbytes, struct vf_counters *counters);

/* In a process that was forked this does nothing. */
void vf_logfile_write(struct vf_logfile *log, const char *data, size_t nbytes);

void vf_logfile_close(struct vf_logfile *log);

#endif
