#ifndef SEQMSE_LAGS_SINGLE_H
#define SEQMSE_LAGS_SINGLE_H

/* The Gram matrices of convolutions of stride 1 whose groups have one channel (depthwise), by lags (lags.h): a picture is read once for every few lags,
 * with each entry of the sums in SIMD lanes. */

#include "core/base/tiles.h"
#include "core/kernels/lags.h"

/* Whether the layer is of this kind, whatever the size of its input. */
bool lags_single_fit(const struct patches *p);

/* Adds a batch to sum[groups][taps][taps], entries (i, j) with j >= i. */
int lags_single_add(const struct patches *p, const float *x, struct tiles *tiles, double *sum, struct err *e);

/* out[i] += sum over segments s < n and places t < length of a[s * stride + t] * b[s * stride + offset[i] + t], for i < LAGS_AT_ONCE; in LAGS_LANES
 * float sums each, added up in double. b may be read up to LAGS_LANES places further, where it must be finite. lags_dots_plain() is the
 * same without SIMD. */
enum { LAGS_AT_ONCE = 7, LAGS_LANES = 16 };
void lags_dots(const float *a, const float *b, const int64_t *offset, int64_t n, int64_t stride, int64_t length, double *out);
void lags_dots_plain(const float *a, const float *b, const int64_t *offset, int64_t n, int64_t stride, int64_t length, double *out);

/* One column of n pictures: acc[y][w] += a[i * stride + r * row] * b[i * stride + (r + y * step) * row + w], summed over pictures i < n and rows r < rows, for
 * y < taps and w < LAGS_LANES. */
void lags_column(const float *a, const float *b, int64_t n, int64_t stride, int64_t rows, int64_t row, int64_t taps, int64_t step, float *acc);
void lags_column_plain(const float *a, const float *b, int64_t n, int64_t stride, int64_t rows, int64_t row, int64_t taps, int64_t step, float *acc);

/* What the classes of pixels are, as numbers: whether taps visit them, 1 or 0. */
struct lags_visited {
	int64_t taps, rows, columns; /* of the kernel's y axis; classes of the picture's axes */
	const double *y;             /* [rows][taps] */
	const double *x;             /* [columns][LAGS_TAPS] */
};
enum { LAGS_TAPS = 8 };

/* pairs[y][x] = the sum of the classes that tap (y, x) visits, y < taps, x < LAGS_TAPS; class (r, c) has at[c][r * step[c]]. */
void lags_classes(const struct lags_visited *v, const double *const *at, const int64_t *step, double *pairs);
void lags_classes_plain(const struct lags_visited *v, const double *const *at, const int64_t *step, double *pairs);

#endif
