#ifndef SEQMSE_QUANTIZE_H
#define SEQMSE_QUANTIZE_H

/* The whole workflow over one model, phase by phase:
 *
 *     load       the model, BatchNormalization folded into it where that is wanted; which tensor gets which quantizer (quantsim.h)
 *     search     the weights of Conv, Gemm and MatMul by Sequential MSE (seqmse.h)
 *     calibrate  every other parameter, and the activations (calibrate.h)
 *     evaluate   the float model against the quantized ones, where there are data for it (evaluate.h)
 *     export     encodings in every version, QDQ models, the report
 *
 *     struct quantize *q = quantize_run(&inputs, &params, &hooks, &e);
 *     … quantize_export(q, emit, ctx, &e) …
 *     quantize_free(q);
 */

#include "core/base/buf.h"
#include "core/encodings/encodings.h"
#include "core/search/seqmse.h"
#include "core/simulate/evaluate.h"
#include "core/workflow/params.h"

struct arrays;
struct onnx_model;
struct quantize;

struct quantize_inputs {
	const struct onnx_model *model;
	struct arrays *data;       /* calibration */
	struct arrays *evaluation; /* NULL: the phase is left out */
	const char *fingerprint;   /* for the report (fingerprint.h); may be NULL */
};

/* Inputs and params must outlive the result. hooks (may be NULL) get the progress of all phases and every warning. */
struct quantize *quantize_run(const struct quantize_inputs *in, const struct params *params, const struct seqmse_hooks *hooks,
                              struct err *e);
void quantize_free(struct quantize *q);

const struct seqmse_result *quantize_search(const struct quantize *q);
const struct encodings *quantize_encodings(const struct quantize *q);
/* The rows of the accuracy table; none where there were no data for it. */
const struct evaluate_row *quantize_accuracy(const struct quantize *q, size_t *n);

/* Takes a finished file; content is valid during the call. Less than 0, with *e filled, ends the export. */
typedef int quantize_emit(void *ctx, const char *name, const char *media_type, const struct buf *content, struct err *e);

/* Makes the files one after the other: encodings in every version (encodings_file_name()), model.onnx (the float model they belong to), model_qdq.onnx
 * and model_qdq_prequantized.onnx (qdq.h), report.json and report.html. A file that cannot be made of this model, such as LPBQ in encodings 0.6.1, is
 * left out with the warning "file-left-out", and the reports, which come last, say so, too. */
int quantize_export(struct quantize *q, quantize_emit *emit, void *ctx, struct err *e);

/* ---- what it would take ---- */

struct quantize_estimate {
	double load, graph, gram, search, calibrate, evaluate, export, total; /* seconds, as in the report */
	int64_t peak_bytes;    /* resident, of the whole process, model and runtime included */
	int64_t spilled_bytes; /* through the file for activations */
};

/* Goes through the phases with two batches of few samples, where the model takes those, without searching or writing anything, and works out the rest
 * (seqmse_estimate()). layers gets the list of what is searched, and how (inspect_layers_json()); NULL: it is not wanted. What is wrong with model, data or settings is often found, too. */
struct rates;
int quantize_estimate(const struct quantize_inputs *in, const struct params *params, const struct rates *rates,
                      struct quantize_estimate *out, struct buf *layers, struct err *e);

/* {"seconds", "peak_bytes", "spilled_bytes", "phases": {"load", "graph", "gram", "search", "calibrate", "evaluate", "export"}} */
void quantize_estimate_json(const struct quantize_estimate *x, struct json_out *w, const char *key);

#endif
