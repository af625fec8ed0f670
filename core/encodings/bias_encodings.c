#include "core/encodings/bias_encodings.h"

#include "core/grid/lpbq.h"
#include "core/quantsim/quantsim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BIAS_BW = 32 };

static const double least_scale = 0.01 / 4294967295.0;

/* One bias's scales, as the ops so far want them. */
struct scales {
	int quantizer; /* of the bias */
	bool by_channel;
	size_t n;
	double *v;
};

struct biases {
	const struct encodings *x;
	const struct quantsim *qs;
	struct scales *list;
	size_t n;
};

static const char *name_of(const struct quantsim *qs, int value)
{
	return onnx_model_value(qs->model, value)->name;
}

/* The integer encoding of a quantizer's tensor; NULL where it has none. */
static const struct encoding *encoding_of(const struct biases *b, int quantizer)
{
	if (quantizer < 0 || !b->qs->quantizers[quantizer].enabled)
		return NULL;
	const struct encoding *x = encodings_find(b->x, name_of(b->qs, b->qs->quantizers[quantizer].value));
	return x && !x->is_float16 && x->n ? x : NULL;
}

/* ---- which ops, which bias ---- */

static bool is_among(const char *type, const char *const *types)
{
	for (; *types; types++)
		if (strcmp(type, *types) == 0)
			return true;
	return false;
}

static bool accumulates(const struct quantsim_op *op)
{
	static const char *const types[] = {"Conv", "ConvTranspose", "Gemm", "MatMul", NULL};
	return !*op->domain && is_among(op->type, types);
}

static bool normalizes(const struct quantsim_op *op)
{
	static const char *const types[] = {"BatchNormalization",
	                                    "InstanceNormalization",
	                                    "LayerNormalization",
	                                    "GroupNormalization",
	                                    "LSTM",
	                                    "GRU",
	                                    "RNN",
	                                    NULL};
	return !*op->domain && is_among(op->type, types);
}

/* The vector that the Add behind a MatMul adds; -1 where there is no such thing. */
static int matmul_bias(const struct quantsim *qs, const struct quantsim_op *op)
{
	const struct onnx_value *out = onnx_model_value(qs->model, op->outputs[0]);
	struct onnx_const info;
	if (strcmp(op->type, "MatMul") != 0 || out->nreaders != 1)
		return -1;
	const struct onnx_node *add = onnx_model_node(qs->model, out->readers[0]);
	if (strcmp(add->op_type, "Add") != 0 || add->ninputs != 2)
		return -1;
	int bias = add->inputs[add->inputs[0] == op->outputs[0]];
	return bias >= 0 && onnx_model_const(qs->model, bias, &info) && info.rank == 1 ? qs->of_value[bias] : -1;
}

static int bias_of(const struct quantsim *qs, int op)
{
	int q = quantsim_param(qs, op, "bias");
	return q >= 0 ? q : matmul_bias(qs, &qs->ops[op]);
}

/* ---- scales ---- */

static int scales_init(struct scales *s, int quantizer, bool by_channel, size_t n, struct err *e)
{
	*s = (struct scales){quantizer, by_channel, n, calloc(n + 1, sizeof *s->v)};
	return s->v ? 0 : err_nomem(e, "biases");
}

/* One number a channel: the largest of its blocks' products with the input's scale. */
static void block_scales(float input, const struct encoding *w, double *out)
{
	size_t blocks = w->n / w->channels;
	for (size_t c = 0; c < w->channels; c++) {
		float most = 0;
		for (size_t i = 0; i < blocks; i++)
			most = fmaxf(most, input * (float)w->grids[c * blocks + i].delta);
		out[c] = (double)most;
	}
}

static void lpbq_scales(float input, const struct encoding *w, double *out)
{
	size_t blocks = w->n / w->channels;
	for (size_t c = 0; c < w->channels; c++) {
		double most = 0;
		for (size_t i = 0; i < blocks; i++)
			most = fmax(most, w->grids[c * blocks + i].delta);
		out[c] = (double)input * (most / ldexp(1, w->lpbq_bits ? w->lpbq_bits : w->mode.bw));
	}
}

static int accumulator_scales(const struct encoding *input, const struct encoding *w, int bias, struct scales *s, struct err *e)
{
	float in = (float)input->grids[0].delta;
	bool blocks = w->granularity == QUANT_PER_BLOCK || w->granularity == QUANT_LPBQ;
	if (scales_init(s, bias, w->granularity != QUANT_PER_TENSOR, blocks ? w->channels : w->n, e) != 0)
		return -1;
	if (w->granularity == QUANT_LPBQ)
		lpbq_scales(in, w, s->v);
	else if (blocks)
		block_scales(in, w, s->v);
	else
		for (size_t i = 0; i < w->n; i++)
			s->v[i] = (double)(in * (float)w->grids[i].delta);
	return 0;
}

/* From the numbers of the bias itself; s->v stays NULL where they are not known. */
static int own_scales(const struct quantsim *qs, int bias, bool by_channel, struct scales *s, struct err *e)
{
	struct onnx_const info;
	*s = (struct scales){.quantizer = bias};
	if (!onnx_model_const(qs->model, qs->quantizers[bias].value, &info) || info.count < 1)
		return 0;
	float *x = calloc((size_t)info.count, sizeof *x);
	if (!x)
		return err_nomem(e, "biases");
	int rc = onnx_model_const_floats(qs->model, qs->quantizers[bias].value, x, e);
	by_channel = by_channel && info.rank == 1;
	if (rc == 0)
		rc = scales_init(s, bias, by_channel, by_channel ? (size_t)info.count : 1, e);
	for (int64_t i = 0; x && rc == 0 && i < info.count; i++) {
		double *to = &s->v[by_channel ? i : 0];
		*to = fmax(*to, fmax(fabs((double)x[i]) / 0x1p31, least_scale));
	}
	free(x);
	return rc;
}

