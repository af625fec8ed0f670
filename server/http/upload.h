#ifndef SEQMSED_UPLOAD_H
#define SEQMSED_UPLOAD_H

/* A request body on its way to the disk: counted against its limit, hashed, and compared with the digest that the client
 * announced. What `struct upload` is for api. One thread at a time. */

#include "core/base/err.h"
#include "server/store/blob.h"

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
/* A body that goes behind what the file has, at most limit bytes of it. The descriptor, with its lock, becomes the upload's. What was received stays in the file,
 * also when the rest never comes; of a body that is too long nothing stays. */
struct upload *upload_append(int fd, int64_t at, int64_t limit, struct err *e);
int upload_fd(const struct upload *u);
int64_t upload_limit(const struct upload *u); /* both of upload_append() */
/* A body that is here already; the part becomes the upload's. */
struct upload *upload_take(struct part *p, struct err *e);
/* Before any byte: what the bytes must hash to (see http_request.checksum); upload_end() says ERR_CHECKSUM where they do not. Then nothing of
 * them stays that it has not approved. */
int upload_expect(struct upload *u, const char *checksum, struct err *e);
void upload_free(struct upload *u); /* what was not kept is gone */

#endif
