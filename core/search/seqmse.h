#ifndef SEQMSE_SEQMSE_H
#define SEQMSE_SEQMSE_H

/* Sequential MSE over a whole model: the library's main door.
 *
 * For every Conv, Gemm and MatMul with a constant weight, in the order of the graph, and for every output channel (or block of one), the range of the weight's grid
 * is chosen out of num_candidates shrunken ones so that the squared error of the layer's output over the calibration set is
 * least, the layer's input being computed with the already quantized weights before it ("symqt"). Ties go to the smallest
 * range.
 *
 *     struct onnx_model *m = onnx_model_open("model.onnx", &e);
 *     struct seqmse_result *r = seqmse_run(m, data, NULL, &params, &hooks, &e);
 *     … encodings_write(seqmse_encodings(r), ENCODINGS_1_0_0, &buf, &e) …
 *     seqmse_result_free(r); onnx_model_free(m);
 *
 * The result is the same, bit by bit, for any number of threads and any memory budget, on one type of processor.
 */

#include "core/base/err.h"
#include "core/encodings/encodings.h"
#include "core/search/loss.h"
#include "core/workflow/params.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct onnx_model;
struct arrays;
struct quantsim;
struct rates;

/* One searched layer, as it is reported while the search runs and afterwards. */
struct seqmse_layer_result {
	int index;           /* 0 .. layers-1, in the order of the graph */
	const char *node;    /* the node's name (made up as the reference does where there is none) */
	const char *op_type; /* Conv, Gemm, MatMul */
	const char *weight;  /* the weight tensor's name */
	int rank;            /* of the weight tensor; blocks run along the other one of its first two axes */
	int channels, channel_axis;
	int64_t fan_in; /* weights a channel */
	struct quant_mode mode;
	enum quant_granularity granularity;
	int64_t block_size; /* input channels a block; 0 where grids are not per block */
	int candidates;     /* ranges that there were to choose from */
	int ngrids;         /* 1, or channels, or channels * blocks in the order [channel][block] */
	const struct quant_grid
		*grids;    /* [ngrids], the chosen ones; of LPBQ as they were searched: encodings files have them compressed */
	const int *chosen; /* [ngrids], 0 .. candidates-1 */
	enum loss_fn loss_fn;
	const double *loss;        /* [ngrids], that of the chosen candidate (loss.h); NaN where nothing was searched */
	const double *minmax_loss; /* [ngrids], that of the full range (candidate candidates-1) */
	const double *
		curve; /* [candidates], the layer's loss (an amount) if all grids were that candidate, in part estimated; not finite where not all were
	                            * tried, NULL where nothing was searched */
	double signal;        /* mse: the sum of squares of the layer's outputs, without bias; 0 where it is not known */
	bool fell_back;       /* the guard put all full ranges in the place of the chosen ones */
	const char *strategy; /* "gram" or "direct", or "none" where nothing was searched */
	bool loaded;          /* from a file of encodings, as a start or for good */
	int rechecked;        /* near-ties that were decided in double precision */
	double seconds;
	double predicted; /* seconds by the cost model (cost.h); 0 where nothing was searched */
};

/* Calls back to the caller; any may be NULL. All come from the thread that called seqmse_run(). */
struct seqmse_hooks {
	void *ctx;
	const struct rates *rates; /* of this machine, to choose between ways of the same result by; NULL: rates_typical */
	/* phase is "load" or "search"; done of total steps (layers, in "search") are finished; current is the layer in work, or "". fraction is of the whole run, 0..1 */
	void (*progress)(void *ctx, const char *phase, int done, int total, double fraction, const char *current);
	void (*layer)(void *ctx, const struct seqmse_layer_result *layer);
	void (*warning)(void *ctx, const char *code, const char *layer, const char *detail); /* layer may be "" */
	bool (*canceled)(void *ctx); /* asked at least once a batch and a layer; true ends the run with ERR_CANCELED */
	/* A descriptor of the run's own for activations that do not fit into memory; asked for at most once. NULL: activations_spill_file(). */
	int (*spill)(void *ctx, struct err *e);
	/* What an earlier run over the same model, data and settings found for the layer of that index, or NULL. It is applied and not
	 * searched for again, and the result is that of an unbroken run, provided that program, runtime and type of processor are the same
	 * (core/workflow/machine.h). What does not fit the layer is ignored. It must live as long as the result. layer() is not called for it. */
	const struct seqmse_layer_result *(*known)(void *ctx, int index);
	/* The input of a layer that is being searched, as it is read: shows what the search sees. x is [shape], valid during the call; so is x_float, the
	 * float side's input, or NULL where both sides see the same. */
	void (*input)(void *ctx, const char *weight, int64_t batch, int rank, const int64_t *shape, const float *x,
	              const float *x_float);
};

