#include "npz_file.h"

#include "core/base/err.h"
#include "core/data/calib.h"
#include "core/data/arrays.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* An array of the type that numpy calls descr, (rows, row), counting up from 0; a file with one or two of them. */
static void add_array(struct buf *npy, const char *descr, int rows, int row, const void *data, size_t len)
{
	char dict[128];
	(void)snprintf(dict, sizeof dict, "{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d), }", descr, rows, row);
	npz_file_npy(npy, dict, data, len);
}

static struct arrays *file_of(const char *a, struct buf *x, const char *b, struct buf *y)
{
	struct buf zip = BUF_INIT;
	struct err e = ERR_INIT;
	const struct npz_file_member members[] = {
		{.name = a, .bytes = x->data, .len = x->len},
		{.name = b, .bytes = y ? y->data : NULL, .len = y ? y->len : 0},
	};
	npz_file_zip(&zip, members, y ? 2 : 1);
	struct arrays *z = npz_file_open(&zip, &e);
	if (!z)
		fail_msg("%s", e.msg);
	buf_fini(x);
	if (y)
		buf_fini(y);
	return z;
}

static struct arrays *file_of_one(const char *descr, int rows, int row, const void *data, size_t len)
{
	struct buf npy = BUF_INIT;
	add_array(&npy, descr, rows, row, data, len);
	return file_of("x.npy", &npy, NULL, NULL);
}

/* "x", float32, 0 1 2 …, two a row. */
static struct arrays *counting(int rows)
{
	float data[200];
	for (int i = 0; i < 2 * rows; i++)
		data[i] = (float)i;
	return file_of_one("<f4", rows, 2, data, (size_t)rows * 2 * sizeof *data);
}

static const struct calib_input float_input = {.name = "x", .type = ARRAY_F32, .rank = 2, .shape = {-1, 2}};

static struct calib *made(struct arrays *z, const struct calib_input *in, int64_t batch_size, int64_t num_batches)
{
	struct err e = ERR_INIT;
	struct calib *c = calib_new(z, in, 1, batch_size, num_batches, &e);
	if (!c)
		fail_msg("%s", e.msg);
	return c;
}

static const char *refused(struct arrays *z, const struct calib_input *in, size_t n, int64_t batch_size, enum err_code code)
{
	static struct err e;
	e = (struct err)ERR_INIT;
	assert_null(calib_new(z, in, n, batch_size, 0, &e));
	assert_int_equal(e.code, code);
	return e.msg;
}

static bool says(const char *message, const char *what)
{
	if (!strstr(message, what))
		print_error("the message is: %s\n", message);
	return strstr(message, what) != NULL;
}

/* ---- batches ---- */

static void the_last_batch_may_be_shorter(void **state)
{
	(void)state;
	struct arrays *z = counting(7);
	struct calib *c = made(z, &float_input, 3, 0);
	int64_t shape[ARRAY_MAX_RANK];
	float data[6];
	struct err e = ERR_INIT;
	assert_int_equal(calib_samples(c), 7);
	assert_int_equal(calib_samples_used(c), 7);
	assert_int_equal(calib_batch_size(c), 3);
	assert_int_equal(calib_batches(c), 3);
	assert_int_equal(calib_rows(c, 0), 3);
	assert_int_equal(calib_rows(c, 2), 1);
	assert_int_equal(calib_bytes(c, 0, 0), 24);
	assert_int_equal(calib_bytes(c, 0, 2), 8);
	assert_int_equal(calib_shape(c, 0, 2, shape), 2);
	assert_int_equal(shape[0], 1);
	assert_int_equal(shape[1], 2);
	assert_int_equal(calib_read(c, 0, 1, data, &e), 0);
	for (int i = 0; i < 6; i++)
		assert_true(data[i] == (float)(6 + i));
	assert_int_equal(calib_read(c, 0, 2, data, &e), 0);
	assert_true(data[0] == 12 && data[1] == 13);
	calib_free(c);
	arrays_free(z);
}

static void batches_are_of_32_where_nobody_says_otherwise(void **state)
{
	(void)state;
	struct arrays *z = counting(70);
	struct calib *c = made(z, &float_input, 0, 0);
	assert_int_equal(calib_batch_size(c), 32);
	assert_int_equal(calib_batches(c), 3);
	assert_int_equal(calib_rows(c, 2), 6);
	calib_free(c);
	arrays_free(z);
}

