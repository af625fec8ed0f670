#include "core/onnx/fold_batch_norm.h"

#include "core/onnx/onnx_build.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One round over the graph. A node takes part in one fold a round; the next round sees what the last one left. */
struct round {
	const struct onnx_model *m;
	struct pool pool;
	bool *gone, *busy;               /* [nodes] */
	Onnx__NodeProto **changed;       /* [nodes] */
	Onnx__TensorProto **instead;     /* [values]: a constant's new numbers */
	Onnx__TensorProto **new_tensors; /* [nnew] */
	size_t nnew;
	struct fold_list *folds;
	size_t done;
};

/* What is multiplied and added in each channel. */
struct affine {
	double *scale, *shift;
	int64_t n;
};

void fold_list_fini(struct fold_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->p[i].batch_norm);
		free(l->p[i].node);
		free(l->p[i].weight);
		free(l->p[i].bias);
	}
	free(l->p);
	*l = (struct fold_list){0};
}

static bool is_op(const struct onnx_model *m, int node, const char *op)
{
	return node >= 0 && !*m->nodes[node].domain && strcmp(m->nodes[node].op_type, op) == 0;
}

static bool is_float(int elem_type)
{
	return elem_type == PB_FLOAT || elem_type == PB_FLOAT16 || elem_type == PB_BFLOAT16;
}

static int input_of(const struct onnx_model *m, int node, int k)
{
	return k < m->nodes[node].ninputs ? m->nodes[node].inputs[k] : -1;
}

/* Exporters leave Identity nodes between a constant and all but one of those that share it. */
static int behind_identity(const struct onnx_model *m, int value)
{
	while (value >= 0 && is_op(m, m->values[value].producer, "Identity"))
		value = input_of(m, m->values[value].producer, 0);
	return value;
}

/* A floating point constant's numbers, from the pool; NULL where it is none (e stays empty), or on error. */
static float *numbers(struct round *r, int value, struct onnx_const *c, struct err *e)
{
	value = behind_identity(r->m, value);
	if (!onnx_model_const(r->m, value, c) || !is_float(c->elem_type))
		return NULL;
	float *x = pool_take(&r->pool, (size_t)c->count, sizeof *x);
	if (!x) {
		err_nomem(e, "folding");
		return NULL;
	}
	return onnx_model_const_floats(r->m, value, x, e) ? NULL : x;
}

/* 1: *a (zeroed before) is what node bn does; 0: it does something else, or not with constants only; -1: error. */
static int affine_of(struct round *r, int bn, struct affine *a, struct err *e)
{
	float *x[4];
	for (int k = 0; k < 4; k++) {
		struct onnx_const c;
		x[k] = numbers(r, input_of(r->m, bn, k + 1), &c, e);
		if (!x[k] || c.rank != 1 || (k > 0 && c.count != a->n))
			return e->code ? -1 : 0;
		a->n = c.count;
	}
	for (int k = 1; k < r->m->nodes[bn].noutputs; k++)
		if (r->m->nodes[bn].outputs[k] >= 0)
			return 0; /* it is being trained */
	if (onnx_attr_int(r->m, bn, "training_mode", 0))
		return 0;
	double epsilon = onnx_attr_float(r->m, bn, "epsilon", (double)1e-5f);
	a->scale = pool_take(&r->pool, (size_t)a->n, sizeof *a->scale);
	a->shift = pool_take(&r->pool, (size_t)a->n, sizeof *a->shift);
	if (!a->scale || !a->shift)
		return err_nomem(e, "folding");
	for (int64_t i = 0; i < a->n; i++) {
		a->scale[i] = (double)x[0][i] / sqrt((double)x[3][i] + epsilon);
		a->shift[i] = (double)x[1][i] - (double)x[2][i] * a->scale[i];
		if (!isfinite(a->scale[i]) || !isfinite(a->shift[i]))
			return 0;
	}
	return 1;
}

/* ---- a linear node ---- */

