#include "core/search/seqmse.h"

#include "core/kernels/gemm.h"
#include "core/onnx/onnx_edit.h"
#include "core/quantsim/quantsim.h"
#include "core/run/checkpoints.h"
#include "core/search/layer_load.h"
#include "core/search/seqmse_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SHARE = 4 };

/* ---- small things ---- */

int run_canceled(const struct run *x, struct err *e)
{
	if (x->hooks.canceled && x->hooks.canceled(x->hooks.ctx))
		return err_set(e, ERR_CANCELED, "canceled");
	return 0;
}

void run_progress(const struct run *x, double part_of_stage, const struct plan_stage *stage, const char *current)
{
	if (!x->hooks.progress)
		return;
	double total = (double)x->r->nsearched, here = stage ? (double)stage->nlayers * part_of_stage : 0;
	double fraction = total > 0 ? ((double)x->done + here) / total : 0;
	x->hooks.progress(x->hooks.ctx, stage ? "search" : "load", x->done, (int)total, fraction, current);
}

enum symmetry run_symmetry(const struct run *x)
{
	return (enum symmetry)x->params->inp_symmetry;
}

const char *run_node_name(const struct run *x, const struct layer *l)
{
	return onnx_model_node(x->m, l->node)->name;
}

/* One side's input: which 0 is the quantized side's, 1 the float side's. */
static const float *look_at(const struct run *x, int value, int64_t batch, int which, struct run_seen *seen, struct err *e)
{
	seen->held[which] = feed_get(&x->feed, value, batch, e);
	return seen->held[which] ? feed_floats(&x->feed, seen->held[which], &seen->info, &seen->copy[which], e) : NULL;
}

int run_look(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen, struct err *e)
{
	*seen = (struct run_seen){0};
	int twin = plan_twin(&x->plan, l->x);
	if (twin >= 0 && !(seen->in.x_float = look_at(x, twin, batch, 1, seen, e)))
		return -1;
	seen->in.x = look_at(x, l->x, batch, 0, seen, e);
	return seen->in.x ? patches_init(&seen->in.patches, l, &seen->info, e) : -1;
}

void run_looked(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen)
{
	int values[2] = {l->x, plan_twin(&x->plan, l->x)};
	for (int i = 0; i < 2; i++) {
		if (seen->held[i])
			feed_done(&x->feed, values[i], batch, seen->held[i]);
		free(seen->copy[i]);
	}
}

/* ---- what can be searched at all ---- */

static int refuse_quantized(const struct onnx_model *m, struct err *e)
{
	for (int i = 0; i < onnx_model_nodes(m); i++) {
		const struct onnx_node *n = onnx_model_node(m, i);
		if (strcmp(n->op_type, "QuantizeLinear") == 0 || strcmp(n->op_type, "DequantizeLinear") == 0)
			return err_set(e, ERR_UNSUPPORTED_GRAPH,
			               "the model is quantized already (node %s is a %s); give the float model", n->name,
			               n->op_type);
	}
	return 0;
}

static int nothing_to_search(const struct onnx_model *m, const struct layer *layers, int n, struct err *e)
{
	if (n == 0)
		return err_set(e, ERR_UNSUPPORTED_GRAPH,
		               "the model has no searchable layer: no Conv, Gemm or MatMul in its main graph");
	return err_set(e, ERR_UNSUPPORTED_GRAPH,
	               "the model has no searchable layer: of %d Conv, Gemm and MatMul the first, %s, is not searched because %s",
	               n, onnx_model_node(m, layers[0].node)->name, layers[0].reason);
}

int seqmse_refuse(const struct onnx_model *m, struct err *e)
{
	struct layer *layers = NULL;
	int n = 0, searched = 0, rc = refuse_quantized(m, e);
	if (!rc)
		rc = layers_find(m, NULL, NULL, &layers, &n, e);
	for (int i = 0; i < n; i++)
		searched += layer_is_searched(layers, i);
	if (!rc && !searched)
		rc = nothing_to_search(m, layers, n, e);
	free(layers);
	return rc;
}

static int alloc_result(struct run *x, struct err *e)
{
	struct seqmse_result *r = x->r;
	for (int i = 0; i < r->nlayers; i++)
		r->nsearched += layer_is_searched(r->layers, i);
	if (!r->nsearched)
		return nothing_to_search(x->m, r->layers, r->nlayers, e);
	r->searched = calloc(r->nsearched, sizeof *r->searched);
	r->searches = calloc(r->nsearched, sizeof(struct layer_search *));
	r->replaced = calloc((size_t)onnx_model_values(x->m) + 1, sizeof(float *));
	return r->searched && r->searches && r->replaced ? 0 : err_nomem(e, "the result");
}

