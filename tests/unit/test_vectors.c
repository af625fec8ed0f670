/* Every vector of the reference's quantizers (data/vectors), bit for bit. */

#include "core/base/buf.h"
#include "core/base/json.h"
#include "core/grid/lpbq.h"
#include "core/grid/observer.h"
#include "core/grid/quant.h"
#include "shared.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct json *root;

static int read_vectors(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	if (whole_file("tests/data/vectors/vectors.json", &b) == 0)
		root = json_parse(b.data, b.len, &e);
	buf_fini(&b);
	return root ? 0 : -1;
}

static int free_vectors(void **state)
{
	(void)state;
	json_free(root);
	return 0;
}

/* The vectors of a kind; there are as many as the reference gave. */
static const struct json *rows_of(const char *kind, size_t n)
{
	const struct json *rows = json_get(root, kind);
	assert_int_equal(json_size(rows), n);
	return rows;
}

static double number(const struct json *array, size_t i)
{
	return json_number(json_at(array, i));
}

static struct quant_mode mode_of(const struct json *r)
{
	return (struct quant_mode){(int)json_int(json_get(r, "bw")), json_bool(json_get(r, "symmetric")),
	                           json_bool(json_get(r, "strict")), json_bool(json_get(r, "unsigned"))};
}

static void same_grid(const char *kind, size_t row, struct quant_grid g, const struct json *enc)
{
	const double got[] = {g.min, g.max, g.delta, g.offset};
	for (size_t i = 0; i < 4; i++)
		if (got[i] != number(enc, i))
			fail_msg("%s %zu: %.17g %.17g %.17g %g is not %.17g %.17g %.17g %g", kind, row, got[0], got[1], got[2],
			         got[3], number(enc, 0), number(enc, 1), number(enc, 2), number(enc, 3));
}

static void minmax(void **state)
{
	(void)state;
	const struct json *rows = rows_of("minmax", 240);
	for (size_t i = 0; i < json_size(rows); i++) {
		const struct json *r = json_at(rows, i);
		float lo = (float)json_number(json_get(r, "min")), hi = (float)json_number(json_get(r, "max"));
		same_grid("minmax", i, quant_minmax(lo, hi, mode_of(r)), json_get(r, "enc"));
	}
}

static void observe(struct observer *o, const struct json *batches)
{
	struct err e = ERR_INIT;
	for (size_t b = 0; b < json_size(batches); b++) {
		const struct json *batch = json_at(batches, b);
		float x[64];
		size_t n = json_size(batch);
		assert_in_range(n, 1, 64);
		for (size_t i = 0; i < n; i++)
			x[i] = (float)number(batch, i);
		assert_int_equal(observer_update(o, n, x, &e), 0);
	}
}

static void of_scheme(const char *kind, enum quant_scheme scheme)
{
	const struct json *rows = rows_of(kind, 40);
	for (size_t i = 0; i < json_size(rows); i++) {
		const struct json *r = json_at(rows, i), *percentile = json_get(r, "percentile");
		struct observer o;
		observer_init(&o, scheme);
		observe(&o, json_get(r, "batches"));
		same_grid(kind, i, observer_grid(&o, mode_of(r), percentile ? json_number(percentile) : 100), json_get(r, "enc"));
		observer_fini(&o);
	}
}

static void tf_enhanced_scheme(void **state)
{
	(void)state;
	of_scheme("tf_enhanced", SCHEME_TF_ENHANCED);
}

static void percentile_scheme(void **state)
{
	(void)state;
	of_scheme("percentile", SCHEME_PERCENTILE);
}

static void fake_quantization(void **state)
{
	(void)state;
	const struct json *rows = rows_of("fake_quant", 20);
	for (size_t i = 0; i < json_size(rows); i++) {
		const struct json *r = json_at(rows, i), *enc = json_get(r, "enc"), *x = json_get(r, "x"), *y = json_get(r, "y");
		struct quant_grid g = {number(enc, 0), number(enc, 1), number(enc, 2), number(enc, 3)};
		assert_true(json_size(x) > 0 && json_size(x) == json_size(y));
		for (size_t k = 0; k < json_size(x); k++) {
			float in = (float)number(x, k), out;
			quant_fake(g, 1, &in, &out);
			if (out != (float)number(y, k))
				fail_msg("fake_quant %zu, %zu: %.9g is not %.9g", i, k, (double)out, number(y, k));
		}
	}
}

