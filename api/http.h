#ifndef SEQMSED_HTTP_H
#define SEQMSED_HTTP_H

/* HTTP as values: what a handler gets and what it gives back. No sockets here; server/httpd.c turns the one into the other, and
 * tests make requests by hand.
 */

#include "core/buf.h"
#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_OTHER };

struct http_field {
	char *name, *value;
};

enum { HTTP_MAX_ARGS = 2, HTTP_MAX_QUERY = 16, HTTP_MAX_SEGMENTS = 32, HTTP_MAX_HEADERS = 12 };

struct upload;

struct http_request {
	enum http_method method;
	char *segments[HTTP_MAX_SEGMENTS]; /* of the path, decoded */
	size_t nsegments;
	struct http_field query[HTTP_MAX_QUERY]; /* decoded */
	size_t nquery;
	struct http_field *headers;
	size_t nheaders;
	const char *args[HTTP_MAX_ARGS]; /* what the route's {…} stand for; borrowed from segments or rest */
	char *rest;                      /* the segments that a last {…*} stands for, joined by "/" */
	const char *id;                  /* of the request, for problems and logs; never NULL once routed */
	const char *body;                /* of a JSON request */
	size_t body_len;
	struct upload *upload; /* of a request whose body is a file */
	int64_t waited_ms;     /* how long this request has been waiting already (long poll) */
	bool may_wait;         /* false: the daemon ends, answer now */
};

/* Parses a request target ("/v1/jobs?limit=3") into segments and query. Percent-encoding must be complete; NUL, control
 * characters, invalid UTF-8, a name given twice are ERR_BAD_PARAM. Release with http_request_fini(). */
int http_parse_target(struct http_request *q, const char *target, struct err *e);
int http_add_header(struct http_request *q, const char *name, const char *value, struct err *e);
void http_request_fini(struct http_request *q); /* everything but body and upload, which are the server's */

enum http_method http_method_of(const char *name);
const char *http_header(const struct http_request *q, const char *name); /* case-insensitive; NULL if there is none */
const char *http_query(const struct http_request *q, const char *name);

struct http_response {
	int status;
	struct http_field headers[HTTP_MAX_HEADERS];
	size_t nheaders;
	struct buf body; /* when fd is -1 */
	int fd;          /* a file to send from; the response's to close */
	int64_t offset, length;
	char wait_for[40]; /* not empty: no response yet; ask again when this job changes, or after wait_ms */
	int64_t wait_ms;
};

void http_response_init(struct http_response *r);
void http_response_fini(struct http_response *r);
/* Adds or replaces a header, with a formatted value. Without memory the status becomes 500 and the body empty. */
void http_set(struct http_response *r, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *http_get(const struct http_response *r, const char *name);

#endif
