#include "onnx_edit.h"

#include "half.h"
#include "onnx_pb.h"

#include <stdlib.h>
#include <string.h>

enum { SHARE_FROM = 4096 }; /* bytes; smaller weights are cheaper inside the model */

/* ---- floats to a tensor's own element type ---- */

static void encode(int elem_type, const float *in, size_t n, void *out)
{
	if (elem_type == PB_FLOAT)
		memcpy(out, in, n * sizeof *in);
	for (size_t i = 0; elem_type != PB_FLOAT && i < n; i++) {
		if (elem_type == PB_DOUBLE)
			((double *)out)[i] = (double)in[i];
		else
			((uint16_t *)out)[i] = elem_type == PB_FLOAT16 ? half_from_float(in[i]) : bfloat_from_float(in[i]);
	}
}

/* ---- pieces of protobuf that we own ---- */

/* Everything that is allocated for one build and freed after packing. */
struct pool {
	void **p;
	size_t n, cap;
};

static void *take(struct pool *pool, size_t count, size_t size)
{
	if (pool->n == pool->cap) {
		size_t cap = pool->cap ? pool->cap * 2 : 64;
		void **p = realloc(pool->p, cap * sizeof *p);
		if (!p)
			return NULL;
		pool->p = p;
		pool->cap = cap;
	}
	void *x = calloc(count ? count : 1, size);
	if (x)
		pool->p[pool->n++] = x;
	return x;
}

static void pool_fini(struct pool *pool)
{
	for (size_t i = 0; i < pool->n; i++)
		free(pool->p[i]);
	free(pool->p);
}

static Onnx__TypeProto *tensor_type(struct pool *pool, int elem_type, int rank, const int64_t *shape)
{
	Onnx__TypeProto *type = take(pool, 1, sizeof *type);
	Onnx__TypeProto__Tensor *tensor = take(pool, 1, sizeof *tensor);
	if (!type || !tensor)
		return NULL;
	onnx__type_proto__init(type);
	onnx__type_proto__tensor__init(tensor);
	type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	type->tensor_type = tensor;
	tensor->has_elem_type = 1;
	tensor->elem_type = elem_type;
	if (rank < 0)
		return type;
	tensor->shape = take(pool, 1, sizeof *tensor->shape);
	if (!tensor->shape)
		return NULL;
	onnx__tensor_shape_proto__init(tensor->shape);
	tensor->shape->n_dim = (size_t)rank;
	tensor->shape->dim = take(pool, (size_t)rank, sizeof *tensor->shape->dim);
	for (int i = 0; tensor->shape->dim && i < rank; i++) {
		Onnx__TensorShapeProto__Dimension *d = tensor->shape->dim[i] = take(pool, 1, sizeof *d);
		if (!d)
			return NULL;
		onnx__tensor_shape_proto__dimension__init(d);
		if (shape[i] >= 0) {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
			d->dim_value = shape[i];
		}
	}
	return tensor->shape->dim ? type : NULL;
}

static Onnx__TypeProto *feed_type(struct pool *pool, const struct onnx_feed *f)
{
	Onnx__TypeProto *inner = tensor_type(pool, f->elem_type, f->sequence ? -1 : f->rank, f->shape);
	if (!inner || !f->sequence)
		return inner;
	Onnx__TypeProto *type = take(pool, 1, sizeof *type);
	Onnx__TypeProto__Sequence *sequence = take(pool, 1, sizeof *sequence);
	if (!type || !sequence)
		return NULL;
	onnx__type_proto__init(type);
	onnx__type_proto__sequence__init(sequence);
	type->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
	type->sequence_type = sequence;
	sequence->elem_type = inner;
	return type;
}

static Onnx__ValueInfoProto *value_info(struct pool *pool, const char *name, Onnx__TypeProto *type)
{
	Onnx__ValueInfoProto *v = take(pool, 1, sizeof *v);
	if (!v)
		return NULL;
	onnx__value_info_proto__init(v);
	v->name = (char *)name;
	v->type = type;
	return v;
}

/* A tensor like t with the float data in its place. */
static Onnx__TensorProto *replacement(struct pool *pool, const Onnx__TensorProto *t, const char *name, const float *data)
{
	size_t n = (size_t)pb_tensor_count(t), bytes = n * pb_elem_size(t->data_type);
	Onnx__TensorProto *r = take(pool, 1, sizeof *r);
	void *raw = take(pool, 1, bytes ? bytes : 1);
	if (!r || !raw)
		return NULL;
	encode(t->data_type, data, n, raw);
	onnx__tensor_proto__init(r);
	r->name = (char *)name;
	r->n_dims = t->n_dims;
	r->dims = t->dims;
	r->has_data_type = 1;
	r->data_type = t->data_type;
	r->has_raw_data = 1;
	r->raw_data.data = raw;
	r->raw_data.len = bytes;
	return r;
}

