/* Chains of ops that hardware runs as one, by op type: what flows inside them is not quantized. */

#include "core/quantsim/quantsim_parts.h"

#include <string.h>

/* Convolutions in three dimensions and depthwise ones are run by other kernels, which join nothing. */
static bool is_special_conv(const struct quantsim_work *w, const struct quantsim_op *op)
{
	struct onnx_const weight;
	bool conv = quantsim_op_is(op, "Conv"), transposed = quantsim_op_is(op, "ConvTranspose");
	if ((!conv && !transposed) || op->ninputs < 2)
		return false;
	int64_t groups = onnx_attr_int(w->qs->model, op->nodes[0], "group", 1);
	const int64_t *shape = NULL;
	int rank = -1;
	if (onnx_model_const(w->qs->model, op->inputs[1], &weight)) {
		shape = weight.shape;
		rank = weight.rank;
	}
	for (size_t i = 0; i < onnx_model_inputs(w->qs->model); i++)
		if (onnx_model_find(w->qs->model, onnx_model_input(w->qs->model, i)->name) == op->inputs[0] &&
		    onnx_model_input(w->qs->model, i)->rank == 5)
			return true;
	return rank == 5 || (groups > 1 && rank > 1 && (conv ? shape[1] == 1 : shape[0] == groups));
}

static bool matches(const struct quantsim_work *w, int op, const struct quantsim_group *group, int *chain)
{
	for (size_t i = 0; i < group->n; i++) {
		const struct quantsim_op *o = &w->ops[op];
		if (strcmp(o->type, group->types[i]) != 0)
			return false;
		chain[i] = op;
		int edges = 0;
		for (int k = 0; k < o->noutputs && i + 1 < group->n; k++) {
			int v = o->outputs[k], n = v < 0 ? 0 : w->first_reader[v + 1] - w->first_reader[v];
			edges += n;
			if (n)
				op = w->readers[w->first_reader[v]];
		}
		if (i + 1 < group->n && edges != 1)
			return false;
	}
	return true;
}

static void apply(struct quantsim_work *w, const struct quantsim_group *group, const bool *may_not_begin, bool *in_group)
{
	int chain[16];
	for (int i = 0; i < w->qs->nops; i++) {
		bool taken = false;
		if (quantsim_op_is(&w->ops[i], "Constant") || may_not_begin[i] || is_special_conv(w, &w->ops[i]) ||
		    !matches(w, i, group, chain))
			continue;
		for (size_t k = 0; k < group->n; k++)
			taken = taken || in_group[chain[k]];
		for (size_t k = 0; k < group->n && !taken; k++) {
			const struct quantsim_op *op = &w->ops[chain[k]];
			in_group[chain[k]] = true;
			for (int out = 0; out < op->noutputs && k + 1 < group->n; out++) {
				struct quantsim_quantizer *q = quantsim_at(w->qs, op->outputs[out]);
				if (q && !q->is_param)
					q->enabled = false;
			}
		}
	}
}

/* Longer chains first; among equals the configuration's order. An op is part of one group at most. */
void quantsim_supergroups(struct quantsim_work *w, const bool *may_not_begin, bool *in_group)
{
	for (size_t length = 16; length >= 2; length--)
		for (size_t g = 0; g < w->config->ngroups; g++)
			if (w->config->groups[g].n == length)
				apply(w, &w->config->groups[g], may_not_begin, in_group);
}
