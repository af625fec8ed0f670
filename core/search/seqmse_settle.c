#include "core/search/seqmse_run.h"

#include "core/search/exact.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASKS_BYTES = 64 << 20 }; /* most memory for the doubles of one round of exact losses */

/* Exact losses of the asks, over all batches. */
static int ask_exactly(const struct run *x, const struct layer *l, struct exact_ask *asks, int64_t n, struct err *e)
{
	bool by_pixel = layer_by_pixel(l);
	int64_t terms = 0;
	for (int64_t b = 0; b < calib_batches(x->feed.calib); b++) {
		struct run_seen seen;
		int rc = run_canceled(x, e);
		if (rc)
			return rc;
		rc = run_look(x, l, b, &seen, e);
		if (!rc)
			rc = by_pixel ? exact_add_by_pixel(asks, n, &seen.in, x->tiles, e)
			              : exact_add(asks, n, l->settings.loss, &seen.in, x->tiles, e);
		terms += by_pixel ? patches_pixels(&seen.in.patches) : 1;
		run_looked(x, l, b, &seen);
		if (rc)
			return rc;
	}
	for (int64_t i = 0; i < n; i++)
		asks[i].loss = loss_of_run(l->settings.loss, asks[i].loss, terms);
	return 0;
}

/* A grid to be judged exactly, and where its loss goes. */
struct judged {
	int64_t unit;
	struct quant_grid grid;
	double *loss;
};

static int judge(const struct run *x, const struct layer_search *s, const struct judged *list, int64_t n, struct err *e)
{
	int64_t chunk = ASKS_BYTES / (int64_t)sizeof(double) / s->unit_len, rc = 0;
	chunk = chunk < 1 ? 1 : chunk > n ? n : chunk;
	double *d = calloc((size_t)(chunk * s->unit_len) + 1, sizeof *d);
	struct exact_ask *asks = calloc((size_t)chunk + 1, sizeof *asks);
	if (!d || !asks) {
		free(d);
		free(asks);
		return err_nomem(e, "near-ties");
	}
	for (int64_t at = 0; at < n && !rc; at += chunk) {
		int64_t count = n - at < chunk ? n - at : chunk;
		for (int64_t i = 0; i < count; i++) {
			layer_search_change(s, list[at + i].unit, list[at + i].grid, d + i * s->unit_len);
			asks[i] = (struct exact_ask){.group = layer_search_group(s, list[at + i].unit),
			                             .d = d + i * s->unit_len,
			                             .w = layer_search_weights(s, list[at + i].unit),
			                             .scale = layer_search_scale(s)};
		}
		rc = ask_exactly(x, s->layer, asks, count, e);
		for (int64_t i = 0; i < count && !rc; i++)
			*list[at + i].loss = asks[i].loss;
	}
	free(d);
	free(asks);
	return (int)rc;
}

int settle_doubts(const struct run *x, struct layer_search *s, int *rechecked, struct err *e)
{
	struct layer_doubt *doubts;
	int64_t n = layer_search_doubts(s, &doubts, e);
	if (n < 0)
		return -1;
	struct judged *list = calloc((size_t)n + 1, sizeof *list);
	if (!list) {
		free(doubts);
		return err_nomem(e, "near-ties");
	}
	for (int64_t i = 0; i < n; i++) {
		struct layer_doubt k = doubts[i];
		list[i] = (struct judged){k.unit, layer_search_candidate(s, k.unit, k.candidate),
		                          &s->loss[k.unit * s->candidates + k.candidate]};
	}
	int rc = judge(x, s, list, n, e);
	*rechecked = (int)n;
	free(list);
	free(doubts);
	return rc;
}

static const struct encoding *find_encoding(const struct encodings *x, const char *name)
{
	for (size_t i = 0; x && i < x->nparams; i++)
		if (strcmp(x->params[i].name, name) == 0)
			return &x->params[i];
	return NULL;
}

static bool same_scale(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b));
}

/* One grid, which is ours as stored, against the expected one. A tensor's only grid is no argmin that losses could judge. */
static int compare_grid(struct run *x, const struct layer_search *s, int64_t i, struct quant_grid ours, const struct encoding *want,
                        struct err *e)
{
	struct seqmse_check *c = x->check;
	double mine = 0, theirs = 0;
	struct judged both[2] = {{i, ours, &mine}, {i, want->grids[i], &theirs}};
	bool judged = s->ngrids == s->units;
	c->channels++;
	if (same_scale(ours.delta, want->grids[i].delta)) {
		c->equal++;
		return 0;
	}
	if (judged && judge(x, s, both, 2, e))
		return -1;
	if (judged && loss_near(s->settings.loss, mine, theirs))
		c->near_ties++;
	else if (!c->wrong++)
		(void)snprintf(c->first_wrong, sizeof c->first_wrong,
		               "%.120s[%lld]: chose scale %.9g (loss %.9g), expected %.9g (%.9g)", want->name, (long long)i,
		               ours.delta, mine, want->grids[i].delta, theirs);
	return 0;
}

int settle_compare(struct run *x, const struct layer_search *s, const struct encoding *want, const struct quant_grid **live,
                   struct err *e)
{
	int64_t equal = x->check->equal;
	struct quant_grid *stored = calloc((size_t)s->ngrids, sizeof *stored);
	if (!stored)
		return err_nomem(e, "a comparison");
	int rc = layer_search_stored(s, stored, e);
	for (int64_t i = 0; i < s->ngrids && !rc; i++)
		rc = compare_grid(x, s, i, stored[i], want, e);
	if (x->check->equal - equal < s->ngrids)
		*live = want->grids;
	free(stored);
	return rc;
}

const struct encoding *settle_expected(const struct run *x, const struct layer_search *s)
{
	return find_encoding(x->expected, onnx_model_value(x->m, s->layer->weight)->name);
}
