#include "core/search/seqmse_run.h"

#include "core/kernels/gram.h"
#include "core/search/evidence.h"
#include "core/search/piece.h"

#include <stdio.h>
#include <stdlib.h>

enum { ENOUGH_POSITIONS = 128 };

/* ---- the piece runs, evidence is gathered ---- */

/* Layers of a stage that see the same vectors and have the same loss. */
struct family {
	struct run *x;
	const struct layer *first;
	struct evidence *evidence;
	size_t *members; /* positions in the stage's list */
	size_t n;
	int64_t positions; /* vectors seen, in all batches */
	struct cost_layer work;
	struct cost cost;
	bool settled;         /* all of them are without evidence */
	struct run_seen seen; /* by the evidence, a batch at a time */
};

struct stage {
	struct run *x;
	const struct plan_stage *plan;
	struct family *families;
	size_t nfamilies;
	int done_before; /* layers, by earlier stages */
};

static const struct layer *layer_at(const struct stage *s, size_t i)
{
	return &s->x->r->layers[s->plan->layers[i]];
}

/* Half of a stage is gathering, of which the part 0..1 is done, and half is its layers. */
static void tell_progress(const struct stage *s, double gathered, const struct layer *l)
{
	double n = (double)s->plan->nlayers, left = n - (double)(s->x->done - s->done_before);
	run_progress(s->x, 0.5 * gathered * left / n, s->plan, run_node_name(s->x, l));
}

static size_t result_index(const struct seqmse_result *r, int layer)
{
	size_t at = 0;
	for (int i = 0; i < layer; i++)
		at += layer_is_searched(r->layers, i);
	return at;
}

static bool is_settled(const struct stage *s, size_t i)
{
	return layer_at(s, i)->settings.search == SEARCH_OFF ||
	       known_layer(s->x, layer_at(s, i), result_index(s->x->r, s->plan->layers[i])) != NULL;
}

/* The evidence's way to the family's input. */
static int look(void *ctx, int64_t batch, struct patches_input *in, struct err *e)
{
	struct family *f = ctx;
	int rc = run_canceled(f->x, e);
	f->seen = (struct run_seen){0};
	if (!rc)
		rc = run_look(f->x, f->first, batch, &f->seen, e);
	*in = f->seen.in;
	return rc;
}

static void looked(void *ctx, int64_t batch)
{
	struct family *f = ctx;
	run_looked(f->x, f->first, batch, &f->seen);
}

