#ifndef SEQMSE_RESAMPLE_H
#define SEQMSE_RESAMPLE_H

/* Images in another size. A pixel of the result is a weighted mean of those around its place; where the image shrinks, the weights spread over as many more,
 * so that none is overlooked (antialiasing). First along rows, then along columns, each rounded to 8 bits; weights in fixed point. This is the arithmetic of
 * Pillow's resize(), and gives its bytes; Pillow 13 takes the columns first for some sizes, and then single values differ by 1 or 2 of 255. */

#include "core/base/err.h"

/* The weight at distance x, in pixels of the smaller image: 1 - |x| up to 1; or the cubic convolution with a = -1/2, up to 2. */
enum resample_filter { RESAMPLE_BILINEAR, RESAMPLE_BICUBIC };

/* out[oh][ow][channels] of in[ih][iw][channels]; all sizes at least 1. Needs ih * ow * channels bytes for a while. */
int resample(unsigned char *out, int oh, int ow, const unsigned char *in, int ih, int iw, int channels, enum resample_filter filter,
             struct err *e);

#endif
