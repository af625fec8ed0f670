#include "server/engine/engine.h"

#include "core/data/arrays.h"
#include "core/base/json.h"
#include "core/workflow/quantize.h"
#include "server/engine/frame.h"
#include "server/engine/layer_frame.h"
#include "server/engine/resume.h"

#include <fcntl.h>

/* A hook cannot fail; the first frame that could not be written ends the run at the next question. */
struct sender {
	bool failed;
	struct err why;
	const struct engine_request *q;
	struct resume *known;
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
		s->failed = layer_frame_write(layer, s->q->machine, &b, &s->why) < 0;
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

static const struct seqmse_layer_result *on_known(void *ctx, int index)
{
	const struct sender *s = ctx;
	return resume_layer(s->known, index);
}

static int on_spill(void *ctx, struct err *e)
{
	const struct sender *s = ctx;
	int fd = s->q->spill < 0 ? -1 : fcntl(s->q->spill, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? err_set(e, ERR_MEMORY, "the activations need more memory than they may have, and there is no file for them")
	              : fd;
}

/* Where the machine has no name, nothing can be taken over. */
static int read_known(struct sender *s, struct err *e)
{
	if (s->q->known < 0 || !s->q->machine[0])
		return 0;
	s->known = resume_read(s->q->known, s->q->machine, e);
	return s->known ? 0 : -1;
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

static int on_file(void *ctx, const char *name, const char *media_type, const struct buf *content, struct err *e)
{
	(void)ctx;
	return send_file(name, media_type, content, e);
}

int engine_search(const struct engine_request *q, struct err *e)
{
	struct sender s = {.why = ERR_INIT, .q = q};
	struct rates rates;
	struct seqmse_hooks hooks = {.ctx = &s,
	                             .progress = on_progress,
	                             .layer = on_layer,
	                             .warning = on_warning,
	                             .canceled = on_canceled,
	                             .spill = on_spill,
	                             .known = on_known};
	if (rates_from_json(json_get(q->root, "rates"), q->machine, params_threads(&q->params), &rates))
		hooks.rates = &rates;
	struct onnx_model *m = read_known(&s, e) == 0 ? engine_open_model(q, e) : NULL;
	struct arrays *z = m ? engine_open_data(q, false, e) : NULL;
	bool evaluate = q->evaluation >= 0;
	struct arrays *ez = z && evaluate ? engine_open_data(q, true, e) : NULL;
	const struct quantize_inputs in = {.model = m, .data = z, .evaluation = ez, .fingerprint = q->fingerprint};
	struct quantize *r = z && (ez || !evaluate) ? quantize_run(&in, &q->params, &hooks, e) : NULL;
	int rc = -1;
	if (s.failed)
		*e = s.why;
	else if (r && quantize_export(r, on_file, NULL, e) == 0)
		rc = frame_write(ENGINE_FRAMES, FRAME_DONE, "", 0, e);
	quantize_free(r);
	arrays_free(ez);
	arrays_free(z);
	onnx_model_free(m);
	resume_free(s.known);
	return rc;
}
