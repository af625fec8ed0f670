#ifndef SEQMSE_WEIGH_H
#define SEQMSE_WEIGH_H

/* Sums in double over the entries of float vectors. The order in which they are added up is the same with every instruction set; name_plain() is
 * without SIMD. */

#include <stdint.h>

/* *sum = sum of a_i b_i, i < n. */
void weigh_products(const float *a, const float *b, int64_t n, double *sum);
void weigh_products_plain(const float *a, const float *b, int64_t n, double *sum);

/* sum[0] = sum of d_i^2 a_i, and sum[1] = sum of d_i^2 b_i. */
void weigh_squares(const float *d, const double *a, const double *b, int64_t n, double sum[2]);
void weigh_squares_plain(const float *d, const double *a, const double *b, int64_t n, double sum[2]);

#endif
