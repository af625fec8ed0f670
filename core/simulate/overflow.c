#include "core/simulate/overflow.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT16 = 10 }; /* ONNX TensorProto.DataType */

static const double steps = 0x1p31 - 0x1p15; /* of 2^31; some are left for rounding errors */

/* sw, or what the sum of that size needs. */
static float hold(float sw, float sx, float sum)
{
	return (float)fmax((double)sw, fabs((double)sum / (steps * (double)sx)));
}

float overflow_scale(float sw, float sx, const float *bias, size_t n, float sy, float oy, float least)
{
	float first = sw;
	for (size_t i = 0; i < n; i++)
		first = fmaxf(first, hold(sw, sx, bias[i]));
	sw = first;
	if (sy > 0) {
		sw = fmaxf(sw,
		           1 / sx *
		                   ((float)0x1.6a09e667f3bcdp-24 * sy)); /* 2^-23.5 * sy / sx, rounded as the reference rounds it */
		float on = sx * sw, most = sw;
		for (size_t i = 0; i < n; i++)
			most = fmaxf(most, hold(sw, sx, (rintf(bias[i] / on) + rintf(oy * sy / on)) * on));
		sw = most;
	}
	return sx >= least && sx * sw < least ? least / sx : sw;
}

static bool is_linear(const struct quantsim_op *op)
{
	static const char *const types[] = {"Conv", "Gemm", "MatMul", "ConvTranspose"};
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (!*op->domain && strcmp(op->type, types[i]) == 0)
			return true;
	return false;
}

/* The quantizer of the bias that belongs to op; -1: none. A MatMul's is that of the Add that follows. */
static int bias_of(const struct quantsim *qs, int op)
{
	const struct quantsim_op *o = &qs->ops[op];
	if (strcmp(o->type, "MatMul") != 0)
		return quantsim_param(qs, op, "bias");
	const struct onnx_value *y = onnx_model_value(qs->model, o->outputs[0]);
	int add = y->nreaders == 1 ? qs->op_of_node[y->readers[0]] : -1;
	return add >= 0 && strcmp(qs->ops[add].type, "Add") == 0 ? quantsim_param(qs, add, "bias") : -1;
}

/* The bias's numbers, malloc'ed, *n of them; where there is none, as many zeros as there are grids. */
static float *biases(const struct quantsim *qs, int q, size_t grids, size_t *n, float *least, struct err *e)
{
	struct onnx_const c = {.count = (int64_t)grids};
	int v = q < 0 ? -1 : qs->quantizers[q].value;
	bool known = onnx_model_const(qs->model, v, &c);
	float *b = calloc((size_t)c.count + 1, sizeof *b);
	*n = (size_t)c.count;
	*least = known && c.elem_type == FLOAT16 ? 0x1p-14f : 0;
	if (!b)
		err_nomem(e, "a bias");
	if (b && known && onnx_model_const_floats(qs->model, v, b, e)) {
		free(b);
		b = NULL;
	}
	return b;
}

/* The grid of an integer quantizer that the tensor's numbers lie on; NULL: none. */
static const struct quant_grid *grid_of(const struct sim *s, int value)
{
	const struct quantsim *qs = sim_quantsim(s);
	int q = value < 0 ? -1 : quantsim_effective(qs, value);
	return q < 0 || qs->quantizers[q].is_float16 ? NULL : sim_grids(s, q);
}

static int adjust(struct sim *s, int op, int w, overflow_fn *frozen, void *ctx, struct err *e)
{
	const struct quantsim *qs = sim_quantsim(s);
	const struct quantsim_op *o = &qs->ops[op];
	const struct quant_grid *x = grid_of(s, o->inputs[0]), *y = grid_of(s, o->outputs[0]), *old = sim_grids(s, w);
	if (!x || !old)
		return 0;
	struct quant_mode mode = qs->quantizers[w].mode;
	float top = (float)((1 << mode.bw) - 1 - (mode.symmetric && mode.strict_symmetric)), least;
	size_t n = sim_grid_count(qs, w), nbias;
	bool raised = false;
	float *bias = biases(qs, bias_of(qs, op), n, &nbias, &least, e);
	struct quant_grid *g = malloc(n * sizeof *g);
	int rc = bias && g ? 0 : bias ? err_nomem(e, "scales") : -1;
	bool each = nbias == n && n > 1;
	for (size_t i = 0; !rc && i < n; i++) {
		float sw = (float)old[i].delta, offset = (float)old[i].offset;
		float d = overflow_scale(sw, (float)x->delta, each ? bias + i : bias, each ? 1 : nbias, y ? (float)y->delta : 0,
		                         y ? (float)y->offset : 0, least);
		raised = raised || d > sw;
		g[i] = (struct quant_grid){(double)(d * offset), (double)((top + offset) * d), (double)d, old[i].offset};
	}
	if (!rc && sim_frozen(s, w) && raised)
		frozen(ctx, w);
	if (!rc && !sim_frozen(s, w))
		rc = sim_set_grids(s, w, g, false, e);
	free(bias);
	free(g);
	return rc;
}

int overflow_adjust(struct sim *s, overflow_fn *frozen, void *ctx, struct err *e)
{
	const struct quantsim *qs = sim_quantsim(s);
	for (int op = 0; op < qs->nops; op++) {
		int w = is_linear(&qs->ops[op]) ? quantsim_param(qs, op, "weight") : -1;
		if (w < 0 || !sim_is_active(s, w) || qs->quantizers[w].is_float16)
			continue;
		if (qs->quantizers[w].granularity != QUANT_PER_TENSOR && qs->quantizers[w].granularity != QUANT_PER_CHANNEL)
			continue;
		if (adjust(s, op, w, frozen, ctx, e))
			return -1;
	}
	return 0;
}
