#include "core/onnx/onnx_insert.h"

#include "core/onnx/onnx_build.h"

#include <stdlib.h>
#include <string.h>

struct inserted {
	Onnx__NodeProto *pb;
	int at; /* the node it follows; -1: the beginning */
};

/* A growing list; protobuf-c wants arrays of pointers. */
struct list {
	void **p;
	size_t n, cap;
};

struct onnx_insert {
	const struct onnx_model *m;
	struct pool pool;
	const char **made_as, **read_as; /* [values], NULL: the value's own name */
	bool *dropped;                   /* [values] */
	struct names *new_names;
	struct names *node_names; /* the model's and the new ones */
	struct inserted *inserted;
	size_t ninserted, cap;
	struct list tensors, outputs, opsets; /* added ones */
	struct list copies;                   /* nodes with bodies, which protobuf-c frees */
	const char *producer;
};

static int list_add(struct list *l, void *x)
{
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 16;
		void **p = realloc(l->p, cap * sizeof *p);
		if (!p)
			return -1;
		l->p = p;
		l->cap = cap;
	}
	l->p[l->n++] = x;
	return 0;
}

static int nomem(struct err *e)
{
	return err_nomem(e, "a model with inserted nodes");
}

struct onnx_insert *onnx_insert_new(const struct onnx_model *m, struct err *e)
{
	struct onnx_insert *x = calloc(1, sizeof *x);
	size_t n = (size_t)m->nvalues + 1;
	if (x) {
		x->m = m;
		x->made_as = calloc(n, sizeof *x->made_as);
		x->read_as = calloc(n, sizeof *x->read_as);
		x->dropped = calloc(n, sizeof *x->dropped);
		x->new_names = names_new();
		x->node_names = names_new();
		for (int i = 0; x->node_names && i < onnx_model_nodes(m); i++)
			(void)names_add(x->node_names, onnx_model_node(m, i)->name);
	}
	if (!x || !x->made_as || !x->read_as || !x->dropped || !x->new_names || !x->node_names || names_failed(x->node_names)) {
		nomem(e);
		onnx_insert_free(x);
		return NULL;
	}
	return x;
}

void onnx_insert_free(struct onnx_insert *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->copies.n; i++)
		onnx__node_proto__free_unpacked(x->copies.p[i], NULL);
	names_free(x->new_names);
	names_free(x->node_names);
	free((void *)x->made_as);
	free((void *)x->read_as);
	free(x->dropped);
	free(x->inserted);
	free(x->tensors.p);
	free(x->outputs.p);
	free(x->opsets.p);
	free(x->copies.p);
	pool_fini(&x->pool);
	free(x);
}

/* ---- what is added ---- */

/* name + suffix, or with underscores behind it: a name that no tensor has. */
static char *free_name(struct onnx_insert *x, const char *name, const char *suffix)
{
	enum { TRIES = 64 };
	size_t n = strlen(name), s = strlen(suffix);
	char *text = pool_take(&x->pool, n + s + TRIES + 1, 1);
	if (!text)
		return NULL;
	memcpy(text, name, n);
	memcpy(text + n, suffix, s);
	for (size_t i = 0; names_find(x->m->value_names, text) >= 0 || names_find(x->new_names, text) >= 0; i++) {
		if (i == TRIES)
			return NULL;
		text[n + s + i] = '_';
	}
	return names_add(x->new_names, text) < 0 ? NULL : text;
}

const char *onnx_insert_name(struct onnx_insert *x, const char *name, const char *suffix, struct err *e)
{
	const char *fresh = free_name(x, name, suffix);
	if (!fresh)
		nomem(e);
	return fresh;
}

int onnx_insert_cut(struct onnx_insert *x, int value, const char *suffix, struct onnx_cut *cut, struct err *e)
{
	const struct onnx_value *v = &x->m->values[value];
	if (x->made_as[value] || x->read_as[value])
		return err_set(e, ERR_INTERNAL, "tensor %s is cut twice", v->name);
	char *fresh = free_name(x, v->name, suffix);
	if (!fresh)
		return nomem(e);
	if (v->is_output && v->producer >= 0)
		x->made_as[value] = fresh;
	else
		x->read_as[value] = fresh;
	cut->made = x->made_as[value] ? fresh : v->name;
	cut->read = x->read_as[value] ? fresh : v->name;
	return 0;
}

