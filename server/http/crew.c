#include "server/http/crew.h"

#include <pthread.h>
#include <stdlib.h>

struct crew {
	pthread_t *threads;
	int started;

	pthread_mutex_t lock; /* guards first, last, stopping */
	pthread_cond_t news;
	struct crew_task *first, *last;
	bool stopping;
};

/* NULL: nothing is left and the crew stops. */
static struct crew_task *take(struct crew *c)
{
	pthread_mutex_lock(&c->lock);
	while (!c->first && !c->stopping)
		pthread_cond_wait(&c->news, &c->lock);
	struct crew_task *t = c->first;
	if (t) {
		c->first = t->next;
		if (!c->first)
			c->last = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	return t;
}

static void *crew_main(void *arg)
{
	struct crew *c = arg;
	for (struct crew_task *t = take(c); t; t = take(c))
		t->fn(t->arg);
	return NULL;
}

struct crew *crew_start(int threads, struct err *e)
{
	struct crew *c = calloc(1, sizeof *c);
	if (!c || !(c->threads = calloc((size_t)threads, sizeof *c->threads))) {
		free(c);
		err_nomem(e, "threads");
		return NULL;
	}
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->news, NULL);
	for (; c->started < threads; c->started++) {
		int rc = pthread_create(&c->threads[c->started], NULL, crew_main, c);
		if (rc) {
			err_errno(e, rc, "a thread");
			crew_free(c);
			return NULL;
		}
	}
	return c;
}

bool crew_submit(struct crew *c, struct crew_task *t)
{
	t->next = NULL;
	pthread_mutex_lock(&c->lock);
	bool taken = !c->stopping;
	if (taken) {
		if (c->last)
			c->last->next = t;
		else
			c->first = t;
		c->last = t;
		pthread_cond_signal(&c->news);
	}
	pthread_mutex_unlock(&c->lock);
	return taken;
}

void crew_stop(struct crew *c)
{
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
	for (; c->started > 0; c->started--)
		pthread_join(c->threads[c->started - 1], NULL);
}

void crew_free(struct crew *c)
{
	if (!c)
		return;
	crew_stop(c);
	pthread_cond_destroy(&c->news);
	pthread_mutex_destroy(&c->lock);
	free(c->threads);
	free(c);
}
