#include "core/encodings/qdq.h"

#include "core/encodings/qdq_tensors.h"
#include "core/onnx/onnx_insert.h"
#include "core/onnx/onnx_opset.h"
#include "core/run/value_types.h"

#include <stdlib.h>
#include <string.h>

enum { FLOAT = 1, FLOAT16 = 10, BFLOAT16 = 16, BIAS_BW = 32 };
enum { OPSET_PER_CHANNEL = 13, OPSET_ALL_TYPES = 21 };

struct build {
	const struct onnx_model *original, *m; /* m: in a new enough operator set; the original, or raised */
	const struct value_types *types;       /* the original's */
	struct qdq_options options;
	struct onnx_insert *in;
	float **replaced; /* [m's values] */
};

/* What is exported: not float16, nor int32 biases where they are not wanted. */
static bool is_wanted(const struct qdq_options *o, const struct encoding *x)
{
	return !x->is_float16 && (x->mode.bw != BIAS_BW || (x->is_param && o->int32_biases));
}

static int float_type(const struct build *b, const char *name)
{
	int value = onnx_model_find(b->original, name);
	struct onnx_const info;
	if (value >= 0 && onnx_model_const(b->original, value, &info))
		return info.elem_type;
	return value >= 0 && b->types && b->types->elem_type[value] ? b->types->elem_type[value] : FLOAT;
}

/* ---- the operator set ---- */

static int64_t opset_for(const struct build *b, const struct encoding *list, size_t n)
{
	int64_t set = OPSET_PER_CHANNEL;
	for (size_t i = 0; i < n; i++) {
		const struct encoding *x = &list[i];
		bool plain = (x->mode.bw > 4 && x->mode.bw <= 8) || x->mode.bw == BIAS_BW;
		bool blocks = x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ;
		if (is_wanted(&b->options, x) && (!plain || blocks || float_type(b, x->name) != FLOAT))
			set = OPSET_ALL_TYPES;
	}
	return set;
}

/* The model in the operator set that the encodings need; *raised is to be freed, NULL where the original will do. */
static int raise(struct build *b, const struct encodings *x, struct onnx_model **raised, struct err *e)
{
	int64_t params = opset_for(b, x->params, x->nparams), activations = opset_for(b, x->activations, x->nactivations);
	int64_t set = params > activations ? params : activations;
	struct buf bytes = BUF_INIT;
	int rc = 0;
	if (onnx_model_opset(b->original) < set) {
		rc = onnx_opset_raise(b->original, set, b->types, &bytes, e);
		*raised = rc ? NULL : onnx_model_parse(bytes.data, bytes.len, "the model", e);
		rc = *raised ? 0 : -1;
	}
	buf_fini(&bytes);
	b->m = *raised ? *raised : b->original;
	return rc;
}

/* ---- one tensor ---- */

struct names {
	const char *scale, *zero_point, *integers;
};

static int make_names(struct build *b, const char *tensor, struct names *n, struct err *e)
{
	n->scale = onnx_insert_name(b->in, tensor, "_scale", e);
	n->zero_point = onnx_insert_name(b->in, tensor, "_zero_point", e);
	n->integers = onnx_insert_name(b->in, tensor, "_q", e);
	return n->scale && n->zero_point && n->integers ? 0 : -1;
}

/* A node of the kind that takes scale and zero point, with the axes of the encoding. */
static int add_node(struct build *b, int value, const char *type, const struct qdq_tensor *t, const char *in, const struct names *n,
                    const char *out, struct err *e)
{
	const struct encoding *x = t->x;
	struct onnx_insert_node node = {.op_type = type, .name = out, .inputs = {in, n->scale, n->zero_point}, .outputs = {out}};
	if (x->granularity == QUANT_PER_CHANNEL)
		node.ints[0] = (struct onnx_insert_attr){"axis", x->channel_axis};
	if (x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ) {
		node.ints[0] = (struct onnx_insert_attr){"axis", x->block_axis};
		node.ints[1] = (struct onnx_insert_attr){"block_size", x->block_size};
	}
	return onnx_insert_node(b->in, value, &node, e);
}

