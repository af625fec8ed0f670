#include "core/run/forward.h"

#include "core/run/slices.h"

#include <stdlib.h>

struct forward {
	struct ort *ort;
	const struct onnx_model *m;
	struct onnx_submodel model; /* the session reads its shared weights */
	struct ort_session *session;
	int64_t rows; /* slices_rows() */
	size_t nin, nout;
	const char **in_names, **out_names;
	struct ort_value **in;
};

static int name_all(struct forward *f, struct err *e)
{
	f->nin = onnx_model_inputs(f->m);
	f->nout = onnx_model_outputs(f->m);
	f->in_names = calloc(f->nin + 1, sizeof *f->in_names);
	f->out_names = calloc(f->nout + 1, sizeof *f->out_names);
	f->in = calloc(f->nin + 1, sizeof(struct ort_value *));
	if (!f->in_names || !f->out_names || !f->in)
		return err_nomem(e, "a model to run");
	for (size_t i = 0; i < f->nin; i++)
		f->in_names[i] = onnx_model_input(f->m, i)->name;
	for (size_t i = 0; i < f->nout; i++)
		f->out_names[i] = onnx_model_output(f->m, i)->name;
	return 0;
}

struct forward *forward_new(struct ort *ort, const struct onnx_model *m, const struct value_types *types,
                            struct onnx_submodel *serialized, const struct ort_ops *ops, bool plain, struct err *e)
{
	struct forward *f = calloc(1, sizeof *f);
	if (!f) {
		onnx_submodel_fini(serialized);
		err_nomem(e, "a model to run");
		return NULL;
	}
	f->ort = ort;
	f->m = m;
	f->rows = slices_rows(m, types, NULL, 0, plain);
	f->model = *serialized;
	*serialized = (struct onnx_submodel){.bytes = BUF_INIT};
	if (!name_all(f, e))
		f->session = ort_session_new_with(ort, &f->model, ops, plain ? ORT_AS_IT_IS : ORT_BLOCKED, e);
	if (!f->session) {
		forward_free(f);
		return NULL;
	}
	buf_fini(&f->model.bytes); /* the session has its own copy */
	return f;
}

void forward_free(struct forward *f)
{
	if (!f)
		return;
	ort_session_free(f->session);
	onnx_submodel_fini(&f->model);
	free((void *)f->in_names);
	free((void *)f->out_names);
	free(f->in);
	free(f);
}

static struct ort_value *read_input(struct forward *f, struct calib *c, size_t i, int64_t batch, struct err *e)
{
	int64_t shape[ARRAY_MAX_RANK];
	int rank = calib_shape(c, i, batch, shape);
	struct ort_value *v = ort_tensor_new(f->ort, onnx_model_input(f->m, i)->elem_type, rank, shape, e);
	if (v && calib_read(c, i, batch, ort_value_data(f->ort, v), e)) {
		ort_value_free(f->ort, v);
		v = NULL;
	}
	return v;
}

int forward_run(struct forward *f, struct calib *c, int64_t batch, struct ort_value **out, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < f->nin; i++)
		f->in[i] = NULL;
	for (size_t i = 0; i < f->nin && !rc; i++) {
		f->in[i] = read_input(f, c, i, batch, e);
		rc = f->in[i] ? 0 : -1;
	}
	if (!rc)
		rc = slices_run(f->ort, f->session, f->rows, f->in_names, f->in, f->nin, f->out_names, out, f->nout, e);
	for (size_t i = 0; i < f->nin; i++)
		ort_value_free(f->ort, f->in[i]);
	return rc;
}

void forward_done(struct forward *f, struct ort_value **out)
{
	for (size_t i = 0; i < f->nout; i++) {
		ort_value_free(f->ort, out[i]);
		out[i] = NULL;
	}
}
