#ifndef SEQMSED_RUNNER_H
#define SEQMSED_RUNNER_H

/* One attempt at one job: starts the engine child, writes what it says to the store, and brings the job to its next state.
 *
 * Called by a worker's thread, which waits in it. Two other threads may interrupt it through `wake`, an eventfd, after setting
 * one of the flags: cancel (the store says already that the job is being canceled) and stop (the daemon ends; the job goes
 * back to the queue).
 */

#include "core/err.h"
#include "server/store_job.h"

#include <stdatomic.h>
#include <stdint.h>

struct store;

enum { RUNNER_MAX_DEATHS = 3 };

struct runner {
	struct store *store;
	int64_t threads;          /* for a job that does not say, and the most for one that does */
	int64_t max_memory_bytes; /* likewise */
	int wake;
	atomic_bool cancel, stop;
};

void runner_run(struct runner *r, const struct store_claim *c);

enum { RUNNER_LEASE_MS = 60000 };

#endif
