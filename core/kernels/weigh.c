#include "core/kernels/weigh.h"

#include "core/base/simd.h"

enum { LANES = 8, RUNS = 2 /* sums of a lane, so that one addition need not wait for the last */ };

typedef float floats __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
typedef double doubles __attribute__((vector_size(LANES * sizeof(double)), aligned(sizeof(double)), may_alias));

#define WIDENED(x) __builtin_convertvector(*(const floats *)(x), doubles)

SIMD_INLINE double total(const doubles acc[RUNS])
{
	doubles sum = acc[0] + acc[1];
	return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

SIMD_BODY weigh_products_body(const float *a, const float *b, int64_t n, double *sum)
{
	doubles acc[RUNS] = {{0}};
	double rest = 0;
	int64_t i = 0;
	for (; i + RUNS * LANES <= n; i += RUNS * LANES)
		for (int r = 0; r < RUNS; r++)
			acc[r] += WIDENED(a + i + r * LANES) * WIDENED(b + i + r * LANES);
	for (; i < n; i++)
		rest += (double)a[i] * (double)b[i];
	*sum = total(acc) + rest;
}

SIMD_DISPATCH(weigh_products, (const float *a, const float *b, int64_t n, double *sum), (a, b, n, sum))

SIMD_BODY weigh_squares_body(const float *d, const double *a, const double *b, int64_t n, double sum[2])
{
	doubles with_a[RUNS] = {{0}}, with_b[RUNS] = {{0}};
	double rest_a = 0, rest_b = 0;
	int64_t i = 0;
	for (; i + RUNS * LANES <= n; i += RUNS * LANES)
		for (int r = 0; r < RUNS; r++) {
			int64_t at = i + r * LANES;
			doubles x = WIDENED(d + at), square = x * x;
			with_a[r] += square * *(const doubles *)(a + at);
			with_b[r] += square * *(const doubles *)(b + at);
		}
	for (; i < n; i++) {
		double square = (double)d[i] * (double)d[i];
		rest_a += square * a[i];
		rest_b += square * b[i];
	}
	sum[0] = total(with_a) + rest_a;
	sum[1] = total(with_b) + rest_b;
}

SIMD_DISPATCH(weigh_squares, (const float *d, const double *a, const double *b, int64_t n, double sum[2]), (d, a, b, n, sum))
