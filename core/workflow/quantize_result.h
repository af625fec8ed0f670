#ifndef SEQMSE_QUANTIZE_RESULT_H
#define SEQMSE_QUANTIZE_RESULT_H

/* What a run of the workflow has so far, shared by quantize.c (the phases), quantize_export.c (the files) and report.c. Nobody else includes it. */

#include "core/onnx/fold_batch_norm.h"
#include "core/quantsim/quantsim.h"
#include "core/run/value_types.h"
#include "core/simulate/calibrate.h"
#include "core/simulate/evaluate.h"
#include "core/simulate/sim.h"
#include "core/workflow/quantize.h"

struct quantize_warning {
	char *code, *place, *detail;
};

/* How an exported model's outputs, as ONNX Runtime computes them, agree with the simulation's, over the first few samples: sums over all float outputs. */
struct quantize_agreement {
	bool known;
	double signal, noise, largest;
};

struct quantize {
	const struct onnx_model *model; /* that everything below is about: the folded one, or the caller's */
	struct onnx_model *folded;      /* NULL where nothing was folded */
	struct fold_list folds;
	const struct params *params;
	struct seqmse_hooks hooks;
	struct ort *ort;
	struct value_types *types;
	struct quantsim *qs;
	struct seqmse_result *search;
	struct sim *sim;
	struct evaluate *evaluate; /* NULL: none was wanted */
	struct evaluate_row rows[EVALUATE_ROWS];
	int nrows;
	struct encodings encodings;
	struct arrays *data;
	const char *fingerprint;
	struct quantize_agreement agreements[2]; /* of model_qdq.onnx and model_qdq_prequantized.onnx */
	struct quantize_warning *warnings;
	size_t nwarnings;
	double seconds_load, seconds_calibrate, seconds_evaluate, seconds_export;
	int64_t agreeing_bytes; /* of tensors while the two models of a comparison ran */
};

/* quantize.c: the model and what is known of it before any data. */
int quantize_load(struct quantize *q, const struct quantize_inputs *in, struct err *e);
/* quantize.c: a simulation of the whole model, calibrated; searched: with the searched weights, or else with everything from minimum to maximum. */
struct sim *quantize_simulate(struct quantize *q, struct arrays *data, bool searched, const struct calibrate_hooks *hooks,
                              struct err *e);

/* quantize_warnings.c: keeps a warning for the report, and passes it on. */
void quantize_warn(struct quantize *q, const char *code, const char *place, const char *detail);
void quantize_warnings_free(struct quantize *q);

/* quantize.c: tells how far a phase is, which takes the run from `from` on by a share of the whole. */
void quantize_progress(const struct quantize *q, const char *phase, double from, double share, int64_t done, int64_t total);

/* quantize_collect.c: all that the simulation has grids for, as encodings. */
int quantize_collect(struct quantize *q, struct err *e);

/* quantize_agree.c: runs an exported model and the simulation, both without graph optimizations. */
int quantize_agree(struct quantize *q, const struct buf *model, struct quantize_agreement *out, struct err *e);

/* report.c: what a run did, one JSON object:
 *  {"version", "fingerprint", "params":{…}, "samples", "samples_used", "batches", "pieces",
 *   "seconds":{"load","graph","gram","search","recheck","search_total","search_cpu","calibrate","evaluate","export","total"},
 *   "predicted_seconds":{"graph","gram","search","search_total"}, "spilled_bytes",
 *   "warnings":[{"code","layer","detail"}], "folded":[{"batch_norm","into","weight","bias"}],
 *   "qdq":[{"file","sqnr_db","largest_difference"}] (against the simulation, over the first few samples), "accuracy":[evaluate_row_json() …],
 *   "layers":[{"index","node","op_type","weight","channels","fan_in","param_bw","symmetric","granularity","grids","candidates","strategy",
 *              "rechecked","seconds","predicted_seconds","histogram":[…],"loss_total","minmax_loss_total","gain","sqnr_db","chosen":[…],"loss":[…],"minmax_loss":[…]}]} */
int report_json(const struct quantize *q, struct buf *out, struct err *e);

/* The same as a page for people (report_html.h), without the lists of grids. */
int report_page(const struct quantize *q, struct buf *out, struct err *e);

#endif
