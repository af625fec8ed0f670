#ifndef SEQMSED_ANSWER_H
#define SEQMSED_ANSWER_H

/* An answer as libmicrohttpd sends it: all of it, or none. Any thread. */

#include "api/http.h"

#include <microhttpd.h>

/* Makes *r, X-Request-Id and the traceparent ("": none) one response, to be given to MHD_queue_response() and MHD_destroy_response(). more(x)
 * gives the bytes of a stream. The body stays r's, which has to outlive the response; the descriptor is the response's.
 *
 * Where there is no memory for a part of it, *r becomes a problem that says so, and that is made. NULL: not even that; the connection
 * has to be closed. */
struct MHD_Response *answer_make(struct http_response *r, const struct http_request *q, const char *trace,
                                 MHD_ContentReaderCallback more, void *x);

#endif
