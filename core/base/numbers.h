#ifndef SEQMSE_NUMBERS_H
#define SEQMSE_NUMBERS_H

#include <stdint.h>

static inline int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Sums of n squares, and of n absolute values, in double and in an order that n alone decides. */
double sum_squares(const float *a, int64_t n);
double sum_sizes(const float *a, int64_t n);

/* The same into *sum, and what their variants for instruction sets are compared with (simd.h). */
void add_squares(const float *a, int64_t n, double *sum);
void add_squares_plain(const float *a, int64_t n, double *sum);
void add_sizes(const float *a, int64_t n, double *sum);
void add_sizes_plain(const float *a, int64_t n, double *sum);

#endif
