#ifndef SEQMSE_OVERFLOW_H
#define SEQMSE_OVERFLOW_H

/* Weight scales that integer hardware can use. Conv, ConvTranspose, Gemm and MatMul accumulate integers on the scale sx * sw (input, weight); where the bias, or the
 * bias less the output's zero point, would not fit into 32 bits on it, or where sx * sw / sy (output) falls below 2^-24, sw is raised until it does.
 *
 * All in float32, as in the reference: the scales that this touches are floats afterwards, also where nothing had to be raised.
 */

#include "core/simulate/sim.h"

/* Called for a frozen weight that would have to be raised. */
typedef void overflow_fn(void *ctx, int weight);

/* Goes through all ops whose weight has one grid a tensor or a channel, and whose input has an integer grid. */
int overflow_adjust(struct sim *s, overflow_fn *frozen, void *ctx, struct err *e);

/* One scale, raised where needed; n channels with these biases have it. sy is 0 where the output has no grid. least is what sx * sw may not fall below, as far as
 * sx itself does not: the smallest normal number of the biases' type where that is float16, else 0. */
float overflow_scale(float sw, float sx, const float *bias, size_t n, float sy, float oy, float least);

#endif
