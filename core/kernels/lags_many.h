#ifndef SEQMSE_LAGS_MANY_H
#define SEQMSE_LAGS_MANY_H

/* The Gram matrices of two-dimensional convolutions of many channels, by lags (lags.h; a pointwise one has only the lag 0), with outer products of pixels
 * (outer.h): pictures are put in panels of channels once, and nothing is copied for a lag. Pixels whose partner lies outside of the picture are left out. With a stride each pair of taps is a product of
 * its own, over every stride-th pixel. */

#include "core/base/tiles.h"
#include "core/kernels/lags.h"

/* Whether the layer is of this kind, whatever the size of its input; how many products of channels by channels it takes at a position. */
bool lags_many_fit(const struct patches *p);
int64_t lags_many_products(const struct patches *p);

/* Adds a batch to sum[pairs][channels][channels], or, if it is the first one, puts it there: memory is touched by writing it, which costs a page fault less than
 * reading its zeros first. Of pairs (p, p) only entries (c, d) with d >= c are set. One group. Sums in float are over at most
 * LAGS_RUN pixels, those in double. */
enum { LAGS_RUN = 4096 };
int lags_many_add(const struct patches *p, const float *x, bool first, struct tiles *tiles, double *sum, struct err *e);

/* pair[i][j] = pair[i][j] (0 if this is the first) + the sum of the tiles' entries (i, j), i < rows, j < columns; tiles are
 * [OUTER_ROWS][OUTER_COLUMNS], pair has ld numbers a row. lags_fold_plain() is the same without SIMD. */
void lags_fold(const float *const *tile, int64_t tiles, int64_t rows, int64_t columns, bool first, double *pair, int64_t ld);
void lags_fold_plain(const float *const *tile, int64_t tiles, int64_t rows, int64_t columns, bool first, double *pair, int64_t ld);

#endif
