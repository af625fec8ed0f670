#include "core/base/numbers.h"

#include "core/base/simd.h"

#include <math.h>

enum { LANES = 32 };

/* Halves of the lanes onto each other. */
SIMD_INLINE double add_up(double *acc)
{
	for (int half = LANES / 2; half > 0; half /= 2)
		for (int l = 0; l < half; l++)
			acc[l] += acc[l + half];
	return acc[0];
}

SIMD_BODY add_squares_body(const float *a, int64_t n, double *sum)
{
	double acc[LANES] = {0};
	int64_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int l = 0; l < LANES; l++)
			acc[l] += (double)a[i + l] * (double)a[i + l];
	for (int l = 0; i + l < n; l++)
		acc[l] += (double)a[i + l] * (double)a[i + l];
	*sum = add_up(acc);
}

SIMD_BODY add_sizes_body(const float *a, int64_t n, double *sum)
{
	double acc[LANES] = {0};
	int64_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int l = 0; l < LANES; l++)
			acc[l] += fabs((double)a[i + l]);
	for (int l = 0; i + l < n; l++)
		acc[l] += fabs((double)a[i + l]);
	*sum = add_up(acc);
}

SIMD_DISPATCH(add_squares, (const float *a, int64_t n, double *sum), (a, n, sum))
SIMD_DISPATCH(add_sizes, (const float *a, int64_t n, double *sum), (a, n, sum))

double sum_squares(const float *a, int64_t n)
{
	double sum;
	add_squares(a, n, &sum);
	return sum;
}

double sum_sizes(const float *a, int64_t n)
{
	double sum;
	add_sizes(a, n, &sum);
	return sum;
}
