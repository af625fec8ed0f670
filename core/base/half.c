#include "core/base/half.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

float half_to_float(uint16_t h)
{
	int exponent = h >> 10 & 31, mantissa = h & 1023;
	double v;
	if (exponent == 31)
		v = mantissa ? (double)NAN : (double)INFINITY;
	else if (exponent)
		v = ldexp(mantissa + 1024, exponent - 25);
	else
		v = ldexp(mantissa, -24);
	return (float)(h & 0x8000 ? -v : v);
}

uint16_t half_from_float(float f)
{
	int exponent;
	double a = fabs((double)f), m = frexp(a, &exponent); /* a = m * 2^exponent, 0.5 <= m < 1 */
	unsigned sign = signbit(f) ? 0x8000u : 0;
	if (isnan(f))
		return (uint16_t)(sign | 0x7e00u);
	if (a >= 65520)
		return (uint16_t)(sign | 0x7c00u);
	if (a == 0 || exponent < -13) /* subnormal: units of 2^-24; frexp() gives zero an exponent like that of 1 */
		return (uint16_t)(sign | (unsigned)nearbyint(ldexp(a, 24)));
	unsigned bits = (unsigned)nearbyint(ldexp(m, 11)) - 1024u; /* may carry into the exponent, which is right */
	return (uint16_t)(sign | (((unsigned)(exponent + 14) << 10) + bits));
}

float bfloat_to_float(uint16_t b)
{
	uint32_t bits = (uint32_t)b << 16;
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

uint16_t bfloat_from_float(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, sizeof bits);
	if (isnan(f))
		return (uint16_t)(bits >> 16 | 0x40u);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
