#include "gram_small.h"

#include "simd.h"

enum { W = GRAM_SMALL_LANES, BLOCK = 6 };

typedef float lanes __attribute__((vector_size(W * sizeof(float)), aligned(sizeof(float)), may_alias));

static inline __attribute__((always_inline)) void add_entry(const float *a, const float *b, const lanes *acc, int64_t from, int64_t count,
                                                            double *sum)
{
	double tail = 0;
	for (int64_t t = from; t < count; t++)
		tail += (double)a[t] * (double)b[t];
	for (int l = 0; l < W; l++)
		tail += (double)(*acc)[l];
	*sum += tail;
}

/* Row i against rows j .. j+n-1, n <= BLOCK: that many sums stay in registers while row i is read once. */
static inline __attribute__((always_inline)) void strip(const float *x, int64_t ld, int64_t k, int64_t count, int64_t i, int64_t j, int n,
                                                        double *sum)
{
	lanes acc[BLOCK] = {0};
	const float *a = x + i * ld;
	int64_t t = 0;
	for (; t + W <= count; t += W) {
		lanes u = *(const lanes *)(a + t);
		for (int l = 0; l < n; l++)
			acc[l] += u * *(const lanes *)(x + (j + l) * ld + t);
	}
	for (int l = 0; l < n; l++)
		add_entry(a, x + (j + l) * ld, &acc[l], t, count, sum + i * k + j + l);
}

/* n is a constant in each case, so that the sums of a strip stay in registers. */
static inline __attribute__((always_inline)) void last_strip(const float *x, int64_t ld, int64_t k, int64_t count, int64_t i, int64_t j,
                                                             double *sum)
{
	switch (k - j) {
	case 1:
		strip(x, ld, k, count, i, j, 1, sum);
		break;
	case 2:
		strip(x, ld, k, count, i, j, 2, sum);
		break;
	case 3:
		strip(x, ld, k, count, i, j, 3, sum);
		break;
	case 4:
		strip(x, ld, k, count, i, j, 4, sum);
		break;
	case 5:
		strip(x, ld, k, count, i, j, 5, sum);
		break;
	case 6:
		strip(x, ld, k, count, i, j, 6, sum);
		break;
	default:
		break;
	}
}

SIMD_BODY gram_small_body(const float *x, int64_t ld, int64_t k, int64_t count, double *sum)
{
	for (int64_t i = 0; i < k; i++) {
		int64_t j = i;
		for (; j + BLOCK < k; j += BLOCK)
			strip(x, ld, k, count, i, j, BLOCK, sum);
		last_strip(x, ld, k, count, i, j, sum);
	}
}

SIMD_DISPATCH(gram_small, (const float *x, int64_t ld, int64_t k, int64_t count, double *sum), (x, ld, k, count, sum))
