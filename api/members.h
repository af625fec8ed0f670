#ifndef SEQMSED_MEMBERS_H
#define SEQMSED_MEMBERS_H

/* The members of JSON bodies that several requests share: name, labels, visibility, priority. Every fault is answered with a pointer
 * to the member that has it. */

#include "api/backend.h"
#include "core/base/json.h"

struct members {
	const char *name, *visibility; /* borrowed from the tree; NULL: not given */
	struct buf labels;             /* empty: not given */
	int64_t priority;
	bool has_priority;
};

/* Characters (code points) of a text. */
enum { MEMBER_MAX_TEXT = 200, MEMBER_MAX_PRIORITY = 100 };

/* The body as an object, to be freed. NULL: *r is the problem. */
struct json *members_body(const struct http_request *q, struct http_response *r);

/* Reads one member; *known says whether it is one of these. False: *r is the problem. */
bool members_read(struct members *m, const char *key, const struct json *v, const struct http_request *q, struct http_response *r,
                  bool *known);
/* The answer to a member that nobody knows. */
void members_unknown(const char *key, const struct http_request *q, struct http_response *r);
/* A text of at most MEMBER_MAX_TEXT characters, or *r is the problem. */
bool members_text(const char **to, const char *key, const struct json *v, const struct http_request *q, struct http_response *r);
/* ?name and ?visibility of an upload; "" and "team" when absent. */
bool members_query(struct api_change *c, const struct http_request *q, struct http_response *r);

/* A PATCH's body into what it changes; jobs have a priority, too. The tree (to be freed) and *m (to be released) hold the texts of *c.
 * NULL: *r is the problem. */
struct json *members_change(struct members *m, struct api_change *c, bool job, const struct http_request *q,
                            struct http_response *r);

void members_fini(struct members *m);

#endif
