/* The view of a model: nodes and values as numbers, in an order that can be run, with names, readers and constants. */

#include "core/onnx/onnx_pb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 100000 };

/* ---- names ---- */

struct naming {
	struct names *used;
	struct names *ops;
	int *next; /* by number in ops: names up to this one are taken for good */
};

/* Gives node i the first free of "/<OpType>", "/<OpType>_1", … */
static int make_name(struct onnx_model *m, struct naming *n, int i, struct err *e)
{
	const char *op = m->nodes[i].op_type;
	size_t room = strlen(op) + 16;
	char *name = malloc(room);
	int number = names_add(n->ops, op), *k = &n->next[number < 0 ? 0 : number];
	if (!name || number < 0) {
		free(name);
		return err_nomem(e, "node names");
	}
	do
		(void)(*k ? snprintf(name, room, "/%s_%d", op, *k) : snprintf(name, room, "/%s", op));
	while (names_find(n->used, name) >= 0 && ++*k);
	m->made_names[m->nmade++] = name;
	m->nodes[i].name = name;
	return names_add(n->used, name) < 0 ? err_nomem(e, "node names") : 0;
}

static int name_nodes(struct onnx_model *m, struct err *e)
{
	int rc = -1;
	struct names *used = names_new();
	struct naming naming = {used, names_new(), calloc((size_t)m->nnodes + 1, sizeof(int))};
	if (!used || !naming.ops || !naming.next) {
		err_nomem(e, "node names");
		goto out;
	}
	for (int i = 0; i < m->nnodes; i++) {
		const char *name = pb_str(m->pb_nodes[i]->name);
		m->nodes[i].name = NULL;
		if (!*name || names_find(used, name) >= 0)
			continue; /* gets its name when all given ones are known */
		m->nodes[i].name = name;
		if (names_add(used, name) < 0) {
			err_nomem(e, "node names");
			goto out;
		}
	}
	for (int i = 0; i < m->nnodes; i++)
		if (!m->nodes[i].name && make_name(m, &naming, i, e))
			goto out;
	rc = 0;
out:
	names_free(used);
	names_free(naming.ops);
	free(naming.next);
	return rc;
}

static int value_id(struct onnx_model *m, const char *name)
{
	return *pb_str(name) ? names_add(m->value_names, name) : -1;
}

/* ---- topological order ---- */

struct strings {
	const char **v;
	size_t n, cap;
};

static int strings_add(struct strings *s, const char *name)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 16;
		const char **v = realloc(s->v, cap * sizeof *v);
		if (!v)
			return -1;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = name;
	return 0;
}

static int outer_reads(const Onnx__NodeProto *n, int depth, struct strings *out);

/* The names that a body reads and does not make itself. */
static int outer_reads_of_body(const Onnx__GraphProto *g, int depth, struct strings *out)
{
	struct strings inner = {0};
	int rc = depth > PB_MAX_DEPTH ? -1 : 0;
	for (size_t i = 0; i < g->n_node && !rc; i++) {
		for (size_t k = 0; k < g->node[i]->n_input && !rc; k++)
			if (*pb_str(g->node[i]->input[k]))
				rc = strings_add(&inner, g->node[i]->input[k]);
		if (!rc)
			rc = outer_reads(g->node[i], depth + 1, &inner);
	}
	for (size_t i = 0; i < g->n_output && !rc; i++)
		if (*pb_str(g->output[i]->name))
			rc = strings_add(&inner, g->output[i]->name);
	for (size_t i = 0; i < inner.n && !rc; i++)
		if (!pb_makes(g, inner.v[i]))
			rc = strings_add(out, inner.v[i]);
	free(inner.v);
	return rc;
}

static int outer_reads(const Onnx__NodeProto *n, int depth, struct strings *out)
{
	int rc = 0;
	for (size_t a = 0; a < n->n_attribute && !rc; a++) {
		if (n->attribute[a]->g)
			rc = outer_reads_of_body(n->attribute[a]->g, depth, out);
		for (size_t k = 0; k < n->attribute[a]->n_graphs && !rc; k++)
			rc = outer_reads_of_body(n->attribute[a]->graphs[k], depth, out);
	}
	return rc;
}

