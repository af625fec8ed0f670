#include "evidence.h"

#include "gemm.h"
#include "gram.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	SIGMA = 8,        /* how many times the expected rounding error counts as possible; DESIGN.md has the measured ratios */
	IN_DOUBLE = 48,   /* up to this fan_in d^T G d is summed in double outright */
	POSITIONS = 1024, /* most vectors of a kept tile */
	LANES = 8
};
#define DIRECT_BYTES ((int64_t)256 << 20) /* the direct strategy never keeps more than this */

/* Vectors that are kept. */
struct kept {
	float *data;
	struct patch_tile tile;
};

struct evidence {
	enum evidence_strategy strategy;
	int64_t groups, k, positions;
	struct tiles *tiles;
	struct gram *gram;
	struct kept *kept;
	size_t nkept;
	double *energy;        /* [k] sum of x_k^2 over the positions of the current group */
	/* the current group */
	const double *g;
	const float *h; /* of gram_group_halved() */
};

/* Multiply-adds: the Gram matrix costs positions * k^2 / 2 to build and k^2 / 2 a candidate, keeping the vectors costs positions * k a candidate. */
static enum evidence_strategy choose(int64_t groups, int64_t k, int64_t positions, int64_t rows)
{
	double n = (double)positions, K = (double)k, r = (double)rows;
	bool fits = n * K * (double)sizeof(float) <= (double)DIRECT_BYTES;
	return groups == 1 && fits && r * n * K < n * K * K / 2 + r * K * K / 2 ? EVIDENCE_DIRECT : EVIDENCE_GRAM;
}

struct evidence *evidence_new(enum evidence_strategy strategy, int64_t groups, int64_t fan_in, int64_t positions, int64_t rows,
                              struct tiles *tiles, struct err *e)
{
	struct evidence *v = calloc(1, sizeof *v);
	if (v)
		v->energy = calloc((size_t)fan_in, sizeof *v->energy);
	if (!v || !v->energy) {
		free(v);
		err_nomem(e, "a layer's inputs");
		return NULL;
	}
	v->strategy = strategy == EVIDENCE_AUTO ? choose(groups, fan_in, positions, rows) : strategy;
	v->groups = groups;
	v->k = fan_in;
	v->tiles = tiles;
	if (v->strategy == EVIDENCE_GRAM && !(v->gram = gram_new(groups, fan_in, tiles, e))) {
		evidence_free(v);
		return NULL;
	}
	return v;
}

void evidence_free(struct evidence *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->nkept; i++)
		free(v->kept[i].data);
	free(v->kept);
	free(v->energy);
	gram_free(v->gram);
	free(v);
}

const char *evidence_strategy_name(const struct evidence *v)
{
	return v->strategy == EVIDENCE_DIRECT ? "direct" : "gram";
}

/* ---- adding ---- */

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int keep_tile(struct evidence *v, const struct patches *p, const float *x, int64_t first, int64_t count, struct err *e)
{
	struct kept *grown = realloc(v->kept, (v->nkept + 1) * sizeof *grown);
	if (!grown)
		return err_nomem(e, "a layer's inputs");
	v->kept = grown;
	struct kept *k = &v->kept[v->nkept];
	k->data = malloc((size_t)(v->k * count) * sizeof(float));
	if (!k->data)
		return err_nomem(e, "a layer's inputs");
	v->nkept++;
	k->tile = patches_tile(p, x, 0, first, count, 0, v->k, k->data);
	if (patches_copies(p))
		return 0;
	int64_t rows = k->tile.by_k ? v->k : count, cols = k->tile.by_k ? count : v->k;
	for (int64_t r = 0; r < rows; r++)
		memcpy(k->data + r * cols, k->tile.data + r * k->tile.ld, (size_t)cols * sizeof(float));
	k->tile.data = k->data;
	k->tile.ld = cols;
	return 0;
}

int evidence_add(struct evidence *v, const struct patches *p, const float *x, struct err *e)
{
	v->positions += p->positions;
	if (v->strategy == EVIDENCE_GRAM)
		return gram_add(v->gram, p, x, e);
	for (int64_t first = 0; first < p->positions; first += POSITIONS)
		if (keep_tile(v, p, x, first, min64(POSITIONS, p->positions - first), e))
			return -1;
	return 0;
}

/* ---- finishing ---- */

static void kept_energy(struct evidence *v)
{
	memset(v->energy, 0, (size_t)v->k * sizeof *v->energy);
	for (size_t i = 0; i < v->nkept; i++) {
		const struct patch_tile *t = &v->kept[i].tile;
		for (int64_t k = 0; k < v->k; k++)
			for (int64_t p = 0; p < t->count; p++) {
				double x = (double)t->data[t->by_k ? k * t->ld + p : p * t->ld + k];
				v->energy[k] += x * x;
			}
	}
}

