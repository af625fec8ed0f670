/* A batch in slices gives the bits of the batch at once; and which graphs can be sliced. */

#include "core/onnx/onnx_edit.h"
#include "core/run/slices.h"
#include "core/run/value_types.h"
#include "whole_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH = 33, FLOAT = 1 };

static struct err e = ERR_INIT;

static void must(bool ok)
{
	if (!ok)
		fail_msg("%s", e.msg);
}

/* The nodes before the first one of a kind, and what that reads. */
struct front {
	int nodes[64];
	size_t n;
	int value;
};

static struct front front_of(const struct onnx_model *m, const char *op_type)
{
	struct front f = {.value = -1};
	for (int i = 0; i < onnx_model_nodes(m) && f.value < 0; i++) {
		const struct onnx_node *n = onnx_model_node(m, i);
		if (strcmp(n->op_type, op_type) == 0)
			f.value = n->inputs[0];
		else if (!n->is_static)
			f.nodes[f.n++] = i;
	}
	assert_true(f.value >= 0 && f.n < 64);
	return f;
}

static struct ort_session *session_of(struct whole *w, const struct front *f, struct onnx_submodel *model)
{
	const struct onnx_io *io = onnx_model_input(w->m, 0);
	struct onnx_feed feed = {.value = onnx_model_find(w->m, io->name), .elem_type = io->elem_type, .rank = io->rank};
	memcpy(feed.shape, io->shape, sizeof feed.shape);
	must(!onnx_submodel_build(w->m, f->nodes, f->n, &feed, 1, &f->value, 1, NULL, model, &e));
	struct ort_session *s = ort_session_new(w->ort, model, &e);
	must(s);
	return s;
}

static void slices_give_the_same_bits(void **unused)
{
	(void)unused;
	struct whole w;
	struct onnx_submodel model = {.bytes = BUF_INIT};
	struct ort_info info, whole;
	int64_t shape[ARRAY_MAX_RANK];
	whole_open(&w, "tests/data/digits/model.onnx", "tests/data/digits/calib.npz", BATCH, 1, 2);
	struct front f = front_of(w.m, "Gemm");
	struct ort_session *s = session_of(&w, &f, &model);
	const char *in_name = onnx_model_input(w.m, 0)->name, *out_name = onnx_model_value(w.m, f.value)->name;
	int rank = calib_shape(w.c, 0, 0, shape);
	struct ort_value *in = ort_tensor_new(w.ort, FLOAT, rank, shape, &e), *at_once, *sliced;
	must(in && !calib_read(w.c, 0, 0, ort_value_data(w.ort, in), &e));
	must(!ort_run(s, &in_name, &in, 1, &out_name, &at_once, 1, &e));
	must(!ort_value_info(w.ort, at_once, &whole, &e));
	assert_int_equal(whole.shape[0], BATCH);
	for (int64_t rows = 4; rows < BATCH; rows++) {
		must(!slices_run(w.ort, s, rows, &in_name, &in, 1, &out_name, &sliced, 1, &e));
		must(!ort_value_info(w.ort, sliced, &info, &e));
		assert_int_equal(info.rank, whole.rank);
		assert_memory_equal(info.shape, whole.shape, (size_t)whole.rank * sizeof *whole.shape);
		assert_memory_equal(ort_value_data(w.ort, sliced), ort_value_data(w.ort, at_once), whole.bytes);
		ort_value_free(w.ort, sliced);
	}
	ort_value_free(w.ort, at_once);
	ort_value_free(w.ort, in);
	ort_session_free(s);
	onnx_submodel_fini(&model);
	whole_close(&w);
}

static void slices_are_even_and_never_of_one_sample(void **unused)
{
	(void)unused;
	assert_int_equal(slices_count(0, 1000), 1);
	assert_int_equal(slices_count(8, 8), 1);
	assert_int_equal(slices_count(8, 9), 2);
	assert_int_equal(slices_count(11, 32), 3);
	for (int64_t rows = 4; rows < 40; rows++)
		for (int64_t samples = 2; samples < 200; samples++)
			assert_true(samples / slices_count(rows, samples) >= 2);
}

/* The rows of a slice of a model, exact or not. */
static int64_t rows_of(const char *name, bool exact)
{
	char path[200], data[200];
	struct whole w;
	(void)snprintf(path, sizeof path, "tests/data/%s.onnx", name);
	(void)snprintf(data, sizeof data, "tests/data/%s.npz", strcmp(name, "digits/model") == 0 ? "digits/calib" : name);
	whole_open(&w, path, data, 0, 1, 1);
	struct value_types *types = value_types_new(w.m, w.ort, &e);
	must(types);
	int64_t rows = slices_rows(w.m, types, NULL, 0, exact);
	assert_int_equal(slices_rows(w.m, NULL, NULL, 0, exact), 0);
	value_types_free(types);
	whole_close(&w);
	return rows;
}

static void only_what_keeps_samples_apart_is_sliced(void **unused)
{
	(void)unused;
	struct whole w;
	whole_open(&w, "tests/data/digits/model.onnx", "tests/data/digits/calib.npz", 0, 1, 1);
	struct value_types *types = value_types_new(w.m, w.ort, &e);
	struct front f = front_of(w.m, "Gemm");
	must(types);
	assert_true(slices_rows(w.m, types, f.nodes, f.n, true) > 0);
	value_types_free(types);
	whole_close(&w);
	assert_true(rows_of("digits/model", false) > 0);
	assert_int_equal(rows_of("digits/model", true), 0); /* its Gemm has a row for each sample */
	static const char *const whole[] = {
		"zoo/pooling", /* Resize is not among the known */
		"zoo/scan",           "zoo/fixed_batch_4",   "zoo/question_mark_dims",   "zoo/gemm_trans_a",
		"zoo/matmul_dynamic", "zoo/rejects_batch_1", "zoo/initializer_is_output"};
	static const char *const apart[] = {"zoo/residual", "zoo/unequal_branches", "zoo/shared_at_one_depth",
	                                    "zoo/conv_depthwise"};
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		assert_int_equal(rows_of(whole[i], false), 0);
	for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
		assert_true(rows_of(apart[i], true) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_give_the_same_bits),
		cmocka_unit_test(slices_are_even_and_never_of_one_sample),
		cmocka_unit_test(only_what_keeps_samples_apart_is_sliced),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
