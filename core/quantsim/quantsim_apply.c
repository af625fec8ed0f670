/* The configuration's settings, from the general to the special; later ones win. */

#include "core/quantsim/quantsim_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a stage has set already: two rules of one stage must not contradict each other. */
enum { SET_ENABLED = 1, SET_SYMMETRIC = 2 };

struct stage {
	struct quantsim_work *w;
	unsigned char *set; /* [quantizers] */
	const char *what;   /* where the rules stand in the configuration */
	const char *type;   /* of the op in work */
	struct err *e;
};

static int contradiction(const struct stage *s, int value, const char *setting)
{
	return err_set(s->e, ERR_BAD_PARAM, "%s: for %s, the rule of %s (%s) contradicts that of another op at the same tensor",
	               s->what, onnx_model_value(s->w->qs->model, value)->name, s->type, setting);
}

static int set_flag(struct stage *s, int value, bool *to, enum quantsim_flag flag, unsigned char mark, const char *setting)
{
	unsigned char *set = &s->set[s->w->of_value[value]];
	if (flag == QUANTSIM_UNSET)
		return 0;
	if ((*set & mark) && *to != (flag == QUANTSIM_ON))
		return contradiction(s, value, setting);
	*to = flag == QUANTSIM_ON;
	*set |= mark;
	return 0;
}

/* The quantizer of an op's activation input or output; NULL for parameters and what has none. */
static struct quantsim_quantizer *activation(const struct quantsim_work *w, int value)
{
	struct quantsim_quantizer *q = quantsim_at(w->qs, value);
	return q && !q->is_param ? q : NULL;
}

static int set_enabled(struct stage *s, const int *values, int n, enum quantsim_flag flag, const char *setting)
{
	for (int i = 0; i < n; i++) {
		struct quantsim_quantizer *q = activation(s->w, values[i]);
		if (q && set_flag(s, values[i], &q->enabled, flag, SET_ENABLED, setting))
			return -1;
	}
	return 0;
}

static int set_symmetric(struct stage *s, const int *values, int n, enum quantsim_flag flag)
{
	for (int i = 0; i < n; i++) {
		struct quantsim_quantizer *q = activation(s->w, values[i]);
		if (q && set_flag(s, values[i], &q->mode.symmetric, flag, SET_SYMMETRIC, "is_symmetric"))
			return -1;
	}
	return 0;
}

static void constrain(struct quantsim_quantizer *q, double min, double max)
{
	q->constrained = true;
	q->constraint_min = min;
	q->constraint_max = max;
	if (!isinf(max) && fabs(min + max) <= 1e-8 + 1e-5 * fabs(max))
		q->mode.symmetric = true;
}

static void set_param(struct quantsim_quantizer *q, const struct quantsim_param_rule *rule)
{
	if (rule->quantized != QUANTSIM_UNSET)
		q->enabled = rule->quantized == QUANTSIM_ON;
	if (rule->symmetric != QUANTSIM_UNSET)
		q->mode.symmetric = rule->symmetric == QUANTSIM_ON;
}

static void set_params(struct quantsim_work *w, int op, const struct quantsim_param_rule *rules, size_t n)
{
	for (int p = w->first_param[op]; p < w->first_param[op + 1]; p++)
		for (size_t i = 0; i < n; i++)
			if (strcmp(rules[i].type, w->params[p].type) == 0)
				set_param(quantsim_at(w->qs, w->params[p].value), &rules[i]);
}

/* ---- defaults and parameter types ---- */

/* An activation that no op makes: an input, or a constant. */
static bool comes_from_outside(const struct quantsim_work *w, int q)
{
	return !w->qs->quantizers[q].is_param && w->qs->quantizers[q].op < 0;
}

static int apply_defaults(struct stage *s)
{
	struct quantsim_work *w = s->w;
	const struct quantsim_config *c = w->config;
	s->what = "/defaults/ops";
	for (int i = 0; i < w->qs->nops; i++) {
		const struct quantsim_op *op = &w->ops[i];
		s->type = op->type;
		if (quantsim_op_is(op, "Constant"))
			continue;
		if (set_enabled(s, op->outputs, op->noutputs, c->ops_output, "is_output_quantized") ||
		    set_symmetric(s, op->inputs, op->ninputs, c->ops_symmetric) ||
		    set_symmetric(s, op->outputs, op->noutputs, c->ops_symmetric))
			return -1;
	}
	for (int i = 0; i < w->qs->nquantizers; i++) {
		struct quantsim_quantizer *q = &w->qs->quantizers[i];
		if (comes_from_outside(w, i))
			q->enabled = false;
		if (q->is_param)
			set_param(q, &c->params_default);
		q->mode.strict_symmetric = c->strict_symmetric == QUANTSIM_ON;
		q->mode.unsigned_symmetric = c->unsigned_symmetric == QUANTSIM_ON;
	}
	return 0;
}

/* ---- op types ---- */

