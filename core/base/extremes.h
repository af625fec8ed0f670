#ifndef SEQMSE_EXTREMES_H
#define SEQMSE_EXTREMES_H

#include <stddef.h>

/* out[0] and out[1]: the smallest and the largest of n values. NaN does not count; where nothing does they are infinity and
 * -infinity. extremes_plain() is the same without SIMD. */
void extremes(size_t n, const float *x, float *out);
void extremes_plain(size_t n, const float *x, float *out);

#endif