static void compressed_block_scales(void **state)
{
	(void)state;
	const struct json *rows = rows_of("lpbq", 10);
	for (size_t i = 0; i < json_size(rows); i++) {
		const struct json *r = json_at(rows, i), *scale = json_get(r, "scale"), *factors = json_get(r, "per_block_int");
		size_t channels = json_size(scale), blocks = json_size(json_at(scale, 0));
		double s[64], channel_scale[8];
		int factor[64];
		assert_true(channels <= 8 && channels * blocks <= 64);
		for (size_t k = 0; k < channels * blocks; k++)
			s[k] = number(json_at(scale, k / blocks), k % blocks);
		lpbq_compress(channels, blocks, s, (int)json_int(json_get(r, "scale_bits")), channel_scale, factor);
		for (size_t k = 0; k < channels * blocks; k++)
			assert_int_equal(factor[k], json_int(json_at(json_at(factors, k / blocks), k % blocks)));
		for (size_t c = 0; c < channels; c++)
			assert_true(channel_scale[c] == number(json_get(r, "per_channel"), c));
	}
}

/* ---- beyond the vectors ---- */

static struct quant_grid grid_of(enum quant_scheme scheme, struct quant_mode mode, size_t batches, size_t n, const float *x)
{
	struct err e = ERR_INIT;
	struct observer o;
	observer_init(&o, scheme);
	for (size_t b = 0; b < batches; b++)
		assert_int_equal(observer_update(&o, n, x + b * n, &e), 0);
	struct quant_grid g = observer_grid(&o, mode, 100);
	observer_fini(&o);
	return g;
}

static void a_tensor_of_zeros_has_a_grid(void **state)
{
	(void)state;
	static const float zeros[8];
	struct quant_grid g = grid_of(SCHEME_TF_ENHANCED, (struct quant_mode){4, true, false, false}, 2, 4, zeros);
	assert_true(g.min == -1.0666666666666667 && g.max == 0.9333333333333333 && g.delta == 0.13333333333333333 &&
	            g.offset == -8);
}

/* Constants too large for 0.01 more to be another float, the smallest numbers, infinities: any grid, but a finite one. */
static void odd_values_give_finite_grids(void **state)
{
	(void)state;
	static const float odd[][2] = {{1e9f, 1e9f}, {-3e38f, 3e38f},     {INFINITY, 1}, {-INFINITY, INFINITY}, {1e-45f, 0},
	                               {NAN, 1},     {1e30f, 1.0001e30f}, {NAN, NAN},    {-1e-38f, -1e-38f},    {3.4e38f, 3.4e38f}};
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		for (int k = 0; k < 6; k++) {
			static const enum quant_scheme schemes[] = {SCHEME_TF, SCHEME_TF_ENHANCED, SCHEME_PERCENTILE};
			struct quant_grid g = grid_of(schemes[k / 2], (struct quant_mode){8, k % 2, false, false}, 1, 2, odd[i]);
			if (!(isfinite((float)g.min) && isfinite((float)g.max) && g.delta > 0 && isfinite(g.delta) &&
			      g.offset <= 0))
				fail_msg("values %g %g, scheme %d: %g .. %g, delta %g", (double)odd[i][0], (double)odd[i][1], k,
				         g.min, g.max, g.delta);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(minmax),
		cmocka_unit_test(tf_enhanced_scheme),
		cmocka_unit_test(percentile_scheme),
		cmocka_unit_test(fake_quantization),
		cmocka_unit_test(compressed_block_scales),
		cmocka_unit_test(a_tensor_of_zeros_has_a_grid),
		cmocka_unit_test(odd_values_give_finite_grids),
	};
	return cmocka_run_group_tests(tests, read_vectors, free_vectors);
}
