#include "core/kernels/gemm.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static __typeof__(&cblas_sgemm) sgemm;
static __typeof__(&cblas_dgemm) dgemm;
static __typeof__(&cblas_dsymm) dsymm;
static char *(*config)(void); /* OpenBLAS's alone */

/* Both settings are read by the library's constructor. */
static void set_up(void)
{
	(void)setenv("OPENBLAS_NUM_THREADS", "1", 1);
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
		(void)setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
	else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		(void)setenv("OPENBLAS_CORETYPE", "Haswell", 0);
#endif
}

static void load(void)
{
	const char *places[] = {getenv("SEQMSED_OPENBLAS"), "libopenblas.so.0", "libcblas.so.3"};
	void *lib = NULL;
	set_up();
	for (size_t i = 0; i < sizeof places / sizeof *places && !lib; i++)
		if (places[i] && *places[i])
			lib = dlopen(places[i], RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		return;
	*(void **)&sgemm = dlsym(lib, "cblas_sgemm");
	*(void **)&dgemm = dlsym(lib, "cblas_dgemm");
	*(void **)&dsymm = dlsym(lib, "cblas_dsymm");
	*(void **)&config = dlsym(lib, "openblas_get_config");
}

int gemm_open(struct err *e)
{
	(void)pthread_once(&once, load);
	return sgemm && dgemm && dsymm
	               ? 0
	               : err_set(e, ERR_NOT_FOUND,
	                         "OpenBLAS cannot be loaded (run `make deps`, or set SEQMSED_OPENBLAS to its library)");
}

const char *gemm_library(void)
{
	return config ? config() : "BLAS";
}

void gemm(bool a_trans, bool b_trans, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
          float beta, float *c, int64_t ldc)
{
	sgemm(CblasRowMajor, a_trans ? CblasTrans : CblasNoTrans, b_trans ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f,
	      a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

void gemm_double(bool b_trans, int64_t m, int64_t n, int64_t k, const double *a, const double *b, double *c)
{
	dgemm(CblasRowMajor, CblasNoTrans, b_trans ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1, a, (int)k, b,
	      (int)(b_trans ? k : n), 0, c, (int)n);
}

void gemm_symmetric(int64_t m, int64_t n, const double *a, const double *s, double *c)
{
	dsymm(CblasRowMajor, CblasRight, CblasUpper, (int)m, (int)n, 1, s, (int)n, a, (int)n, 0, c, (int)n);
}