static void num_batches_limits_what_is_used(void **state)
{
	(void)state;
	struct arrays *z = counting(7);
	struct calib *c = made(z, &float_input, 3, 2);
	assert_int_equal(calib_samples(c), 7);
	assert_int_equal(calib_samples_used(c), 6);
	assert_int_equal(calib_batches(c), 2);
	calib_free(c);
	c = made(z, &float_input, 3, 1000000000);
	assert_int_equal(calib_samples_used(c), 7);
	calib_free(c);
	arrays_free(z);
}

static void a_models_fixed_batch_rules(void **state)
{
	(void)state;
	struct arrays *z = counting(7);
	struct calib_input in = float_input;
	in.shape[0] = 3;
	struct calib *c = made(z, &in, 0, 0);
	assert_int_equal(calib_batch_size(c), 3);
	assert_int_equal(calib_batches(c), 2);
	assert_int_equal(calib_samples_used(c), 6);
	calib_free(c);
	calib_free(made(z, &in, 3, 0));
	assert_true(says(refused(z, &in, 1, 4, ERR_BAD_PARAM), "batches of 3"));
	in.shape[0] = 8;
	assert_true(says(refused(z, &in, 1, 0, ERR_CALIBRATION), "there are 7 samples"));
	arrays_free(z);
}

/* ---- matching ---- */

static void one_array_feeds_one_input_whatever_its_name(void **state)
{
	(void)state;
	struct arrays *z = counting(2);
	struct calib_input in = float_input;
	in.name = "another name";
	calib_free(made(z, &in, 0, 0));
	arrays_free(z);
}

static void arrays_are_found_by_name_and_others_ignored(void **state)
{
	(void)state;
	struct buf x = BUF_INIT, y = BUF_INIT;
	struct err e = ERR_INIT;
	float got[2];
	add_array(&x, "<f4", 1, 2, (const float[]){1, 2}, 8);
	add_array(&y, "|S3", 2, 1, "catdog", 6);
	struct arrays *z = file_of("x.npy", &x, "label.npy", &y);
	struct calib *c = made(z, &float_input, 0, 0);
	assert_int_equal(calib_read(c, 0, 0, got, &e), 0);
	assert_true(got[0] == 1 && got[1] == 2);
	calib_free(c);
	struct calib_input in = float_input;
	in.name = "X";
	assert_true(says(refused(z, &in, 1, 0, ERR_CALIBRATION), "(there is \"x\", \"label\")"));
	arrays_free(z);
}

static void every_input_that_does_not_fit_is_named(void **state)
{
	(void)state;
	struct buf x = BUF_INIT, y = BUF_INIT;
	add_array(&x, "<f4", 1, 2, (const float[]){1, 2}, 8);
	add_array(&y, "<f4", 1, 1, (const float[]){1}, 4);
	struct arrays *z = file_of("a.npy", &x, "b.npy", &y);
	const struct calib_input in[] = {
		{.name = "a", .type = ARRAY_F32, .rank = 3, .shape = {-1, 2, -1}},
		{.name = "b", .type = ARRAY_I64, .rank = 2, .shape = {-1, -1}},
		{.name = "c", .type = ARRAY_F32, .rank = -1},
	};
	const char *message = refused(z, in, 3, 0, ERR_CALIBRATION);
	assert_true(says(message, "\"a\": expected (?, 2, ?), the array is (1, 2)"));
	assert_true(says(message, "\"b\": expected int64, the array is float32"));
	assert_true(says(message, "\"c\": no array"));
	arrays_free(z);
}

static void fixed_dimensions_must_be_met(void **state)
{
	(void)state;
	struct arrays *z = counting(2);
	struct calib_input in = float_input;
	in.shape[1] = 3;
	assert_true(says(refused(z, &in, 1, 0, ERR_CALIBRATION), "expected (?, 3), the array is (2, 2)"));
	in.shape[1] = -1;
	calib_free(made(z, &in, 0, 0));
	in.rank = -1;
	calib_free(made(z, &in, 0, 0));
	in.rank = 0;
	assert_true(says(refused(z, &in, 1, 0, ERR_CALIBRATION), "without a batch axis"));
	arrays_free(z);
}

