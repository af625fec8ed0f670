#include "core/onnx/onnx_edit.h"

#include "core/onnx/onnx_build.h"

#include <stdlib.h>
#include <string.h>

/* ---- sub-models ---- */

static Onnx__TypeProto *feed_type(struct pool *pool, const struct onnx_feed *f)
{
	Onnx__TypeProto *inner = build_tensor_type(pool, f->elem_type, f->sequence ? -1 : f->rank, f->shape);
	if (!inner || !f->sequence)
		return inner;
	Onnx__TypeProto *type = pool_take(pool, 1, sizeof *type);
	Onnx__TypeProto__Sequence *sequence = pool_take(pool, 1, sizeof *sequence);
	if (!type || !sequence)
		return NULL;
	onnx__type_proto__init(type);
	onnx__type_proto__sequence__init(sequence);
	type->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
	type->sequence_type = sequence;
	sequence->elem_type = inner;
	return type;
}

struct build {
	const struct onnx_model *m;
	const float *const *replaced;
	struct pool pool;
	bool *need_value, *need_node;
	Onnx__GraphProto graph;
	struct onnx_submodel *out;
};

static const float *stands_for(const struct build *b, int v)
{
	return b->replaced ? b->replaced[v] : NULL;
}

/* Marks a value; a static one with everything it is made from. Constant nodes with a replacement become initializers. */
static void need(struct build *b, int v)
{
	if (v < 0 || b->need_value[v])
		return;
	b->need_value[v] = true;
	const struct onnx_value *x = &b->m->values[v];
	if (!x->is_static || x->producer < 0 || stands_for(b, v) || b->need_node[x->producer])
		return;
	const struct onnx_node *n = &b->m->nodes[x->producer];
	b->need_node[x->producer] = true;
	for (int k = 0; k < n->ninputs; k++)
		need(b, n->inputs[k]);
	for (int k = 0; k < n->ncaptured; k++)
		need(b, n->captured[k]);
}

static int mark(struct build *b, const int *nodes, size_t nnodes, const int *wanted, size_t nwanted, struct err *e)
{
	b->need_value = pool_take(&b->pool, (size_t)b->m->nvalues, sizeof *b->need_value);
	b->need_node = pool_take(&b->pool, (size_t)b->m->nnodes, sizeof *b->need_node);
	if (!b->need_value || !b->need_node)
		return err_nomem(e, "a sub-model");
	for (size_t i = 0; i < nnodes; i++) {
		const struct onnx_node *n = &b->m->nodes[nodes[i]];
		b->need_node[nodes[i]] = true;
		for (int k = 0; k < n->ninputs; k++)
			need(b, n->inputs[k]);
		for (int k = 0; k < n->ncaptured; k++)
			need(b, n->captured[k]);
	}
	for (size_t i = 0; i < nwanted; i++)
		need(b, wanted[i]);
	return 0;
}

static int add_constants(struct build *b, struct err *e)
{
	size_t n = (size_t)b->m->nvalues;
	b->graph.initializer = pool_take(&b->pool, n, sizeof *b->graph.initializer);
	b->graph.sparse_initializer = pool_take(&b->pool, n, sizeof *b->graph.sparse_initializer);
	b->out->shared = calloc(n + 1, sizeof *b->out->shared);
	if (!b->graph.initializer || !b->graph.sparse_initializer || !b->out->shared)
		return err_nomem(e, "a sub-model");
	for (int v = 0; v < b->m->nvalues; v++) {
		if (!b->need_value[v] || (!b->m->values[v].is_initializer && !stands_for(b, v)))
			continue;
		if (b->m->sparse[v]) {
			b->graph.sparse_initializer[b->graph.n_sparse_initializer++] = (Onnx__SparseTensorProto *)b->m->sparse[v];
			continue;
		}
		Onnx__TensorProto *t = build_constant(&b->pool, b->m, v, stands_for(b, v), b->out->shared, &b->out->nshared);
		if (!t)
			return err_nomem(e, "a sub-model");
		b->graph.initializer[b->graph.n_initializer++] = t;
	}
	return 0;
}

static int add_io(struct build *b, const struct onnx_feed *feeds, size_t nfeeds, const int *wanted, size_t nwanted, struct err *e)
{
	b->graph.input = pool_take(&b->pool, nfeeds, sizeof *b->graph.input);
	b->graph.output = pool_take(&b->pool, nwanted, sizeof *b->graph.output);
	if (!b->graph.input || !b->graph.output)
		return err_nomem(e, "a sub-model");
	for (size_t i = 0; i < nfeeds; i++) {
		Onnx__TypeProto *type = feed_type(&b->pool, &feeds[i]);
		b->graph.input[i] = type ? build_value_info(&b->pool, b->m->values[feeds[i].value].name, type) : NULL;
		if (!b->graph.input[i])
			return err_nomem(e, "a sub-model");
		b->graph.n_input++;
	}
	for (size_t i = 0; i < nwanted; i++) {
		b->graph.output[i] = build_value_info(&b->pool, b->m->values[wanted[i]].name, NULL);
		if (!b->graph.output[i])
			return err_nomem(e, "a sub-model");
		b->graph.n_output++;
	}
	return 0;
}

