/* Connections that say nothing, or half of it, hold up neither calls nor workers.

Whoever reaches the manager's port can connect to it. TaskVine accepts a connection and then reads
from it alone, for 5 s if there is a password, and for an hour once the first byte of a line has
come. So on a thread that has begun here connections are kept aside, which costs nothing, until they
have said what a worker says first, with TLS if that is on (vf_tls.h), and proven that they know the
password if there is one; only then they are what TaskVine accepts. Those that take too long are
closed, and so are, where there are too many, the oldest. */

#ifndef VF_HANDSHAKE_H
#define VF_HANDSHAKE_H

#include <stdint.h>

/* On the calling thread; `password` is NULL for none, and has to stay where it is. The end closes
what is kept aside. */
void vf_handshake_begin(const char *password);
void vf_handshake_end(void);

/* Accept who waits at a socket that listens, negative: nobody may be accepted now; and hear those
that are kept aside. */
void vf_handshake_hear(int listening, int64_t now_ms);

/* What can be read if one of them has spoken; negative: there are none. */
int vf_handshake_fd(void);

/* How many have come as workers without TLS where there is TLS, and with TLS where there is none:
they are closed at once. */
uint64_t vf_handshake_without_tls(void);
uint64_t vf_handshake_with_tls(void);

/* And how many as workers with another password than the manager's, or none; or with one while the
manager has none, who wait in vain for its half of the proof. */
uint64_t vf_handshake_wrong_password(void);
uint64_t vf_handshake_with_password(void);

/* Whether some can be accepted by TaskVine. */
int vf_handshake_ready(void);

#endif
