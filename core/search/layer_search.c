#include "core/search/layer_search.h"

#include "core/encodings/encodings.h"
#include "core/grid/lpbq.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- the grids to start from ---- */

static int range_of(const float *w, int64_t n, float *lo, float *hi)
{
	for (int64_t k = 0; k < n; k++) {
		if (!isfinite(w[k]))
			return -1;
		*lo = w[k] < *lo ? w[k] : *lo;
		*hi = w[k] > *hi ? w[k] : *hi;
	}
	return 0;
}

static int find_ranges(struct layer_search *s, const char *name, struct err *e)
{
	bool one = s->settings.granularity == QUANT_PER_TENSOR;
	int64_t len = one ? s->units * s->unit_len : s->unit_len;
	const struct encoding *loaded = s->layer->loaded;
	for (int64_t u = 0; u < s->units; u++) {
		const float *w = s->w + u * s->unit_len;
		float lo = w[0], hi = w[0];
		if (one && u > 0)
			s->start[u] = s->start[0];
		else if (range_of(w, len, &lo, &hi))
			return err_set(e, ERR_NON_FINITE, "the weight %s holds NaN or infinity", name);
		else
			s->start[u] = loaded ? loaded->grids[u / (s->units / s->ngrids)] : quant_minmax(lo, hi, s->settings.mode);
	}
	return 0;
}

struct layer_search *layer_search_new(const struct onnx_model *m, const struct layer *l, struct err *e)
{
	struct layer_search *s = calloc(1, sizeof *s);
	if (!s) {
		err_nomem(e, "a layer's search");
		return NULL;
	}
	s->layer = l;
	s->settings = l->settings;
	s->candidates = l->settings.num_candidates;
	s->units = l->channels * l->blocks;
	s->unit_len = l->fan_in / l->blocks;
	s->ngrids = layer_grids(l);
	size_t units = (size_t)s->units, ngrids = (size_t)s->ngrids;
	s->w = calloc(units * (size_t)s->unit_len, sizeof *s->w);
	s->start = calloc(units, sizeof *s->start);
	s->grids = calloc(ngrids, sizeof *s->grids);
	s->chosen = calloc(ngrids, sizeof *s->chosen);
	s->chosen_loss = calloc(ngrids, sizeof *s->chosen_loss);
	s->minmax_loss = calloc(ngrids, sizeof *s->minmax_loss);
	s->curve = calloc((size_t)s->candidates, sizeof *s->curve);
	bool ok = s->w && s->start && s->grids && s->chosen && s->chosen_loss && s->minmax_loss && s->curve;
	if (!ok)
		err_nomem(e, "a layer's search");
	if (!ok || layer_weights(m, l, s->w, e) || find_ranges(s, onnx_model_value(m, l->weight)->name, e)) {
		layer_search_free(s);
		return NULL;
	}
	return s;
}

void layer_search_slim(struct layer_search *s)
{
	free(s->w);
	free(s->start);
	free(s->loss);
	free(s->tol);
	s->w = NULL;
	s->start = NULL;
	s->loss = s->tol = NULL;
}

void layer_search_free(struct layer_search *s)
{
	if (!s)
		return;
	layer_search_slim(s);
	free(s->grids);
	free(s->chosen);
	free(s->chosen_loss);
	free(s->minmax_loss);
	free(s->curve);
	free(s);
}

int64_t layer_search_group(const struct layer_search *s, int64_t unit)
{
	const struct layer *l = s->layer;
	return l->blocks > 1 ? unit % l->blocks : unit / (l->channels / l->groups);
}

const float *layer_search_weights(const struct layer_search *s, int64_t unit)
{
	return s->w + unit * s->unit_len;
}

double layer_search_scale(const struct layer_search *s)
{
	return s->settings.block_size ? 1 : s->layer->scale;
}

struct quant_grid layer_search_candidate(const struct layer_search *s, int64_t unit, int candidate)
{
	return quant_candidate(s->start[unit], candidate, s->candidates, s->settings.mode);
}

/* ---- losses ---- */