static char **texts(struct pool *pool, const char *const *from, size_t max, size_t *n)
{
	char **to = pool_take(pool, max, sizeof *to);
	for (*n = 0; to && *n < max && from[*n]; ++*n) {
		to[*n] = pool_text(pool, from[*n]);
		if (!to[*n])
			return NULL;
	}
	return to;
}

static Onnx__AttributeProto *int_attribute(struct pool *pool, const struct onnx_insert_attr *from)
{
	Onnx__AttributeProto *a = pool_take(pool, 1, sizeof *a);
	if (!a)
		return NULL;
	onnx__attribute_proto__init(a);
	a->name = pool_text(pool, from->name);
	a->has_type = a->has_i = 1;
	a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
	a->i = from->value;
	return a->name ? a : NULL;
}

static Onnx__NodeProto *node_of(struct pool *pool, const struct onnx_insert_node *from)
{
	enum { MAX_IN = sizeof from->inputs / sizeof *from->inputs, MAX_OUT = sizeof from->outputs / sizeof *from->outputs };
	enum { MAX_ATTR = sizeof from->ints / sizeof *from->ints };
	Onnx__NodeProto *n = pool_take(pool, 1, sizeof *n);
	if (!n)
		return NULL;
	onnx__node_proto__init(n);
	n->op_type = pool_text(pool, from->op_type);
	n->domain = pool_text(pool, from->domain ? from->domain : "");
	n->name = pool_text(pool, from->name ? from->name : "");
	n->input = texts(pool, from->inputs, MAX_IN, &n->n_input);
	n->output = texts(pool, from->outputs, MAX_OUT, &n->n_output);
	n->attribute = pool_take(pool, MAX_ATTR, sizeof *n->attribute);
	if (!n->op_type || !n->domain || !n->name || !n->input || !n->output || !n->attribute)
		return NULL;
	for (size_t i = 0; i < MAX_ATTR && from->ints[i].name; i++) {
		n->attribute[n->n_attribute] = int_attribute(pool, &from->ints[i]);
		if (!n->attribute[n->n_attribute++])
			return NULL;
	}
	return n;
}

/* The name, with as many underscores as make it that of no other node. NULL: no memory. */
static char *node_name(struct onnx_insert *x, const char *name)
{
	size_t len = strlen(name), cap = len + 64;
	char *fresh = pool_take(&x->pool, cap, 1);
	if (!fresh)
		return NULL;
	memcpy(fresh, name, len);
	while (names_find(x->node_names, fresh) >= 0 && len + 1 < cap)
		fresh[len++] = '_';
	return names_add(x->node_names, fresh) < 0 ? NULL : fresh;
}

int onnx_insert_node(struct onnx_insert *x, int after, const struct onnx_insert_node *node, struct err *e)
{
	if (x->ninserted == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 64;
		struct inserted *p = realloc(x->inserted, cap * sizeof *p);
		if (!p)
			return nomem(e);
		x->inserted = p;
		x->cap = cap;
	}
	Onnx__NodeProto *pb = node_of(&x->pool, node);
	if (!pb || (node->name && !(pb->name = node_name(x, node->name))))
		return nomem(e);
	x->inserted[x->ninserted++] = (struct inserted){pb, after < 0 ? -1 : x->m->values[after].producer};
	return 0;
}

int onnx_insert_tensor(struct onnx_insert *x, const char *name, int elem_type, int rank, const int64_t *shape, const void *data,
                       size_t bytes, struct err *e)
{
	Onnx__TensorProto *t = pool_take(&x->pool, 1, sizeof *t);
	if (!t)
		return nomem(e);
	onnx__tensor_proto__init(t);
	t->name = pool_text(&x->pool, name);
	t->has_data_type = t->has_raw_data = 1;
	t->data_type = elem_type;
	t->n_dims = (size_t)rank;
	t->dims = pool_take(&x->pool, (size_t)rank, sizeof *t->dims);
	t->raw_data.len = bytes;
	t->raw_data.data = pool_take(&x->pool, bytes, 1);
	if (!t->name || !t->dims || !t->raw_data.data || list_add(&x->tensors, t))
		return nomem(e);
	for (int i = 0; i < rank; i++)
		t->dims[i] = shape[i];
	if (bytes)
		memcpy(t->raw_data.data, data, bytes);
	return 0;
}

