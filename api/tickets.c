#include "api/tickets.h"

#include "api/handlers.h"
#include "api/members.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"
#include "core/base/sha256.h"

#include <string.h>

static void put(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text) + 1); /* with its NUL: parts cannot run into each other */
}

int ticket_target(const struct http_request *q, char digest[TICKET_DIGEST + 1], struct err *e)
{
	struct buf b = BUF_INIT;
	for (size_t i = 0; i < q->nsegments; i++)
		put(&b, q->segments[i]);
	put(&b, "");
	for (size_t i = 0; i < q->nquery; i++) {
		if (strcmp(q->query[i].name, "ticket") == 0)
			continue;
		put(&b, q->query[i].name);
		put(&b, q->query[i].value);
	}
	int rc = buf_failed(&b) ? err_nomem(e, "a ticket") : sha256_of(b.data, b.len, digest, e);
	buf_fini(&b);
	return rc;
}

/* The digest of a target that takes tickets; ERR_BAD_PARAM where it takes none. */
static int find_target(struct http_request *wanted, const char *target, char digest[TICKET_DIGEST + 1], struct err *e)
{
	struct http_response unused;
	http_response_init(&unused);
	int rc = http_parse_target(wanted, target, e);
	const struct route *t = rc == 0 ? route_find(wanted, &unused) : NULL;
	if (t && route_takes(t, "ticket") && !http_query(wanted, "ticket"))
		rc = ticket_target(wanted, digest, e);
	else if (rc == 0 && !t && unused.status == 500)
		rc = err_nomem(e, "a ticket");
	else if (e->code != ERR_MEMORY)
		rc = err_set(e, ERR_BAD_PARAM, "url must be the path and query of a download, without a ticket");
	http_response_fini(&unused);
	return rc;
}

/* False: *r is the problem. */
static bool read_target(const char *target, const struct http_request *q, struct http_response *r, char digest[TICKET_DIGEST + 1])
{
	struct http_request wanted = {.method = HTTP_GET, .id = q->id};
	struct err e = ERR_INIT;
	int rc = find_target(&wanted, target, digest, &e);
	if (rc < 0 && e.code == ERR_BAD_PARAM)
		problem_at(r, q, PROBLEM_BAD_PARAM, "/url", "%s", e.msg);
	else if (rc < 0)
		problem_of(r, q, &e, NULL);
	http_request_fini(&wanted);
	return rc == 0;
}

/* {"url": "/v1/…"}; the text is the tree's. NULL: *r is the problem. */
static const char *read_url(const struct json *v, const struct http_request *q, struct http_response *r)
{
	for (void *it = json_first(v); it; it = json_next(v, it))
		if (strcmp(json_key(it), "url") != 0) {
			members_unknown(json_key(it), q, r);
			return NULL;
		}
	const char *url = json_text(json_get(v, "url"));
	if (!url || url[0] != '/')
		problem_at(r, q, PROBLEM_BAD_PARAM, "/url", "url must be the path and query of a download, beginning with /");
	return url && url[0] == '/' ? url : NULL;
}

static void reply_ticket(const struct http_request *q, struct http_response *r, const struct api_ticket *t, const char *url)
{
	struct buf whole = BUF_INIT;
	struct json_out w;
	buf_printf(&whole, "%s%cticket=%s", url, strchr(url, '?') ? '&' : '?', t->text);
	reply_begin(r, &w);
	if (buf_failed(&whole))
		buf_fail(&r->body);
	json_out_object(&w, NULL);
	json_out_string(&w, "ticket", t->text);
	json_out_string(&w, "url", whole.data);
	when_json(&w, "expires_at", t->expires_at);
	json_out_end_object(&w);
	reply_end(r, q, 201);
	buf_fini(&whole);
}

HANDLER(tickets_add)
{
	struct api_ticket t;
	struct err e = ERR_INIT;
	struct json *v = members_body(q, r);
	const char *url = v ? read_url(v, q, r) : NULL;
	if (url && read_target(url, q, r, t.target)) {
		if (a->backend.ticket_add(a->backend.ctx, &q->who, &t, &e) < 0)
			problem_of(r, q, &e, NULL);
		else
			reply_ticket(q, r, &t, url);
	}
	json_free(v);
}
