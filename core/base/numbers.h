#ifndef SEQMSE_NUMBERS_H
#define SEQMSE_NUMBERS_H

#include <stdint.h>

static inline int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Sum of n squares, in double and in an order that n alone decides. */
double sum_squares(const float *a, int64_t n);

#endif