void onnx_insert_drop(struct onnx_insert *x, int value)
{
	x->dropped[value] = true;
}

int onnx_insert_output(struct onnx_insert *x, const char *name, int elem_type, struct err *e)
{
	char *text = pool_text(&x->pool, name);
	Onnx__TypeProto *type = build_tensor_type(&x->pool, elem_type, -1, NULL);
	Onnx__ValueInfoProto *v = text && type ? build_value_info(&x->pool, text, type) : NULL;
	return v && !list_add(&x->outputs, v) ? 0 : nomem(e);
}

int onnx_insert_opset(struct onnx_insert *x, const char *domain, int64_t version, struct err *e)
{
	Onnx__OperatorSetIdProto *o = pool_take(&x->pool, 1, sizeof *o);
	if (!o)
		return nomem(e);
	onnx__operator_set_id_proto__init(o);
	o->domain = pool_text(&x->pool, domain);
	o->has_version = 1;
	o->version = version;
	return o->domain && !list_add(&x->opsets, o) ? 0 : nomem(e);
}

int onnx_insert_producer(struct onnx_insert *x, const char *name, struct err *e)
{
	x->producer = pool_text(&x->pool, name);
	return x->producer ? 0 : nomem(e);
}

/* ---- readers and makers under new names ---- */

/* Bodies that enclose a place; a name that one of them makes is not the main graph's. */
struct scope {
	const Onnx__GraphProto *g;
	const struct scope *outer;
	int depth;
};

/* *name is a string that protobuf-c made with malloc. */
static int rename_outer(const struct onnx_insert *x, const struct scope *scope, char **name, struct err *e)
{
	int v = *pb_str(*name) ? names_find(x->m->value_names, *name) : -1;
	if (v < 0 || !x->read_as[v])
		return 0;
	for (const struct scope *s = scope; s; s = s->outer)
		if (pb_makes(s->g, *name))
			return 0;
	char *fresh = strdup(x->read_as[v]);
	if (!fresh)
		return nomem(e);
	free(*name);
	*name = fresh;
	return 0;
}

static int rename_in_bodies(const struct onnx_insert *x, Onnx__NodeProto *n, const struct scope *outer, struct err *e);

static int rename_in_body(const struct onnx_insert *x, Onnx__GraphProto *g, const struct scope *outer, struct err *e)
{
	struct scope here = {g, outer, outer ? outer->depth + 1 : 1};
	int rc =
		here.depth > PB_MAX_DEPTH ? err_set(e, ERR_UNSUPPORTED_GRAPH, "graphs are nested deeper than %d", PB_MAX_DEPTH) : 0;
	for (size_t i = 0; i < g->n_node && !rc; i++) {
		for (size_t k = 0; k < g->node[i]->n_input && !rc; k++)
			rc = rename_outer(x, &here, &g->node[i]->input[k], e);
		if (!rc)
			rc = rename_in_bodies(x, g->node[i], &here, e);
	}
	for (size_t i = 0; i < g->n_output && !rc; i++)
		rc = rename_outer(x, &here, &g->output[i]->name, e);
	return rc;
}

static int rename_in_bodies(const struct onnx_insert *x, Onnx__NodeProto *n, const struct scope *outer, struct err *e)
{
	int rc = 0;
	for (size_t a = 0; a < n->n_attribute && !rc; a++) {
		if (n->attribute[a]->g)
			rc = rename_in_body(x, n->attribute[a]->g, outer, e);
		for (size_t k = 0; k < n->attribute[a]->n_graphs && !rc; k++)
			rc = rename_in_body(x, n->attribute[a]->graphs[k], outer, e);
	}
	return rc;
}

/* A copy of a whole node, bodies included, that x frees. */
static Onnx__NodeProto *deep_copy(struct onnx_insert *x, const Onnx__NodeProto *n)
{
	size_t len = onnx__node_proto__get_packed_size(n);
	uint8_t *bytes = malloc(len ? len : 1);
	Onnx__NodeProto *copy = NULL;
	if (bytes) {
		(void)onnx__node_proto__pack(n, bytes);
		copy = onnx__node_proto__unpack(NULL, len, bytes);
	}
	free(bytes);
	if (copy && list_add(&x->copies, copy)) {
		onnx__node_proto__free_unpacked(copy, NULL);
		copy = NULL;
	}
	return copy;
}

