#include "core/grid/quant.h"

#include "core/base/simd.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Formulas: quant.h; facts about the reference's arithmetic that they do not show are said where they matter. */

static const double largest = 0.99 * (double)FLT_MAX;

static const char *const granularities[] = {
	[QUANT_PER_TENSOR] = "per_tensor", [QUANT_PER_CHANNEL] = "per_channel", [QUANT_PER_BLOCK] = "block", [QUANT_LPBQ] = "lpbq"};

const char *quant_granularity_name(enum quant_granularity g)
{
	return granularities[g];
}

enum quant_granularity quant_granularity_of(const char *name)
{
	for (int g = QUANT_PER_TENSOR; name && g <= QUANT_LPBQ; g++)
		if (strcmp(name, granularities[g]) == 0)
			return (enum quant_granularity)g;
	return QUANT_PER_CHANNEL;
}

static double clamp(double x, double lo, double hi)
{
	return x < lo ? lo : x > hi ? hi : x;
}

struct quant_grid quant_minmax(float lo, float hi, struct quant_mode mode)
{
	double m = clamp((double)lo, -largest, 0), M = clamp((double)hi, 0, largest);
	double n = (double)((1ull << mode.bw) - 1u - (mode.symmetric && mode.strict_symmetric));
	double eps = fmin(0x1p-23, 0.01 / n);
	struct quant_grid g;
	if (mode.symmetric && !(mode.unsigned_symmetric && m >= 0)) {
		double p = floor(n / 2), q = n - p;
		g.delta = fmax(fmax(M / (n == 3 ? p + 1 : p), -m / q), eps);
		g.offset = -q;
	} else {
		g.delta = fmax((M - m) / n, eps);
		g.offset = clamp(round(m / g.delta), -n, 0);
	}
	if (g.offset < 0)
		g.delta = fmin(g.delta, -largest / g.offset);
	if (g.offset + n > 0)
		g.delta = fmin(g.delta, largest / (g.offset + n));
	g.min = g.delta * g.offset;
	g.max = g.delta * (g.offset + n);
	return g;
}

struct quant_grid quant_candidate(struct quant_grid start, int i, int count, struct quant_mode mode)
{
	float lo = (float)start.min / (float)count, hi = (float)start.max / (float)count;
	return quant_minmax(lo * (float)(i + 1), hi * (float)(i + 1), mode);
}

struct quant_grid quant_constrained(double lo, double hi, struct quant_mode mode)
{
	double m = fmin(0, lo), M = fmax(fmax(0, hi), m + 0.01);
	struct quant_grid g;
	if (mode.symmetric) {
		double p = ldexp(1, mode.bw - 1) - 1;
		g.delta = fmax(M / p, -m / (p + 1));
		g.offset = mode.strict_symmetric ? -p : -(p + 1);
		g.min = g.delta * g.offset;
		g.max = g.delta * p;
	} else {
		double n = ldexp(1, mode.bw) - 1;
		g.delta = (M - m) / n;
		g.offset = rint(m / g.delta);
		g.min = g.delta * g.offset;
		g.max = g.min + g.delta * n;
	}
	return g;
}

/* Rounding half away from zero of a number that is not negative and below 2^24: exact, where floor(x + 0.5) is not. */
SIMD_BODY quant_fake_body(struct quant_grid grid, size_t n, const float *in, float *out)
{
	const float lo = (float)grid.min, hi = (float)grid.max, d = (float)grid.delta, o = (float)grid.offset;
	for (size_t i = 0; i < n; i++) {
		float v = in[i] >= lo ? in[i] : lo; /* also NaN */
		v = v <= hi ? v : hi;
		v = v / d - o;
		float t = (float)(int)v;
		t += v - t >= 0.5f ? 1.0f : 0.0f;
		out[i] = d * (t + o);
	}
}

SIMD_DISPATCH(quant_fake, (struct quant_grid grid, size_t n, const float *in, float *out), (grid, n, in, out))
