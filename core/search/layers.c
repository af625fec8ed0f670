#include "core/search/layers.h"

#include "core/quantsim/quantsim.h"
#include "core/search/layer_match.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ELEM_FLOAT = 1, ELEM_FLOAT16 = 10 };

const char *layer_op_name(enum layer_op op)
{
	static const char *const names[] = {"Conv", "Gemm", "MatMul"};
	return names[op];
}

static bool __attribute__((format(printf, 2, 3))) refuse(struct layer *l, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(l->reason, sizeof l->reason, fmt, ap);
	va_end(ap);
	return false;
}

/* ---- the weight ---- */

/* The constant that feeds input 1: itself, or for MatMul also behind one Transpose of a matrix. */
static bool find_weight(const struct onnx_model *m, struct layer *l)
{
	const struct onnx_node *n = onnx_model_node(m, l->node);
	l->weight = -1;
	if (n->ninputs < 2 || n->inputs[0] < 0 || n->inputs[1] < 0)
		return refuse(l, "it lacks an input");
	l->x = n->inputs[0];
	int v = n->inputs[1], maker = onnx_model_value(m, v)->producer;
	if (onnx_model_const(m, v, &l->shape)) {
		l->weight = v;
		return true;
	}
	const struct onnx_node *t = maker < 0 ? NULL : onnx_model_node(m, maker);
	bool transposed =
		t && strcmp(t->op_type, "Transpose") == 0 && t->ninputs == 1 && onnx_model_const(m, t->inputs[0], &l->shape);
	if (!transposed)
		return refuse(l, "its weight is computed by the graph, not a constant");
	if (l->op != LAYER_MATMUL)
		return refuse(l, "its weight lies behind a Transpose");
	int64_t perm[2] = {1, 0};
	int np = onnx_attr_ints(m, maker, "perm", perm, 2);
	if (l->shape.rank != 2 || (np >= 0 && (np != 2 || perm[0] != 1 || perm[1] != 0)))
		return refuse(l, "its weight lies behind a Transpose that is not that of a matrix");
	l->weight = t->inputs[0];
	l->weight_by_rows = true;
	return true;
}

/* A tensor that a node of another kind reads too has no single encoding. Shape reads no numbers. */
static bool weight_is_ours_alone(const struct onnx_model *m, struct layer *l)
{
	const struct onnx_value *w = onnx_model_value(m, l->weight);
	for (int i = 0; i < w->nreaders; i++) {
		const struct onnx_node *n = onnx_model_node(m, w->readers[i]);
		bool same = strcmp(n->op_type, layer_op_name(l->op)) == 0;
		if (!same && strcmp(n->op_type, "Shape") != 0 && strcmp(n->op_type, "Transpose") != 0)
			return refuse(l, "its weight is also read by %s %s", n->op_type, n->name);
	}
	return true;
}

static bool weight_is_sound(const struct onnx_model *m, struct layer *l)
{
	int elem = l->shape.elem_type;
	if (elem != ELEM_FLOAT && elem != ELEM_FLOAT16)
		return refuse(l, "its weight is %s; float and float16 can be searched", onnx_elem_type_name(elem));
	if (l->shape.count == 0)
		return refuse(l, "its weight is empty");
	if (onnx_model_value(m, l->x)->is_static)
		return refuse(l, "its input is a constant");
	return weight_is_ours_alone(m, l);
}

/* ---- the three kinds ---- */

/* Reads an attribute with `spatial` numbers into the last places of three. */
static bool spatial_attr(const struct onnx_model *m, const struct layer *l, const char *name, int64_t out[3])
{
	int64_t v[3];
	int n = onnx_attr_ints(m, l->node, name, v, 3);
	if (n >= 0 && n != l->spatial)
		return false;
	for (int i = 0; i < n; i++) {
		if (v[i] < 1)
			return false;
		out[3 - l->spatial + i] = v[i];
	}
	return true;
}

