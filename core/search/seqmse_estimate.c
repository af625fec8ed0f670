#include "core/search/seqmse_run.h"

#include "core/search/piece.h"

#include <math.h>
#include <stdlib.h>

enum { PROBE = 8, PROBE_BATCHES = 2, FLOAT_BYTES = 4, DOUBLE_BYTES = 8 };

/* ---- layers ---- */

bool run_same_evidence(const struct layer *a, const struct layer *b)
{
	return patches_same_layer(a, b) && a->settings.loss == b->settings.loss;
}

struct cost_layer run_cost_layer(const struct run *x, const struct layer *first, const struct patches *p, int64_t batches,
                                 int64_t positions)
{
	return (struct cost_layer){.patches = *p,
	                           .loss = first->settings.loss,
	                           .by_pixel = layer_by_pixel(first),
	                           .two_inputs = plan_twin(&x->plan, first->x) >= 0,
	                           .batches = batches,
	                           .positions = positions,
	                           .alone = true,
	                           .memory = x->evidence,
	                           .threads = params_threads(x->params)};
}

/* How many candidates of a unit are tried. */
static double tried(const struct layer *l)
{
	const struct layer_settings *s = &l->settings;
	double n = s->num_candidates - s->first_candidate;
	bool coarse = s->search == SEARCH_COARSE_TO_FINE && s->granularity != QUANT_PER_TENSOR;
	return s->search == SEARCH_OFF ? 0 : coarse ? fmin(n, 4 * sqrt(n / 2)) : n;
}

void run_cost_add(struct cost_layer *c, const struct layer *l)
{
	double rows = (double)c->vectors * c->candidates + (double)(l->channels * l->blocks) * tried(l);
	c->vectors += l->channels * l->blocks;
	c->candidates = rows / (double)c->vectors;
	c->alone = c->alone && layer_grids(l) == l->channels * l->blocks;
}

/* ---- the walk ---- */

struct probe {
	struct run x;
	const struct rates *rates;
	double scale;       /* samples of the run for each of a probe's batch */
	double batch_scale; /* of a batch of the run */
	int64_t batches, threads;
	int64_t budget;
	int64_t probe_rows, batch_rows; /* samples of a batch, here and in the run */
	int64_t weights;                /* bytes of what the layers before left */
	int64_t working;                /* the most that the runtime took for a batch so far, results apart */
	struct seqmse_estimate *out;
};

/* The evidence and the search of every layer of the stage; *bytes: what the greediest takes. */
static int add_layers(struct probe *p, const struct plan_stage *stage, int64_t *bytes, struct err *e)
{
	struct run *x = &p->x;
	*bytes = 0;
	for (size_t i = 0; i < stage->nlayers; i++) {
		const struct layer *l = &x->r->layers[stage->layers[i]];
		struct run_seen seen;
		bool first = true;
		for (size_t j = 0; j < i && first; j++)
			first = !run_same_evidence(&x->r->layers[stage->layers[j]], l);
		p->weights += l->channels * l->fan_in * FLOAT_BYTES;
		double start = run_now();
		int rc = run_look(x, l, 0, &seen, e);
		double looked = run_now() - start;
		struct cost_layer c;
		if (!rc)
			c = run_cost_layer(x, l, &seen.in.patches, p->batches,
			                   (int64_t)llround((double)seen.in.patches.positions * p->scale));
		run_looked(x, l, 0, &seen);
		if (rc)
			return rc;
		for (size_t j = i; j < stage->nlayers && first; j++)
			if (run_same_evidence(&x->r->layers[stage->layers[j]], l))
				run_cost_add(&c, &x->r->layers[stage->layers[j]]);
		if (!first || c.candidates <= 0)
			continue;
		struct cost cost = cost_of(p->rates, &c, EVIDENCE_AUTO);
		p->out->seconds_gram += cost.gather + looked * p->scale;
		p->out->seconds_search += cost.ask;
		int64_t own = cost.bytes + l->channels * l->fan_in * FLOAT_BYTES +
		              l->channels * l->blocks * l->settings.num_candidates * 4 * DOUBLE_BYTES;
		*bytes = own > *bytes ? own : *bytes;
	}
	return 0;
}

/* What the runtime holds beside results grows with the samples that it is given at once. */
static int run_part(struct probe *p, struct piece *piece, int64_t batch, struct err *e)
{
	struct ort *ort = p->x.feed.ort;
	(void)ort_peak(ort);
	int64_t before = ort_used(ort);
	int rc = piece_run(piece, batch, e);
	int64_t after = ort_used(ort);
	double more = (double)piece_at_once(piece, p->batch_rows) / (double)piece_at_once(piece, p->probe_rows);
	int64_t working = (int64_t)((double)(ort_peak(ort) - (after > before ? after : before)) * more);
	p->working = working > p->working ? working : p->working;
	return rc;
}

static int run_parts(struct probe *p, const struct plan_stage *stage, struct piece *quantized, struct piece *twins, int64_t batch,
                     struct err *e)
{
	if ((quantized && run_part(p, quantized, batch, e)) || (twins && run_part(p, twins, batch, e)))
		return -1;
	for (size_t i = 0; i < stage->nspends; i++)
		activations_drop_batch(p->x.feed.acts, stage->spends[i], batch);
	return 0;
}

