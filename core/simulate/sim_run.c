/* The simulated model in ONNX Runtime: parameters are replaced by quantized ones, activation quantizers are nodes of our own. */

#include "core/onnx/onnx_insert.h"
#include "core/simulate/sim.h"

#include <stdlib.h>

struct sim_run {
	const struct quantsim *qs;
	enum sim_mode mode;
	float **replaced;       /* [values] */
	struct ort_fake *fakes; /* [nquantizers]: a quantizer's index is its slot */
	struct ort_ops ops;
	sim_observe_fn *observe;
	void *ctx;
	struct forward *forward;
};

static int replace_parameters(struct sim_run *r, const struct sim *s, struct err *e)
{
	for (int q = 0; q < r->qs->nquantizers; q++) {
		int v = r->qs->quantizers[q].value;
		if (!r->qs->quantizers[q].is_param || !sim_is_active(s, q))
			continue;
		r->replaced[v] = sim_parameter(s, q, e);
		if (!r->replaced[v])
			return -1;
	}
	return 0;
}

static bool is_observed(enum sim_mode mode)
{
	return mode == SIM_OBSERVED || mode == SIM_OBSERVED_WHOLE;
}

/* Every activation quantizer that can do something becomes a node. An observed model also has nodes where disabled quantizers of computed tensors are: they keep
 * the runtime from fusing the ops on both sides, as the reference's do, so that tensors have the same last digits. */
static bool needs_node(const struct sim *s, enum sim_mode mode, int i)
{
	const struct quantsim *qs = sim_quantsim(s);
	const struct quantsim_quantizer *q = &qs->quantizers[i];
	if (q->is_param)
		return false;
	if (is_observed(mode))
		return q->enabled || !onnx_model_value(qs->model, q->value)->is_static;
	return mode == SIM_QUANTIZED && sim_is_active(s, i);
}

static struct ort_fake fake_of(const struct sim *s, int q)
{
	struct ort_fake half = {.kind = ORT_FAKE_HALF}, grid = {.kind = ORT_FAKE_GRID};
	if (sim_quantsim(s)->quantizers[q].is_float16)
		return half;
	grid.grid = *sim_grids(s, q);
	return grid;
}

static int insert_nodes(struct sim_run *r, const struct sim *s, struct onnx_insert *x, struct err *e)
{
	for (int i = 0; i < r->qs->nquantizers; i++) {
		const struct quantsim_quantizer *q = &r->qs->quantizers[i];
		struct onnx_cut cut;
		if (!needs_node(s, r->mode, i))
			continue;
		if (r->mode == SIM_QUANTIZED)
			r->fakes[i] = fake_of(s, i);
		if (onnx_insert_cut(x, q->value, "_updated", &cut, e))
			return -1;
		struct onnx_insert_node node = {.op_type = is_observed(r->mode) ? ORT_OPS_OBSERVE : ORT_OPS_FAKE_QUANTIZE,
		                                .domain = ORT_OPS_DOMAIN,
		                                .inputs = {cut.made},
		                                .outputs = {cut.read},
		                                .ints = {{ORT_OPS_SLOT, i}}};
		if (onnx_insert_node(x, q->value, &node, e))
			return -1;
	}
	return onnx_insert_opset(x, ORT_OPS_DOMAIN, 1, e);
}

static int on_observe(void *ctx, int64_t slot, const struct ort_tensor *t, struct err *e)
{
	const struct sim_run *r = ctx;
	const struct quantsim_quantizer *q = &r->qs->quantizers[slot];
	return q->enabled && !q->is_float16 ? r->observe(r->ctx, (int)slot, t, e) : 0;
}

static int build(struct sim_run *r, const struct sim *s, struct ort *ort, bool plain, struct err *e)
{
	struct onnx_submodel model = {.bytes = BUF_INIT};
	struct onnx_insert *x = onnx_insert_new(r->qs->model, e);
	int rc = x ? 0 : -1;
	if (!rc && r->mode != SIM_FLOAT)
		rc = replace_parameters(r, s, e);
	if (!rc)
		rc = insert_nodes(r, s, x, e);
	if (!rc)
		rc = onnx_insert_build(x, (const float *const *)r->replaced, true, &model, e);
	onnx_insert_free(x);
	if (rc)
		return -1;
	r->ops = (struct ort_ops){r->fakes, (size_t)r->qs->nquantizers, on_observe, r};
	r->forward = forward_new(ort, r->qs->model, r->mode == SIM_OBSERVED_WHOLE ? NULL : r->qs->types, &model, &r->ops, plain, e);
	return r->forward ? 0 : -1;
}

struct sim_run *sim_run_new(const struct sim *s, struct ort *ort, enum sim_mode mode, bool plain, sim_observe_fn *observe,
                            void *ctx, struct err *e)
{
	struct sim_run *r = calloc(1, sizeof *r);
	if (!r) {
		err_nomem(e, "the simulation");
		return NULL;
	}
	r->qs = sim_quantsim(s);
	r->mode = mode;
	r->observe = observe;
	r->ctx = ctx;
	r->replaced = calloc((size_t)onnx_model_values(r->qs->model) + 1, sizeof *r->replaced);
	r->fakes = calloc((size_t)r->qs->nquantizers + 1, sizeof *r->fakes);
	int rc = r->replaced && r->fakes ? build(r, s, ort, plain, e) : err_nomem(e, "the simulation");
	if (rc) {
		sim_run_free(r);
		return NULL;
	}
	return r;
}

void sim_run_free(struct sim_run *r)
{
	if (!r)
		return;
	forward_free(r->forward);
	for (int v = 0; r->replaced && v < onnx_model_values(r->qs->model); v++)
		free(r->replaced[v]);
	free(r->replaced);
	free(r->fakes);
	free(r);
}

int sim_run_batch(struct sim_run *r, struct calib *c, int64_t batch, struct ort_value **out, struct err *e)
{
	return forward_run(r->forward, c, batch, out, e);
}

void sim_run_done(struct sim_run *r, struct ort_value **out)
{
	forward_done(r->forward, out);
}
