#ifndef SEQMSE_EXACT_H
#define SEQMSE_EXACT_H

/* Losses in double precision, straight from the definition: for each change d of a channel's weights, the sum over all positions
 * of (d . x)^2. Slow and right: what near-ties are decided by, and what the fast ways are tested against. */

#include "err.h"
#include "patches.h"
#include "tiles.h"

#include <stdint.h>

/* One question: the change of a channel's weights (fan_in doubles), and which group of inputs it meets. loss is the answer. */
struct exact_ask {
	int64_t group;
	const double *d;
	double loss;
};

/* Adds a batch to every ask's loss (0 before the first). */
int exact_add(struct exact_ask *asks, int64_t n, const struct patches *p, const float *x, struct tiles *tiles, struct err *e);

#endif
