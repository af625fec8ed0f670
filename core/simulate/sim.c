#include "core/simulate/sim.h"

#include "core/base/half.h"
#include "core/grid/lpbq.h"

#include <stdlib.h>
#include <string.h>

struct grids {
	struct quant_grid *g; /* NULL: not known */
	bool frozen;
};

struct sim {
	struct quantsim *qs;
	struct grids *grids; /* [nquantizers]; of tied ones only that of the one that stands for all */
};

/* ---- grids ---- */

struct sim *sim_new(struct quantsim *qs, struct err *e)
{
	struct sim *s = calloc(1, sizeof *s);
	if (s) {
		s->qs = qs;
		s->grids = calloc((size_t)qs->nquantizers + 1, sizeof *s->grids);
	}
	if (!s || !s->grids) {
		err_nomem(e, "the simulation");
		sim_free(s);
		return NULL;
	}
	return s;
}

void sim_free(struct sim *s)
{
	if (!s)
		return;
	for (int q = 0; s->grids && q < s->qs->nquantizers; q++)
		free(s->grids[q].g);
	free(s->grids);
	free(s);
}

struct sim *sim_copy(const struct sim *s, struct err *e)
{
	struct sim *copy = sim_new(s->qs, e);
	for (int q = 0; copy && q < s->qs->nquantizers; q++)
		if (s->grids[q].g && sim_set_grids(copy, q, s->grids[q].g, s->grids[q].frozen, e)) {
			sim_free(copy);
			copy = NULL;
		}
	return copy;
}

struct quantsim *sim_quantsim(const struct sim *s)
{
	return s->qs;
}

static int64_t axis_length(const struct quantsim *qs, const struct quantsim_quantizer *q, int axis)
{
	struct onnx_const c;
	return axis >= 0 && onnx_model_const(qs->model, q->value, &c) && axis < c.rank ? c.shape[axis] : 1;
}

size_t sim_blocks(const struct quantsim *qs, int i)
{
	const struct quantsim_quantizer *q = &qs->quantizers[i];
	if (q->granularity != QUANT_PER_BLOCK && q->granularity != QUANT_LPBQ)
		return 1;
	return (size_t)(axis_length(qs, q, q->block_axis) / q->block_size);
}

size_t sim_grid_count(const struct quantsim *qs, int i)
{
	const struct quantsim_quantizer *q = &qs->quantizers[i];
	if (q->granularity == QUANT_PER_TENSOR)
		return 1;
	return (size_t)axis_length(qs, q, q->channel_axis) * sim_blocks(qs, i);
}

int sim_set_grids(struct sim *s, int q, const struct quant_grid *grids, bool frozen, struct err *e)
{
	struct grids *to = &s->grids[s->qs->quantizers[q].shares];
	size_t n = sim_grid_count(s->qs, q);
	struct quant_grid *copy = malloc((n ? n : 1) * sizeof *copy);
	if (!copy)
		return err_nomem(e, "the simulation");
	memcpy(copy, grids, n * sizeof *copy);
	free(to->g);
	to->g = copy;
	to->frozen = frozen;
	return 0;
}

const struct quant_grid *sim_grids(const struct sim *s, int q)
{
	return s->grids[s->qs->quantizers[q].shares].g;
}

bool sim_frozen(const struct sim *s, int q)
{
	return s->grids[s->qs->quantizers[q].shares].frozen;
}

bool sim_is_active(const struct sim *s, int q)
{
	const struct quantsim_quantizer *x = &s->qs->quantizers[q];
	return x->enabled && (x->is_float16 || sim_grids(s, q));
}

/* ---- parameters ---- */

int sim_each_span(const struct quantsim *qs, int i, sim_span_fn *f, void *ctx, struct err *e)
{
	const struct quantsim_quantizer *q = &qs->quantizers[i];
	struct onnx_const c;
	if (!onnx_model_const(qs->model, q->value, &c))
		return err_set(e, ERR_INTERNAL, "the parameter %s is no constant", onnx_model_value(qs->model, q->value)->name);
	if (c.count == 0)
		return 0;
	if (q->granularity == QUANT_PER_TENSOR)
		return f(ctx, 0, 0, (size_t)c.count, e);
	bool blocks = q->granularity != QUANT_PER_CHANNEL;
	int ca = q->channel_axis, ba = blocks ? q->block_axis : -1, last = ca > ba ? ca : ba;
	size_t per_channel = sim_blocks(qs, i), span = 1;
	for (int a = last + 1; a < c.rank; a++)
		span *= (size_t)c.shape[a];
	/* Neighbours along the block axis share a grid, too, where nothing varies faster. */
	size_t step = ba > ca ? (size_t)q->block_size : 1, runs = (size_t)c.count / (span * step);
	for (size_t r = 0; r < runs; r++) {
		size_t rest = r * step, at[2] = {0, 0};
		for (int a = last; a >= 0; rest /= (size_t)c.shape[a--]) {
			if (a == ca)
				at[0] = rest % (size_t)c.shape[a];
			if (a == ba)
				at[1] = rest % (size_t)c.shape[a] / (size_t)q->block_size;
		}
		if (f(ctx, at[0] * per_channel + at[1], r * step * span, step * span, e))
			return -1;
	}
	return 0;
}

