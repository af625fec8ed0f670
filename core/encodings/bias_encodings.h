#ifndef SEQMSE_BIAS_ENCODINGS_H
#define SEQMSE_BIAS_ENCODINGS_H

/* The int32 encodings of biases: what an integer accumulator adds has to have the accumulator's scale, the input's times the weight's.
 *
 *     Conv, ConvTranspose, Gemm, MatMul + Add:  f32(input scale) * f32(weight scale), for each channel where the weight has channels. Of blocks the largest; of LPBQ
 *                                               the channel's scale, in double.
 *     normalizations and recurrent ops:         max(|bias| / 2^31, 0.01 / (2^32 - 1))
 *
 * A bias whose op has no integer encoding of weight or input gets none, and one that has an encoding keeps it. Ops that share a bias and need different
 * scales of it get the second form, which holds for any of them (where the reference gives up).
 */

#include "core/encodings/encodings.h"

struct quantsim;

/* Adds them to x, marked as derived, and puts x's parameters into the order of qs's quantizers. */
int bias_encodings_add(struct encodings *x, const struct quantsim *qs, struct err *e);

#endif
