#include "core/run/value_types.h"

#include "core/onnx/onnx_edit.h"
#include "core/run/ort.h"

#include <stdlib.h>
#include <string.h>

bool value_types_is_float(const struct value_types *t, int value)
{
	enum { FLOAT = 1, FLOAT16 = 10, BFLOAT16 = 16 };
	int elem = t->elem_type[value];
	return elem == FLOAT || elem == FLOAT16 || elem == BFLOAT16;
}

void value_types_free(struct value_types *t)
{
	if (!t)
		return;
	free(t->elem_type);
	free(t->rank);
	free(t->shape);
	free(t);
}

static struct value_types *alloc_types(int n)
{
	struct value_types *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->n = n;
	t->elem_type = calloc((size_t)n + 1, sizeof *t->elem_type);
	t->rank = calloc((size_t)n + 1, sizeof *t->rank);
	t->shape = calloc((size_t)n + 1, sizeof *t->shape);
	if (!t->elem_type || !t->rank || !t->shape) {
		value_types_free(t);
		return NULL;
	}
	for (int v = 0; v < n; v++)
		t->rank[v] = -1;
	return t;
}

static void note(struct value_types *t, int value, int elem_type, int rank, const int64_t *shape)
{
	t->elem_type[value] = elem_type;
	t->rank[value] = rank;
	for (int i = 0; i < rank; i++)
		t->shape[value][i] = shape[i];
}

/* Constants and inputs say it themselves. */
static void note_given(struct value_types *t, const struct onnx_model *m)
{
	struct onnx_const c;
	for (int v = 0; v < t->n; v++)
		if (onnx_model_const(m, v, &c))
			note(t, v, c.elem_type, c.rank, c.shape);
	for (size_t i = 0; i < onnx_model_inputs(m); i++) {
		const struct onnx_io *io = onnx_model_input(m, i);
		note(t, onnx_model_find(m, io->name), io->elem_type, io->rank, io->shape);
	}
}

struct question {
	int *nodes, *wanted;
	size_t nnodes, nwanted;
	struct onnx_feed *feeds;
	const float **replaced; /* nothing is */
};

/* The whole graph, with everything that is not known yet as an output. */
static int ask_for_all(struct question *q, const struct value_types *t, const struct onnx_model *m, struct onnx_submodel *model,
                       struct err *e)
{
	size_t ninputs = onnx_model_inputs(m);
	q->nodes = calloc((size_t)onnx_model_nodes(m) + 1, sizeof *q->nodes);
	q->wanted = calloc((size_t)t->n + 1, sizeof *q->wanted);
	q->feeds = calloc(ninputs + 1, sizeof *q->feeds);
	q->replaced = calloc((size_t)t->n + 1, sizeof(const float *));
	if (!q->nodes || !q->wanted || !q->feeds || !q->replaced)
		return err_nomem(e, "the types of values");
	for (int i = 0; i < onnx_model_nodes(m); i++)
		q->nodes[q->nnodes++] = i;
	for (int v = 0; v < t->n; v++)
		if (onnx_model_value(m, v)->producer >= 0 && !t->elem_type[v])
			q->wanted[q->nwanted++] = v;
	for (size_t i = 0; i < ninputs; i++) {
		const struct onnx_io *io = onnx_model_input(m, i);
		q->feeds[i] =
			(struct onnx_feed){.value = onnx_model_find(m, io->name), .elem_type = io->elem_type, .rank = io->rank};
		memcpy(q->feeds[i].shape, io->shape, sizeof io->shape);
	}
	return onnx_submodel_build(m, q->nodes, q->nnodes, q->feeds, ninputs, q->wanted, q->nwanted, q->replaced, model, e);
}

static int infer(struct value_types *t, const struct onnx_model *m, struct ort *o, struct err *e)
{
	struct question q = {0};
	struct onnx_submodel model = {0};
	struct ort_session *s = NULL;
	struct ort_info info;
	int rc = ask_for_all(&q, t, m, &model, e);
	if (!rc && q.nwanted)
		rc = (s = ort_session_new_with(o, &model, NULL, true, e)) ? 0 : -1;
	for (size_t i = 0; i < q.nwanted && !rc; i++) {
		rc = ort_output_info(s, i, &info, e);
		if (!rc)
			note(t, q.wanted[i], info.elem_type, info.rank, info.shape);
	}
	ort_session_free(s);
	onnx_submodel_fini(&model);
	free(q.nodes);
	free(q.wanted);
	free(q.feeds);
	free((void *)q.replaced);
	return rc;
}

struct value_types *value_types_new(const struct onnx_model *m, struct ort *o, struct err *e)
{
	struct value_types *t = alloc_types(onnx_model_values(m));
	if (!t) {
		err_nomem(e, "the types of values");
		return NULL;
	}
	note_given(t, m);
	if (infer(t, m, o, e)) {
		value_types_free(t);
		return NULL;
	}
	return t;
}
