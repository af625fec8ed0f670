#include "gemm.h"

#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static __typeof__(&cblas_sgemm) sgemm;

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
	if (lib)
		*(void **)&sgemm = dlsym(lib, "cblas_sgemm");
}

int gemm_open(struct err *e)
{
	(void)pthread_once(&once, load);
	return sgemm ? 0 : err_set(e, ERR_NOT_FOUND, "OpenBLAS cannot be loaded (run `make deps`, or set SEQMSED_OPENBLAS to its library)");
}

void gemm(bool a_trans, bool b_trans, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
          float *c, int64_t ldc)
{
	sgemm(CblasRowMajor, a_trans ? CblasTrans : CblasNoTrans, b_trans ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k, 1.0f, a, (int)lda,
	      b, (int)ldb, beta, c, (int)ldc);
}
