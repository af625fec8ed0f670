#ifndef SEQMSED_AUTH_H
#define SEQMSED_AUTH_H

/* Who may ask what. Where there are keys, every route but the public ones wants one with the route's scope, in the Authorization header, or, for a download, a ticket;
 * where there are none, everybody who reaches the daemon may do everything (and only the loopback or a unix socket reaches it).
 * Any thread. */

#include "api/routes.h"
#include "server/config.h"
#include "server/http/key.h"

struct auth;
struct keyring;
struct store;

/* The ring and the store stay the caller's. */
struct auth *auth_new(const struct config *c, struct keyring *k, struct store *s, struct err *e);
void auth_free(struct auth *a);

/* What is known of a request's sender, for logs, the audit and the answer's headers. */
struct auth_grant {
	char key[KEY_ID + 1];              /* "" without keys */
	int64_t per_minute, left, seconds; /* of requests; per_minute 0: not counted */
};

/* True: q->who is set, and the key's text is wiped out of the request. False: *r is the problem (401, 403 or 429). */
bool auth_request(struct auth *a, const struct route *t, struct http_request *q, struct auth_grant *g, struct http_response *r);
/* A ticket for a download (api/tickets.h), for later. */
int auth_ticket(struct auth *a, const struct api_caller *who, struct api_ticket *t, struct err *e);
/* Tells the client how many requests it has left. */
void auth_headers(const struct auth_grant *g, struct http_response *r);
/* The space that the owner may still fill. */
int auth_room(struct auth *a, const struct api_caller *who, int64_t *bytes, struct err *e);
/* Writes down what was done, where there are keys. Waits for the disk. */
void auth_note(struct auth *a, const struct http_request *q, const struct auth_grant *g, const char *method, const char *address,
               int status);

#endif
