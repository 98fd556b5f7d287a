/* Where and how workers are accepted, on whatever thread owns a manager: their connections leave
the first descriptors to the user's program, and where none is left they wait in the kernel's
queue, without a word to TaskVine, which would try for 5 s and do nothing else.

The first descriptors are what the program opens its own files with; and select(), which the program
may use somewhere, can do nothing with numbers from FD_SETSIZE (1024) on. */

#ifndef VF_ACCEPT_H
#define VF_ACCEPT_H

#include <stdint.h>
#include <sys/socket.h>

struct link;

/* The address at which links of this thread listen from now on that name none: an IPv4 or IPv6
number; NULL: all of the machine's. Tells whether it is a number. */
int vf_accept_at(const char *address);

/* Whether a link is the one that workers are accepted on, as far as that is known. */
int vf_accept_is_listening(const struct link *link);

/* For how long nobody is to be accepted there; 0: one that waits may be. */
int vf_accept_pause_ms(int64_t now_ms);

/* Nobody is for a while; with the system's reason, or 0. */
void vf_accept_pause(int64_t now_ms, int error);

/* As accept(). */
int vf_accept_one(int listening, struct sockaddr *restrict address, socklen_t *restrict nbytes);

/* Whether an errno tells that no more can be accepted for now. */
int vf_accept_is_lack(int error);

/* Why the last one could not be accepted; 0: it could, or nobody has come. */
int vf_accept_errno(void);

#endif
