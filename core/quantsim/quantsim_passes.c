/* The same patterns as quantsim_fuse.c, in the forms that it leaves alone: they stay several ops, but nothing inside them is quantized. */

#include "core/quantsim/quantsim_parts.h"

#include <string.h>

enum { MAX_OPS = 24 };

struct pattern {
	int ops[MAX_OPS];
	int n;
	int off_outputs;    /* outputs of the first so many are not quantized, */
	int off_constants;  /* nor are their constant inputs; */
	int last_constants; /* nor those of this op, -1: none */
	int scale;          /* the value that is the norm's weight, -1: none */
};

static bool is_type(const struct quantsim_work *w, int op, const char *type)
{
	return op >= 0 && strcmp(w->ops[op].type, type) == 0;
}

static int edges(const struct quantsim_work *w, int op)
{
	int n = 0;
	for (int k = 0; k < w->ops[op].noutputs; k++)
		if (w->ops[op].outputs[k] >= 0)
			n += w->first_reader[w->ops[op].outputs[k] + 1] - w->first_reader[w->ops[op].outputs[k]];
	return n;
}

/* The reader of an op's only outgoing edge; -1 where it has another number of them. */
static int only_reader(const struct quantsim_work *w, int op)
{
	for (int k = 0; k < w->ops[op].noutputs && edges(w, op) == 1; k++) {
		int v = w->ops[op].outputs[k];
		if (v >= 0 && w->first_reader[v + 1] > w->first_reader[v])
			return w->readers[w->first_reader[v]];
	}
	return -1;
}

static int reader_of_type(const struct quantsim_work *w, int op, const char *type)
{
	for (int k = 0; k < w->ops[op].noutputs; k++)
		for (int v = w->ops[op].outputs[k], r = v < 0 ? 0 : w->first_reader[v]; v >= 0 && r < w->first_reader[v + 1]; r++)
			if (is_type(w, w->readers[r], type))
				return w->readers[r];
	return -1;
}

static int input_of(const struct quantsim_work *w, int op, int k)
{
	return op >= 0 && k < w->ops[op].ninputs ? w->ops[op].inputs[k] : -1;
}

/* Adds op and what follows it, each the only reader of the one before, as long as the types are these; whether all were there. */
static bool chain(const struct quantsim_work *w, int op, const char *const *types, struct pattern *p)
{
	for (int i = 0; types[i]; i++) {
		if (!is_type(w, op, types[i]) || p->n == MAX_OPS)
			return false;
		p->ops[p->n++] = op;
		op = types[i + 1] ? only_reader(w, op) : -1;
	}
	return true;
}

/* ---- layer norm ---- */

/* Behind the division: a scale, and behind that a shift. */
static void scale_and_shift(const struct quantsim_work *w, int div, struct pattern *p)
{
	int mul = only_reader(w, div);
	if (!is_type(w, mul, "Mul") || edges(w, mul) > 1)
		return;
	p->off_outputs = p->n;
	p->scale = input_of(w, mul, quantsim_maker(w->qs, input_of(w, mul, 0)) == div ? 1 : 0);
	p->ops[p->n++] = mul;
	int add = only_reader(w, mul);
	if (!is_type(w, add, "Add"))
		return;
	p->off_outputs = p->n;
	p->last_constants = add;
	p->ops[p->n++] = add;
}

static bool layer_norm(const struct quantsim_work *w, int op, struct pattern *p)
{
	static const char *const variance[] = {"Pow", "ReduceMean", "Add", "Sqrt", NULL};
	int sub = is_type(w, op, "ReduceMean") ? only_reader(w, op) : -1;
	if (!is_type(w, sub, "Sub") || edges(w, sub) != 2 || input_of(w, sub, 0) != input_of(w, op, 0))
		return false;
	int div = reader_of_type(w, sub, "Div");
	*p = (struct pattern){.ops = {op, sub}, .n = 2, .last_constants = -1, .scale = -1};
	if (div < 0 || !chain(w, reader_of_type(w, sub, "Pow"), variance, p) || edges(w, p->ops[p->n - 1]) > 1 ||
	    quantsim_maker(w->qs, input_of(w, div, 0)) != sub || quantsim_maker(w->qs, input_of(w, div, 1)) != p->ops[p->n - 1])
		return false;
	p->off_outputs = p->n;
	p->ops[p->n++] = div;
	p->off_constants = p->n;
	scale_and_shift(w, div, p);
	return true;
}

