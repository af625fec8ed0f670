#include "server/http/auth.h"

#include "api/problems.h"
#include "api/tickets.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/http/keyring.h"
#include "server/http/rate.h"
#include "server/http/ticket_office.h"
#include "server/store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct auth {
	const struct config *config;
	struct keyring *keys;
	struct store *store;
	struct rate *rate;
	struct ticket_office *tickets;
};

struct auth *auth_new(const struct config *c, struct keyring *k, struct store *s, struct err *e)
{
	struct auth *a = calloc(1, sizeof *a);
	if (!a || !(a->rate = rate_new(c->requests_per_minute)) || !(a->tickets = ticket_office_new())) {
		auth_free(a);
		err_nomem(e, "the guard of the keys");
		return NULL;
	}
	a->config = c;
	a->keys = k;
	a->store = s;
	return a;
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	rate_free(a->rate);
	ticket_office_free(a->tickets);
	free(a);
}

static void refuse(struct http_response *r, const struct http_request *q, const char *error, const char *detail)
{
	problem_set(r, q, strcmp(error, "insufficient_scope") == 0 ? PROBLEM_FORBIDDEN : PROBLEM_UNAUTHORIZED, "%s", detail);
	http_set(r, "WWW-Authenticate", "Bearer realm=\"seqmsed\"%s%s%s", error[0] ? ", error=\"" : "", error,
	         error[0] ? "\"" : "");
}

/* The key's text, out of "Authorization: Bearer …"; NULL where there is none. */
static const char *bearer(const struct http_request *q)
{
	const char *text = http_header(q, "Authorization");
	if (!text || strncasecmp(text, "Bearer ", 7) != 0)
		return NULL;
	return text + 7 + strspn(text + 7, " ");
}

static bool may(enum route_scope wanted, unsigned scopes)
{
	static const unsigned bits[] = {[SCOPE_ADMIN] = KEYRING_ADMIN,
	                                [SCOPE_READ] = KEYRING_READ | KEYRING_ADMIN,
	                                [SCOPE_SUBMIT] = KEYRING_SUBMIT | KEYRING_ADMIN};
	return wanted == SCOPE_PUBLIC || (scopes & bits[wanted]) != 0;
}

static bool count(struct auth *a, const struct http_request *q, struct auth_grant *g, struct http_response *r)
{
	g->per_minute = a->config->requests_per_minute;
	if (rate_take(a->rate, q->who.owner, clock_steady_ms(), &g->left, &g->seconds))
		return true;
	problem_set(r, q, PROBLEM_RATE, "you may send %lld requests a minute", (long long)g->per_minute);
	http_set(r, "Retry-After", "%lld", (long long)g->seconds);
	return false;
}

/* A request with a key, where keys are wanted. */
static bool admit(struct auth *a, const struct route *t, struct http_request *q, struct auth_grant *g, struct http_response *r)
{
	struct keyring_entry x;
	struct err e = ERR_INIT;
	const char *text = bearer(q);
	if (!text) {
		refuse(r, q, "", "this needs a key, as Authorization: Bearer sqm_…");
		return false;
	}
	int rc = keyring_check(a->keys, text, clock_ms(), &x, &e);
	if (rc < 0)
		problem_of(r, q, &e, NULL);
	else if (rc == 0)
		refuse(r, q, "invalid_token", "the key is unknown, expired or revoked");
	if (rc != 1)
		return false;
	memcpy(g->key, x.id, sizeof x.id);
	memcpy(q->who.owner, x.owner, sizeof x.owner);
	q->who.all = (x.scopes & KEYRING_ADMIN) != 0;
	if (!count(a, q, g, r))
		return false;
	if (may(t->scope, x.scopes))
		return true;
	refuse(r, q, "insufficient_scope", "the key's scopes do not include this");
	return false;
}

