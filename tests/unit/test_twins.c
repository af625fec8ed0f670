/* Every SIMD kernel against its plain twin, bit by bit, and against the sum that it stands for. The one unit test that needs no library, so that
 * another processor's emulator can run it (tests/neon.sh): it writes its TAP itself. */

#include "core/base/extremes.h"
#include "core/grid/quant.h"
#include "core/kernels/gram_small.h"
#include "core/kernels/lags_many.h"
#include "core/kernels/lags_single.h"
#include "core/kernels/outer.h"
#include "core/kernels/shifts.h"
#include "core/kernels/weigh.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same(const void *a, const void *b, size_t bytes)
{
	return memcmp(a, b, bytes) == 0;
}

/* Between -range and range. */
static void draw(float *x, int64_t n, float range)
{
	for (int64_t i = 0; i < n; i++)
		x[i] = range * (2 * (float)rand() / (float)RAND_MAX - 1);
}

/* ---- small Gram matrices ---- */

enum { SEGMENTS = 5, STRIDE = 1300, MAX = GRAM_SMALL_MAX };
static float mask[STRIDE];

static bool is_small_gram(const float *const *rows, int64_t k, int64_t length, const double *got)
{
	for (int64_t i = 0; i < k; i++)
		for (int64_t j = i; j < k; j++) {
			double sum = 0, size = 0;
			for (int64_t s = 0; s < SEGMENTS; s++)
				for (int64_t t = 0; t < length; t++) {
					double both =
						(double)mask[t] * (double)rows[i][s * STRIDE + t] * (double)rows[j][s * STRIDE + t];
					sum += both;
					size += fabs(both);
				}
			if (!(fabs(sum - got[i * k + j]) <= 1e-6 * size))
				return false;
		}
	return true;
}

static bool small_grams_agree(void)
{
	static const int64_t lengths[] = {16, 80, 1296};
	static double fast[MAX * MAX], plain[MAX * MAX];
	static float x[MAX * SEGMENTS * STRIDE];
	const float *rows[MAX];
	bool ok = true;
	draw(x, MAX * SEGMENTS * STRIDE, 0.05f);
	for (int t = 0; t < STRIDE; t++)
		mask[t] = t % 7 ? 1 : 0;
	for (int i = 0; i < MAX; i++)
		rows[i] = x + i * SEGMENTS * STRIDE;
	for (int64_t k = 1; k <= MAX && ok; k = k < 52 || k == MAX ? k + 1 : k < 96 ? 96 : MAX) {
		int64_t length = lengths[k % 3];
		memset(fast, 0, sizeof fast);
		memset(plain, 0, sizeof plain);
		gram_small(rows, mask, k, SEGMENTS, STRIDE, length, fast);
		gram_small_plain(rows, mask, k, SEGMENTS, STRIDE, length, plain);
		ok = same(fast, plain, sizeof fast) && is_small_gram(rows, k, length, fast);
	}
	return ok;
}

/* ---- lags of one channel ---- */

static bool dots_agree(void)
{
	enum { N = 3, PLANE = 700 };
	static const int64_t offset[LAGS_AT_ONCE] = {0, 1, 2, 17, 18, 19, 333};
	static float x[2 * N * PLANE];
	bool ok = true;
	draw(x, 2 * N * PLANE, 0.05f);
	for (int64_t length = 1; length < 40 && ok; length++) {
		double fast[LAGS_AT_ONCE] = {0}, plain[LAGS_AT_ONCE] = {0};
		lags_dots(x, x, offset, N, PLANE, length, fast);
		lags_dots_plain(x, x, offset, N, PLANE, length, plain);
		ok = same(fast, plain, sizeof fast);
		for (int i = 0; i < LAGS_AT_ONCE; i++) {
			double sum = 0;
			for (int64_t t = 0; t < N * length; t++) {
				int64_t at = t / length * PLANE + t % length;
				sum += (double)x[at] * (double)x[at + offset[i]];
			}
			ok = ok && fabs(sum - fast[i]) <= 1e-6;
		}
	}
	return ok;
}

