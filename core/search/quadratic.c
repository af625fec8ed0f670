#include "core/search/quadratic.h"

#include "core/base/numbers.h"
#include "core/kernels/gemm.h"
#include "core/kernels/weigh.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	ROWS = 128,
	IN_DOUBLE = 48 /* up to this fan_in d^T G d is summed in double outright */
};

struct scratch {
	float *d, *products;
};

struct asking {
	struct gram *gram;
	int64_t k, rows;      /* of a group */
	int64_t blocks;       /* of rows */
	int64_t first_group;  /* of the tiles that are being run */
	const float *halved;  /* of that group; NULL up to IN_DOUBLE */
	const double *energy; /* [groups][k] the diagonals */
	const struct drift *drift;
	const struct evidence_ask *ask;
	double *sum, *size;
	struct scratch *scratch; /* [threads] */
};

/* d^T G d from the upper triangle, in double */
static double quadratic(const double *g, const float *d, int64_t k)
{
	double sum = 0;
	for (int64_t i = 0; i < k; i++) {
		double di = (double)d[i], row = 0.5 * g[i * k + i] * di;
		for (int64_t j = i + 1; j < k; j++)
			row += g[i * k + j] * (double)d[j];
		sum += 2 * di * row;
	}
	return sum;
}

/* sum[i] = d_i^T H d_i, block column by block column */
static void halved_quadratics(const float *h, int64_t k, const float *d, int64_t n, float *products, double *sum)
{
	memset(sum, 0, (size_t)n * sizeof *sum);
	for (int64_t j = 0; j < k; j += GRAM_BLOCK) {
		int64_t cols = min64(GRAM_BLOCK, k - j);
		gemm(false, false, n, cols, j + cols, d, k, h + j, k, 0, products, cols);
		for (int64_t i = 0; i < n; i++) {
			double part;
			weigh_products(products + i * cols, d + i * k + j, cols, &part);
			sum[i] += part;
		}
	}
}

/* What rounding errors are relative to, and the rest of the sum. */
static void finish_row(const struct asking *a, int64_t group, int64_t row, const float *d, double *sum, double *size)
{
	const double *energy = a->energy + group * a->k;
	double terms[2], linear = 0;
	weigh_squares(d, energy, energy, a->k, terms);
	*size = terms[0];
	if (!a->drift)
		return;
	int64_t v = group * a->drift->vectors + row / a->ask->changes;
	const double *h = a->drift->h + v * a->k;
	for (int64_t k = 0; k < a->k; k++)
		linear += (double)d[k] * h[k];
	*size += fabs(*sum) + a->drift->square[v] + a->drift->size[v];
	*sum += 2 * linear + a->drift->square[v];
}

static void ask_tile(void *ctx, int tile, int thread)
{
	const struct asking *a = ctx;
	const struct scratch *s = &a->scratch[thread];
	int64_t group = a->first_group + tile / a->blocks, first = tile % a->blocks * ROWS, n = min64(ROWS, a->rows - first);
	int64_t at = group * a->rows + first;
	for (int64_t i = 0; i < n; i++)
		a->ask->change(a->ask->ctx, at + i, s->d + i * a->k);
	if (a->halved)
		halved_quadratics(a->halved, a->k, s->d, n, s->products, a->sum + at);
	for (int64_t i = 0; i < n; i++) {
		const float *d = s->d + i * a->k;
		if (!a->halved)
			a->sum[at + i] = quadratic(gram_group(a->gram, group), d, a->k);
		finish_row(a, group, first + i, d, &a->sum[at + i], &a->size[at + i]);
	}
}

static int run(struct asking *a, int64_t groups, struct tiles *tiles, struct err *e)
{
	if (a->k <= IN_DOUBLE) {
		tiles_run(tiles, (int)(groups * a->blocks), ask_tile, a);
		return 0;
	}
	for (a->first_group = 0; a->first_group < groups; a->first_group++) {
		a->halved = gram_group_halved(a->gram, a->first_group, e);
		if (!a->halved)
			return -1;
		tiles_run(tiles, (int)a->blocks, ask_tile, a);
	}
	return 0;
}

static double *diagonals(const struct gram *g, int64_t groups, int64_t k)
{
	double *out = malloc((size_t)(groups * k) * sizeof *out);
	for (int64_t i = 0; out && i < groups * k; i++)
		out[i] = gram_group(g, i / k)[i % k * k + i % k];
	return out;
}

int quadratic_sums(struct gram *g, int64_t groups, int64_t fan_in, const struct drift *drift, const struct evidence_ask *ask,
                   struct tiles *tiles, double *sum, double *size, struct err *e)
{
	int threads = tiles_threads(tiles), rc = -1;
	double *energy = diagonals(g, groups, fan_in);
	struct asking a = {.gram = g,
	                   .k = fan_in,
	                   .rows = ask->vectors * ask->changes,
	                   .energy = energy,
	                   .drift = drift,
	                   .ask = ask,
	                   .sum = sum,
	                   .size = size};
	a.blocks = (a.rows + ROWS - 1) / ROWS;
	a.scratch = calloc((size_t)threads, sizeof *a.scratch);
	bool ok = a.energy && a.scratch;
	for (int i = 0; ok && i < threads; i++) {
		a.scratch[i] = (struct scratch){malloc((size_t)(ROWS * fan_in) * sizeof(float)),
		                                malloc(ROWS * GRAM_BLOCK * sizeof(float))};
		ok = a.scratch[i].d && a.scratch[i].products;
	}
	if (ok)
		rc = run(&a, groups, tiles, e);
	else
		err_nomem(e, "a layer's losses");
	for (int i = 0; a.scratch && i < threads; i++) {
		free(a.scratch[i].d);
		free(a.scratch[i].products);
	}
	free(a.scratch);
	free(energy);
	return rc;
}