/* A node as lists of value numbers, before the view is laid out. */
struct wires {
	int nin, ncap;
	int *in; /* inputs, then captures */
};

static int wire_node(struct onnx_model *m, const Onnx__NodeProto *n, struct wires *w, struct err *e)
{
	struct strings outer = {0};
	if (outer_reads(n, 0, &outer)) {
		free(outer.v);
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "node %s: graphs are nested deeper than %d", pb_str(n->name),
		               PB_MAX_DEPTH);
	}
	w->in = calloc(n->n_input + outer.n + 1, sizeof *w->in);
	for (size_t i = 0; w->in && i < n->n_input; i++)
		w->in[w->nin++] = value_id(m, n->input[i]);
	for (size_t i = 0; w->in && i < outer.n; i++) {
		int id = names_find(m->value_names, outer.v[i]);
		if (id < 0)
			id = value_id(m, outer.v[i]);
		bool seen = false;
		for (int k = 0; k < w->nin + w->ncap; k++)
			seen = seen || w->in[k] == id;
		if (!seen)
			w->in[w->nin + w->ncap++] = id;
	}
	free(outer.v);
	return w->in ? 0 : err_nomem(e, "the graph");
}

/* Puts every node after the makers of what it reads, keeping the file's order where that is possible. producer[] by value. */
static int order_nodes(const struct onnx_model *m, const struct wires *wires, const int *producer, int *order, struct err *e)
{
	int done = 0, progress = 1, rc = -1;
	bool *placed = calloc((size_t)m->nnodes + 1, sizeof *placed);
	if (!placed)
		return err_nomem(e, "the graph");
	while (done < m->nnodes && progress) {
		progress = 0;
		for (int i = 0; i < m->nnodes; i++) {
			bool ready = !placed[i];
			for (int k = 0; ready && k < wires[i].nin + wires[i].ncap; k++) {
				int v = wires[i].in[k], p = v < 0 ? -1 : producer[v];
				ready = p < 0 || placed[p];
			}
			if (!ready)
				continue;
			placed[i] = true;
			order[done++] = i;
			progress = 1;
		}
	}
	if (done < m->nnodes)
		err_set(e, ERR_NOT_ONNX, "the graph has a cycle");
	else
		rc = 0;
	free(placed);
	return rc;
}

/* ---- laying out the view ---- */

static bool is_random(const char *op)
{
	static const char *const ops[] = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
	                                  "Multinomial",  "Bernoulli",        "Dropout"};
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		if (strcmp(op, ops[i]) == 0)
			return true;
	return false;
}

/* Static nodes read constants only and give the same each time. */
static bool node_is_static(const struct onnx_model *m, const struct onnx_node *n)
{
	int reads = 0;
	for (int k = 0; k < n->ninputs; k++) {
		if (n->inputs[k] < 0)
			continue;
		reads++;
		if (!m->values[n->inputs[k]].is_static)
			return false;
	}
	for (int k = 0; k < n->ncaptured; k++)
		if (!m->values[n->captured[k]].is_static)
			return false;
	if (*n->domain)
		return false;
	return strcmp(n->op_type, "Constant") == 0 || (reads + n->ncaptured > 0 && !is_random(n->op_type));
}

static const char *domain_of(const Onnx__NodeProto *n)
{
	const char *d = pb_str(n->domain);
	return strcmp(d, "ai.onnx") == 0 ? "" : d;
}

