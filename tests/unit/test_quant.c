/* Grids and fake quantization. The numbers are the reference's, taken from runs of it; test_vectors.c has hundreds more. */

#include "core/grid/quant.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void same(double a, double b)
{
	if (a != b)
		fail_msg("%.17g is not %.17g", a, b);
}

static void same_grid(struct quant_grid g, double min, double max, double delta, double offset)
{
	same(g.min, min);
	same(g.max, max);
	same(g.delta, delta);
	same(g.offset, offset);
}

static void minmax_gives_the_reference_grids(void **state)
{
	(void)state;
	static const struct {
		float lo, hi;
		struct quant_mode mode;
		double min, max, delta, offset;
	} rows[] = {
		{-1, 2, {8, false, false, false}, -1.0, 2.0, 0.011764705882352941, -85},
		{-1, 2, {8, true, false, false}, -2.015748031496063, 2.0, 0.015748031496062992, -128},
		{-2, 1, {8, true, false, false}, -2.0, 1.984375, 0.015625, -128},
		{-2, 1, {8, true, true, false}, -2.0, 2.0, 0.015748031496062992, -127},
		{0.5f, 2, {8, true, false, true}, 0, 2.0, 0.00784313725490196, 0},
		{0, 2, {8, true, false, false}, -2.015748031496063, 2.0, 0.015748031496062992, -128},
		{-1, 2, {4, true, false, false}, -2.2857142857142856, 2.0, 0.2857142857142857, -8},
		{-1, 2, {2, true, false, false}, -2.0, 1.0, 1.0, -2},
		{-1, 2, {2, true, true, false}, -2, 2, 2, -1},
		{-1, 2, {16, false, false, false}, -1.0, 2.0, 4.5777065690089265e-05, -21845},
		{0, 0, {8, false, false, false}, 0, 3.039836883544922e-05, 1.1920928955078125e-07, 0},
		{0, 0, {8, true, false, false}, -1.52587890625e-05, 1.5139579772949219e-05, 1.1920928955078125e-07, -128},
		{-0.6651946902275085f,
	         0.35151007771492004f,
	         {4, false, false, false},
	         -0.6778031786282858,
	         0.3389015893141429,
	         0.06778031786282858,
	         -10},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		same_grid(quant_minmax(rows[i].lo, rows[i].hi, rows[i].mode), rows[i].min, rows[i].max, rows[i].delta,
		          rows[i].offset);
}

static void huge_ranges_stay_finite(void **state)
{
	(void)state;
	struct quant_grid g = quant_minmax(-FLT_MAX, INFINITY, (struct quant_mode){8, true, false, false});
	assert_true(isfinite((float)g.min) && isfinite((float)g.max));
	g = quant_minmax(-INFINITY, FLT_MAX, (struct quant_mode){8, false, false, false});
	assert_true(isfinite((float)g.min) && isfinite((float)g.max));
}

/* The worked example of the reference: W = [[.9,-.2],[.05,.6],[-.4,.1]], 4 bits, 20 candidates. */
static void candidates_shrink_in_float_steps(void **state)
{
	(void)state;
	struct quant_mode mode = {4, true, false, false};
	struct quant_grid start = quant_minmax(-0.4f, 0.9f, mode);
	same_grid(start, -1.028571401323591, 0.8999999761581421, 0.12857142516544887, -8);
	same_grid(quant_candidate(start, 17, 20, mode), -0.9257142203194755, 0.809999942779541, 0.11571427753993443, -8);
	start = quant_minmax(-0.2f, 0.6f, mode);
	same_grid(start, -0.6857143129621234, 0.6000000238418579, 0.08571428912026542, -8);
	same_grid(quant_candidate(start, 19, 20, mode), -0.6857143640518188, 0.6000000685453415, 0.08571429550647736, -8);
}

static void halves_round_up_on_the_grid(void **state)
{
	(void)state;
	struct quant_grid g = {-8, 7, 1, -8};
	static const float in[] = {-8.6f, -2.5f, -1.5f, -0.5f, 0.5f, 1.5f, 2.5f, 7.5f, 9, NAN};
	static const float want[] = {-8, -2, -1, 0, 1, 2, 3, 7, 7, -8};
	float out[sizeof in / sizeof *in];
	quant_fake(g, sizeof in / sizeof *in, in, out);
	for (size_t i = 0; i < sizeof in / sizeof *in; i++)
		same((double)out[i], (double)want[i]);
}

static void constrained_grids_keep_to_the_given_range(void **state)
{
	(void)state;
	struct quant_grid g = quant_constrained(0, 1, (struct quant_mode){8, false, false, false});
	same(g.delta, 0.00392156862745098);
	same(g.offset, 0);
	g = quant_constrained(-1, 1, (struct quant_mode){8, true, false, false});
	same(g.delta, 0.007874015748031496);
	same(g.min, -1.0078740157480315);
	same(g.offset, -128);
	g = quant_constrained(-1, 1, (struct quant_mode){8, true, true, false});
	same(g.offset, -127);
	g = quant_constrained(0, 0.004, (struct quant_mode){8, false, false, false});
	same(g.max, 0.01);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(minmax_gives_the_reference_grids),  cmocka_unit_test(huge_ranges_stay_finite),
		cmocka_unit_test(candidates_shrink_in_float_steps),  cmocka_unit_test(halves_round_up_on_the_grid),
		cmocka_unit_test(constrained_grids_keep_to_the_given_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
