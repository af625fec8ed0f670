#include "core/search/pixels.h"

#include "core/kernels/gemm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, SPAN = 256 };

/* A thread's memory. Rows: changes and the vectors that they change; columns: some pixels. */
struct scratch {
	float *d, *w;    /* [ROWS][k] */
	float *q, *diff; /* [k][SPAN] of one image: what the quantized side sees, and that less the float side's */
	float *e, *r;    /* [ROWS][SPAN] errors of one image, and the vectors' own */
	double *sum;     /* [ROWS][SPAN] of e^2 over the images */
	double *energy;  /* [SPAN] and [SPAN]: sums of x_k^2 over weights and images, of q and of diff */
	double *most;    /* [ROWS] and [ROWS]: largest d_k^2, w_k^2 */
};

struct pixels {
	const struct patches_input *in;
	const struct evidence_ask *ask;
	int64_t k, pixels, images, rows, blocks;
	double rounding, *loss, *tol;
	struct scratch *scratch; /* [threads] */
};

/* Rows of one block of one group. */
struct block {
	int64_t group, first, n, v0, vectors;
};

static double largest_square(const float *v, int64_t n)
{
	float most = 0;
	for (int64_t i = 0; i < n; i++)
		most = fmaxf(most, fabsf(v[i]));
	return (double)most * (double)most;
}

static void fill_rows(const struct pixels *x, const struct block *b, const struct scratch *s)
{
	const struct evidence_ask *ask = x->ask;
	for (int64_t i = 0; i < b->n; i++) {
		ask->change(ask->ctx, b->group * x->rows + b->first + i, s->d + i * x->k);
		s->most[i] = largest_square(s->d + i * x->k, x->k);
	}
	for (int64_t v = 0; v < b->vectors && x->in->x_float; v++) {
		memcpy(s->w + v * x->k, ask->weights(ask->ctx, b->group, b->v0 + v), (size_t)x->k * sizeof(float));
		s->most[ROWS + v] = largest_square(s->w + v * x->k, x->k);
	}
}

static void add_energy(const float *tile, int64_t k, int64_t count, double *energy)
{
	for (int64_t i = 0; i < k; i++)
		for (int64_t p = 0; p < count; p++)
			energy[p] += (double)tile[i * count + p] * (double)tile[i * count + p];
}

/* Vector of a row, among the block's. */
static int64_t vector_of(const struct pixels *x, const struct block *b, int64_t row)
{
	return (b->first + row) / x->ask->changes - b->v0;
}

/* One image's errors at `count` pixels from `first` on. */
static void add_image(const struct pixels *x, const struct block *b, int64_t first, int64_t count, const struct scratch *s)
{
	const struct patches *p = &x->in->patches;
	(void)patches_tile(p, x->in->x, b->group, first, count, 0, x->k, s->q);
	add_energy(s->q, x->k, count, s->energy);
	gemm(false, false, b->n, count, x->k, s->d, x->k, s->q, count, 0, s->e, count);
	if (x->in->x_float) {
		(void)patches_tile(p, x->in->x_float, b->group, first, count, 0, x->k, s->diff);
		for (int64_t i = 0; i < x->k * count; i++)
			s->diff[i] = s->q[i] - s->diff[i];
		add_energy(s->diff, x->k, count, s->energy + SPAN);
		gemm(false, false, b->vectors, count, x->k, s->w, x->k, s->diff, count, 0, s->r, count);
	}
	for (int64_t i = 0; i < b->n; i++) {
		const float *e = s->e + i * count, *r = x->in->x_float ? s->r + vector_of(x, b, i) * count : NULL;
		for (int64_t t = 0; t < count; t++) {
			double error = r ? (double)(e[t] + r[t]) : (double)e[t];
			s->sum[i * SPAN + t] += error * error;
		}
	}
}

