/* What is said first on a connection to the manager. */

#ifndef VF_GREETING_H
#define VF_GREETING_H

#include <stddef.h>

/* Whether it begins as a worker's greeting does. */
int vf_greeting_is_of_worker(const char *data, size_t nbytes);

/* Whether TaskVine reads what has come without waiting for more: whole lines, and all that belong
together. */
int vf_greeting_is_whole(const char *data, size_t nbytes);

/* Whether it is a worker's that has a password. */
int vf_greeting_has_password(const char *data, size_t nbytes);

/* Whether it is a worker's without TLS, with or without a password. */
int vf_greeting_is_plain(const char *data, size_t nbytes);

/* Whether it is a client's of TLS; and whether it can still become that. */
int vf_greeting_is_tls(const char *data, size_t nbytes);
int vf_greeting_may_be_tls(const char *data, size_t nbytes);

#endif
