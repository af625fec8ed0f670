#include "core/search/direct.h"

#include "core/base/numbers.h"
#include "core/kernels/gemm.h"
#include "core/kernels/sweep.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, LANES = 8 };

/* A thread's memory: changes, their errors, the weight vectors that they change, and those vectors' errors of their own. */
struct scratch {
	float *d, *e, *w, *r;
};

struct direct {
	const struct evidence_ask *ask;
	enum loss_fn loss;
	int64_t k;
	double *sum, *size;
	struct scratch *scratch; /* [threads] */
};

/* sum of a_k^2 energy_k */
static double weighted(const float *a, const double *energy, int64_t k)
{
	double acc[LANES] = {0}, sum = 0;
	int64_t i = 0;
	for (; i + LANES <= k; i += LANES)
		for (int l = 0; l < LANES; l++)
			acc[l] += (double)a[i + l] * (double)a[i + l] * energy[i + l];
	for (; i < k; i++)
		sum += (double)a[i] * (double)a[i] * energy[i];
	for (int l = 0; l < LANES; l++)
		sum += acc[l];
	return sum;
}

/* out[n][count] = rows of a times the tile's vectors */
static void products(const float *a, int64_t n, int64_t k, const struct patch_tile *t, float *out)
{
	gemm(false, !t->by_k, n, t->count, k, a, k, t->data, t->ld, 0, out, t->count);
}

/* Rows `first` .. first+n-1 of a group: adds what the different inputs do by themselves. */
static void add_drift(const struct direct *x, const struct sweep_tile *t, int64_t first, int64_t n, const struct scratch *s,
                      double *size)
{
	const struct evidence_ask *ask = x->ask;
	int64_t v0 = first / ask->changes, v1 = (first + n - 1) / ask->changes, count = t->q.count;
	for (int64_t v = v0; v <= v1; v++)
		memcpy(s->w + (v - v0) * x->k, ask->weights(ask->ctx, t->group, v), (size_t)x->k * sizeof(float));
	products(s->w, v1 - v0 + 1, x->k, &t->diff, s->r);
	for (int64_t i = 0; i < n; i++) {
		int64_t v = (first + i) / ask->changes - v0;
		float *e = s->e + i * count;
		const float *r = s->r + v * count;
		for (int64_t p = 0; p < count; p++)
			e[p] += r[p];
		size[i] += weighted(s->w + v * x->k, t->energy + x->k, x->k);
	}
}

static void add_block(void *ctx, const struct sweep_tile *t, int block, int thread)
{
	const struct direct *x = ctx;
	const struct scratch *s = &x->scratch[thread];
	int64_t first = (int64_t)block * ROWS, at = evidence_first_row(x->ask, t->group) + first,
		n = evidence_first_row(x->ask, t->group + 1) - at;
	n = n < ROWS ? n : ROWS;
	for (int64_t i = 0; i < n; i++)
		x->ask->change(x->ask->ctx, at + i, s->d + i * x->k);
	products(s->d, n, x->k, &t->q, s->e);
	for (int64_t i = 0; i < n; i++)
		x->size[at + i] += weighted(s->d + i * x->k, t->energy, x->k);
	if (t->diff.data)
		add_drift(x, t, first, n, s, x->size + at);
	for (int64_t i = 0; i < n; i++) {
		const float *e = s->e + i * t->q.count;
		x->sum[at + i] += x->loss == LOSS_L1 ? sum_sizes(e, t->q.count) : sum_squares(e, t->q.count);
	}
}

static int *count_blocks(const struct evidence_ask *ask, int64_t groups)
{
	int *blocks = malloc((size_t)groups * sizeof *blocks);
	for (int64_t g = 0; blocks && g < groups; g++)
		blocks[g] = (int)((evidence_first_row(ask, g + 1) - evidence_first_row(ask, g) + ROWS - 1) / ROWS);
	return blocks;
}

static bool scratch_init(struct scratch *s, const struct patches_input *in)
{
	int64_t k = in->patches.fan_in;
	size_t changes = (size_t)(ROWS * k), errors = (size_t)(ROWS * sweep_most(k));
	s->d = malloc(changes * sizeof *s->d);
	s->e = malloc(errors * sizeof *s->e);
	s->w = in->x_float ? malloc(changes * sizeof *s->w) : NULL;
	s->r = in->x_float ? malloc(errors * sizeof *s->r) : NULL;
	return s->d && s->e && (!in->x_float || (s->w && s->r));
}

static void scratch_fini(struct scratch *s)
{
	free(s->d);
	free(s->e);
	free(s->w);
	free(s->r);
}

int direct_sums(const struct patches_input *in, const struct evidence_ask *ask, enum loss_fn loss, int64_t pool,
                struct tiles *tiles, double *sum, double *size, struct err *e)
{
	struct direct x = {.ask = ask, .loss = loss, .k = in->patches.fan_in, .sum = sum, .size = size};
	int threads = tiles_threads(tiles), rc = -1, *blocks = count_blocks(ask, in->patches.groups);
	int64_t all = evidence_first_row(ask, in->patches.groups);
	memset(sum, 0, (size_t)all * sizeof *sum);
	memset(size, 0, (size_t)all * sizeof *size);
	x.scratch = calloc((size_t)threads, sizeof *x.scratch);
	bool ok = x.scratch && blocks;
	for (int i = 0; ok && i < threads; i++)
		ok = scratch_init(&x.scratch[i], in);
	if (ok)
		rc = sweep_run(in, &(struct sweep_work){add_block, &x, .blocks_of = blocks, .pool = pool}, tiles, e);
	else
		err_nomem(e, "a layer's errors");
	for (int i = 0; x.scratch && i < threads; i++)
		scratch_fini(&x.scratch[i]);
	free(x.scratch);
	free(blocks);
	return rc;
}
