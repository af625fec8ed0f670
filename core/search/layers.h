#ifndef SEQMSE_LAYERS_H
#define SEQMSE_LAYERS_H

/* The Conv, Gemm and MatMul nodes of a model: which of them can be searched, why not the others, and their form as a linear
 * map.
 *
 * Every layer is a set of `channels` weight vectors of `fan_in` numbers each. The channels come in `groups` equal groups; each group
 * reads its own part of the input. Layers of control-flow bodies and functions are not looked at: those run as opaque nodes.
 */

#include "core/onnx/onnx_model.h"
#include "core/search/layer_settings.h"
#include "core/workflow/params.h"

#include <stdbool.h>
#include <stdint.h>

struct encoding;
struct quantsim;
struct quantsim_quantizer;

enum layer_op { LAYER_CONV, LAYER_GEMM, LAYER_MATMUL };

struct layer {
	int node;
	enum layer_op op;
	int x;               /* the input's value */
	int weight;          /* the constant's value; -1 where the weight is no constant */
	bool weight_by_rows; /* the constant holds [channels][fan_in], else [fan_in][channels] */
	int64_t channels, fan_in, groups;
	int64_t blocks; /* equal pieces that every weight vector is cut into, each with a grid of its own; more than 1 only with one group */
	struct onnx_const shape; /* of the constant */

	/* Conv: spatial dimensions 1 to 3, kept as 3 with leading ones. */
	int spatial;
	int64_t kernel[3], stride[3], dilation[3], pad_begin[3], pad_end[3];
	enum { LAYER_PAD_EXPLICIT, LAYER_PAD_SAME_UPPER, LAYER_PAD_SAME_LOWER } auto_pad;
	/* Gemm */
	bool trans_a;
	double scale; /* alpha; losses are multiplied by its square */

	bool searchable;
	char reason[160]; /* why it is not searchable, or not searched by the caller's wish */
	bool excluded;    /* searchable, but not wanted */
	int owner; /* layer whose search decides this one's weight: itself, or the first of those that share it; -1: not searched */
	const struct encoding *loaded;  /* its grids are the full ranges (layer_load.h); NULL: those of the weights are */
	struct layer_settings settings; /* where layers_find() was given params */
	int depth; /* how many dependency nodes lie on the longest way to it, as the reference counts its levels */
};

/* Finds all layers in the order of the graph; *layers is calloc'ed. params (may be NULL) brings include, exclude and the layers' settings; a glob
 * that matches no node is ERR_BAD_PARAM with near names. qs (may be NULL) says how weights are quantized where params do not, and learns what the layers get. */
int layers_find(const struct onnx_model *m, struct quantsim *qs, const struct params *params, struct layer **layers, int *n,
                struct err *e);

/* The quantizer of its weight, NULL where there is none. */
const struct quantsim_quantizer *layer_quantizer(const struct quantsim *qs, const struct layer *l);

/* How many grids its weight has. */
int64_t layer_grids(const struct layer *l);

/* Whether this layer's weight is decided by its own search. */
bool layer_is_searched(const struct layer *layers, int i);

/* The weight as [channels][fan_in] floats (out has room for them), and back into the constant's own layout. */
int layer_weights(const struct onnx_model *m, const struct layer *l, float *out, struct err *e);
void layer_weights_back(const struct layer *l, const float *by_rows, float *constant);

/* Whether sqnr is taken pixel by pixel, as the reference does for blocks of a convolution (pixels.h). */
bool layer_by_pixel(const struct layer *l);

const char *layer_op_name(enum layer_op op);

#endif
