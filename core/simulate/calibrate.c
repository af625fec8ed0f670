#include "core/simulate/calibrate.h"

#include "core/base/half.h"
#include "core/simulate/overflow.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT = 1, FLOAT16 = 10 }; /* ONNX TensorProto.DataType */

/* What an activation quantizer has seen. */
struct watch {
	struct observer o;
	bool huge;       /* values of at least DEGENERATE_FROM; only then the rest counts */
	float low, high; /* of all smaller ones */
};

struct run {
	struct sim *s;
	const struct quantsim *qs;
	const struct calibrate_settings *settings;
	struct calibrate_hooks hooks;
	struct watch *watches; /* [nquantizers]; used: those that stand for an enabled activation quantizer */
	float *floats;         /* scratch for 16-bit tensors */
	size_t room;
};

static const char *name_of(const struct run *r, int q)
{
	return onnx_model_value(r->qs->model, r->qs->quantizers[q].value)->name;
}

static void warn(const struct run *r, const char *code, int q, const char *detail)
{
	if (r->hooks.warning)
		r->hooks.warning(r->hooks.ctx, code, name_of(r, q), detail);
}

/* ---- parameters ---- */

/* A parameter's numbers sorted by grid. */
struct sorted {
	const float *x;
	float *out;     /* [grids][each] */
	size_t *filled; /* [grids] */
	size_t each;
};

static int sort_span(void *ctx, size_t grid, size_t at, size_t n, struct err *e)
{
	struct sorted *s = ctx;
	(void)e;
	memcpy(s->out + grid * s->each + s->filled[grid], s->x + at, n * sizeof *s->out);
	s->filled[grid] += n;
	return 0;
}

static int grid_of_numbers(const struct run *r, int q, size_t n, const float *x, struct quant_grid *g, struct err *e)
{
	struct observer o;
	observer_init(&o, r->settings->param_scheme);
	int rc = observer_update(&o, n, x, e);
	if (!rc)
		*g = observer_grid(&o, r->qs->quantizers[q].mode, r->settings->percentile);
	observer_fini(&o);
	return rc;
}

static int calibrate_parameter(const struct run *r, int q, struct err *e)
{
	struct onnx_const c;
	size_t grids = sim_grid_count(r->qs, q);
	int v = r->qs->quantizers[q].value, rc = -1;
	if (!onnx_model_const(r->qs->model, v, &c) || c.count == 0)
		return 0;
	float *x = malloc((size_t)c.count * sizeof *x);
	struct sorted s = {x, malloc((size_t)c.count * sizeof *s.out), calloc(grids, sizeof *s.filled), (size_t)c.count / grids};
	struct quant_grid *g = malloc(grids * sizeof *g);
	if (!x || !s.out || !s.filled || !g) {
		err_nomem(e, "a parameter");
		goto out;
	}
	rc = onnx_model_const_floats(r->qs->model, v, x, e);
	if (!rc)
		rc = sim_each_span(r->qs, q, sort_span, &s, e);
	for (size_t i = 0; !rc && i < grids; i++)
		rc = grid_of_numbers(r, q, s.each, s.out + i * s.each, &g[i], e);
	if (!rc)
		rc = sim_set_grids(r->s, q, g, false, e);
out:
	free(x);
	free(s.out);
	free(s.filled);
	free(g);
	return rc;
}

static int calibrate_parameters(const struct run *r, struct err *e)
{
	for (int q = 0; q < r->qs->nquantizers; q++) {
		const struct quantsim_quantizer *x = &r->qs->quantizers[q];
		if (x->is_param && x->enabled && !x->is_float16 && !sim_frozen(r->s, q) && calibrate_parameter(r, q, e))
			return -1;
	}
	return 0;
}

/* ---- activations ---- */

/* A tensor's numbers as floats; NULL: no memory. */
static const float *floats_of(struct run *r, const struct ort_tensor *t, struct err *e)
{
	if (t->elem_type == FLOAT)
		return t->data;
	if (r->room < t->count) {
		free(r->floats);
		r->floats = malloc(t->count * sizeof *r->floats);
		r->room = r->floats ? t->count : 0;
	}
	if (r->room < t->count) {
		err_nomem(e, "a tensor");
		return NULL;
	}
	const uint16_t *half = t->data;
	for (size_t i = 0; i < t->count; i++)
		r->floats[i] = t->elem_type == FLOAT16 ? half_to_float(half[i]) : bfloat_to_float(half[i]);
	return r->floats;
}

static void see_ordinary(struct watch *w, size_t n, const float *x)
{
	for (size_t i = 0; i < n; i++)
		if (fabsf(x[i]) < DEGENERATE_FROM) {
			w->low = fminf(w->low, x[i]);
			w->high = fmaxf(w->high, x[i]);
		}
}

static int observe(void *ctx, int q, const struct ort_tensor *t, struct err *e)
{
	struct run *r = ctx;
	struct watch *w = &r->watches[r->qs->quantizers[q].shares];
	const float *x = t->count ? floats_of(r, t, e) : NULL;
	if (!x)
		return t->count ? -1 : 0;
	float low = w->o.min, high = w->o.max;
	if (observer_update(&w->o, t->count, x, e))
		return -1;
	if (w->huge || w->o.min <= -DEGENERATE_FROM || w->o.max >= DEGENERATE_FROM) {
		if (!w->huge) { /* all until now were ordinary */
			w->low = fminf(low, 0);
			w->high = fmaxf(high, 0);
		}
		w->huge = true;
		see_ordinary(w, t->count, x);
	}
	return 0;
}

