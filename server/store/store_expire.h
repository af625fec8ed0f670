#ifndef SEQMSED_STORE_EXPIRE_H
#define SEQMSED_STORE_EXPIRE_H

/* What is forgotten after a while: jobs that ended long ago, with their results, and models, calibrations and encodings that no job has used and
 * nobody has uploaded again for long. Any thread. */

#include "core/base/err.h"

#include <stdint.h>

struct store;

struct store_expired {
	int64_t jobs, models, calibrations, encodings;
};

/* Forgets what is older than that many days; 0 keeps that kind for ever. One transaction for each object, so that others get their turn. */
int store_expire(struct store *s, int64_t job_days, int64_t upload_days, struct store_expired *out, struct err *e);

#endif