static int scales_of(const struct biases *b, int op, int bias, struct scales *s, struct err *e)
{
	const struct quantsim *qs = b->qs;
	const struct quantsim_op *o = &qs->ops[op];
	int weight = quantsim_param(qs, op, "weight");
	if (weight < 0 && accumulates(o) && o->ninputs > 1 && o->inputs[1] >= 0)
		weight = quantsim_effective(qs, o->inputs[1]);
	const struct encoding *w = encoding_of(b, weight);
	const struct encoding *input =
		o->ninputs && o->inputs[0] >= 0 ? encoding_of(b, quantsim_effective(qs, o->inputs[0])) : NULL;
	*s = (struct scales){.quantizer = bias};
	if (!w || !input)
		return 0;
	return accumulates(o) ? accumulator_scales(input, w, bias, s, e)
	                      : own_scales(qs, bias, w->granularity != QUANT_PER_TENSOR, s, e);
}

/* ---- all biases ---- */

static bool same_scales(const struct scales *a, const struct scales *b)
{
	return a->by_channel == b->by_channel && a->n == b->n && memcmp(a->v, b->v, a->n * sizeof *a->v) == 0;
}

/* Takes over one op's scales of a bias; with those of other ops they may not agree. */
static int merge(struct biases *b, struct scales *new, struct err *e)
{
	for (size_t i = 0; i < b->n; i++) {
		if (b->list[i].quantizer != new->quantizer)
			continue;
		bool same = same_scales(&b->list[i], new);
		free(new->v);
		if (same)
			return 0;
		free(b->list[i].v);
		return own_scales(b->qs, new->quantizer, true, &b->list[i], e);
	}
	b->list[b->n++] = *new;
	return 0;
}

static int collect(struct biases *b, struct err *e)
{
	b->list = calloc((size_t)b->qs->nops + 1, sizeof *b->list);
	if (!b->list)
		return err_nomem(e, "biases");
	for (int op = 0; op < b->qs->nops; op++) {
		struct scales s;
		int bias = accumulates(&b->qs->ops[op]) || normalizes(&b->qs->ops[op]) ? bias_of(b->qs, op) : -1;
		if (bias < 0 || b->qs->quantizers[bias].is_float16 ||
		    encodings_find(b->x, name_of(b->qs, b->qs->quantizers[bias].value)))
			continue;
		if (scales_of(b, op, bias, &s, e) != 0 || (s.v && merge(b, &s, e) != 0))
			return -1;
	}
	return 0;
}

static int add(struct encodings *x, const struct quantsim *qs, const struct scales *s, struct err *e)
{
	struct encoding bias = {.derived = true,
	                        .is_param = true,
	                        .mode = {.bw = BIAS_BW, .symmetric = true},
	                        .granularity = s->by_channel ? QUANT_PER_CHANNEL : QUANT_PER_TENSOR,
	                        .block_axis = -1,
	                        .n = s->n};
	struct quant_grid *grids = calloc(s->n + 1, sizeof *grids);
	if (!grids)
		return err_nomem(e, "biases");
	for (size_t i = 0; i < s->n; i++)
		grids[i] = (struct quant_grid){s->v[i] * -0x1p31, s->v[i] * (0x1p31 - 1), s->v[i], -0x1p31};
	bias.grids = grids;
	int rc = encodings_add(x, false, name_of(qs, qs->quantizers[s->quantizer].value), &bias, e);
	free(grids);
	return rc;
}

/* ---- the order ---- */

struct ranked {
	int rank;
	size_t at; /* where it was; keeps the order of what has no rank */
	struct encoding entry;
};

static int by_rank(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	return x->rank != y->rank ? (x->rank < y->rank ? -1 : 1) : (x->at > y->at) - (x->at < y->at);
}

static int sort_params(struct encodings *x, const struct quantsim *qs, struct err *e)
{
	struct ranked *r = calloc(x->nparams + 1, sizeof *r);
	if (!r)
		return err_nomem(e, "biases");
	for (size_t i = 0; i < x->nparams; i++) {
		int value = onnx_model_find(qs->model, x->params[i].name), q = value < 0 ? -1 : qs->of_value[value];
		r[i] = (struct ranked){q < 0 ? qs->nquantizers : q, i, x->params[i]};
	}
	qsort(r, x->nparams, sizeof *r, by_rank);
	for (size_t i = 0; i < x->nparams; i++)
		x->params[i] = r[i].entry;
	free(r);
	return 0;
}

int bias_encodings_add(struct encodings *x, const struct quantsim *qs, struct err *e)
{
	struct biases b = {.x = x, .qs = qs};
	int rc = collect(&b, e);
	for (size_t i = 0; i < b.n && rc == 0; i++)
		if (b.list[i].v)
			rc = add(x, qs, &b.list[i], e);
	if (rc == 0)
		rc = sort_params(x, qs, e);
	for (size_t i = 0; i < b.n; i++)
		free(b.list[i].v);
	free(b.list);
	return rc;
}