struct seqmse_result;

/* Searches the whole model, which stays the caller's and unchanged. qs, the simulation of the quantized model, says how weights are quantized where params do
 * not, and learns what its weights get; NULL: symmetric, a grid a channel. */
struct seqmse_result *seqmse_run(const struct onnx_model *model, struct arrays *data, struct quantsim *qs,
                                 const struct params *params, const struct seqmse_hooks *hooks, struct err *e);
void seqmse_result_free(struct seqmse_result *r);
/* Frees the searched weights on their grids, which only seqmse_write_model() needs; it must not be called any more. */
void seqmse_result_slim(struct seqmse_result *r);

const struct encodings *seqmse_encodings(const struct seqmse_result *r);
size_t seqmse_layers(const struct seqmse_result *r);
const struct seqmse_layer_result *seqmse_layer(const struct seqmse_result *r, size_t i);

/* A layer's weight as an entry of an encodings file; the grids are borrowed. */
struct encoding seqmse_encoding(const struct seqmse_layer_result *l);

/* The whole model with the searched weights on their grids (quantized and dequantized), serialized; see onnx_model_write(). */
int seqmse_write_model(const struct seqmse_result *r, struct buf *out, struct err *e);

/* What can be said against a model without running it: it is quantized already, or nothing in it can be searched. seqmse_run() says the same. */
int seqmse_refuse(const struct onnx_model *m, struct err *e);

/* How a set of weight encodings compares with the search, layer by layer, with widths and granularities of those encodings: each layer is searched with the weights before it on the
 * *expected* grids, so that a difference early on does not hide or make others. A channel is equal when the scales agree to 1e-6 relative; a
 * near-tie when they do not, but the two losses, in double precision, differ by at most 1e-5 of the errors summed up; else wrong. Layers without an expected encoding are searched as usual and not counted. */
struct seqmse_check {
	int64_t channels, equal, near_ties, wrong;
	char first_wrong[256]; /* "weight[channel]: …" */
};
int seqmse_check(const struct onnx_model *model, struct arrays *data, const struct params *params, struct encodings *expected,
                 const struct seqmse_hooks *hooks, struct seqmse_check *out, struct err *e);

/* What a search would take, without searching. */
struct seqmse_estimate {
	double seconds_graph, seconds_gram, seconds_search; /* as in struct seqmse_stats, recheck left out */
	int layers;
	int64_t bytes; /* resident, at most, on top of what the process has before: activations, tensors in work, evidence, weights */
	int64_t weight_bytes;                               /* of all searched weights */
	int64_t kept_bytes;                                 /* of activations, were there room for all */
	int64_t spilled_bytes;                              /* of them that will go through the file */
	int64_t samples, samples_used, batches, batch_rows; /* batch_rows: of the largest batch */
};

/* Runs the graph on two batches, of few samples where the model takes any number of them, and works out the rest: seconds of the graph from the second one,
 * those of kernels from the machine's rates. */
int seqmse_estimate(const struct onnx_model *model, struct arrays *data, struct quantsim *qs, const struct params *params,
                    const struct rates *rates, struct seqmse_estimate *out, struct err *e);

/* How many samples a batch has that stands for all in an estimate. */
int seqmse_probe_batch(const struct onnx_model *model, struct arrays *data, const struct params *params, int64_t *batch_size,
                       struct err *e);

/* Facts about the run. */
struct seqmse_stats {
	int64_t samples, samples_used, batches;
	int pieces; /* sub-graphs that ONNX Runtime ran */
	double seconds_load, seconds_graph, seconds_gram, seconds_search, seconds_recheck, seconds_total;
	/* What was expected: of the graph when each stage's first batch had run, of the rest by the cost model. */
	double predicted_graph, predicted_gram, predicted_search;
	double seconds_cpu; /* of all the process's threads, over seconds_total */
	int64_t spilled_bytes;
};
const struct seqmse_stats *seqmse_stats(const struct seqmse_result *r);

#endif
