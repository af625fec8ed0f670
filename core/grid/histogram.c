#include "core/grid/histogram.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* What is float here and what is double is the reference's choice; bins would differ otherwise. */

static float clamped(double x)
{
	return (float)fmin(fmax(x, -(double)FLT_MAX), (double)FLT_MAX);
}

void histogram_init(struct histogram *h, float lo, float hi)
{
	if (lo == hi)
		hi = fmaxf(hi, lo + 0.01f);
	float middle = (hi + lo) / 2;
	if (!isfinite(middle))
		middle = clamped((double)hi / 2 + (double)lo / 2);
	double left = (double)clamped((double)(middle - 3 * (middle - lo))),
	       right = (double)clamped((double)(middle + 3 * (hi - middle)));
	if (!(right > left)) /* so large a constant that 0.01 more is the same float */
		right = (double)nextafterf((float)left, INFINITY);
	*h = (struct histogram){.width = (right - left) / HISTOGRAM_BINS};
	h->first = floor(left / h->width);
}

void histogram_add(struct histogram *h, size_t n, const float *x)
{
	const float per_width = (float)(1 / h->width);
	uint32_t count[HISTOGRAM_BINS + 1] = {0}; /* the last is for what lies outside; a batch has fewer values than 2^32 a bin */
	for (size_t i = 0; i < n; i++) {
		double bin = floor((double)(x[i] * per_width)) - h->first;
		count[bin >= 0 && bin < HISTOGRAM_BINS ? (size_t)bin : HISTOGRAM_BINS]++;
	}
	for (int i = 0; i < HISTOGRAM_BINS; i++)
		h->pdf[i] = (h->pdf[i] * h->batches + count[i] / (double)n) / (h->batches + 1);
	h->batches++;
}

double histogram_edge(const struct histogram *h, int i)
{
	return (h->first + i) * h->width;
}

void histogram_range(const struct histogram *h, float *lo, float *hi)
{
	int first = 0, last = HISTOGRAM_BINS - 1;
	while (first < HISTOGRAM_BINS - 1 && !(h->pdf[first] > 0))
		first++;
	while (last > 0 && !(h->pdf[last] > 0))
		last--;
	*lo = fminf((float)histogram_edge(h, first), 0);
	*hi = fmaxf((float)histogram_edge(h, last), 0);
	*hi = fmaxf(*hi, *lo + 0.01f);
}

void histogram_percentile(const struct histogram *h, double percentile, float *lo, float *hi)
{
	const float share = (float)(percentile / 100);
	double cdf[HISTOGRAM_BINS], sum = 0;
	float seen_lo, seen_hi;
	int first = 0, last = HISTOGRAM_BINS - 1;
	histogram_range(h, &seen_lo, &seen_hi);
	*lo = seen_lo;
	*hi = seen_hi;
	if (percentile >= 100)
		return;
	for (int i = 0; i < HISTOGRAM_BINS; i++)
		cdf[i] = sum += h->pdf[i];
	while (first < HISTOGRAM_BINS && !(cdf[first] >= (double)(1 - share)))
		first++;
	while (last >= 0 && !(cdf[last] < (double)share && histogram_edge(h, last) < (double)seen_hi))
		last--;
	*lo = (float)histogram_edge(h, first < HISTOGRAM_BINS ? first : 0);
	*hi = (float)(histogram_edge(h, last >= 0 ? last : HISTOGRAM_BINS - 1) + (double)(float)h->width);
	if (*lo == *hi)
		*hi += (float)h->width;
}