static bool read_pads(const struct onnx_model *m, struct layer *l)
{
	size_t len;
	const char *mode = onnx_attr_string(m, l->node, "auto_pad", "NOTSET", &len);
	int64_t v[6];
	int n = onnx_attr_ints(m, l->node, "pads", v, 6);
	if (len == 10 && memcmp(mode, "SAME_UPPER", len) == 0)
		l->auto_pad = LAYER_PAD_SAME_UPPER;
	else if (len == 10 && memcmp(mode, "SAME_LOWER", len) == 0)
		l->auto_pad = LAYER_PAD_SAME_LOWER;
	else if (len == 5 && memcmp(mode, "VALID", len) == 0)
		n = -1;
	if (l->auto_pad || n < 0)
		return true;
	for (int i = 0; i < l->spatial && n == 2 * l->spatial; i++) {
		l->pad_begin[3 - l->spatial + i] = v[i];
		l->pad_end[3 - l->spatial + i] = v[l->spatial + i];
	}
	return n == 2 * l->spatial;
}

static bool read_conv(const struct onnx_model *m, struct layer *l)
{
	l->spatial = l->shape.rank - 2;
	l->groups = onnx_attr_int(m, l->node, "group", 1);
	if (l->spatial < 1 || l->spatial > 3)
		return refuse(l, "its weight has %d dimensions; 3 to 5 can be searched", l->shape.rank);
	for (int i = 0; i < 3; i++)
		l->kernel[i] = l->stride[i] = l->dilation[i] = 1;
	for (int i = 0; i < l->spatial; i++)
		l->kernel[3 - l->spatial + i] = l->shape.shape[2 + i];
	if (!spatial_attr(m, l, "strides", l->stride) || !spatial_attr(m, l, "dilations", l->dilation) || !read_pads(m, l))
		return refuse(l, "its strides, dilations or pads do not fit its weight");
	l->channels = l->shape.shape[0];
	l->fan_in = l->shape.count / (l->channels ? l->channels : 1);
	l->weight_by_rows = true;
	if (l->groups < 1 || l->channels % l->groups)
		return refuse(l, "its %lld channels do not divide into %lld groups", (long long)l->channels, (long long)l->groups);
	return true;
}

static bool read_linear(const struct onnx_model *m, struct layer *l)
{
	if (l->shape.rank != 2)
		return refuse(l, "its weight has %d dimensions; a matrix can be searched", l->shape.rank);
	if (l->op == LAYER_GEMM) {
		l->trans_a = onnx_attr_int(m, l->node, "transA", 0) != 0;
		l->weight_by_rows = onnx_attr_int(m, l->node, "transB", 0) != 0;
		l->scale = onnx_attr_float(m, l->node, "alpha", 1.0);
	}
	l->groups = 1;
	l->channels = l->shape.shape[l->weight_by_rows ? 0 : 1];
	l->fan_in = l->shape.shape[l->weight_by_rows ? 1 : 0];
	return true;
}

/* SpinQuant's rotations are folded into other weights later, so the reference leaves them alone. */
static bool is_rotation(const char *name)
{
	return fnmatch("*spinquant_?*_R[13]", name, 0) == 0;
}

static bool read_layer(const struct onnx_model *m, struct layer *l)
{
	l->scale = 1.0;
	l->blocks = 1;
	l->owner = -1;
	if (!find_weight(m, l))
		return false;
	if (!(l->op == LAYER_CONV ? read_conv(m, l) : read_linear(m, l)))
		return false;
	if (l->op == LAYER_MATMUL && is_rotation(onnx_model_node(m, l->node)->name))
		return refuse(l, "it is a SpinQuant rotation");
	return weight_is_sound(m, l);
}

static bool layer_op_of(const struct onnx_node *n, enum layer_op *op)
{
	for (int k = LAYER_CONV; k <= LAYER_MATMUL; k++)
		if (!*n->domain && strcmp(n->op_type, layer_op_name((enum layer_op)k)) == 0) {
			*op = (enum layer_op)k;
			return true;
		}
	return false;
}

