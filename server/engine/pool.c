#include "server/engine/pool.h"

#include "server/base/log.h"
#include "server/engine/runner.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_AGAIN_S = 5 }; /* for jobs whose lease ran out, and after a failed claim */

struct worker {
	struct pool *pool;
	pthread_t thread;
	struct runner runner;
	char job[API_ID + 1]; /* under the pool's lock; "" while idle */
};

struct pool {
	struct pool_options o;
	struct worker *workers;
	size_t started;

	pthread_mutex_t lock; /* guards pokes, stopping, and every worker's job */
	pthread_cond_t news;
	uint64_t pokes;
	bool stopping;
};

static void wake(const struct worker *w)
{
	const uint64_t one = 1;
	(void)!write(w->runner.wake, &one, sizeof one);
}

static void set_job(struct worker *w, const char *id)
{
	struct pool *p = w->pool;
	uint64_t n;
	pthread_mutex_lock(&p->lock);
	memcpy(w->job, id, strlen(id) + 1);
	atomic_store(&w->runner.cancel, false);
	(void)!read(w->runner.wake, &n, sizeof n); /* an old cancel must not wake the new run */
	if (p->stopping)
		wake(w);
	pthread_mutex_unlock(&p->lock);
}

/* 1: ran one; 0: there is none; -1: failed. */
static int work_once(struct worker *w, struct err *e)
{
	struct store_claim c;
	bool found = false;
	if (store_job_claim(w->pool->o.store, RUNNER_LEASE_MS, &c, &found, e) < 0)
		return -1;
	if (!found)
		return 0;
	set_job(w, c.id);
	if (w->runner.news)
		w->runner.news(w->runner.ctx, c.id);
	runner_run(&w->runner, &c);
	set_job(w, "");
	w->pool->o.settled(w->pool->o.ctx, c.id);
	store_claim_fini(&c);
	return 1;
}

/* Sleeps until the count of pokes is another one, some seconds passed, or the pool stops. False: it stops. */
static bool wait_for_poke(struct pool *p, uint64_t seen)
{
	struct timespec until;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LOOK_AGAIN_S;
	pthread_mutex_lock(&p->lock);
	int rc = 0;
	while (!p->stopping && p->pokes == seen && rc != ETIMEDOUT)
		rc = pthread_cond_timedwait(&p->news, &p->lock, &until);
	bool on = !p->stopping;
	pthread_mutex_unlock(&p->lock);
	return on;
}

static uint64_t count_pokes(struct pool *p, bool *stopping)
{
	pthread_mutex_lock(&p->lock);
	uint64_t n = p->pokes;
	*stopping = p->stopping;
	pthread_mutex_unlock(&p->lock);
	return n;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	for (;;) {
		struct err e = ERR_INIT;
		bool stopping;
		uint64_t seen = count_pokes(w->pool, &stopping);
		if (stopping)
			return NULL;
		int rc = work_once(w, &e);
		if (rc < 0)
			log_line(LOG_ERROR, "no job could be claimed", "why", LOG_STR, e.msg);
		if (rc <= 0 && !wait_for_poke(w->pool, seen))
			return NULL;
	}
}

static int start_worker(struct pool *p, struct worker *w, struct err *e)
{
	w->pool = p;
	w->runner.store = p->o.store;
	w->runner.speed = p->o.speed;
	w->runner.news = p->o.news;
	w->runner.ended = p->o.ended;
	w->runner.ctx = p->o.ctx;
	w->runner.threads = p->o.threads_per_job;
	w->runner.max_memory_bytes = p->o.max_memory_bytes;
	w->runner.job_memory_bytes = p->o.job_memory_bytes;
	w->runner.job_seconds = p->o.job_seconds;
	w->runner.job_spill_bytes = p->o.job_spill_bytes;
	w->runner.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->runner.wake < 0)
		return err_errno(e, errno, "an eventfd");
	int rc = pthread_create(&w->thread, NULL, worker_main, w);
	if (rc == 0)
		return 0;
	(void)close(w->runner.wake);
	return err_errno(e, rc, "a worker's thread");
}

const struct pool_options *pool_options(const struct pool *p)
{
	return &p->o;
}

void pool_share(const struct pool *p, struct params *params)
{
	runner_share(params, p->o.threads_per_job, p->o.max_memory_bytes);
}

struct pool *pool_start(const struct pool_options *o, struct err *e)
{
	pthread_condattr_t monotonic;
	struct pool *p = calloc(1, sizeof *p);
	if (!p || !(p->workers = calloc((size_t)o->workers, sizeof *p->workers))) {
		free(p);
		err_nomem(e, "the workers");
		return NULL;
	}
	p->o = *o;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&p->news, &monotonic);
	pthread_condattr_destroy(&monotonic);
	for (; p->started < (size_t)o->workers; p->started++) {
		if (start_worker(p, &p->workers[p->started], e) < 0) {
			pool_stop(p);
			return NULL;
		}
	}
	return p;
}

void pool_poke(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->pokes++;
	pthread_cond_broadcast(&p->news);
	pthread_mutex_unlock(&p->lock);
}

void pool_interrupt(struct pool *p, const char *job)
{
	pthread_mutex_lock(&p->lock);
	for (size_t i = 0; i < p->started; i++) {
		struct worker *w = &p->workers[i];
		if (strcmp(w->job, job) != 0)
			continue;
		atomic_store(&w->runner.cancel, true);
		wake(w);
	}
	pthread_mutex_unlock(&p->lock);
}

void pool_stop(struct pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	for (size_t i = 0; i < p->started; i++) {
		atomic_store(&p->workers[i].runner.stop, true);
		wake(&p->workers[i]);
	}
	pthread_cond_broadcast(&p->news);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < p->started; i++) {
		pthread_join(p->workers[i].thread, NULL);
		(void)close(p->workers[i].runner.wake);
	}
	pthread_cond_destroy(&p->news);
	pthread_mutex_destroy(&p->lock);
	free(p->workers);
	free(p);
}
