#include "core/base/extremes.h"

#include "core/base/simd.h"

#include <math.h>

enum { LANES = 32 };

SIMD_BODY extremes_body(size_t n, const float *x, float *out)
{
	float lo[LANES], hi[LANES];
	for (size_t k = 0; k < LANES; k++) {
		lo[k] = INFINITY;
		hi[k] = -INFINITY;
	}
	size_t i = 0;
	for (; i + LANES <= n; i += LANES) {
		for (size_t k = 0; k < LANES; k++) {
			lo[k] = x[i + k] < lo[k] ? x[i + k] : lo[k];
			hi[k] = x[i + k] > hi[k] ? x[i + k] : hi[k];
		}
	}
	for (; i < n; i++) {
		lo[0] = x[i] < lo[0] ? x[i] : lo[0];
		hi[0] = x[i] > hi[0] ? x[i] : hi[0];
	}
	for (size_t k = 1; k < LANES; k++) {
		lo[0] = lo[k] < lo[0] ? lo[k] : lo[0];
		hi[0] = hi[k] > hi[0] ? hi[k] : hi[0];
	}
	out[0] = lo[0];
	out[1] = hi[0];
}

SIMD_DISPATCH(extremes, (size_t n, const float *x, float *out), (n, x, out))