/* The grids that numbers are put on: for LPBQ the compressed ones, in *mine, malloc'ed; in float32 as the reference computes them. */
static const struct quant_grid *grids_in_use(const struct sim *s, int i, struct quant_grid **mine, struct err *e)
{
	const struct quantsim_quantizer *q = &s->qs->quantizers[i];
	const struct quant_grid *g = sim_grids(s, i);
	size_t n = sim_grid_count(s->qs, i), blocks = sim_blocks(s->qs, i), channels = blocks ? n / blocks : 0;
	*mine = NULL;
	if (q->granularity != QUANT_LPBQ || !n || !blocks)
		return g;
	double *scale = malloc(n * sizeof *scale), *channel = malloc((channels + 1) * sizeof *channel);
	int *factor = malloc(n * sizeof *factor);
	*mine = malloc(n * sizeof **mine);
	bool ok = scale && channel && factor && *mine;
	if (!ok)
		err_nomem(e, "the simulation");
	for (size_t k = 0; ok && k < n; k++)
		scale[k] = g[k].delta;
	if (ok)
		lpbq_compress(channels, blocks, scale, q->mode.bw, channel, factor);
	float top = (float)((1 << q->mode.bw) - 1 - (q->mode.symmetric && q->mode.strict_symmetric));
	for (size_t k = 0; ok && k < n; k++) {
		float d = (float)(channel[k / blocks] * factor[k]), o = (float)g[k].offset;
		(*mine)[k] = (struct quant_grid){(double)(d * o), (double)((top + o) * d), (double)d, g[k].offset};
	}
	free(scale);
	free(channel);
	free(factor);
	return ok ? *mine : NULL;
}

struct put {
	const struct quant_grid *grids;
	float *x;
};

static int put_on_grid(void *ctx, size_t grid, size_t at, size_t n, struct err *e)
{
	const struct put *p = ctx;
	(void)e;
	quant_fake(p->grids[grid], n, p->x + at, p->x + at);
	return 0;
}

static int quantize(const struct sim *s, int q, float *x, size_t n, struct err *e)
{
	struct quant_grid *mine = NULL;
	if (s->qs->quantizers[q].is_float16) {
		for (size_t i = 0; i < n; i++)
			x[i] = half_to_float(half_from_float(x[i]));
		return 0;
	}
	struct put p = {grids_in_use(s, q, &mine, e), x};
	int rc = p.grids ? sim_each_span(s->qs, q, put_on_grid, &p, e) : -1;
	free(mine);
	return rc;
}

float *sim_parameter(const struct sim *s, int q, struct err *e)
{
	int v = s->qs->quantizers[q].value;
	struct onnx_const c;
	if (!onnx_model_const(s->qs->model, v, &c)) {
		err_set(e, ERR_INTERNAL, "the parameter %s is no constant", onnx_model_value(s->qs->model, v)->name);
		return NULL;
	}
	float *x = malloc((c.count ? (size_t)c.count : 1) * sizeof *x);
	if (!x) {
		err_nomem(e, "a parameter");
		return NULL;
	}
	if (onnx_model_const_floats(s->qs->model, v, x, e) || (sim_is_active(s, q) && quantize(s, q, x, (size_t)c.count, e))) {
		free(x);
		return NULL;
	}
	return x;
}

/* ---- what a file says ---- */

static int add_encoding(const struct sim *s, int i, struct encodings *out, struct err *e)
{
	const struct quantsim_quantizer *q = &s->qs->quantizers[i];
	struct onnx_const c = {0};
	(void)onnx_model_const(s->qs->model, q->value, &c);
	size_t n = q->is_float16 ? 0 : sim_grid_count(s->qs, i);
	struct encoding x = {
		.is_float16 = q->is_float16,
		.mode = q->mode,
		.granularity = q->granularity,
		.channel_axis = q->channel_axis,
		.block_axis = q->block_axis,
		.rank = c.rank,
		.block_size = q->block_size,
		.channels = n / sim_blocks(s->qs, i),
		.n = n,
		.grids = q->is_float16 ? NULL : sim_grids(s, i),
	};
	return encodings_add(out, !q->is_param, onnx_model_value(s->qs->model, q->value)->name, &x, e);
}

int sim_encodings(const struct sim *s, const char *quant_scheme, struct encodings *out, struct err *e)
{
	out->param_bw = s->qs->param_bw;
	out->activation_bw = s->qs->output_bw;
	out->per_channel = s->qs->per_channel;
	out->symmetric_params = s->qs->params_symmetric;
	out->quant_scheme = strdup(quant_scheme);
	if (!out->quant_scheme)
		return err_nomem(e, "the encodings");
	for (int q = 0; q < s->qs->nquantizers; q++)
		if (sim_is_active(s, q) && add_encoding(s, q, out, e))
			return -1;
	return 0;
}
