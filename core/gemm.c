#include "gemm.h"

#include <cblas.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Our tiles are the parallelism: BLAS's own threads would fight with them, and make sums depend on their number. */
static void single_threaded(void)
{
	openblas_set_num_threads(1);
}

void gemm(bool a_trans, bool b_trans, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
          float *c, int64_t ldc)
{
	(void)pthread_once(&once, single_threaded);
	cblas_sgemm(CblasRowMajor, a_trans ? CblasTrans : CblasNoTrans, b_trans ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a,
	            (int)lda, b, (int)ldb, beta, c, (int)ldc);
}
