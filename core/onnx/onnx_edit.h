#ifndef SEQMSE_ONNX_EDIT_H
#define SEQMSE_ONNX_EDIT_H

/* New models made out of parts of one: sub-models that ONNX Runtime runs between searched layers, and the whole model with
 * other weights. Nodes, functions and operator sets are taken over as they are, unknown fields included.
 */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/onnx/onnx_model.h"

/* A value that is fed to a sub-model from outside. */
struct onnx_feed {
	int value;
	bool sequence; /* of tensors of elem_type; rank is then unused */
	int elem_type;
	int rank;                    /* -1: unknown */
	int64_t shape[ARRAY_MAX_RANK]; /* -1: unknown, or not the same in every batch */
};

/* A weight that a sub-model reads from the caller's memory, by name; its bytes are not in the serialized model. They stay valid while the
 * onnx_model and the replacement lives. */
struct onnx_shared {
	const char *name;
	int elem_type, rank;
	int64_t shape[ARRAY_MAX_RANK];
	const void *data;
	size_t bytes;
};

struct onnx_submodel {
	struct buf bytes;           /* the serialized model */
	struct onnx_shared *shared; /* weights of at least 4 KiB in float32 */
	size_t nshared;
};

/* The sub-model that makes the wanted values from the fed ones by running the given nodes (ascending; static nodes and
 * constants that they need, or that are wanted, are added). replaced[value] is NULL or the float data that stands for that constant; replaced may
 * be NULL. */
int onnx_submodel_build(const struct onnx_model *m, const int *nodes, size_t nnodes, const struct onnx_feed *feeds, size_t nfeeds,
                        const int *wanted, size_t nwanted, const float *const *replaced, struct onnx_submodel *out, struct err *e);
void onnx_submodel_fini(struct onnx_submodel *s);

/* The whole model, serialized, with the replaced constants' values changed (kept in their element type; replaced NULL: none) and all external data
 * inside. ERR_UNSUPPORTED_GRAPH above 2 GiB, the limit of the file format. */
int onnx_model_write(const struct onnx_model *m, const float *const *replaced, struct buf *out, struct err *e);

#endif