static bool columns_agree(void)
{
	enum { MOST = 9, ROW = 21, ROWS = 9, N = 3, PLANE = ROW * (ROWS + 2 * MOST + 1) };
	static float x[N * PLANE];
	bool ok = true;
	draw(x, N * PLANE, 0.05f);
	for (int taps = 1; taps <= MOST; taps++) {
		float fast[MOST * LAGS_LANES] = {0}, plain[MOST * LAGS_LANES] = {0};
		lags_column(x + 3, x, N, PLANE, ROWS, ROW, taps, 2, fast);
		lags_column_plain(x + 3, x, N, PLANE, ROWS, ROW, taps, 2, plain);
		ok = ok && same(fast, plain, sizeof fast);
		for (int i = 0; i < MOST * LAGS_LANES; i++) {
			double sum = 0;
			for (int64_t r = 0; r < N * ROWS && i < taps * LAGS_LANES; r++) {
				const float *at = x + r / ROWS * PLANE + r % ROWS * ROW;
				sum += (double)at[3] * (double)at[i / LAGS_LANES * 2 * ROW + i % LAGS_LANES];
			}
			ok = ok && fabs(sum - (double)fast[i]) <= 1e-6;
		}
	}
	return ok;
}

static bool classes_agree(void)
{
	enum { TAPS = 3, ROWS = 4, COLUMNS = 5 };
	double y[ROWS * TAPS], x[COLUMNS * LAGS_TAPS], value[COLUMNS][2 * ROWS], fast[TAPS * LAGS_TAPS], plain[TAPS * LAGS_TAPS];
	const double *at[COLUMNS];
	int64_t step[COLUMNS];
	const struct lags_visited v = {TAPS, ROWS, COLUMNS, y, x};
	for (int i = 0; i < ROWS * TAPS; i++)
		y[i] = i % 3 != 1;
	for (int i = 0; i < COLUMNS * LAGS_TAPS; i++)
		x[i] = i % 5 != 2;
	for (int c = 0; c < COLUMNS; c++) {
		for (int i = 0; i < 2 * ROWS; i++)
			value[c][i] = 1.0 / (c * 2 * ROWS + i + 1);
		at[c] = value[c];
		step[c] = 1 + c % 2;
	}
	lags_classes(&v, at, step, fast);
	lags_classes_plain(&v, at, step, plain);
	bool ok = same(fast, plain, sizeof fast);
	for (int i = 0; i < TAPS * LAGS_TAPS; i++) {
		double sum = 0;
		for (int r = 0; r < ROWS; r++)
			for (int c = 0; c < COLUMNS; c++)
				sum += y[r * TAPS + i / LAGS_TAPS] * x[c * LAGS_TAPS + i % LAGS_TAPS] * value[c][r * (1 + c % 2)];
		ok = ok && fabs(sum - fast[i]) < 1e-12;
	}
	return ok;
}

/* ---- lags of many channels ---- */

enum { PIXELS = 8 * 9 * 5 };

static double outer_sum(const float *a, const float *b, int64_t panel, const struct outer_span *s, int r, int c)
{
	double sum = 0;
	for (int64_t i = 0; i < s->n[0] * s->n[1] * s->n[2]; i++) {
		int64_t at = i / (s->n[1] * s->n[2]) * s->step[0] + i / s->n[2] % s->n[1] * s->step[1] + i % s->n[2] * s->step[2];
		sum += (double)a[at + r] * (double)b[c / OUTER_PANEL * panel + c % OUTER_PANEL + at];
	}
	return sum;
}