static void lay_out_nodes(struct onnx_model *m, Onnx__NodeProto **file, const struct wires *wires, const int *order, int *pool)
{
	for (int i = 0; i < m->nnodes; i++) {
		Onnx__NodeProto *pb = file[order[i]];
		const struct wires *w = &wires[order[i]];
		struct onnx_node *n = &m->nodes[i];
		m->pb_nodes[i] = pb;
		n->op_type = pb_str(pb->op_type);
		n->domain = domain_of(pb);
		n->ninputs = w->nin;
		n->noutputs = (int)pb->n_output;
		n->ncaptured = w->ncap;
		n->inputs = pool;
		if (w->in)
			memcpy(pool, w->in, (size_t)(w->nin + w->ncap) * sizeof *pool);
		pool += w->nin;
		n->captured = pool;
		pool += w->ncap;
		n->outputs = pool;
		for (int k = 0; k < n->noutputs; k++) {
			int v = value_id(m, pb->output[k]);
			*pool++ = v;
			if (v >= 0)
				m->values[v].producer = i;
		}
		n->is_static = node_is_static(m, n);
		for (int k = 0; k < n->noutputs; k++)
			if (n->outputs[k] >= 0)
				m->values[n->outputs[k]].is_static = n->is_static;
	}
	m->index_pool_len = (size_t)(pool - m->index_pool);
}

/* A Constant node's dense tensor is a constant like an initializer. */
static void note_constants(struct onnx_model *m)
{
	for (int i = 0; i < m->nnodes; i++) {
		const Onnx__NodeProto *pb = m->pb_nodes[i];
		if (strcmp(m->nodes[i].op_type, "Constant") != 0 || *m->nodes[i].domain || m->nodes[i].noutputs != 1)
			continue;
		for (size_t a = 0; a < pb->n_attribute; a++)
			if (pb->attribute[a]->t && strcmp(pb_str(pb->attribute[a]->name), "value") == 0 &&
			    m->nodes[i].outputs[0] >= 0)
				m->tensors[m->nodes[i].outputs[0]] = pb->attribute[a]->t;
	}
}

/* Lists for each value the nodes that read it, each once: counted in the first pass, filled in the second. */
static int list_readers(struct onnx_model *m, int *pool, struct err *e)
{
	int *last = calloc((size_t)m->nvalues + 1, sizeof *last); /* node + 1 that was counted last */
	if (!last)
		return err_nomem(e, "the graph");
	for (int pass = 0; pass < 2; pass++) {
		memset(last, 0, ((size_t)m->nvalues + 1) * sizeof *last);
		for (int i = 0; i < m->nnodes; i++) {
			const struct onnx_node *n = &m->nodes[i];
			for (int k = 0; k < n->ninputs + n->ncaptured; k++) {
				int v = k < n->ninputs ? n->inputs[k] : n->captured[k - n->ninputs];
				if (v < 0 || last[v] == i + 1)
					continue;
				last[v] = i + 1;
				if (pass)
					((int *)m->values[v].readers)[m->values[v].nreaders] = i;
				m->values[v].nreaders++;
			}
		}
		for (int v = 0; v < m->nvalues && !pass; v++) {
			m->values[v].readers = pool;
			pool += m->values[v].nreaders;
			m->values[v].nreaders = 0;
		}
	}
	free(last);
	return 0;
}

static int check_defined(const struct onnx_model *m, struct err *e)
{
	for (int v = 0; v < m->nvalues; v++) {
		const struct onnx_value *x = &m->values[v];
		if (x->producer >= 0 && (x->is_input || x->is_initializer))
			return err_set(e, ERR_NOT_ONNX, "node %s makes %s, which is %s already", m->nodes[x->producer].name,
			               x->name, x->is_input ? "an input" : "an initializer");
	}
	for (int i = 0; i < m->nnodes; i++) {
		const struct onnx_node *n = &m->nodes[i];
		for (int k = 0; k < n->ninputs + n->ncaptured; k++) {
			int v = k < n->ninputs ? n->inputs[k] : n->captured[k - n->ninputs];
			const struct onnx_value *x = v < 0 ? NULL : &m->values[v];
			if (x && x->producer < 0 && !x->is_input && !x->is_initializer)
				return err_set(e, ERR_NOT_ONNX, "node %s reads %s, which nothing makes", n->name, x->name);
		}
	}
	for (size_t i = 0; i < m->noutputs; i++) {
		int v = onnx_model_find(m, m->outputs[i].name);
		const struct onnx_value *x = v < 0 ? NULL : &m->values[v];
		if (!x || (x->producer < 0 && !x->is_input && !x->is_initializer))
			return err_set(e, ERR_NOT_ONNX, "the output %s is made by nothing", m->outputs[i].name);
	}
	return 0;
}

