#ifndef SEQMSE_OBSERVER_H
#define SEQMSE_OBSERVER_H

/* What a quantizer saw of its tensor, and the grid that follows from it.
 *
 *     struct observer o;
 *     observer_init(&o, SCHEME_TF_ENHANCED);
 *     … observer_update(&o, n, values, &e) for every batch; for tied quantizers, for every tensor that shares it …
 *     if (o.seen)
 *             grid = observer_grid(&o, mode, 99.9);
 *     observer_fini(&o);
 *
 * One thread at a time.
 */

#include "core/base/err.h"
#include "core/grid/quant.h"

#include <stdbool.h>
#include <stddef.h>

struct histogram;

enum quant_scheme {
	SCHEME_TF,          /* smallest and largest value */
	SCHEME_TF_ENHANCED, /* the smallest expected squared error (tf_enhanced.h) */
	SCHEME_PERCENTILE,  /* the range without the outermost values (histogram.h) */
};

struct observer {
	enum quant_scheme scheme;
	bool seen;           /* whether there was a batch */
	float min, max;      /* of all values; NaN does not count */
	struct histogram *h; /* NULL for tf, and before the first batch that is not all 0 */
};

void observer_init(struct observer *o, enum quant_scheme scheme);
void observer_fini(struct observer *o);

/* Takes a batch of n values; none is no batch. The weight of a batch in a histogram does not depend on n. Fails only for want of memory. */
int observer_update(struct observer *o, size_t n, const float *x, struct err *e);

/* The grid for what was seen, at least one batch; percentile (0 .. 100) matters to SCHEME_PERCENTILE only. */
struct quant_grid observer_grid(const struct observer *o, struct quant_mode mode, double percentile);

#endif
