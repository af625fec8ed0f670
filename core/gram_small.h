#ifndef SEQMSE_GRAM_SMALL_H
#define SEQMSE_GRAM_SMALL_H

#include <stdint.h>

/* sum[i][j] += sum_t x[i][t] * x[j][t] for 0 <= i <= j < k, t < count; x has rows of ld floats, sum is [k][k] doubles. For matrices so
 * small that BLAS costs more than it gives: depthwise kernels. Each entry is GRAM_SMALL_LANES sums of every GRAM_SMALL_LANES-th product in float, added up
 * in double. gram_small_plain() is the same without SIMD. */
enum { GRAM_SMALL_LANES = 16 };
void gram_small(const float *x, int64_t ld, int64_t k, int64_t count, double *sum);
void gram_small_plain(const float *x, int64_t ld, int64_t k, int64_t count, double *sum);

#endif
