#include "seqmse_run.h"

#include "exact.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASKS_BYTES = 64 << 20 }; /* most memory for the doubles of one round of exact losses */

/* Exact losses of the asks, over all batches. */
static int ask_exactly(const struct run *x, const struct layer *l, struct exact_ask *asks, int64_t n, struct err *e)
{
	for (int64_t b = 0; b < calib_batches(x->feed.calib); b++) {
		struct run_seen seen;
		int rc = run_canceled(x, e);
		if (rc)
			return rc;
		rc = run_look(x, l, b, &seen, e);
		if (!rc)
			rc = exact_add(asks, n, &seen.patches, seen.x, x->tiles, e);
		run_looked(x, l, b, &seen);
		if (rc)
			return rc;
	}
	return 0;
}

/* A grid to be judged exactly, and where its loss goes. */
struct judged {
	int64_t channel;
	struct quant_grid grid;
	double *loss;
};

static int judge(const struct run *x, const struct layer_search *s, const struct judged *list, int64_t n, struct err *e)
{
	int64_t chunk = ASKS_BYTES / (int64_t)sizeof(double) / s->fan_in, rc = 0;
	chunk = chunk < 1 ? 1 : chunk > n ? n : chunk;
	double *d = calloc((size_t)(chunk * s->fan_in) + 1, sizeof *d);
	struct exact_ask *asks = calloc((size_t)chunk + 1, sizeof *asks);
	if (!d || !asks) {
		free(d);
		free(asks);
		return err_nomem(e, "near-ties");
	}
	for (int64_t at = 0; at < n && !rc; at += chunk) {
		int64_t count = n - at < chunk ? n - at : chunk;
		for (int64_t i = 0; i < count; i++) {
			layer_search_change(s, list[at + i].channel, list[at + i].grid, d + i * s->fan_in);
			asks[i] = (struct exact_ask){layer_search_group(s, list[at + i].channel), d + i * s->fan_in, 0};
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
		list[i] = (struct judged){k.channel, quant_candidate(s->start[k.channel], k.candidate, s->candidates, s->mode),
		                          &s->loss[k.channel * s->candidates + k.candidate]};
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

int settle_compare(struct run *x, const struct layer_search *s, const struct encoding *want, struct err *e)
{
	struct seqmse_check *c = x->check;
	int rc = 0;
	for (int64_t i = 0; i < s->channels && !rc; i++) {
		c->channels++;
		if (same_scale(s->grids[i].delta, want->grids[i].delta)) {
			c->equal++;
			continue;
		}
		double mine = 0, theirs = 0;
		struct judged both[2] = {{i, s->grids[i], &mine}, {i, want->grids[i], &theirs}};
		rc = judge(x, s, both, 2, e);
		if (!rc && fabs(theirs - mine) <= 1e-5 * mine) {
			c->near_ties++;
			continue;
		}
		if (!rc && !c->wrong++)
			(void)snprintf(c->first_wrong, sizeof c->first_wrong, "%.120s[%lld]: chose scale %.9g (loss %.9g), expected %.9g (%.9g)",
			               want->name, (long long)i, s->grids[i].delta, mine, want->grids[i].delta, theirs);
	}
	return rc;
}

int settle_expected(const struct run *x, const struct layer_search *s, const struct encoding **want, struct err *e)
{
	const struct encoding *w = *want = find_encoding(x->expected, onnx_model_value(x->m, s->layer->weight)->name);
	if (w && (w->n != (size_t)s->channels || w->mode.bw != s->mode.bw))
		return err_set(e, ERR_BAD_PARAM, "the expected encoding of %s has %zu channels of %d bits, the search %lld of %d", w->name, w->n, w->mode.bw,
		               (long long)s->channels, s->mode.bw);
	return 0;
}