/* LPBQ scales are made by a DequantizeLinear of their own. */
static int add_lpbq_scales(struct build *b, int value, const struct qdq_tensor *t, const char *scale, struct err *e)
{
	const char *factors = onnx_insert_name(b->in, scale, "_q", e), *channels = onnx_insert_name(b->in, scale, "_scale", e);
	if (!factors || !channels || qdq_add_factors(b->in, t, factors, channels, e) != 0)
		return -1;
	struct onnx_insert_node node = {.op_type = "DequantizeLinear",
	                                .name = scale,
	                                .inputs = {factors, channels},
	                                .outputs = {scale},
	                                .ints = {{"axis", t->x->channel_axis}}};
	return onnx_insert_node(b->in, value, &node, e);
}

static int add_scales(struct build *b, int value, const struct qdq_tensor *t, const struct names *n, struct err *e)
{
	int rc =
		t->x->granularity == QUANT_LPBQ ? add_lpbq_scales(b, value, t, n->scale, e) : qdq_add_scales(b->in, t, n->scale, e);
	return rc ? rc : qdq_add_zero_points(b->in, t, n->zero_point, e);
}

/* Keeps what is not on the grid out of the levels that the stored type has and the grid has not. *from becomes the name of the result. */
static int add_clip(struct build *b, int value, const struct qdq_tensor *t, const char **from, struct err *e)
{
	const char *lo = onnx_insert_name(b->in, *from, "_min", e), *hi = onnx_insert_name(b->in, *from, "_max", e);
	const char *clipped = onnx_insert_name(b->in, *from, "_clipped", e);
	if (!lo || !hi || !clipped || qdq_add_scalar(b->in, t, lo, t->grids[0].min, e) != 0 ||
	    qdq_add_scalar(b->in, t, hi, t->grids[0].max, e) != 0)
		return -1;
	struct onnx_insert_node node = {.op_type = "Clip", .name = clipped, .inputs = {*from, lo, hi}, .outputs = {clipped}};
	*from = clipped;
	return onnx_insert_node(b->in, value, &node, e);
}

/* x -> QuantizeLinear -> DequantizeLinear -> readers */
static int add_pair(struct build *b, int value, const struct qdq_tensor *t, bool clip, struct err *e)
{
	struct onnx_cut cut;
	struct names n;
	if (make_names(b, t->x->name, &n, e) != 0 || onnx_insert_cut(b->in, value, "_qdq", &cut, e) != 0 ||
	    add_scales(b, value, t, &n, e) != 0)
		return -1;
	const char *from = cut.made;
	if (clip && add_clip(b, value, t, &from, e) != 0)
		return -1;
	if (add_node(b, value, "QuantizeLinear", t, from, &n, n.integers, e) != 0)
		return -1;
	return add_node(b, value, "DequantizeLinear", t, n.integers, &n, cut.read, e);
}

/* integers -> DequantizeLinear -> readers */
static int add_integers(struct build *b, int value, const struct qdq_tensor *t, const float *numbers, size_t count, struct err *e)
{
	struct onnx_cut cut;
	struct names n;
	if (make_names(b, t->x->name, &n, e) != 0 || onnx_insert_cut(b->in, value, "_qdq", &cut, e) != 0 ||
	    add_scales(b, value, t, &n, e) != 0 || qdq_add_integers(b->in, t, n.integers, numbers, count, e) != 0)
		return -1;
	if (!onnx_model_value(b->m, value)->is_output)
		onnx_insert_drop(b->in, value);
	return add_node(b, value, "DequantizeLinear", t, n.integers, &n, cut.read, e);
}

