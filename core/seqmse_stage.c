#include "seqmse_run.h"

#include "evidence.h"
#include "piece.h"

#include <stdlib.h>

/* ---- the piece runs, evidence is gathered ---- */

/* Layers of a stage that see the same vectors. */
struct family {
	struct evidence *evidence;
	size_t *members; /* positions in the stage's list */
	size_t n;
};

struct stage {
	struct run *x;
	const struct plan_stage *plan;
	struct family *families;
	size_t nfamilies;
};

static const struct layer *layer_at(const struct stage *s, size_t i)
{
	return &s->x->r->layers[s->plan->layers[i]];
}

static int group_families(struct stage *s, struct err *e)
{
	s->families = calloc(s->plan->nlayers + 1, sizeof *s->families);
	for (size_t i = 0; s->families && i < s->plan->nlayers; i++) {
		size_t f = 0;
		while (f < s->nfamilies && !patches_same_layer(layer_at(s, i), layer_at(s, s->families[f].members[0])))
			f++;
		struct family *family = &s->families[f];
		if (f == s->nfamilies) {
			family->members = calloc(s->plan->nlayers, sizeof *family->members);
			s->nfamilies++;
		}
		if (!family->members)
			return err_nomem(e, "the layers of a stage");
		family->members[family->n++] = i;
	}
	return s->families ? 0 : err_nomem(e, "the layers of a stage");
}

static void stage_fini(struct stage *s)
{
	for (size_t f = 0; f < s->nfamilies; f++) {
		evidence_free(s->families[f].evidence);
		free(s->families[f].members);
	}
	free(s->families);
}

static int start_evidence(const struct stage *s, struct family *f, int64_t positions_of_batch, struct err *e)
{
	const struct calib *c = s->x->feed.calib;
	const struct layer *l = layer_at(s, f->members[0]);
	int64_t rows = 0;
	for (size_t i = 0; i < f->n; i++)
		rows += layer_at(s, f->members[i])->channels * s->x->params->num_candidates;
	f->evidence = evidence_new(EVIDENCE_AUTO, l->groups, l->fan_in, positions_of_batch * calib_batches(c), rows, s->x->tiles, e);
	return f->evidence ? 0 : -1;
}

static int gather(const struct stage *s, struct family *f, int64_t batch, struct err *e)
{
	const struct run *x = s->x;
	const struct layer *l = layer_at(s, f->members[0]);
	struct run_seen seen;
	int rc = run_look(x, l, batch, &seen, e);
	for (size_t i = 0; i < f->n && !rc && x->hooks.input; i++)
		x->hooks.input(x->hooks.ctx, onnx_model_value(x->m, layer_at(s, f->members[i])->weight)->name, batch, seen.info.rank,
		               seen.info.shape, seen.x);
	if (!rc && !f->evidence)
		rc = start_evidence(s, f, seen.patches.positions, e);
	if (!rc)
		rc = evidence_add(f->evidence, &seen.patches, seen.x, e);
	run_looked(x, l, batch, &seen);
	return rc;
}

static int run_batches(struct stage *s, struct err *e)
{
	struct run *x = s->x;
	struct seqmse_stats *stats = &x->r->stats;
	struct piece *piece = NULL;
	int64_t batches = calib_batches(x->feed.calib);
	int rc = 0;
	double t = run_now();
	if (s->plan->nmakes) {
		piece = piece_new(&x->feed, s->plan, (const float *const *)x->r->replaced, e);
		if (!piece)
			return -1;
		stats->pieces++;
	}
	stats->seconds_graph += run_now() - t;
	for (int64_t b = 0; b < batches && !rc; b++) {
		rc = run_canceled(x, e);
		t = run_now();
		if (!rc && piece)
			rc = piece_run(piece, b, e);
		stats->seconds_graph += run_now() - t;
		t = run_now();
		for (size_t f = 0; f < s->nfamilies && !rc; f++)
			rc = gather(s, &s->families[f], b, e);
		stats->seconds_gram += run_now() - t;
		run_progress(x, 0.5 * (double)(b + 1) / (double)batches, s->plan, run_node_name(x, layer_at(s, 0)));
	}
	piece_free(piece);
	return rc;
}

