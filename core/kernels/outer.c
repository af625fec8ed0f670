#include "core/kernels/outer.h"

#include "core/base/simd.h"

#include <math.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { PANEL = OUTER_PANEL, ROWS = OUTER_ROWS, COLUMNS = OUTER_COLUMNS };

/* ---- panels ---- */

int64_t outer_panels(int64_t channels)
{
	return (channels + PANEL - 1) / PANEL;
}

typedef float four __attribute__((vector_size(4 * sizeof(float)), aligned(sizeof(float)), may_alias));

/* A whole panel's channels of 4 pixels; every processor that this is for has vectors of 4 numbers. */
static void fill_four(const float *from, int64_t ld, float *to)
{
	for (int64_t c = 0; c < PANEL; c += 4) {
		const float *at = from + c * ld;
		four row[4], pair[4];
		for (int i = 0; i < 4; i++)
			row[i] = *(const four *)(at + i * ld);
		pair[0] = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
		pair[1] = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
		pair[2] = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
		pair[3] = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
		for (int i = 0; i < 2; i++) {
			*(four *)(to + 2 * i * PANEL + c) = __builtin_shufflevector(pair[i], pair[i + 2], 0, 1, 4, 5);
			*(four *)(to + (2 * i + 1) * PANEL + c) = __builtin_shufflevector(pair[i], pair[i + 2], 2, 3, 6, 7);
		}
	}
}

void outer_panel(const float *from, int64_t ld, int64_t step, int64_t n, int64_t channels, float *to)
{
	int64_t done = 0;
	for (; step == 1 && channels == PANEL && done + 4 <= n; done += 4)
		fill_four(from + done, ld, to + done * PANEL);
	for (int64_t first = done; first < n; first += PANEL)
		for (int64_t c = 0; c < PANEL; c++)
			for (int64_t u = first; u < n && u < first + PANEL; u++)
				to[u * PANEL + c] = c < channels ? from[c * ld + u * step] : 0;
}

/* ---- products ---- */

SIMD_PLAIN void outer_plain(const float *a, const float *b, int64_t panel, int64_t columns, const struct outer_span *s, float *out)
{
	for (int64_t r = 0; r < ROWS; r++)
		for (int64_t c = 0; c < columns; c++) {
			const float *to = b + c / PANEL * panel + c % PANEL;
			float sum = 0;
			for (int64_t i = 0; i < s->n[0]; i++)
				for (int64_t j = 0; j < s->n[1]; j++)
					for (int64_t k = 0; k < s->n[2]; k++) {
						int64_t at = i * s->step[0] + j * s->step[1] + k * s->step[2];
						sum = fmaf(a[at + r], to[at], sum);
					}
			out[r * COLUMNS + c] = sum;
		}
}

/* name(), out of vectors of `floats` numbers: blocks of `rows` rows and `most` vectors, whose sums stay in registers. multiply_add(x, w, c) is
 * x w + c for a number x. */
#define OUTER(name, attribute, vector, floats, rows, most, multiply_add)                                                  \
	static inline __attribute__((always_inline, attribute)) void name##_block(                                        \
		const float *a, const float *b, int64_t panel, const struct outer_span *s, const int vectors, float *out) \
	{                                                                                                                 \
		typedef float unaligned __attribute__((vector_size(sizeof(vector)), aligned(sizeof(float)), may_alias));  \
		vector sum[(rows) * (most)], w[most];                                                                     \
		for (int l = 0; l < (rows)*vectors; l++)                                                                  \
			sum[l] = (vector){0};                                                                             \
		for (int64_t i = 0; i < s->n[0]; i++)                                                                     \
			for (int64_t j = 0; j < s->n[1]; j++) {                                                           \
				int64_t at = i * s->step[0] + j * s->step[1];                                             \
				for (int64_t k = 0; k < s->n[2]; k++, at += s->step[2]) {                                 \
					for (int v = 0; v < vectors; v++)                                                 \
						w[v] = (vector) * (const unaligned *)(b + v * (floats) / PANEL * panel +  \
						                                      v * (floats) % PANEL + at);         \
					for (int r = 0; r < (rows); r++)                                                  \
						for (int v = 0; v < vectors; v++)                                         \
							sum[r * vectors + v] =                                            \
								multiply_add(a[at + r], w[v], sum[r * vectors + v]);      \
				}                                                                                         \
			}                                                                                                 \
		for (int r = 0; r < (rows); r++)                                                                          \
			for (int v = 0; v < vectors; v++)                                                                 \
				*(unaligned *)(out + r * COLUMNS + v * (floats)) = (unaligned)sum[r * vectors + v];       \
	}                                                                                                                 \
	static __attribute__((attribute)) void name(const float *a, const float *b, int64_t panel, int64_t columns,       \
	                                            const struct outer_span *s, float *out)                               \
	{                                                                                                                 \
		enum { ONE = PANEL / (floats) };                                                                          \
		for (int64_t r = 0; r < ROWS; r += (rows))                                                                \
			for (int64_t c = 0; c < columns;) {                                                               \
				const float *to = b + c / PANEL * panel;                                                  \
				float *place = out + r * COLUMNS + c;                                                     \
				if (c + (floats) * (most) <= columns) {                                                   \
					name##_block(a + r, to, panel, s, most, place);                                   \
					c += (floats) * (most);                                                           \
				} else {                                                                                  \
					name##_block(a + r, to, panel, s, ONE, place);                                    \
					c += PANEL;                                                                       \
				}                                                                                         \
			}                                                                                                 \
	}

#if defined(__x86_64__)
#define MULTIPLY_ADD_512(x, w, c) _mm512_fmadd_ps(_mm512_set1_ps(x), w, c)
#define MULTIPLY_ADD_256(x, w, c) _mm256_fmadd_ps(_mm256_set1_ps(x), w, c)
#define MULTIPLY_ADD_128(x, w, c) _mm_add_ps(_mm_mul_ps(_mm_set1_ps(x), w), c)
OUTER(outer_avx512, target(SIMD_AVX512), __m512, 16, 8, 2, MULTIPLY_ADD_512)
OUTER(outer_avx2, target("avx2,fma"), __m256, 8, 4, 2, MULTIPLY_ADD_256)
OUTER(outer_sse, unused, __m128, 4, 2, 4, MULTIPLY_ADD_128)

void outer(const float *a, const float *b, int64_t panel, int64_t columns, const struct outer_span *s, float *out)
{
	if (SIMD_HAS_AVX512)
		outer_avx512(a, b, panel, columns, s, out);
	else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		outer_avx2(a, b, panel, columns, s, out);
	else
		outer_sse(a, b, panel, columns, s, out);
}
#elif defined(__aarch64__)
#define MULTIPLY_ADD_NEON(x, w, c) vfmaq_n_f32(c, w, x)
OUTER(outer_neon, unused, float32x4_t, 4, 4, 4, MULTIPLY_ADD_NEON)

void outer(const float *a, const float *b, int64_t panel, int64_t columns, const struct outer_span *s, float *out)
{
	outer_neon(a, b, panel, columns, s, out);
}
#else
void outer(const float *a, const float *b, int64_t panel, int64_t columns, const struct outer_span *s, float *out)
{
	outer_plain(a, b, panel, columns, s, out);
}
#endif
