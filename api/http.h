#ifndef SEQMSED_HTTP_H
#define SEQMSED_HTTP_H

/* HTTP as values: what a handler gets and what it gives back. No sockets here; server/http/httpd.c turns the one into the other, and
 * tests make requests by hand.
 */

#include "core/base/buf.h"
#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_field {
	char *name, *value;
};

enum { HTTP_MAX_ARGS = 2, HTTP_MAX_QUERY = 16, HTTP_MAX_SEGMENTS = 32, HTTP_MAX_HEADERS = 20 };

struct upload;

/* Who asks. Without keys everybody is the owner "", who may do everything. */
struct api_caller {
	char owner[64];
	bool all; /* sees and changes what others own, too */
};

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
	/* What a check found out about that body, for the server: */
	int64_t most;      /* bytes that it may have; 0: no less than others of its kind */
	char checksum[65]; /* that it must have: 64 hexadecimal digits of SHA-256, or 40 of SHA-1; "" any */
	struct api_caller who;
	bool replayed;     /* and it was made by a still earlier request (Idempotency-Key) */
	char made[40];     /* the job that an earlier answer() of this request made; "" before */
	int64_t waited_ms; /* how long this request has been waiting already (long poll) */
	bool may_wait;     /* false: the daemon ends, answer now */
};

/* Parses a request target ("/v1/jobs?limit=3") into segments and query. Percent-encoding must be complete; NUL, control
 * characters, invalid UTF-8, a name given twice are ERR_BAD_PARAM. Release with http_request_fini(). */
int http_parse_target(struct http_request *q, const char *target, struct err *e);
int http_add_header(struct http_request *q, const char *name, const char *value, struct err *e);
void http_request_fini(struct http_request *q); /* everything but body and upload, which are the server's */

enum http_method http_method_of(const char *name);
const char *http_header(const struct http_request *q, const char *name); /* case-insensitive; NULL if there is none */
/* Whether the head announces a body that is not empty. */
bool http_has_body(const struct http_request *q);
const char *http_query(const struct http_request *q, const char *name);

struct api;
struct http_response;

/* An answer that goes on: called again and again on a thread that serves others, it appends the next bytes to r->body, or sets wait_for
 * and wait_ms and appends nothing. False: that was the end. */
typedef bool (*http_stream)(const struct api *a, struct http_request *q, struct http_response *r);

struct http_response {
	int status;
	bool failed; /* there was no memory for a part of it */
	struct http_field headers[HTTP_MAX_HEADERS];
	size_t nheaders;
	struct buf body; /* when fd is -1 */
	int fd;          /* a file to send from; the response's to close */
	int64_t offset, length;
	char wait_for[40]; /* not empty: no response yet; ask again when this job changes, or after wait_ms */
	int64_t wait_ms;
	http_stream stream; /* not NULL: what follows the body */
	int64_t stream_after, stream_seen,
		stream_spoke; /* its own: the last event, the progress shown, when it last said something */
};

void http_response_init(struct http_response *r);
void http_response_fini(struct http_response *r);
/* Before it is sent: one that has failed becomes an empty 500. */
void http_response_settle(struct http_response *r);
/* Adds or replaces a header, with a formatted value. Without memory the response has failed. */
void http_set(struct http_response *r, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *http_get(const struct http_response *r, const char *name);

#endif
