/* Appends to a file all or nothing: what is half written, since the disk is full say, is taken
away again. */

#ifndef VF_APPEND_H
#define VF_APPEND_H

#include <stddef.h>
#include <stdint.h>

/* To a file that is open with O_APPEND. Returns 0; or the system's error, with nothing of it in the
file, nor of the `also` bytes that are the last ones there: what it goes on with. */
int vf_append(int fd, const char *data, size_t nbytes, uint64_t also);

#endif
