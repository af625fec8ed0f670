#ifndef SEQMSE_HALF_H
#define SEQMSE_HALF_H

/* 16-bit floats as bit patterns: IEEE binary16 ("half") and bfloat16. Rounding is to nearest, ties to even. */

#include <stdint.h>

float half_to_float(uint16_t h);
uint16_t half_from_float(float f);
float bfloat_to_float(uint16_t b);
uint16_t bfloat_from_float(float f);

#endif
