#include "server/http/rate.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct bucket {
	char owner[64];
	double tokens;
	int64_t at; /* when it had so many */
};

struct rate {
	double most;
	pthread_mutex_t lock; /* guards the buckets */
	struct bucket *buckets;
	size_t n;
};

struct rate *rate_new(int64_t per_minute)
{
	struct rate *r = calloc(1, sizeof *r);
	if (!r)
		return NULL;
	r->most = (double)per_minute;
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

void rate_free(struct rate *r)
{
	if (!r)
		return;
	pthread_mutex_destroy(&r->lock);
	free(r->buckets);
	free(r);
}

/* As many as there are owners of keys: few. NULL without memory. */
static struct bucket *bucket_of(struct rate *r, const char *owner, int64_t now)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->buckets[i].owner, owner) == 0)
			return &r->buckets[i];
	struct bucket *more = realloc(r->buckets, (r->n + 1) * sizeof *more);
	if (!more)
		return NULL;
	r->buckets = more;
	struct bucket *b = &more[r->n++];
	*b = (struct bucket){.tokens = r->most, .at = now};
	(void)snprintf(b->owner, sizeof b->owner, "%s", owner);
	return b;
}

bool rate_take(struct rate *r, const char *owner, int64_t now, int64_t *left, int64_t *seconds)
{
	double pace = r->most / 60000; /* a millisecond */
	*left = *seconds = 0;
	pthread_mutex_lock(&r->lock);
	struct bucket *b = bucket_of(r, owner, now);
	bool ok = !b; /* without memory for counting nobody is sent away */
	if (b) {
		b->tokens = fmin(r->most, b->tokens + (double)(now - b->at) * pace);
		b->at = now;
		ok = b->tokens >= 1;
		if (ok)
			b->tokens -= 1;
		*left = (int64_t)b->tokens;
		*seconds = (int64_t)ceil((ok ? r->most - b->tokens : 1 - b->tokens) / pace / 1000);
	}
	pthread_mutex_unlock(&r->lock);
	return ok;
}
