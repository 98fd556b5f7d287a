/* Connections that are left with a last word, which the other end is still to read.

Who closes a connection at once has what the other end writes then answered with a reset. Without
TLS a worker reads all the same what has come before; OpenSSL reads nothing more after a write that
has failed, and a worker that has something to say would not hear that it is to leave. */

#ifndef VF_LINGER_H
#define VF_LINGER_H

#include <stddef.h>

struct vf_linger {
	struct pollfd *left;
	size_t n_left, n_room;
};

/* Say that nothing more comes, and keep the socket. Returns 0, or -1 if memory is short: it is
still to be closed. */
int vf_linger_add(struct vf_linger *linger, int fd);

/* Wait until the other ends have closed theirs, for as long as that at most, and close them all. */
void vf_linger_close(struct vf_linger *linger, int max_ms);

#endif