/* A Conv, ConvTranspose or Gemm whose weight can be changed. */
struct linear {
	int node;
	const char *op;
	struct onnx_const shape;
	float *w;
	int64_t groups, in, out; /* channels */
	double beta;
};

static bool read_only_by(const struct onnx_model *m, int value, int node)
{
	const struct onnx_value *v = &m->values[value];
	return v->nreaders == 1 && v->readers[0] == node && !v->is_output;
}

/* How often a node reads a value. */
static int reads(const struct onnx_model *m, int node, int value)
{
	int n = 0;
	for (int k = 0; k < m->nodes[node].ninputs; k++)
		n += m->nodes[node].inputs[k] == value;
	return n;
}

/* 1, 0 or -1 as affine_of(). */
static int linear_of(struct round *r, int node, struct linear *l, struct err *e)
{
	static const char *const ops[] = {"Conv", "ConvTranspose", "Gemm"};
	*l = (struct linear){.node = node, .beta = 1, .groups = 1};
	for (int i = 0; i < 3; i++)
		if (is_op(r->m, node, ops[i]))
			l->op = ops[i];
	int w = l->op ? input_of(r->m, node, 1) : -1;
	if (w < 0 || !r->m->tensors[w] || !read_only_by(r->m, w, node) || reads(r->m, node, w) != 1)
		return 0;
	l->w = numbers(r, w, &l->shape, e);
	if (!l->w || l->shape.rank < 2)
		return e->code ? -1 : 0;
	if (l->op == ops[2]) {
		l->beta = onnx_attr_float(r->m, node, "beta", 1);
		l->out = l->shape.shape[onnx_attr_int(r->m, node, "transB", 0) ? 0 : 1];
		l->in = l->shape.shape[onnx_attr_int(r->m, node, "transB", 0) ? 1 : 0];
		return l->shape.rank == 2 && l->beta != 0 && !onnx_attr_int(r->m, node, "transA", 0);
	}
	l->groups = onnx_attr_int(r->m, node, "group", 1);
	if (l->groups < 1 || l->shape.shape[0] % l->groups)
		return 0;
	l->out = l->op == ops[0] ? l->shape.shape[0] : l->shape.shape[1] * l->groups;
	l->in = l->op == ops[0] ? l->shape.shape[1] * l->groups : l->shape.shape[0];
	return 1;
}

/* Which output and which input channel weight number i belongs to. */
static void channels_of(const struct round *r, const struct linear *l, int64_t i, int64_t *out, int64_t *in)
{
	int64_t rest = 1;
	for (int a = 2; a < l->shape.rank; a++)
		rest *= l->shape.shape[a];
	int64_t second = i / rest % l->shape.shape[1], first = i / rest / l->shape.shape[1];
	if (strcmp(l->op, "Conv") == 0) {
		*out = first;
		*in = first / (l->out / l->groups) * l->shape.shape[1] + second;
	} else if (strcmp(l->op, "ConvTranspose") == 0) {
		*in = first;
		*out = first / (l->shape.shape[0] / l->groups) * l->shape.shape[1] + second;
	} else {
		bool trans = onnx_attr_int(r->m, l->node, "transB", 0) != 0;
		*out = trans ? first : second;
		*in = trans ? second : first;
	}
}

/* The bias as [out] numbers, zeros where there is none; 1, 0 or -1 as above. */
static int bias_of(struct round *r, const struct linear *l, double **bias, struct err *e)
{
	struct onnx_const c;
	int v = input_of(r->m, l->node, 2);
	*bias = pool_take(&r->pool, (size_t)l->out, sizeof **bias);
	if (!*bias)
		return err_nomem(e, "folding");
	if (v < 0)
		return 1;
	float *x = numbers(r, v, &c, e);
	bool row = x && (c.rank == 0 || c.rank == 1 || (c.rank == 2 && c.shape[0] == 1));
	if (!row || (c.count != l->out && c.count != 1))
		return e->code ? -1 : 0;
	for (int64_t i = 0; i < l->out; i++)
		(*bias)[i] = (double)x[c.count == 1 ? 0 : i];
	return 1;
}