/* ---- include and exclude ---- */

static bool matches(const struct onnx_model *m, const struct quantsim *qs, const struct layer *l, char *const *globs)
{
	for (; globs && *globs; globs++)
		if (layer_match_name(m, qs, l, *globs))
			return true;
	return false;
}

static int check_globs(const struct onnx_model *m, const struct quantsim *qs, const struct layer *layers, int n, char *const *globs,
                       struct err *e)
{
	for (; globs && *globs; globs++) {
		bool hit = false;
		for (int i = 0; i < n && !hit; i++)
			hit = layer_match_name(m, qs, &layers[i], *globs);
		if (!hit)
			return layer_match_nothing(m, qs, layers, n, *globs, e);
	}
	return 0;
}

static int choose(const struct onnx_model *m, const struct quantsim *qs, const struct params *p, struct layer *layers, int n,
                  struct err *e)
{
	if (!p)
		return 0;
	if (check_globs(m, qs, layers, n, p->include, e) || check_globs(m, qs, layers, n, p->exclude, e))
		return -1;
	for (int i = 0; i < n; i++) {
		struct layer *l = &layers[i];
		l->excluded = l->searchable && ((p->include && !matches(m, qs, l, p->include)) || matches(m, qs, l, p->exclude));
		if (l->excluded)
			(void)refuse(l, "excluded");
	}
	return layer_settings_resolve(m, qs, p, layers, n, e);
}

/* What the simulation does not quantize is not searched. */
static void check_quantizers(const struct quantsim *qs, struct layer *layers, int n)
{
	for (int i = 0; i < n && qs; i++) {
		const struct quantsim_quantizer *q = layers[i].searchable ? layer_quantizer(qs, &layers[i]) : NULL;
		if (layers[i].searchable && (!q || !q->enabled || q->is_float16))
			layers[i].searchable = refuse(&layers[i], "the configuration does not quantize its weight");
	}
}

/* ---- shared weights, depth ---- */

/* A tensor has one encoding: where one reader is excluded, so are the others. */
static void spread_exclusion(const struct onnx_model *m, struct layer *layers, int n)
{
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n && layers[i].excluded; k++)
			if (layers[k].weight == layers[i].weight && layers[k].searchable && !layers[k].excluded) {
				layers[k].excluded = true;
				(void)refuse(&layers[k], "it shares its weight with %s, which is excluded",
				             onnx_model_node(m, layers[i].node)->name);
			}
}

static bool wanted(const struct layer *l)
{
	return l->searchable && !l->excluded;
}

/* Depth as the reference's levels: dependency nodes are the searched layers and every node that reads a graph input; a node's depth is the number of
 * dependency nodes on the longest way to it. */
static int find_depths(const struct onnx_model *m, struct layer *layers, int n, struct err *e)
{
	int *layer_of = calloc((size_t)onnx_model_nodes(m) + 1, sizeof *layer_of); /* its index + 1 */
	int *after = calloc((size_t)onnx_model_values(m) + 1, sizeof *after);      /* depth of what reads this value */
	int rc = -1;
	if (!layer_of || !after) {
		err_nomem(e, "the layers");
		goto out;
	}
	for (int i = 0; i < n; i++)
		layer_of[layers[i].node] = i + 1;
	for (int i = 0; i < onnx_model_nodes(m); i++) {
		const struct onnx_node *node = onnx_model_node(m, i);
		int depth = 0;
		bool reads_input = false;
		for (int k = 0; k < node->ninputs + node->ncaptured; k++) {
			int v = k < node->ninputs ? node->inputs[k] : node->captured[k - node->ninputs];
			if (v < 0)
				continue;
			depth = after[v] > depth ? after[v] : depth;
			reads_input = reads_input || onnx_model_value(m, v)->is_input;
		}
		struct layer *l = layer_of[i] ? &layers[layer_of[i] - 1] : NULL;
		if (l)
			l->depth = depth;
		bool counts = reads_input || (l && wanted(l));
		for (int k = 0; k < node->noutputs; k++)
			if (node->outputs[k] >= 0)
				after[node->outputs[k]] = depth + (counts ? 1 : 0);
	}
	rc = 0;
out:
	free(layer_of);
	free(after);
	return rc;
}

