#include "core/quantsim/quantsim_parts.h"

#include <stdlib.h>
#include <string.h>

/* ---- ops that only move numbers ---- */

bool quantsim_keeps_grid(const char *op_type, const char *domain)
{
	static const char *const plain[] = {
		"Col2Im",         "Compress",  "DepthToSpace", "Dropout",   "Expand",       "Flatten", "Gather",
		"GatherElements", "GatherND",  "Identity",     "MaxPool",   "MaxRoiPool",   "NonZero", "Pad",
		"ReduceMax",      "ReduceMin", "Reshape",      "Slice",     "SpaceToDepth", "Split",   "SplitToSequence",
		"Squeeze",        "Tile",      "TopK",         "Transpose", "Unsqueeze"};
	for (size_t i = 0; i < sizeof plain / sizeof *plain && !*domain; i++)
		if (strcmp(op_type, plain[i]) == 0)
			return true;
	return strcmp(domain, "qti_aisw") == 0 && (strcmp(op_type, "BatchToSpace") == 0 || strcmp(op_type, "SpaceToBatch") == 0);
}

bool quantsim_joins_grids(const char *op_type, const char *domain)
{
	static const char *const types[] = {"Concat", "Scatter", "ScatterElements", "ScatterND"};
	for (size_t i = 0; i < sizeof types / sizeof *types && !*domain; i++)
		if (strcmp(op_type, types[i]) == 0)
			return true;
	return false;
}

/* ---- effective quantizers ---- */

static bool is_float_type(int elem_type)
{
	return elem_type == 1 || elem_type == 10 || elem_type == 16;
}

static bool moves_numbers(const struct quantsim *qs, const struct quantsim_op *op)
{
	if (op->fused || op->ninputs == 0 || op->inputs[0] < 0)
		return false;
	if (strcmp(op->type, "Cast") == 0)
		return value_types_is_float(qs->types, op->inputs[0]) &&
		       is_float_type((int)onnx_attr_int(qs->model, op->nodes[0], "to", 0));
	return quantsim_keeps_grid(op->type, op->domain);
}

int quantsim_path(const struct quantsim *qs, int value, int *path, int max, int *quantizer)
{
	int n = 0;
	*quantizer = -1;
	for (int op = quantsim_maker(qs, value); op >= 0 && moves_numbers(qs, &qs->ops[op]); op = quantsim_maker(qs, value)) {
		if (path && n < max)
			path[n++] = op;
		value = qs->ops[op].inputs[0];
		int q = qs->of_value[value];
		if (q >= 0 && qs->quantizers[qs->quantizers[q].shares].enabled) {
			*quantizer = q;
			break;
		}
	}
	return n;
}

int quantsim_effective(const struct quantsim *qs, int value)
{
	int q = qs->of_value[value];
	if (q < 0 || !qs->quantizers[qs->quantizers[q].shares].enabled)
		(void)quantsim_path(qs, value, NULL, 0, &q);
	return q;
}

/* ---- parameters ---- */

int quantsim_param(const struct quantsim *qs, int op, const char *param_type)
{
	const struct quantsim_param_use *params = qs->own->params;
	for (int p = qs->own->first_param[op]; p < qs->own->first_param[op + 1]; p++)
		if (strcmp(params[p].type, param_type) == 0)
			return qs->of_value[params[p].value];
	return -1;
}

static bool is_blocks(enum quant_granularity granularity)
{
	return granularity == QUANT_PER_BLOCK || granularity == QUANT_LPBQ;
}

bool quantsim_set_weight(struct quantsim *qs, int op, int bw, enum quant_granularity granularity, int64_t block_size)
{
	int weight = quantsim_param(qs, op, "weight"), bias = quantsim_param(qs, op, "bias");
	struct quantsim_quantizer *q = weight < 0 ? NULL : &qs->quantizers[weight];
	struct onnx_const shape;
	if (!q || !onnx_model_const(qs->model, q->value, &shape) || (granularity != QUANT_PER_TENSOR && q->channel_axis < 0))
		return false;
	if (is_blocks(granularity) && (q->block_axis < 0 || block_size < 1 || shape.shape[q->block_axis] % block_size))
		return false;
	q->granularity = granularity;
	q->block_size = is_blocks(granularity) ? block_size : 0;
	if (is_blocks(granularity))
		q->mode.symmetric = true;
	if (bw)
		q->mode.bw = bw;
	if (bias >= 0 && qs->quantizers[bias].channel_axis >= 0 && granularity != QUANT_PER_TENSOR) {
		qs->quantizers[bias].granularity = QUANT_PER_CHANNEL;
		qs->quantizers[bias].mode.symmetric = is_blocks(granularity) || qs->quantizers[bias].mode.symmetric;
	}
	return true;
}

static void force_granularity(struct quantsim *qs, const struct quantsim_settings *s)
{
	static const char *const types[] = {"Conv", "Gemm", "MatMul"};
	for (int i = 0; i < qs->nops && s->weights == QUANTSIM_FORCED; i++)
		for (size_t t = 0; t < sizeof types / sizeof *types; t++)
			if (quantsim_op_is(&qs->ops[i], types[t]))
				(void)quantsim_set_weight(qs, i, 0, s->granularity, s->block_size);
}

/* ---- new and free ---- */

