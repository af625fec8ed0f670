#include "layer_search.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* ---- the grids to start from ---- */

static int find_ranges(struct layer_search *s, const char *name, struct err *e)
{
	for (int64_t c = 0; c < s->channels; c++) {
		const float *w = s->w + c * s->fan_in;
		float lo = w[0], hi = w[0];
		for (int64_t k = 0; k < s->fan_in; k++) {
			if (!isfinite(w[k]))
				return err_set(e, ERR_NON_FINITE, "the weight %s holds NaN or infinity", name);
			lo = w[k] < lo ? w[k] : lo;
			hi = w[k] > hi ? w[k] : hi;
		}
		s->start[c] = quant_minmax(lo, hi, s->mode);
	}
	return 0;
}

struct layer_search *layer_search_new(const struct onnx_model *m, const struct layer *l, struct quant_mode mode, int candidates,
                                      struct err *e)
{
	struct layer_search *s = calloc(1, sizeof *s);
	if (!s) {
		err_nomem(e, "a layer's search");
		return NULL;
	}
	size_t channels = (size_t)l->channels, fan_in = (size_t)l->fan_in, rows = channels * (size_t)candidates;
	s->layer = l;
	s->channels = l->channels;
	s->fan_in = l->fan_in;
	s->candidates = candidates;
	s->mode = mode;
	s->w = calloc(channels * fan_in, sizeof *s->w);
	s->start = calloc(channels, sizeof *s->start);
	s->loss = calloc(rows, sizeof *s->loss);
	s->tol = calloc(rows, sizeof *s->tol);
	s->grids = calloc(channels, sizeof *s->grids);
	s->chosen = calloc(channels, sizeof *s->chosen);
	s->chosen_loss = calloc(channels, sizeof *s->chosen_loss);
	s->minmax_loss = calloc(channels, sizeof *s->minmax_loss);
	bool ok = s->w && s->start && s->loss && s->tol && s->grids && s->chosen && s->chosen_loss && s->minmax_loss;
	if (!ok)
		err_nomem(e, "a layer's search");
	if (!ok || layer_weights(m, l, s->w, e) || find_ranges(s, onnx_model_value(m, l->weight)->name, e)) {
		layer_search_free(s);
		return NULL;
	}
	return s;
}

void layer_search_free(struct layer_search *s)
{
	if (!s)
		return;
	free(s->w);
	free(s->start);
	free(s->loss);
	free(s->tol);
	free(s->grids);
	free(s->chosen);
	free(s->chosen_loss);
	free(s->minmax_loss);
	free(s);
}

int64_t layer_search_group(const struct layer_search *s, int64_t channel)
{
	return channel / (s->channels / s->layer->groups);
}

/* ---- losses ---- */

/* One group's rows: row r of the group is candidate r % candidates of channel first + r / candidates. */
struct asking {
	struct layer_search *s;
	const struct evidence *v;
	int64_t first_row, rows; /* of s->loss */
	float **d, **scratch;    /* [threads] */
};

static void ask_tile(void *ctx, int tile, int thread)
{
	const struct asking *a = ctx;
	struct layer_search *s = a->s;
	int64_t begin = (int64_t)tile * EVIDENCE_ROWS, left = a->rows - begin;
	int n = left < EVIDENCE_ROWS ? (int)left : EVIDENCE_ROWS;
	for (int i = 0; i < n; i++) {
		int64_t row = a->first_row + begin + i, c = row / s->candidates;
		const float *w = s->w + c * s->fan_in;
		float *d = a->d[thread] + i * s->fan_in;
		struct quant_grid g = quant_candidate(s->start[c], (int)(row % s->candidates), s->candidates, s->mode);
		quant_fake(g, (size_t)s->fan_in, w, d);
		for (int64_t k = 0; k < s->fan_in; k++)
			d[k] -= w[k];
	}
	int64_t at = a->first_row + begin;
	evidence_losses(a->v, a->d[thread], n, a->scratch[thread], s->loss + at, s->tol + at);
}

static bool alloc_scratch(struct asking *a, int threads)
{
	a->d = calloc((size_t)threads, sizeof *a->d);
	a->scratch = calloc((size_t)threads, sizeof *a->scratch);
	bool ok = a->d && a->scratch;
	for (int i = 0; ok && i < threads; i++) {
		a->d[i] = malloc((size_t)(EVIDENCE_ROWS * a->s->fan_in) * sizeof(float));
		a->scratch[i] = malloc((size_t)evidence_scratch(a->v) * sizeof(float));
		ok = a->d[i] && a->scratch[i];
	}
	return ok;
}

