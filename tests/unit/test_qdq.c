/* Models with QuantizeLinear and DequantizeLinear: ONNX Runtime runs them, and they compute what the reference's simulation does. */

#include "reference_run.h"

#include "core/base/buf.h"
#include "core/encodings/qdq.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err e = ERR_INIT;

static struct onnx_model *exported(const struct reference_run *t, struct qdq_options o, size_t *bytes)
{
	struct buf b = BUF_INIT;
	if (qdq_write(t->whole.m, t->types, &t->x, o, &b, &e) != 0)
		fail_msg("%s", e.msg);
	struct onnx_model *m = onnx_model_parse(b.data, b.len, "QDQ", &e);
	if (!m)
		fail_msg("%s", e.msg);
	*bytes = b.len;
	buf_fini(&b);
	return m;
}

/* The outputs for the first batch. */
static float *run(struct reference_run *t, struct qdq_options o, size_t *n, size_t *bytes)
{
	struct onnx_model *m = exported(t, o, bytes);
	float *out = whole_run(&t->whole, m, 0, n);
	onnx_model_free(m);
	return out;
}

static double largest_difference(const float *a, const struct json *b, size_t n)
{
	double most = 0;
	assert_int_equal(json_size(b), n);
	for (size_t i = 0; i < n; i++)
		most = fmax(most, fabs((double)a[i] - json_number(json_at(b, i))));
	return most;
}

/* The reference's simulation rounds halves up, ONNX to even; in 16 bits it loses some before it rounds; its LPBQ weights are not on the grid that it exports; and
 * float16 tensors have no nodes. Nothing else may differ. */
static double allowed(const char *variant)
{
	return strcmp(variant, "lpbq") == 0            ? 0.25
	       : strcmp(variant, "fp16act") == 0       ? 2e-3
	       : strcmp(variant, "htp_v81_w4a16") == 0 ? 2e-5
	                                               : 1e-7;
}

static void they_compute_what_the_simulation_does(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_VARIANTS; i++) {
		struct reference_run t;
		size_t n, k, plain_bytes, integer_bytes;
		reference_run_tiny(&t, tiny_variants[i]);
		float *plain = run(&t, (struct qdq_options){false, false}, &n, &plain_bytes);
		float *integer = run(&t, (struct qdq_options){true, false}, &k, &integer_bytes);
		double most = largest_difference(plain, json_get(json_get(t.tiny, "outputs"), "sim_0"), n);
		if (!(most <= allowed(tiny_variants[i])))
			fail_msg("%s: the outputs differ by %g", tiny_variants[i], most);
		assert_int_equal(n, k);
		assert_memory_equal(plain, integer, n * sizeof *plain);
		assert_true(integer_bytes < plain_bytes);
		free(plain);
		free(integer);
		reference_run_close(&t);
	}
}

static void int32_biases_change_little(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_VARIANTS; i++) {
		struct reference_run t;
		size_t n, bytes;
		reference_run_tiny(&t, tiny_variants[i]);
		float *out = run(&t, (struct qdq_options){true, true}, &n, &bytes);
		double most = largest_difference(out, json_get(json_get(t.tiny, "outputs"), "sim_0"), n);
		if (!(most <= (strcmp(tiny_variants[i], "lpbq") == 0 ? 0.25 : 0.06)))
			fail_msg("%s: the outputs differ by %g", tiny_variants[i], most);
		free(out);
		reference_run_close(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_compute_what_the_simulation_does),
		cmocka_unit_test(int32_biases_change_little),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
