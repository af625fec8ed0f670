#include "core/base/tiles.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

struct worker {
	struct tiles *pool;
	pthread_t id;
	int thread;
};

struct tiles {
	int threads, started;
	struct worker *workers; /* [threads - 1] */
	pthread_mutex_t lock;
	pthread_cond_t wake, idle;
	/* under lock */
	unsigned round; /* grows with every tiles_run() */
	int busy;       /* workers that have not finished this round */
	bool quit;
	/* written before a round starts, read during it */
	tile_fn *fn;
	void *ctx;
	int n;
	atomic_int next;
};

static void work(struct tiles *t, int thread)
{
	for (int i; (i = atomic_fetch_add(&t->next, 1)) < t->n;)
		t->fn(t->ctx, i, thread);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct tiles *t = w->pool;
	unsigned seen = 0;
	pthread_mutex_lock(&t->lock);
	for (;;) {
		while (t->round == seen && !t->quit)
			pthread_cond_wait(&t->wake, &t->lock);
		if (t->quit)
			break;
		seen = t->round;
		pthread_mutex_unlock(&t->lock);
		work(t, w->thread);
		pthread_mutex_lock(&t->lock);
		if (--t->busy == 0)
			pthread_cond_signal(&t->idle);
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

struct tiles *tiles_new(int threads)
{
	struct tiles *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->threads = threads < 1 ? 1 : threads;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, NULL);
	pthread_cond_init(&t->idle, NULL);
	t->workers = calloc((size_t)t->threads, sizeof *t->workers);
	for (int i = 1; t->workers && i < t->threads; i++) {
		struct worker *w = &t->workers[i - 1];
		*w = (struct worker){.pool = t, .thread = i};
		if (pthread_create(&w->id, NULL, worker_main, w))
			break;
		t->started++;
	}
	if (!t->workers || t->started < t->threads - 1) {
		tiles_free(t);
		return NULL;
	}
	return t;
}

void tiles_free(struct tiles *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	t->quit = true;
	pthread_cond_broadcast(&t->wake);
	pthread_mutex_unlock(&t->lock);
	for (int i = 0; i < t->started; i++)
		pthread_join(t->workers[i].id, NULL);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->wake);
	pthread_cond_destroy(&t->idle);
	free(t->workers);
	free(t);
}

int tiles_threads(const struct tiles *t)
{
	return t->threads;
}

void tiles_run(struct tiles *t, int n, tile_fn *fn, void *ctx)
{
	t->fn = fn;
	t->ctx = ctx;
	t->n = n;
	atomic_store(&t->next, 0);
	if (n > 1 && t->started) {
		pthread_mutex_lock(&t->lock);
		t->busy = t->started;
		t->round++;
		pthread_cond_broadcast(&t->wake);
		pthread_mutex_unlock(&t->lock);
	}
	work(t, 0);
	if (n > 1 && t->started) {
		pthread_mutex_lock(&t->lock);
		while (t->busy)
			pthread_cond_wait(&t->idle, &t->lock);
		pthread_mutex_unlock(&t->lock);
	}
}
