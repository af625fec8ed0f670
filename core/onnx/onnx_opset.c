#include "core/onnx/onnx_opset.h"

#include "core/base/half.h"
#include "core/onnx/onnx_build.h"
#include "core/run/value_types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PB_INT64 = ONNX__TENSOR_PROTO__DATA_TYPE__INT64,
	ATTR_INT = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT,
	ATTR_STRING = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING
};

/* A graph that is being rewritten: its nodes and initializers so far. Lists have room for all that a rewriting adds. */
struct body {
	Onnx__NodeProto **node;
	Onnx__TensorProto **initializer;
	size_t nnodes, ninitializers;
	int depth;
};

struct raise {
	const struct onnx_model *m;
	const struct value_types *types;
	int64_t from, to;
	struct pool pool;
	int made; /* names */
};

enum { MORE_NODES = 4, MORE_INITIALIZERS = 4 }; /* that one node becomes, and brings, at most */

static int nomem(struct err *e)
{
	return err_nomem(e, "a model in another operator set");
}

static int refuse(const struct raise *r, const Onnx__NodeProto *n, const char *why, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED_GRAPH, "node \"%.200s\" (%.40s) cannot be raised from operator set %lld to %lld: %s",
	               pb_str(n->name), n->op_type, (long long)r->from, (long long)r->to, why);
}

/* ---- pieces ---- */

/* A name that no tensor of the main graph has. */
static char *fresh_name(struct raise *r)
{
	char text[48];
	do
		(void)snprintf(text, sizeof text, "_opset%lld_%d", (long long)r->to, r->made++);
	while (names_find(r->m->value_names, text) >= 0);
	return pool_text(&r->pool, text);
}

/* A copy of a node with its own lists, which have room for one input more than it may have. */
static Onnx__NodeProto *copy_of(struct raise *r, const Onnx__NodeProto *n)
{
	enum { ROOM = 6 };
	Onnx__NodeProto *copy = pool_take(&r->pool, 1, sizeof *copy);
	if (!copy)
		return NULL;
	*copy = *n;
	copy->input = pool_take(&r->pool, n->n_input + ROOM, sizeof *copy->input);
	copy->attribute = pool_take(&r->pool, n->n_attribute + ROOM, sizeof *copy->attribute);
	if (!copy->input || !copy->attribute)
		return NULL;
	for (size_t i = 0; i < n->n_input; i++)
		copy->input[i] = n->input[i];
	for (size_t i = 0; i < n->n_attribute; i++)
		copy->attribute[i] = n->attribute[i];
	return copy;
}

static const Onnx__AttributeProto *attribute(const Onnx__NodeProto *n, const char *name)
{
	for (size_t i = 0; i < n->n_attribute; i++)
		if (strcmp(pb_str(n->attribute[i]->name), name) == 0)
			return n->attribute[i];
	return NULL;
}

static void drop_attribute(Onnx__NodeProto *copy, const char *name)
{
	size_t kept = 0;
	for (size_t i = 0; i < copy->n_attribute; i++)
		if (strcmp(pb_str(copy->attribute[i]->name), name) != 0)
			copy->attribute[kept++] = copy->attribute[i];
	copy->n_attribute = kept;
}

static Onnx__AttributeProto *new_attribute(struct raise *r, Onnx__NodeProto *copy, const char *name, int type)
{
	Onnx__AttributeProto *a = pool_take(&r->pool, 1, sizeof *a);
	if (!a)
		return NULL;
	drop_attribute(copy, name);
	onnx__attribute_proto__init(a);
	a->name = pool_text(&r->pool, name);
	a->has_type = 1;
	a->type = (Onnx__AttributeProto__AttributeType)type;
	copy->attribute[copy->n_attribute++] = a;
	return a->name ? a : NULL;
}

static int set_int(struct raise *r, Onnx__NodeProto *copy, const char *name, int64_t v, struct err *e)
{
	Onnx__AttributeProto *a = new_attribute(r, copy, name, ATTR_INT);
	if (!a)
		return nomem(e);
	a->has_i = 1;
	a->i = v;
	return 0;
}

static int set_string(struct raise *r, Onnx__NodeProto *copy, const char *name, const char *v, struct err *e)
{
	Onnx__AttributeProto *a = new_attribute(r, copy, name, ATTR_STRING);
	char *text = pool_text(&r->pool, v);
	if (!a || !text)
		return nomem(e);
	a->has_s = 1;
	a->s.data = (uint8_t *)text;
	a->s.len = strlen(v);
	return 0;
}

