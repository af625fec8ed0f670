#include "server/engine/engine.h"

#include "core/data/arrays.h"
#include "core/workflow/quantize.h"
#include "server/engine/frame.h"

int engine_rates(struct engine_request *q, struct err *e)
{
	int threads = params_threads(&q->params);
	if (rates_from_json(json_get(q->root, "rates"), q->machine, threads, &q->rates))
		return 0;
	q->measured = true;
	return rates_measure(threads, &q->rates, e);
}

static void write_layers(struct json_out *w, const struct buf *layers)
{
	struct err ignored = ERR_INIT;
	struct json *v = buf_failed(layers) || !layers->data ? NULL : json_parse(layers->data, layers->len, &ignored);
	if (v)
		json_out_value(w, "layers", v);
	json_free(v);
}

int engine_estimate(const struct engine_request *q, struct err *e)
{
	struct buf b = BUF_INIT, layers = BUF_INIT;
	struct json_out w;
	struct quantize_estimate estimate;
	struct onnx_model *m = engine_open_model(q, e);
	struct arrays *z = m ? engine_open_data(q, false, e) : NULL;
	bool evaluate = q->evaluation >= 0;
	struct arrays *ez = z && evaluate ? engine_open_data(q, true, e) : NULL;
	const struct quantize_inputs in = {.model = m, .data = z, .evaluation = ez};
	int rc = z && (ez || !evaluate) ? quantize_estimate(&in, &q->params, &q->rates, &estimate, &layers, e) : -1;
	if (rc == 0) {
		json_out_init(&w, &b, 0);
		json_out_object(&w, NULL);
		quantize_estimate_json(&estimate, &w, "estimate");
		write_layers(&w, &layers);
		if (q->measured && q->machine[0])
			rates_to_json(&q->rates, q->machine, params_threads(&q->params), &w, "rates");
		json_out_end_object(&w);
		rc = buf_failed(&b) ? err_nomem(e, "an answer") : frame_write(ENGINE_FRAMES, FRAME_ANSWER, b.data, b.len, e);
	}
	buf_fini(&layers);
	buf_fini(&b);
	arrays_free(ez);
	arrays_free(z);
	onnx_model_free(m);
	return rc;
}
