/* What onnx_model.c, onnx_view.c, onnx_const.c and onnx_edit.c ask of single tensors. */

#include "core/onnx/onnx_pb.h"

#include <string.h>

static const struct {
	const char *name;
	size_t size;
} elem_types[] = {{"undefined", 0},      {"float", 4},    {"uint8", 1},        {"int8", 1},           {"uint16", 2},
                  {"int16", 2},          {"int32", 4},    {"int64", 8},        {"string", 0},         {"bool", 1},
                  {"float16", 2},        {"double", 8},   {"uint32", 4},       {"uint64", 8},         {"complex64", 8},
                  {"complex128", 16},    {"bfloat16", 2}, {"float8e4m3fn", 1}, {"float8e4m3fnuz", 1}, {"float8e5m2", 1},
                  {"float8e5m2fnuz", 1}, {"uint4", 0},    {"int4", 0},         {"float4e2m1", 0}};

enum { NTYPES = sizeof elem_types / sizeof *elem_types };

const char *onnx_elem_type_name(int t)
{
	return t >= 0 && t < NTYPES ? elem_types[t].name : "undefined";
}

size_t pb_elem_size(int t)
{
	return t >= 0 && t < NTYPES ? elem_types[t].size : 0;
}

int64_t pb_tensor_count(const Onnx__TensorProto *t)
{
	int64_t n = 1;
	for (size_t i = 0; i < t->n_dims; i++)
		if (t->dims[i] < 0 || __builtin_mul_overflow(n, t->dims[i], &n) || n > INT64_MAX / 16)
			return -1;
	return n;
}

const char *pb_external(const Onnx__TensorProto *t, const char *key)
{
	for (size_t i = 0; i < t->n_external_data; i++)
		if (strcmp(pb_str(t->external_data[i]->key), key) == 0)
			return pb_str(t->external_data[i]->value);
	return NULL;
}

bool pb_is_external(const Onnx__TensorProto *t)
{
	return t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

/* ---- tensors everywhere in the model ---- */

static int each_in_graph(Onnx__GraphProto *g, int depth, pb_tensor_fn *f, void *ctx, struct err *e);

static int each_in_nodes(Onnx__NodeProto **nodes, size_t n, int depth, pb_tensor_fn *f, void *ctx, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < n && !rc; i++)
		for (size_t a = 0; a < nodes[i]->n_attribute && !rc; a++) {
			Onnx__AttributeProto *at = nodes[i]->attribute[a];
			if (at->t)
				rc = f(at->t, ctx, e);
			for (size_t k = 0; k < at->n_tensors && !rc; k++)
				rc = f(at->tensors[k], ctx, e);
			if (at->g && !rc)
				rc = each_in_graph(at->g, depth + 1, f, ctx, e);
			for (size_t k = 0; k < at->n_graphs && !rc; k++)
				rc = each_in_graph(at->graphs[k], depth + 1, f, ctx, e);
		}
	return rc;
}

static int each_in_graph(Onnx__GraphProto *g, int depth, pb_tensor_fn *f, void *ctx, struct err *e)
{
	if (depth > PB_MAX_DEPTH)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "graphs are nested deeper than %d", PB_MAX_DEPTH);
	int rc = 0;
	for (size_t i = 0; i < g->n_initializer && !rc; i++)
		rc = f(g->initializer[i], ctx, e);
	for (size_t i = 0; i < g->n_sparse_initializer && !rc; i++) {
		Onnx__SparseTensorProto *s = g->sparse_initializer[i];
		if (s->values)
			rc = f(s->values, ctx, e);
		if (s->indices && !rc)
			rc = f(s->indices, ctx, e);
	}
	return rc ? rc : each_in_nodes(g->node, g->n_node, depth, f, ctx, e);
}

int pb_each_tensor(Onnx__ModelProto *model, pb_tensor_fn *f, void *ctx, struct err *e)
{
	int rc = each_in_graph(model->graph, 0, f, ctx, e);
	for (size_t i = 0; i < model->n_functions && !rc; i++)
		rc = each_in_nodes(model->functions[i]->node, model->functions[i]->n_node, 0, f, ctx, e);
	return rc;
}

bool pb_makes(const Onnx__GraphProto *g, const char *name)
{
	for (size_t i = 0; i < g->n_input; i++)
		if (strcmp(pb_str(g->input[i]->name), name) == 0)
			return true;
	for (size_t i = 0; i < g->n_initializer; i++)
		if (strcmp(pb_str(g->initializer[i]->name), name) == 0)
			return true;
	for (size_t i = 0; i < g->n_node; i++)
		for (size_t k = 0; k < g->node[i]->n_output; k++)
			if (strcmp(pb_str(g->node[i]->output[k]), name) == 0)
				return true;
	return false;
}
