#ifndef SEQMSE_GEMM_H
#define SEQMSE_GEMM_H

/* Matrix products of floats; the one door to BLAS, which runs on the calling thread only. Matrices are row-major, ld in numbers. */

#include <stdbool.h>
#include <stdint.h>

/* C[m][n] = beta * C + A B, A is [m][k] (a_trans: stored as [k][m]), B is [k][n] (b_trans: stored as [n][k]). */
void gemm(bool a_trans, bool b_trans, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
          float *c, int64_t ldc);

#endif
