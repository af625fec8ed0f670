#include "core/workflow/quantize_result.h"

#include "core/base/now.h"
#include "core/encodings/qdq.h"
#include "core/onnx/onnx_edit.h"

/* ---- what there is to make ---- */

static int write_encodings(const struct quantize *q, int version, struct buf *out, struct err *e)
{
	return encodings_write(&q->encodings, (enum encodings_version)version, out, e);
}

static int write_model(const struct quantize *q, int unused, struct buf *out, struct err *e)
{
	(void)unused;
	return onnx_model_write(q->model, NULL, out, e);
}

static int write_qdq(const struct quantize *q, int prequantized, struct buf *out, struct err *e)
{
	const struct qdq_options options = {.prequantized = prequantized, .int32_biases = prequantized};
	return qdq_write(q->model, q->types, &q->encodings, options, out, e);
}

static int write_report(const struct quantize *q, int unused, struct buf *out, struct err *e)
{
	(void)unused;
	return report_json(q, out, e);
}

static int write_page(const struct quantize *q, int unused, struct buf *out, struct err *e)
{
	(void)unused;
	return report_page(q, out, e);
}

/* The reports come last: they tell of all warnings. */
static const struct product {
	const char *name, *media_type;
	int (*write)(const struct quantize *q, int which, struct buf *out, struct err *e);
	int which;
} products[] = {
	{"model_0_6_1.encodings", "application/json", write_encodings, ENCODINGS_0_6_1},
	{"model_1_0_0.encodings", "application/json", write_encodings, ENCODINGS_1_0_0},
	{"model_2_0_0.encodings", "application/json", write_encodings, ENCODINGS_2_0_0},
	{"model_2_1_0.encodings", "application/json", write_encodings, ENCODINGS_2_1_0},
	{"model.onnx", "application/octet-stream", write_model, 0},
	{"model_qdq.onnx", "application/octet-stream", write_qdq, false},
	{"model_qdq_prequantized.onnx", "application/octet-stream", write_qdq, true},
	{"report.json", "application/json", write_report, 0},
	{"report.html", "text/html", write_page, 0},
};

/* A model that ONNX Runtime does not run is worth less, but may be what another tool wants. */
static void try_out(struct quantize *q, const struct product *p, const struct buf *model)
{
	struct err why = ERR_INIT;
	if (p->write == write_qdq && quantize_agree(q, model, &q->agreements[p->which], &why)) {
		(void)err_wrap(&why, "ONNX Runtime does not run %s", p->name);
		quantize_warn(q, "file-does-not-run", "", why.msg);
	}
}

/* Made, handed over, freed. What cannot be made of this model is left out with a warning; all else is an error. */
static int make(struct quantize *q, const struct product *p, quantize_emit *emit, void *ctx, struct err *e)
{
	struct buf b = BUF_INIT;
	struct err why = ERR_INIT;
	int rc = p->write(q, p->which, &b, &why);
	if (!rc) {
		try_out(q, p, &b);
		rc = emit(ctx, p->name, p->media_type, &b, e);
	} else if (why.code == ERR_BAD_PARAM || why.code == ERR_UNSUPPORTED_GRAPH) {
		(void)err_wrap(&why, "there is no %s", p->name);
		quantize_warn(q, "file-left-out", "", why.msg);
		rc = 0;
	} else {
		*e = why;
	}
	buf_fini(&b);
	return rc;
}

int quantize_export(struct quantize *q, quantize_emit *emit, void *ctx, struct err *e)
{
	size_t n = sizeof products / sizeof *products;
	double start = run_now();
	for (size_t i = 0; i < n; i++) {
		if (products[i].write != write_page) /* up to the reports, which both say the same */
			q->seconds_export = run_now() - start;
		quantize_progress(q, "export", 0.97, 0.03, (int64_t)i, (int64_t)n);
		if (make(q, &products[i], emit, ctx, e))
			return -1;
	}
	return 0;
}