static int apply_op_rule(struct stage *s, int i, const struct quantsim_op_rule *rule)
{
	struct quantsim_work *w = s->w;
	const struct quantsim_op *op = &w->ops[i];
	s->type = op->type;
	if (set_enabled(s, op->inputs, op->ninputs, rule->input, "is_input_quantized") ||
	    set_enabled(s, op->outputs, op->noutputs, rule->output, "is_output_quantized") ||
	    set_symmetric(s, op->inputs, op->ninputs, rule->symmetric) ||
	    set_symmetric(s, op->outputs, op->noutputs, rule->symmetric))
		return -1;
	for (int k = 0; k < op->noutputs && rule->constrained; k++) {
		struct quantsim_quantizer *q = activation(w, op->outputs[k]);
		if (q)
			constrain(q, rule->min, rule->max);
	}
	set_params(w, i, rule->params, rule->nparams);
	return 0;
}

static int apply_op_types(struct stage *s)
{
	static const struct quantsim_op_rule silent = {
		.input = QUANTSIM_UNSET, .output = QUANTSIM_OFF, .symmetric = QUANTSIM_UNSET};
	s->what = "/op_type";
	for (int i = 0; i < s->w->qs->nops; i++) {
		const struct quantsim_op *op = &s->w->ops[i];
		const struct quantsim_op_rule *rule = quantsim_config_op(s->w->config, op->type);
		if (!rule && quantsim_keeps_grid(op->type, op->domain))
			rule = &silent;
		if (rule && !quantsim_op_is(op, "Constant") && apply_op_rule(s, i, rule))
			return -1;
	}
	return 0;
}

/* ---- the model's ends ---- */

static void apply_model_input(struct quantsim_work *w)
{
	for (int i = 0; i < w->qs->nquantizers && w->config->model_input == QUANTSIM_ON; i++) {
		int v = w->qs->quantizers[i].value;
		bool read = w->first_reader[v + 1] > w->first_reader[v];
		if (comes_from_outside(w, i) && (read || !onnx_model_value(w->qs->model, v)->is_input))
			w->qs->quantizers[i].enabled = true;
	}
}

static bool is_last(const struct quantsim_work *w, const struct quantsim_op *op)
{
	for (int k = 0; k < op->noutputs; k++)
		if (op->outputs[k] >= 0 && w->first_reader[op->outputs[k] + 1] > w->first_reader[op->outputs[k]])
			return false;
	return !quantsim_op_is(op, "Constant");
}

static void apply_model_output(struct quantsim_work *w)
{
	for (int i = 0; i < w->qs->nops && w->config->model_output == QUANTSIM_ON; i++)
		for (int k = 0; k < w->ops[i].noutputs && is_last(w, &w->ops[i]); k++) {
			struct quantsim_quantizer *q = activation(w, w->ops[i].outputs[k]);
			if (q)
				q->enabled = true;
		}
}

/* ---- widths and granularity ---- */

static void apply_widths(struct quantsim_work *w, const struct quantsim_settings *s)
{
	for (int i = 0; i < w->qs->nquantizers; i++) {
		struct quantsim_quantizer *q = &w->qs->quantizers[i];
		q->is_float16 = !q->is_param && s->output_float16;
		q->mode.bw = q->is_param ? s->param_bw : q->is_float16 ? 16 : s->output_bw;
	}
}

static void apply_granularity(struct quantsim_work *w)
{
	for (int i = 0; i < w->nparams; i++) {
		const struct quantsim_op_rule *rule = quantsim_config_op(w->config, w->ops[w->params[i].op].type);
		struct quantsim_quantizer *q = quantsim_at(w->qs, w->params[i].value);
		enum quantsim_flag flag = rule && rule->per_channel != QUANTSIM_UNSET ? rule->per_channel : w->config->per_channel;
		if (flag == QUANTSIM_ON && q->channel_axis >= 0)
			q->granularity = QUANT_PER_CHANNEL;
	}
}

/* ---- groups of ops ---- */

static int apply_groups(struct quantsim_work *w, struct err *e)
{
	bool *in_pattern = calloc((size_t)w->qs->nops + 1, sizeof *in_pattern),
	     *in_group = calloc((size_t)w->qs->nops + 1, sizeof *in_group);
	int rc = in_pattern && in_group ? 0 : err_nomem(e, "supergroups");
	if (!rc) {
		quantsim_find_passes(w, in_pattern);
		quantsim_supergroups(w, in_pattern, in_group);
	}
	free(in_pattern);
	free(in_group);
	return rc;
}

int quantsim_apply(struct quantsim_work *w, const struct quantsim_settings *s, struct err *e)
{
	struct stage stage = {.w = w, .e = e};
	size_t n = (size_t)w->qs->nquantizers + 1;
	stage.set = calloc(n, 1);
	if (!stage.set)
		return err_nomem(e, "quantizers");
	int rc = apply_defaults(&stage);
	for (int i = 0; i < w->qs->nops; i++)
		set_params(w, i, w->config->params, w->config->nparams);
	memset(stage.set, 0, n);
	if (!rc)
		rc = apply_op_types(&stage);
	free(stage.set);
	if (rc || apply_groups(w, e))
		return -1;
	apply_model_input(w);
	apply_model_output(w);
	apply_widths(w, s);
	apply_granularity(w);
	quantsim_apply_passes(w);
	return 0;
}
