#ifndef SEQMSED_GUARD_H
#define SEQMSED_GUARD_H

/* What a request's head must be before anything else looks at it: what the HTTP library lets through and should not (smuggling),
 * and what a browser must not be talked into (DNS rebinding, cross-site requests). Pure functions over values. */

#include "api/http.h"
#include "server/config.h"

#include <stdbool.h>

/* True: the head may pass. False: *r is the problem. */
bool guard_head(const struct config *c, const struct http_request *q, bool http_1_1, struct http_response *r);

/* The length that the head announces: -1 none, -2 unknown (chunked). Call after guard_head(). */
int64_t guard_body_length(const struct http_request *q);

#endif
