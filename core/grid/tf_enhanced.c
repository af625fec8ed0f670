#include "core/grid/tf_enhanced.h"

#include "core/grid/histogram.h"

#include <math.h>

struct search {
	const struct histogram *h;
	float top;           /* the largest integer that values saturate at: 2^bw - 1, strict or not */
	float steps;         /* of the grid: one less when strict */
	float delta, offset; /* the best so far, and its cost; infinite before the first */
	double cost;
};

static int bin_of(const struct histogram *h, float x)
{
	double bin = floor(((double)x - (double)(float)histogram_edge(h, 0)) / (histogram_edge(h, 1) - histogram_edge(h, 0)));
	return (int)fmin(fmax(bin, 0), HISTOGRAM_BINS - 1);
}

/* The middle of a bin. */
static double middle(const struct histogram *h, int i)
{
	double width = histogram_edge(h, 1) - histogram_edge(h, 0);
	return (double)(float)histogram_edge(h, 0) + i * width + width / 2;
}

/* Sum of pdf * (middle - x)^2 over the bins from .. to-1. */
static double saturation(const struct histogram *h, int from, int to, double x)
{
	double sum = 0;
	for (int i = from; i < to; i++) {
		double d = middle(h, i) - x;
		sum += h->pdf[i] * (d * d);
	}
	return sum;
}

static double cost(const struct search *s, float delta, float offset)
{
	const struct histogram *h = s->h;
	int lo = bin_of(h, delta * offset), hi = bin_of(h, delta * (offset + s->top));
	double outside = saturation(h, 0, lo, (double)(float)middle(h, lo)) +
	                 saturation(h, hi, HISTOGRAM_BINS, (double)(float)middle(h, hi));
	double inside = 0;
	for (int i = lo; i < hi; i++) {
		float x = (float)middle(h, i), q = roundf(x / delta - offset);
		double d = (double)(x - delta * (q + offset));
		inside += h->pdf[i] * (d * d);
	}
	return 3 * outside + inside;
}

static void try(struct search *s, float delta, float offset)
{
	double c = cost(s, delta, offset);
	if (c < s->cost) {
		s->cost = c;
		s->delta = delta;
		s->offset = offset;
	}
}

/* 1 % to 101 % of the range, in steps of 1 %. */
static void try_symmetric(struct search *s, float lo, float hi, struct quant_mode mode)
{
	bool is_unsigned = mode.unsigned_symmetric && lo == 0;
	float whole = is_unsigned ? hi / s->steps : (float)((double)fmaxf(fabsf(lo), fabsf(hi)) / ((double)s->steps / 2));
	float offset = is_unsigned ? 0 : floorf(-s->steps / 2);
	for (float part = 0.01f; (double)part <= 1.01; part = (float)((double)part + 0.01))
		try(s, part * whole, offset);
}

/* 17 sizes of steps at 21 offsets each, cut to the range; then the whole range. */
static void try_asymmetric(struct search *s, float lo, float hi)
{
	float whole = (float)(((double)hi - (double)lo) / (double)s->steps), whole_offset = roundf(lo / whole);
	float a0 = whole * whole_offset, b0 = whole * (whole_offset + s->steps);
	for (int k = 1; k <= 17; k++) {
		for (int i = 0; i <= 20; i++) {
			float d = (float)k / 16 * whole, o = (float)trunc(-(double)s->steps + (double)s->steps / 20.0 * i);
			float a = d * o, b = d * (o + s->steps);
			if (a < a0 && b > b0)
				continue;
			a = fmaxf(a, a0);
			b = fminf(b, b0);
			if (a == b)
				continue;
			d = (float)(((double)b - (double)a) / (double)s->steps);
			try(s, d, roundf(a / d));
		}
	}
	try(s, whole, whole_offset);
}

struct quant_grid tf_enhanced(const struct histogram *h, struct quant_mode mode)
{
	float top = (float)ldexp(1, mode.bw) - 1, lo, hi;
	struct search s = {h, top, top - (float)(mode.symmetric && mode.strict_symmetric), .cost = INFINITY};
	histogram_range(h, &lo, &hi);
	if (mode.symmetric)
		try_symmetric(&s, lo, hi, mode);
	else
		try_asymmetric(&s, lo, hi);
	return (struct quant_grid){.min = (double)(s.delta * s.offset),
	                           .max = (double)(s.delta * (s.offset + s.steps)),
	                           .delta = (double)s.delta,
	                           .offset = (double)s.offset};
}

struct quant_grid tf_enhanced_of_zeros(struct quant_mode mode)
{
	double n = ldexp(1, mode.bw) - 1, delta = 2 / n, offset = floor(-1 / delta);
	return (struct quant_grid){.min = offset * delta, .max = offset * delta + n * delta, .delta = delta, .offset = offset};
}
