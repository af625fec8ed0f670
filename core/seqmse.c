#include "seqmse.h"

#include "exact.h"
#include "gemm.h"
#include "inspect.h"
#include "layer_search.h"
#include "onnx_edit.h"
#include "piece.h"
#include "plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* What outlives the run. */
struct seqmse_result {
	const struct onnx_model *m;
	struct layer *layers;                  /* all Conv, Gemm, MatMul */
	int nlayers;
	struct seqmse_layer_result *searched;  /* [nsearched], in the order of the graph */
	struct layer_search **searches;        /* [nsearched], NULL before */
	size_t nsearched;
	float **replaced;                      /* [values] */
	struct encodings encodings;
	struct seqmse_stats stats;
};

struct run {
	const struct onnx_model *m;
	const struct params *params;
	struct seqmse_hooks hooks;
	const struct encodings *expected; /* of seqmse_check(), else NULL */
	struct seqmse_check *check;
	struct seqmse_result *r;
	struct calib_input *inputs;
	struct plan plan;
	struct feed feed;
	struct tiles *tiles;
	int done; /* layers */
	double started;
};

/* ---- small things ---- */

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int check_canceled(const struct run *x, struct err *e)
{
	if (x->hooks.canceled && x->hooks.canceled(x->hooks.ctx))
		return err_set(e, ERR_CANCELED, "canceled");
	return 0;
}

static void progress(const struct run *x, double part_of_stage, const struct plan_stage *stage, const char *current)
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

