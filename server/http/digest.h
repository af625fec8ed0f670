#ifndef SEQMSED_DIGEST_H
#define SEQMSED_DIGEST_H

/* The headers Content-Digest and Repr-Digest (RFC 9530): "sha-512=:…:, sha-256=:…:". */

#include "core/base/err.h"
#include "core/base/sha256.h"

/* The SHA-256 in hexadecimal digits; "" where text is NULL or has none. A malformed one is ERR_BAD_PARAM. */
int digest_read(const char *text, char hex[SHA256_HEX + 1], struct err *e);

#endif
