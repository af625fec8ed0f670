/* Models of old operator sets (data/opset) compute the same in newer ones: but for the last bit, for ONNX Runtime has other kernels for some sets. */

#include "whole_model.h"

#include "core/base/buf.h"
#include "core/onnx/onnx_opset.h"
#include "core/run/value_types.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err e = ERR_INIT;

static struct onnx_model *raised(const struct onnx_model *m, int64_t to, const struct value_types *types)
{
	struct buf b = BUF_INIT;
	struct onnx_model *n = onnx_opset_raise(m, to, types, &b, &e) == 0 ? onnx_model_parse(b.data, b.len, "raised", &e) : NULL;
	buf_fini(&b);
	if (!n)
		fail_msg("%s", e.msg);
	return n;
}

static void check(const char *name, int64_t to, bool with_types)
{
	char path[200];
	struct whole w;
	size_t n, k;
	(void)snprintf(path, sizeof path, "tests/data/opset/%s.onnx", name);
	whole_open(&w, path, "tests/data/opset/x.npz", 4, 0, 1);
	struct value_types *types = with_types ? value_types_new(w.m, w.ort, &e) : NULL;
	struct onnx_model *m = raised(w.m, to, types);
	float *before = whole_run(&w, w.m, 0, &n), *after = whole_run(&w, m, 0, &k);
	assert_true(onnx_model_opset(m) >= to);
	assert_int_equal(n, k);
	assert_true(n > 0);
	for (size_t i = 0; i < n; i++)
		if (!(fabsf(before[i] - after[i]) <= 1e-6f * fmaxf(1, fabsf(before[i]))))
			fail_msg("%s in set %d: number %zu of %zu is %.9g, was %.9g", name, (int)to, i, n, (double)after[i],
			         (double)before[i]);
	free(before);
	free(after);
	onnx_model_free(m);
	value_types_free(types);
	whole_close(&w);
}

static void old_models_compute_the_same(void **state)
{
	(void)state;
	static const char *const names[] = {"opset7", "opset9", "opset10", "opset11", "opset16"};
	static const int64_t sets[] = {13, 19, 21};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
			check(names[i], sets[k], true);
			check(names[i], sets[k], false);
		}
}

static void what_newer_sets_cannot_say_is_refused_by_name(void **state)
{
	(void)state;
	static const char *const names[][2] = {
		{"refused_batch_norm", "BatchNormalization"}, {"refused_group_norm", "GroupNormalization"}, {"refused_dft", "DFT"}};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[200];
		struct buf b = BUF_INIT;
		(void)snprintf(path, sizeof path, "tests/data/opset/%s.onnx", names[i][0]);
		struct onnx_model *m = onnx_model_open(path, &e);
		assert_non_null(m);
		assert_int_equal(onnx_opset_raise(m, 21, NULL, &b, &e), -1);
		assert_int_equal(e.code, ERR_UNSUPPORTED_GRAPH);
		assert_non_null(strstr(e.msg, names[i][1]));
		onnx_model_free(m);
		buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_models_compute_the_same),
		cmocka_unit_test(what_newer_sets_cannot_say_is_refused_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
