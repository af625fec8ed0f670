#include "whole_model.h"

#include "core/onnx/onnx_insert.h"
#include "core/run/forward.h"
#include "core/workflow/inspect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FLOAT = 1 };

static struct err e = ERR_INIT;

static void must(bool ok)
{
	if (!ok)
		fail_msg("%s", e.msg);
}

void whole_open(struct whole *w, const char *model, const char *data, int64_t batch, int64_t num_batches, int threads)
{
	*w = (struct whole){0};
	must((w->m = onnx_model_open(model, &e)));
	must((w->z = arrays_open(data, &e)));
	must(!inspect_calib_inputs(w->m, &w->inputs, &w->ninputs, &e));
	w->c = calib_new(w->z, w->inputs, w->ninputs, batch, num_batches, &e);
	if (!w->c)
		w->c = calib_new(w->z, w->inputs, w->ninputs, 0, num_batches, &e);
	must(w->c);
	must((w->ort = ort_open(threads, &e)));
}

void whole_close(struct whole *w)
{
	ort_close(w->ort);
	calib_free(w->c);
	free(w->inputs);
	arrays_free(w->z);
	onnx_model_free(w->m);
}

float *whole_floats(struct ort *ort, struct ort_value *const *out, size_t nout, size_t *n)
{
	float *all = NULL;
	*n = 0;
	for (size_t i = 0; i < nout; i++) {
		struct ort_info info;
		must(!ort_value_info(ort, out[i], &info, &e));
		if (info.sequence || info.elem_type != FLOAT)
			continue;
		all = realloc(all, (*n + (size_t)info.count + 1) * sizeof *all);
		memcpy(all + *n, ort_value_data(ort, out[i]), (size_t)info.count * sizeof *all);
		*n += (size_t)info.count;
	}
	return all;
}

float *whole_run(struct whole *w, const struct onnx_model *m, int64_t batch, size_t *n)
{
	size_t nout = onnx_model_outputs(m);
	const float **replaced = calloc((size_t)onnx_model_values(m) + 1, sizeof *replaced);
	struct ort_value **out = calloc(nout + 1, sizeof(struct ort_value *));
	struct onnx_insert *x = onnx_insert_new(m, &e);
	struct onnx_submodel bytes;
	must(x && !onnx_insert_build(x, replaced, true, &bytes, &e));
	onnx_insert_free(x);
	struct forward *f = forward_new(w->ort, m, NULL, &bytes, NULL, true, &e);
	must(f && !forward_run(f, w->c, batch, out, &e));
	float *all = whole_floats(w->ort, out, nout, n);
	forward_done(f, out);
	forward_free(f);
	free(out);
	free((void *)replaced);
	return all;
}