static bool string_is(const Onnx__AttributeProto *a, const char *text)
{
	return a && a->s.len == strlen(text) && memcmp(a->s.data, text, a->s.len) == 0;
}

/* Adds a constant; rank 0 or 1. Returns its name, or NULL. */
static char *add_constant(struct raise *r, struct body *b, int elem_type, int rank, size_t n, const void *data)
{
	Onnx__TensorProto *t = pool_take(&r->pool, 1, sizeof *t);
	size_t bytes = n * pb_elem_size(elem_type);
	char *name = fresh_name(r);
	if (!t || !name)
		return NULL;
	onnx__tensor_proto__init(t);
	t->name = name;
	t->has_data_type = t->has_raw_data = 1;
	t->data_type = elem_type;
	t->n_dims = (size_t)rank;
	t->dims = pool_take(&r->pool, 1, sizeof *t->dims);
	t->raw_data.len = bytes;
	t->raw_data.data = pool_take(&r->pool, bytes, 1);
	if (!t->dims || !t->raw_data.data)
		return NULL;
	t->dims[0] = (int64_t)n;
	if (bytes)
		memcpy(t->raw_data.data, data, bytes);
	b->initializer[b->ninitializers++] = t;
	return name;
}

/* A scalar of a tensor's own type. */
static char *add_scalar(struct raise *r, struct body *b, const char *like, float v)
{
	int value = names_find(r->m->value_names, like), type = value >= 0 && r->types ? r->types->elem_type[value] : PB_FLOAT;
	double wide = (double)v;
	uint16_t half = type == PB_FLOAT16 ? half_from_float(v) : bfloat_from_float(v);
	int64_t whole = (int64_t)v;
	int32_t narrow = (int32_t)v;
	switch (type) {
	case PB_DOUBLE:
		return add_constant(r, b, type, 0, 1, &wide);
	case PB_FLOAT16:
	case PB_BFLOAT16:
		return add_constant(r, b, type, 0, 1, &half);
	case PB_INT64:
		return add_constant(r, b, type, 0, 1, &whole);
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
		return add_constant(r, b, type, 0, 1, &narrow);
	default:
		return add_constant(r, b, PB_FLOAT, 0, 1, &v);
	}
}

static int set_input(struct raise *r, Onnx__NodeProto *copy, size_t at, char *name, struct err *e)
{
	char *none = pool_text(&r->pool, "");
	if (!name || !none)
		return nomem(e);
	while (copy->n_input <= at)
		copy->input[copy->n_input++] = none;
	copy->input[at] = name;
	return 0;
}

static void add_node(struct body *b, Onnx__NodeProto *n)
{
	b->node[b->nnodes++] = n;
}

/* ---- attributes that became inputs ---- */

static const struct moved {
	const char *op, *attribute;
	int64_t at; /* the set that brought it */
	size_t input;
} moved[] = {
	{"Squeeze", "axes", 13, 1},
	{"Unsqueeze", "axes", 13, 1},
	{"ReduceSum", "axes", 13, 1},
	{"ReduceL1", "axes", 18, 1},
	{"ReduceL2", "axes", 18, 1},
	{"ReduceLogSum", "axes", 18, 1},
	{"ReduceLogSumExp", "axes", 18, 1},
	{"ReduceMax", "axes", 18, 1},
	{"ReduceMean", "axes", 18, 1},
	{"ReduceMin", "axes", 18, 1},
	{"ReduceProd", "axes", 18, 1},
	{"ReduceSumSquare", "axes", 18, 1},
	{"Split", "split", 13, 1},
	{"Slice", "starts", 10, 1},
	{"Slice", "ends", 10, 2},
	{"Slice", "axes", 10, 3},
	{"TopK", "k", 10, 1},
	{"Pad", "pads", 11, 1},
	{"Pad", "value", 11, 2},
	{"Clip", "min", 11, 1},
	{"Clip", "max", 11, 2},
	{"Dropout", "ratio", 12, 1},
	{"Upsample", "scales", 9, 1},
};

static bool crosses(const struct raise *r, int64_t at)
{
	return r->from < at && at <= r->to;
}

