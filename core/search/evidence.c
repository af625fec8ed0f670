#include "core/search/evidence.h"

#include "core/kernels/sketch.h"
#include "core/search/direct.h"
#include "core/search/drift.h"
#include "core/search/pixels.h"
#include "core/search/pools.h"
#include "core/search/quadratic.h"
#include "core/search/shortlist.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { SIGMA = 8 }; /* how many times the expected rounding error counts as possible; DESIGN.md has the measured ratios */

struct evidence {
	enum evidence_strategy strategy;
	enum loss_fn loss;
	bool by_pixel;
	int64_t groups, k;
	int64_t positions; /* added so far */
	struct evidence_source source;
	struct tiles *tiles;
	struct gram *gram; /* of all batches; NULL where losses are taken batch by batch */
};

/* What a position costs before the first change is multiplied with it, read again and copied into a vector: as much as so many multiply-adds
 * an entry. */
enum { COPY = 16 };

/* Multiply-adds for a loss that takes all batches together (or for one batch, where it is taken batch by batch): the Gram matrix costs its work
 * for each position and k^2 / 2 a change, the errors themselves cost k a change for each position. */
static enum evidence_strategy choose(const struct evidence_setup *s)
{
	double batches = s->loss == LOSS_SQNR && s->source.batches > 1 ? (double)s->source.batches : 1;
	double n = (double)s->positions / batches, K = (double)s->fan_in, r = (double)s->rows / (double)s->groups;
	return s->groups == 1 && n * K * (r + COPY) < n * s->gram_work + r * K * K / 2 ? EVIDENCE_DIRECT : EVIDENCE_GRAM;
}

struct evidence *evidence_new(const struct evidence_setup *s, struct tiles *tiles, struct err *e)
{
	struct evidence *v = calloc(1, sizeof *v);
	if (!v) {
		err_nomem(e, "a layer's inputs");
		return NULL;
	}
	v->by_pixel = s->by_pixel && s->loss == LOSS_SQNR;
	v->strategy = s->loss == LOSS_L1 || v->by_pixel ? EVIDENCE_DIRECT : s->strategy == EVIDENCE_AUTO ? choose(s) : s->strategy;
	v->loss = s->loss;
	v->groups = s->groups;
	v->k = s->fan_in;
	v->source = s->source;
	v->tiles = tiles;
	bool gathers = v->strategy == EVIDENCE_GRAM && v->loss == LOSS_MSE;
	if (gathers && !(v->gram = gram_new(v->groups, v->k, tiles, e))) {
		evidence_free(v);
		return NULL;
	}
	return v;
}

void evidence_free(struct evidence *v)
{
	if (!v)
		return;
	gram_free(v->gram);
	free(v);
}

const char *evidence_strategy_name(const struct evidence *v)
{
	return v->strategy == EVIDENCE_DIRECT ? "direct" : "gram";
}

int evidence_add(struct evidence *v, const struct patches_input *in, struct err *e)
{
	v->positions += in->patches.positions;
	return v->gram ? gram_add(v->gram, &in->patches, in->x, e) : 0;
}

static int not_finite(struct err *e)
{
	return err_set(e, ERR_NON_FINITE, "the layer's input holds NaN or infinity");
}

int evidence_finish(struct evidence *v, struct err *e)
{
	if (!v->gram)
		return 0;
	if (gram_finish(v->gram, e))
		return -1;
	for (int64_t g = 0; g < v->groups; g++)
		for (int64_t k = 0; k < v->k; k++)
			if (!isfinite(gram_group(v->gram, g)[k * v->k + k]))
				return not_finite(e);
	return 0;
}

/* ---- a part of the batches: all of them, or one ---- */

struct part {
	int64_t positions;
	double *sum, *size; /* [rows] of errors, and of the squared terms they are sums of: what rounding is relative to */
};

/* The expected relative error of float sums grows like the square root of their length. What it is relative to is the sum of the squared terms
 * where they are not correlated, and can be the sum of errors itself where they are. */
static double rounding_unit(const struct evidence *v, int64_t positions)
{
	double run = v->strategy == EVIDENCE_GRAM ? sqrt(fmin(GRAM_RUN, (double)positions)) : 0;
	return SIGMA * (double)FLT_EPSILON / 2 * (run / 4 + sqrt((double)v->k));
}

static double rounding(const struct evidence *v, const struct part *p, int64_t row)
{
	double unit = rounding_unit(v, p->positions);
	double size = v->loss == LOSS_L1 ? sqrt((double)p->positions * p->size[row]) : p->size[row];
	return unit * (size + fabs(p->sum[row]));
}

