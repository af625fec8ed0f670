#include "core/quantsim/quantsim_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void op_object(const struct quantsim *qs, const struct quantsim_op *op, struct json_out *w)
{
	json_out_object(w, NULL);
	json_out_string(w, "name", op->name);
	json_out_string(w, "type", op->type);
	json_out_array(w, "nodes");
	for (int i = 0; i < op->nnodes; i++)
		json_out_string(w, NULL, onnx_model_node(qs->model, op->nodes[i])->name);
	json_out_end_array(w);
	json_out_end_object(w);
}

static const char *name_of(const struct quantsim *qs, int quantizer)
{
	return onnx_model_value(qs->model, qs->quantizers[quantizer].value)->name;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* names has room for all quantizers. */
static void sharers(const struct quantsim *qs, int quantizer, const char **names, struct json_out *w)
{
	size_t n = 0;
	for (int i = 0; i < qs->nquantizers; i++)
		if (i != quantizer && qs->quantizers[i].shares == qs->quantizers[quantizer].shares)
			names[n++] = name_of(qs, i);
	qsort(names, n, sizeof *names, by_bytes);
	json_out_array(w, "shared_with");
	for (size_t i = 0; i < n; i++)
		json_out_string(w, NULL, names[i]);
	json_out_end_array(w);
}

static void range(const struct quantsim_quantizer *q, struct json_out *w)
{
	if (!q->constrained) {
		json_out_null(w, "constraint");
		return;
	}
	json_out_array(w, "constraint");
	json_out_real(w, NULL, q->constraint_min);
	json_out_real(w, NULL, q->constraint_max); /* infinity is null */
	json_out_end_array(w);
}

static void axes(const struct quantsim_quantizer *q, struct json_out *w)
{
	static const char *const names[] = {"PER_TENSOR", "PER_CHANNEL", "PER_BLOCK", "LPBQ"};
	json_out_string(w, "type", names[q->granularity]);
	if (q->granularity == QUANT_PER_TENSOR)
		json_out_null(w, "channel_axis");
	else
		json_out_integer(w, "channel_axis", q->channel_axis);
	if (!q->block_size) {
		json_out_null(w, "block");
		return;
	}
	json_out_array(w, "block");
	json_out_integer(w, NULL, q->block_axis);
	json_out_integer(w, NULL, q->block_size);
	json_out_end_array(w);
}

static void quantizer_object(const struct quantsim *qs, int i, const char **names, struct json_out *w)
{
	const struct quantsim_quantizer *q = &qs->quantizers[i];
	json_out_object(w, NULL);
	json_out_string(w, "name", name_of(qs, i));
	json_out_bool(w, "enabled", q->enabled);
	json_out_bool(w, "param", q->is_param);
	json_out_string(w, "param_type", q->param_type);
	json_out_string(w, "op", q->op < 0 ? NULL : qs->ops[q->op].name);
	json_out_integer(w, "bitwidth", q->mode.bw);
	json_out_string(w, "dtype", q->is_float16 ? "float" : "int");
	json_out_bool(w, "symmetric", q->mode.symmetric);
	json_out_bool(w, "strict", q->mode.strict_symmetric);
	json_out_bool(w, "unsigned", q->mode.unsigned_symmetric);
	axes(q, w);
	range(q, w);
	sharers(qs, i, names, w);
	json_out_end_object(w);
}

int quantsim_to_json(const struct quantsim *qs, struct json_out *w, const char *key, struct err *e)
{
	const char **names = calloc((size_t)qs->nquantizers + 1, sizeof *names);
	if (!names)
		return err_nomem(e, "the list of quantizers");
	json_out_object(w, key);
	json_out_array(w, "ops");
	for (int i = 0; i < qs->nops; i++)
		op_object(qs, &qs->ops[i], w);
	json_out_end_array(w);
	json_out_array(w, "quantizers");
	for (int i = 0; i < qs->nquantizers; i++)
		quantizer_object(qs, i, names, w);
	json_out_end_array(w);
	json_out_end_object(w);
	free(names);
	return 0;
}
