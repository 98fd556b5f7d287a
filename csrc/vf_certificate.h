/* A key and a certificate for one run's TLS: nobody verifies who has signed it. */

#ifndef VF_CERTIFICATE_H
#define VF_CERTIFICATE_H

/* Both as PEM, to be freed. Returns 0, or -1 if OpenSSL cannot, or memory is short. */
int vf_certificate_make(char **key, char **certificate);

/* Free a key, of which nothing stays in memory. */
void vf_certificate_free_key(char *key);

#endif
