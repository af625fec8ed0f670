#include "core/kernels/gram_small.h"

#include "core/base/simd.h"

#include <stdbool.h>
#include <string.h>

enum { W = GRAM_SMALL_LANES, RUN = GRAM_SMALL_RUN, V = SIMD_FLOATS };

typedef float lanes __attribute__((vector_size(V * sizeof(float)), aligned(sizeof(float)), may_alias));

typedef float half __attribute__((vector_size(W / 2 * sizeof(float))));
typedef double eight __attribute__((vector_size(W / 2 * sizeof(double))));

/* A part of the places: segments s0 .. s1-1, of each the places t0 .. t1-1. */
struct part {
	const float *const *rows; /* [k rounded up to the block], the last ones repeated */
	const float *mask;
	int64_t k, stride, s0, s1, t0, t1;
};

/* The sum of the lanes, in double. */
SIMD_INLINE double total(const float lane[W])
{
	half low, high;
	memcpy(&low, lane, sizeof low);
	memcpy(&high, lane + W / 2, sizeof high);
	eight sum = __builtin_convertvector(low, eight) + __builtin_convertvector(high, eight);
	return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* Entries (i .. i+B-1, j .. j+B-1), on the diagonal those above it: their sums stay in registers, each row is read once. B and diagonal are constants, B is
 * at most 5. */
SIMD_BODY block(const struct part *p, int64_t i, int64_t j, const int B, const bool diagonal, double *sum)
{
	float sums[5 * 5][W];
	for (int part = 0; part < W; part += V) {
		lanes acc[5 * 5];
		for (int l = 0; l < B * B; l++)
			acc[l] = (lanes){0};
		for (int64_t s = p->s0; s < p->s1; s++)
			for (int64_t t = p->t0 + part; t < p->t1; t += W) {
				lanes u[5], mask = *(const lanes *)(p->mask + t);
				for (int a = 0; a < B; a++)
					u[a] = mask * *(const lanes *)(p->rows[i + a] + s * p->stride + t);
				for (int b = 0; b < B; b++) {
					lanes v = *(const lanes *)(p->rows[j + b] + s * p->stride + t);
					for (int a = 0; a < (diagonal ? b + 1 : B); a++)
						acc[a * B + b] += u[a] * v;
				}
			}
		for (int l = 0; l < B * B; l++)
			*(lanes *)(sums[l] + part) = acc[l];
	}
	for (int64_t a = i; a < i + B && a < p->k; a++)
		for (int64_t b = j > a ? j : a; b < j + B && b < p->k; b++)
			sum[a * p->k + b] += total(sums[(a - i) * B + b - j]);
}

SIMD_BODY blocks(const struct part *p, const int B, double *sum)
{
	for (int64_t i = 0; i < p->k; i += B) {
		block(p, i, i, B, true, sum);
		for (int64_t j = i + B; j < p->k; j += B)
			block(p, i, j, B, false, sum);
	}
}

/* Products and reads of all blocks. */
SIMD_INLINE int64_t work(int64_t k, int64_t B)
{
	int64_t n = (k + B - 1) / B;
	return n * (n + 1) / 2 * (B * B + 2 * B);
}

SIMD_BODY one_part(const struct part *p, double *sum)
{
	int64_t three = work(p->k, 3), four = work(p->k, 4), five = work(p->k, 5);
	if (five <= four && five <= three)
		blocks(p, 5, sum);
	else if (three <= four)
		blocks(p, 3, sum);
	else
		blocks(p, 4, sum);
}

SIMD_BODY gram_small_body(const float *const *rows, const float *mask, int64_t k, int64_t n, int64_t stride, int64_t length,
                          double *sum)
{
	const float *padded[GRAM_SMALL_MAX + 4];
	int64_t at_once = length < RUN ? RUN / length : 1;
	for (int64_t i = 0; i < k + 4; i++)
		padded[i] = rows[i < k ? i : k - 1];
	for (int64_t s = 0; s < n; s += at_once)
		for (int64_t t = 0; t < length; t += RUN) {
			struct part p = {padded, mask,
			                 k,      stride,
			                 s,      s + at_once < n ? s + at_once : n,
			                 t,      t + RUN < length ? t + RUN : length};
			one_part(&p, sum);
		}
}

SIMD_DISPATCH(gram_small,
              (const float *const *rows, const float *mask, int64_t k, int64_t n, int64_t stride, int64_t length, double *sum),
              (rows, mask, k, n, stride, length, sum))
