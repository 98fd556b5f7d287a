/* What is used of OpenSSL's libraries, which TaskVine needs, too: their headers are not everywhere
where these are. As in the releases from 3.0 on, which keep it as it is; where there are headers,
csrc/tests/test_vf_tls.c has the compiler compare them. */

#ifndef VF_OPENSSL_H
#define VF_OPENSSL_H

#include <stddef.h>
#include <stdint.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_md_st EVP_MD;
typedef struct evp_cipher_st EVP_CIPHER;
typedef struct x509_st X509;
typedef struct X509_name_st X509_NAME;
typedef struct asn1_string_st ASN1_INTEGER;
typedef struct asn1_string_st ASN1_TIME;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct ossl_lib_ctx_st OSSL_LIB_CTX;
typedef int pem_password_cb(char *buffer, int nbytes, int is_written, void *arg);

enum {
	VF_SSL_ERROR_WANT_READ = 2,
	VF_SSL_ERROR_WANT_WRITE = 3,
	VF_SSL_ERROR_ZERO_RETURN = 6,
	VF_SSL_FILETYPE_PEM = 1,
	VF_SSL_CTRL_SET_MSG_CALLBACK_ARG = 16,
	VF_SSL_CTRL_MODE = 33,
	VF_SSL_CTRL_CLEAR_MODE = 78,
	VF_SSL_CTRL_SET_MIN_PROTO_VERSION = 123,
	VF_SSL_MODE_ENABLE_PARTIAL_WRITE = 1,
	VF_SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 2,
	VF_SSL_MODE_AUTO_RETRY = 4,
	VF_SSL_MODE_RELEASE_BUFFERS = 16,
	VF_SSL3_RT_HANDSHAKE = 22,
	VF_TLS1_3_VERSION = 0x304,
	VF_MBSTRING_ASC = 0x1001,
	VF_X509_VERSION_3 = 2,
};

/* openssl/ssl.h */
const SSL_METHOD *TLS_server_method(void);
SSL_CTX *SSL_CTX_new(const SSL_METHOD *method);
void SSL_CTX_free(SSL_CTX *context);
long SSL_CTX_ctrl(SSL_CTX *context, int what, long value, void *arg);
int SSL_CTX_set_num_tickets(SSL_CTX *context, size_t n);
void SSL_CTX_set_default_passwd_cb(SSL_CTX *context, pem_password_cb *callback);
int SSL_CTX_use_certificate_chain_file(SSL_CTX *context, const char *path);
int SSL_CTX_use_PrivateKey_file(SSL_CTX *context, const char *path, int type);
int SSL_CTX_check_private_key(const SSL_CTX *context);
SSL *SSL_new(SSL_CTX *context);
void SSL_free(SSL *ssl);
long SSL_ctrl(SSL *ssl, int what, long value, void *arg);
void SSL_set_msg_callback(SSL *ssl,
		void (*callback)(int is_written, int version, int type, const void *data,
				size_t nbytes, SSL *ssl, void *arg));
int SSL_set_fd(SSL *ssl, int fd);
void SSL_set_accept_state(SSL *ssl);
int SSL_do_handshake(SSL *ssl);
int SSL_get_error(const SSL *ssl, int result);
int SSL_read(SSL *ssl, void *data, int nbytes);
int SSL_write(SSL *ssl, const void *data, int nbytes);
int SSL_pending(const SSL *ssl);
int SSL_has_pending(const SSL *ssl);
int SSL_shutdown(SSL *ssl);

/* openssl/err.h */
void ERR_clear_error(void);
unsigned long ERR_peek_last_error(void);
void ERR_error_string_n(unsigned long error, char *text, size_t nbytes);

/* openssl/evp.h, openssl/x509.h, openssl/pem.h, openssl/bio.h */
EVP_PKEY *EVP_PKEY_Q_keygen(OSSL_LIB_CTX *context, const char *properties, const char *type, ...);
void EVP_PKEY_free(EVP_PKEY *key);
const EVP_MD *EVP_sha256(void);
X509 *X509_new(void);
void X509_free(X509 *certificate);
int X509_set_version(X509 *certificate, long version);
ASN1_INTEGER *X509_get_serialNumber(X509 *certificate);
int ASN1_INTEGER_set_uint64(ASN1_INTEGER *integer, uint64_t number);
ASN1_TIME *X509_getm_notBefore(const X509 *certificate);
ASN1_TIME *X509_getm_notAfter(const X509 *certificate);
ASN1_TIME *X509_gmtime_adj(ASN1_TIME *at, long s);
int X509_set_pubkey(X509 *certificate, EVP_PKEY *key);
X509_NAME *X509_get_subject_name(const X509 *certificate);
int X509_NAME_add_entry_by_txt(X509_NAME *name, const char *field, int type,
		const unsigned char *bytes, int nbytes, int place, int set);
int X509_set_issuer_name(X509 *certificate, const X509_NAME *name);
int X509_sign(X509 *certificate, EVP_PKEY *key, const EVP_MD *digest);
const BIO_METHOD *BIO_s_secmem(void);
BIO *BIO_new(const BIO_METHOD *method);
int BIO_free(BIO *bio);
int BIO_read(BIO *bio, void *data, int nbytes);
size_t BIO_ctrl_pending(BIO *bio);
int PEM_write_bio_PrivateKey(BIO *bio, const EVP_PKEY *key, const EVP_CIPHER *cipher,
		const unsigned char *password, int nbytes, pem_password_cb *callback, void *arg);
int PEM_write_bio_X509(BIO *bio, const X509 *certificate);

#endif
