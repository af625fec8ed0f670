/* Which tensors have a quantizer, in which order, and along which axes a parameter's grids would run. */

#include "core/quantsim/quantsim_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- parameters ---- */

enum { MAX_PARAMS = 4 };

static const struct {
	const char *op;
	struct {
		const char *type;
		int input;
	} params[MAX_PARAMS + 1];
} table[] = {
	{"Conv", {{"weight", 1}, {"bias", 2}}},
	{"ConvTranspose", {{"weight", 1}, {"bias", 2}}},
	{"Gemm", {{"weight", 1}, {"bias", 2}}},
	{"InstanceNormalization", {{"weight", 1}, {"bias", 2}}},
	{"LayerNormalization", {{"weight", 1}, {"bias", 2}}},
	{"GroupNormalization", {{"weight", 1}, {"bias", 2}}},
	{"RMSNormalization", {{"weight", 1}}},
	{"BatchNormalization", {{"weight", 1}, {"bias", 2}, {"running_mean", 3}, {"running_var", 4}}},
	{"RNN", {{"weight", 1}, {"weight_r", 2}, {"bias", 3}}},
	{"LSTM", {{"weight", 1}, {"weight_r", 2}, {"bias", 3}}},
	{"GRU", {{"weight", 1}, {"weight_r", 2}, {"bias", 3}}},
};

static bool is_constant(const struct quantsim *qs, int value)
{
	struct onnx_const info;
	return value >= 0 && value_types_is_float(qs->types, value) && onnx_model_const(qs->model, value, &info);
}

/* The constant behind an input, through any number of Identities; -1: none. */
static int constant_behind(const struct quantsim *qs, int value)
{
	for (int op = quantsim_maker(qs, value); op >= 0 && quantsim_op_is(&qs->ops[op], "Identity");
	     op = quantsim_maker(qs, value))
		value = qs->ops[op].inputs[0];
	return is_constant(qs, value) ? value : -1;
}

/* MatMul looks through one Transpose instead. */
static int matmul_weight(const struct quantsim *qs, const struct quantsim_op *op, bool *transposed)
{
	int value = op->ninputs < 2 ? -1 : op->inputs[1], maker = quantsim_maker(qs, value);
	*transposed = false;
	if (is_constant(qs, value))
		return value;
	if (maker < 0 || !quantsim_op_is(&qs->ops[maker], "Transpose") || !is_constant(qs, qs->ops[maker].inputs[0]))
		return -1;
	*transposed = true;
	return qs->ops[maker].inputs[0];
}

static void add_param(struct quantsim_work *w, int op, int value, const char *type, bool transposed)
{
	if (value >= 0)
		w->params[w->nparams++] = (struct quantsim_param_use){op, value, type, transposed};
}

static void params_of(struct quantsim_work *w, int i)
{
	const struct quantsim_op *op = &w->ops[i];
	bool transposed;
	if (quantsim_op_is(op, "MatMul")) {
		int weight = matmul_weight(w->qs, op, &transposed);
		add_param(w, i, weight, "weight", transposed);
		return;
	}
	transposed = quantsim_op_is(op, "Gemm") &&
	             (op->transposed || (!op->fused && onnx_attr_int(w->qs->model, op->nodes[0], "transB", 0) != 0));
	for (size_t t = 0; t < sizeof table / sizeof *table; t++)
		for (int p = 0; quantsim_op_is(op, table[t].op) && table[t].params[p].type; p++)
			if (table[t].params[p].input < op->ninputs)
				add_param(w, i, constant_behind(w->qs, op->inputs[table[t].params[p].input]),
				          table[t].params[p].type, transposed);
}

static int find_params(struct quantsim_work *w, struct err *e)
{
	int nops = w->qs->nops;
	w->params = calloc((size_t)nops * MAX_PARAMS + 1, sizeof *w->params);
	w->first_param = calloc((size_t)nops + 1, sizeof *w->first_param);
	if (!w->params || !w->first_param)
		return err_nomem(e, "quantizers");
	for (int i = 0; i < nops; i++) {
		w->first_param[i] = w->nparams;
		params_of(w, i);
	}
	w->first_param[nops] = w->nparams;
	return 0;
}

