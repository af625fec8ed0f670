/* Finds what hardware runs as one op: MatMul + Add, normalizations spelled out, masked softmax. */

#include "core/quantsim/quantsim_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MATCH = 16 };

/* What a fused normalization has beside its inputs. */
struct norm_axis {
	bool given;
	int64_t axis;
};

struct fuser {
	const struct onnx_model *m;
	const struct value_types *types;
	struct quantsim_op *ops;
	int nops;
	int *op_of_node;
	struct norm_axis *axes; /* [nops], of fused norms */
	int named;              /* names "node_TYPE_N" given so far */
	bool any;
	struct quantsim_names *names;
	struct err *e;
};

/* The ops of a match in progress; alternatives are tried by going back to a shorter one. */
struct match {
	int ops[MAX_MATCH];
	int n;
};

static bool take(struct match *t, int op)
{
	for (int i = 0; i < t->n; i++)
		if (t->ops[i] == op)
			return true;
	if (t->n == MAX_MATCH)
		return false;
	t->ops[t->n++] = op;
	return true;
}

/* ---- asking the graph ---- */

static bool is_plain(const struct quantsim_op *op, const char *type)
{
	return op->type && !op->fused && !*op->domain && strcmp(op->type, type) == 0;
}

static bool is_fused(const struct quantsim_op *op, const char *type, int ninputs)
{
	return op->type && op->fused && op->ninputs == ninputs && strcmp(op->type, type) == 0;
}

/* The op that makes v as its first output; -1 where there is none. */
static int maker(const struct fuser *f, int v)
{
	int node = v < 0 ? -1 : onnx_model_value(f->m, v)->producer;
	int op = node < 0 ? -1 : f->op_of_node[node];
	return op >= 0 && f->ops[op].noutputs > 0 && f->ops[op].outputs[0] == v ? op : -1;
}

/* The maker of v, if it is a node of that type with that many inputs, added to the match; -1 where not. */
static int made_by(const struct fuser *f, int v, const char *type, int ninputs, struct match *t)
{
	int op = maker(f, v);
	return op >= 0 && is_plain(&f->ops[op], type) && f->ops[op].ninputs == ninputs && take(t, op) ? op : -1;
}

static bool is_static_constant(const struct fuser *f, int v, int rank)
{
	struct onnx_const c;
	return v >= 0 && onnx_model_const(f->m, v, &c) && c.rank == rank;
}

/* The one number of a constant that holds just one. */
static bool single(const struct fuser *f, int v, double *x)
{
	return v >= 0 && onnx_model_const_number(f->m, v, x);
}

/* Whether v is that number: a scalar, or (or_list) a list of one. */
static bool is_number(const struct fuser *f, int v, double want, bool or_list)
{
	double x;
	struct onnx_const c;
	if (!single(f, v, &x))
		return false;
	int rank = onnx_model_const(f->m, v, &c) ? c.rank : 0;
	return (rank == 0 || (or_list && rank == 1)) && fabs(x - want) <= fmax(1e-5 * fmax(fabs(x), fabs(want)), 1e-8);
}

/* ---- replacing ---- */

/* Whether nothing outside the match needs a tensor inside it. */
static bool closed(const struct fuser *f, const struct match *t, int root)
{
	for (int i = 0; i < t->n; i++) {
		const struct quantsim_op *op = &f->ops[t->ops[i]];
		for (int k = 0; k < op->noutputs && t->ops[i] != root; k++) {
			const struct onnx_value *v = op->outputs[k] < 0 ? NULL : onnx_model_value(f->m, op->outputs[k]);
			for (int r = 0; v && r < v->nreaders; r++) {
				bool inside = false;
				for (int j = 0; j < t->n; j++)
					inside = inside || f->op_of_node[v->readers[r]] == t->ops[j];
				if (!inside)
					return false;
			}
			if (v && v->is_output)
				return false;
		}
	}
	return true;
}

