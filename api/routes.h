#ifndef SEQMSED_ROUTES_H
#define SEQMSED_ROUTES_H

/* The table of everything that can be asked, and how a request finds its handler.
 *
 * A server calls route_find() when it has a request's head: from then on it knows what kind of body to expect and whether
 * the request may wait for a disk. route_check() looks at everything that can be judged before the body; route_answer(), with the
 * body there, makes the response. Both may be called from any thread.
 */

#include "api/backend.h"
#include "api/http.h"

enum route_body {
	BODY_NONE,        /* must be empty */
	BODY_JSON,        /* application/json, small, handed over as a whole */
	BODY_OPTIONAL,    /* likewise, or empty */
	BODY_MODEL,       /* a file, streamed to the disk; limited as models are */
	BODY_CALIBRATION, /* likewise */
	BODY_ENCODINGS,   /* likewise */
	BODY_PIECE,       /* a piece of a file, appended to what is there, which the check opens; or the first one, or none */
};

/* A route's flags. */
enum {
	ROUTE_WAITS = 1, /* for the disk or an inspection: not to be answered on a thread that serves others */
	ROUTE_ONCE = 2,  /* knows Idempotency-Key */
};

/* What a key must allow. A row that does not say is the administrators'. */
enum route_scope { SCOPE_ADMIN, SCOPE_READ, SCOPE_SUBMIT, SCOPE_PUBLIC };

struct api {
	struct api_backend backend;
	int64_t max_wait_seconds; /* of a long poll */
};

struct route {
	unsigned methods;    /* 1 << HTTP_GET | …; HEAD comes with GET */
	const char *pattern; /* "/v1/jobs/{}/layers"; "{*}" at the end stands for the rest of the path */
	const char *query;   /* names of the parameters it takes, separated by spaces */
	enum route_body body;
	unsigned flags;
	enum route_scope scope;
	void (*check)(const struct api *a, struct http_request *q,
	              struct http_response *r); /* may be NULL; sets r->status != 0 to refuse */
	void (*answer)(const struct api *a, struct http_request *q, struct http_response *r);
};

/* Finds the route and sets q->args. NULL: *r is the problem (404 or 405 with Allow, 422 for a query parameter that the route
 * does not take). */
const struct route *route_find(struct http_request *q, struct http_response *r);
/* True: go on with the body. False: *r is the answer. */
bool route_check(const struct api *a, const struct route *t, struct http_request *q, struct http_response *r);
/* Makes the response, or sets wait_for. */
void route_answer(const struct api *a, const struct route *t, struct http_request *q, struct http_response *r);

/* Whether the route takes a query parameter of that name. */
bool route_takes(const struct route *t, const char *name);

extern const struct route routes[];
extern const size_t routes_len;

#endif