/* ---- what changes ---- */

static Onnx__TensorProto *row(struct pool *pool, int elem_type, int64_t n, char *name, const double *x)
{
	Onnx__TensorProto like = ONNX__TENSOR_PROTO__INIT;
	float *f = pool_take(pool, (size_t)n, sizeof *f);
	int64_t *dims = pool_take(pool, 1, sizeof *dims);
	if (!f || !dims)
		return NULL;
	for (int64_t i = 0; i < n; i++)
		f[i] = (float)x[i];
	*dims = n;
	like.n_dims = 1;
	like.dims = dims;
	like.data_type = elem_type;
	return build_replacement(pool, &like, name, f);
}

/* The name for a new bias. */
static char *bias_name(struct round *r, int node)
{
	enum { TRIES = 64 };
	const char *name = r->m->nodes[node].name, suffix[] = ".bias";
	size_t n = strlen(name);
	char *text = pool_take(&r->pool, n + sizeof suffix + TRIES, 1);
	if (!text)
		return NULL;
	memcpy(text, name, n);
	memcpy(text + n, suffix, sizeof suffix);
	for (size_t i = 0; names_find(r->m->value_names, text) >= 0 && i < TRIES; i++)
		text[n + sizeof suffix - 1 + i] = '_';
	return text;
}

/* A copy of the linear node that can be changed, with room for three inputs. */
static Onnx__NodeProto *copy_of(struct round *r, int node)
{
	Onnx__NodeProto *copy = pool_take(&r->pool, 1, sizeof *copy);
	if (!copy)
		return NULL;
	*copy = *r->m->pb_nodes[node];
	copy->name = (char *)r->m->nodes[node].name;
	char **in = pool_take(&r->pool, 3, sizeof *in), **out = pool_take(&r->pool, 1, sizeof *out);
	if (!in || !out)
		return NULL;
	for (size_t i = 0; i < copy->n_input && i < 3; i++)
		in[i] = copy->input[i];
	copy->input = in;
	out[0] = copy->output[0];
	copy->output = out;
	r->changed[node] = copy;
	return copy;
}

static int note(struct round *r, int bn, int node, const char *weight, const char *bias, bool before, struct err *e)
{
	struct fold *p = realloc(r->folds->p, (r->folds->n + 1) * sizeof *p);
	if (!p)
		return err_nomem(e, "folding");
	r->folds->p = p;
	struct fold *f = &p[r->folds->n++];
	*f = (struct fold){strdup(r->m->nodes[bn].name), strdup(r->m->nodes[node].name), strdup(weight), strdup(bias), before};
	r->done++;
	r->gone[bn] = r->busy[node] = true;
	return f->batch_norm && f->node && f->weight && f->bias ? 0 : err_nomem(e, "folding");
}

/* Writes weight and bias back, the bias under its own name where nobody else reads it. */
static Onnx__NodeProto *write_back(struct round *r, const struct linear *l, const double *bias, int bn, bool before, struct err *e)
{
	int w = input_of(r->m, l->node, 1), b = input_of(r->m, l->node, 2);
	Onnx__NodeProto *node = copy_of(r, l->node);
	bool own = b >= 0 && r->m->tensors[b] && read_only_by(r->m, b, l->node) && reads(r->m, l->node, b) == 1;
	char *name = own ? (char *)r->m->values[b].name : bias_name(r, l->node);
	Onnx__TensorProto *nb = name ? row(&r->pool, l->shape.elem_type, l->out, name, bias) : NULL;
	Onnx__TensorProto *nw = build_replacement(&r->pool, r->m->tensors[w], r->m->values[w].name, l->w);
	if (!node || !nb || !nw) {
		err_nomem(e, "folding");
		return NULL;
	}
	r->instead[w] = nw;
	if (own)
		r->instead[b] = nb;
	else
		r->new_tensors[r->nnew++] = nb;
	node->input[2] = name;
	node->n_input = 3;
	return note(r, bn, l->node, r->m->values[w].name, name, before, e) ? NULL : node;
}