static struct quant_mode mode_of(const struct params *p)
{
	return (struct quant_mode){.bw = (int)p->param_bw, .symmetric = true};
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
	progress(x, 0, NULL, "");
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

/* ---- a stage: run its piece and gather evidence ---- */

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

static const char *node_name(const struct run *x, const struct layer *l)
{
	return onnx_model_node(x->m, l->node)->name;
}

/* A layer's input for a batch as vectors; *held is to be given back, *copy freed. */
struct seen {
	struct patches patches;
	struct ort_info info;
	const float *x;
	struct ort_value *held;
	float *copy;
};

static int look(const struct run *x, const struct layer *l, int64_t batch, struct seen *seen, struct err *e)
{
	*seen = (struct seen){0};
	seen->held = feed_get(&x->feed, l->x, batch, e);
	if (!seen->held)
		return -1;
	seen->x = feed_floats(&x->feed, seen->held, &seen->info, &seen->copy, e);
	if (!seen->x || patches_init(&seen->patches, l, &seen->info, e))
		return err_wrap(e, "layer %s", node_name(x, l));
	return 0;
}

static void looked(const struct run *x, const struct layer *l, int64_t batch, struct seen *seen)
{
	if (seen->held)
		feed_done(&x->feed, l->x, batch, seen->held);
	free(seen->copy);
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
	struct seen seen;
	int rc = look(x, l, batch, &seen, e);
	for (size_t i = 0; i < f->n && !rc && x->hooks.input; i++)
		x->hooks.input(x->hooks.ctx, onnx_model_value(x->m, layer_at(s, f->members[i])->weight)->name, batch, seen.info.rank,
		               seen.info.shape, seen.x);
	if (!rc && !f->evidence)
		rc = start_evidence(s, f, seen.patches.positions, e);
	if (!rc)
		rc = evidence_add(f->evidence, &seen.patches, seen.x, e);
	looked(x, l, batch, &seen);
	return rc;
}

static int run_stage(struct stage *s, struct err *e)
{
	struct run *x = s->x;
	struct seqmse_stats *stats = &x->r->stats;
	struct piece *piece = NULL;
	int64_t batches = calib_batches(x->feed.calib);
	int rc = 0;
	double t = now();
	if (s->plan->nmakes) {
		piece = piece_new(&x->feed, s->plan, (const float *const *)x->r->replaced, e);
		if (!piece)
			return -1;
		stats->pieces++;
	}
	stats->seconds_graph += now() - t;
	for (int64_t b = 0; b < batches && !rc; b++) {
		rc = check_canceled(x, e);
		t = now();
		if (!rc && piece)
			rc = piece_run(piece, b, e);
		stats->seconds_graph += now() - t;
		t = now();
		for (size_t f = 0; f < s->nfamilies && !rc; f++)
			rc = gather(s, &s->families[f], b, e);
		stats->seconds_gram += now() - t;
		progress(x, 0.5 * (double)(b + 1) / (double)batches, s->plan, node_name(x, layer_at(s, 0)));
	}
	piece_free(piece);
	return rc;
}

/* ---- a layer: near-ties, choice, result ---- */

enum { ASKS_BYTES = 64 << 20 }; /* most memory for the doubles of one round of exact losses */

/* Exact losses of the asks, over all batches. */
static int ask_exactly(const struct run *x, const struct layer *l, struct exact_ask *asks, int64_t n, struct err *e)
{
	for (int64_t b = 0; b < calib_batches(x->feed.calib); b++) {
		struct seen seen;
		int rc = check_canceled(x, e);
		if (rc)
			return rc;
		rc = look(x, l, b, &seen, e);
		if (!rc)
			rc = exact_add(asks, n, &seen.patches, seen.x, x->tiles, e);
		looked(x, l, b, &seen);
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
	if (!d || !asks)
		rc = err_nomem(e, "near-ties");
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

static int settle_doubts(const struct run *x, struct layer_search *s, int *rechecked, struct err *e)
{
	struct layer_doubt *doubts;
	int64_t n = layer_search_doubts(s, &doubts, e);
	if (n < 0)
		return -1;
	struct judged *list = calloc((size_t)n + 1, sizeof *list);
	int rc = list ? 0 : err_nomem(e, "near-ties");
	for (int64_t i = 0; i < n && !rc; i++) {
		struct layer_doubt k = doubts[i];
		list[i] = (struct judged){k.channel, quant_candidate(s->start[k.channel], k.candidate, s->candidates, s->mode),
		                          &s->loss[k.channel * s->candidates + k.candidate]};
	}
	if (!rc)
		rc = judge(x, s, list, n, e);
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

/* Compares a layer's choice with the expected encoding, channel by channel. */
static int compare(struct run *x, const struct layer_search *s, const struct encoding *want, struct err *e)
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

static size_t result_index(const struct seqmse_result *r, int layer)
{
	size_t at = 0;
	for (int i = 0; i < layer; i++)
		at += layer_is_searched(r->layers, i);
	return at;
}

static void fill_result(const struct run *x, int layer, const struct layer_search *s, const struct evidence *v, int rechecked,
                        double seconds)
{
	size_t at = result_index(x->r, layer);
	const struct layer *l = &x->r->layers[layer];
	x->r->searched[at] = (struct seqmse_layer_result){
		.index = (int)at, .node = node_name(x, l), .op_type = layer_op_name(l->op), .weight = onnx_model_value(x->m, l->weight)->name,
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

static int expected_fits(const struct layer_search *s, const struct encoding *want, struct err *e)
{
	if (want && (want->n != (size_t)s->channels || want->mode.bw != s->mode.bw))
		return err_set(e, ERR_BAD_PARAM, "the expected encoding of %s has %zu channels of %d bits, the search %lld of %d", want->name, want->n,
		               want->mode.bw, (long long)s->channels, s->mode.bw);
	return 0;
}

static int search_layer(struct run *x, int layer, struct evidence *v, struct err *e)
{
	const struct layer *l = &x->r->layers[layer];
	struct seqmse_stats *stats = &x->r->stats;
	size_t at = result_index(x->r, layer);
	double t = now(), t2;
	int rechecked;
	struct layer_search *s = layer_search_new(x->m, l, mode_of(x->params), (int)x->params->num_candidates, e);
	if (!s)
		return -1;
	x->r->searches[at] = s;
	if (layer_search_losses(s, v, x->tiles, e))
		return -1;
	t2 = now();
	if (settle_doubts(x, s, &rechecked, e))
		return -1;
	stats->seconds_recheck += now() - t2;
	layer_search_choose(s);
	const struct encoding *want = find_encoding(x->expected, onnx_model_value(x->m, l->weight)->name);
	if (expected_fits(s, want, e) || (want && compare(x, s, want, e)) || replace_weight(x, s, want ? want->grids : s->grids, e))
		return -1;
	slim(s);
	fill_result(x, layer, s, v, rechecked, now() - t);
	stats->seconds_search += t2 - t;
	x->done++;
	if (x->hooks.layer)
		x->hooks.layer(x->hooks.ctx, &x->r->searched[at]);
	return 0;
}

static int search_family(struct stage *s, struct family *f, struct err *e)
{
	double t = now();
	if (evidence_finish(f->evidence, e))
		return err_wrap(e, "layer %s", node_name(s->x, layer_at(s, f->members[0])));
	s->x->r->stats.seconds_gram += now() - t;
	for (size_t i = 0; i < f->n; i++) {
		const struct layer *l = layer_at(s, f->members[i]);
		progress(s->x, 0, s->plan, node_name(s->x, l));
		if (check_canceled(s->x, e) || search_layer(s->x, s->plan->layers[f->members[i]], f->evidence, e))
			return -1;
	}
	return 0;
}

static int walk(struct run *x, struct err *e)
{
	for (size_t i = 0; i < x->plan.nstages; i++) {
		struct stage s = {.x = x, .plan = &x->plan.stages[i]};
		int rc = group_families(&s, e);
		if (!rc)
			rc = run_stage(&s, e);
		for (size_t f = 0; f < s.nfamilies && !rc; f++)
			rc = search_family(&s, &s.families[f], e);
		stage_fini(&s);
		if (rc)
			return rc;
		for (size_t d = 0; d < s.plan->ndrops; d++)
			activations_drop(x->feed.acts, s.plan->drops[d]);
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
		if (encodings_add(out, false, l->weight, mode_of(x->params), ENCODING_PER_CHANNEL, (size_t)l->channels, l->grids, e))
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
	x->started = now();
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
		s->seconds_load = now() - x->started;
		warn_few_samples(x);
		rc = walk(x, e);
		s->spilled_bytes = activations_spilled(x->feed.acts);
	}
	if (!rc)
		rc = collect_encodings(x, e);
	x->r->stats.seconds_total = now() - x->started;
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
