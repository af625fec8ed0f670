#ifndef SEQMSE_LAGS_H
#define SEQMSE_LAGS_H

/* Products of a picture with itself, shifted: the Gram matrix of a two-dimensional convolution of stride 1, for a part of the work that its
 * patches make of it.
 *
 * The entry for taps p and q is the sum of x[u] x[u + lag] over the pixels u that p visits, lag = q - p. Pairs of taps with the same lag differ only in
 * which pixels near the border they visit. So an axis is cut into classes: pixels that every tap visits in one, the others
 * alone (until lags_merge()); a pair's sum is that of the classes which p visits. Nothing is subtracted. A 3x3 kernel has 13 lags and 45 pairs, a 5x5 one 41 and 325.
 *
 * Pairs (p, q), p <= q, are numbered row by row; the sum of a pair is a matrix [channels][channels]: p's entry of one channel times q's of another.
 */

#include "core/base/err.h"
#include "core/kernels/patches.h"

#include <stdbool.h>
#include <stdint.h>

/* Of one axis of the picture. */
struct lags_axis {
	int64_t taps, dilation, size, pad, out;
	int64_t classes;
	int64_t *begin, *end; /* [classes] pixels, disjoint, ascending; the long one may be anywhere */
};

struct lags {
	struct lags_axis y, x;
	int64_t taps, count; /* of the kernel; lags */
};

/* Whether the layer is of this kind, whatever the size of its input; how many lags its kernel has. */
bool lags_fit(const struct patches *p);

int64_t lags_count(const struct patches *p);

int lags_init(struct lags *l, const struct patches *p, struct err *e);
void lags_fini(struct lags *l);

/* Makes one class of neighbours that the same taps visit. */
void lags_merge(struct lags *l);

/* Lag i, in taps: y is not negative, and x is not where y is 0. */
struct lag {
	int64_t y, x;
};
struct lag lags_at(const struct lags *l, int64_t i);

/* Whether a tap's windows ever have their own pixel in class c. */
bool lags_visits(const struct lags_axis *a, int64_t tap, int64_t c);

int64_t lags_pairs(int64_t taps); /* how many there are */
int64_t lags_pair(int64_t taps, int64_t p, int64_t q);

#endif