/* Runs the stage's pieces on the batches; the last one tells how long each takes. */
static int run_graph(struct probe *p, const struct plan_stage *stage, struct err *e)
{
	struct run *x = &p->x;
	struct piece *quantized = NULL, *twins = NULL;
	int64_t n = calib_batches(x->feed.calib);
	double start = run_now(), first = 0, last = 0;
	int rc = 0;
	if (stage->quantized.nmakes)
		rc = (quantized = piece_new(&x->feed, &stage->quantized, NULL, e)) ? 0 : -1;
	if (!rc && stage->twins.nmakes)
		rc = (twins = piece_new(&x->feed, &stage->twins, NULL, e)) ? 0 : -1;
	double made = run_now() - start;
	for (int64_t b = 0; b < n && !rc; b++) {
		start = run_now();
		rc = run_parts(p, stage, quantized, twins, b, e);
		last = run_now() - start;
		first = b == 0 ? last : first;
	}
	p->out->seconds_graph += made + last * p->scale + (n > 1 ? fmax(first - last, 0) : 0);
	piece_free(quantized);
	piece_free(twins);
	return rc;
}

/* Bytes of activations while a stage runs that finds and leaves so many: a batch of what it makes is there before what it reads is dropped. */
static int64_t held_at_most(const struct probe *p, int64_t before, int64_t after, int64_t made)
{
	int64_t most = (after > before ? after : before) + made / p->batches;
	return most < before + made ? most : before + made;
}

static int add_stage(struct probe *p, const struct plan_stage *stage, struct err *e)
{
	struct run *x = &p->x;
	struct seqmse_estimate *out = p->out;
	int64_t before = activations_held(x->feed.acts), taken = activations_taken(x->feed.acts), evidence;
	double probes = (double)calib_batches(x->feed.calib);
	if (run_graph(p, stage, e) || add_layers(p, stage, &evidence, e))
		return -1;
	int64_t after = activations_held(x->feed.acts);
	int64_t made = (int64_t)((double)(activations_taken(x->feed.acts) - taken) * p->scale / probes);
	int64_t held =
		held_at_most(p, (int64_t)((double)before * p->scale / probes), (int64_t)((double)after * p->scale / probes), made);
	int64_t spare = (int64_t)((double)(ACTIVATIONS_SPARE * activations_largest(x->feed.acts)) * p->batch_scale);
	int64_t room = p->budget > spare ? p->budget - spare : 0, kept = held < room ? held : room;
	int64_t batch =
		((int64_t)((double)before * p->scale / probes) + made) / p->batches; /* what is read and made, in memory or not */
	int64_t bytes = kept + (held - kept < batch ? held - kept : batch) + p->working + evidence + p->weights;
	out->kept_bytes = held > out->kept_bytes ? held : out->kept_bytes;
	int64_t beyond = (int64_t)((double)after * p->scale / probes) - room;
	out->spilled_bytes += beyond < 0 ? 0 : beyond < made ? beyond : made;
	out->bytes = bytes > out->bytes ? bytes : out->bytes;
	for (size_t i = 0; i < stage->ndrops; i++)
		activations_drop(x->feed.acts, stage->drops[i]);
	return 0;
}

int seqmse_probe_batch(const struct onnx_model *model, struct arrays *data, const struct params *params, int64_t *batch_size,
                       struct err *e)
{
	struct model_data d;
	struct err ignored = ERR_INIT;
	int rc = model_data_open(&d, model, data, params->inputs, params->batch_size, params->num_batches, e);
	*batch_size = rc ? 0 : calib_batch_size(d.calib);
	int64_t few = rc ? 0 : calib_samples_used(d.calib) / PROBE_BATCHES;
	model_data_close(&d);
	few = few < 1 ? 1 : few > PROBE ? PROBE : few;
	if (rc || few >= *batch_size)
		return rc;
	if (!model_data_open(&d, model, data, params->inputs, few, PROBE_BATCHES, &ignored)) /* the model may insist on its own */
		*batch_size = few;
	model_data_close(&d);
	return 0;
}

/* What the run would be given, against what the probe gets. */
static int compare_sizes(struct probe *p, const struct onnx_model *model, struct arrays *data, const struct params *params,
                         struct err *e)
{
	struct model_data d;
	int rc = model_data_open(&d, model, data, params->inputs, params->batch_size, params->num_batches, e);
	if (!rc) {
		p->probe_rows = calib_rows(p->x.feed.calib, calib_batches(p->x.feed.calib) - 1);
		double rows = (double)p->probe_rows;
		p->out->samples = calib_samples(d.calib);
		p->out->samples_used = calib_samples_used(d.calib);
		p->out->batches = p->batches = calib_batches(d.calib);
		p->scale = (double)calib_samples_used(d.calib) / rows;
		p->out->batch_rows = p->batch_rows = calib_rows(d.calib, 0);
		p->batch_scale = (double)p->batch_rows / rows;
	}
	model_data_close(&d);
	return rc;
}

int seqmse_estimate(const struct onnx_model *model, struct arrays *data, struct quantsim *qs, const struct params *params,
                    const struct rates *rates, struct seqmse_estimate *out, struct err *e)
{
	struct params few = *params; /* borrows */
	struct probe p = {.x = {.m = model, .qs = qs, .params = &few}, .rates = rates, .out = out};
	struct run *x = &p.x;
	*out = (struct seqmse_estimate){0};
	few.num_batches = PROBE_BATCHES;
	int rc = seqmse_probe_batch(model, data, params, &few.batch_size, e);
	if (!rc && !(x->r = calloc(1, sizeof *x->r)))
		rc = err_nomem(e, "an estimate");
	if (!rc) {
		x->r->m = model;
		rc = run_prepare(x, data, e);
	}
	if (!rc)
		rc = compare_sizes(&p, model, data, params, e);
	p.budget = x->budget;
	for (size_t i = 0; i < x->plan.nstages && !rc; i++)
		rc = add_stage(&p, &x->plan.stages[i], e);
	out->weight_bytes = p.weights;
	out->layers = x->r ? (int)x->r->nsearched : 0;
	run_fini(x);
	seqmse_result_free(x->r);
	return rc;
}