static int check_canceled(const struct run *r, struct err *e)
{
	return r->hooks.canceled && r->hooks.canceled(r->hooks.ctx) ? err_set(e, ERR_CANCELED, "canceled") : 0;
}

bool calibrate_in_slices(const struct calibrate_settings *s)
{
	return s->scheme == SCHEME_TF;
}

static int watch_all(struct run *r, struct ort *ort, struct calib *data, struct err *e)
{
	size_t nout = onnx_model_outputs(r->qs->model);
	struct ort_value **out = calloc(nout + 1, sizeof(struct ort_value *));
	enum sim_mode mode = calibrate_in_slices(r->settings) ? SIM_OBSERVED : SIM_OBSERVED_WHOLE;
	struct sim_run *run = out ? sim_run_new(r->s, ort, mode, r->settings->plain, observe, r, e) : NULL;
	int rc = run ? 0 : out ? -1 : err_nomem(e, "the outputs");
	for (int64_t b = 0; !rc && b < calib_batches(data); b++) {
		rc = check_canceled(r, e);
		if (!rc)
			rc = sim_run_batch(run, data, b, out, e);
		if (!rc)
			sim_run_done(run, out);
		if (!rc && r->hooks.progress)
			r->hooks.progress(r->hooks.ctx, b + 1, calib_batches(data));
	}
	sim_run_free(run);
	free(out);
	return rc;
}

/* ---- ranges ruined by huge constants ---- */

static bool is_degenerate(const struct watch *w, struct quant_grid g)
{
	float ordinary = fmaxf(-w->low, w->high);
	return w->huge && ordinary > 0 && (double)ordinary < g.delta / 2;
}

static struct quant_grid clamped(const struct watch *w, struct quant_mode mode)
{
	float width = w->high - w->low;
	return quant_minmax(w->o.min <= -DEGENERATE_FROM ? w->low - width : w->low,
	                    w->o.max >= DEGENERATE_FROM ? w->high + width : w->high, mode);
}

static void switch_off(struct run *r, int q)
{
	struct quantsim *qs = sim_quantsim(r->s);
	for (int i = 0; i < qs->nquantizers; i++)
		if (qs->quantizers[i].shares == q)
			qs->quantizers[i].enabled = false;
}

/* False where the quantizer is left off. */
static bool mend_degenerate(struct run *r, int q, struct quant_grid *g)
{
	static const char *const done[] = {"the grid is kept, as the reference keeps it", "the tensor is not quantized",
	                                   "the huge values are clamped"};
	const struct watch *w = &r->watches[q];
	char detail[256];
	(void)snprintf(detail, sizeof detail, "values from %g to %g leave one step for all those from %g to %g: %s",
	               (double)w->o.min, (double)w->o.max, (double)w->low, (double)w->high, done[r->settings->degenerate]);
	warn(r, "degenerate-range", q, detail);
	if (r->settings->degenerate == DEGENERATE_CLAMP)
		*g = clamped(w, r->qs->quantizers[q].mode);
	if (r->settings->degenerate == DEGENERATE_OFF)
		switch_off(r, q);
	return r->settings->degenerate != DEGENERATE_OFF;
}

static int take_grid(struct run *r, int q, struct err *e)
{
	const struct quantsim_quantizer *x = &r->qs->quantizers[q];
	const struct watch *w = &r->watches[q];
	if (!w->o.seen) {
		warn(r, "no-data", q, "no batch had a number in this tensor, so it gets no encoding");
		return 0;
	}
	struct quant_grid g = observer_grid(&w->o, x->mode, r->settings->percentile);
	if (x->constrained)
		g = quant_constrained(x->constraint_min, isinf(x->constraint_max) ? g.max : x->constraint_max, x->mode);
	if (is_degenerate(w, g) && !mend_degenerate(r, q, &g))
		return 0;
	return sim_set_grids(r->s, q, &g, false, e);
}

static bool is_watched(const struct run *r, int q)
{
	const struct quantsim_quantizer *x = &r->qs->quantizers[q];
	return !x->is_param && x->enabled && !x->is_float16 && x->shares == q && !sim_frozen(r->s, q);
}

static int calibrate_activations(struct run *r, struct ort *ort, struct calib *data, struct err *e)
{
	int n = r->qs->nquantizers, rc;
	r->watches = calloc((size_t)n + 1, sizeof *r->watches);
	if (!r->watches)
		return err_nomem(e, "the observers");
	for (int q = 0; q < n; q++)
		observer_init(&r->watches[q].o, r->settings->scheme);
	rc = watch_all(r, ort, data, e);
	for (int q = 0; q < n && !rc; q++)
		rc = is_watched(r, q) ? take_grid(r, q, e) : 0;
	for (int q = 0; q < n; q++)
		observer_fini(&r->watches[q].o);
	free(r->watches);
	free(r->floats);
	return rc;
}

static void say_frozen(void *ctx, int weight)
{
	warn(ctx, "overflow-frozen", weight,
	     "int32 accumulators may overflow: the scale should be larger, but it was searched or given");
}

int calibrate(struct sim *s, struct ort *ort, struct calib *data, const struct calibrate_settings *settings,
              const struct calibrate_hooks *hooks, struct err *e)
{
	struct run r = {.s = s, .qs = sim_quantsim(s), .settings = settings};
	if (hooks)
		r.hooks = *hooks;
	if (calibrate_parameters(&r, e) || calibrate_activations(&r, ort, data, e))
		return -1;
	return overflow_adjust(s, say_frozen, &r, e);
}