static Onnx__NodeProto *with_bodies(struct onnx_insert *x, const Onnx__NodeProto *n, struct err *e)
{
	Onnx__NodeProto *copy = deep_copy(x, n);
	if (!copy) {
		nomem(e);
		return NULL;
	}
	return rename_in_bodies(x, copy, NULL, e) ? NULL : copy;
}

static bool has_bodies(const Onnx__NodeProto *n)
{
	for (size_t a = 0; a < n->n_attribute; a++)
		if (n->attribute[a]->g || n->attribute[a]->n_graphs)
			return true;
	return false;
}

static char **renamed(struct pool *pool, char *const *from, size_t n, const int *values, const char *const *as)
{
	char **to = pool_take(pool, n, sizeof *to);
	for (size_t i = 0; to && i < n; i++)
		to[i] = values[i] >= 0 && as[values[i]] ? (char *)as[values[i]] : from[i];
	return to;
}

/* Node i as it goes into the new model. */
static Onnx__NodeProto *node_again(struct onnx_insert *x, int i, struct err *e)
{
	const struct onnx_node *n = &x->m->nodes[i];
	Onnx__NodeProto *pb = x->m->pb_nodes[i];
	bool reads = false, makes = false, other_name = *pb_str(pb->name) && strcmp(pb->name, n->name) != 0;
	for (int k = 0; k < n->ninputs + n->ncaptured; k++) {
		int v = k < n->ninputs ? n->inputs[k] : n->captured[k - n->ninputs];
		reads = reads || (v >= 0 && x->read_as[v]);
	}
	for (int k = 0; k < n->noutputs; k++)
		makes = makes || (n->outputs[k] >= 0 && x->made_as[n->outputs[k]]);
	if (!reads && !makes && !other_name)
		return pb;
	if (reads && has_bodies(pb))
		pb = with_bodies(x, pb, e);
	Onnx__NodeProto *copy = pb ? pool_take(&x->pool, 1, sizeof *copy) : NULL;
	if (!copy)
		return NULL;
	*copy = *pb;
	copy->name = (char *)n->name; /* an earlier node may have its own */
	copy->input = renamed(&x->pool, pb->input, pb->n_input, n->inputs, x->read_as);
	copy->output = renamed(&x->pool, pb->output, pb->n_output, n->outputs, x->made_as);
	return copy->input && copy->output ? copy : NULL;
}

/* ---- the new model ---- */

static int add_tensors(struct onnx_insert *x, const float *const *replaced, bool share, Onnx__GraphProto *g,
                       struct onnx_submodel *out)
{
	const struct onnx_model *m = x->m;
	g->initializer = pool_take(&x->pool, (size_t)m->nvalues + x->tensors.n, sizeof *g->initializer);
	out->shared = calloc((size_t)m->nvalues + 1, sizeof *out->shared);
	if (!g->initializer || !out->shared)
		return -1;
	g->n_initializer = 0;
	for (int v = 0; v < m->nvalues; v++) {
		/* A Constant node whose numbers change becomes an initializer. */
		if (x->dropped[v] || !m->tensors[v] || !(m->values[v].is_initializer || replaced[v]))
			continue;
		Onnx__TensorProto *t = build_constant(&x->pool, m, v, replaced[v], share ? out->shared : NULL, &out->nshared);
		if (!t)
			return -1;
		g->initializer[g->n_initializer++] = t;
	}
	for (size_t i = 0; i < x->tensors.n; i++)
		g->initializer[g->n_initializer++] = x->tensors.p[i];
	return 0;
}

static int add_io(struct onnx_insert *x, Onnx__GraphProto *g)
{
	const Onnx__GraphProto *from = x->m->pb->graph;
	g->input = pool_take(&x->pool, from->n_input, sizeof *g->input);
	g->output = pool_take(&x->pool, from->n_output + x->outputs.n, sizeof *g->output);
	if (!g->input || !g->output)
		return -1;
	g->n_input = g->n_output = 0;
	for (size_t i = 0; i < from->n_input; i++)
		if (!x->m->values[names_find(x->m->value_names, from->input[i]->name)].is_initializer)
			g->input[g->n_input++] = from->input[i];
	for (size_t i = 0; i < from->n_output; i++)
		g->output[g->n_output++] = from->output[i];
	for (size_t i = 0; i < x->outputs.n; i++)
		g->output[g->n_output++] = x->outputs.p[i];
	return 0;
}