static int add_part(const struct evidence *v, const struct evidence_ask *ask, const struct part *p, double *loss, double *tol,
                    struct err *e)
{
	double scale = v->loss == LOSS_L1 ? fabs(ask->scale) : ask->scale * ask->scale;
	for (int64_t i = 0; i < evidence_first_row(ask, v->groups); i++) {
		double sum = p->sum[i] * scale, round = rounding(v, p, i) * scale;
		if (!isfinite(p->sum[i]) || !isfinite(p->size[i]))
			return not_finite(e);
		loss[i] += loss_of_batch(v->loss, sum, p->positions);
		tol[i] += loss_tolerance(v->loss, sum, round, p->positions);
	}
	return 0;
}

/* ---- all batches together: the gathered matrix ---- */

/* What different inputs do by themselves, over all batches; *differ: whether there are any. */
static int all_drift(const struct evidence *v, const struct evidence_ask *ask, struct drift *drift, bool *differ, struct err *e)
{
	int rc = 0;
	*differ = true;
	for (int64_t b = 0; b < v->source.batches && !rc && *differ; b++) {
		struct patches_input in;
		rc = v->source.look(v->source.ctx, b, &in, e);
		*differ = !rc && in.x_float;
		if (*differ && b == 0)
			rc = drift_init(drift, v->groups, ask->vectors, v->k, e);
		if (*differ && !rc)
			rc = drift_add(drift, &in, ask, v->tiles, e);
		v->source.looked(v->source.ctx, b);
	}
	return rc;
}

static int ask_gathered(const struct evidence *v, const struct evidence_ask *ask, struct part *p, double *loss, double *tol,
                        struct err *e)
{
	struct drift drift = {0};
	bool differ;
	p->positions = v->positions;
	int rc = all_drift(v, ask, &drift, &differ, e);
	if (!rc)
		rc = quadratic_sums(v->gram, v->groups, v->k, differ ? &drift : NULL, ask, v->tiles, p->sum, p->size, e);
	if (!rc)
		rc = add_part(v, ask, p, loss, tol, e);
	drift_fini(&drift);
	return rc;
}

/* ---- batch by batch ---- */

static int gram_of_batch(const struct evidence *v, const struct evidence_ask *ask, const struct patches_input *in, struct part *p,
                         struct err *e)
{
	struct drift drift = {0};
	struct gram *g = gram_new(v->groups, v->k, v->tiles, e);
	int rc = g ? gram_add(g, &in->patches, in->x, e) : -1;
	if (!rc && in->x_float) {
		rc = drift_init(&drift, v->groups, ask->vectors, v->k, e);
		if (!rc)
			rc = drift_add(&drift, in, ask, v->tiles, e);
	}
	if (!rc)
		rc = gram_finish(g, e);
	if (!rc)
		rc = quadratic_sums(g, v->groups, v->k, in->x_float ? &drift : NULL, ask, v->tiles, p->sum, p->size, e);
	drift_fini(&drift);
	gram_free(g);
	return rc;
}

static int ask_batch(const struct evidence *v, const struct evidence_ask *ask, const struct patches_input *in, struct part *p,
                     double *loss, double *tol, struct err *e)
{
	if (v->by_pixel)
		return pixels_add(in, ask, rounding_unit(v, 0), v->tiles, loss, tol, e);
	p->positions = in->patches.positions;
	int rc = v->strategy == EVIDENCE_GRAM ? gram_of_batch(v, ask, in, p, e)
	                                      : direct_sums(in, ask, v->loss, 1, v->tiles, p->sum, p->size, e);
	return rc ? rc : add_part(v, ask, p, loss, tol, e);
}

/* *terms: how many decibels are added up. */
static int ask_batches(const struct evidence *v, const struct evidence_ask *ask, struct part *p, double *loss, double *tol,
                       int64_t *terms, struct err *e)
{
	int rc = 0;
	for (int64_t b = 0; b < v->source.batches && !rc; b++) {
		struct patches_input in;
		rc = v->source.look(v->source.ctx, b, &in, e);
		if (!rc)
			rc = ask_batch(v, ask, &in, p, loss, tol, e);
		*terms += rc ? 0 : v->by_pixel ? patches_pixels(&in.patches) : 1;
		v->source.looked(v->source.ctx, b);
	}
	return rc;
}

