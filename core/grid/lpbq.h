#ifndef SEQMSE_LPBQ_H
#define SEQMSE_LPBQ_H

/* LPBQ: the scales of a channel's blocks, stored as small integers times one scale of the channel. */

#include <stddef.h>

/* scale: [channels][blocks], all positive. channel_scale[c] = (largest scale of the channel) / 2^bits, and
 * factor[c][b] = round(scale[c][b] / channel_scale[c]), half to even, within 1 .. 2^bits: what a block is left with is channel_scale[c] * factor[c][b]. */
void lpbq_compress(size_t channels, size_t blocks, const double *scale, int bits, double *channel_scale, int *factor);

#endif