/* ---- root mean square norm ---- */

/* A constant that is a scalar with that value. */
static bool is_scalar(const struct quantsim_work *w, int value, double want)
{
	struct onnx_const info;
	double x;
	const struct quantsim_quantizer *q = quantsim_at(w->qs, value);
	bool scalar = value >= 0 && !(q && q->is_param) && (!onnx_model_const(w->qs->model, value, &info) || info.rank == 0);
	return scalar && onnx_model_const_number(w->qs->model, value, &x) && x == want;
}

static bool is_square(const struct quantsim_work *w, int op)
{
	if (is_type(w, op, "Mul"))
		return input_of(w, op, 0) == input_of(w, op, 1);
	return is_type(w, op, "Pow") && is_scalar(w, input_of(w, op, 1), 2.0);
}

/* x divided by what sqrt makes: Div, or Mul by Div(1, …) or Reciprocal. */
static bool divides(const struct quantsim_work *w, int x, int sqrt, struct pattern *p)
{
	int root = w->ops[sqrt].outputs[0], op = only_reader(w, sqrt);
	if (is_type(w, op, "Div") && input_of(w, op, 0) == x && input_of(w, op, 1) == root) {
		p->ops[p->n++] = op;
		return true;
	}
	bool inverse = (is_type(w, op, "Div") && is_scalar(w, input_of(w, op, 0), 1.0) && input_of(w, op, 1) == root) ||
	               (is_type(w, op, "Reciprocal") && input_of(w, op, 0) == root);
	int mul = inverse ? only_reader(w, op) : -1;
	if (!is_type(w, mul, "Mul") || (input_of(w, mul, 0) != x && input_of(w, mul, 1) != x))
		return false;
	p->ops[p->n++] = op;
	p->ops[p->n++] = mul;
	return true;
}

static bool normalized(const struct quantsim_work *w, int op, struct pattern *p)
{
	static const char *const mean[] = {"ReduceMean", "Add", NULL};
	p->ops[p->n++] = op;
	if (is_type(w, op, "RMSNormalization"))
		return true;
	int next = is_square(w, op) ? only_reader(w, op) : -1, x = input_of(w, op, 0);
	if (next < 0 || !chain(w, next, mean, p))
		return false;
	next = only_reader(w, p->ops[p->n - 1]);
	if (next < 0)
		return false;
	p->ops[p->n++] = next;
	if (is_type(w, next, "Sqrt"))
		return divides(w, x, next, p);
	int mul = is_type(w, next, "Pow") && is_scalar(w, input_of(w, next, 1), -0.5) ? only_reader(w, next) : -1;
	if (!is_type(w, mul, "Mul") || (input_of(w, mul, 0) != x && input_of(w, mul, 1) != x))
		return false;
	p->ops[p->n++] = mul;
	return true;
}

static bool rms_norm(const struct quantsim_work *w, int op, struct pattern *p)
{
	*p = (struct pattern){.last_constants = -1, .scale = -1};
	if (!normalized(w, op, p))
		return false;
	int core = p->n, next = only_reader(w, p->ops[p->n - 1]);
	for (; is_type(w, next, "Cast") && p->n < MAX_OPS - 1; next = only_reader(w, next))
		p->ops[p->n++] = next;
	bool scaled = is_type(w, next, "Mul");
	p->n = scaled ? p->n + 1 : core;
	if (scaled)
		p->ops[p->n - 1] = next;
	p->off_outputs = p->n - 1;
	p->off_constants = scaled ? p->n - 1 : p->n; /* the scale stays quantized */
	return true;
}

/* ---- MatMul + Add whose weight is no matrix ---- */

static const struct quantsim_param_use *weight_of(const struct quantsim_work *w, int op)
{
	return w->first_param[op] < w->first_param[op + 1] ? &w->params[w->first_param[op]] : NULL;
}