/* Some candidates of every unit: change i of a unit is candidate begin + i * step, but the last one at most. */
struct pass {
	struct layer_search *s;
	int changes, step;
	int begin;
	const int *begins;              /* [units] instead of begin, or NULL */
	const struct quant_grid *given; /* [units][changes]: no candidates but these; or NULL */
	int64_t vectors;                /* units of a group */
};

/* Evidence is asked group by group; row (group * vectors + vector) * changes + i is change i of a unit. */
static int64_t unit_of(const struct pass *p, int64_t row)
{
	int64_t at = row / p->changes, blocks = p->s->layer->blocks;
	assert(p->vectors > 0);
	return blocks > 1 ? at % p->vectors * blocks + at / p->vectors : at;
}

static int candidate_of(const struct pass *p, int64_t unit, int64_t row)
{
	int i = (p->begins ? p->begins[unit] : p->begin) + (int)(row % p->changes) * p->step, last = p->s->candidates - 1;
	return i < last ? i : last;
}

static struct quant_grid grid_of(const struct pass *p, int64_t unit, int64_t row)
{
	return p->given ? p->given[unit * p->changes + row % p->changes]
	                : layer_search_candidate(p->s, unit, candidate_of(p, unit, row));
}

static void change(void *ctx, int64_t row, float *d)
{
	const struct pass *p = ctx;
	const struct layer_search *s = p->s;
	int64_t unit = unit_of(p, row);
	const float *w = layer_search_weights(s, unit);
	quant_fake(grid_of(p, unit, row), (size_t)s->unit_len, w, d);
	for (int64_t k = 0; k < s->unit_len; k++)
		d[k] -= w[k];
}

/* All but the full range, which choices are compared with. */
static bool optional(void *ctx, int64_t row)
{
	const struct pass *p = ctx;
	return candidate_of(p, unit_of(p, row), row) < p->s->candidates - 1;
}

static const float *weights(void *ctx, int64_t group, int64_t vector)
{
	const struct pass *p = ctx;
	return layer_search_weights(p->s, unit_of(p, (group * p->vectors + vector) * p->changes));
}

/* The change that takes a unit's weights away. */
static void removal(void *ctx, int64_t row, float *d)
{
	const struct pass *p = ctx;
	memcpy(d, layer_search_weights(p->s, unit_of(p, row)), (size_t)p->s->unit_len * sizeof *d);
}

int layer_search_signal(const struct layer_search *s, struct evidence *v, double *signal, struct err *e)
{
	struct pass p = {.s = (struct layer_search *)(uintptr_t)s,
	                 .changes = 1,
	                 .vectors = s->units / (s->layer->groups * s->layer->blocks)};
	const struct evidence_ask ask = {.vectors = p.vectors,
	                                 .changes = 1,
	                                 .scale = layer_search_scale(s),
	                                 .ctx = &p,
	                                 .change = removal,
	                                 .weights = weights};
	double *each = calloc((size_t)s->units, sizeof *each), *tol = calloc((size_t)s->units, sizeof *tol);
	int rc = each && tol ? evidence_losses(v, &ask, each, tol, e) : err_nomem(e, "a layer's signal");
	*signal = 0;
	for (int64_t u = 0; each && !rc && u < s->units; u++)
		*signal += each[u];
	free(each);
	free(tol);
	return rc;
}

/* Whether each unit takes the candidate that is its best. Those with a grid for the tensor take another's, and what is given is to be known. */
static bool choose_alone(const struct pass *p)
{
	return !p->given && p->s->units == p->s->ngrids;
}

/* Asks for the losses of a pass; of all rows. */
static int ask(struct pass *p, struct evidence *v, double *loss, double *tol, struct err *e)
{
	const struct layer_search *s = p->s;
	p->vectors = s->units / (s->layer->groups * s->layer->blocks);
	const struct evidence_ask ask = {.vectors = p->vectors,
	                                 .changes = p->changes,
	                                 .scale = layer_search_scale(s),
	                                 .ctx = p,
	                                 .change = change,
	                                 .weights = weights,
	                                 .optional = choose_alone(p) ? optional : NULL};
	return evidence_losses(v, &ask, loss, tol, e);
}