/* What encodings say of the layers: those that the search starts from, or is compared with. */
static int take_encodings(const struct run *x, struct err *e)
{
	struct seqmse_result *r = x->r;
	if (x->expected && layer_load_adopt(x->m, x->qs, x->expected, r->layers, r->nlayers, e))
		return -1;
	if (!x->params->load_encodings)
		return 0;
	if (layer_load_read(x->params, &r->loaded, e) || layer_load_adopt(x->m, x->qs, &r->loaded, r->layers, r->nlayers, e) ||
	    layer_load_start(x->m, &r->loaded, x->params->load_as == PARAMS_FREEZE, r->layers, r->nlayers, e))
		return err_wrap(e, "/load_encodings");
	return 0;
}

/* Which activations, of both streams, never stay in memory. */
static int set_checkpoints(const struct run *x, struct err *e)
{
	int n = onnx_model_values(x->m);
	bool *spill = calloc((size_t)n + 1, sizeof *spill);
	int rc = spill ? checkpoints_resolve(x->m, x->params->checkpoints_config, spill, e) : err_nomem(e, "checkpoints");
	for (int v = 0; v < n && !rc; v++)
		if (spill[v]) {
			activations_cold(x->feed.acts, v);
			activations_cold(x->feed.acts, v + n);
		}
	free(spill);
	return rc;
}

static int64_t resident(void)
{
	struct rusage u;
	return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* What the memory is for, besides what the process holds already: the searched weights, the evidence of a stage's layers, which together may take a
 * quarter of the rest, and the activations. */
static void share_memory(struct run *x)
{
	int64_t all = x->params->max_memory_bytes, weights = 0, evidence = 0;
	if (!all)
		all = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE) / 2;
	for (int i = 0; i < x->r->nlayers; i++)
		weights += layer_is_searched(x->r->layers, i) ? x->r->layers[i].shape.count * (int64_t)sizeof(float) : 0;
	int64_t rest = all - resident() - weights;
	rest = rest > 0 ? rest : 0;
	for (size_t s = 0; s < x->plan.nstages; s++) {
		const struct plan_stage *stage = &x->plan.stages[s];
		int64_t own = 0;
		for (size_t i = 0; i < stage->nlayers; i++)
			own += least(cost_bytes_at_most(&x->r->layers[stage->layers[i]], params_threads(x->params)),
			             rest / SHARE / (int64_t)stage->nlayers);
		evidence = own > evidence ? own : evidence;
	}
	x->evidence = rest / SHARE + 1;
	x->budget = rest - evidence;
}

int run_prepare(struct run *x, struct arrays *data, struct err *e)
{
	run_progress(x, 0, NULL, "");
	if (refuse_quantized(x->m, e) || layers_find(x->m, x->qs, x->params, &x->r->layers, &x->r->nlayers, e) ||
	    take_encodings(x, e) || alloc_result(x, e))
		return -1;
	if (plan_new(x->m, x->r->layers, x->r->nlayers, run_symmetry(x) == ASYM, &x->plan, e))
		return -1;
	x->feed.m = x->m;
	x->feed.types = x->qs ? x->qs->types : NULL;
	if (model_data_open(&x->data, x->m, data, x->params->inputs, x->params->batch_size, x->params->num_batches, e))
		return -1;
	x->feed.calib = x->data.calib;
	x->feed.ort = ort_open(params_threads(x->params), e);
	if (!x->feed.ort || gemm_open(e))
		return -1;
	share_memory(x);
	x->tiles = tiles_new(params_threads(x->params));
	if (!x->tiles)
		return err_set(e, ERR_MEMORY, "the system gives no %d threads", params_threads(x->params));
	x->feed.acts = activations_new(x->feed.ort, 2 * onnx_model_values(x->m), calib_batches(x->feed.calib), x->budget, e);
	if (x->feed.acts && x->hooks.spill)
		activations_spill_to(x->feed.acts, x->hooks.spill, x->hooks.ctx);
	return x->feed.acts ? set_checkpoints(x, e) : -1;
}

static int walk(struct run *x, struct err *e)
{
	for (size_t i = 0; i < x->plan.nstages; i++) {
		const struct plan_stage *stage = &x->plan.stages[i];
		if (stage_run(x, stage, e))
			return -1;
		for (size_t d = 0; d < stage->ndrops; d++)
			activations_drop(x->feed.acts, stage->drops[d]);
	}
	return 0;
}

/* ---- the end ---- */

struct encoding seqmse_encoding(const struct seqmse_layer_result *l)
{
	return (struct encoding){.mode = l->mode,
	                         .granularity = l->granularity,
	                         .channel_axis = l->channel_axis,
	                         .block_axis = l->block_size ? 1 - l->channel_axis : -1,
	                         .rank = l->rank,
	                         .block_size = l->block_size,
	                         .channels = (size_t)l->channels,
	                         .n = (size_t)l->ngrids,
	                         .grids = l->grids};
}