static int quantize_constant(struct build *b, int value, const struct onnx_const *info, const struct qdq_tensor *t, struct err *e)
{
	float *numbers = calloc((size_t)info->count + 1, sizeof *numbers);
	int rc = numbers ? onnx_model_const_floats(b->m, value, numbers, e) : err_nomem(e, "a QDQ model");
	if (rc == 0 && (b->options.prequantized || t->bits == 32)) {
		rc = add_integers(b, value, t, numbers, (size_t)info->count, e);
	} else if (rc == 0) {
		qdq_put_on_grid(t, numbers, (size_t)info->count);
		b->replaced[value] = numbers;
		numbers = NULL;
		rc = add_pair(b, value, t, false, e);
	}
	free(numbers);
	return rc;
}

static int quantize(struct build *b, const struct encoding *x, const struct quant_grid *grids, struct err *e)
{
	int value = onnx_model_find(b->m, x->name), type = float_type(b, x->name);
	struct onnx_const info;
	struct qdq_tensor t;
	if (value < 0)
		return err_set(e, ERR_BAD_PARAM, "the model has no tensor %.200s", x->name);
	if (type != FLOAT && type != FLOAT16 && type != BFLOAT16)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "QuantizeLinear takes no %s, which %.200s is", onnx_elem_type_name(type),
		               x->name);
	bool is_const = onnx_model_const(b->m, value, &info);
	if (qdq_tensor_init(&t, x, grids, type, is_const ? info.rank : -1, info.shape, e) != 0)
		return -1;
	if (is_const)
		return quantize_constant(b, value, &info, &t, e);
	return add_pair(b, value, &t, qdq_tensor_is_wider(&t), e);
}

/* ---- all tensors ---- */

static int quantize_lpbq(struct build *b, const struct encoding *x, struct err *e)
{
	struct quant_grid *grids = calloc(x->n + 1, sizeof *grids);
	int rc = grids ? encoding_lpbq_grids(x, grids, e) : err_nomem(e, "a QDQ model");
	if (rc == 0)
		rc = quantize(b, x, grids, e);
	free(grids);
	return rc;
}

static int quantize_list(struct build *b, const struct encoding *list, size_t n, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (!is_wanted(&b->options, &list[i]))
			continue;
		rc = list[i].granularity == QUANT_LPBQ ? quantize_lpbq(b, &list[i], e) : quantize(b, &list[i], list[i].grids, e);
	}
	return rc;
}

static int build(struct build *b, const struct encodings *x, struct buf *out, struct err *e)
{
	struct onnx_submodel model = {.bytes = BUF_INIT};
	b->replaced = calloc((size_t)onnx_model_values(b->m) + 1, sizeof *b->replaced);
	b->in = b->replaced ? onnx_insert_new(b->m, e) : NULL;
	if (!b->in)
		return b->replaced ? -1 : err_nomem(e, "a QDQ model");
	int rc = quantize_list(b, x->params, x->nparams, e);
	if (rc == 0)
		rc = quantize_list(b, x->activations, x->nactivations, e);
	if (rc == 0)
		rc = onnx_insert_producer(b->in, "seqmsed", e);
	if (rc == 0)
		rc = onnx_insert_build(b->in, (const float *const *)b->replaced, false, &model, e);
	if (rc == 0)
		buf_add(out, model.bytes.data, model.bytes.len);
	onnx_submodel_fini(&model);
	return rc == 0 && buf_failed(out) ? err_nomem(e, "a QDQ model") : rc;
}

int qdq_write(const struct onnx_model *m, const struct value_types *types, const struct encodings *x, struct qdq_options options,
              struct buf *out, struct err *e)
{
	struct build b = {.original = m, .types = types, .options = options};
	struct onnx_model *raised = NULL;
	int rc = raise(&b, x, &raised, e);
	if (rc == 0)
		rc = build(&b, x, out, e);
	for (int v = 0; b.replaced && v < onnx_model_values(b.m); v++)
		free(b.replaced[v]);
	free(b.replaced);
	onnx_insert_free(b.in);
	onnx_model_free(raised);
	return rc;
}
