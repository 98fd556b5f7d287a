/* TLS on connections of workers, on the thread that owns a manager.

TaskVine's own waits for a handshake, and then for each whole record, for as long as they take, and
for nothing else meanwhile. So the handshake is gone through as bytes come, before TaskVine is given
the connection; and for TaskVine it is one without TLS, that can be read and written as any other:
what encrypts and decrypts stands where its links read(), write() and close(). What has been
decrypted and not been read is seen by no poll(). */

#ifndef VF_TLS_H
#define VF_TLS_H

#include <stddef.h>
#include <sys/types.h>

struct vf_tls;

/* On the calling thread, with files of a key and a certificate, in PEM. Returns 0, or -1 with
OpenSSL's reason. */
int vf_tls_begin(const char *key, const char *certificate, char *why, size_t why_nbytes);

/* The connections that are closed from now on are those of workers that have been told to leave:
they are kept until these have, or for five seconds from `vf_tls_end` on. */
void vf_tls_end_soon(void);
void vf_tls_end(void);
int vf_tls_is_on(void);

/* A socket's, which belongs to somebody else; NULL: memory is short. It ends with a word of
farewell, if it has begun. */
struct vf_tls *vf_tls_new(int fd);
void vf_tls_free(struct vf_tls *tls);

/* Go on with the handshake. Positive: it is over; 0: more has to come; negative: it has failed. */
int vf_tls_shake(struct vf_tls *tls);

/* As recv(MSG_PEEK | MSG_DONTWAIT), for as much as VF_TLS_PEEK_NBYTES; and take what was seen. */
enum {
	VF_TLS_PEEK_NBYTES = 4096,
};
ssize_t vf_tls_peek(struct vf_tls *tls, char *data, size_t nbytes);
void vf_tls_skip(struct vf_tls *tls, size_t nbytes);

/* As send(MSG_DONTWAIT). */
ssize_t vf_tls_send(struct vf_tls *tls, const char *data, size_t nbytes);

/* From now on whoever reads and writes that descriptor on this thread reads and writes what is
encrypted; and closes it with TLS. Returns 0, or -1 if memory is short. */
int vf_tls_give(struct vf_tls *tls);

/* Whether something can be read from a descriptor that no poll() sees. */
int vf_tls_pending(int fd);

/* Whether there is something to read, or its end, from a descriptor that a poll() sees something
of: half a record is nothing yet. */
int vf_tls_has_come(int fd);

/* Whether there is half a record. */
int vf_tls_has_begun(int fd);

#endif