static void inputs_must_have_equally_many_samples(void **state)
{
	(void)state;
	struct buf x = BUF_INIT, y = BUF_INIT;
	add_array(&x, "<f4", 2, 1, (const float[]){1, 2}, 8);
	add_array(&y, "<f4", 1, 1, (const float[]){1}, 4);
	struct arrays *z = file_of("a.npy", &x, "b.npy", &y);
	const struct calib_input in[] = {{.name = "a", .type = ARRAY_F32, .rank = -1}, {.name = "b", .type = ARRAY_F32, .rank = -1}};
	assert_true(says(refused(z, in, 2, 0, ERR_CALIBRATION), "\"a\" has 2 samples and \"b\" 1"));
	arrays_free(z);
}

static void no_samples_are_refused(void **state)
{
	(void)state;
	struct arrays *z = counting(0);
	assert_true(says(refused(z, &float_input, 1, 0, ERR_CALIBRATION), "no samples"));
	arrays_free(z);
}

static void other_types_do_not_feed_anything(void **state)
{
	(void)state;
	struct arrays *z = file_of_one("|S4", 1, 2, "catsdogs", 8);
	assert_true(says(refused(z, &float_input, 1, 0, ERR_CALIBRATION), "expected float32, the array is |S4"));
	arrays_free(z);
	z = file_of_one("|b1", 1, 2, "\0\1", 2);
	assert_true(says(refused(z, &float_input, 1, 0, ERR_CALIBRATION), "the array is bool"));
	arrays_free(z);
	z = file_of_one("<f4", 1, 2, "\0\0\0\0\0\0\0\0", 8);
	struct calib_input in = float_input;
	in.type = ARRAY_I32;
	assert_true(says(refused(z, &in, 1, 0, ERR_CALIBRATION), "expected int32, the array is float32"));
	arrays_free(z);
}

/* ---- conversions ---- */

/* Reads one row of two elements of one type as another; returns the error's code and, in *message, its text. */
static enum err_code convert(const char *descr, const void *in, size_t size, enum array_type to, void *out, const char **message)
{
	static struct err e;
	e = (struct err)ERR_INIT;
	struct arrays *z = file_of_one(descr, 1, 2, in, 2 * size);
	struct calib_input input = float_input;
	input.type = to;
	struct calib *c = made(z, &input, 0, 0);
	(void)calib_read(c, 0, 0, out, &e);
	calib_free(c);
	arrays_free(z);
	*message = e.msg;
	return e.code;
}

static void floats_become_the_nearest_float(void **state)
{
	(void)state;
	const char *why;
	float f[2];
	double d[2];
	uint16_t h[2];
	assert_int_equal(convert("<f8", (const double[]){0.1, -1e-50}, 8, ARRAY_F32, f, &why), ERR_NONE);
	assert_true(f[0] == 0.1f && f[1] == 0 && signbit(f[1]));
	assert_int_equal(convert("<f4", (const float[]){0.1f, FLT_MAX}, 4, ARRAY_F64, d, &why), ERR_NONE);
	assert_true(d[0] == (double)0.1f && d[1] == (double)FLT_MAX);
	assert_int_equal(convert("<f2", (const uint16_t[]){0x3c00, 0x8001}, 2, ARRAY_F32, f, &why), ERR_NONE);
	assert_true(f[0] == 1 && f[1] == -0x1p-24f);
	assert_int_equal(convert("<f2", (const uint16_t[]){0x7bff, 0x0400}, 2, ARRAY_F32, f, &why), ERR_NONE);
	assert_true(f[0] == 65504 && f[1] == 0x1p-14f);
	assert_int_equal(convert("<f4", (const float[]){65504, -0x1p-24f}, 4, ARRAY_F16, h, &why), ERR_NONE);
	assert_true(h[0] == 0x7bff && h[1] == 0x8001);
	/* Ties go to even, what is above a tie goes up, in one step from double. */
	assert_int_equal(convert("<f8", (const double[]){1 + 0x1p-11, 1 + 0x1p-11 + 0x1p-40}, 8, ARRAY_F16, h, &why), ERR_NONE);
	assert_true(h[0] == 0x3c00 && h[1] == 0x3c01);
	assert_int_equal(convert("<f8", (const double[]){2 - 0x1p-12, 0x1p-14 - 0x1p-26}, 8, ARRAY_F16, h, &why), ERR_NONE);
	assert_true(h[0] == 0x4000 && h[1] == 0x0400);
	assert_int_equal(convert("<f8", (const double[]){0x1p-25, 0x1.8p-24}, 8, ARRAY_F16, h, &why), ERR_NONE);
	assert_true(h[0] == 0 && h[1] == 2);
}

