#ifndef SEQMSED_STORE_FIT_H
#define SEQMSED_STORE_FIT_H

/* The cache of which calibration file feeds which model file, as inspections found. Any thread. */

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct store;

/* Equal batches give equal answers. */
struct store_fit {
	const char *model_sha256, *calibration_sha256;
	int64_t batch_size, num_batches;
	int64_t samples, samples_used;
};

/* Looks the four keys up and fills the rest. */
int store_fit_find(struct store *s, struct store_fit *f, bool *found, struct err *e);
int store_fit_put(struct store *s, const struct store_fit *f, struct err *e);

#endif
