#include "inspect.h"

#include "layers.h"

#include <stdlib.h>
#include <string.h>

static void io_list(struct json_out *w, const char *key, size_t n, const struct onnx_io *(*at)(const struct onnx_model *, size_t),
                    const struct onnx_model *m)
{
	json_out_array(w, key);
	for (size_t i = 0; i < n; i++) {
		const struct onnx_io *io = at(m, i);
		json_out_object(w, NULL);
		json_out_string(w, "name", io->name);
		json_out_string(w, "type", onnx_elem_type_name(io->elem_type));
		if (io->rank < 0)
			json_out_null(w, "shape");
		else
			json_out_array(w, "shape");
		for (int k = 0; k < io->rank; k++) {
			if (io->dim_name[k])
				json_out_string(w, NULL, io->dim_name[k]);
			else
				json_out_integer(w, NULL, io->shape[k]);
		}
		if (io->rank >= 0)
			json_out_end_array(w);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

static void layer_object(struct json_out *w, const struct onnx_model *m, const struct layer *l, int index)
{
	json_out_object(w, NULL);
	json_out_integer(w, "index", index);
	json_out_string(w, "node", onnx_model_node(m, l->node)->name);
	json_out_string(w, "op_type", layer_op_name(l->op));
	json_out_string(w, "weight", l->weight < 0 ? NULL : onnx_model_value(m, l->weight)->name);
	json_out_array(w, "weight_shape");
	for (int k = 0; l->weight >= 0 && k < l->shape.rank; k++)
		json_out_integer(w, NULL, l->shape.shape[k]);
	json_out_end_array(w);
	json_out_integer(w, "channels", l->channels);
	json_out_integer(w, "fan_in", l->fan_in);
	json_out_integer(w, "groups", l->groups);
	json_out_bool(w, "searchable", l->searchable);
	json_out_string(w, "reason", l->searchable ? NULL : l->reason);
	if (l->searchable)
		json_out_integer(w, "level", l->depth);
	else
		json_out_null(w, "level");
	json_out_end_object(w);
}

int inspect_json(const struct onnx_model *m, struct json_out *w, const char *key, struct err *e)
{
	struct layer *layers;
	int n, searchable = 0;
	size_t nfiles;
	const char *const *files = onnx_model_external(m, &nfiles);
	if (layers_find(m, NULL, &layers, &n, e))
		return -1;
	for (int i = 0; i < n; i++)
		searchable += layers[i].searchable;
	json_out_object(w, key);
	json_out_integer(w, "ir_version", onnx_model_ir_version(m));
	json_out_integer(w, "opset", onnx_model_opset(m));
	io_list(w, "inputs", onnx_model_inputs(m), onnx_model_input, m);
	io_list(w, "outputs", onnx_model_outputs(m), onnx_model_output, m);
	json_out_integer(w, "nodes", onnx_model_nodes(m));
	json_out_integer(w, "searchable", searchable);
	json_out_array(w, "external_files");
	for (size_t i = 0; i < nfiles; i++)
		json_out_string(w, NULL, files[i]);
	json_out_end_array(w);
	json_out_array(w, "layers");
	for (int i = 0; i < n; i++)
		layer_object(w, m, &layers[i], i);
	json_out_end_array(w);
	json_out_end_object(w);
	free(layers);
	return 0;
}

/* numpy's type for an ONNX element type */
static bool npz_type_of(int elem_type, enum npz_type *type)
{
	static const struct {
		int elem;
		enum npz_type type;
	} map[] = {{1, NPZ_F32}, {2, NPZ_U8},  {3, NPZ_I8},    {4, NPZ_U16},  {5, NPZ_I16},  {6, NPZ_I32},
	           {7, NPZ_I64}, {9, NPZ_BOOL}, {10, NPZ_F16}, {11, NPZ_F64}, {12, NPZ_U32}, {13, NPZ_U64}};
	for (size_t i = 0; i < sizeof map / sizeof *map; i++)
		if (map[i].elem == elem_type) {
			*type = map[i].type;
			return true;
		}
	return false;
}

int inspect_calib_inputs(const struct onnx_model *m, struct calib_input **inputs, size_t *n, struct err *e)
{
	*n = onnx_model_inputs(m);
	*inputs = calloc(*n + 1, sizeof **inputs);
	if (!*inputs)
		return err_nomem(e, "the model's inputs");
	for (size_t i = 0; i < *n; i++) {
		const struct onnx_io *io = onnx_model_input(m, i);
		struct calib_input *c = &(*inputs)[i];
		c->name = io->name;
		c->rank = io->rank;
		memcpy(c->shape, io->shape, sizeof c->shape);
		if (!npz_type_of(io->elem_type, &c->type)) {
			free(*inputs);
			*inputs = NULL;
			return err_set(e, ERR_UNSUPPORTED_GRAPH, "the input %s is %s, which no array can feed", io->name, onnx_elem_type_name(io->elem_type));
		}
	}
	return 0;
}
