/* The logs of a manager are vf_logfile's: those that TaskVine opens while it makes the manager, and
its debug log, of which a process has one. */

#ifndef VF_LOG_H
#define VF_LOG_H

#include <stdint.h>

struct vf_counters;

/* Those of the manager that this thread makes next. */
void vf_log_begin(uint64_t max_nbytes, struct vf_counters *counters);

/* It is made. */
void vf_log_begun(void);

/* No log counts here any more: the manager has been deleted, or there is none. */
void vf_log_end(const struct vf_counters *counters);

#endif