static void free_scratch(struct asking *a, int threads)
{
	for (int i = 0; i < threads; i++) {
		if (a->d)
			free(a->d[i]);
		if (a->scratch)
			free(a->scratch[i]);
	}
	free(a->d);
	free(a->scratch);
}

int layer_search_losses(struct layer_search *s, struct evidence *v, struct tiles *tiles, struct err *e)
{
	struct asking a = {.s = s, .v = v};
	int threads = tiles_threads(tiles), rc = -1;
	double scale = s->layer->scale * s->layer->scale;
	a.rows = s->channels / s->layer->groups * s->candidates;
	if (!alloc_scratch(&a, threads)) {
		err_nomem(e, "a layer's search");
		goto out;
	}
	for (int64_t g = 0; g < s->layer->groups; g++) {
		a.first_row = g * a.rows;
		if (evidence_group(v, g, e))
			goto out;
		tiles_run(tiles, (int)((a.rows + EVIDENCE_ROWS - 1) / EVIDENCE_ROWS), ask_tile, &a);
	}
	for (int64_t i = 0; i < s->channels * s->candidates; i++) {
		s->loss[i] *= scale;
		s->tol[i] *= scale;
	}
	rc = 0;
out:
	free_scratch(&a, threads);
	return rc;
}

/* ---- near-ties ---- */

static int first_least(const double *loss, int n)
{
	int best = 0;
	for (int i = 1; i < n; i++)
		if (loss[i] < loss[best])
			best = i;
	return best;
}

static bool same_grid(struct quant_grid a, struct quant_grid b)
{
	return a.delta == b.delta && a.offset == b.offset && a.min == b.min && a.max == b.max;
}

/* Candidates whose order against the best one the rounding errors leave open; out has room for all. Those with the grid of an earlier one
 * (all are, where the weights are smaller than the smallest delta) have its loss too, and lose the tie. */
static int rivals(const struct layer_search *s, int64_t c, int *out)
{
	const double *loss = s->loss + c * s->candidates, *tol = s->tol + c * s->candidates;
	int best = first_least(loss, s->candidates), n = 0;
	struct quant_grid last = {0};
	for (int i = 0; i < s->candidates; i++) {
		if (i != best && loss[i] - tol[i] >= loss[best] + tol[best])
			continue;
		struct quant_grid g = quant_candidate(s->start[c], i, s->candidates, s->mode);
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
	for (int64_t c = 0; c < s->channels; c++) {
		int count = rivals(s, c, open);
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
			(*doubts)[n++] = (struct layer_doubt){c, open[i]};
	}
	free(open);
	return n;
}

void layer_search_change(const struct layer_search *s, int64_t channel, struct quant_grid grid, double *d)
{
	const float *w = s->w + channel * s->fan_in;
	for (int64_t k = 0; k < s->fan_in; k++) {
		float q;
		quant_fake(grid, 1, w + k, &q);
		d[k] = s->layer->scale * ((double)q - (double)w[k]);
	}
}

/* ---- the choice ---- */

void layer_search_choose(struct layer_search *s)
{
	for (int64_t c = 0; c < s->channels; c++) {
		const double *loss = s->loss + c * s->candidates;
		int best = first_least(loss, s->candidates);
		s->chosen[c] = best;
		s->grids[c] = quant_candidate(s->start[c], best, s->candidates, s->mode);
		s->chosen_loss[c] = loss[best];
		s->minmax_loss[c] = loss[s->candidates - 1];
	}
}

int layer_search_apply(const struct layer_search *s, const struct quant_grid *grids, float *constant, struct err *e)
{
	float *rows = malloc((size_t)(s->channels * s->fan_in) * sizeof *rows);
	if (!rows)
		return err_nomem(e, "a layer's weight");
	for (int64_t c = 0; c < s->channels; c++)
		quant_fake(grids[c], (size_t)s->fan_in, s->w + c * s->fan_in, rows + c * s->fan_in);
	layer_weights_back(s->layer, rows, constant);
	free(rows);
	return 0;
}
