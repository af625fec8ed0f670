/* What hardware's kernels ask for whatever the configuration says. */

#include "core/quantsim/quantsim_parts.h"

#include <string.h>

static bool is_old_hardware(const char *version)
{
	return version && (strcmp(version, "V66") == 0 || strcmp(version, "V68") == 0 || strcmp(version, "V69") == 0);
}

static bool is_param_value(const struct quantsim *qs, int value)
{
	int q = value < 0 ? -1 : qs->of_value[value];
	return q >= 0 && qs->quantizers[q].is_param;
}

static struct quantsim_quantizer *effective(struct quantsim_work *w, int value)
{
	int q = value < 0 ? -1 : quantsim_effective(w->qs, value);
	return q < 0 ? NULL : &w->qs->quantizers[w->qs->quantizers[q].shares];
}

/* The second operand of a product that is no constant plays the weight's part, so it has a weight's symmetry. */
static void operand_as_weight(struct quantsim_work *w, int op)
{
	static const char *const types[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
	const struct quantsim_op *o = &w->ops[op];
	const struct quantsim_op_rule *rule = quantsim_config_op(w->config, o->type);
	enum quantsim_flag symmetric = w->config->params_default.symmetric;
	bool product = false;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		product = product || strcmp(o->type, types[i]) == 0;
	if (!product || o->ninputs < 2 || is_param_value(w->qs, o->inputs[1]))
		return;
	for (size_t i = 0; rule && i < rule->nparams; i++)
		if (strcmp(rule->params[i].type, "weight") == 0 && rule->params[i].symmetric != QUANTSIM_UNSET)
			symmetric = rule->params[i].symmetric;
	struct quantsim_quantizer *q = effective(w, o->inputs[1]);
	if (q)
		q->mode.symmetric = symmetric == QUANTSIM_ON;
}

/* Normalizations have no kernels for narrow parameters. */
static void widen_norm(struct quantsim_work *w, int op)
{
	const struct quantsim_op *o = &w->ops[op];
	const struct quantsim_quantizer *out = o->noutputs ? quantsim_at(w->qs, o->outputs[0]) : NULL;
	bool as_output = strcmp(o->type, "GroupNormalization") == 0 || strcmp(o->type, "InstanceNormalization") == 0 ||
	                 strcmp(o->type, "RMSNormalization") == 0;
	bool as_width = strcmp(o->type, "LayerNormalization") == 0 || strcmp(o->type, "BatchNormalization") == 0;
	bool out_on = out && out->enabled;
	for (int p = w->first_param[op]; p < w->first_param[op + 1] && (as_output || as_width); p++) {
		struct quantsim_quantizer *q = quantsim_at(w->qs, w->params[p].value);
		if (!q || !q->enabled || q->is_float16)
			continue;
		q->mode.bw = q->mode.bw < 8 ? 8 : q->mode.bw;
		if (as_output) {
			q->mode.symmetric = out_on && out->mode.symmetric;
			q->mode.bw = out_on ? out->mode.bw : q->mode.bw;
		} else {
			q->mode.bw = is_old_hardware(w->config->hw_version) ? 8 : q->mode.bw;
			q->mode.symmetric = q->mode.bw >= 16;
		}
	}
}

/* Products of two activations: old hardware has 8-bit symmetric second operands only; on newer one, 16 bits on the right are symmetric and need 16 on the left. */
static void match_operands(struct quantsim_work *w, int op)
{
	const struct quantsim_op *o = &w->ops[op];
	if (strcmp(o->type, "MatMul") != 0 || o->ninputs < 2 || is_param_value(w->qs, o->inputs[1]) || !w->config->hw_version)
		return;
	struct quantsim_quantizer *left = effective(w, o->inputs[0]), *right = effective(w, o->inputs[1]);
	if (!left || !right || left->is_float16 || right->is_float16)
		return;
	if (is_old_hardware(w->config->hw_version)) {
		right->mode.symmetric = true;
		right->mode.bw = 8;
	} else if (right->mode.bw == 16) {
		right->mode.symmetric = true;
		left->mode.bw = 16;
	}
}

/* Channels of a grouped transposed convolution do not lie along one axis of its weight. */
static void one_grid_for_groups(struct quantsim_work *w, int op)
{
	if (!quantsim_op_is(&w->ops[op], "ConvTranspose") || onnx_attr_int(w->qs->model, w->ops[op].nodes[0], "group", 1) == 1)
		return;
	for (int p = w->first_param[op]; p < w->first_param[op + 1]; p++)
		if (strcmp(w->params[p].type, "weight") == 0)
			quantsim_at(w->qs, w->params[p].value)->granularity = QUANT_PER_TENSOR;
}

void quantsim_exceptions(struct quantsim_work *w)
{
	for (int i = 0; i < w->norder; i++)
		operand_as_weight(w, w->order[i]);
	for (int i = 0; i < w->qs->nops; i++) {
		widen_norm(w, i);
		match_operands(w, i);
		one_grid_for_groups(w, i);
	}
}
