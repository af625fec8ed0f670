#include "server/engine.h"

#include "core/json.h"
#include "core/report.h"
#include "core/seqmse.h"
#include "server/frame.h"
#include "server/layer_frame.h"

/* A hook cannot fail; the first frame that could not be written ends the run at the next question. */
struct sender {
	bool failed;
	struct err why;
};

static void send(struct sender *s, enum frame_type type, struct buf *b)
{
	if (!s->failed && buf_failed(b))
		s->failed = err_nomem(&s->why, "a frame") < 0;
	if (!s->failed)
		s->failed = frame_write(ENGINE_FRAMES, type, b->data, b->len, &s->why) < 0;
	buf_fini(b);
}

static void on_progress(void *ctx, const char *phase, int done, int total, double fraction, const char *current)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "phase", phase);
	json_out_integer(&w, "done", done);
	json_out_integer(&w, "total", total);
	json_out_real(&w, "fraction", fraction);
	json_out_string(&w, "current", current);
	json_out_end_object(&w);
	send(ctx, FRAME_PROGRESS, &b);
}

static void on_layer(void *ctx, const struct seqmse_layer_result *layer)
{
	struct sender *s = ctx;
	struct buf b = BUF_INIT;
	if (!s->failed)
		s->failed = layer_frame_write(layer, &b, &s->why) < 0;
	send(s, FRAME_LAYER, &b);
}

static void on_warning(void *ctx, const char *code, const char *layer, const char *detail)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "code", code);
	json_out_string(&w, "layer", layer);
	json_out_string(&w, "detail", detail);
	json_out_end_object(&w);
	send(ctx, FRAME_WARNING, &b);
}

static bool on_canceled(void *ctx)
{
	const struct sender *s = ctx;
	return s->failed;
}

static int send_file(const char *name, const char *media_type, const struct buf *text, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "name", name);
	json_out_string(&w, "media_type", media_type);
	json_out_end_object(&w);
	int rc = buf_failed(&b) ? err_nomem(e, "a frame") : frame_write(ENGINE_FRAMES, FRAME_FILE, b.data, b.len, e);
	buf_fini(&b);
	for (size_t at = 0; rc == 0 && at < text->len; at += FRAME_MAX_BYTES) {
		size_t n = text->len - at < FRAME_MAX_BYTES ? text->len - at : FRAME_MAX_BYTES;
		rc = frame_write(ENGINE_FRAMES, FRAME_BYTES, text->data + at, n, e);
	}
	return rc == 0 ? frame_write(ENGINE_FRAMES, FRAME_FILE_END, "", 0, e) : -1;
}

static int send_encodings(const struct seqmse_result *r, enum encodings_version v, const char *name, struct err *e)
{
	struct buf b = BUF_INIT;
	int rc = encodings_write(seqmse_encodings(r), v, &b, e) == 0 ? send_file(name, "application/json", &b, e) : -1;
	buf_fini(&b);
	return rc;
}

static int send_report(const struct seqmse_result *r, const struct params *p, struct err *e)
{
	struct buf b = BUF_INIT;
	int rc = report_json(r, p, &b, e) == 0 ? send_file("report.json", "application/json", &b, e) : -1;
	buf_fini(&b);
	return rc;
}

/* A model beyond what the file format holds cannot be sent; the encodings are the product, so that is only a warning. */
static int send_model(const struct seqmse_result *r, struct sender *s, struct err *e)
{
	struct buf b = BUF_INIT;
	int rc = seqmse_write_model(r, &b, e) == 0 ? send_file("model_weights_quantized.onnx", "application/octet-stream", &b, e) : -1;
	buf_fini(&b);
	if (rc == 0 || e->code != ERR_UNSUPPORTED_GRAPH)
		return rc;
	on_warning(s, "no-quantized-model", "", e->msg);
	return s->failed ? -1 : 0;
}

int engine_search(const struct engine_request *q, struct err *e)
{
	struct sender s = {false, ERR_INIT};
	const struct seqmse_hooks hooks = {
		.ctx = &s, .progress = on_progress, .layer = on_layer, .warning = on_warning, .canceled = on_canceled};
	struct onnx_model *m = engine_open_model(q, e);
	struct npz *z = m ? npz_open_fd(q->calibration, "the calibration", e) : NULL;
	struct seqmse_result *r = z ? seqmse_run(m, z, &q->params, &hooks, e) : NULL;
	int rc = -1;
	if (s.failed)
		*e = s.why;
	else if (r && send_encodings(r, ENCODINGS_1_0_0, "model_1_0_0.encodings", e) == 0 &&
	         send_encodings(r, ENCODINGS_0_6_1, "model_0_6_1.encodings", e) == 0 && send_report(r, &q->params, e) == 0 &&
	         send_model(r, &s, e) == 0)
		rc = frame_write(ENGINE_FRAMES, FRAME_DONE, "", 0, e);
	seqmse_result_free(r);
	npz_free(z);
	onnx_model_free(m);
	return rc;
}
