#ifndef SEQMSED_POOL_H
#define SEQMSED_POOL_H

/* The workers: threads that claim queued jobs and run them, one at a time each. All functions may be called from any thread. */

#include "core/err.h"

#include <stdint.h>

struct pool;
struct store;

struct pool_options {
	struct store *store;
	int64_t workers, threads_per_job, max_memory_bytes;
	void (*settled)(void *ctx, const char *job); /* an attempt at the job ended; called by a worker, without locks */
	void *ctx;
};

struct pool *pool_start(const struct pool_options *o, struct err *e);
void pool_poke(struct pool *p);                    /* there may be a queued job */
void pool_cancel(struct pool *p, const char *job); /* the store says that it is being canceled: end its child */
/* Ends all children, queues their jobs again, and ends the threads. */
void pool_stop(struct pool *p);

#endif
