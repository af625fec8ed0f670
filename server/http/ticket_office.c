#include "server/http/ticket_office.h"

#include "api/tickets.h"
#include "server/base/clock.h"
#include "server/base/id.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TICKETS = 1024 };

struct entry {
	char text[API_TICKET + 1]; /* "": free */
	char target[API_SHA256 + 1];
	struct api_caller who;
	int64_t ends; /* monotonic */
};

struct ticket_office {
	pthread_mutex_t lock; /* guards the rest */
	struct entry all[MAX_TICKETS];
	size_t next; /* a ring */
};

struct ticket_office *ticket_office_new(void)
{
	struct ticket_office *t = calloc(1, sizeof *t);
	if (t)
		pthread_mutex_init(&t->lock, NULL);
	return t;
}

void ticket_office_free(struct ticket_office *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t);
}

int ticket_office_add(struct ticket_office *t, const struct api_caller *who, struct api_ticket *ticket, struct err *e)
{
	char random[33];
	if (id_random(random, e) < 0)
		return -1;
	(void)snprintf(ticket->text, sizeof ticket->text, "tkt_%s", random);
	ticket->expires_at = clock_ms() + TICKET_SECONDS * 1000;
	pthread_mutex_lock(&t->lock);
	struct entry *x = &t->all[t->next];
	t->next = (t->next + 1) % MAX_TICKETS;
	memcpy(x->text, ticket->text, sizeof x->text);
	memcpy(x->target, ticket->target, sizeof x->target);
	x->who = *who;
	x->ends = clock_steady_ms() + TICKET_SECONDS * 1000;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

/* Takes as long for a wrong text as for a right one. */
static bool same(const char *a, const char *b, size_t n)
{
	unsigned differ = 0;
	for (size_t i = 0; i < n; i++)
		differ |= (unsigned)(a[i] ^ b[i]);
	return differ == 0;
}

bool ticket_office_use(struct ticket_office *t, const char *text, const char *target, bool spend, struct api_caller *who)
{
	bool found = false;
	if (strlen(text) != API_TICKET)
		return false;
	pthread_mutex_lock(&t->lock);
	for (size_t i = 0; i < MAX_TICKETS; i++) {
		struct entry *x = &t->all[i];
		if (!same(x->text, text, API_TICKET) || x->ends < clock_steady_ms() || strcmp(x->target, target) != 0)
			continue;
		found = true;
		*who = x->who;
		if (spend)
			memset(x, 0, sizeof *x);
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}