static bool outer_products_agree(void)
{
	static const struct outer_span spans[] = {{{1, 1, 1}, {0, 0, OUTER_PANEL}},
	                                          {{5, 7, 6}, {72 * OUTER_PANEL, 9 * OUTER_PANEL, OUTER_PANEL}},
	                                          {{1, 4, 3}, {0, 18 * OUTER_PANEL, 2 * OUTER_PANEL}},
	                                          {{3, 0, 6}, {72 * OUTER_PANEL, 9 * OUTER_PANEL, OUTER_PANEL}}};
	static float x[2 * PIXELS * OUTER_PANEL + 20 * OUTER_PANEL];
	bool ok = true;
	draw(x, 2 * PIXELS * OUTER_PANEL, 1);
	for (size_t i = 0; i < 2 * sizeof spans / sizeof *spans && ok; i++) {
		const struct outer_span *s = &spans[i / 2];
		const float *a = x + OUTER_ROWS, *b = x + 11 * OUTER_PANEL;
		int columns = i % 2 ? OUTER_PANEL : OUTER_COLUMNS;
		float fast[OUTER_ROWS * OUTER_COLUMNS] = {0}, plain[OUTER_ROWS * OUTER_COLUMNS] = {0};
		outer(a, b, PIXELS * OUTER_PANEL, columns, s, fast);
		outer_plain(a, b, PIXELS * OUTER_PANEL, columns, s, plain);
		ok = same(fast, plain, sizeof fast);
		for (int l = 0; l < OUTER_ROWS * OUTER_COLUMNS; l++) {
			int r = l / OUTER_COLUMNS, c = l % OUTER_COLUMNS;
			double sum = c < columns ? outer_sum(a, b, PIXELS * OUTER_PANEL, s, r, c) : 0;
			ok = ok && fabs(sum - (double)fast[l]) <= 1e-4;
		}
	}
	return ok;
}

static bool panels_are_filled(void)
{
	enum { CHANNELS = 21, LD = 90 };
	static float x[CHANNELS * LD], to[2 * LD * OUTER_PANEL];
	bool ok = outer_panels(CHANNELS) == 2 && outer_panels(2 * OUTER_PANEL) == 2;
	draw(x, CHANNELS * LD, 1);
	for (int64_t n = 0; n < 40; n++)
		for (int64_t step = 1; step < 3; step++)
			for (int64_t first = 0; first < CHANNELS; first += OUTER_PANEL) {
				int64_t channels = CHANNELS - first < OUTER_PANEL ? CHANNELS - first : OUTER_PANEL;
				outer_panel(x + first * LD, LD, step, n, channels, to);
				for (int64_t i = 0; i < n * OUTER_PANEL; i++) {
					int64_t c = i % OUTER_PANEL, u = i / OUTER_PANEL;
					float want = c < channels ? x[(first + c) * LD + u * step] : 0;
					ok = ok && same(&want, to + i, sizeof want);
				}
			}
	return ok;
}

static bool folds_agree(void)
{
	enum { TILE = OUTER_ROWS * OUTER_COLUMNS, TILES = 4, LD = 40 };
	static float x[TILES * TILE];
	const float *tile[TILES];
	bool ok = true;
	draw(x, TILES * TILE, 1);
	for (int t = 0; t < TILES; t++)
		tile[t] = x + t * TILE;
	for (int64_t n = 0; n <= TILES; n++)
		for (int64_t columns = 1; columns <= OUTER_COLUMNS; columns += 5) {
			double fast[OUTER_ROWS * LD] = {0}, plain[OUTER_ROWS * LD] = {0}, first[OUTER_ROWS * LD] = {0};
			first[0] = 77;
			lags_fold(tile, n, 7, columns, true, first, LD);
			lags_fold(tile, n, 7, columns, false, fast, LD);
			lags_fold_plain(tile, n, 7, columns, false, plain, LD);
			ok = ok && same(fast, plain, sizeof fast) && same(fast, first, sizeof fast);
			for (int i = 0; i < OUTER_ROWS * LD; i++) {
				double sum = 0;
				for (int64_t t = 0; t < n && i < 7 * LD && i % LD < columns; t++)
					sum += (double)tile[t][i / LD * OUTER_COLUMNS + i % LD];
				ok = ok && fabs(sum - fast[i]) <= 1e-6;
			}
		}
	return ok;
}

/* ---- the rest ---- */