static int move_one(struct raise *r, struct body *b, Onnx__NodeProto *copy, const struct moved *x, struct err *e)
{
	const Onnx__AttributeProto *a = attribute(copy, x->attribute);
	char *name;
	if (!a)
		return 0;
	if (a->n_ints)
		name = add_constant(r, b, PB_INT64, 1, a->n_ints, a->ints);
	else if (a->n_floats)
		name = add_constant(r, b, PB_FLOAT, 1, a->n_floats, a->floats);
	else if (a->has_i)
		name = add_constant(r, b, PB_INT64, 1, 1, &a->i);
	else if (a->has_f)
		name = add_scalar(r, b, copy->n_input ? copy->input[0] : "", a->f);
	else
		name = add_constant(r, b, PB_INT64, 1, 0, NULL);
	drop_attribute(copy, x->attribute);
	return set_input(r, copy, x->input, name, e);
}

static int move_attributes(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < sizeof moved / sizeof *moved && rc == 0; i++)
		if (strcmp(copy->op_type, moved[i].op) == 0 && crosses(r, moved[i].at))
			rc = move_one(r, b, copy, &moved[i], e);
	return rc;
}

/* ---- what changed otherwise; each is given its own copy of the node ---- */

typedef int rewrite_fn(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e);

/* Before 13 it worked on the matrix that all axes from `axis` on make, and axis was 1; now on one axis, and that is the last. */
static int softmax(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	const Onnx__AttributeProto *a = attribute(copy, "axis");
	int value = names_find(r->m->value_names, copy->input[0]), rank = value >= 0 && r->types ? r->types->rank[value] : -1;
	int64_t axis = a ? a->i : 1;
	if (axis == -1 || (rank >= 1 && axis == rank - 1))
		return set_int(r, copy, "axis", -1, e);
	static const char *const ops[] = {"Shape", "Flatten", "Reshape"};
	Onnx__NodeProto *made[3];
	char *shape = fresh_name(r), *flat = fresh_name(r), *done = fresh_name(r), *x = copy->input[0];
	for (int i = 0; i < 3; i++) {
		made[i] = copy_of(r, copy);
		if (!made[i] || !shape || !flat || !done)
			return nomem(e);
		made[i]->op_type = pool_text(&r->pool, ops[i]);
		made[i]->name = pool_text(&r->pool, "");
		made[i]->n_attribute = 0;
		made[i]->output = pool_take(&r->pool, 1, sizeof *made[i]->output);
		if (!made[i]->op_type || !made[i]->name || !made[i]->output)
			return nomem(e);
	}
	made[0]->input[0] = made[1]->input[0] = x;
	made[0]->output[0] = shape;
	made[1]->output[0] = flat;
	made[2]->output[0] = copy->output[0];
	copy->output = pool_take(&r->pool, 1, sizeof *copy->output);
	if (!copy->output || set_int(r, made[1], "axis", axis, e) != 0 || set_int(r, copy, "axis", -1, e) != 0 ||
	    set_input(r, copy, 0, flat, e) != 0 || set_input(r, made[2], 0, done, e) != 0 ||
	    set_input(r, made[2], 1, shape, e) != 0)
		return nomem(e);
	copy->output[0] = done;
	add_node(b, made[0]);
	add_node(b, made[1]);
	add_node(b, copy);
	add_node(b, made[2]);
	return 1; /* all nodes are added */
}

/* Its mask was of the data's type, which matters only where somebody reads it. */
static int dropout(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	int mask = copy->n_output > 1 ? names_find(r->m->value_names, copy->output[1]) : -1;
	if (r->from >= 10 || copy->n_output < 2)
		return 0;
	if (mask >= 0 && (r->m->values[mask].nreaders || r->m->values[mask].is_output))
		return refuse(r, copy, "its mask had another type", e);
	copy->n_output = 1;
	return 0;
}

static int batch_normalization(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	const Onnx__AttributeProto *spatial = attribute(copy, "spatial");
	if (spatial && spatial->i == 0)
		return refuse(r, copy, "statistics of every position are gone", e);
	if (copy->n_output > 1)
		return refuse(r, copy, "it is in training mode", e);
	drop_attribute(copy, "spatial");
	return 0;
}

/* Since 18 it has to be told into how many parts. */
static int split(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	if (copy->n_input > 1 && *pb_str(copy->input[1]))
		return 0;
	return set_int(r, copy, "num_outputs", (int64_t)copy->n_output, e);
}