static int add_nodes(struct build *b, struct err *e)
{
	b->graph.node = pool_take(&b->pool, (size_t)b->m->nnodes, sizeof *b->graph.node);
	if (!b->graph.node)
		return err_nomem(e, "a sub-model");
	for (int i = 0; i < b->m->nnodes; i++) {
		Onnx__NodeProto *n = b->m->pb_nodes[i];
		if (!b->need_node[i])
			continue;
		if (*pb_str(n->name) && strcmp(n->name, b->m->nodes[i].name) != 0) {
			/* It has the name of an earlier node, which ONNX Runtime does not take. */
			Onnx__NodeProto *renamed = pool_take(&b->pool, 1, sizeof *renamed);
			if (!renamed)
				return err_nomem(e, "a sub-model");
			*renamed = *n;
			renamed->name = (char *)b->m->nodes[i].name;
			n = renamed;
		}
		b->graph.node[b->graph.n_node++] = n;
	}
	return 0;
}

int onnx_submodel_build(const struct onnx_model *m, const int *nodes, size_t nnodes, const struct onnx_feed *feeds, size_t nfeeds,
                        const int *wanted, size_t nwanted, const float *const *replaced, struct onnx_submodel *out, struct err *e)
{
	static char graph_name[] = "piece";
	struct build b = {.m = m, .replaced = replaced, .out = out};
	*out = (struct onnx_submodel){.bytes = BUF_INIT};
	onnx__graph_proto__init(&b.graph);
	b.graph.name = graph_name;
	int rc = mark(&b, nodes, nnodes, wanted, nwanted, e);
	if (!rc)
		rc = add_constants(&b, e);
	if (!rc)
		rc = add_io(&b, feeds, nfeeds, wanted, nwanted, e);
	if (!rc)
		rc = add_nodes(&b, e);
	if (!rc) {
		Onnx__ModelProto pb = *m->pb; /* versions, operator sets, functions, unknown fields */
		pb.graph = &b.graph;
		pb.n_training_info = 0;
		pb.n_metadata_props = 0;
		rc = build_pack(&pb, &out->bytes, e);
	}
	pool_fini(&b.pool);
	if (rc)
		onnx_submodel_fini(out);
	return rc;
}

void onnx_submodel_fini(struct onnx_submodel *s)
{
	buf_fini(&s->bytes);
	free(s->shared);
	s->shared = NULL;
	s->nshared = 0;
}

/* ---- the whole model with other weights ---- */

/* Finds which constant of the main graph a tensor is; -1: none that is replaced. */
static int replaced_value(const struct onnx_model *m, const float *const *replaced, const Onnx__TensorProto *t)
{
	for (int v = 0; v < m->nvalues; v++)
		if (replaced && replaced[v] && m->tensors[v] == t)
			return v;
	return -1;
}

/* Exchanges *t for its replacement, or leaves it. */
static int exchange(struct pool *pool, const struct onnx_model *m, const float *const *replaced, Onnx__TensorProto **t,
                    struct err *e)
{
	int v = replaced_value(m, replaced, *t);
	if (v < 0)
		return 0;
	Onnx__TensorProto *r = build_replacement(pool, *t, pb_str((*t)->name), replaced[v]);
	if (!r)
		return err_nomem(e, "a serialized model");
	*t = r;
	return 0;
}

/* A copy of node n, its attributes' tensors exchanged; only Constant nodes hold replaceable ones. */
static Onnx__NodeProto *constant_node(struct pool *pool, const struct onnx_model *m, const float *const *replaced,
                                      const Onnx__NodeProto *n, struct err *e)
{
	Onnx__NodeProto *copy = pool_take(pool, 1, sizeof *copy);
	if (!copy)
		return NULL;
	*copy = *n;
	copy->attribute = pool_take(pool, n->n_attribute, sizeof *copy->attribute);
	for (size_t a = 0; copy->attribute && a < n->n_attribute; a++) {
		Onnx__AttributeProto *at = copy->attribute[a] = pool_take(pool, 1, sizeof *at);
		if (!at)
			return NULL;
		*at = *n->attribute[a];
		if (at->t && exchange(pool, m, replaced, &at->t, e))
			return NULL;
	}
	return copy->attribute ? copy : NULL;
}

/* Node i under the name that reports know it by, which a node without one has been given. */
static Onnx__NodeProto *whole_node(struct pool *pool, const struct onnx_model *m, int i, const float *const *replaced,
                                   struct err *e)
{
	Onnx__NodeProto *n = m->pb_nodes[i], *copy;
	if (replaced && strcmp(pb_str(n->op_type), "Constant") == 0)
		n = constant_node(pool, m, replaced, n, e);
	if (!n || strcmp(pb_str(n->name), m->nodes[i].name) == 0)
		return n;
	copy = pool_take(pool, 1, sizeof *copy);
	if (copy) {
		*copy = *n;
		copy->name = (char *)m->nodes[i].name;
	}
	return copy;
}

int onnx_model_write(const struct onnx_model *m, const float *const *replaced, struct buf *out, struct err *e)
{
	struct pool pool = {0};
	Onnx__ModelProto pb = *m->pb;
	Onnx__GraphProto graph = *m->pb->graph;
	int rc = -1;
	pb.graph = &graph;
	graph.initializer = pool_take(&pool, graph.n_initializer, sizeof *graph.initializer);
	graph.node = pool_take(&pool, graph.n_node, sizeof *graph.node);
	if (!graph.initializer || !graph.node) {
		err_nomem(e, "a serialized model");
		goto out;
	}
	for (size_t i = 0; i < graph.n_initializer; i++) {
		graph.initializer[i] = m->pb->graph->initializer[i];
		if (exchange(&pool, m, replaced, &graph.initializer[i], e))
			goto out;
	}
	for (int i = 0; i < m->nnodes; i++) {
		graph.node[i] = whole_node(&pool, m, i, replaced, e);
		if (!graph.node[i]) {
			err_nomem(e, "a serialized model");
			goto out;
		}
	}
	rc = build_pack(&pb, out, e);
out:
	pool_fini(&pool);
	return rc;
}
