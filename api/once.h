#ifndef SEQMSED_ONCE_H
#define SEQMSED_ONCE_H

/* Idempotency-Key: a client that did not hear the answer sends the request again with the same key, and it is carried out once. */

#include "api/backend.h"

/* Before the body: whether the header, where there is one, is a key. False: *r is the problem. */
bool once_check(const struct http_request *q, struct http_response *r);
/* Reads it, and takes the request's fingerprint: its target, its JSON, and what an upload in pieces is to be. False: *r is the problem. */
bool once_read(struct api_once *o, const struct http_request *q, struct http_response *r);
/* A file that came as the body counts by its digest. */
void once_add_file(struct api_once *o, const char *sha256);
/* Tells the client that the answer is that of an earlier request. */
void once_mark(const struct api_once *o, struct http_response *r);

#endif
