#ifndef SEQMSED_RUNNER_H
#define SEQMSED_RUNNER_H

/* One attempt at one job: starts the engine child, writes what it says to the store, and brings the job to its next state.
 *
 * Called by a worker's thread, which waits in it. Two other threads may interrupt it through `wake`, an eventfd, after setting
 * one of the flags: cancel (the store says already that the job is being canceled) and stop (the daemon ends; the job goes
 * back to the queue).
 */

#include "core/base/err.h"
#include "server/store/store_job.h"

#include <stdatomic.h>
#include <stdint.h>

struct params;
struct speed;
struct store;

enum { RUNNER_MAX_DEATHS = 3 };

struct runner {
	struct store *store;
	struct speed *speed;
	int64_t threads;                                        /* for a job that does not say, and the most for one that does */
	int64_t max_memory_bytes;                               /* likewise, of activations */
	int64_t job_memory_bytes, job_seconds, job_spill_bytes; /* limits of an attempt */
	int wake;
	atomic_bool cancel, stop;
	void (*news)(void *ctx, const char *job);                      /* the store has something new about the job; may be NULL */
	void (*ended)(void *ctx, const char *outcome, double seconds); /* the attempt did; may be NULL */
	void *ctx;
};

/* The daemon's share of the machine, put into a job's settings. */
void runner_share(struct params *p, int64_t threads, int64_t max_memory_bytes);

void runner_run(struct runner *r, const struct store_claim *c);

enum { RUNNER_LEASE_MS = 60000 };

#endif
