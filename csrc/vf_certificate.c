#define _GNU_SOURCE
#include "vf_certificate.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "vf_openssl.h"

enum {
	DAY_S = 24 * 3600,
	VALID_DAYS = 3650, /* longer than any run */
};

static const char CURVE[] = "P-256";
static const char NAME[] = "vinefast";

static int name_it(X509 *certificate)
{
	X509_NAME *name = X509_get_subject_name(certificate);
	return name &&
			X509_NAME_add_entry_by_txt(name, "CN", VF_MBSTRING_ASC,
					(const unsigned char *)NAME, -1, -1, 0) &&
			X509_set_issuer_name(certificate, name);
}

static int number_it(X509 *certificate)
{
	uint64_t number;
	return getrandom(&number, sizeof number, 0) == sizeof number &&
			ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), number >> 1);
}

static int fill(X509 *certificate, EVP_PKEY *key)
{
	return X509_set_version(certificate, VF_X509_VERSION_3) && number_it(certificate) &&
			/* The clock of who looks may be behind ours. */
			X509_gmtime_adj(X509_getm_notBefore(certificate), -(long)DAY_S) &&
			X509_gmtime_adj(X509_getm_notAfter(certificate),
					(long)VALID_DAYS * DAY_S) &&
			X509_set_pubkey(certificate, key) && name_it(certificate) &&
			X509_sign(certificate, key, EVP_sha256());
}

/* What is in a buffer of OpenSSL's, as a string; NULL: memory is short. */
static char *text_of(BIO *bio)
{
	size_t nbytes = BIO_ctrl_pending(bio);
	char *text = calloc(1, nbytes + 1);
	if (text && BIO_read(bio, text, (int)nbytes) != (int)nbytes) {
		free(text);
		text = NULL;
	}
	return text;
}

int vf_certificate_make(char **key, char **certificate)
{
	EVP_PKEY *made = EVP_PKEY_Q_keygen(NULL, NULL, "EC", CURVE);
	X509 *x509 = X509_new();
	BIO *key_text = BIO_new(BIO_s_secmem()), *text = BIO_new(BIO_s_secmem());
	*key = *certificate = NULL;
	if (made && x509 && key_text && text && fill(x509, made) &&
			PEM_write_bio_PrivateKey(key_text, made, NULL, NULL, 0, NULL, NULL) &&
			PEM_write_bio_X509(text, x509)) {
		*key = text_of(key_text);
		*certificate = text_of(text);
	}
	BIO_free(text);
	BIO_free(key_text);
	X509_free(x509);
	EVP_PKEY_free(made);
	ERR_clear_error();
	if (*key && *certificate)
		return 0;
	vf_certificate_free_key(*key);
	free(*certificate);
	*key = *certificate = NULL;
	return -1;
}

void vf_certificate_free_key(char *key)
{
	if (key)
		explicit_bzero(key, strlen(key));
	free(key);
}
