#include "core/search/seqmse_run.h"

#include <stdlib.h>
#include <string.h>

static bool fits(const struct run *x, const struct layer *l, const struct seqmse_layer_result *known)
{
	if (strcmp(known->weight, onnx_model_value(x->m, l->weight)->name) != 0 || known->channels != l->channels ||
	    known->fan_in != l->fan_in || known->candidates != l->settings.num_candidates ||
	    known->granularity != l->settings.granularity || known->ngrids != layer_grids(l))
		return false;
	for (int c = 0; c < known->ngrids; c++)
		if (known->chosen[c] < 0 || known->chosen[c] >= l->settings.num_candidates)
			return false;
	return true;
}

const struct seqmse_layer_result *known_layer(const struct run *x, const struct layer *l, size_t at)
{
	const struct seqmse_layer_result *known = x->hooks.known ? x->hooks.known(x->hooks.ctx, (int)at) : NULL;
	return known && fits(x, l, known) ? known : NULL;
}

int known_apply(struct run *x, const struct layer *l, size_t at, const struct seqmse_layer_result *known, struct err *e)
{
	struct layer_search *s = layer_search_new(x->m, l, e);
	if (!s)
		return -1;
	x->r->searches[at] = s;
	size_t n = (size_t)s->ngrids;
	memcpy(s->grids, known->grids, n * sizeof *s->grids);
	memcpy(s->chosen, known->chosen, n * sizeof *s->chosen);
	memcpy(s->chosen_loss, known->loss, n * sizeof *s->chosen_loss);
	memcpy(s->minmax_loss, known->minmax_loss, n * sizeof *s->minmax_loss);
	if (known->curve) {
		memcpy(s->curve, known->curve, (size_t)s->candidates * sizeof *s->curve);
	} else {
		free(s->curve);
		s->curve = NULL;
	}
	if (run_replace_weight(x, s, s->grids, e))
		return -1;
	layer_search_slim(s);
	struct seqmse_layer_result *r = run_result(x, at, s, known->strategy);
	r->fell_back = known->fell_back;
	r->rechecked = known->rechecked;
	r->signal = known->signal;
	r->seconds = known->seconds;
	r->predicted = known->predicted;
	x->done++;
	return 0;
}
