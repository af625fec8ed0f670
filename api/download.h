#ifndef SEQMSED_DOWNLOAD_H
#define SEQMSED_DOWNLOAD_H

/* Sending files: strong ETag (the SHA-256), If-None-Match and If-Match, Range and If-Range (one range), Repr-Digest,
 * Content-Disposition. RFC 9110 and 9530. */

#include "api/backend.h"
#include "api/http.h"

/* Answers with the file; its descriptor becomes the response's. fallback is the file name offered where the blob has none. */
void download(struct http_response *r, const struct http_request *q, struct api_blob *b, const char *fallback);

/* For answers that are no files: sets the strong ETag of the body that is there, and makes the response 304 when the client
 * has it. */
void download_tag(struct http_response *r, const struct http_request *q);
/* Only sets it: for the answer to a change. */
void download_mark(struct http_response *r);
/* ERR_PRECONDITION unless c->must has the object's tag: that of the answer to GET. */
int download_check(const struct api_change *c, const void *object, struct err *e);

#endif