static void integers_become_floats_that_hold_them(void **state)
{
	(void)state;
	const char *why;
	float f[2];
	double d[2];
	assert_int_equal(convert("|i1", (const int8_t[]){-128, 127}, 1, ARRAY_F32, f, &why), ERR_NONE);
	assert_true(f[0] == -128 && f[1] == 127);
	assert_int_equal(convert("<u2", (const uint16_t[]){65535, 1}, 2, ARRAY_F32, f, &why), ERR_NONE);
	assert_true(f[0] == 65535 && f[1] == 1);
	assert_int_equal(convert("<i4", (const int32_t[]){INT32_MIN, 16777216}, 4, ARRAY_F32, f, &why), ERR_NONE);
	assert_true(f[0] == -0x1p31f && f[1] == 16777216);
	assert_int_equal(convert("<i4", (const int32_t[]){0, -16777217}, 4, ARRAY_F32, f, &why), ERR_CALIBRATION);
	assert_true(says(why, "array \"x\", sample 0 at [1]: -16777217 cannot be held by float32"));
	assert_int_equal(convert("<i8", (const int64_t[]){INT64_MIN, 1}, 8, ARRAY_F32, f, &why), ERR_NONE);
	assert_true(f[0] == -0x1p63f);
	assert_int_equal(convert("<u8", (const uint64_t[]){1, UINT64_MAX}, 8, ARRAY_F32, f, &why), ERR_CALIBRATION);
	assert_int_equal(convert("<i8", (const int64_t[]){((int64_t)1 << 53) + 1, 1}, 8, ARRAY_F64, d, &why), ERR_CALIBRATION);
	assert_int_equal(convert("<i8", (const int64_t[]){((int64_t)1 << 53) + 2, 1}, 8, ARRAY_F64, d, &why), ERR_NONE);
}

static void integers_become_other_integers_when_they_fit(void **state)
{
	(void)state;
	const char *why;
	int64_t wide[2];
	int32_t narrow[2];
	uint8_t byte[2];
	uint64_t big[2];
	assert_int_equal(convert("<i4", (const int32_t[]){-5, INT32_MAX}, 4, ARRAY_I64, wide, &why), ERR_NONE);
	assert_true(wide[0] == -5 && wide[1] == INT32_MAX);
	assert_int_equal(convert("<u4", (const uint32_t[]){0, UINT32_MAX}, 4, ARRAY_I64, wide, &why), ERR_NONE);
	assert_true(wide[1] == UINT32_MAX);
	assert_int_equal(convert("<i8", (const int64_t[]){INT32_MIN, INT32_MAX}, 8, ARRAY_I32, narrow, &why), ERR_NONE);
	assert_true(narrow[0] == INT32_MIN && narrow[1] == INT32_MAX);
	assert_int_equal(convert("<i8", (const int64_t[]){0, (int64_t)INT32_MAX + 1}, 8, ARRAY_I32, narrow, &why), ERR_CALIBRATION);
	assert_int_equal(convert("<i8", (const int64_t[]){(int64_t)INT32_MIN - 1, 0}, 8, ARRAY_I32, narrow, &why), ERR_CALIBRATION);
	assert_int_equal(convert("<i8", (const int64_t[]){0, 255}, 8, ARRAY_U8, byte, &why), ERR_NONE);
	assert_int_equal(byte[1], 255);
	assert_int_equal(convert("<i8", (const int64_t[]){256, 0}, 8, ARRAY_U8, byte, &why), ERR_CALIBRATION);
	assert_int_equal(convert("|i1", (const int8_t[]){-1, 0}, 1, ARRAY_U64, big, &why), ERR_CALIBRATION);
	assert_true(says(why, "-1 cannot be held by uint64"));
	assert_int_equal(convert("<u8", (const uint64_t[]){UINT64_MAX, 0}, 8, ARRAY_I64, wide, &why), ERR_CALIBRATION);
	assert_int_equal(convert("<u8", (const uint64_t[]){UINT64_MAX, 0}, 8, ARRAY_U64, big, &why), ERR_NONE);
	assert_true(big[0] == UINT64_MAX);
	assert_int_equal(convert("|b1", "\1\0", 1, ARRAY_BOOL, byte, &why), ERR_NONE);
}