int *quantsim_own_list(struct quantsim_own *own, const int *list, int n)
{
	int **lists = realloc(own->lists, (size_t)(own->nlists + 1) * sizeof *lists), *copy;
	if (!lists)
		return NULL;
	own->lists = lists;
	copy = malloc(((size_t)n + 1) * sizeof *copy);
	if (!copy)
		return NULL;
	memcpy(copy, list, (size_t)n * sizeof *copy);
	lists[own->nlists++] = copy;
	return copy;
}

/* Gives every quantizer the facts of the one it shares, and one of the sharers, the first, as the one that stands for all. */
static int settle_shares(struct quantsim *qs, struct err *e)
{
	int n = qs->nquantizers;
	struct quantsim_quantizer *facts = malloc(((size_t)n + 1) * sizeof *facts);
	int *first = malloc(((size_t)n + 1) * sizeof *first);
	int rc = -1;
	if (!facts || !first) {
		err_nomem(e, "shared quantizers");
		goto out;
	}
	for (int i = 0; i < n; i++) {
		facts[i] = qs->quantizers[i];
		first[i] = -1;
	}
	for (int i = 0; i < n; i++) {
		struct quantsim_quantizer *q = &qs->quantizers[i], own = *q;
		int shared = own.shares;
		first[shared] = first[shared] < 0 ? i : first[shared];
		*q = facts[shared];
		q->value = own.value;
		q->op = own.op;
		q->is_param = own.is_param;
		q->param_type = own.param_type;
		q->shares = first[shared];
	}
	rc = 0;
out:
	free(facts);
	free(first);
	return rc;
}

static void note_arguments(struct quantsim *qs, const struct quantsim_config *c, const struct quantsim_settings *s)
{
	qs->param_bw = s->param_bw;
	qs->output_bw = s->output_float16 ? 16 : s->output_bw;
	qs->params_symmetric = c->params_default.symmetric == QUANTSIM_ON;
	qs->per_channel = c->per_channel == QUANTSIM_ON;
	for (size_t i = 0; i < c->nops; i++)
		qs->per_channel = qs->per_channel || c->ops[i].per_channel == QUANTSIM_ON;
}

static int check_widths(const struct quantsim_settings *s, struct err *e)
{
	if (s->param_bw < QUANT_MIN_BW || s->param_bw > QUANT_MAX_BW)
		return err_set(e, ERR_BAD_PARAM, "parameters of %d bits; %d to %d can be simulated", s->param_bw, QUANT_MIN_BW,
		               QUANT_MAX_BW);
	if (!s->output_float16 && (s->output_bw < QUANT_MIN_BW || s->output_bw > QUANT_MAX_BW))
		return err_set(e, ERR_BAD_PARAM, "activations of %d bits; %d to %d can be simulated", s->output_bw, QUANT_MIN_BW,
		               QUANT_MAX_BW);
	return 0;
}

static int build(struct quantsim_work *w, const struct quantsim_settings *s, struct err *e)
{
	int rc = quantsim_graph(w, e) || quantsim_place(w, e) || quantsim_apply(w, s, e) ? -1 : 0;
	w->qs->own->params = w->params;
	w->qs->own->first_param = w->first_param;
	if (!rc) {
		quantsim_exceptions(w);
		rc = quantsim_tie(w, e);
	}
	if (!rc)
		rc = settle_shares(w->qs, e);
	if (!rc)
		force_granularity(w->qs, s);
	free(w->first_reader);
	free(w->readers);
	free(w->order);
	return rc;
}

static int new_from_config(struct quantsim *qs, const struct quantsim_settings *s, struct err *e)
{
	struct quantsim_config *config = check_widths(s, e) ? NULL : quantsim_config_new(s->config, e);
	if (!config)
		return -1;
	struct quantsim_work w = {.qs = qs, .config = config};
	int rc = build(&w, s, e);
	note_arguments(qs, config, s);
	quantsim_config_free(config);
	return rc;
}

struct quantsim *quantsim_new(const struct onnx_model *model, const struct value_types *types,
                              const struct quantsim_settings *settings, struct err *e)
{
	struct quantsim *qs = calloc(1, sizeof *qs);
	if (qs)
		qs->own = calloc(1, sizeof *qs->own);
	if (!qs || !qs->own) {
		err_nomem(e, "the simulation");
		free(qs);
		return NULL;
	}
	qs->model = model;
	qs->types = types;
	if (new_from_config(qs, settings, e)) {
		quantsim_free(qs);
		return NULL;
	}
	return qs;
}

void quantsim_free(struct quantsim *qs)
{
	if (!qs)
		return;
	struct quantsim_own *own = qs->own;
	for (int i = 0; i < qs->nops && own->ops; i++)
		if (own->ops[i].fused) {
			free((void *)(uintptr_t)own->ops[i].nodes);
			free((void *)(uintptr_t)own->ops[i].inputs);
		}
	for (int i = 0; i < own->names.n; i++)
		free(own->names.v[i]);
	for (int i = 0; i < own->nlists; i++)
		free(own->lists[i]);
	free(own->names.v);
	free(own->lists);
	free(own->node_numbers);
	free(own->op_of_node);
	free(own->producer_op);
	free(own->of_value);
	free(own->ops);
	free(own->params);
	free(own->first_param);
	free(own);
	free(qs->quantizers);
	free(qs);
}
