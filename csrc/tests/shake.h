/* The manager's side of a handshake of TLS, as the tests go through it. */

#ifndef SHAKE_H
#define SHAKE_H

#include "check.h"
#include "sockets.h"
#include "vf_tls.h"

/* With a client that begins it; each of its messages has to come within the time. */
static inline struct vf_tls *shake(int fd, int timeout_ms)
{
	int is_over = 0;
	struct vf_tls *tls = vf_tls_new(fd);
	CHECK(tls);
	while (!is_over) {
		CHECK(can_be_read(fd, timeout_ms));
		is_over = vf_tls_shake(tls);
	}
	CHECK(is_over > 0);
	return tls;
}

#endif
