#ifndef SEQMSE_GRAM_SMALL_H
#define SEQMSE_GRAM_SMALL_H

#include <stdint.h>

/* sum[i][j] += sum over segments s < n and places t < length of mask[t] * x_i[s * stride + t] * x_j[s * stride + t], for
 * 0 <= i <= j < k; rows[i] points at x_i, length is a multiple of GRAM_SMALL_LANES, sum is [k][k] doubles, k at most GRAM_SMALL_MAX. For matrices so small that BLAS
 * costs more than it gives: depthwise kernels, pointwise ones of few channels. Over about GRAM_SMALL_RUN places at a time an entry is GRAM_SMALL_LANES sums in
 * float, which are added up in double. gram_small_plain() is the same without SIMD. */
enum { GRAM_SMALL_LANES = 16, GRAM_SMALL_RUN = 1024, GRAM_SMALL_MAX = 191 };
void gram_small(const float *const *rows, const float *mask, int64_t k, int64_t n, int64_t stride, int64_t length, double *sum);
void gram_small_plain(const float *const *rows, const float *mask, int64_t k, int64_t n, int64_t stride, int64_t length,
                      double *sum);

#endif