/* The losses of a pass's candidates. */
static int run_pass(struct pass p, struct evidence *v, struct err *e)
{
	struct layer_search *s = p.s;
	int64_t rows = s->units * p.changes;
	double *loss = malloc((size_t)rows * sizeof *loss), *tol = malloc((size_t)rows * sizeof *tol);
	int rc = -1;
	if (!loss || !tol) {
		err_nomem(e, "a layer's losses");
		goto out;
	}
	rc = ask(&p, v, loss, tol, e);
	for (int64_t row = 0; row < rows && !rc; row++) {
		int64_t unit = unit_of(&p, row), at = unit * s->candidates + candidate_of(&p, unit, row);
		s->loss[at] = loss[row];
		s->tol[at] = tol[row];
	}
out:
	free(loss);
	free(tol);
	return rc;
}

static int first_least(const double *loss, int n)
{
	int best = 0;
	for (int i = 1; i < n; i++)
		if (loss[i] < loss[best])
			best = i;
	return best;
}

/* All candidates around the best of the coarse ones. */
static int run_fine(struct layer_search *s, int step, struct evidence *v, struct err *e)
{
	int *begins = malloc((size_t)s->units * sizeof *begins);
	if (!begins)
		return err_nomem(e, "a layer's search");
	for (int64_t u = 0; u < s->units; u++) {
		int from = first_least(s->loss + u * s->candidates, s->candidates) - step + 1;
		begins[u] = from > s->settings.first_candidate ? from : s->settings.first_candidate;
	}
	int rc = run_pass((struct pass){.s = s, .changes = 2 * step - 1, .step = 1, .begins = begins}, v, e);
	free(begins);
	return rc;
}

/* One grid for the tensor is the largest of the channels' choices, and all channels must know their loss there: they try the whole grid. */
static bool is_coarse(const struct layer_search *s)
{
	return s->settings.search == SEARCH_COARSE_TO_FINE && s->settings.granularity != QUANT_PER_TENSOR;
}

int layer_search_losses(struct layer_search *s, struct evidence *v, struct err *e)
{
	int first = s->settings.first_candidate, n = s->candidates - first, step = is_coarse(s) ? (int)lround(sqrt(n / 2.0)) : 1;
	int64_t all = s->units * s->candidates;
	step = step < 1 ? 1 : step;
	s->loss = malloc((size_t)all * sizeof *s->loss);
	s->tol = calloc((size_t)all, sizeof *s->tol);
	if (!s->loss || !s->tol)
		return err_nomem(e, "a layer's losses");
	for (int64_t i = 0; i < all; i++)
		s->loss[i] = (double)INFINITY;
	int rc = run_pass((struct pass){.s = s, .changes = (n - 1 + step - 1) / step + 1, .step = step, .begin = first}, v, e);
	return rc || step == 1 ? rc : run_fine(s, step, v, e);
}

/* ---- near-ties ---- */

static bool same_grid(struct quant_grid a, struct quant_grid b)
{
	return a.delta == b.delta && a.offset == b.offset && a.min == b.min && a.max == b.max;
}

/* Candidates whose order against the best one the rounding errors leave open; out has room for all. Those with the grid of an earlier one
 * (all are, where the weights are smaller than the smallest delta) have its loss too, and lose the tie. */
static int rivals(const struct layer_search *s, int64_t u, int *out)
{
	const double *loss = s->loss + u * s->candidates, *tol = s->tol + u * s->candidates;
	int best = first_least(loss, s->candidates), n = 0;
	struct quant_grid last = {0};
	for (int i = 0; i < s->candidates; i++) {
		if (i != best && loss[i] - tol[i] >= loss[best] + tol[best])
			continue;
		struct quant_grid g = layer_search_candidate(s, u, i);
		if (n == 0 || !same_grid(g, last))
			out[n++] = i;
		last = g;
	}
	return n;
}

int64_t layer_search_doubts(const struct layer_search *s, struct layer_doubt **doubts, struct err *e)
{
	int64_t n = 0, cap = 0;
	int *open = malloc((size_t)s->candidates * sizeof *open);
	*doubts = NULL;
	if (!open)
		return err_nomem(e, "near-ties");
	for (int64_t u = 0; u < s->units; u++) {
		int count = rivals(s, u, open);
		if (count < 2)
			continue;
		if (n + count > cap) {
			cap = 2 * cap + count;
			struct layer_doubt *grown = realloc(*doubts, (size_t)cap * sizeof *grown);
			if (!grown) {
				n = err_nomem(e, "near-ties");
				free(*doubts);
				*doubts = NULL;
				break;
			}
			*doubts = grown;
		}
		for (int i = 0; i < count; i++)
			(*doubts)[n++] = (struct layer_doubt){u, open[i]};
	}
	free(open);
	return n;
}