static int ascending(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static char *keep_name(struct fuser *f, const char *name)
{
	char **v = realloc(f->names->v, (size_t)(f->names->n + 1) * sizeof *v);
	char *copy = v ? strdup(name) : NULL;
	if (v)
		f->names->v = v;
	if (copy)
		f->names->v[f->names->n++] = copy;
	return copy;
}

static bool name_is_used(const struct fuser *f, const char *name)
{
	for (int i = 0; i < onnx_model_nodes(f->m); i++)
		if (strcmp(onnx_model_node(f->m, i)->name, name) == 0)
			return true;
	return false;
}

/* "node_Gemm_0", …: one count for all types. */
static const char *new_name(struct fuser *f, const char *type)
{
	char name[128];
	do
		(void)snprintf(name, sizeof name, "node_%s_%d", type, f->named++);
	while (name_is_used(f, name));
	return keep_name(f, name);
}

/* Makes the match one op, in the place of its last op. */
static int replace(struct fuser *f, int root, const struct match *t, const char *type, const int *inputs, int ninputs)
{
	struct quantsim_op *op = &f->ops[root];
	int nnodes = 0;
	for (int i = 0; i < t->n; i++)
		nnodes += f->ops[t->ops[i]].nnodes;
	int *nodes = malloc((size_t)nnodes * sizeof *nodes), *in = malloc((size_t)ninputs * sizeof *in);
	const char *name = new_name(f, type);
	if (!nodes || !in || !name) {
		free(nodes);
		free(in);
		return err_nomem(f->e, "fused ops");
	}
	for (int i = 0, at = 0; i < t->n; i++) {
		struct quantsim_op *part = &f->ops[t->ops[i]];
		memcpy(nodes + at, part->nodes, (size_t)part->nnodes * sizeof *nodes);
		at += part->nnodes;
		if (part->fused) { /* its lists were made here */
			free((void *)(uintptr_t)part->nodes);
			free((void *)(uintptr_t)part->inputs);
		}
		part->fused = false;
		part->type = NULL;
	}
	qsort(nodes, (size_t)nnodes, sizeof *nodes, ascending);
	memcpy(in, inputs, (size_t)ninputs * sizeof *in);
	for (int i = 0; i < nnodes; i++)
		f->op_of_node[nodes[i]] = root;
	*op = (struct quantsim_op){.name = name,
	                           .type = type,
	                           .domain = "",
	                           .nodes = nodes,
	                           .nnodes = nnodes,
	                           .inputs = in,
	                           .ninputs = ninputs,
	                           .outputs = op->outputs,
	                           .noutputs = op->noutputs,
	                           .fused = true};
	f->any = true;
	return 1;
}

/* ---- MatMul + Add ---- */

/* The weight of a MatMul: a matrix, or the Transpose of one. */
static bool matmul_weight(const struct fuser *f, int v, bool through_transpose, int *weight, struct match *t)
{
	int64_t perm[2] = {1, 0};
	*weight = v;
	if (through_transpose) {
		int op = made_by(f, v, "Transpose", 1, t);
		int n = op < 0 ? 0 : onnx_attr_ints(f->m, f->ops[op].nodes[0], "perm", perm, 2);
		if (op < 0 || (n >= 0 && (n != 2 || perm[0] != 1 || perm[1] != 0)))
			return false;
		*weight = f->ops[op].inputs[0];
	}
	return is_static_constant(f, *weight, 2);
}

static int fuse_matmul_add(struct fuser *f, int root)
{
	const struct quantsim_op *add = &f->ops[root];
	if (!is_plain(add, "Add") || add->ninputs != 2)
		return 0;
	for (int form = 0; form < 4; form++) {
		struct match t = {{root}, 1};
		int bias = add->inputs[form / 2], weight;
		int matmul = made_by(f, add->inputs[1 - form / 2], "MatMul", 2, &t);
		bool transposed = form % 2 == 0;
		if (matmul < 0 || !is_static_constant(f, bias, 1) ||
		    !matmul_weight(f, f->ops[matmul].inputs[1], transposed, &weight, &t) || !closed(f, &t, root))
			continue;
		int inputs[] = {f->ops[matmul].inputs[0], weight, bias};
		int rc = replace(f, root, &t, "Gemm", inputs, 3);
		f->ops[root].transposed = transposed;
		return rc;
	}
	return 0;
}

/* ---- root mean square: x / sqrt(mean(x^2) + eps) ---- */

struct rms {
	int x;
	bool has_axis; /* the mean names its axes … */
	bool one_axis; /* … and it is one: */
	int64_t axis;
	double eps;
	bool good_eps;
	int cast_to; /* type that the result is cast to; 0: it is not */
};

static bool square(const struct fuser *f, int v, int x, struct match *t)
{
	int start = t->n, op = made_by(f, v, "Mul", 2, t);
	if (op >= 0 && f->ops[op].inputs[0] == x && f->ops[op].inputs[1] == x)
		return true;
	t->n = start;
	op = made_by(f, v, "Pow", 2, t);
	return op >= 0 && f->ops[op].inputs[0] == x && is_number(f, f->ops[op].inputs[1], 2.0, true);
}

static void mean_axis(const struct fuser *f, const struct quantsim_op *mean, struct rms *out)
{
	double axis;
	int64_t axes[2];
	int n = onnx_attr_ints(f->m, mean->nodes[0], "axes", axes, 2);
	if (mean->ninputs == 2) {
		out->has_axis = true;
		out->one_axis = single(f, mean->inputs[1], &axis);
		out->axis = out->one_axis ? (int64_t)axis : 0;
	} else if (n >= 0) {
		out->has_axis = true;
		out->one_axis = n == 1;
		out->axis = axes[0];
	}
}

/* mean(x^2) + eps */
static bool mean_square(const struct fuser *f, int v, int x, struct rms *out, struct match *t)
{
	int start = t->n, add = made_by(f, v, "Add", 2, t), after_add = t->n;
	for (int side = 0; side < 2 && add >= 0; side++) {
		t->n = after_add;
		int mean = maker(f, f->ops[add].inputs[side]);
		bool reduces = mean >= 0 && is_plain(&f->ops[mean], "ReduceMean") &&
		               (f->ops[mean].ninputs == 1 || f->ops[mean].ninputs == 2) && take(t, mean);
		if (!reduces || !square(f, f->ops[mean].inputs[0], x, t))
			continue;
		out->x = x;
		out->good_eps = single(f, f->ops[add].inputs[1 - side], &out->eps);
		mean_axis(f, &f->ops[mean], out);
		return true;
	}
	t->n = start;
	return false;
}

static bool root_mean_square(const struct fuser *f, int v, int x, struct rms *out, struct match *t)
{
	int start = t->n, op = made_by(f, v, "Sqrt", 1, t);
	if (op >= 0 && mean_square(f, f->ops[op].inputs[0], x, out, t))
		return true;
	t->n = start;
	return false;
}

/* 1 / sqrt(…), as Reciprocal, as Div or as Pow -0.5 */
static bool inverse_root(const struct fuser *f, int v, int x, struct rms *out, struct match *t)
{
	int start = t->n, op = made_by(f, v, "Reciprocal", 1, t);
	if (op >= 0 && root_mean_square(f, f->ops[op].inputs[0], x, out, t))
		return true;
	t->n = start;
	op = made_by(f, v, "Div", 2, t);
	if (op >= 0 && is_number(f, f->ops[op].inputs[0], 1.0, false) && root_mean_square(f, f->ops[op].inputs[1], x, out, t))
		return true;
	t->n = start;
	op = made_by(f, v, "Pow", 2, t);
	if (op >= 0 && is_number(f, f->ops[op].inputs[1], -0.5, true) && mean_square(f, f->ops[op].inputs[0], x, out, t))
		return true;
	t->n = start;
	return false;
}

/* x divided by its root mean square, made by op. */
static bool normalized(const struct fuser *f, int op, struct rms *out, struct match *t)
{
	const struct quantsim_op *o = &f->ops[op];
	int start = t->n;
	*out = (struct rms){.x = -1};
	if (o->ninputs != 2 || !take(t, op))
		return false;
	if (is_plain(o, "Div"))
		return root_mean_square(f, o->inputs[1], o->inputs[0], out, t);
	for (int side = 1; side >= 0 && is_plain(o, "Mul"); side--)
		if (inverse_root(f, o->inputs[side], o->inputs[1 - side], out, t))
			return true;
	t->n = start;
	return false;
}

/* The same, or a fused op that stands for it, and perhaps a Cast behind it. */
static bool normalized_value(const struct fuser *f, int v, struct rms *out, struct match *t)
{
	int op = maker(f, v), cast_to = 0;
	if (op >= 0 && is_plain(&f->ops[op], "Cast") && f->ops[op].ninputs == 1 && take(t, op)) {
		cast_to = (int)onnx_attr_int(f->m, f->ops[op].nodes[0], "to", 0);
		op = maker(f, f->ops[op].inputs[0]);
	}
	if (op < 0)
		return false;
	if (is_fused(&f->ops[op], "RMSNormalization", 1) && take(t, op))
		*out = (struct rms){f->ops[op].inputs[0], f->axes[op].given, true, f->axes[op].axis, 0.0, true, 0};
	else if (!normalized(f, op, out, t))
		return false;
	out->cast_to = cast_to;
	return true;
}

static bool sound(const struct rms *r)
{
	return (!r->has_axis || r->one_axis) && r->good_eps && r->eps >= 0;
}

static bool is_float_type(int type)
{
	return type == 1 || type == 10 || type == 16;
}

/* A Cast behind the norm belongs to it only if one stands before it, too. */
static bool casts_fit(const struct fuser *f, const struct rms *r)
{
	int before = maker(f, r->x);
	bool cast = before >= 0 && is_plain(&f->ops[before], "Cast");
	if (cast && !is_float_type((int)onnx_attr_int(f->m, f->ops[before].nodes[0], "to", 0)))
		return false;
	return !r->cast_to || (cast && is_float_type(r->cast_to));
}

static int replace_norm(struct fuser *f, int root, const struct match *t, const char *type, const int *inputs, int ninputs,
                        int64_t axis)
{
	int rc = replace(f, root, t, type, inputs, ninputs);
	f->axes[root] = (struct norm_axis){true, axis};
	return rc;
}

static int fuse_rms_norm(struct fuser *f, int root)
{
	struct match t = {{0}, 0};
	struct rms r;
	const struct quantsim_op *o = &f->ops[root];
	if (normalized(f, root, &r, &t) && sound(&r) && closed(f, &t, root))
		return replace_norm(f, root, &t, "RMSNormalization", &r.x, 1, r.has_axis ? r.axis : -1);
	for (int side = 1; side >= 0 && is_plain(o, "Mul") && o->ninputs == 2; side--) {
		t = (struct match){{root}, 1};
		if (!normalized_value(f, o->inputs[side], &r, &t) || !sound(&r) || !casts_fit(f, &r) || !closed(f, &t, root))
			continue;
		int inputs[] = {r.x, o->inputs[1 - side]};
		return replace_norm(f, root, &t, "RMSNormalization", inputs, 2, r.has_axis ? r.axis : -1);
	}
	return 0;
}

/* ---- layer norm: the same of x - mean(x) ---- */

/* Whether v is x - mean(x); the mean's axes are an attribute. */
static bool centered(const struct fuser *f, int v, int *x, int64_t *axis, struct match *t)
{
	int64_t axes[2];
	int sub = made_by(f, v, "Sub", 2, t);
	int mean = sub < 0 ? -1 : made_by(f, f->ops[sub].inputs[1], "ReduceMean", 1, t);
	if (mean < 0 || f->ops[mean].inputs[0] != f->ops[sub].inputs[0] ||
	    onnx_attr_ints(f->m, f->ops[mean].nodes[0], "axes", axes, 2) != 1)
		return false;
	*x = f->ops[sub].inputs[0];
	*axis = axes[0];
	return true;
}

/* Both means go over the same axis; an axis 0 is not taken for one. */
static bool same_axis(const struct rms *r, int64_t axis)
{
	return !r->has_axis || (r->one_axis && r->axis != 0 && r->axis == axis);
}

static int fuse_scaled_layer_norm(struct fuser *f, int root)
{
	const struct quantsim_op *o = &f->ops[root];
	int64_t axis;
	int x;
	if (is_fused(o, "RMSNormalization", 2)) {
		struct match t = {{root}, 1};
		struct rms r = {.has_axis = true, .one_axis = true, .axis = f->axes[root].axis};
		if (centered(f, o->inputs[0], &x, &axis, &t) && same_axis(&r, axis) && closed(f, &t, root)) {
			int inputs[] = {x, o->inputs[1]};
			return replace_norm(f, root, &t, "LayerNormalization", inputs, 2, axis);
		}
	}
	for (int side = 1; side >= 0 && is_plain(o, "Mul") && o->ninputs == 2; side--) {
		struct match t = {{root}, 1};
		struct rms r;
		if (!normalized_value(f, o->inputs[side], &r, &t) || !centered(f, r.x, &x, &axis, &t) || !same_axis(&r, axis) ||
		    !r.good_eps || r.eps < 0 || !closed(f, &t, root))
			continue;
		int inputs[] = {x, o->inputs[1 - side]};
		return replace_norm(f, root, &t, "LayerNormalization", inputs, 2, axis);
	}
	return 0;
}

static int fuse_layer_norm(struct fuser *f, int root)
{
	int rc = fuse_scaled_layer_norm(f, root);
	const struct quantsim_op *o = &f->ops[root];
	for (int side = 0; side < 2 && !rc && is_plain(o, "Add") && o->ninputs == 2; side++) {
		int norm = maker(f, o->inputs[side]);
		struct match t = {{root, norm}, 2};
		if (norm < 0 || !is_fused(&f->ops[norm], "LayerNormalization", 2) || !closed(f, &t, root))
			continue;
		int inputs[] = {f->ops[norm].inputs[0], f->ops[norm].inputs[1], o->inputs[1 - side]};
		return replace_norm(f, root, &t, "LayerNormalization", inputs, 3, f->axes[norm].axis);
	}
	return rc;
}

/* ---- masked softmax: softmax(where(mask, x, min(x) + a very negative number)) over the last of four axes ---- */

static int fuse_masked_softmax(struct fuser *f, int root)
{
	struct match t = {{root}, 1};
	double axis, low;
	bool softmax = is_plain(&f->ops[root], "Softmax") && f->ops[root].ninputs == 1;
	int64_t softmax_axis = softmax ? onnx_attr_int(f->m, f->ops[root].nodes[0], "axis", 0) : 0;
	if (softmax_axis != -1 && softmax_axis != 3)
		return 0;
	int where = made_by(f, f->ops[root].inputs[0], "Where", 3, &t);
	int add = where < 0 ? -1 : made_by(f, f->ops[where].inputs[2], "Add", 2, &t);
	int min = add < 0 ? -1 : made_by(f, f->ops[add].inputs[0], "ReduceMin", 2, &t);
	if (min < 0)
		return 0;
	int x = f->ops[where].inputs[1], mask_value = f->ops[add].inputs[1];
	if (f->ops[min].inputs[0] != x || f->types->rank[x] != 4 || !single(f, f->ops[min].inputs[1], &axis) ||
	    (axis != -1 && axis != 3) || !single(f, mask_value, &low) || low > -20 || !closed(f, &t, root))
		return 0;
	int inputs[] = {x, f->ops[where].inputs[0], mask_value};
	return replace(f, root, &t, "MaskedSoftmax", inputs, 3);
}

/* ---- all together ---- */

/* Tries the patterns in the configuration's order; 1: one was fused, -1: error. */
static int fuse_at(struct fuser *f, int op, const enum quantsim_pass *passes, size_t npasses)
{
	static int (*const rules[])(struct fuser *, int) = {fuse_layer_norm, fuse_rms_norm, fuse_matmul_add, fuse_masked_softmax};
	int rc = 0;
	for (size_t i = 0; i < npasses && !rc; i++)
		rc = rules[passes[i]](f, op);
	return rc;
}

int quantsim_fuse(const struct onnx_model *m, const struct value_types *types, const enum quantsim_pass *passes, size_t npasses,
                  struct quantsim_op *ops, int nops, int *op_of_node, bool *any, struct quantsim_names *names, struct err *e)
{
	struct fuser f = {.m = m, .types = types, .ops = ops, .nops = nops, .op_of_node = op_of_node, .names = names, .e = e};
	f.axes = calloc((size_t)nops + 1, sizeof *f.axes);
	int rc = f.axes ? 0 : err_nomem(e, "fused ops");
	for (int i = 0; i < nops && rc >= 0; i++)
		do
			rc = fuse_at(&f, i, passes, npasses);
		while (rc > 0); /* what was made may be part of something larger */
	free(f.axes);
	*any = f.any;
	return rc;
}