/* ---- inputs and outputs ---- */

static void describe_io(struct onnx_io *io, const Onnx__ValueInfoProto *v)
{
	const Onnx__TypeProto *type = v->type;
	io->name = pb_str(v->name);
	io->rank = -1;
	if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type)
		return;
	io->elem_type = type->tensor_type->elem_type;
	const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
	if (!shape || shape->n_dim > ARRAY_MAX_RANK)
		return;
	io->rank = (int)shape->n_dim;
	for (int i = 0; i < io->rank; i++) {
		const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
		io->shape[i] = -1;
		if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value >= 0)
			io->shape[i] = d->dim_value;
		if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && *pb_str(d->dim_param))
			io->dim_name[i] = d->dim_param;
	}
}

static int note_initializers(struct onnx_model *m, struct err *e)
{
	const Onnx__GraphProto *g = m->pb->graph;
	for (size_t i = 0; i < g->n_initializer + g->n_sparse_initializer; i++) {
		bool dense = i < g->n_initializer;
		const Onnx__SparseTensorProto *s = dense ? NULL : g->sparse_initializer[i - g->n_initializer];
		const Onnx__TensorProto *t = dense ? g->initializer[i] : s->values;
		int v = t ? value_id(m, t->name) : -1;
		if (v < 0)
			return err_set(e, ERR_NOT_ONNX, "an initializer without a name");
		if (m->values[v].is_initializer)
			return err_set(e, ERR_NOT_ONNX, "two initializers are called %s", m->values[v].name);
		m->values[v].is_initializer = m->values[v].is_static = true;
		if (dense)
			m->tensors[v] = t;
		else
			m->sparse[v] = s;
	}
	return 0;
}

static int note_io(struct onnx_model *m, struct err *e)
{
	const Onnx__GraphProto *g = m->pb->graph;
	m->inputs = calloc(g->n_input + 1, sizeof *m->inputs);
	m->outputs = calloc(g->n_output + 1, sizeof *m->outputs);
	if (!m->inputs || !m->outputs)
		return err_nomem(e, "the model's inputs");
	for (size_t i = 0; i < g->n_input; i++) {
		int v = value_id(m, g->input[i]->name);
		if (v < 0)
			return err_set(e, ERR_NOT_ONNX, "an input without a name");
		if (m->values[v].is_initializer)
			continue;
		if (m->values[v].is_input)
			return err_set(e, ERR_NOT_ONNX, "two inputs are called %s", m->values[v].name);
		m->values[v].is_input = true;
		describe_io(&m->inputs[m->ninputs++], g->input[i]);
	}
	for (size_t i = 0; i < g->n_output; i++) {
		int v = value_id(m, g->output[i]->name);
		if (v < 0)
			return err_set(e, ERR_NOT_ONNX, "an output without a name");
		m->values[v].is_output = true;
		describe_io(&m->outputs[m->noutputs++], g->output[i]);
	}
	return 0;
}

/* ---- building ---- */