void layer_search_change(const struct layer_search *s, int64_t unit, struct quant_grid grid, double *d)
{
	const float *w = s->w + unit * s->unit_len;
	for (int64_t k = 0; k < s->unit_len; k++) {
		float q;
		quant_fake(grid, 1, w + k, &q);
		d[k] = layer_search_scale(s) * ((double)q - (double)w[k]);
	}
}

/* ---- the choice ---- */

/* Whether different grids were tried, and none makes any difference. (All are one where the weights are 0.) */
static bool is_dead(const struct layer_search *s, int64_t unit)
{
	const double *loss = s->loss + unit * s->candidates;
	int first = s->settings.first_candidate, last = s->candidates - 1;
	for (int i = first; i < last; i++)
		if (loss[i] != loss[last] && isfinite(loss[i]))
			return false;
	return !same_grid(layer_search_candidate(s, unit, first), layer_search_candidate(s, unit, last));
}

/* A unit's first least candidate. Those with the same grid have the same loss, whatever its last digits say. */
static int best_of(const struct layer_search *s, int64_t unit)
{
	const double *loss = s->loss + unit * s->candidates;
	int best = first_least(loss, s->candidates);
	while (best > 0 && isfinite(loss[best - 1]) &&
	       same_grid(layer_search_candidate(s, unit, best - 1), layer_search_candidate(s, unit, best)))
		best--;
	return best;
}

/* Units that have a grid in common all vote for it, but dead ones only where no other does. */
static void choose_shared(struct layer_search *s, int64_t first, int64_t n, int *chosen)
{
	int64_t dead = 0;
	*chosen = s->settings.first_candidate;
	for (int64_t u = first; u < first + n; u++) {
		int best = best_of(s, u);
		*chosen = best > *chosen ? best : *chosen;
		dead += is_dead(s, u);
	}
	if (dead == n && s->settings.dead == DEAD_FULL_RANGE)
		*chosen = s->candidates - 1;
	s->dead += dead;
}

/* Adds up what the units lose with each candidate, grid by grid as their chosen losses are. */
static void sum_curve(struct layer_search *s, int64_t shared)
{
	for (int64_t g = 0; g < s->ngrids; g++)
		for (int i = 0; i < s->candidates; i++) {
			double sum = 0;
			for (int64_t u = g * shared; u < (g + 1) * shared; u++)
				sum += s->loss[u * s->candidates + i];
			s->curve[i] += loss_amount(s->settings.loss, s->settings.loss == LOSS_SQNR ? sum / (double)shared : sum);
		}
}

void layer_search_choose(struct layer_search *s)
{
	int64_t shared = s->units / s->ngrids;
	for (int64_t g = 0; g < s->ngrids; g++)
		choose_shared(s, g * shared, shared, &s->chosen[g]);
	for (int64_t u = 0; u < s->units; u++) {
		int64_t g = u / shared;
		s->grids[g] = layer_search_candidate(s, u, s->chosen[g]);
		s->chosen_loss[g] += s->loss[u * s->candidates + s->chosen[g]];
		s->minmax_loss[g] += s->loss[(u + 1) * s->candidates - 1];
	}
	for (int64_t g = 0; g < s->ngrids && s->settings.loss == LOSS_SQNR; g++) {
		s->chosen_loss[g] /= (double)shared;
		s->minmax_loss[g] /= (double)shared;
	}
	sum_curve(s, shared);
}

/* ---- what is stored of it ---- */

