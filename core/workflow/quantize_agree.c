#include "core/workflow/quantize_result.h"

#include "core/onnx/onnx_model.h"
#include "core/run/forward.h"
#include "core/workflow/model_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Both models' outputs for a few samples. */
struct pair {
	struct quantize *q;
	struct model_data data;
	struct sim_run *sim;
	struct forward *qdq;
	struct ort_value **a, **b; /* the simulation's, the exported model's */
};

static int open_both(struct pair *p, const struct buf *model, struct err *e)
{
	const struct quantize *q = p->q;
	struct onnx_submodel copy = {0};
	int64_t few;
	size_t n = onnx_model_outputs(q->model);
	p->a = calloc(n + 1, sizeof(struct ort_value *));
	p->b = calloc(n + 1, sizeof(struct ort_value *));
	buf_add(&copy.bytes, model->data, model->len);
	if (!p->a || !p->b || buf_failed(&copy.bytes)) {
		buf_fini(&copy.bytes);
		return err_nomem(e, "a comparison");
	}
	p->qdq = forward_new(q->ort, q->model, q->types, &copy, NULL, true, e);
	if (!p->qdq || seqmse_probe_batch(q->model, q->data, q->params, &few, e) ||
	    model_data_open(&p->data, q->model, q->data, q->params->inputs, few, 1, e))
		return -1;
	p->sim = sim_run_new(q->sim, q->ort, SIM_QUANTIZED, true, NULL, NULL, e);
	return p->sim ? 0 : -1;
}

/* Signal and noise of an output; anything but float32 has none of both. */
static void compare(const struct pair *p, size_t i, struct quantize_agreement *out)
{
	struct ort_info a, b;
	struct err ignored = ERR_INIT;
	if (ort_value_info(p->q->ort, p->a[i], &a, &ignored) || ort_value_info(p->q->ort, p->b[i], &b, &ignored) || a.sequence ||
	    b.sequence || a.elem_type != 1 || b.elem_type != 1 || a.count != b.count)
		return;
	const float *x = ort_value_data(p->q->ort, p->a[i]), *y = ort_value_data(p->q->ort, p->b[i]);
	for (int64_t k = 0; k < a.count; k++) {
		double d = (double)x[k] - (double)y[k];
		out->signal += (double)x[k] * (double)x[k];
		out->noise += d * d;
		out->largest = fmax(out->largest, fabs(d));
	}
}

int quantize_agree(struct quantize *q, const struct buf *model, struct quantize_agreement *out, struct err *e)
{
	struct pair p = {.q = q};
	*out = (struct quantize_agreement){0};
	int rc = open_both(&p, model, e);
	(void)ort_peak(q->ort);
	int64_t used = ort_used(q->ort);
	if (!rc)
		rc = sim_run_batch(p.sim, p.data.calib, 0, p.a, e);
	bool simulated = !rc;
	if (!rc)
		rc = forward_run(p.qdq, p.data.calib, 0, p.b, e);
	q->agreeing_bytes = ort_peak(q->ort) - used;
	for (size_t i = 0; i < onnx_model_outputs(q->model) && !rc; i++)
		compare(&p, i, out);
	out->known = !rc;
	if (!rc)
		forward_done(p.qdq, p.b);
	if (simulated)
		sim_run_done(p.sim, p.a);
	sim_run_free(p.sim);
	forward_free(p.qdq);
	model_data_close(&p.data);
	free(p.a);
	free(p.b);
	return rc;
}
