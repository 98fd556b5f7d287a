/* How workers are accepted, on whatever thread owns a manager: their connections leave the first descriptors to the user's program,
and where none is left they wait in the kernel's queue, without a word to TaskVine, which would try for 5 s and do nothing else.

The first descriptors are what the program opens its own files with; and select(), which the program may use somewhere, can do
nothing with numbers from FD_SETSIZE (1024) on. */

#ifndef VF_ACCEPT_H
#define VF_ACCEPT_H

#include <stdint.h>

struct link;

/* For how long nobody is to be accepted on a link; 0: one that waits there may be. */
int vf_accept_pause_ms(const struct link *link, int64_t now_ms);

/* Why the last one could not be accepted; 0: it could, or nobody has come. */
int vf_accept_errno(void);

#endif
