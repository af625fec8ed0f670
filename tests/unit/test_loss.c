/* What errors are summed up to. */

#include "core/search/loss.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static bool close_to(double a, double b)
{
	return fabs(a - b) <= 1e-12 * fabs(b);
}

static void sums_stay_and_decibels_are_means(void **state)
{
	(void)state;
	assert_true(loss_of_batch(LOSS_MSE, 12, 4) == 12 && loss_of_batch(LOSS_L1, 12, 4) == 12);
	assert_true(close_to(loss_of_batch(LOSS_SQNR, 400, 4), 20));
	assert_true(close_to(loss_of_batch(LOSS_SQNR, 0, 4), -100)); /* no error is 1e-10 */
	assert_true(loss_of_run(LOSS_MSE, 30, 3) == 30);
	assert_true(loss_of_run(LOSS_SQNR, 30, 3) == 10);
	assert_true(loss_of_batch(LOSS_SQNR, 0, 0) == 0);
}

static void a_tolerance_covers_what_the_sum_may_be(void **state)
{
	(void)state;
	const double sums[] = {400, 1e-12, 0};
	for (int i = 0; i < 3; i++)
		for (double part = 1e-6; part < 3; part *= 100) {
			double tol = 400 * part, loss = loss_of_batch(LOSS_SQNR, sums[i], 4),
			       wide = loss_tolerance(LOSS_SQNR, sums[i], tol, 4);
			assert_true(loss_of_batch(LOSS_SQNR, fmax(sums[i] - tol, 0), 4) >= loss - wide - 1e-9);
			assert_true(loss_of_batch(LOSS_SQNR, sums[i] + tol, 4) <= loss + wide + 1e-9);
		}
	assert_true(loss_tolerance(LOSS_L1, 400, 0.5, 4) == 0.5);
}

static void near_means_a_hundred_thousandth_of_the_errors(void **state)
{
	(void)state;
	assert_true(loss_near(LOSS_MSE, 1, 1 + 0.9e-5) && !loss_near(LOSS_MSE, 1, 1 + 1.1e-5));
	assert_true(loss_near(LOSS_SQNR, 20, 10 * log10(100 * (1 + 0.9e-5))) &&
	            !loss_near(LOSS_SQNR, 20, 10 * log10(100 * (1 + 1.1e-5))));
	assert_true(loss_near(LOSS_L1, 0, 0));
}

static void decibels_become_amounts(void **state)
{
	(void)state;
	assert_true(close_to(loss_amount(LOSS_SQNR, -30), 1e-3));
	assert_true(loss_amount(LOSS_L1, 7) == 7);
}

static void a_gain_is_a_part_of_the_full_ranges_loss(void **state)
{
	(void)state;
	assert_true(loss_gain(1, 4) == 0.75);
	assert_true(loss_gain(5, 4) == -0.25); /* a range may be shared, and then be worse for one */
	assert_true(loss_gain(0, 0) == 0);
	assert_true(isnan(loss_gain(1, 0)));
}

static void losses_have_names(void **state)
{
	(void)state;
	for (int f = LOSS_MSE; f <= LOSS_SQNR; f++)
		assert_int_equal(loss_find(loss_name((enum loss_fn)f)), f);
	assert_int_equal(loss_find("l2"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_stay_and_decibels_are_means),
		cmocka_unit_test(a_tolerance_covers_what_the_sum_may_be),
		cmocka_unit_test(near_means_a_hundred_thousandth_of_the_errors),
		cmocka_unit_test(decibels_become_amounts),
		cmocka_unit_test(a_gain_is_a_part_of_the_full_ranges_loss),
		cmocka_unit_test(losses_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
