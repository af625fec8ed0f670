#ifndef SEQMSE_PATCHES_H
#define SEQMSE_PATCHES_H

/* A layer's input tensor as the vectors that its weights are multiplied with: `positions` vectors of `fan_in` numbers for each of
 * `groups` groups (of the layer, or its blocks). Position p of a Conv is output pixel p, counted through the images of the batch; of Gemm and MatMul, row p.
 * Padding is 0. Entry k of a vector is input channel k / (kernel volume) of the group at kernel offset k % (kernel volume), rows of the
 * kernel in order, as ONNX stores a weight.
 */

#include "core/base/err.h"
#include "core/run/ort.h"
#include "core/search/layers.h"

#include <stdbool.h>
#include <stdint.h>

struct patches {
	int64_t groups, fan_in, positions;
	bool linear, transposed; /* linear: rows of fan_in numbers; transposed: columns instead */
	int64_t in_channels;     /* of the whole tensor */
	int64_t in[3], out[3];   /* spatial sizes */
	int64_t kernel[3], stride[3], dilation[3], pad[3];
};

/* A batch's input with its geometry. */
struct patches_input {
	struct patches patches;
	const float *x;       /* what the quantized side sees */
	const float *x_float; /* what the float side sees; NULL: the same */
};

/* Works out the geometry for an input of this shape. What does not fit the layer is ERR_UNSUPPORTED_GRAPH. */
int patches_init(struct patches *p, const struct layer *l, const struct ort_info *x, struct err *e);

/* Output pixels of an image; of rows, 1. */
int64_t patches_pixels(const struct patches *p);

/* Whether two layers see the same vectors in the same tensor. */
bool patches_same_layer(const struct layer *a, const struct layer *b);

/* Some vectors, as a matrix: entry (k, t) of fan_in x count numbers lies at data[k * ld + t] when by_k, else at data[t * ld + k]. */
struct patch_tile {
	const float *data;
	int64_t ld, count;
	bool by_k;
};

/* Vectors first .. first+count-1 of group g, entries k0 .. k1-1 only (row k of the tile is entry k: data points at entry 0). room has space for
 * fan_in * count floats and is used where x does not hold the vectors as they are. */
struct patch_tile patches_tile(const struct patches *p, const float *x, int64_t g, int64_t first, int64_t count, int64_t k0,
                               int64_t k1, float *room);

/* Whether patches_tile() copies into room, or only points into x. */
bool patches_copies(const struct patches *p);

/* Of a pointwise convolution, whose vectors lie in the input as they are, but in runs, each of an image's pixels: how many there are in a run from
 * vector `first` on (0: the layer is none of these), and `count` of them, all entries. */
int64_t patches_plain(const struct patches *p, int64_t first);
struct patch_tile patches_view(const struct patches *p, const float *x, int64_t g, int64_t first, int64_t count);

#endif
