#include "core/base/numbers.h"

enum { LANES = 8 };

double sum_squares(const float *a, int64_t n)
{
	double acc[LANES] = {0}, sum = 0;
	int64_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int l = 0; l < LANES; l++)
			acc[l] += (double)a[i + l] * (double)a[i + l];
	for (; i < n; i++)
		sum += (double)a[i] * (double)a[i];
	for (int l = 0; l < LANES; l++)
		sum += acc[l];
	return sum;
}