static int all_losses(void *ctx, const struct evidence_ask *ask, double *loss, double *tol, struct err *e)
{
	const struct evidence *v = ctx;
	size_t rows = (size_t)evidence_first_row(ask, v->groups);
	struct part p = {.sum = malloc(rows * sizeof(double)), .size = malloc(rows * sizeof(double))};
	int64_t terms = 0;
	int rc = -1;
	for (size_t i = 0; i < rows; i++)
		loss[i] = tol[i] = 0;
	if (!p.sum || !p.size)
		err_nomem(e, "a layer's losses");
	else
		rc = v->gram ? ask_gathered(v, ask, &p, loss, tol, e) : ask_batches(v, ask, &p, loss, tol, &terms, e);
	for (size_t i = 0; i < rows && !rc; i++) {
		loss[i] = loss_of_run(v->loss, loss[i], terms);
		tol[i] = loss_of_run(v->loss, tol[i], terms);
		if (!isfinite(loss[i]))
			rc = not_finite(e);
	}
	free(p.sum);
	free(p.size);
	return rc;
}

/* ---- without those that cannot be the best ---- */

enum { BOUND_ROWS = 128, FEW = 192 /* multiply-adds of a loss, an entry: fewer are not worth a bound */, TURNS = 2 };

/* How much of a bound is believed: rounding errors have a share of 1e-4 in it at most. */
static const double TRUST = 0.99;

/* Of the losses of optional changes, the share that is asked for in spite of bounds, about. */
static const double LEFT = 0.3;

/* Multiply-adds that a loss costs, for each entry of the change. */
static double unit_work(const struct evidence *v)
{
	return v->strategy == EVIDENCE_GRAM ? (double)v->k / 2 : (double)v->positions;
}

int64_t evidence_bound_rank(double work)
{
	int64_t rank = ((int64_t)(work / 12) + 8) / 16 * 16;
	return work < FEW ? 0 : rank > 64 ? 64 : rank;
}

static int64_t rank_for(const struct evidence *v)
{
	return evidence_bound_rank(unit_work(v));
}

/* Whether bounds cost less than they save. Products with the directions are made in every turn: in double out of a Gram matrix, else there and back
 * from the inputs, which are read once more for each turn and for the second part of the losses. */
static bool bounds_pay(const struct evidence *v, const struct evidence_ask *ask)
{
	double rows = (double)(ask->vectors * ask->changes), rank = (double)rank_for(v), n = (double)v->positions, k = (double)v->k;
	double once = v->strategy == EVIDENCE_GRAM ? TURNS * 2 * rank * k : TURNS * 2 * rank * n + (TURNS + 1) * COPY * n;
	return ask->optional && v->groups == 1 && v->loss == LOSS_MSE && unit_work(v) >= FEW &&
	       rows * rank + once < rows * unit_work(v) * (1 - LEFT);
}

/* *differ: whether the two sides see different inputs. Then nothing is added. */
static int add_batches(const struct evidence *v, struct sketch *s, bool *differ, struct err *e)
{
	int rc = 0;
	*differ = false;
	for (int64_t b = 0; b < v->source.batches && !rc && !*differ; b++) {
		struct patches_input in;
		rc = v->source.look(v->source.ctx, b, &in, e);
		*differ = !rc && in.x_float;
		if (!rc && !*differ && !v->gram)
			rc = sketch_add(s, &in, v->tiles, e);
		v->source.looked(v->source.ctx, b);
		if (v->gram)
			break;
	}
	return rc;
}

static int make_sketch(const struct evidence *v, struct sketch *s, bool *differ, struct err *e)
{
	for (int turn = 0; turn < TURNS; turn++) {
		if (turn)
			sketch_turn(s);
		int rc = add_batches(v, s, differ, e);
		if (rc || *differ)
			return rc;
		if (v->gram)
			sketch_of_gram(s, v->gram, v->tiles);
	}
	sketch_finish(s);
	return 0;
}

struct bounding {
	const struct evidence *v;
	const struct evidence_ask *ask;
	struct sketch sketch;
	int64_t rows;
	float **room; /* [threads] */
	double *bound, *guess, *size;
};