/* Pixels first .. first+count-1 of all images. */
static void add_span(const struct pixels *x, const struct block *b, int64_t first, int64_t count, const struct scratch *s)
{
	double scale = x->ask->scale * x->ask->scale;
	memset(s->sum, 0, ROWS * SPAN * sizeof *s->sum);
	memset(s->energy, 0, 2 * SPAN * sizeof *s->energy);
	for (int64_t image = 0; image < x->images; image++)
		add_image(x, b, image * x->pixels + first, count, s);
	for (int64_t i = 0; i < b->n; i++) {
		int64_t at = b->group * x->rows + b->first + i;
		double most_w = x->in->x_float ? s->most[ROWS + vector_of(x, b, i)] : 0;
		for (int64_t t = 0; t < count; t++) {
			double sum = s->sum[i * SPAN + t], size = s->most[i] * s->energy[t] + most_w * s->energy[SPAN + t];
			x->loss[at] += loss_of_batch(LOSS_SQNR, sum * scale, x->images);
			x->tol[at] += loss_tolerance(LOSS_SQNR, sum * scale, x->rounding * (size + sum) * scale, x->images);
		}
	}
}

static void add_block(void *ctx, int tile, int thread)
{
	const struct pixels *x = ctx;
	struct block b = {.group = tile / x->blocks, .first = tile % x->blocks * ROWS};
	b.n = x->rows - b.first < ROWS ? x->rows - b.first : ROWS;
	b.v0 = b.first / x->ask->changes;
	b.vectors = (b.first + b.n - 1) / x->ask->changes - b.v0 + 1;
	fill_rows(x, &b, &x->scratch[thread]);
	for (int64_t first = 0; first < x->pixels; first += SPAN)
		add_span(x, &b, first, x->pixels - first < SPAN ? x->pixels - first : SPAN, &x->scratch[thread]);
}

static bool scratch_init(struct scratch *s, int64_t k)
{
	size_t rows = (size_t)(ROWS * k) * sizeof(float), columns = (size_t)(SPAN * k) * sizeof(float),
	       tile = ROWS * SPAN * sizeof(float);
	*s = (struct scratch){malloc(rows),
	                      malloc(rows),
	                      malloc(columns),
	                      malloc(columns),
	                      malloc(tile),
	                      malloc(tile),
	                      malloc(ROWS * SPAN * sizeof(double)),
	                      malloc(2 * SPAN * sizeof(double)),
	                      malloc(2 * ROWS * sizeof(double))};
	return s->d && s->w && s->q && s->diff && s->e && s->r && s->sum && s->energy && s->most;
}

static void scratch_fini(struct scratch *s)
{
	free(s->d);
	free(s->w);
	free(s->q);
	free(s->diff);
	free(s->e);
	free(s->r);
	free(s->sum);
	free(s->energy);
	free(s->most);
}

int pixels_add(const struct patches_input *in, const struct evidence_ask *ask, double rounding, struct tiles *tiles, double *loss,
               double *tol, struct err *e)
{
	int threads = tiles_threads(tiles);
	struct pixels x = {.in = in,
	                   .ask = ask,
	                   .k = in->patches.fan_in,
	                   .pixels = patches_pixels(&in->patches),
	                   .rows = ask->vectors * ask->changes,
	                   .rounding = rounding,
	                   .loss = loss,
	                   .tol = tol};
	x.images = x.pixels ? in->patches.positions / x.pixels : 0;
	x.blocks = (x.rows + ROWS - 1) / ROWS;
	x.scratch = calloc((size_t)threads, sizeof *x.scratch);
	bool ok = x.scratch != NULL;
	for (int i = 0; ok && i < threads; i++)
		ok = scratch_init(&x.scratch[i], x.k);
	if (ok)
		tiles_run(tiles, (int)(in->patches.groups * x.blocks), add_block, &x);
	else
		err_nomem(e, "a layer's errors");
	for (int i = 0; x.scratch && i < threads; i++)
		scratch_fini(&x.scratch[i]);
	free(x.scratch);
	return ok ? 0 : -1;
}