/* Numbers every name and says which node of the file makes which value. */
static int number_values(struct onnx_model *m, struct wires *wires, int **producer, size_t *nwires, struct err *e)
{
	const Onnx__GraphProto *g = m->pb->graph;
	for (size_t i = 0; i < g->n_initializer; i++)
		(void)value_id(m, g->initializer[i]->name);
	for (size_t i = 0; i < g->n_sparse_initializer; i++)
		(void)value_id(m, g->sparse_initializer[i]->values ? g->sparse_initializer[i]->values->name : NULL);
	for (size_t i = 0; i < g->n_input; i++)
		(void)value_id(m, g->input[i]->name);
	for (int i = 0; i < m->nnodes; i++) {
		if (wire_node(m, g->node[i], &wires[i], e))
			return -1;
		*nwires += (size_t)(wires[i].nin + wires[i].ncap) + g->node[i]->n_output;
		for (size_t k = 0; k < g->node[i]->n_output; k++)
			(void)value_id(m, g->node[i]->output[k]);
	}
	for (size_t i = 0; i < g->n_output; i++)
		(void)value_id(m, g->output[i]->name);
	if (names_failed(m->value_names))
		return err_nomem(e, "the graph");
	m->nvalues = names_count(m->value_names);
	*producer = malloc(((size_t)m->nvalues + 1) * sizeof **producer);
	if (!*producer)
		return err_nomem(e, "the graph");
	for (int v = 0; v < m->nvalues; v++)
		(*producer)[v] = -1;
	for (int i = 0; i < m->nnodes; i++)
		for (size_t k = 0; k < g->node[i]->n_output; k++) {
			int v = value_id(m, g->node[i]->output[k]);
			if (v >= 0 && (*producer)[v] >= 0)
				return err_set(e, ERR_NOT_ONNX, "the tensor %s is made twice", g->node[i]->output[k]);
			if (v >= 0)
				(*producer)[v] = i;
		}
	return 0;
}

static int alloc_view(struct onnx_model *m, size_t nwires, struct err *e)
{
	m->values = calloc((size_t)m->nvalues + 1, sizeof *m->values);
	m->tensors = calloc((size_t)m->nvalues + 1, sizeof *m->tensors);
	m->sparse = calloc((size_t)m->nvalues + 1, sizeof *m->sparse);
	m->index_pool = calloc(nwires * 2 + 1, sizeof *m->index_pool); /* the lists of nodes, then those of values */
	if (!m->values || !m->tensors || !m->sparse || !m->index_pool)
		return err_nomem(e, "the graph");
	return 0;
}

static void name_values(struct onnx_model *m)
{
	for (int v = 0; v < m->nvalues; v++)
		m->values[v] = (struct onnx_value){.name = names_text(m->value_names, v), .producer = -1};
}

int onnx_view_build(struct onnx_model *m, struct err *e)
{
	const Onnx__GraphProto *g = m->pb->graph;
	struct wires *wires = NULL;
	int *producer = NULL, *order = NULL, rc = -1;
	size_t nwires = 0;

	if (g->n_node > MAX_NODES)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "more than %d nodes", MAX_NODES);
	m->nnodes = (int)g->n_node;
	m->value_names = names_new();
	m->nodes = calloc((size_t)m->nnodes + 1, sizeof *m->nodes);
	m->pb_nodes = calloc((size_t)m->nnodes + 1, sizeof(Onnx__NodeProto *));
	m->made_names = calloc((size_t)m->nnodes + 1, sizeof *m->made_names);
	wires = calloc((size_t)m->nnodes + 1, sizeof *wires);
	order = calloc((size_t)m->nnodes + 1, sizeof *order);
	if (!m->value_names || !m->nodes || !m->pb_nodes || !m->made_names || !wires || !order) {
		err_nomem(e, "the graph");
		goto out;
	}
	if (number_values(m, wires, &producer, &nwires, e) || order_nodes(m, wires, producer, order, e) || alloc_view(m, nwires, e))
		goto out;
	name_values(m);
	if (note_initializers(m, e) || note_io(m, e))
		goto out;
	lay_out_nodes(m, g->node, wires, order, m->index_pool);
	note_constants(m);
	if (list_readers(m, m->index_pool + m->index_pool_len, e) || name_nodes(m, e) || check_defined(m, e))
		goto out;
	rc = 0;
out:
	for (int i = 0; wires && i < m->nnodes; i++)
		free(wires[i].in);
	free(wires);
	free(producer);
	free(order);
	return rc;
}