static bool split_numbers_agree(void)
{
	enum { MOST = 140, HALF = MOST / 2 + 1 };
	float in[MOST], out[2][HALF], plain[2][HALF];
	bool ok = true;
	for (int i = 0; i < MOST; i++)
		in[i] = (float)i;
	for (int n = 0; n <= MOST && ok; n++) {
		for (int i = 0; i < HALF; i++)
			out[0][i] = out[1][i] = plain[0][i] = plain[1][i] = -1;
		shifts_split(in, n, out[0], out[1]);
		shifts_split_plain(in, n, plain[0], plain[1]);
		ok = same(out, plain, sizeof out);
		for (int i = 0; i < 2 * HALF; i++)
			ok = ok && out[i % 2][i / 2] == (i < n ? (float)i : -1.0f);
	}
	return ok;
}

static bool weights_agree(void)
{
	enum { MOST = 100 };
	float d[MOST], e[MOST];
	double a[MOST], b[MOST];
	bool ok = true;
	draw(d, MOST, 1);
	draw(e, MOST, 3);
	for (int i = 0; i < MOST; i++) {
		a[i] = (double)e[i] * 1.1;
		b[i] = (double)e[MOST - 1 - i];
	}
	for (int n = 0; n <= MOST && ok; n++) {
		double fast[3], plain[3], sum[3] = {0};
		weigh_squares(d, a, b, n, fast);
		weigh_squares_plain(d, a, b, n, plain);
		weigh_products(d, e, n, fast + 2);
		weigh_products_plain(d, e, n, plain + 2);
		for (int i = 0; i < n; i++) {
			sum[0] += (double)d[i] * (double)d[i] * a[i];
			sum[1] += (double)d[i] * (double)d[i] * b[i];
			sum[2] += (double)d[i] * (double)e[i];
		}
		ok = same(fast, plain, sizeof fast);
		for (int i = 0; i < 3; i++)
			ok = ok && fabs(fast[i] - sum[i]) < 1e-10;
	}
	return ok;
}

static bool extremes_agree(void)
{
	enum { N = 1000 };
	static float x[N];
	bool ok = true;
	draw(x, N, 0.5f);
	for (size_t i = 3; i < N; i += 7)
		x[i] = NAN;
	for (size_t n = 1; n < N && ok; n += 13) {
		float fast[2], plain[2], lo = INFINITY, hi = -INFINITY;
		extremes(n, x, fast);
		extremes_plain(n, x, plain);
		for (size_t i = 0; i < n; i++) {
			lo = fminf(lo, x[i]);
			hi = fmaxf(hi, x[i]);
		}
		ok = fast[0] == lo && fast[1] == hi && plain[0] == lo && plain[1] == hi;
	}
	return ok;
}

static bool quantization_agrees(void)
{
	enum { N = 10007 };
	static float in[N], fast[N], plain[N];
	bool ok = true;
	for (int bw = QUANT_MIN_BW; bw <= QUANT_MAX_BW && ok; bw++) {
		struct quant_grid g = quant_minmax(-1.25f, 0.75f, (struct quant_mode){bw, bw % 2 == 0, false, false});
		draw(in, N, 1.5f);
		in[bw] = NAN;
		quant_fake(g, N, in, fast);
		quant_fake_plain(g, N, in, plain);
		ok = same(fast, plain, sizeof fast);
	}
	return ok;
}

int main(void)
{
	static const struct {
		const char *name;
		bool (*agrees)(void);
	} twins[] = {
		{"gram_small", small_grams_agree}, {"lags_dots", dots_agree},           {"lags_column", columns_agree},
		{"outer", outer_products_agree},   {"lags_fold", folds_agree},          {"shifts_split", split_numbers_agree},
		{"extremes", extremes_agree},      {"quant_fake", quantization_agrees}, {"outer_panel", panels_are_filled},
		{"weigh", weights_agree},         {"lags_classes", classes_agree},
	};
	enum { N = sizeof twins / sizeof *twins };
	int failed = 0;
	srand(1);
	printf("1..%d\n", N);
	for (int i = 0; i < N; i++) {
		bool ok = twins[i].agrees();
		printf("%s %d - %s agrees with its plain twin\n", ok ? "ok" : "not ok", i + 1, twins[i].name);
		failed += !ok;
	}
	return failed ? 1 : 0;
}