static void bound_tile(void *ctx, int tile, int thread)
{
	const struct bounding *b = ctx;
	int64_t first = (int64_t)tile * BOUND_ROWS, n = b->rows - first;
	float *d = b->room[thread], *room = d + BOUND_ROWS * b->v->k;
	double scale = b->ask->scale * b->ask->scale;
	n = n < BOUND_ROWS ? n : BOUND_ROWS;
	for (int64_t i = 0; i < n; i++)
		b->ask->change(b->ask->ctx, first + i, d + i * b->v->k);
	sketch_bounds(&b->sketch, d, n, room, b->bound + first, b->guess + first, b->size + first);
	for (int64_t i = first; i < first + n; i++) {
		struct part p = {b->v->positions, b->guess, b->size};
		b->bound[i] = (TRUST * b->bound[i] - rounding(b->v, &p, i)) * scale;
		b->guess[i] *= scale;
	}
}

/* Of every row; *made: whether there are any. */
static int make_bounds(const struct evidence *v, struct bounding *b, bool *made, struct err *e)
{
	bool differ = false;
	int rc = sketch_init(&b->sketch, v->k, rank_for(v), e);
	if (rc)
		return rc;
	rc = make_sketch(v, &b->sketch, &differ, e);
	*made = !rc && !differ;
	if (*made)
		tiles_run(v->tiles, (int)((b->rows + BOUND_ROWS - 1) / BOUND_ROWS), bound_tile, b);
	sketch_fini(&b->sketch);
	return rc;
}

static int best_losses(struct evidence *v, const struct evidence_ask *ask, double *loss, double *tol, struct err *e)
{
	struct bounding b = {.v = v, .ask = ask, .rows = ask->vectors * ask->changes};
	int threads = tiles_threads(v->tiles), rc = -1;
	size_t rows = (size_t)b.rows, room = (size_t)(BOUND_ROWS * (v->k + rank_for(v)));
	bool made = false;
	b.room = calloc((size_t)threads, sizeof *b.room);
	b.bound = malloc(rows * sizeof *b.bound);
	b.guess = malloc(rows * sizeof *b.guess);
	b.size = malloc(rows * sizeof *b.size);
	bool ok = b.room && b.bound && b.guess && b.size;
	for (int i = 0; ok && i < threads; i++)
		ok = (b.room[i] = malloc(room * sizeof(float))) != NULL;
	if (ok)
		rc = make_bounds(v, &b, &made, e);
	else
		err_nomem(e, "a layer's losses");
	if (!rc)
		rc = made ? shortlist_losses(ask, 1, b.bound, b.guess, all_losses, v, loss, tol, e)
		          : all_losses(v, ask, loss, tol, e);
	for (int i = 0; b.room && i < threads; i++)
		free(b.room[i]);
	free(b.room);
	free(b.bound);
	free(b.guess);
	free(b.size);
	return rc;
}

/* ---- the same out of neighbours' sums ---- */

/* From so many changes of a vector and rows of a group on it pays: two changes are asked for anyway, and the inputs are read three times. */
enum { MANY = 8, MANY_ROWS = 96 };

bool evidence_pools_pay(enum loss_fn loss, bool by_pixel, int64_t vectors, double changes)
{
	return loss != LOSS_MSE && !by_pixel && changes >= MANY && (double)vectors * changes >= MANY_ROWS;
}

static bool pools_pay(const struct evidence *v, const struct evidence_ask *ask)
{
	return ask->optional && v->strategy == EVIDENCE_DIRECT &&
	       evidence_pools_pay(v->loss, v->by_pixel, ask->vectors, (double)ask->changes);
}

static int pooled_losses(struct evidence *v, const struct evidence_ask *ask, double *loss, double *tol, struct err *e)
{
	int64_t rows = evidence_first_row(ask, v->groups);
	double *bound = calloc((size_t)rows, sizeof *bound);
	int rc = bound ? 0 : err_nomem(e, "a layer's losses");
	for (int64_t b = 0; b < v->source.batches && !rc; b++) {
		struct patches_input in;
		rc = v->source.look(v->source.ctx, b, &in, e);
		if (!rc)
			rc = pools_add(&in, ask, v->loss, v->tiles, bound, e);
		v->source.looked(v->source.ctx, b);
	}
	for (int64_t i = 0; i < rows && !rc; i++)
		bound[i] = loss_of_run(v->loss, bound[i], v->source.batches);
	if (!rc)
		rc = shortlist_losses(ask, v->groups, bound, bound, all_losses, v, loss, tol, e);
	free(bound);
	return rc;
}

int evidence_losses(struct evidence *v, const struct evidence_ask *ask, double *loss, double *tol, struct err *e)
{
	if (pools_pay(v, ask))
		return pooled_losses(v, ask, loss, tol, e);
	return bounds_pay(v, ask) ? best_losses(v, ask, loss, tol, e) : all_losses(v, ask, loss, tol, e);
}