/* The bias that the Add behind a MatMul adds; -1: it is no such pair. */
static int matmul_bias(const struct quantsim_work *w, int op)
{
	struct onnx_const info;
	int add = is_type(w, op, "MatMul") && weight_of(w, op) ? only_reader(w, op) : -1;
	if (!is_type(w, add, "Add") || w->ops[add].ninputs != 2)
		return -1;
	int bias = input_of(w, add, input_of(w, add, 0) == w->ops[op].outputs[0] ? 1 : 0);
	return bias >= 0 && onnx_model_const(w->qs->model, bias, &info) && info.rank == 1 ? bias : -1;
}

/* Makes the bias a parameter of the Add. */
static void note_bias(struct quantsim_work *w, int add, int bias)
{
	int at = w->first_param[add + 1];
	if (at > w->first_param[add])
		return;
	memmove(&w->params[at + 1], &w->params[at], (size_t)(w->nparams - at) * sizeof *w->params);
	w->params[at] = (struct quantsim_param_use){.op = add, .value = bias, .type = "bias"};
	w->nparams++;
	for (int i = add + 1; i <= w->qs->nops; i++)
		w->first_param[i]++;
}

static void silence_matmul(struct quantsim_work *w, int op)
{
	int bias = matmul_bias(w, op);
	struct quantsim_quantizer *out = quantsim_at(w->qs, w->ops[op].outputs[0]), *b = quantsim_at(w->qs, bias);
	const struct quantsim_quantizer *weight = bias < 0 ? NULL : quantsim_at(w->qs, weight_of(w, op)->value);
	if (!weight)
		return;
	if (out)
		out->enabled = false;
	note_bias(w, only_reader(w, op), bias);
	if (!b)
		return;
	b->enabled = false;
	b->mode.symmetric = true;
	b->granularity = weight->granularity;
	b->channel_axis = weight->channel_axis;
	b->block_axis = weight->block_axis;
}

/* ---- all ---- */

static bool match(const struct quantsim_work *w, enum quantsim_pass pass, int op, struct pattern *p)
{
	switch (pass) {
	case QUANTSIM_LAYER_NORM:
		return layer_norm(w, op, p);
	case QUANTSIM_RMS_NORM:
		return rms_norm(w, op, p);
	case QUANTSIM_MATMUL_ADD:
		*p = (struct pattern){.ops = {op, matmul_bias(w, op) < 0 ? -1 : only_reader(w, op)}, .n = 2};
		return p->ops[1] >= 0;
	default:
		return false;
	}
}

void quantsim_find_passes(struct quantsim_work *w, bool *found)
{
	struct pattern p;
	for (size_t i = 0; i < w->config->npasses; i++)
		for (int k = 0; k < w->norder; k++)
			if (match(w, w->config->passes[i], w->order[k], &p))
				for (int j = 0; j < p.n; j++)
					found[p.ops[j]] = true;
}

static void silence_constants(struct quantsim_work *w, int op)
{
	for (int k = 0; op >= 0 && k < w->ops[op].ninputs; k++) {
		struct quantsim_quantizer *q = quantsim_at(w->qs, w->ops[op].inputs[k]);
		if (q && !q->is_param && q->op < 0 && !onnx_model_value(w->qs->model, w->ops[op].inputs[k])->is_input)
			q->enabled = false;
	}
}

static void silence(struct quantsim_work *w, const struct pattern *p)
{
	for (int i = 0; i < p->off_outputs; i++)
		for (int k = 0; k < w->ops[p->ops[i]].noutputs; k++) {
			struct quantsim_quantizer *q = quantsim_at(w->qs, w->ops[p->ops[i]].outputs[k]);
			if (q)
				q->enabled = false;
		}
	for (int i = 0; i < p->off_constants; i++)
		silence_constants(w, p->ops[i]);
	silence_constants(w, p->last_constants);
	struct quantsim_quantizer *scale = quantsim_at(w->qs, p->scale);
	if (scale && scale->mode.bw == 16)
		scale->mode.symmetric = true;
}

void quantsim_apply_passes(struct quantsim_work *w)
{
	struct pattern p;
	for (size_t i = 0; i < w->config->npasses; i++)
		for (int k = 0; k < w->norder; k++)
			if (!match(w, w->config->passes[i], w->order[k], &p))
				continue;
			else if (w->config->passes[i] == QUANTSIM_MATMUL_ADD)
				silence_matmul(w, w->order[k]);
			else
				silence(w, &p);
}
