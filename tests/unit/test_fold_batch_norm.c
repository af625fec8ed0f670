/* Folding: what must be folded is, what must not stays, and the model computes the same. */

#include "core/onnx/fold_batch_norm.h"
#include "shared.h"
#include "whole_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct err e = ERR_INIT;

static int batch_norms(const struct onnx_model *m, const char *prefix)
{
	int n = 0;
	for (int i = 0; i < onnx_model_nodes(m); i++)
		n += strcmp(onnx_model_node(m, i)->op_type, "BatchNormalization") == 0 &&
		     strncmp(onnx_model_node(m, i)->name, prefix, strlen(prefix)) == 0;
	return n;
}

/* Folds w's model; checks that it computes the same, to within rounding; returns the model and how many are gone. */
static struct onnx_model *folded(struct whole *w, size_t expected, struct fold_list *folds)
{
	size_t na, nb;
	struct onnx_model *m = fold_batch_norms(w->m, folds, &e);
	if (!m)
		fail_msg("%s", e.msg);
	assert_int_equal(folds->n, expected);
	assert_int_equal(batch_norms(w->m, "") - batch_norms(m, ""), folds->n);
	float *a = whole_run(w, w->m, 0, &na), *b = whole_run(w, m, 0, &nb);
	double largest = 0, off = 0;
	assert_int_equal(na, nb);
	for (size_t i = 0; i < na; i++) {
		largest = fmax(largest, fabs((double)a[i]));
		off = fmax(off, fabs((double)a[i] - (double)b[i]));
	}
	assert_true(largest > 0);
	if (off > 2e-5 * largest)
		fail_msg("outputs up to %g differ by %g", largest, off);
	free(a);
	free(b);
	return m;
}

static void folds_where_it_is_exact(void **state)
{
	(void)state;
	struct whole w;
	struct fold_list folds;
	whole_open(&w, "tests/data/fold/model.onnx", "tests/data/fold/data.npz", 6, 0, 1);
	struct onnx_model *m = folded(&w, 8, &folds);
	assert_int_equal(batch_norms(m, "keep_"), 4);
	assert_int_equal(batch_norms(m, "fold_"), 0);
	for (size_t i = 0; i < folds.n; i++) {
		const struct fold *f = &folds.p[i];
		assert_int_equal(f->before, strncmp(f->batch_norm, "fold_before", 11) == 0);
		assert_true(onnx_model_find(m, f->weight) >= 0 && onnx_model_find(m, f->bias) >= 0);
		if (strcmp(f->batch_norm, "fold_conv") == 0)
			assert_string_equal(f->bias, "conv1.bias");
		if (strcmp(f->batch_norm, "fold_grouped") == 0)
			assert_string_equal(f->bias, "b2");
		if (strcmp(f->batch_norm, "fold_transpose") == 0)
			assert_string_equal(f->bias, "transpose.bias");
	}
	assert_true(onnx_model_find(m, "b3") >= 0);            /* still read by the Add */
	assert_true(onnx_model_find(m, "fold_conv_gain") < 0); /* nobody's any more */
	assert_true(onnx_model_find(m, "keep_alone_gain") >= 0);
	fold_list_fini(&folds);
	onnx_model_free(m);
	whole_close(&w);
}

static void real_models_compute_the_same(void **state)
{
	(void)state;
	static const struct {
		const char *model, *data;
		size_t folds;
	} real[] = {
		{"models/digits_cnn/model_bn.onnx", "models/digits_cnn/calib.npz", 5},
		{"models/mnist_resnet/model_bn.onnx", "models/mnist_resnet/calib.npz", 11},
		{"models/ppocr_cls/model.onnx", "models/ppocr_cls/calib.npz", 35},
		{"models/doc_orientation/model.onnx", "models/doc_orientation/calib.npz", 27},
	};
	for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
		char model[512], data[512];
		struct whole w;
		struct fold_list folds;
		if (access(shared_path(real[i].model, model, sizeof model), R_OK))
			skip();
		whole_open(&w, model, shared_path(real[i].data, data, sizeof data), 8, 1, 1);
		onnx_model_free(folded(&w, real[i].folds, &folds));
		fold_list_fini(&folds);
		whole_close(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folds_where_it_is_exact),
		cmocka_unit_test(real_models_compute_the_same),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
