#ifndef SEQMSE_GEMM_H
#define SEQMSE_GEMM_H

/* Matrix products of floats; the one door to BLAS. OpenBLAS is loaded at run time by gemm_open(), so that a process which never multiplies never starts its
 * threads or runs its code; it is told to run on the calling thread, and which processor this is where its own table is too old to
 * know (it then falls back to the slowest kernels). OPENBLAS_CORETYPE, if set, is respected. SEQMSED_OPENBLAS may name the library. Matrices are row-major, ld in
 * numbers. */

#include "core/base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* To be called before the first gemm(), from any thread, as often as wanted. ERR_NOT_FOUND without the library. */
int gemm_open(struct err *e);
/* After gemm_open(): the library and the kernels that it chose, "OpenBLAS 0.3.21 … SkylakeX …", or "BLAS" where it does not say. */
const char *gemm_library(void);

/* C[m][n] = beta * C + A B, A is [m][k] (a_trans: stored as [k][m]), B is [k][n] (b_trans: stored as [n][k]). */
void gemm(bool a_trans, bool b_trans, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
          float beta, float *c, int64_t ldc);

/* The same of doubles, dense and with beta 0: C[m][n] = A B, A is [m][k], B is [k][n] (b_trans: stored as [n][k]). */
void gemm_double(bool b_trans, int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c);

/* C[m][n] = A S, of a symmetric S[n][n] of which only the entries (i, j) with j >= i are read. */
void gemm_symmetric(int64_t m, int64_t n, const double *a, const double *s, double *c);

#endif
