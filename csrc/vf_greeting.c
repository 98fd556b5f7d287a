#define _GNU_SOURCE
#include "vf_greeting.h"

#include <string.h>

/* Of a record that is part of a handshake, TLS's major version, and a client's first message. */
enum {
	HANDSHAKE_RECORD = 0x16,
	MAJOR_VERSION = 3,
	RECORD_HEADER_NBYTES = 5,
	CLIENT_HELLO = 1,
};

static int begins_with(const char *data, size_t nbytes, const char *word)
{
	size_t n = strlen(word);
	return nbytes >= n && !memcmp(data, word, n);
}

static int has(const char *data, size_t nbytes, const char *word)
{
	return memmem(data, nbytes, word, strlen(word)) != NULL;
}

int vf_greeting_is_of_worker(const char *data, size_t nbytes)
{
	return begins_with(data, nbytes, "taskvine ");
}

int vf_greeting_is_whole(const char *data, size_t nbytes)
{
	if (!nbytes || data[nbytes - 1] != '\n')
		return 0;
	if (vf_greeting_is_of_worker(data, nbytes))
		return has(data, nbytes, "\nend\n");
	if (begins_with(data, nbytes, "GET "))
		return has(data, nbytes, "\n\r\n") || has(data, nbytes, "\n\n");
	return 1;
}

int vf_greeting_has_password(const char *data, size_t nbytes)
{
	return begins_with(data, nbytes, "auth password ");
}

int vf_greeting_is_plain(const char *data, size_t nbytes)
{
	return vf_greeting_is_of_worker(data, nbytes) || vf_greeting_has_password(data, nbytes);
}

int vf_greeting_is_tls(const char *data, size_t nbytes)
{
	return nbytes > RECORD_HEADER_NBYTES && vf_greeting_may_be_tls(data, nbytes) &&
			data[RECORD_HEADER_NBYTES] == CLIENT_HELLO;
}

int vf_greeting_may_be_tls(const char *data, size_t nbytes)
{
	return (nbytes < 1 || data[0] == HANDSHAKE_RECORD) &&
			(nbytes < 2 || data[1] == MAJOR_VERSION);
}
