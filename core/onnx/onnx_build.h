#ifndef SEQMSE_ONNX_BUILD_H
#define SEQMSE_ONNX_BUILD_H

/* What onnx_edit.c, onnx_insert.c and fold_batch_norm.c share: pieces of protobuf that are made for one build and freed after it is
 * serialized. Nobody else includes it. */

#include "core/onnx/onnx_edit.h"
#include "core/onnx/onnx_pb.h"

/* Everything that is allocated for one build. Zeroed is empty. */
struct pool {
	void **p;
	size_t n, cap;
};

void *pool_take(struct pool *pool, size_t count, size_t size); /* zeroed; NULL: no memory */
char *pool_text(struct pool *pool, const char *s);
void pool_fini(struct pool *pool);

/* A tensor like t, of that name, with the float data in its place, kept in t's element type. NULL: no memory. */
Onnx__TensorProto *build_replacement(struct pool *pool, const Onnx__TensorProto *t, const char *name, const float *data);

/* Constant v of the model, with data (NULL: its own) as its numbers. Where it is large float32 its bytes stay where they are and
 * list[(*nshared)++] says so; list may be NULL: nothing is shared. */
Onnx__TensorProto *build_constant(struct pool *pool, const struct onnx_model *m, int v, const float *data, struct onnx_shared *list,
                                  size_t *nshared);

Onnx__TypeProto *build_tensor_type(struct pool *pool, int elem_type, int rank, const int64_t *shape);
Onnx__ValueInfoProto *build_value_info(struct pool *pool, const char *name, Onnx__TypeProto *type);

/* Serializes; ERR_UNSUPPORTED_GRAPH above 2 GiB. */
int build_pack(const Onnx__ModelProto *pb, struct buf *out, struct err *e);

#endif
