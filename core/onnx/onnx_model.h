#ifndef SEQMSE_ONNX_MODEL_H
#define SEQMSE_ONNX_MODEL_H

/* A read-only view of an ONNX model: the graph's nodes, its constant tensors, and who feeds whom. onnx_pb.h is the
 * door to protobuf-c: the files onnx_*.c know it, nobody else does.
 *
 * Constant tensors are initializers in every storage form (typed fields, raw bytes, external data) and the outputs of Constant nodes; both
 * are found by the tensor's name. Graph inputs that only repeat an initializer (the habit of IR version 3) are not
 * inputs. Nodes without a name, or with a name that an earlier node has, get "/<OpType>", "/<OpType>_1", … as the
 * reference gives them. The bodies of If, Loop and Scan are looked into only for the outer tensors they read.
 *
 * External data is not read by opening: onnx_model_attach() says where the files are, and until then
 * onnx_model_external() lists the names that the model asks for.
 *
 * Errors: ERR_NOT_ONNX for damage, ERR_UNSUPPORTED_GRAPH for what is valid but refused, ERR_NOT_FOUND/ERR_IO, ERR_MEMORY.
 * After opening and attaching, a model may be read by any number of threads.
 */

#include "core/base/err.h"
#include "core/data/arrays.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct onnx_model;

/* A file that holds a model's external data; name is the location that the model gives, fd stays the caller's. */
struct onnx_external {
	const char *name;
	int fd;
};

/* Opens a file and attaches the external-data files that lie beside it (plain relative names without ".." only). */
struct onnx_model *onnx_model_open(const char *path, struct err *e);
/* Parses the whole content of fd, which stays the caller's; attaches nothing. name is for messages. */
struct onnx_model *onnx_model_open_fd(int fd, const char *name, struct err *e);
/* The same for a serialized model in memory, which stays the caller's and is not needed afterwards. */
struct onnx_model *onnx_model_parse(const void *bytes, size_t len, const char *name, struct err *e);
/* Reads the external data of every tensor. A file that is asked for and not given, or that is too short, is ERR_NOT_ONNX naming the
 * file and the tensor. With nothing external it does nothing. */
int onnx_model_attach(struct onnx_model *m, const struct onnx_external *files, size_t nfiles, struct err *e);
void onnx_model_free(struct onnx_model *m);

/* The distinct locations of external data, in order of appearance; *n counts them. Borrowed. */
const char *const *onnx_model_external(const struct onnx_model *m, size_t *n);

/* A graph input or output, as declared. Dimensions that are symbolic, unknown, "?" or negative are -1. */
struct onnx_io {
	const char *name;
	int elem_type; /* ONNX TensorProto.DataType; 0: not a tensor, or unknown */
	int rank;      /* -1: unknown */
	int64_t shape[ARRAY_MAX_RANK];
	const char *dim_name[ARRAY_MAX_RANK]; /* symbolic name or NULL */
};

size_t onnx_model_inputs(const struct onnx_model *m);
const struct onnx_io *onnx_model_input(const struct onnx_model *m, size_t i);
size_t onnx_model_outputs(const struct onnx_model *m);
const struct onnx_io *onnx_model_output(const struct onnx_model *m, size_t i);

/* The graph. Nodes are numbered in a topological order: the file's own where it is one. Values (tensors, sequences, …)
 * are numbered by first appearance; -1 stands for an input or output that is left out. */
struct onnx_node {
	const char *name; /* never empty, unique */
	const char *op_type;
	const char *domain; /* "" is the default domain ("ai.onnx" is given as "") */
	int ninputs, noutputs;
	const int *inputs, *outputs;
	int ncaptured; /* outer values that the bodies of If, Loop, Scan read */
	const int *captured;
	bool is_static; /* depends on constants only: it can be run anywhere, any number of times */
};

struct onnx_value {
	const char *name;
	int producer;        /* node, or -1 for graph inputs and initializers */
	bool is_input;       /* a graph input that must be fed */
	bool is_output;      /* a graph output */
	bool is_initializer; /* dense or sparse */
	bool is_static;      /* an initializer, or made by a static node */
	int nreaders;        /* nodes that read it, each once, in order; captures count */
	const int *readers;
};

int onnx_model_nodes(const struct onnx_model *m);
const struct onnx_node *onnx_model_node(const struct onnx_model *m, int i);
int onnx_model_values(const struct onnx_model *m);
const struct onnx_value *onnx_model_value(const struct onnx_model *m, int id);
int onnx_model_find(const struct onnx_model *m, const char *value_name); /* -1: no such value */

/* Attributes of a node; the default where it is missing or of another type. */
int64_t onnx_attr_int(const struct onnx_model *m, int node, const char *name, int64_t dflt);
double onnx_attr_float(const struct onnx_model *m, int node, const char *name, double dflt);
const char *onnx_attr_string(const struct onnx_model *m, int node, const char *name, const char *dflt, size_t *len);
/* Copies at most max numbers, returns how many there are, or -1 where the attribute is missing. */
int onnx_attr_ints(const struct onnx_model *m, int node, const char *name, int64_t *out, int max);

/* A constant tensor: an initializer, or the output of a Constant node that holds a dense tensor. */
struct onnx_const {
	int elem_type;
	int rank;
	int64_t shape[ARRAY_MAX_RANK];
	int64_t count; /* elements */
};

/* False where the value is no such constant (or has more than ARRAY_MAX_RANK dimensions). */
bool onnx_model_const(const struct onnx_model *m, int value, struct onnx_const *info);
/* Decodes a float, float16, bfloat16 or double constant of info.count elements into floats. */
int onnx_model_const_floats(const struct onnx_model *m, int value, float *out, struct err *e);

/* The value of a constant of exactly one element of any number type, scalar or not; false where it is none. */
bool onnx_model_const_number(const struct onnx_model *m, int value, double *x);

int64_t onnx_model_opset(const struct onnx_model *m); /* of the default domain; 0 if it imports none */
int64_t onnx_model_ir_version(const struct onnx_model *m);
const char *onnx_elem_type_name(int elem_type); /* "float", "int64", …; "undefined" */

#endif