static int group_families(struct stage *s, struct err *e)
{
	s->families = calloc(s->plan->nlayers + 1, sizeof *s->families);
	for (size_t i = 0; s->families && i < s->plan->nlayers; i++) {
		size_t f = 0;
		while (f < s->nfamilies && !run_same_evidence(layer_at(s, i), s->families[f].first))
			f++;
		struct family *family = &s->families[f];
		if (f == s->nfamilies) {
			*family = (struct family){.x = s->x,
			                          .first = layer_at(s, i),
			                          .settled = true,
			                          .members = calloc(s->plan->nlayers, sizeof *family->members)};
			s->nfamilies++;
		}
		if (!family->members)
			return err_nomem(e, "the layers of a stage");
		family->members[family->n++] = i;
		family->settled = family->settled && is_settled(s, i);
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

/* What it costs is known from the first batch on, which took so many seconds to read: the others are like it. */
static int start_evidence(const struct stage *s, struct family *f, const struct patches *p, double read, struct err *e)
{
	struct run *x = s->x;
	int64_t batches = calib_batches(x->feed.calib);
	f->work = run_cost_layer(x, f->first, p, batches, p->positions * batches);
	f->work.memory /= (int64_t)s->nfamilies;
	for (size_t i = 0; i < f->n; i++)
		run_cost_add(&f->work, layer_at(s, f->members[i]));
	f->cost = cost_of(x->hooks.rates ? x->hooks.rates : &rates_typical, &f->work, EVIDENCE_AUTO);
	x->r->stats.predicted_gram += f->cost.gather + read * (double)batches;
	x->r->stats.predicted_search += f->cost.ask;
	const struct evidence_setup setup = {.strategy = f->cost.strategy,
	                                     .loss = f->first->settings.loss,
	                                     .by_pixel = layer_by_pixel(f->first),
	                                     .groups = f->first->groups * f->first->blocks,
	                                     .fan_in = f->first->fan_in / f->first->blocks,
	                                     .positions = p->positions * batches,
	                                     .source = {.ctx = f, .batches = batches, .look = look, .looked = looked}};
	f->evidence = evidence_new(&setup, x->tiles, e);
	return f->evidence ? 0 : -1;
}

static int gather(const struct stage *s, struct family *f, int64_t batch, struct err *e)
{
	const struct run *x = s->x;
	struct run_seen seen;
	double start = run_now();
	int rc = run_look(x, f->first, batch, &seen, e);
	double read = run_now() - start;
	for (size_t i = 0; i < f->n && !rc && x->hooks.input; i++)
		x->hooks.input(x->hooks.ctx, onnx_model_value(x->m, layer_at(s, f->members[i])->weight)->name, batch,
		               seen.info.rank, seen.info.shape, seen.in.x, seen.in.x_float);
	if (!rc && !f->evidence)
		rc = start_evidence(s, f, &seen.in.patches, read, e);
	if (!rc)
		rc = evidence_add(f->evidence, &seen.in, e);
	f->positions += seen.in.patches.positions;
	run_looked(x, f->first, batch, &seen);
	return rc ? err_wrap(e, "layer %s", run_node_name(x, f->first)) : 0;
}

/* The pieces of both streams; symfp is the float network's stream alone. */
struct pieces {
	struct piece *quantized, *twins;
};

static int make_pieces(const struct stage *s, struct pieces *p, struct err *e)
{
	struct run *x = s->x;
	const float *const *found = run_symmetry(x) == SYMFP ? NULL : (const float *const *)x->r->replaced;
	const struct plan_part *quantized = &s->plan->quantized, *twins = &s->plan->twins;
	*p = (struct pieces){0};
	if (quantized->nmakes && !(p->quantized = piece_new(&x->feed, quantized, found, e)))
		return -1;
	if (twins->nmakes && !(p->twins = piece_new(&x->feed, twins, NULL, e)))
		return -1;
	x->r->stats.pieces += (p->quantized != NULL) + (p->twins != NULL);
	return 0;
}

static int run_pieces(const struct stage *s, const struct pieces *p, int64_t batch, struct err *e)
{
	if (p->quantized && piece_run(p->quantized, batch, e))
		return -1;
	if (p->twins && piece_run(p->twins, batch, e))
		return -1;
	for (size_t i = 0; i < s->plan->nspends; i++)
		activations_drop_batch(s->x->feed.acts, s->plan->spends[i], batch);
	return 0;
}

static int run_batches(struct stage *s, struct err *e)
{
	struct run *x = s->x;
	struct seqmse_stats *stats = &x->r->stats;
	struct pieces pieces;
	int64_t batches = calib_batches(x->feed.calib);
	double t = run_now();
	int rc = make_pieces(s, &pieces, e);
	stats->seconds_graph += run_now() - t;
	stats->predicted_graph += run_now() - t;
	for (int64_t b = 0; b < batches && !rc; b++) {
		rc = run_canceled(x, e);
		t = run_now();
		if (!rc)
			rc = run_pieces(s, &pieces, b, e);
		stats->seconds_graph += run_now() - t;
		stats->predicted_graph += b == 0 ? (run_now() - t) * (double)batches : 0;
		t = run_now();
		for (size_t f = 0; f < s->nfamilies && !rc; f++)
			rc = s->families[f].settled ? 0 : gather(s, &s->families[f], b, e);
		stats->seconds_gram += run_now() - t;
		tell_progress(s, (double)(b + 1) / (double)batches, layer_at(s, 0));
	}
	piece_free(pieces.quantized);
	piece_free(pieces.twins);
	return rc;
}

/* ---- the layers are searched ---- */

struct seqmse_layer_result *run_result(const struct run *x, size_t at, const struct layer_search *s, const char *strategy)
{
	const struct layer *l = s->layer;
	x->r->searched[at] = (struct seqmse_layer_result){.index = (int)at,
	                                                  .node = run_node_name(x, l),
	                                                  .op_type = layer_op_name(l->op),
	                                                  .weight = onnx_model_value(x->m, l->weight)->name,
	                                                  .channels = (int)l->channels,
	                                                  .channel_axis = l->weight_by_rows ? 0 : 1,
	                                                  .rank = l->shape.rank,
	                                                  .fan_in = l->fan_in,
	                                                  .mode = s->settings.mode,
	                                                  .granularity = s->settings.granularity,
	                                                  .block_size = s->settings.block_size,
	                                                  .candidates = s->candidates,
	                                                  .ngrids = (int)s->ngrids,
	                                                  .grids = s->grids,
	                                                  .chosen = s->chosen,
	                                                  .loss_fn = s->settings.loss,
	                                                  .loss = s->chosen_loss,
	                                                  .minmax_loss = s->minmax_loss,
	                                                  .curve = s->curve,
	                                                  .strategy = strategy,
	                                                  .loaded = l->loaded};
	return &x->r->searched[at];
}

int run_replace_weight(struct run *x, const struct layer_search *s, const struct quant_grid *grids, struct err *e)
{
	float *w = malloc((size_t)s->layer->shape.count * sizeof *w);
	if (!w)
		return err_nomem(e, "a layer's weight");
	x->r->replaced[s->layer->weight] = w;
	return layer_search_apply(s, grids, w, e);
}

static void warn(const struct run *x, const struct layer *l, const char *code, const char *detail)
{
	if (x->hooks.warning)
		x->hooks.warning(x->hooks.ctx, code, run_node_name(x, l), detail);
}

/* A loss is a sum of as many squares as there are positions, and wrong by about sqrt(2 / positions) of itself for other data of the same kind;
 * unless the vectors tell all that there is to tell about the weights' errors, because they are as many as those have dimensions. */
static void warn_few_samples(const struct run *x, const struct layer *l, int64_t positions)
{
	char detail[160];
	int64_t len = l->fan_in / l->blocks;
	if (positions >= ENOUGH_POSITIONS || positions >= len)
		return;
	(void)snprintf(detail, sizeof detail, "its %lld input vectors are few to judge grids of %lld weights by; give more samples",
	               (long long)positions, (long long)len);
	warn(x, l, "few-samples-per-channel", detail);
}

static void warn_dead(const struct run *x, const struct layer_search *s)
{
	char detail[160];
	if (s->dead == 0)
		return;
	(void)snprintf(detail, sizeof detail, "%lld of %lld %s have an input that is always 0 in these data; see dead_channels",
	               (long long)s->dead, (long long)s->units, s->settings.block_size ? "blocks" : "channels");
	warn(x, s->layer, "dead-channels", detail);
}

/* Whether all the layer's grids are taken back. */
static int guard(const struct run *x, struct layer_search *s, const struct family *f, bool *fell_back, struct err *e)
{
	char detail[200];
	double chosen, full;
	if (s->settings.guard == GUARD_OFF)
		return 0;
	if (layer_search_compare(s, f->evidence, &chosen, &full, e))
		return -1;
	if (chosen <= full)
		return 0;
	*fell_back = s->settings.guard == GUARD_FALLBACK;
	(void)snprintf(detail, sizeof detail, "the chosen grids lose %.6g, full ranges %.6g%s", chosen, full,
	               *fell_back ? ": it gets these" : "");
	warn(x, s->layer, "worse-than-full-range", detail);
	if (*fell_back)
		layer_search_fall_back(s);
	return 0;
}

static int decide(const struct run *x, struct layer_search *s, const struct family *f, int *rechecked, bool *fell_back,
                  double *signal, struct err *e)
{
	struct seqmse_stats *stats = &x->r->stats;
	double start = run_now();
	if (layer_search_losses(s, f->evidence, e))
		return -1;
	if (s->settings.loss == LOSS_MSE && plan_twin(&x->plan, s->layer->x) < 0 && layer_search_signal(s, f->evidence, signal, e))
		return -1;
	double searched = run_now();
	if (settle_doubts(x, s, rechecked, e))
		return -1;
	stats->seconds_search += searched - start;
	stats->seconds_recheck += run_now() - searched;
	layer_search_choose(s);
	warn_few_samples(x, s->layer, f->positions);
	warn_dead(x, s);
	return guard(x, s, f, fell_back, e);
}

static int search_layer(struct run *x, int layer, const struct family *f, struct err *e)
{
	const struct layer *l = &x->r->layers[layer];
	size_t at = result_index(x->r, layer);
	double t = run_now(), signal = 0;
	int rechecked = 0;
	bool off = l->settings.search == SEARCH_OFF, fell_back = false;
	const struct seqmse_layer_result *known = known_layer(x, l, at);
	if (known)
		return known_apply(x, l, at, known, e);
	struct layer_search *s = layer_search_new(x->m, l, e);
	if (!s)
		return -1;
	x->r->searches[at] = s;
	if (off)
		layer_search_choose_full(s);
	else if (decide(x, s, f, &rechecked, &fell_back, &signal, e))
		return err_wrap(e, "layer %s", run_node_name(x, l));
	const struct encoding *want = settle_expected(x, s);
	const struct quant_grid *live = s->grids;
	if (want && !off && settle_compare(x, s, want, &live, e))
		return -1;
	if (run_replace_weight(x, s, live, e))
		return -1;
	layer_search_slim(s);
	struct seqmse_layer_result *r = run_result(x, at, s, off ? "none" : evidence_strategy_name(f->evidence));
	r->rechecked = rechecked;
	r->fell_back = fell_back;
	r->signal = signal;
	r->seconds = run_now() - t;
	r->predicted = off ? 0 : f->cost.ask * (double)(l->channels * l->blocks) / (double)f->work.vectors;
	x->done++;
	if (x->hooks.layer)
		x->hooks.layer(x->hooks.ctx, r);
	return 0;
}

static int search_family(struct stage *s, struct family *f, struct err *e)
{
	double t = run_now();
	if (!f->settled && evidence_finish(f->evidence, e))
		return err_wrap(e, "layer %s", run_node_name(s->x, layer_at(s, f->members[0])));
	s->x->r->stats.seconds_gram += run_now() - t;
	for (size_t i = 0; i < f->n; i++) {
		const struct layer *l = layer_at(s, f->members[i]);
		tell_progress(s, 1, l);
		if (run_canceled(s->x, e) || search_layer(s->x, s->plan->layers[f->members[i]], f, e))
			return -1;
	}
	return 0;
}

int stage_run(struct run *x, const struct plan_stage *plan, struct err *e)
{
	struct stage s = {.x = x, .plan = plan, .done_before = x->done};
	int rc = group_families(&s, e);
	if (!rc)
		rc = run_batches(&s, e);
	for (size_t f = 0; f < s.nfamilies && !rc; f++)
		rc = search_family(&s, &s.families[f], e);
	stage_fini(&s);
	return rc;
}
