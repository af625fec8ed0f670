#include "seqmse.h"

#include "gemm.h"
#include "inspect.h"
#include "onnx_edit.h"
#include "seqmse_run.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- small things ---- */

double run_now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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

static int64_t machine_memory(void)
{
	return (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
}

static int threads_of(const struct params *p)
{
	long n = p->threads ? (long)p->threads : sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : (int)n;
}

struct quant_mode run_mode(const struct run *x)
{
	return (struct quant_mode){.bw = (int)x->params->param_bw, .symmetric = true};
}

const char *run_node_name(const struct run *x, const struct layer *l)
{
	return onnx_model_node(x->m, l->node)->name;
}

int run_look(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen, struct err *e)
{
	*seen = (struct run_seen){0};
	seen->held = feed_get(&x->feed, l->x, batch, e);
	if (!seen->held)
		return -1;
	seen->x = feed_floats(&x->feed, seen->held, &seen->info, &seen->copy, e);
	if (!seen->x || patches_init(&seen->patches, l, &seen->info, e))
		return err_wrap(e, "layer %s", run_node_name(x, l));
	return 0;
}

void run_looked(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen)
{
	if (seen->held)
		feed_done(&x->feed, l->x, batch, seen->held);
	free(seen->copy);
}

/* ---- what can be searched at all ---- */

static int refuse_quantized(const struct onnx_model *m, struct err *e)
{
	for (int i = 0; i < onnx_model_nodes(m); i++) {
		const struct onnx_node *n = onnx_model_node(m, i);
		if (strcmp(n->op_type, "QuantizeLinear") == 0 || strcmp(n->op_type, "DequantizeLinear") == 0)
			return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model is quantized already (node %s is a %s); give the float model", n->name,
			               n->op_type);
	}
	return 0;
}

static int nothing_to_search(const struct run *x, struct err *e)
{
	if (x->r->nlayers == 0)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model has no searchable layer: no Conv, Gemm or MatMul in its main graph");
	const struct layer *l = &x->r->layers[0];
	return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model has no searchable layer: of %d Conv, Gemm and MatMul the first, %s, is not searched because %s",
	               x->r->nlayers, onnx_model_node(x->m, l->node)->name, l->reason);
}

static int alloc_result(struct run *x, struct err *e)
{
	struct seqmse_result *r = x->r;
	for (int i = 0; i < r->nlayers; i++)
		r->nsearched += layer_is_searched(r->layers, i);
	if (!r->nsearched)
		return nothing_to_search(x, e);
	r->searched = calloc(r->nsearched, sizeof *r->searched);
	r->searches = calloc(r->nsearched, sizeof(struct layer_search *));
	r->replaced = calloc((size_t)onnx_model_values(x->m) + 1, sizeof(float *));
	return r->searched && r->searches && r->replaced ? 0 : err_nomem(e, "the result");
}

static int prepare(struct run *x, struct npz *data, struct err *e)
{
	size_t ninputs;
	int64_t budget = x->params->max_memory_bytes ? x->params->max_memory_bytes : machine_memory() / 2;
	run_progress(x, 0, NULL, "");
	if (refuse_quantized(x->m, e) || layers_find(x->m, x->params, &x->r->layers, &x->r->nlayers, e) || alloc_result(x, e))
		return -1;
	if (plan_new(x->m, x->r->layers, x->r->nlayers, &x->plan, e) || inspect_calib_inputs(x->m, &x->inputs, &ninputs, e))
		return -1;
	x->feed.m = x->m;
	x->feed.calib = calib_new(data, x->inputs, ninputs, x->params->batch_size, x->params->num_batches, e);
	if (!x->feed.calib)
		return -1;
	x->feed.ort = ort_open(threads_of(x->params), e);
	if (!x->feed.ort || gemm_open(e))
		return -1;
	x->tiles = tiles_new(threads_of(x->params));
	if (!x->tiles)
		return err_set(e, ERR_MEMORY, "the system gives no %d threads", threads_of(x->params));
	x->feed.acts = activations_new(x->feed.ort, onnx_model_values(x->m), calib_batches(x->feed.calib), budget, e);
	return x->feed.acts ? 0 : -1;
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
		if (encodings_add(out, false, l->weight, run_mode(x), ENCODING_PER_CHANNEL, (size_t)l->channels, l->grids, e))
			return -1;
	}
	return 0;
}

static void warn_few_samples(const struct run *x)
{
	const struct seqmse_stats *s = &x->r->stats;
	if (x->hooks.warning && s->samples_used < s->samples)
		x->hooks.warning(x->hooks.ctx, "samples-unused", "", "not all samples are used: see num_batches and batch_size");
}

static void run_fini(struct run *x)
{
	activations_free(x->feed.acts);
	tiles_free(x->tiles);
	ort_close(x->feed.ort);
	calib_free(x->feed.calib);
	free(x->inputs);
	plan_fini(&x->plan);
}

static struct seqmse_result *run(struct run *x, struct npz *data, struct err *e)
{
	int rc;
	x->started = run_now();
	x->r = calloc(1, sizeof *x->r);
	if (!x->r) {
		err_nomem(e, "the result");
		return NULL;
	}
	x->r->m = x->m;
	rc = prepare(x, data, e);
	if (!rc) {
		struct seqmse_stats *s = &x->r->stats;
		s->samples = calib_samples(x->feed.calib);
		s->samples_used = calib_samples_used(x->feed.calib);
		s->batches = calib_batches(x->feed.calib);
		s->seconds_load = run_now() - x->started;
		warn_few_samples(x);
		rc = walk(x, e);
		s->spilled_bytes = activations_spilled(x->feed.acts);
	}
	if (!rc)
		rc = collect_encodings(x, e);
	x->r->stats.seconds_total = run_now() - x->started;
	run_fini(x);
	if (rc) {
		seqmse_result_free(x->r);
		return NULL;
	}
	return x->r;
}

struct seqmse_result *seqmse_run(const struct onnx_model *model, struct npz *data, const struct params *params,
                                 const struct seqmse_hooks *hooks, struct err *e)
{
	struct run x = {.m = model, .params = params};
	if (hooks)
		x.hooks = *hooks;
	return run(&x, data, e);
}

int seqmse_check(const struct onnx_model *model, struct npz *data, const struct params *params, const struct encodings *expected,
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

void seqmse_result_free(struct seqmse_result *r)
{
	if (!r)
		return;
	for (size_t i = 0; r->searches && i < r->nsearched; i++)
		layer_search_free(r->searches[i]);
	for (int v = 0; r->replaced && v < onnx_model_values(r->m); v++)
		free(r->replaced[v]);
	free(r->searches);
	free(r->searched);
	free(r->replaced);
	free(r->layers);
	encodings_fini(&r->encodings);
	free(r);
}

const struct encodings *seqmse_encodings(const struct seqmse_result *r) { return &r->encodings; }
size_t seqmse_layers(const struct seqmse_result *r) { return r->nsearched; }
const struct seqmse_layer_result *seqmse_layer(const struct seqmse_result *r, size_t i) { return &r->searched[i]; }
const struct seqmse_stats *seqmse_stats(const struct seqmse_result *r) { return &r->stats; }

int seqmse_write_model(const struct seqmse_result *r, struct buf *out, struct err *e)
{
	return onnx_model_write(r->m, (const float *const *)r->replaced, out, e);
}