/* A float32 tensor whose data stays where it is: the caller's, or the model's own. */
static Onnx__TensorProto *shared(struct pool *pool, const Onnx__TensorProto *t, const char *name, const void *data, size_t bytes,
                                 struct onnx_shared *list)
{
	static char key[] = "location", place[] = "shared";
	Onnx__TensorProto *r = take(pool, 1, sizeof *r);
	Onnx__StringStringEntryProto *entry = take(pool, 1, sizeof *entry);
	if (!r || !entry)
		return NULL;
	onnx__tensor_proto__init(r);
	onnx__string_string_entry_proto__init(entry);
	entry->key = key;
	entry->value = place;
	r->name = (char *)name;
	r->n_dims = t->n_dims;
	r->dims = t->dims;
	r->has_data_type = 1;
	r->data_type = t->data_type;
	r->has_data_location = 1;
	r->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
	r->external_data = take(pool, 1, sizeof *r->external_data);
	if (!r->external_data)
		return NULL;
	r->external_data[0] = entry;
	r->n_external_data = 1;
	*list = (struct onnx_shared){.name = name, .elem_type = t->data_type, .rank = (int)t->n_dims, .data = data, .bytes = bytes};
	for (int i = 0; i < list->rank; i++)
		list->shape[i] = t->dims[i];
	return r;
}

/* ---- sub-models ---- */

struct build {
	const struct onnx_model *m;
	const float *const *replaced;
	struct pool pool;
	bool *need_value, *need_node;
	Onnx__GraphProto graph;
	struct onnx_submodel *out;
};

