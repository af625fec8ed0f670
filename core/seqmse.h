#ifndef SEQMSE_SEQMSE_H
#define SEQMSE_SEQMSE_H

/* Sequential MSE over a whole model: the library's main door.
 *
 * For every Conv, Gemm and MatMul with a constant weight, in the order of the graph, and for every output channel, the range of the weight's grid
 * is chosen out of num_candidates shrunken ones so that the squared error of the layer's output over the calibration set is
 * least, the layer's input being computed with the already quantized weights before it ("symqt"). Ties go to the smallest
 * range.
 *
 *     struct onnx_model *m = onnx_model_open("model.onnx", &e);
 *     struct seqmse_result *r = seqmse_run(m, "calib.npz", &params, &hooks, &e);
 *     … encodings_write(seqmse_encodings(r), ENCODINGS_1_0_0, &buf, &e) …
 *     seqmse_result_free(r); onnx_model_free(m);
 *
 * The result is the same, bit by bit, for any number of threads and any memory budget, on one type of processor.
 */

#include "encodings.h"
#include "err.h"
#include "params.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct onnx_model;
struct npz;

/* One searched layer, as it is reported while the search runs and afterwards. */
struct seqmse_layer_result {
	int index;               /* 0 .. layers-1, in the order of the graph */
	const char *node;        /* the node's name (made up as the reference does where there is none) */
	const char *op_type;     /* Conv, Gemm, MatMul */
	const char *weight;      /* the weight tensor's name */
	int channels;
	int64_t fan_in;          /* weights a channel */
	const struct quant_grid *grids; /* [channels], the chosen encodings */
	const int *chosen;       /* [channels], 0 .. num_candidates-1 */
	const double *loss;      /* [channels], the chosen candidate's sum of squared errors */
	const double *minmax_loss; /* [channels], that of the full range (candidate num_candidates-1) */
	const char *strategy;    /* "gram" or "direct" */
	int rechecked;           /* near-ties that were decided in double precision */
	double seconds;
};

/* Calls back to the caller; any may be NULL. All come from the thread that called seqmse_run(). */
struct seqmse_hooks {
	void *ctx;
	/* phase is "load" or "search"; done of total steps (layers, in "search") are finished; current is the layer in work, or "". fraction is of the whole run, 0..1 */
	void (*progress)(void *ctx, const char *phase, int done, int total, double fraction, const char *current);
	void (*layer)(void *ctx, const struct seqmse_layer_result *layer);
	void (*warning)(void *ctx, const char *code, const char *layer, const char *detail); /* layer may be "" */
	bool (*canceled)(void *ctx); /* asked at least once a batch and a layer; true ends the run with ERR_CANCELED */
	/* The input of a layer that is being searched, as it is read: shows what the search sees. x is [shape], valid during the call. */
	void (*input)(void *ctx, const char *weight, int64_t batch, int rank, const int64_t *shape, const float *x);
};

struct seqmse_result;

/* Searches the whole model. The model stays the caller's and unchanged. */
struct seqmse_result *seqmse_run(const struct onnx_model *model, struct npz *data, const struct params *params,
                                 const struct seqmse_hooks *hooks, struct err *e);
void seqmse_result_free(struct seqmse_result *r);

const struct encodings *seqmse_encodings(const struct seqmse_result *r);
size_t seqmse_layers(const struct seqmse_result *r);
const struct seqmse_layer_result *seqmse_layer(const struct seqmse_result *r, size_t i);

/* The whole model with the searched weights on their grids (quantized and dequantized), serialized; see onnx_model_write(). */
int seqmse_write_model(const struct seqmse_result *r, struct buf *out, struct err *e);

/* How a set of weight encodings compares with the search, layer by layer: each layer is searched with the weights before it on the
 * *expected* grids, so that a difference early on does not hide or make others. A channel is equal when the scales agree to 1e-6 relative; a
 * near-tie when they do not, but the two losses, in double precision, differ by at most 1e-5 relative; else wrong. Layers without an expected encoding are searched as usual and not counted. */
struct seqmse_check {
	int64_t channels, equal, near_ties, wrong;
	char first_wrong[256]; /* "weight[channel]: …" */
};
int seqmse_check(const struct onnx_model *model, struct npz *data, const struct params *params, const struct encodings *expected,
                 const struct seqmse_hooks *hooks, struct seqmse_check *out, struct err *e);

/* Facts about the run. */
struct seqmse_stats {
	int64_t samples, samples_used, batches;
	int pieces;                   /* sub-graphs that ONNX Runtime ran */
	double seconds_load, seconds_graph, seconds_gram, seconds_search, seconds_recheck, seconds_total;
	int64_t spilled_bytes;
};
const struct seqmse_stats *seqmse_stats(const struct seqmse_result *r);

#endif