/* Channel and block axis of an op's parameter, as the reference counts them (from the end for MatMul). */
static void axes_of(const struct quantsim_op *op, bool transposed, int rank, struct quantsim_quantizer *q)
{
	enum { NONE = 100 };
	int channel = NONE, block = NONE;
	if (rank == 1)
		channel = 0;
	else if (quantsim_op_is(op, "Conv"))
		channel = 0, block = 1;
	else if (quantsim_op_is(op, "ConvTranspose"))
		channel = 1, block = 0;
	else if (quantsim_op_is(op, "Gemm"))
		channel = transposed ? 0 : 1, block = transposed ? 1 : 0;
	else if (quantsim_op_is(op, "MatMul"))
		channel = transposed ? -2 : -1, block = transposed ? -1 : -2;
	if (channel == NONE)
		return;
	q->channel_axis_as_named = channel;
	q->channel_axis = channel < 0 ? channel + rank : channel;
	if (block != NONE)
		q->block_axis = block < 0 ? block + rank : block;
}

/* ---- activations ---- */

static bool output_is_ignored(const struct quantsim_op *op)
{
	static const char *const types[] = {"branch",  "Flatten", "Gather",   "Reshape", "Shape",     "Unsqueeze",
	                                    "Squeeze", "Split",   "Compress", "Tile",    "Transpose", "Identity"};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(op->type, types[i]) == 0)
			return true;
	return false;
}

/* Sizes and regions of Resize are no data, nor is the number that a masked softmax puts in. */
static bool is_setting(const struct quantsim_work *w, int value)
{
	int first = w->first_reader[value], end = w->first_reader[value + 1];
	bool only_masks = end > first;
	for (int r = first; r < end; r++) {
		const struct quantsim_op *op = &w->ops[w->readers[r]];
		if (strcmp(op->type, "Resize") == 0 && op->inputs[0] != value)
			return true;
		only_masks = only_masks && op->fused && strcmp(op->type, "MaskedSoftmax") == 0 && op->inputs[2] == value;
	}
	return only_masks;
}

static bool is_quantizable(const struct quantsim_work *w, int value)
{
	int op = quantsim_maker(w->qs, value);
	return value_types_is_float(w->qs->types, value) && !is_setting(w, value) && (op < 0 || !output_is_ignored(&w->ops[op]));
}

/* ---- both ---- */

static struct quantsim_quantizer *add(struct quantsim_work *w, int value, int op)
{
	struct quantsim *qs = w->qs;
	int i = qs->nquantizers++;
	w->of_value[value] = i;
	qs->quantizers[i] = (struct quantsim_quantizer){
		.value = value, .op = op, .shares = i, .channel_axis = -1, .block_axis = -1, .channel_axis_as_named = -1};
	return &qs->quantizers[i];
}

static void add_activation(struct quantsim_work *w, int value)
{
	if (value >= 0 && w->of_value[value] < 0 && is_quantizable(w, value))
		(void)add(w, value, quantsim_maker(w->qs, value));
}

static void place_params(struct quantsim_work *w)
{
	for (int i = 0; i < w->nparams; i++) {
		const struct quantsim_param_use *p = &w->params[i];
		struct onnx_const info;
		if (w->of_value[p->value] >= 0 || !onnx_model_const(w->qs->model, p->value, &info))
			continue;
		struct quantsim_quantizer *q = add(w, p->value, p->op);
		q->is_param = true;
		q->param_type = p->type;
		q->transposed = p->transposed && quantsim_op_is(&w->ops[p->op], "MatMul");
		axes_of(&w->ops[p->op], p->transposed, info.rank, q);
	}
}

static void place_activations(struct quantsim_work *w)
{
	const struct onnx_model *m = w->qs->model;
	for (size_t i = 0; i < onnx_model_inputs(m); i++)
		add_activation(w, onnx_model_find(m, onnx_model_input(m, i)->name));
	for (int i = 0; i < w->qs->nops; i++) {
		for (int k = 0; k < w->ops[i].ninputs; k++)
			add_activation(w, w->ops[i].inputs[k]);
		for (int k = 0; k < w->ops[i].noutputs; k++)
			add_activation(w, w->ops[i].outputs[k]);
	}
}

int quantsim_place(struct quantsim_work *w, struct err *e)
{
	struct quantsim *qs = w->qs;
	size_t nvalues = (size_t)onnx_model_values(qs->model);
	qs->quantizers = calloc(nvalues + 1, sizeof *qs->quantizers);
	qs->own->of_value = w->of_value = malloc((nvalues + 1) * sizeof *w->of_value);
	if (!qs->quantizers || !w->of_value)
		return err_nomem(e, "quantizers");
	qs->of_value = w->of_value;
	memset(w->of_value, -1, (nvalues + 1) * sizeof *w->of_value);
	if (find_params(w, e))
		return -1;
	place_params(w);
	place_activations(w);
	return 0;
}
