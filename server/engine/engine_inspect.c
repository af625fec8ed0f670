#include "server/engine/engine.h"

#include "core/run/ort.h"
#include "core/search/layer_load.h"
#include "core/workflow/inspect.h"
#include "core/workflow/model_data.h"
#include "server/engine/frame.h"

#include <stdlib.h>

static int send_answer(const struct buf *b, struct err *e)
{
	return buf_failed(b) ? err_nomem(e, "an answer") : frame_write(ENGINE_FRAMES, FRAME_ANSWER, b->data, b->len, e);
}

int engine_version(struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	const char *version = ort_version(e);
	if (!version)
		return -1;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "onnxruntime", version);
	json_out_end_object(&w);
	int rc = send_answer(&b, e);
	buf_fini(&b);
	return rc;
}

int engine_inspect_model(const struct engine_request *q, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	struct onnx_model *m = engine_open_model(q, e);
	int rc = -1;
	json_out_init(&w, &b, 0);
	if (m && inspect_json(m, &w, NULL, e) == 0)
		rc = send_answer(&b, e);
	buf_fini(&b);
	onnx_model_free(m);
	return rc;
}

int engine_inspect_encodings(const struct engine_request *q, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	struct encodings x;
	if (layer_load_read(&q->params, &x, e) < 0)
		return -1;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_integer(&w, "parameters", (int64_t)x.nparams);
	json_out_integer(&w, "activations", (int64_t)x.nactivations);
	json_out_end_object(&w);
	encodings_fini(&x);
	int rc = send_answer(&b, e);
	buf_fini(&b);
	return rc;
}

/* The rows that all arrays have, or null. */
static void common_rows(const struct arrays *z, struct json_out *w)
{
	int64_t rows = -1;
	for (size_t i = 0; i < arrays_count(z); i++) {
		const struct array *a = arrays_at(z, i);
		int64_t n = a->rank > 0 ? a->shape[0] : 1;
		if (i > 0 && n != rows) {
			json_out_null(w, "samples");
			return;
		}
		rows = n;
	}
	if (rows < 0)
		json_out_null(w, "samples");
	else
		json_out_integer(w, "samples", rows);
}

static void list_arrays(const struct arrays *z, struct json_out *w)
{
	json_out_array(w, "arrays");
	for (size_t i = 0; i < arrays_count(z); i++) {
		const struct array *a = arrays_at(z, i);
		json_out_object(w, NULL);
		json_out_string(w, "name", a->name);
		json_out_string(w, "type", array_type_name(a->type));
		json_out_array(w, "shape");
		for (int k = 0; k < a->rank; k++)
			json_out_integer(w, NULL, a->shape[k]);
		json_out_end_array(w);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

/* Whether the set feeds the model, as the search will find it. */
static int check_fit(const struct engine_request *q, struct arrays *z, struct json_out *w, struct err *e)
{
	struct onnx_model *m = engine_open_model(q, e);
	struct model_data d = {0};
	int rc = m ? model_data_open(&d, m, z, q->params.inputs, q->params.batch_size, q->params.num_batches, e) : -1;
	if (!rc) {
		json_out_integer(w, "fit_samples", calib_samples(d.calib));
		json_out_integer(w, "fit_samples_used", calib_samples_used(d.calib));
	}
	model_data_close(&d);
	onnx_model_free(m);
	return rc;
}

int engine_inspect_calibration(const struct engine_request *q, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	bool evaluation = q->calibration < 0;
	struct arrays *z = arrays_open_fd(evaluation ? q->evaluation : q->calibration, evaluation ? "the evaluation data" : "the calibration", e);
	int rc = -1;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	if (!z)
		goto out;
	list_arrays(z, &w);
	common_rows(z, &w);
	/* Images were listed as images: how they become numbers is the job's business. */
	if (q->model >= 0 && (engine_preprocess(q, z, evaluation, e) < 0 || check_fit(q, z, &w, e) < 0))
		goto out;
	if (arrays_count(z) == 0) { /* nothing that any model could be fed */
		err_set(e, ERR_CALIBRATION, "the calibration holds no array");
		goto out;
	}
	json_out_end_object(&w);
	rc = send_answer(&b, e);
out:
	buf_fini(&b);
	arrays_free(z);
	return rc;
}
