#include "core/search/piece.h"

#include "core/run/slices.h"

#include <stdlib.h>

struct piece {
	const struct feed *f;
	const struct plan_part *part;
	struct onnx_submodel model; /* the session reads its shared weights */
	struct ort_session *session;
	int64_t rows; /* slices_rows() */
	bool is_sliced;
	const char **in_names, **out_names;
	struct ort_value **in, **out;
};

static int build(struct piece *p, const float *const *replaced, struct err *e)
{
	const struct plan_part *s = p->part;
	struct onnx_feed *feeds = calloc(s->nfeeds + 1, sizeof *feeds);
	int *makes = calloc(s->nmakes + 1, sizeof *makes);
	int rc = feeds && makes ? 0 : err_nomem(e, "a piece of the graph");
	for (size_t i = 0; i < s->nfeeds && !rc; i++) {
		p->in_names[i] = feed_name(p->f, s->feeds[i]);
		rc = feed_describe(p->f, s->feeds[i], &feeds[i], e);
		if (p->is_sliced)
			feeds[i].shape[0] = -1;
	}
	for (size_t i = 0; i < s->nmakes; i++)
		p->out_names[i] = feed_name(p->f, s->makes[i]);
	for (size_t i = 0; makes && i < s->nmakes; i++)
		makes[i] = feed_value(p->f, s->makes[i]);
	if (!rc)
		rc = onnx_submodel_build(p->f->m, s->nodes, s->nnodes, feeds, s->nfeeds, makes, s->nmakes, replaced, &p->model, e);
	free(feeds);
	free(makes);
	return rc;
}

struct piece *piece_new(const struct feed *f, const struct plan_part *part, const float *const *replaced, struct err *e)
{
	struct piece *p = calloc(1, sizeof *p);
	if (!p) {
		err_nomem(e, "a piece of the graph");
		return NULL;
	}
	p->f = f;
	p->part = part;
	p->rows = slices_rows(f->m, f->types, part->nodes, part->nnodes, true);
	p->is_sliced = slices_count(p->rows, calib_rows(f->calib, 0)) > 1;
	p->in_names = calloc(part->nfeeds + 1, sizeof *p->in_names);
	p->out_names = calloc(part->nmakes + 1, sizeof *p->out_names);
	p->in = calloc(part->nfeeds + 1, sizeof(struct ort_value *));
	p->out = calloc(part->nmakes + 1, sizeof(struct ort_value *));
	bool ok = p->in_names && p->out_names && p->in && p->out;
	if (!ok)
		err_nomem(e, "a piece of the graph");
	if (ok && !build(p, replaced, e))
		p->session = ort_session_new_with(f->ort, &p->model, NULL, part->pointwise ? ORT_FUSED : ORT_BLOCKED, e);
	if (!p->session) {
		piece_free(p);
		return NULL;
	}
	buf_fini(&p->model.bytes); /* the session has its own copy */
	return p;
}

void piece_free(struct piece *p)
{
	if (!p)
		return;
	ort_session_free(p->session);
	onnx_submodel_fini(&p->model);
	free((void *)p->in_names);
	free((void *)p->out_names);
	free(p->in);
	free(p->out);
	free(p);
}

int64_t piece_at_once(const struct piece *p, int64_t samples)
{
	return slices_largest(p->rows, samples);
}

int piece_run(struct piece *p, int64_t batch, struct err *e)
{
	const struct plan_part *s = p->part;
	size_t fed = 0;
	int rc = 0;
	for (; fed < s->nfeeds && !rc; fed++) {
		p->in[fed] = feed_get(p->f, s->feeds[fed], batch, e);
		rc = p->in[fed] ? 0 : -1;
	}
	if (!rc)
		rc = slices_run(p->f->ort, p->session, p->rows, p->in_names, p->in, s->nfeeds, p->out_names, p->out, s->nmakes, e);
	bool ran = !rc;
	for (size_t i = 0; ran && i < s->nmakes; i++) {
		if (!rc)
			rc = activations_put_take(p->f->acts, s->makes[i], batch, p->out[i], e);
		else
			ort_value_free(p->f->ort, p->out[i]);
	}
	for (size_t i = 0; i < fed; i++)
		feed_done(p->f, s->feeds[i], batch, p->in[i]);
	return rc;
}
