#ifndef SEQMSE_FOLD_BATCH_NORM_H
#define SEQMSE_FOLD_BATCH_NORM_H

/* BatchNormalization nodes folded into the weights and biases beside them, so that they are quantized as hardware runs them.
 *
 * Folded are
 *   Conv, ConvTranspose or Gemm, then BatchNormalization: W' = W * k, b' = (b - mean) * k + shift, with k = gain / sqrt(variance + epsilon);
 *   BatchNormalization, then Conv or Gemm: W' = W * k over input channels, b' = b + W . (shift - mean * k); for a Conv only where that is exact, that is without
 *   padding or where shift - mean * k is 0.
 * In both cases all numbers must be constants, the tensor between the two nodes read by nobody else, the weight too. A bias that others read, or that is missing, becomes
 * a new one called "<node>.bias". Computed in double; the model's outputs stay the same within rounding.
 *
 *     struct fold_list folds;
 *     struct onnx_model *m = fold_batch_norms(model, &folds, &e);
 *     … folds.p[i] …
 *     fold_list_fini(&folds);  onnx_model_free(m);
 */

#include "core/base/err.h"
#include "core/onnx/onnx_model.h"

#include <stdbool.h>
#include <stddef.h>

/* Names are those of the nodes and tensors of the given model, but a new bias's. */
struct fold {
	char *batch_norm, *node; /* the node that is gone, and the one it went into */
	char *weight, *bias;     /* the tensors that changed */
	bool before;             /* the BatchNormalization came first */
};

struct fold_list {
	struct fold *p;
	size_t n;
};

void fold_list_fini(struct fold_list *l);

/* A model of its own, also where nothing can be folded; the given one is not needed afterwards. The tensor behind a folded pair keeps its name. The model's external data has to be
 * attached. ERR_UNSUPPORTED_GRAPH above 2 GiB. *folds is filled, empty on error. */
struct onnx_model *fold_batch_norms(const struct onnx_model *m, struct fold_list *folds, struct err *e);

#endif
