#ifndef SEQMSE_ONNX_INSERT_H
#define SEQMSE_ONNX_INSERT_H

/* A model with nodes inserted behind some of its tensors: simulation nodes for a run, QuantizeLinear and DequantizeLinear for an export.
 *
 *     x = onnx_insert_new(m, &e);
 *     onnx_insert_cut(x, value, "_qdq", &cut, &e);
 *     onnx_insert_node(x, value, &(struct onnx_insert_node){.op_type = "…", .ninputs = 1, .inputs = {cut.made}, … {cut.read} }, &e);
 *     onnx_insert_build(x, replaced, share, &out, &e);   onnx_insert_free(x);
 *
 * A cut tensor has two names: the one it is made under and the one it is read under, and it is the inserted nodes' duty to make
 * the latter from the former. A graph output keeps its name for the reader, any other tensor for the maker; so graph inputs and outputs keep
 * their names. All readers are turned to the new name, those in bodies of If, Loop and Scan too. A graph input or an
 * initializer that is itself a graph output can only be cut for its readers in the graph: the output stays what it was.
 *
 * Everything else of the model is taken over as it is, order and unknown fields included, except that initializers are no graph inputs (IR
 * version 4 at least). The model stays unchanged and must outlive x; texts and data are copied.
 */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/onnx/onnx_edit.h"
#include "core/onnx/onnx_model.h"

#include <stdbool.h>

struct onnx_insert;

struct onnx_insert *onnx_insert_new(const struct onnx_model *m, struct err *e);
void onnx_insert_free(struct onnx_insert *x);

struct onnx_cut {
	const char *made, *read; /* x's */
};

/* Cuts a value of the main graph, once. The other name is the value's with the suffix appended, and underscores where that name is taken. */
int onnx_insert_cut(struct onnx_insert *x, int value, const char *suffix, struct onnx_cut *cut, struct err *e);

/* A name that no tensor has: the given one with the suffix appended, and underscores where that is taken. x's; NULL: no memory. */
const char *onnx_insert_name(struct onnx_insert *x, const char *name, const char *suffix, struct err *e);

/* A node; names end at the first that is NULL, "" leaves an optional input out. */
struct onnx_insert_node {
	const char *op_type, *domain, *name; /* domain NULL: the default one; name NULL: none */
	const char *inputs[4], *outputs[2];
	struct onnx_insert_attr {
		const char *name; /* NULL: no more */
		int64_t value;
	} ints[3];
};

/* Adds a node, right after the node that makes the value `after` (and after the nodes that were added there before), or at the beginning where
 * no node makes it. */
int onnx_insert_node(struct onnx_insert *x, int after, const struct onnx_insert_node *node, struct err *e);

/* Adds an initializer; data is its bytes as raw_data has them. */
int onnx_insert_tensor(struct onnx_insert *x, const char *name, int elem_type, int rank, const int64_t *shape, const void *data,
                       size_t bytes, struct err *e);

/* Leaves a constant out, because nobody reads it any more. */
void onnx_insert_drop(struct onnx_insert *x, int value);

/* Adds a tensor to the graph's outputs. */
int onnx_insert_output(struct onnx_insert *x, const char *name, int elem_type, struct err *e);

/* Imports an operator set, in this version or, where it is imported in a newer one, as it is. */
int onnx_insert_opset(struct onnx_insert *x, const char *domain, int64_t version, struct err *e);

/* The text of producer_name. */
int onnx_insert_producer(struct onnx_insert *x, const char *name, struct err *e);

/* Serializes. replaced[value] is NULL or the float data that stands for a constant. With share, large float32 constants stay where they are
 * (see struct onnx_shared), for a session; without, the whole model is in out->bytes. Free with onnx_submodel_fini(). */
int onnx_insert_build(struct onnx_insert *x, const float *const *replaced, bool share, struct onnx_submodel *out, struct err *e);

#endif