/* A request with a ticket instead of a key. HEAD only looks at it. */
static bool admit_ticket(struct auth *a, struct http_request *q, struct auth_grant *g, struct http_response *r)
{
	char target[TICKET_DIGEST + 1];
	struct err e = ERR_INIT;
	if (ticket_target(q, target, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return false;
	}
	if (ticket_office_use(a->tickets, http_query(q, "ticket"), target, q->method != HTTP_HEAD, &q->who))
		return !q->who.owner[0] || count(a, q, g, r);
	refuse(r, q, "invalid_token", "the ticket is unknown, over, used, or for another download");
	return false;
}

int auth_ticket(struct auth *a, const struct api_caller *who, struct api_ticket *t, struct err *e)
{
	return ticket_office_add(a->tickets, who, t, e);
}

/* Nobody behind this point sees the key any more. */
static void wipe(struct http_request *q)
{
	for (size_t i = 0; i < q->nheaders; i++)
		if (strcasecmp(q->headers[i].name, "Authorization") == 0)
			explicit_bzero(q->headers[i].value, strlen(q->headers[i].value));
}

bool auth_request(struct auth *a, const struct route *t, struct http_request *q, struct auth_grant *g, struct http_response *r)
{
	struct err e = ERR_INIT;
	bool any, ok = true;
	memset(g, 0, sizeof *g);
	memset(&q->who, 0, sizeof q->who);
	if (route_takes(t, "ticket") && http_query(q, "ticket")) {
		ok = admit_ticket(a, q, g, r);
	} else if (keyring_any(a->keys, &any, &e) < 0) {
		problem_of(r, q, &e, NULL);
		ok = false;
	} else if (!any) {
		q->who.all = true;
	} else if (t->scope != SCOPE_PUBLIC) {
		ok = admit(a, t, q, g, r);
	}
	wipe(q);
	return ok;
}

void auth_headers(const struct auth_grant *g, struct http_response *r)
{
	if (g->per_minute == 0)
		return;
	http_set(r, "RateLimit-Policy", "\"requests\";q=%lld;w=60", (long long)g->per_minute);
	http_set(r, "RateLimit", "\"requests\";r=%lld;t=%lld", (long long)g->left, (long long)g->seconds);
}

int auth_room(struct auth *a, const struct api_caller *who, int64_t *bytes, struct err *e)
{
	int64_t used;
	struct db *d = store_read(a->store, e);
	int rc = d ? db_get_int(d, e, &used, NULL,
	                        "SELECT coalesce((SELECT sum(size) FROM models WHERE owner = ?1), 0) + "
	                        "coalesce((SELECT sum(f.size) FROM model_files f JOIN models m ON m.id = f.model_id WHERE m.owner "
	                        "= ?1), 0) + "
	                        "coalesce((SELECT sum(size) FROM calibrations WHERE owner = ?1), 0) + "
	                        "coalesce((SELECT sum(size) FROM encodings WHERE owner = ?1), 0) + "
	                        "coalesce((SELECT sum(size) FROM uploads WHERE owner = ?1 AND result_id IS NULL), 0)",
	                        "s", who->owner)
	           : -1;
	store_read_end(a->store, d);
	if (rc == 0)
		*bytes = used < a->config->max_bytes_per_owner ? a->config->max_bytes_per_owner - used : 0;
	return rc;
}

void auth_note(struct auth *a, const struct http_request *q, const struct auth_grant *g, const char *method, const char *address,
               int status)
{
	struct err e = ERR_INIT;
	struct buf path = BUF_INIT;
	if (!g->key[0])
		return;
	for (size_t i = 0; i < q->nsegments; i++)
		buf_printf(&path, "/%s", q->segments[i]);
	struct db *d = store_begin(a->store, &e);
	int rc = d ? store_end(a->store,
	                       db_run(d, &e,
	                              "INSERT INTO audit(at, owner, key_id, address, method, path, status, request_id) VALUES (?, "
	                              "?, ?, ?, ?, ?, ?, ?)",
	                              "isssssis", clock_ms(), q->who.owner, g->key, address, method,
	                              buf_failed(&path) ? "" : path.data, (int64_t)status, q->id),
	                       &e)
	           : -1;
	if (rc < 0)
		log_line(LOG_ERROR, "the audit was not written", "id", LOG_STR, q->id, "why", LOG_STR, e.msg);
	buf_fini(&path);
}
