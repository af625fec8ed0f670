#include "core/workflow/inspect.h"

#include "core/search/layers.h"

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

static void settings_object(struct json_out *w, const struct layer_settings *s)
{
	json_out_object(w, "settings");
	json_out_integer(w, "param_bw", s->mode.bw);
	json_out_bool(w, "symmetric", s->mode.symmetric);
	json_out_string(w, "granularity", quant_granularity_name(s->granularity));
	json_out_integer(w, "block_size", s->block_size);
	json_out_integer(w, "candidates", s->num_candidates);
	json_out_string(w, "loss_fn", loss_name(s->loss));
	json_out_end_object(w);
}

static void layer_object(struct json_out *w, const struct onnx_model *m, const struct layer *l, int index, bool settings)
{
	bool searchable = l->searchable && !l->excluded;
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
	json_out_bool(w, "searchable", searchable);
	json_out_string(w, "reason", searchable ? NULL : l->reason);
	if (searchable)
		json_out_integer(w, "level", l->depth);
	else
		json_out_null(w, "level");
	if (settings && searchable)
		settings_object(w, &l->settings);
	json_out_end_object(w);
}

int inspect_json(const struct onnx_model *m, struct json_out *w, const char *key, struct err *e)
{
	struct layer *layers;
	int n, searchable = 0;
	size_t nfiles;
	const char *const *files = onnx_model_external(m, &nfiles);
	if (layers_find(m, NULL, NULL, &layers, &n, e))
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
		layer_object(w, m, &layers[i], i, false);
	json_out_end_array(w);
	json_out_end_object(w);
	free(layers);
	return 0;
}

int inspect_layers_json(const struct onnx_model *m, struct quantsim *qs, const struct params *p, struct json_out *w,
                        const char *key, struct err *e)
{
	struct layer *layers;
	int n;
	if (layers_find(m, qs, p, &layers, &n, e))
		return -1;
	json_out_array(w, key);
	for (int i = 0; i < n; i++)
		layer_object(w, m, &layers[i], i, true);
	json_out_end_array(w);
	free(layers);
	return 0;
}

/* numpy's type for an ONNX element type */
static bool array_type_of(int elem_type, enum array_type *type)
{
	static const struct {
		int elem;
		enum array_type type;
	} map[] = {{1, ARRAY_F32}, {2, ARRAY_U8},   {3, ARRAY_I8},   {4, ARRAY_U16},  {5, ARRAY_I16},  {6, ARRAY_I32},
	           {7, ARRAY_I64}, {9, ARRAY_BOOL}, {10, ARRAY_F16}, {11, ARRAY_F64}, {12, ARRAY_U32}, {13, ARRAY_U64}};
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
		if (!array_type_of(io->elem_type, &c->type)) {
			free(*inputs);
			*inputs = NULL;
			return err_set(e, ERR_UNSUPPORTED_GRAPH, "the input %s is %s, which no array can feed", io->name,
			               onnx_elem_type_name(io->elem_type));
		}
	}
	return 0;
}
