#include "core/workflow/quantize.h"

#include "core/base/now.h"
#include "core/onnx/fold_batch_norm.h"
#include "core/onnx/onnx_model.h"
#include "core/run/ort.h"
#include "core/workflow/model_data.h"
#include "core/workflow/quantize_result.h"
#include "core/workflow/quantize_settings.h"

#include <assert.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* How far each phase brings the whole run. */
static const double search_share = 0.8, calibrate_share = 0.1;

/* ---- what the caller hears ---- */

static void on_search_progress(void *ctx, const char *phase, int done, int total, double fraction, const char *current)
{
	const struct quantize *q = ctx;
	if (q->hooks.progress)
		q->hooks.progress(q->hooks.ctx, phase, done, total, fraction * search_share, current);
}

static void on_layer(void *ctx, const struct seqmse_layer_result *layer)
{
	const struct quantize *q = ctx;
	if (q->hooks.layer)
		q->hooks.layer(q->hooks.ctx, layer);
}

static bool on_canceled(void *ctx)
{
	const struct quantize *q = ctx;
	return q->hooks.canceled && q->hooks.canceled(q->hooks.ctx);
}

static int on_spill(void *ctx, struct err *e)
{
	const struct quantize *q = ctx;
	return q->hooks.spill(q->hooks.ctx, e);
}

static const struct seqmse_layer_result *on_known(void *ctx, int index)
{
	const struct quantize *q = ctx;
	return q->hooks.known ? q->hooks.known(q->hooks.ctx, index) : NULL;
}

static void on_warning(void *ctx, const char *code, const char *place, const char *detail)
{
	quantize_warn(ctx, code, place, detail);
}

void quantize_progress(const struct quantize *q, const char *phase, double from, double share, int64_t done, int64_t total)
{
	int layers = (int)seqmse_layers(q->search);
	if (q->hooks.progress)
		q->hooks.progress(q->hooks.ctx, phase, layers, layers, from + share * (double)done / (double)(total ? total : 1),
		                  "");
}

static void on_calibrate_progress(void *ctx, int64_t batch, int64_t batches)
{
	quantize_progress(ctx, "calibrate", search_share, calibrate_share, batch, batches);
}

/* ---- phases ---- */

/* A part of the run that is timed. */
static int timed(struct quantize *q, double *seconds,
                 int (*phase)(struct quantize *q, const struct quantize_inputs *in, struct err *e),
                 const struct quantize_inputs *in, struct err *e)
{
	double began = run_now();
	int rc = on_canceled(q) ? err_set(e, ERR_CANCELED, "canceled") : phase(q, in, e);
	*seconds = run_now() - began;
	return rc;
}

/* ONNX Runtime refuses the graph as a whole. Walking through it layer by layer finds the place, and more to say about it. */
static void explain(const struct quantize *q, const struct quantize_inputs *in, struct err *e)
{
	struct err better = ERR_INIT;
	struct seqmse_result *r = seqmse_run(q->model, in->data, NULL, q->params, NULL, &better);
	if (!r)
		*e = better;
	seqmse_result_free(r);
}

int quantize_load(struct quantize *q, const struct quantize_inputs *in, struct err *e)
{
	struct quantsim_settings settings;
	struct buf config = BUF_INIT;
	if (q->params->fold_batch_norm) {
		q->folded = fold_batch_norms(in->model, &q->folds, e);
		if (!q->folded)
			return -1;
		q->model = q->folded;
	}
	if (seqmse_refuse(q->model, e))
		return -1;
	q->ort = ort_open(params_threads(q->params), e);
	q->types = q->ort ? value_types_new(q->model, q->ort, e) : NULL;
	if (q->ort && !q->types && e->code == ERR_ORT)
		explain(q, in, e);
	if (q->types && !quantize_quantsim_settings(q->params, &config, &settings, e))
		q->qs = quantsim_new(q->model, q->types, &settings, e);
	buf_fini(&config);
	return q->qs ? 0 : -1;
}

static int search(struct quantize *q, const struct quantize_inputs *in, struct err *e)
{
	const struct seqmse_hooks hooks = {.ctx = q,
	                                   .rates = q->hooks.rates,
	                                   .progress = on_search_progress,
	                                   .layer = on_layer,
	                                   .warning = on_warning,
	                                   .canceled = on_canceled,
	                                   .spill = q->hooks.spill ? on_spill : NULL,
	                                   .known = on_known};
	q->search = seqmse_run(q->model, in->data, q->qs, q->params, &hooks, e);
	if (q->search)
		seqmse_result_slim(q->search);
	(void)malloc_trim(0); /* of the search's many buffers nothing stays but what is used */
	return q->search ? 0 : -1;
}

