#ifndef SEQMSE_QUANTSIM_H
#define SEQMSE_QUANTSIM_H

/* The simulation of a quantized model, as rules without numbers: which tensor gets which quantizer, and who shares one with whom.
 *
 * The ops of the simulation are the model's nodes, except that what hardware runs as one op is one op here: MatMul + Add is a "Gemm", a
 * layer normalization spelled out in eight nodes is a "LayerNormalization". Such an op has a name of its own (the reference's; it may be that of none of its
 * nodes), and the tensors inside it have no quantizer.
 *
 *     struct quantsim *qs = quantsim_new(model, types, &settings, &e);
 *     for (int i = 0; i < qs->nquantizers; i++) … qs->quantizers[i] …
 *     quantsim_free(qs);
 *
 * Nothing is run and no weight is read: shapes of constants come from the model, element types of the other values from the caller
 * (value_types.h finds them). What is built is only read afterwards, by any number of threads, unless quantsim_set_weight() changes it.
 */

#include "core/base/err.h"
#include "core/grid/quant.h"
#include "core/onnx/onnx_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct value_types;

struct quantsim_settings {
	/* A built-in configuration's name (quantsim_config.h lists them; NULL is "default"), or the text of a configuration, which begins with '{'. */
	const char *config;
	int param_bw, output_bw; /* QUANT_MIN_BW .. QUANT_MAX_BW */
	bool output_float16;     /* activations become float16 instead of integers; output_bw is then not used */
	/* Weights of Conv, Gemm and MatMul: what the configuration says, or one for all. A weight whose input channels cannot be cut into blocks
	 * of that size keeps one grid a channel. */
	enum { QUANTSIM_AS_CONFIGURED, QUANTSIM_FORCED } weights;
	enum quant_granularity granularity; /* where forced */
	int64_t block_size;                 /* where forced to blocks or LPBQ */
};

struct quantsim_op {
	const char *name;   /* as the reference names it */
	const char *type;   /* "Conv", …; of a fused op what it stands for */
	const char *domain; /* "" is the default one; also of fused ops */
	const int *nodes;   /* the model's nodes that it is made of, ascending */
	int nnodes;
	const int *inputs, *outputs; /* values; -1 where one is left out */
	int ninputs, noutputs;
	bool fused;      /* made of several nodes */
	bool transposed; /* a fused Gemm whose weight is [channels][fan_in], like transB */
};

struct quantsim_quantizer {
	int value; /* the tensor; no two quantizers have the same */
	bool is_param; /* it quantizes a weight, bias, … of an op; else an activation (which may be a constant that no op calls its parameter) */
	const char *param_type; /* "weight", "bias", "weight_r", "running_mean", "running_var"; NULL for activations */
	int op; /* a parameter's op (the first of several that share it); an activation's producer, -1 for inputs and constants */
	bool enabled;    /* the rest says how, but a disabled one does nothing and is exported nowhere */
	bool is_float16; /* round to float16; no grid, no statistics */
	struct quant_mode mode;
	/* Parameters only; activations are QUANT_PER_TENSOR. Axes count from 0; -1 where the parameter has none. Both are known also where the granularity
	 * does not use them. channel_axis_as_named is how the reference counts it (MatMul: -1 or -2; then an axis is known). */
	enum quant_granularity granularity;
	int channel_axis, block_axis, channel_axis_as_named;
	bool transposed;    /* MatMul whose weight is the constant before a Transpose */
	int64_t block_size; /* of QUANT_PER_BLOCK and QUANT_LPBQ, else 0 */
	/* The range is (partly) given: it is constraint_min to constraint_max whatever the data are; INFINITY: only the lower end is. */
	bool constrained;
	double constraint_min, constraint_max;
	/* Tied quantizers are one: they see the data of all their tensors and have one grid. This is the index of the one that stands for all of them;
	 * itself where untied. All fields but value, op and param_type agree among the tied. */
	int shares;
};

struct quantsim {
	const struct onnx_model *model;
	const struct value_types *types;
	const struct quantsim_op *ops; /* in an order that can be run */
	int nops;
	struct quantsim_quantizer
		*quantizers; /* in the reference's order: parameters op by op, then activations as a walk over the ops meets them */
	int nquantizers;
	const int *of_value;    /* [values]: index of its quantizer, or -1 */
	const int *op_of_node;  /* [nodes]: the op that a node is part of */
	const int *producer_op; /* [values]: the op that makes it; -1 for inputs, initializers and the outputs of Constant nodes */
	/* What encodings files state under quantizer_args. */
	int param_bw, output_bw;
	bool params_symmetric;    /* defaults.params.is_symmetric */
	bool per_channel;         /* whether any op type has a grid per channel */
	struct quantsim_own *own; /* the memory of all that */
};

/* model and types are borrowed and have to outlive the result. ERR_BAD_PARAM for a wrong configuration, its message beginning with a JSON pointer
 * where it is a custom one; ERR_UNSUPPORTED_GRAPH where two fixed ranges would have to be one (Softmax, then Relu, with their own ranges). */
struct quantsim *quantsim_new(const struct onnx_model *model, const struct value_types *types,
                              const struct quantsim_settings *settings, struct err *e);
void quantsim_free(struct quantsim *qs);

/* The quantizer of an op's weight (input 1 of Conv, Gemm, MatMul, ConvTranspose, …) or of its parameter of that type; -1 where it has none. The bias of
 * a MatMul + Add that was not fused, though the configuration asks for it, is the Add's. */
int quantsim_param(const struct quantsim *qs, int op, const char *param_type);

/* Gives a weight's quantizer another width (0 keeps it) and granularity; an op's bias follows in that it has one grid a channel, too. False, and nothing
 * changed, where the weight has no such axis or its length is no multiple of block_size. */
bool quantsim_set_weight(struct quantsim *qs, int op, int bw, enum quant_granularity granularity, int64_t block_size);

/* The quantizer whose grid the tensor's numbers lie on: its own if that is enabled, else that of the tensor it is a rearrangement of (through Reshape,
 * MaxPool, Gather, … and disabled quantizers); -1 where there is none. */
int quantsim_effective(const struct quantsim *qs, int value);

/* Whether ops of this type only move numbers, so that the output lies on the first input's grid (Reshape, MaxPool, Slice, …); and whether the output lies on the
 * inputs' common grid where they have one (Concat, Scatter…). */
bool quantsim_keeps_grid(const char *op_type, const char *domain);
bool quantsim_joins_grids(const char *op_type, const char *domain);

#endif