/* ---- the layers are searched ---- */

static size_t result_index(const struct seqmse_result *r, int layer)
{
	size_t at = 0;
	for (int i = 0; i < layer; i++)
		at += layer_is_searched(r->layers, i);
	return at;
}

static void fill_result(const struct run *x, size_t at, const struct layer_search *s, const struct evidence *v, int rechecked,
                        double seconds)
{
	const struct layer *l = s->layer;
	x->r->searched[at] = (struct seqmse_layer_result){
		.index = (int)at, .node = run_node_name(x, l), .op_type = layer_op_name(l->op), .weight = onnx_model_value(x->m, l->weight)->name,
		.channels = (int)s->channels, .fan_in = s->fan_in, .grids = s->grids, .chosen = s->chosen, .loss = s->chosen_loss,
		.minmax_loss = s->minmax_loss, .strategy = evidence_strategy_name(v), .rechecked = rechecked, .seconds = seconds};
}

/* The layer's weight for everything that runs after it. */
static int replace_weight(struct run *x, const struct layer_search *s, const struct quant_grid *grids, struct err *e)
{
	float *w = malloc((size_t)s->layer->shape.count * sizeof *w);
	if (!w)
		return err_nomem(e, "a layer's weight");
	x->r->replaced[s->layer->weight] = w;
	return layer_search_apply(s, grids, w, e);
}

/* Frees what only the search needed; the result keeps the grids and the losses. */
static void slim(struct layer_search *s)
{
	free(s->w);
	free(s->loss);
	free(s->tol);
	s->w = NULL;
	s->loss = s->tol = NULL;
}

static int search_layer(struct run *x, int layer, struct evidence *v, struct err *e)
{
	const struct layer *l = &x->r->layers[layer];
	struct seqmse_stats *stats = &x->r->stats;
	size_t at = result_index(x->r, layer);
	double t = run_now(), t2;
	int rechecked;
	struct layer_search *s = layer_search_new(x->m, l, run_mode(x), (int)x->params->num_candidates, e);
	if (!s)
		return -1;
	x->r->searches[at] = s;
	if (layer_search_losses(s, v, x->tiles, e))
		return -1;
	t2 = run_now();
	if (settle_doubts(x, s, &rechecked, e))
		return -1;
	stats->seconds_recheck += run_now() - t2;
	layer_search_choose(s);
	const struct encoding *want;
	if (settle_expected(x, s, &want, e) || (want && settle_compare(x, s, want, e)) || replace_weight(x, s, want ? want->grids : s->grids, e))
		return -1;
	slim(s);
	fill_result(x, at, s, v, rechecked, run_now() - t);
	stats->seconds_search += t2 - t;
	x->done++;
	if (x->hooks.layer)
		x->hooks.layer(x->hooks.ctx, &x->r->searched[at]);
	return 0;
}

static int search_family(struct stage *s, struct family *f, struct err *e)
{
	double t = run_now();
	if (evidence_finish(f->evidence, e))
		return err_wrap(e, "layer %s", run_node_name(s->x, layer_at(s, f->members[0])));
	s->x->r->stats.seconds_gram += run_now() - t;
	for (size_t i = 0; i < f->n; i++) {
		const struct layer *l = layer_at(s, f->members[i]);
		run_progress(s->x, 0, s->plan, run_node_name(s->x, l));
		if (run_canceled(s->x, e) || search_layer(s->x, s->plan->layers[f->members[i]], f->evidence, e))
			return -1;
	}
	return 0;
}

int stage_run(struct run *x, const struct plan_stage *plan, struct err *e)
{
	struct stage s = {.x = x, .plan = plan};
	int rc = group_families(&s, e);
	if (!rc)
		rc = run_batches(&s, e);
	for (size_t f = 0; f < s.nfamilies && !rc; f++)
		rc = search_family(&s, &s.families[f], e);
	stage_fini(&s);
	return rc;
}
