/* The border to TaskVine, tried: a manager and a worker that follows a script meet on this machine,
and each function of vf_hooks.h has to be seen at work; what is handed over there, and what
taskvine_private.h says, has to be what it should. */

#ifndef VF_SELFTEST_H
#define VF_SELFTEST_H

#include <stddef.h>

/* Some tenths of a second. Logs of TaskVine's go to `directory`. Returns 0, or -1 and what is
wrong, a line for each. */
int vf_selftest_run(const char *directory, char *wrong, size_t wrong_nbytes);

#endif
