#ifndef SEQMSE_SHA256_H
#define SEQMSE_SHA256_H

/* SHA-256 of bytes that come in pieces. sha256.c is the only file that includes OpenSSL's headers.
 *
 *     struct sha256 *s = sha256_new(&e);  sha256_add(s, p, n, &e) …  sha256_end(s, hex, &e);  sha256_free(s);
 */

#include "core/base/err.h"

#include <stddef.h>

enum { SHA256_HEX = 64, SHA256_BASE64 = 44 }; /* lower-case hexadecimal digits, characters of base64; without the NUL */

struct sha256;

struct sha256 *sha256_new(struct err *e);
/* The same with SHA-1 (40 digits), for protocols that want it. */
struct sha256 *sha256_new_sha1(struct err *e);
int sha256_add(struct sha256 *s, const void *data, size_t len, struct err *e);
/* The digest of everything added, as text; after it only sha256_free() may be called. */
int sha256_end(struct sha256 *s, char hex[SHA256_HEX + 1], struct err *e);
void sha256_free(struct sha256 *s);

/* All at once. */
int sha256_of(const void *data, size_t len, char hex[SHA256_HEX + 1], struct err *e);

/* The same digest in base64, as HTTP's headers and pages' policies have it. */
void sha256_base64(const char hex[SHA256_HEX + 1], char out[SHA256_BASE64 + 1]);

#endif