static int fold_behind(struct round *r, int bn, const struct affine *a, struct err *e)
{
	struct linear l;
	double *bias;
	int between = input_of(r->m, bn, 0), node = between < 0 ? -1 : r->m->values[between].producer;
	if (node < 0 || r->busy[node] || !read_only_by(r->m, between, bn) || reads(r->m, bn, between) != 1)
		return 0;
	int rc = linear_of(r, node, &l, e);
	if (rc == 1)
		rc = l.out == a->n ? bias_of(r, &l, &bias, e) : 0;
	if (rc != 1)
		return rc;
	for (int64_t i = 0; i < l.shape.count; i++) {
		int64_t out, in;
		channels_of(r, &l, i, &out, &in);
		l.w[i] = (float)((double)l.w[i] * a->scale[out]);
	}
	for (int64_t i = 0; i < l.out; i++)
		bias[i] = (bias[i] * l.beta * a->scale[i] + a->shift[i]) / l.beta;
	Onnx__NodeProto *changed = write_back(r, &l, bias, bn, false, e);
	if (changed)
		changed->output[0] = r->m->pb_nodes[bn]->output[0];
	return changed ? 1 : -1;
}

static bool is_padded(const struct onnx_model *m, int node)
{
	int64_t pads[2 * ARRAY_MAX_RANK];
	size_t len;
	const char *how = onnx_attr_string(m, node, "auto_pad", "NOTSET", &len);
	int n = onnx_attr_ints(m, node, "pads", pads, 2 * ARRAY_MAX_RANK);
	bool padded = !(len == 6 && memcmp(how, "NOTSET", 6) == 0) && !(len == 5 && memcmp(how, "VALID", 5) == 0);
	for (int i = 0; i < n && i < 2 * ARRAY_MAX_RANK; i++)
		padded = padded || pads[i] != 0;
	return padded;
}

static bool shifts(const struct affine *a)
{
	for (int64_t i = 0; i < a->n; i++)
		if (a->shift[i] != 0)
			return true;
	return false;
}

static int fold_before(struct round *r, int bn, const struct affine *a, struct err *e)
{
	struct linear l;
	double *bias;
	int between = r->m->nodes[bn].outputs[0];
	const struct onnx_value *v = &r->m->values[between];
	int node = v->nreaders == 1 ? v->readers[0] : -1;
	if (node < 0 || r->busy[node] || v->is_output || is_op(r->m, node, "ConvTranspose") || reads(r->m, node, between) != 1 ||
	    input_of(r->m, node, 0) != between)
		return 0;
	if (is_op(r->m, node, "Conv") && is_padded(r->m, node) && shifts(a))
		return 0;
	int rc = linear_of(r, node, &l, e);
	if (rc == 1)
		rc = l.in == a->n ? bias_of(r, &l, &bias, e) : 0;
	if (rc != 1)
		return rc;
	double alpha = is_op(r->m, node, "Gemm") ? onnx_attr_float(r->m, node, "alpha", 1) : 1;
	for (int64_t i = 0; i < l.shape.count; i++) {
		int64_t out, in;
		channels_of(r, &l, i, &out, &in);
		bias[out] += alpha * (double)l.w[i] * a->shift[in] / l.beta;
		l.w[i] = (float)((double)l.w[i] * a->scale[in]);
	}
	Onnx__NodeProto *changed = write_back(r, &l, bias, bn, true, e);
	if (changed)
		changed->input[0] = r->m->pb_nodes[bn]->input[0];
	return changed ? 1 : -1;
}

/* ---- the model again ---- */