static int collect_encodings(const struct run *x, struct err *e)
{
	struct seqmse_result *r = x->r;
	struct encodings *out = &r->encodings;
	out->param_bw = (int)x->params->param_bw;
	out->activation_bw = 8;
	out->per_channel = true;
	out->symmetric_params = true;
	out->quant_scheme = strdup("min_max");
	if (!out->quant_scheme)
		return err_nomem(e, "the encodings");
	for (size_t i = 0; i < r->nsearched; i++) {
		const struct seqmse_layer_result *l = &r->searched[i];
		struct encoding w = seqmse_encoding(l);
		if (encodings_add(out, false, l->weight, &w, e))
			return -1;
	}
	return 0;
}

static void warn_blocks(const struct run *x)
{
	char detail[160];
	for (int i = 0; i < x->r->nlayers; i++) {
		const struct layer *l = &x->r->layers[i];
		if (!x->hooks.warning || !l->settings.refused || !layer_is_searched(x->r->layers, i))
			continue;
		(void)snprintf(detail, sizeof detail, "it gets a grid a channel instead of a block: %s", l->settings.refused);
		x->hooks.warning(x->hooks.ctx, "no-blocks", run_node_name(x, l), detail);
	}
}

static void warn_unused(const struct run *x)
{
	const struct seqmse_stats *s = &x->r->stats;
	if (x->hooks.warning && s->samples_used < s->samples)
		x->hooks.warning(x->hooks.ctx, "samples-unused", "", "not all samples are used: see num_batches and batch_size");
}

void run_fini(struct run *x)
{
	activations_free(x->feed.acts);
	tiles_free(x->tiles);
	ort_close(x->feed.ort);
	model_data_close(&x->data);
	plan_fini(&x->plan);
}

static struct seqmse_result *run(struct run *x, struct arrays *data, struct err *e)
{
	int rc;
	double cpu = run_cpu_now();
	x->started = run_now();
	x->r = calloc(1, sizeof *x->r);
	if (!x->r) {
		err_nomem(e, "the result");
		return NULL;
	}
	x->r->m = x->m;
	rc = run_prepare(x, data, e);
	if (!rc) {
		struct seqmse_stats *s = &x->r->stats;
		s->samples = calib_samples(x->feed.calib);
		s->samples_used = calib_samples_used(x->feed.calib);
		s->batches = calib_batches(x->feed.calib);
		s->seconds_load = run_now() - x->started;
		warn_unused(x);
		warn_blocks(x);
		rc = walk(x, e);
		s->spilled_bytes = activations_spilled(x->feed.acts);
	}
	if (!rc)
		rc = collect_encodings(x, e);
	x->r->stats.seconds_total = run_now() - x->started;
	x->r->stats.seconds_cpu = run_cpu_now() - cpu;
	run_fini(x);
	if (rc) {
		seqmse_result_free(x->r);
		return NULL;
	}
	return x->r;
}

struct seqmse_result *seqmse_run(const struct onnx_model *model, struct arrays *data, struct quantsim *qs,
                                 const struct params *params, const struct seqmse_hooks *hooks, struct err *e)
{
	struct run x = {.m = model, .qs = qs, .params = params};
	if (hooks)
		x.hooks = *hooks;
	return run(&x, data, e);
}

int seqmse_check(const struct onnx_model *model, struct arrays *data, const struct params *params, struct encodings *expected,
                 const struct seqmse_hooks *hooks, struct seqmse_check *out, struct err *e)
{
	struct run x = {.m = model, .params = params, .expected = expected, .check = out};
	*out = (struct seqmse_check){0};
	if (hooks)
		x.hooks = *hooks;
	struct seqmse_result *r = run(&x, data, e);
	seqmse_result_free(r);
	return r ? 0 : -1;
}

void seqmse_result_slim(struct seqmse_result *r)
{
	for (int v = 0; r->replaced && v < onnx_model_values(r->m); v++)
		free(r->replaced[v]);
	free(r->replaced);
	r->replaced = NULL;
}

void seqmse_result_free(struct seqmse_result *r)
{
	if (!r)
		return;
	for (size_t i = 0; r->searches && i < r->nsearched; i++)
		layer_search_free(r->searches[i]);
	seqmse_result_slim(r);
	free(r->searches);
	free(r->searched);
	free(r->layers);
	encodings_fini(&r->loaded);
	encodings_fini(&r->encodings);
	free(r);
}

const struct encodings *seqmse_encodings(const struct seqmse_result *r)
{
	return &r->encodings;
}
size_t seqmse_layers(const struct seqmse_result *r)
{
	return r->nsearched;
}
const struct seqmse_layer_result *seqmse_layer(const struct seqmse_result *r, size_t i)
{
	return &r->searched[i];
}
const struct seqmse_stats *seqmse_stats(const struct seqmse_result *r)
{
	return &r->stats;
}

int seqmse_write_model(const struct seqmse_result *r, struct buf *out, struct err *e)
{
	return onnx_model_write(r->m, (const float *const *)r->replaced, out, e);
}