/* Upsample, and Resize before 11: X and scales; pixels are counted from the corner. */
static int resize_by_scales(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	char *scales = copy->n_input > 1 ? copy->input[1] : NULL, *resize = pool_text(&r->pool, "Resize");
	if (!scales)
		return refuse(r, copy, "it has no scales", e);
	if (!resize)
		return nomem(e);
	copy->op_type = resize;
	copy->input[1] = pool_text(&r->pool, "");
	if (!copy->input[1] || set_input(r, copy, 2, scales, e) != 0 ||
	    set_string(r, copy, "coordinate_transformation_mode", "asymmetric", e) != 0)
		return nomem(e);
	return set_string(r, copy, "nearest_mode", "floor", e);
}

static int resize(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	if (r->from < 11)
		return resize_by_scales(r, b, copy, e);
	if (r->from < 13 && string_is(attribute(copy, "coordinate_transformation_mode"), "tf_half_pixel_for_nn"))
		return refuse(r, copy, "tf_half_pixel_for_nn is gone", e);
	return 0;
}

static int scatter(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	copy->op_type = pool_text(&r->pool, "ScatterElements");
	return copy->op_type ? 0 : nomem(e);
}

static int roi_align(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	return set_string(r, copy, "coordinate_transformation_mode", "output_half_pixel", e);
}

static int grid_sample(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	const Onnx__AttributeProto *mode = attribute(copy, "mode");
	if (!mode || string_is(mode, "bilinear"))
		return set_string(r, copy, "mode", "linear", e);
	return string_is(mode, "bicubic") ? set_string(r, copy, "mode", "cubic", e) : 0;
}

static int average_pool(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	const Onnx__AttributeProto *ceil = attribute(copy, "ceil_mode"), *pad = attribute(copy, "count_include_pad");
	return ceil && ceil->i && pad && pad->i ? refuse(r, copy, "what it counts beyond the border has changed", e) : 0;
}

static int group_normalization(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	return refuse(r, copy, "its scales were those of groups", e);
}

static int dft(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	return refuse(r, copy, "its axis became an input", e);
}

static int scan(struct raise *r, struct body *b, Onnx__NodeProto *copy, struct err *e)
{
	(void)b;
	return refuse(r, copy, "it ran over batches of sequences", e);
}

static const struct rewrite {
	const char *op;
	int64_t at; /* the last set that changed it in this way */
	rewrite_fn *fn;
} rewrites[] = {
	{"Softmax", 13, softmax},
	{"LogSoftmax", 13, softmax},
	{"Hardmax", 13, softmax},
	{"Dropout", 12, dropout},
	{"BatchNormalization", 14, batch_normalization},
	{"Split", 18, split},
	{"Upsample", 10, resize_by_scales},
	{"Resize", 13, resize},
	{"Scatter", 11, scatter},
	{"RoiAlign", 16, roi_align},
	{"GridSample", 20, grid_sample},
	{"AveragePool", 19, average_pool},
	{"GroupNormalization", 21, group_normalization},
	{"DFT", 20, dft},
	{"Scan", 9, scan},
};

static const struct rewrite *rewrite_of(const struct raise *r, const char *op)
{
	for (size_t i = 0; i < sizeof rewrites / sizeof *rewrites; i++)
		if (strcmp(op, rewrites[i].op) == 0 && crosses(r, rewrites[i].at))
			return &rewrites[i];
	return NULL;
}

static bool is_moved(const struct raise *r, const char *op)
{
	for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
		if (strcmp(op, moved[i].op) == 0 && crosses(r, moved[i].at))
			return true;
	return false;
}

/* ---- graphs ---- */

static Onnx__GraphProto *raised_graph(struct raise *r, const Onnx__GraphProto *g, int depth, struct err *e);

/* The node with its bodies raised: itself where it has none. */
static Onnx__NodeProto *raised_bodies(struct raise *r, Onnx__NodeProto *n, int depth, struct err *e)
{
	Onnx__NodeProto *copy = NULL;
	for (size_t i = 0; i < n->n_attribute; i++) {
		if (!n->attribute[i]->g && !n->attribute[i]->n_graphs)
			continue;
		if (!copy)
			copy = copy_of(r, n);
		Onnx__AttributeProto *a = copy ? pool_take(&r->pool, 1, sizeof *a) : NULL;
		if (!a) {
			nomem(e);
			return NULL;
		}
		*a = *n->attribute[i];
		copy->attribute[i] = a;
		if (a->g && !(a->g = raised_graph(r, a->g, depth + 1, e)))
			return NULL;
		a->graphs = pool_take(&r->pool, a->n_graphs, sizeof *a->graphs);
		for (size_t k = 0; k < a->n_graphs; k++)
			if (!a->graphs || !(a->graphs[k] = raised_graph(r, n->attribute[i]->graphs[k], depth + 1, e)))
				return NULL;
	}
	return copy ? copy : n;
}

