/* Inputs that are fed by arrays of other names, layouts and ranges. */

#include "core/data/calib_map.h"
#include "npz_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct calib_input picture = {.name = "x", .type = ARRAY_F32, .rank = 4, .shape = {-1, 3, 2, 2}};

/* Three pictures [2][2][3] of bytes 0 .. 35. */
static struct arrays *pictures(void)
{
	struct err e = ERR_INIT;
	unsigned char bytes[36];
	for (int i = 0; i < 36; i++)
		bytes[i] = (unsigned char)i;
	struct arrays *z = npz_file_one("photos.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2, 2, 3), }", bytes,
	                             sizeof bytes, &e);
	assert_non_null(z);
	return z;
}

static struct calib *fed(struct arrays *z, const char *map, struct calib_map **m, struct err *e)
{
	static struct calib_input in;
	in = picture;
	*e = (struct err)ERR_INIT;
	*m = calib_map_new(map, e);
	return *m && calib_map_apply(*m, &in, 1, e) == 0 ? calib_new(z, &in, 1, 2, 0, e) : NULL;
}

static void arrays_are_moved_and_scaled(void **state)
{
	(void)state;
	struct arrays *z = pictures();
	struct err e;
	struct calib_map *m;
	const float offset[] = {-1, 0, 10};
	float out[24];
	int64_t shape[ARRAY_MAX_RANK];
	struct calib *c =
		fed(z, "{\"x\": {\"array\": \"photos\", \"transpose\": [0, 3, 1, 2], \"scale\": 0.5, \"offset\": [-1, 0, 10]}}", &m,
	            &e);
	if (!c)
		fail_msg("%s", e.msg);
	assert_int_equal(calib_shape(c, 0, 0, shape), 4);
	assert_true(shape[0] == 2 && shape[1] == 3 && shape[2] == 2 && shape[3] == 2);
	assert_int_equal(calib_read(c, 0, 0, out, &e), 0);
	for (int s = 0, k = 0; s < 2; s++)
		for (int ch = 0; ch < 3; ch++)
			for (int y = 0; y < 2; y++)
				for (int w = 0; w < 2; w++, k++) {
					int byte = ((s * 2 + y) * 2 + w) * 3 + ch;
					assert_true(out[k] == 0.5f * (float)byte + offset[ch]);
				}
	assert_int_equal(calib_read(c, 0, 1, out, &e), 0); /* the last, partial batch */
	assert_true(out[0] == 0.5f * 24 - 1);
	calib_free(c);
	calib_map_free(m);
	arrays_free(z);
}

static void an_empty_map_changes_nothing(void **state)
{
	(void)state;
	struct arrays *z = pictures();
	struct err e;
	struct calib_map *m;
	assert_null(fed(z, NULL, &m, &e)); /* the layout does not fit as it is */
	assert_int_equal(e.code, ERR_CALIBRATION);
	calib_map_free(m);
	assert_null(fed(z, "{\"x\": {}}", &m, &e));
	assert_int_equal(e.code, ERR_CALIBRATION);
	calib_map_free(m);
	arrays_free(z);
}

static void what_does_not_fit_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *map;
		enum err_code code;
		const char *says;
	} wrong[] = {
		{"[]", ERR_BAD_PARAM, "expected an object"},
		{"{\"x\": 1}", ERR_BAD_PARAM, "/x: expected an object"},
		{"{\"x\": {\"shift\": 1}}", ERR_UNKNOWN_FIELD, "/x/shift"},
		{"{\"x\": {\"array\": 1}}", ERR_BAD_PARAM, "/x/array: expected a string"},
		{"{\"x\": {\"transpose\": [1, 0, 2, 3]}}", ERR_BAD_PARAM, "/x/transpose"},
		{"{\"x\": {\"transpose\": [0, 1, 1]}}", ERR_BAD_PARAM, "/x/transpose"},
		{"{\"x\": {\"transpose\": [0, 4, 1, 2]}}", ERR_BAD_PARAM, "/x/transpose"},
		{"{\"x\": {\"scale\": []}}", ERR_BAD_PARAM, "/x/scale"},
		{"{\"x\": {\"offset\": [1, \"2\"]}}", ERR_BAD_PARAM, "/x/offset"},
		{"{\"y\": {\"array\": \"photos\"}}", ERR_BAD_PARAM, "/inputs/y: the model has no such input (there is \"x\")"},
		{"{\"x\": {\"array\": \"phtos\"}}", ERR_CALIBRATION, "no array of the name that was given (there is \"photos\")"},
		{"{\"x\": {\"transpose\": [0, 2, 1]}}", ERR_CALIBRATION, "transpose names other axes"},
		{"{\"x\": {\"transpose\": [0, 3, 2, 1], \"scale\": [1, 2]}}", ERR_CALIBRATION,
	         "not one number for every place on axis 1"},
	};
	struct arrays *z = pictures();
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct err e;
		struct calib_map *m;
		assert_null(fed(z, wrong[i].map, &m, &e));
		if (e.code != wrong[i].code || !strstr(e.msg, wrong[i].says))
			fail_msg("%s: %s", wrong[i].map, e.msg);
		calib_map_free(m);
	}
	arrays_free(z);
}

static void integers_are_not_scaled(void **state)
{
	(void)state;
	struct arrays *z = pictures();
	struct err e = ERR_INIT;
	struct calib_input in = picture;
	struct calib_map *m = calib_map_new("{\"x\": {\"transpose\": [0, 3, 1, 2], \"scale\": 2}}", &e);
	in.type = ARRAY_I64;
	assert_int_equal(calib_map_apply(m, &in, 1, &e), 0);
	assert_null(calib_new(z, &in, 1, 2, 0, &e));
	assert_non_null(strstr(e.msg, "scale and offset are for inputs of floating point"));
	calib_map_free(m);
	m = calib_map_new("{\"x\": {\"transpose\": [0, 3, 1, 2]}}", &e);
	assert_int_equal(calib_map_apply(m, &in, 1, &e), 0);
	struct calib *c = calib_new(z, &in, 1, 2, 0, &e);
	int64_t out[24];
	assert_int_equal(calib_read(c, 0, 0, out, &e), 0);
	assert_true(out[0] == 0 && out[1] == 3 && out[4] == 1);
	calib_free(c);
	calib_map_free(m);
	arrays_free(z);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arrays_are_moved_and_scaled),
		cmocka_unit_test(an_empty_map_changes_nothing),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(integers_are_not_scaled),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