/* What the blocks' scales become when they are stored; grids has one of every `step` for a unit. */
static int compress(const struct layer_search *s, struct quant_grid *grids, int64_t step, struct err *e)
{
	size_t n = (size_t)s->units, channels = (size_t)s->layer->channels;
	double *scale = calloc(n, sizeof *scale), *channel_scale = calloc(channels, sizeof *channel_scale);
	int *factor = malloc(n * sizeof *factor), rc = -1;
	if (!scale || !channel_scale || !factor) {
		err_nomem(e, "a layer's scales");
		goto out;
	}
	for (size_t u = 0; u < n; u++)
		scale[u] = grids[(int64_t)u * step].delta;
	lpbq_compress(channels, n / channels, scale, s->settings.mode.bw, channel_scale, factor);
	for (size_t u = 0; u < n; u++) {
		struct quant_grid *g = &grids[(int64_t)u * step];
		double stored = channel_scale[u / (n / channels)] * factor[u], ratio = stored / g->delta;
		*g = (struct quant_grid){g->min * ratio, g->max * ratio, stored, g->offset};
	}
	rc = 0;
out:
	free(scale);
	free(channel_scale);
	free(factor);
	return rc;
}

int layer_search_stored(const struct layer_search *s, struct quant_grid *grids, struct err *e)
{
	memcpy(grids, s->grids, (size_t)s->ngrids * sizeof *grids);
	return s->settings.granularity == QUANT_LPBQ ? compress(s, grids, 1, e) : 0;
}

/* ---- the guard ---- */

static double sum_of(const double *v, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += v[i];
	return sum;
}

/* Asks what compressed grids lose. */
static int compare_compressed(struct layer_search *s, struct evidence *v, double *chosen, double *full, struct err *e)
{
	size_t n = (size_t)s->units;
	struct quant_grid *given = malloc(2 * n * sizeof *given);
	double *loss = malloc(4 * n * sizeof *loss); /* of 2 n rows, and their tolerances */
	struct pass p = {.s = s, .changes = 2, .given = given};
	int rc = -1;
	if (!given || !loss) {
		err_nomem(e, "a layer's guard");
		goto out;
	}
	for (size_t u = 0; u < n; u++) {
		given[2 * u] = s->grids[u];
		given[2 * u + 1] = layer_search_candidate(s, (int64_t)u, s->candidates - 1);
	}
	if (compress(s, given, 2, e) || compress(s, given + 1, 2, e) || ask(&p, v, loss, loss + 2 * n, e))
		goto out;
	*chosen = *full = 0;
	for (size_t row = 0; row < 2 * n; row++)
		*(row % 2 ? full : chosen) += loss[row];
	rc = 0;
out:
	free(given);
	free(loss);
	return rc;
}

int layer_search_compare(struct layer_search *s, struct evidence *v, double *chosen, double *full, struct err *e)
{
	if (s->settings.granularity == QUANT_LPBQ)
		return compare_compressed(s, v, chosen, full, e);
	*chosen = sum_of(s->chosen_loss, s->ngrids);
	*full = sum_of(s->minmax_loss, s->ngrids);
	return 0;
}

void layer_search_fall_back(struct layer_search *s)
{
	for (int64_t g = 0; g < s->ngrids; g++) {
		s->chosen[g] = s->candidates - 1;
		s->grids[g] = layer_search_candidate(s, g * (s->units / s->ngrids), s->candidates - 1);
		s->chosen_loss[g] = s->minmax_loss[g];
	}
}

void layer_search_choose_full(struct layer_search *s)
{
	for (int64_t g = 0; g < s->ngrids; g++) {
		s->chosen[g] = s->candidates - 1;
		s->grids[g] = s->start[g];
		s->chosen_loss[g] = s->minmax_loss[g] = (double)NAN;
	}
	free(s->curve);
	s->curve = NULL;
}

int layer_search_apply(const struct layer_search *s, const struct quant_grid *grids, float *constant, struct err *e)
{
	int64_t shared = s->units / s->ngrids;
	float *rows = malloc((size_t)(s->units * s->unit_len) * sizeof *rows);
	if (!rows)
		return err_nomem(e, "a layer's weight");
	for (int64_t u = 0; u < s->units; u++)
		quant_fake(grids[u / shared], (size_t)s->unit_len, s->w + u * s->unit_len, rows + u * s->unit_len);
	layer_weights_back(s->layer, rows, constant);
	free(rows);
	return 0;
}
