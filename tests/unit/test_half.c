/* Half precision: every value there is, and what lies between two of them. */

#include "core/base/half.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>

static void every_half_comes_back(void **state)
{
	(void)state;
	for (unsigned h = 0; h < 65536; h++) {
		float f = half_to_float((uint16_t)h);
		if (!isnan(f))
			assert_int_equal(half_from_float(f), h);
		else
			assert_true(isnan(half_to_float(half_from_float(f))));
	}
}

static void known_values(void **state)
{
	(void)state;
	assert_int_equal(half_from_float(0.0f), 0);
	assert_int_equal(half_from_float(-0.0f), 0x8000);
	assert_int_equal(half_from_float(1.0f), 0x3c00);
	assert_int_equal(half_from_float(-2.0f), 0xc000);
	assert_int_equal(half_from_float(65504.0f), 0x7bff);
	assert_int_equal(half_from_float(65519.9f), 0x7bff);
	assert_int_equal(half_from_float(65520.0f), 0x7c00);
	assert_int_equal(half_from_float(0x1p-24f), 1);
	assert_int_equal(half_from_float(0x1p-25f), 0);
	assert_int_equal(half_from_float(0x1.8p-25f), 1);
	assert_int_equal(half_from_float(1e-30f), 0);
}

/* Halfway between two halves the even one wins; anything more or less goes to the nearer. */
static void rounds_to_nearest_even(void **state)
{
	(void)state;
	for (unsigned h = 0; h < 0x7bff; h++) {
		float a = half_to_float((uint16_t)h), b = half_to_float((uint16_t)(h + 1)), middle = 0.5f * (a + b);
		assert_int_equal(half_from_float(middle), h & 1 ? h + 1 : h);
		assert_int_equal(half_from_float(nextafterf(middle, 0)), h);
		assert_int_equal(half_from_float(nextafterf(middle, INFINITY)), h + 1);
	}
}

static void every_bfloat_comes_back(void **state)
{
	(void)state;
	for (unsigned b = 0; b < 65536; b++) {
		float f = bfloat_to_float((uint16_t)b);
		if (!isnan(f))
			assert_int_equal(bfloat_from_float(f), b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_half_comes_back),
		cmocka_unit_test(known_values),
		cmocka_unit_test(rounds_to_nearest_even),
		cmocka_unit_test(every_bfloat_comes_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