/* The first by depth, then by place, decides for all layers with the same weight. */
static void find_owners(struct layer *layers, int n)
{
	for (int i = 0; i < n; i++) {
		if (!wanted(&layers[i]))
			continue;
		layers[i].owner = i;
		for (int k = 0; k < n; k++) {
			bool same = wanted(&layers[k]) && layers[k].weight == layers[i].weight;
			if (same && layers[k].depth < layers[layers[i].owner].depth)
				layers[i].owner = k;
			else if (same && layers[k].depth == layers[layers[i].owner].depth && k < layers[i].owner)
				layers[i].owner = k;
		}
	}
}

const struct quantsim_quantizer *layer_quantizer(const struct quantsim *qs, const struct layer *l)
{
	int i = qs->of_value[l->weight];
	return i < 0 ? NULL : &qs->quantizers[i];
}

int64_t layer_grids(const struct layer *l)
{
	return l->settings.granularity == QUANT_PER_TENSOR ? 1 : l->channels * l->blocks;
}

bool layer_is_searched(const struct layer *layers, int i)
{
	return layers[i].owner == i;
}

int layers_find(const struct onnx_model *m, struct quantsim *qs, const struct params *params, struct layer **layers, int *n,
                struct err *e)
{
	*n = 0;
	*layers = calloc((size_t)onnx_model_nodes(m) + 1, sizeof **layers);
	if (!*layers)
		return err_nomem(e, "the layers");
	for (int i = 0; i < onnx_model_nodes(m); i++) {
		struct layer *l = &(*layers)[*n];
		if (!layer_op_of(onnx_model_node(m, i), &l->op))
			continue;
		l->node = i;
		l->searchable = read_layer(m, l);
		(*n)++;
	}
	check_quantizers(qs, *layers, *n);
	if (choose(m, qs, params, *layers, *n, e)) {
		free(*layers);
		*layers = NULL;
		return -1;
	}
	spread_exclusion(m, *layers, *n);
	if (find_depths(m, *layers, *n, e)) {
		free(*layers);
		*layers = NULL;
		return -1;
	}
	find_owners(*layers, *n);
	if (qs && params)
		layer_settings_tell(qs, *layers, *n);
	return 0;
}

/* ---- weights ---- */

static void transpose(const float *in, int64_t rows, int64_t cols, float *out)
{
	for (int64_t r = 0; r < rows; r++)
		for (int64_t c = 0; c < cols; c++)
			out[c * rows + r] = in[r * cols + c];
}

int layer_weights(const struct onnx_model *m, const struct layer *l, float *out, struct err *e)
{
	if (l->weight_by_rows)
		return onnx_model_const_floats(m, l->weight, out, e);
	float *as_is = malloc((size_t)l->shape.count * sizeof *as_is);
	if (!as_is)
		return err_nomem(e, "a layer's weight");
	int rc = onnx_model_const_floats(m, l->weight, as_is, e);
	if (!rc)
		transpose(as_is, l->fan_in, l->channels, out);
	free(as_is);
	return rc;
}

void layer_weights_back(const struct layer *l, const float *by_rows, float *constant)
{
	if (l->weight_by_rows)
		memcpy(constant, by_rows, (size_t)l->shape.count * sizeof *constant);
	else
		transpose(by_rows, l->channels, l->fan_in, constant);
}

bool layer_by_pixel(const struct layer *l)
{
	return l->op == LAYER_CONV && l->settings.block_size > 0 && l->settings.loss == LOSS_SQNR;
}
