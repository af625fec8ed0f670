#ifndef SEQMSE_ONNX_PB_H
#define SEQMSE_ONNX_PB_H

/* The model as protobuf-c holds it; for onnx_model.c, onnx_view.c, onnx_const.c and onnx_edit.c only. */

#include "core/base/names.h"
#include "core/onnx/onnx_model.h"
#include "onnx.pb-c.h"

enum { PB_MAX_DEPTH = 16 }; /* of graphs in nodes in graphs */

enum {
	PB_FLOAT = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
	PB_FLOAT16 = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16,
	PB_BFLOAT16 = ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16,
	PB_DOUBLE = ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE
};

struct onnx_model {
	Onnx__ModelProto *pb;
	Onnx__NodeProto **pb_nodes; /* [nnodes], in our order */
	int nnodes, nvalues;
	struct onnx_node *nodes;
	struct onnx_value *values;
	const Onnx__TensorProto **tensors;      /* [nvalues], dense constants */
	const Onnx__SparseTensorProto **sparse; /* [nvalues], sparse initializers */
	struct names *value_names;
	struct onnx_io *inputs, *outputs;
	size_t ninputs, noutputs;
	char **external; /* distinct locations */
	size_t nexternal;
	int *index_pool; /* what the nodes' and values' lists point into */
	size_t index_pool_len;
	char **made_names; /* names of nodes that had none */
	size_t nmade;
};

static inline const char *pb_str(const char *s)
{
	return s ? s : "";
}

/* Bytes of one element of an ONNX data type, 0 for strings, sub-byte types and unknown ones. */
size_t pb_elem_size(int elem_type);

/* Elements of a tensor; -1 where a dimension is negative or the product overflows. */
int64_t pb_tensor_count(const Onnx__TensorProto *t);

/* A key of a tensor's external_data ("location", "offset", "length"), or NULL. */
const char *pb_external(const Onnx__TensorProto *t, const char *key);

/* Whether the tensor's data lies in a file and has not been attached. */
bool pb_is_external(const Onnx__TensorProto *t);

/* Calls f for every dense tensor of the model: initializers and attributes of all graphs, bodies and functions included. Stops at and returns the
 * first result that is not 0. */
typedef int pb_tensor_fn(Onnx__TensorProto *t, void *ctx, struct err *e);
int pb_each_tensor(Onnx__ModelProto *model, pb_tensor_fn *f, void *ctx, struct err *e);

/* Whether a value of this name comes to be in the graph itself: an input, an initializer, or a node's output. */
bool pb_makes(const Onnx__GraphProto *g, const char *name);

/* Fills nodes, values, inputs and outputs from pb. */
int onnx_view_build(struct onnx_model *m, struct err *e);

#endif