static int raise_node(struct raise *r, struct body *b, Onnx__NodeProto *n, struct err *e)
{
	const char *domain = pb_str(n->domain);
	bool is_default = !*domain || strcmp(domain, "ai.onnx") == 0;
	const struct rewrite *x = is_default ? rewrite_of(r, n->op_type) : NULL;
	n = raised_bodies(r, n, b->depth, e);
	if (!n)
		return -1;
	if (!x && !(is_default && is_moved(r, n->op_type))) {
		add_node(b, n);
		return 0;
	}
	Onnx__NodeProto *copy = copy_of(r, n);
	if (!copy)
		return nomem(e);
	int rc = move_attributes(r, b, copy, e);
	if (rc == 0 && x)
		rc = x->fn(r, b, copy, e);
	if (rc == 0)
		add_node(b, copy);
	return rc < 0 ? -1 : 0; /* 1: the rewriting added its nodes itself */
}

static Onnx__GraphProto *raised_graph(struct raise *r, const Onnx__GraphProto *g, int depth, struct err *e)
{
	Onnx__GraphProto *copy = pool_take(&r->pool, 1, sizeof *copy);
	struct body b = {.node = pool_take(&r->pool, g->n_node * MORE_NODES, sizeof *b.node),
	                 .initializer =
	                         pool_take(&r->pool, g->n_initializer + g->n_node * MORE_INITIALIZERS, sizeof *b.initializer),
	                 .ninitializers = g->n_initializer,
	                 .depth = depth};
	if (depth > PB_MAX_DEPTH) {
		err_set(e, ERR_UNSUPPORTED_GRAPH, "graphs are nested deeper than %d", PB_MAX_DEPTH);
		return NULL;
	}
	if (!copy || !b.node || !b.initializer) {
		nomem(e);
		return NULL;
	}
	for (size_t i = 0; i < g->n_initializer; i++)
		b.initializer[i] = g->initializer[i];
	for (size_t i = 0; i < g->n_node; i++)
		if (raise_node(r, &b, g->node[i], e) != 0)
			return NULL;
	*copy = *g;
	copy->node = b.node;
	copy->n_node = b.nnodes;
	copy->initializer = b.initializer;
	copy->n_initializer = b.ninitializers;
	return copy;
}

/* ---- the model ---- */

/* The IR version that brought an operator set. */
static int64_t ir_of(int64_t opset)
{
	return opset >= 21 ? 10 : opset >= 19 ? 9 : opset >= 15 ? 8 : opset >= 12 ? 7 : 4;
}

static int set_version(struct raise *r, Onnx__ModelProto *pb)
{
	Onnx__OperatorSetIdProto **sets = pool_take(&r->pool, pb->n_opset_import, sizeof *sets);
	for (size_t i = 0; sets && i < pb->n_opset_import; i++) {
		const char *domain = pb_str(pb->opset_import[i]->domain);
		sets[i] = pool_take(&r->pool, 1, sizeof **sets);
		if (!sets[i])
			return -1;
		*sets[i] = *pb->opset_import[i];
		if (!*domain || strcmp(domain, "ai.onnx") == 0)
			sets[i]->version = r->to;
	}
	pb->opset_import = sets;
	return sets ? 0 : -1;
}

int onnx_opset_raise(const struct onnx_model *m, int64_t version, const struct value_types *types, struct buf *out, struct err *e)
{
	struct raise r = {.m = m, .types = types, .from = onnx_model_opset(m)};
	Onnx__ModelProto pb = *m->pb;
	int rc = -1;
	r.to = r.from > version ? r.from : version;
	if (r.from < ONNX_OPSET_MIN && r.to != r.from)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model is in operator set %lld; only sets from %d on can be raised",
		               (long long)r.from, ONNX_OPSET_MIN);
	pb.graph = raised_graph(&r, pb.graph, 0, e);
	if (!pb.graph)
		goto out;
	if (pb.ir_version < ir_of(r.to) && r.to <= ONNX_OPSET_MAX)
		pb.ir_version = ir_of(r.to);
	rc = set_version(&r, &pb) ? nomem(e) : build_pack(&pb, out, e);
out:
	pool_fini(&r.pool);
	return rc;
}
