#ifndef SEQMSED_UPLOAD_H
#define SEQMSED_UPLOAD_H

/* A request body on its way to the disk: counted against its limit, hashed, and compared with the digest that the client
 * announced. What `struct upload` is for api. One thread at a time. */

#include "core/err.h"
#include "server/blob.h"

#include <stdbool.h>
#include <stdint.h>

struct upload;

/* digest is the value of Content-Digest or Repr-Digest, or NULL; one without sha-256 is ignored, a malformed one is
 * ERR_BAD_PARAM. */
struct upload *upload_new(struct blobs *b, int64_t limit, const char *digest, struct err *e);
/* After the limit was passed, or a write failed, further bytes are counted but not kept; upload_end() tells. */
void upload_add(struct upload *u, const void *data, size_t len);
bool upload_too_large(const struct upload *u);
/* The body is whole. */
int upload_end(struct upload *u, struct err *e);
struct part *upload_part(struct upload *u);
void upload_free(struct upload *u); /* what was not kept is gone */

#endif
