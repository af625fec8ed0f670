#ifndef SEQMSED_POOL_H
#define SEQMSED_POOL_H

/* The workers: threads that claim queued jobs and run them, one at a time each. All functions may be called from any thread. */

#include "core/base/err.h"

#include <stdint.h>

struct params;
struct pool;
struct speed;
struct store;

struct pool_options {
	struct store *store;
	struct speed *speed;
	int64_t workers, threads_per_job, max_memory_bytes;
	int64_t job_memory_bytes, job_seconds, job_spill_bytes;
	void (*settled)(void *ctx, const char *job); /* an attempt at the job ended; called by a worker, without locks */
	void (*news)(void *ctx, const char *job);    /* a running job got further; likewise */
	void (*ended)(void *ctx, const char *outcome, double seconds); /* for counts */
	void *ctx;
};

struct pool *pool_start(const struct pool_options *o, struct err *e);
/* What it was started with; and the daemon's share of the machine put into a job's settings, which never changes its result. */
const struct pool_options *pool_options(const struct pool *p);
void pool_share(const struct pool *p, struct params *params);
void pool_poke(struct pool *p);                       /* there may be a queued job */
void pool_interrupt(struct pool *p, const char *job); /* the store says that it is being canceled or paused: end its child */
/* Ends all children, queues their jobs again, and ends the threads. */
void pool_stop(struct pool *p);

#endif
