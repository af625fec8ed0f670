#ifndef SEQMSE_LAGS_BLAS_H
#define SEQMSE_LAGS_BLAS_H

/* The Gram matrices of two-dimensional convolutions of stride 1, by lags (lags.h), with BLAS: for wide kernels of few channels, where
 * the classes of pixels are many and their products small, so that several lags share a product. */

#include "core/base/tiles.h"
#include "core/kernels/lags.h"

/* Adds a batch to sum[pairs][channels][channels]. One group. */
int lags_blas_add(const struct patches *p, const float *x, struct tiles *tiles, double *sum, struct err *e);

#endif