static void values_that_are_not_finite_are_named(void **state)
{
	(void)state;
	const char *why;
	float f[2];
	uint16_t h[2];
	assert_int_equal(convert("<f4", (const float[]){0, NAN}, 4, ARRAY_F32, f, &why), ERR_NON_FINITE);
	assert_true(says(why, "array \"x\", sample 0 at [1]: NaN"));
	assert_int_equal(convert("<f8", (const double[]){-INFINITY, 0}, 8, ARRAY_F32, f, &why), ERR_NON_FINITE);
	assert_true(says(why, "infinity"));
	assert_int_equal(convert("<f8", (const double[]){0, 1e39}, 8, ARRAY_F32, f, &why), ERR_NON_FINITE);
	assert_true(says(why, "1e+39 is beyond float32"));
	assert_int_equal(convert("<f4", (const float[]){65520, 0}, 4, ARRAY_F16, h, &why), ERR_NON_FINITE);
	assert_int_equal(convert("<f4", (const float[]){65519, 0}, 4, ARRAY_F16, h, &why), ERR_NONE);
	assert_int_equal(convert("<f2", (const uint16_t[]){0x7c00, 0}, 2, ARRAY_F16, h, &why), ERR_NON_FINITE);
}

/* The place is counted over the whole set, not the batch. */
static void the_sample_of_a_bad_value_is_named(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	float data[14] = {0}, out[6];
	data[11] = NAN;
	struct arrays *z = file_of_one("<f4", 7, 2, data, sizeof data);
	struct calib *c = made(z, &float_input, 3, 0);
	assert_int_equal(calib_read(c, 0, 0, out, &e), 0);
	assert_int_equal(calib_read(c, 0, 1, out, &e), -1);
	assert_true(says(e.msg, "sample 5 at [1]"));
	assert_int_equal(calib_read(c, 0, 2, out, &e), 0);
	calib_free(c);
	arrays_free(z);
}

/* Rows larger and smaller than the slices that conversion goes by. */
static void large_arrays_are_converted_in_slices(void **state)
{
	(void)state;
	for (int row = 1; row <= 300000; row += 299999) {
		int rows = row == 1 ? 300000 : 3;
		size_t n = (size_t)row * (size_t)rows;
		double *in = calloc(n, sizeof *in);
		float *out = calloc(n, sizeof *out);
		for (size_t i = 0; i < n; i++)
			in[i] = (double)i;
		struct arrays *z = file_of_one("<f8", rows, row, in, n * sizeof *in);
		struct calib_input input = {.name = "x", .type = ARRAY_F32, .rank = -1};
		struct calib *c = made(z, &input, rows, 0);
		struct err e = ERR_INIT;
		assert_int_equal(calib_read(c, 0, 0, out, &e), 0);
		for (size_t i = 0; i < n; i++)
			assert_true(out[i] == (float)i);
		calib_free(c);
		arrays_free(z);
		free(in);
		free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_batch_may_be_shorter),
		cmocka_unit_test(batches_are_of_32_where_nobody_says_otherwise),
		cmocka_unit_test(num_batches_limits_what_is_used),
		cmocka_unit_test(a_models_fixed_batch_rules),
		cmocka_unit_test(one_array_feeds_one_input_whatever_its_name),
		cmocka_unit_test(arrays_are_found_by_name_and_others_ignored),
		cmocka_unit_test(every_input_that_does_not_fit_is_named),
		cmocka_unit_test(fixed_dimensions_must_be_met),
		cmocka_unit_test(inputs_must_have_equally_many_samples),
		cmocka_unit_test(no_samples_are_refused),
		cmocka_unit_test(other_types_do_not_feed_anything),
		cmocka_unit_test(floats_become_the_nearest_float),
		cmocka_unit_test(integers_become_floats_that_hold_them),
		cmocka_unit_test(integers_become_other_integers_when_they_fit),
		cmocka_unit_test(values_that_are_not_finite_are_named),
		cmocka_unit_test(the_sample_of_a_bad_value_is_named),
		cmocka_unit_test(large_arrays_are_converted_in_slices),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