/* Whether an old constant is still needed: folded nodes do not read it any more. */
static bool is_needed(const struct round *r, int v)
{
	const struct onnx_value *x = &r->m->values[v];
	bool needed = x->is_output || x->nreaders == 0;
	for (int i = 0; i < x->nreaders; i++)
		needed = needed || !r->gone[x->readers[i]];
	return needed;
}

static int write_model(struct round *r, struct buf *out, struct err *e)
{
	const struct onnx_model *m = r->m;
	Onnx__ModelProto pb = *m->pb;
	Onnx__GraphProto g = *m->pb->graph;
	pb.graph = &g;
	g.initializer = pool_take(&r->pool, (size_t)m->nvalues + r->nnew, sizeof *g.initializer);
	g.node = pool_take(&r->pool, (size_t)m->nnodes, sizeof *g.node);
	if (!g.initializer || !g.node)
		return err_nomem(e, "folding");
	g.n_initializer = g.n_node = 0;
	for (int v = 0; v < m->nvalues; v++) /* a Constant node whose numbers change becomes an initializer */
		if (m->tensors[v] && (m->values[v].is_initializer || r->instead[v]) && is_needed(r, v))
			g.initializer[g.n_initializer++] = r->instead[v] ? r->instead[v] : (Onnx__TensorProto *)m->tensors[v];
	for (size_t i = 0; i < r->nnew; i++)
		g.initializer[g.n_initializer++] = r->new_tensors[i];
	for (int i = 0; i < m->nnodes; i++) {
		int first = m->nodes[i].noutputs == 1 ? m->nodes[i].outputs[0] : -1;
		bool constant = first >= 0 && m->tensors[first];
		if (r->gone[i] || (constant && (r->instead[first] || !is_needed(r, first))))
			continue;
		g.node[g.n_node++] = r->changed[i] ? r->changed[i] : m->pb_nodes[i];
	}
	return build_pack(&pb, out, e);
}

static int fold_all(struct round *r, struct err *e)
{
	size_t n = (size_t)r->m->nnodes, values = (size_t)r->m->nvalues;
	r->gone = pool_take(&r->pool, n, sizeof *r->gone);
	r->busy = pool_take(&r->pool, n, sizeof *r->busy);
	r->changed = pool_take(&r->pool, n, sizeof *r->changed);
	r->new_tensors = pool_take(&r->pool, n, sizeof *r->new_tensors);
	r->instead = pool_take(&r->pool, values, sizeof *r->instead);
	if (!r->gone || !r->busy || !r->changed || !r->new_tensors || !r->instead)
		return err_nomem(e, "folding");
	for (int i = 0; i < r->m->nnodes; i++) {
		struct affine a = {0};
		int rc = is_op(r->m, i, "BatchNormalization") ? affine_of(r, i, &a, e) : 0;
		if (rc == 1) {
			rc = fold_behind(r, i, &a, e);
			if (rc == 0)
				rc = fold_before(r, i, &a, e);
		}
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* One round; *m becomes the model after it. Returns how many were folded, or -1. */
static int64_t fold_once(const struct onnx_model *from, struct fold_list *folds, struct onnx_model **m, struct err *e)
{
	struct round r = {.m = from, .folds = folds};
	struct buf bytes = BUF_INIT;
	e->code = ERR_NONE;
	int64_t n = -1;
	*m = NULL;
	if (!fold_all(&r, e) && !write_model(&r, &bytes, e))
		*m = onnx_model_parse(bytes.data, bytes.len, "the folded model", e);
	if (*m)
		n = (int64_t)r.done;
	pool_fini(&r.pool);
	buf_fini(&bytes);
	return n;
}

struct onnx_model *fold_batch_norms(const struct onnx_model *m, struct fold_list *folds, struct err *e)
{
	struct onnx_model *now = NULL;
	int64_t n = 1;
	*folds = (struct fold_list){0};
	while (n > 0) {
		struct onnx_model *next;
		n = fold_once(now ? now : m, folds, &next, e);
		onnx_model_free(now);
		now = next;
	}
	if (!now)
		fold_list_fini(folds);
	return now;
}