/* What the search decided, as frozen grids of the simulation. */
static int take_over(const struct quantize *q, struct sim *s, struct err *e)
{
	assert(q->qs);
	for (size_t i = 0; i < seqmse_layers(q->search); i++) {
		const struct seqmse_layer_result *l = seqmse_layer(q->search, i);
		int value = onnx_model_find(q->model, l->weight), at = value < 0 ? -1 : q->qs->of_value[value];
		bool decided = l->loaded ||
		               strcmp(l->strategy, "none") != 0; /* what was not searched is calibrated like all other parameters */
		if (at >= 0 && decided && q->qs->quantizers[at].enabled && sim_set_grids(s, at, l->grids, true, e))
			return err_wrap(e, "layer %s", l->node);
	}
	return 0;
}

struct sim *quantize_simulate(struct quantize *q, struct arrays *data, bool searched, const struct calibrate_hooks *hooks,
                              struct err *e)
{
	const struct calibrate_settings settings = quantize_calibrate_settings(q->params);
	struct model_data d;
	struct sim *s = NULL;
	if (!model_data_open(&d, q->model, data, q->params->inputs, q->params->batch_size, q->params->num_batches, e))
		s = sim_new(q->qs, e);
	if (s && ((searched && take_over(q, s, e)) || calibrate(s, q->ort, d.calib, &settings, hooks, e))) {
		sim_free(s);
		s = NULL;
	}
	model_data_close(&d);
	return s;
}

static int calibrate_phase(struct quantize *q, const struct quantize_inputs *in, struct err *e)
{
	const struct calibrate_hooks hooks = {
		.ctx = q, .progress = on_calibrate_progress, .warning = on_warning, .canceled = on_canceled};
	on_calibrate_progress(q, 0, 1);
	q->sim = quantize_simulate(q, in->data, true, &hooks, e);
	return q->sim ? quantize_collect(q, e) : -1;
}

static int evaluate_phase(struct quantize *q, const struct quantize_inputs *in, struct err *e)
{
	struct evaluate_settings settings;
	struct json *tree;
	if (!in->evaluation)
		return 0;
	quantize_progress(q, "evaluate", search_share + calibrate_share, 0.05, 0, 1);
	if (quantize_evaluate_settings(q->params, &tree, &settings, e))
		return -1;
	const struct calibrate_hooks hooks = {.ctx = q, .canceled = on_canceled};
	struct sim *minmax = quantize_simulate(q, in->data, false, &hooks, e);
	q->evaluate = minmax ? evaluate_new(q->model, q->ort, in->evaluation, q->params->batch_size, &settings, e) : NULL;
	if (q->evaluate) {
		evaluate_hooks(q->evaluate, on_canceled, q);
		q->nrows = evaluate_table(q->evaluate, minmax, q->sim, q->rows, e);
	}
	sim_free(minmax);
	json_free(tree);
	return q->evaluate && q->nrows >= 0 ? 0 : err_wrap(e, "evaluation");
}

struct quantize *quantize_run(const struct quantize_inputs *in, const struct params *params, const struct seqmse_hooks *hooks,
                              struct err *e)
{
	struct quantize *q = calloc(1, sizeof *q);
	double unused;
	if (!q) {
		err_nomem(e, "the run");
		return NULL;
	}
	q->params = params;
	q->model = in->model;
	q->data = in->data;
	q->fingerprint = in->fingerprint;
	if (hooks)
		q->hooks = *hooks;
	if (timed(q, &q->seconds_load, quantize_load, in, e) || timed(q, &unused, search, in, e) ||
	    timed(q, &q->seconds_calibrate, calibrate_phase, in, e) || timed(q, &q->seconds_evaluate, evaluate_phase, in, e)) {
		quantize_free(q);
		return NULL;
	}
	return q;
}

void quantize_free(struct quantize *q)
{
	if (!q)
		return;
	for (int i = 0; i < q->nrows; i++)
		evaluate_score_fini(&q->rows[i].score);
	evaluate_free(q->evaluate);
	encodings_fini(&q->encodings);
	sim_free(q->sim);
	seqmse_result_free(q->search);
	quantsim_free(q->qs);
	value_types_free(q->types);
	ort_close(q->ort);
	fold_list_fini(&q->folds);
	onnx_model_free(q->folded);
	quantize_warnings_free(q);
	free(q);
}

const struct seqmse_result *quantize_search(const struct quantize *q)
{
	return q->search;
}
const struct encodings *quantize_encodings(const struct quantize *q)
{
	return &q->encodings;
}

const struct evaluate_row *quantize_accuracy(const struct quantize *q, size_t *n)
{
	*n = q->nrows > 0 ? (size_t)q->nrows : 0;
	return q->rows;
}