static bool left_out(const struct onnx_insert *x, int node, const float *const *replaced)
{
	int v = x->m->nodes[node].noutputs == 1 ? x->m->nodes[node].outputs[0] : -1;
	return v >= 0 && x->m->tensors[v] && (x->dropped[v] || replaced[v]);
}

static int add_nodes(struct onnx_insert *x, const float *const *replaced, Onnx__GraphProto *g, struct err *e)
{
	size_t n = (size_t)x->m->nnodes;
	/* first[i + 1] is the first to follow node i, plus 1; next[k] the one after inserted node k, plus 1. */
	size_t *first = pool_take(&x->pool, n + 1, sizeof *first), *next = pool_take(&x->pool, x->ninserted, sizeof *next);
	g->node = pool_take(&x->pool, n + x->ninserted, sizeof *g->node);
	if (!first || !next || !g->node)
		return nomem(e);
	g->n_node = 0;
	for (size_t k = x->ninserted; k-- > 0;) {
		next[k] = first[x->inserted[k].at + 1];
		first[x->inserted[k].at + 1] = k + 1;
	}
	for (int i = -1; i < x->m->nnodes; i++) {
		if (i >= 0 && !left_out(x, i, replaced)) {
			Onnx__NodeProto *again = node_again(x, i, e);
			if (!again)
				return e->code ? -1 : nomem(e);
			g->node[g->n_node++] = again;
		}
		for (size_t k = first[i + 1]; k; k = next[k - 1])
			g->node[g->n_node++] = x->inserted[k - 1].pb;
	}
	return 0;
}

/* The default domain has two names. */
static const char *plain_domain(const Onnx__OperatorSetIdProto *o)
{
	const char *domain = pb_str(o->domain);
	return strcmp(domain, "ai.onnx") == 0 ? "" : domain;
}

static int add_opsets(struct onnx_insert *x, Onnx__ModelProto *pb)
{
	Onnx__OperatorSetIdProto **sets = pool_take(&x->pool, pb->n_opset_import + x->opsets.n, sizeof *sets);
	if (!sets)
		return -1;
	for (size_t i = 0; i < pb->n_opset_import; i++)
		sets[i] = pb->opset_import[i];
	for (size_t k = 0; k < x->opsets.n; k++) {
		Onnx__OperatorSetIdProto *o = x->opsets.p[k];
		size_t i = 0;
		while (i < pb->n_opset_import && strcmp(plain_domain(sets[i]), plain_domain(o)) != 0)
			i++;
		if (i == pb->n_opset_import)
			sets[pb->n_opset_import++] = o;
		else if (sets[i]->version < o->version)
			sets[i] = o;
	}
	pb->opset_import = sets;
	return 0;
}

int onnx_insert_build(struct onnx_insert *x, const float *const *replaced, bool share, struct onnx_submodel *out, struct err *e)
{
	enum { IR_WITH_PLAIN_INITIALIZERS = 4 };
	Onnx__ModelProto pb = *x->m->pb;
	Onnx__GraphProto graph = *pb.graph;
	*out = (struct onnx_submodel){.bytes = BUF_INIT};
	e->code = ERR_NONE;
	pb.graph = &graph;
	pb.n_training_info = 0;
	if (pb.ir_version < IR_WITH_PLAIN_INITIALIZERS)
		pb.ir_version = IR_WITH_PLAIN_INITIALIZERS;
	if (x->producer)
		pb.producer_name = (char *)x->producer;
	int rc = add_tensors(x, replaced, share, &graph, out) || add_io(x, &graph) || add_opsets(x, &pb) ? nomem(e) : 0;
	if (!rc)
		rc = add_nodes(x, replaced, &graph, e);
	if (!rc)
		rc = build_pack(&pb, &out->bytes, e);
	if (rc)
		onnx_submodel_fini(out);
	return rc;
}
