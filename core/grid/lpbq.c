#include "core/grid/lpbq.h"

#include <float.h>
#include <math.h>

void lpbq_compress(size_t channels, size_t blocks, const double *scale, int bits, double *channel_scale, int *factor)
{
	const double most = ldexp(1, bits);
	for (size_t c = 0; c < channels; c++) {
		const double *s = scale + c * blocks;
		double largest = 0;
		for (size_t b = 0; b < blocks; b++)
			largest = fmax(largest, s[b]);
		channel_scale[c] = fmax(largest / most, DBL_TRUE_MIN);
		for (size_t b = 0; b < blocks; b++)
			factor[c * blocks + b] = (int)fmin(fmax(rint(s[b] / channel_scale[c]), 1), most);
	}
}