/* Marks a value; a static one with everything it is made from. Constant nodes with a replacement become initializers. */
static void need(struct build *b, int v)
{
	if (v < 0 || b->need_value[v])
		return;
	b->need_value[v] = true;
	const struct onnx_value *x = &b->m->values[v];
	if (!x->is_static || x->producer < 0 || b->replaced[v] || b->need_node[x->producer])
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
	b->need_value = take(&b->pool, (size_t)b->m->nvalues, sizeof *b->need_value);
	b->need_node = take(&b->pool, (size_t)b->m->nnodes, sizeof *b->need_node);
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

static Onnx__TensorProto *constant(struct build *b, int v)
{
	const Onnx__TensorProto *t = b->m->tensors[v];
	const char *name = b->m->values[v].name;
	const float *data = b->replaced[v];
	size_t bytes = (size_t)pb_tensor_count(t) * pb_elem_size(t->data_type);
	bool can_share = t->data_type == PB_FLOAT && bytes >= SHARE_FROM && t->n_dims <= NPZ_MAX_RANK;
	if (can_share && (data || t->has_raw_data || t->n_float_data * sizeof(float) == bytes)) {
		const void *bytes_at = data ? (const void *)data : t->has_raw_data ? (const void *)t->raw_data.data : t->float_data;
		return shared(&b->pool, t, name, bytes_at, bytes, &b->out->shared[b->out->nshared++]);
	}
	return data ? replacement(&b->pool, t, name, data) : (Onnx__TensorProto *)t;
}

static int add_constants(struct build *b, struct err *e)
{
	size_t n = (size_t)b->m->nvalues;
	b->graph.initializer = take(&b->pool, n, sizeof *b->graph.initializer);
	b->graph.sparse_initializer = take(&b->pool, n, sizeof *b->graph.sparse_initializer);
	b->out->shared = calloc(n + 1, sizeof *b->out->shared);
	if (!b->graph.initializer || !b->graph.sparse_initializer || !b->out->shared)
		return err_nomem(e, "a sub-model");
	for (int v = 0; v < b->m->nvalues; v++) {
		if (!b->need_value[v] || (!b->m->values[v].is_initializer && !b->replaced[v]))
			continue;
		if (b->m->sparse[v]) {
			b->graph.sparse_initializer[b->graph.n_sparse_initializer++] = (Onnx__SparseTensorProto *)b->m->sparse[v];
			continue;
		}
		Onnx__TensorProto *t = constant(b, v);
		if (!t)
			return err_nomem(e, "a sub-model");
		b->graph.initializer[b->graph.n_initializer++] = t;
	}
	return 0;
}

static int add_io(struct build *b, const struct onnx_feed *feeds, size_t nfeeds, const int *wanted, size_t nwanted, struct err *e)
{
	b->graph.input = take(&b->pool, nfeeds, sizeof *b->graph.input);
	b->graph.output = take(&b->pool, nwanted, sizeof *b->graph.output);
	if (!b->graph.input || !b->graph.output)
		return err_nomem(e, "a sub-model");
	for (size_t i = 0; i < nfeeds; i++) {
		Onnx__TypeProto *type = feed_type(&b->pool, &feeds[i]);
		b->graph.input[i] = type ? value_info(&b->pool, b->m->values[feeds[i].value].name, type) : NULL;
		if (!b->graph.input[i])
			return err_nomem(e, "a sub-model");
		b->graph.n_input++;
	}
	for (size_t i = 0; i < nwanted; i++) {
		b->graph.output[i] = value_info(&b->pool, b->m->values[wanted[i]].name, NULL);
		if (!b->graph.output[i])
			return err_nomem(e, "a sub-model");
		b->graph.n_output++;
	}
	return 0;
}

static int add_nodes(struct build *b, struct err *e)
{
	b->graph.node = take(&b->pool, (size_t)b->m->nnodes, sizeof *b->graph.node);
	if (!b->graph.node)
		return err_nomem(e, "a sub-model");
	for (int i = 0; i < b->m->nnodes; i++) {
		Onnx__NodeProto *n = b->m->pb_nodes[i];
		if (!b->need_node[i])
			continue;
		if (*pb_str(n->name) && strcmp(n->name, b->m->nodes[i].name) != 0) {
			/* It has the name of an earlier node, which ONNX Runtime does not take. */
			Onnx__NodeProto *renamed = take(&b->pool, 1, sizeof *renamed);
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

static int pack(const Onnx__ModelProto *pb, struct buf *out, struct err *e)
{
	size_t len = onnx__model_proto__get_packed_size(pb);
	if (len > INT32_MAX)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model would be larger than 2 GiB");
	char *bytes = malloc(len + 1);
	if (!bytes)
		return err_nomem(e, "a serialized model");
	(void)onnx__model_proto__pack(pb, (uint8_t *)bytes);
	bytes[len] = '\0';
	*out = (struct buf){bytes, len, len + 1, false};
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
		rc = pack(&pb, &out->bytes, e);
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
		if (replaced[v] && m->tensors[v] == t)
			return v;
	return -1;
}

/* Exchanges *t for its replacement, or leaves it. */
static int exchange(struct pool *pool, const struct onnx_model *m, const float *const *replaced, Onnx__TensorProto **t, struct err *e)
{
	int v = replaced_value(m, replaced, *t);
	if (v < 0)
		return 0;
	Onnx__TensorProto *r = replacement(pool, *t, pb_str((*t)->name), replaced[v]);
	if (!r)
		return err_nomem(e, "a serialized model");
	*t = r;
	return 0;
}

/* A copy of node n, its attributes' tensors exchanged; only Constant nodes hold replaceable ones. */
static Onnx__NodeProto *constant_node(struct pool *pool, const struct onnx_model *m, const float *const *replaced,
                                      const Onnx__NodeProto *n, struct err *e)
{
	Onnx__NodeProto *copy = take(pool, 1, sizeof *copy);
	if (!copy)
		return NULL;
	*copy = *n;
	copy->attribute = take(pool, n->n_attribute, sizeof *copy->attribute);
	for (size_t a = 0; copy->attribute && a < n->n_attribute; a++) {
		Onnx__AttributeProto *at = copy->attribute[a] = take(pool, 1, sizeof *at);
		if (!at)
			return NULL;
		*at = *n->attribute[a];
		if (at->t && exchange(pool, m, replaced, &at->t, e))
			return NULL;
	}
	return copy->attribute ? copy : NULL;
}

int onnx_model_write(const struct onnx_model *m, const float *const *replaced, struct buf *out, struct err *e)
{
	struct pool pool = {0};
	Onnx__ModelProto pb = *m->pb;
	Onnx__GraphProto graph = *m->pb->graph;
	int rc = -1;
	pb.graph = &graph;
	graph.initializer = take(&pool, graph.n_initializer, sizeof *graph.initializer);
	graph.node = take(&pool, graph.n_node, sizeof *graph.node);
	if (!graph.initializer || !graph.node) {
		err_nomem(e, "a serialized model");
		goto out;
	}
	for (size_t i = 0; i < graph.n_initializer; i++) {
		graph.initializer[i] = m->pb->graph->initializer[i];
		if (exchange(&pool, m, replaced, &graph.initializer[i], e))
			goto out;
	}
	for (size_t i = 0; i < graph.n_node; i++) {
		graph.node[i] = m->pb->graph->node[i];
		if (strcmp(pb_str(graph.node[i]->op_type), "Constant") == 0)
			graph.node[i] = constant_node(&pool, m, replaced, graph.node[i], e);
		if (!graph.node[i]) {
			err_nomem(e, "a serialized model");
			goto out;
		}
	}
	rc = pack(&pb, out, e);
out:
	pool_fini(&pool);
	return rc;
}