static void gram_energy(struct evidence *v, int64_t group)
{
	const double *g = gram_group(v->gram, group);
	for (int64_t k = 0; k < v->k; k++)
		v->energy[k] = g[k * v->k + k];
}

static bool is_finite(const double *x, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (!isfinite(x[i]))
			return false;
	return true;
}

int evidence_finish(struct evidence *v, struct err *e)
{
	bool ok = true;
	if (v->strategy == EVIDENCE_DIRECT) {
		kept_energy(v);
		ok = is_finite(v->energy, v->k);
	} else {
		gram_finish(v->gram);
		for (int64_t g = 0; g < v->groups && ok; g++) {
			gram_energy(v, g);
			ok = is_finite(v->energy, v->k);
		}
	}
	return ok ? 0 : err_set(e, ERR_NON_FINITE, "the layer's input holds NaN or infinity");
}

int evidence_group(struct evidence *v, int64_t group, struct err *e)
{
	if (v->strategy == EVIDENCE_DIRECT)
		return 0;
	gram_energy(v, group);
	v->g = gram_group(v->gram, group);
	if (v->k <= IN_DOUBLE)
		return 0;
	v->h = gram_group_halved(v->gram, group, e);
	return v->h ? 0 : -1;
}

/* ---- asking ---- */

int64_t evidence_scratch(const struct evidence *v)
{
	return EVIDENCE_ROWS * (v->strategy == EVIDENCE_DIRECT ? POSITIONS : GRAM_BLOCK);
}

/* sum of a_i * b_i, in double */
static double dot(const float *a, const float *b, int64_t n)
{
	double acc[LANES] = {0}, sum = 0;
	int64_t i = 0;
	for (; i + LANES <= n; i += LANES)
		for (int l = 0; l < LANES; l++)
			acc[l] += (double)a[i + l] * (double)b[i + l];
	for (; i < n; i++)
		sum += (double)a[i] * (double)b[i];
	for (int l = 0; l < LANES; l++)
		sum += acc[l];
	return sum;
}

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

static void gram_losses(const struct evidence *v, const float *d, int n, float *scratch, double *loss)
{
	if (v->k <= IN_DOUBLE) {
		for (int i = 0; i < n; i++)
			loss[i] = quadratic(v->g, d + i * v->k, v->k);
		return;
	}
	memset(loss, 0, (size_t)n * sizeof *loss);
	for (int64_t j = 0; j < v->k; j += GRAM_BLOCK) {
		int64_t cols = min64(GRAM_BLOCK, v->k - j);
		gemm(false, false, n, cols, j + cols, d, v->k, v->h + j, v->k, 0, scratch, cols);
		for (int i = 0; i < n; i++)
			loss[i] += dot(scratch + i * cols, d + i * v->k + j, cols);
	}
}

static void direct_losses(const struct evidence *v, const float *d, int n, float *scratch, double *loss)
{
	memset(loss, 0, (size_t)n * sizeof *loss);
	for (size_t i = 0; i < v->nkept; i++) {
		const struct patch_tile *t = &v->kept[i].tile;
		gemm(false, !t->by_k, n, t->count, v->k, d, v->k, t->data, t->ld, 0, scratch, t->count);
		for (int r = 0; r < n; r++)
			loss[r] += dot(scratch + r * t->count, scratch + r * t->count, t->count);
	}
}

/* The expected relative error of float sums grows like the square root of their length. What it is relative to is the sum of
 * d_k^2 x_k^2 where the inputs are not correlated, and can be the loss itself where they are. */
static void tolerances(const struct evidence *v, const float *d, int n, const double *loss, double *tol)
{
	double run = v->strategy == EVIDENCE_GRAM ? sqrt((double)min64(GRAM_RUN, v->positions)) : 0;
	double unit = SIGMA * (double)FLT_EPSILON / 2 * (run / 4 + sqrt((double)v->k));
	for (int i = 0; i < n; i++) {
		double size = 0;
		for (int64_t k = 0; k < v->k; k++)
			size += (double)d[i * v->k + k] * (double)d[i * v->k + k] * v->energy[k];
		tol[i] = unit * (size + fabs(loss[i]));
	}
}

void evidence_losses(const struct evidence *v, const float *d, int n, float *scratch, double *loss, double *tol)
{
	if (v->strategy == EVIDENCE_DIRECT)
		direct_losses(v, d, n, scratch, loss);
	else
		gram_losses(v, d, n, scratch, loss);
	tolerances(v, d, n, loss, tol);
}
