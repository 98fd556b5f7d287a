/* What vf_openssl.h says of OpenSSL is what its headers say, where there are any: what differs does
not compile. */

#if __has_include(<openssl/ssl.h>)
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#define HAS_HEADERS 1
#endif

/* The same again. */
#include "vf_openssl.h"

#include "check.h"

#if HAS_HEADERS
_Static_assert(VF_SSL_ERROR_WANT_READ == SSL_ERROR_WANT_READ, "");
_Static_assert(VF_SSL_ERROR_WANT_WRITE == SSL_ERROR_WANT_WRITE, "");
_Static_assert(VF_SSL_ERROR_ZERO_RETURN == SSL_ERROR_ZERO_RETURN, "");
_Static_assert(VF_SSL_FILETYPE_PEM == SSL_FILETYPE_PEM, "");
_Static_assert(VF_SSL_CTRL_SET_MSG_CALLBACK_ARG == SSL_CTRL_SET_MSG_CALLBACK_ARG, "");
_Static_assert(VF_SSL_CTRL_MODE == SSL_CTRL_MODE, "");
_Static_assert(VF_SSL_CTRL_CLEAR_MODE == SSL_CTRL_CLEAR_MODE, "");
_Static_assert(VF_SSL_CTRL_SET_MIN_PROTO_VERSION == SSL_CTRL_SET_MIN_PROTO_VERSION, "");
_Static_assert(VF_SSL_MODE_ENABLE_PARTIAL_WRITE == SSL_MODE_ENABLE_PARTIAL_WRITE, "");
_Static_assert(VF_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER == SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, "");
_Static_assert(VF_SSL_MODE_AUTO_RETRY == SSL_MODE_AUTO_RETRY, "");
_Static_assert(VF_SSL3_RT_HANDSHAKE == SSL3_RT_HANDSHAKE, "");
_Static_assert(VF_SSL_MODE_RELEASE_BUFFERS == SSL_MODE_RELEASE_BUFFERS, "");
_Static_assert(VF_TLS1_3_VERSION == TLS1_3_VERSION, "");
_Static_assert(VF_MBSTRING_ASC == MBSTRING_ASC, "");
_Static_assert(VF_X509_VERSION_3 == X509_VERSION_3, "");
#endif

int main(void)
{
	/* And the library that is linked has it. */
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	CHECK(context && SSL_CTX_set_num_tickets(context, 0) == 1);
	SSL_CTX_free(context);
	return 0;
}
