/* The fast ways to a layer's losses against loops that anyone can read: vectors out of an input, Gram matrices, both
 * strategies, exact losses; on random layers of every shape that a Conv or a matrix product can have. */

#include "core/evidence.h"
#include "core/exact.h"
#include "core/gemm.h"
#include "core/gram.h"
#include "core/gram_small.h"
#include "core/patches.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCHES = 3, ROWS = 7, THREADS = 3 };

/* A layer and one input shape. */
struct shape {
	const char *name;
	struct layer layer;
	int rank;
	int64_t x[5];
};

#define CONV(groups_, per_group, spatial_, ...) \
	.layer = {.op = LAYER_CONV, .groups = groups_, .fan_in = per_group, .spatial = spatial_, .scale = 1, __VA_ARGS__}
#define K3(a, b, c) .kernel = {a, b, c}
#define ONES .stride = {1, 1, 1}, .dilation = {1, 1, 1}

static const struct shape shapes[] = {
	{"pointwise", CONV(1, 24, 2, K3(1, 1, 1), ONES), 4, {3, 24, 9, 11}},
	{"pointwise, strided", CONV(1, 8, 2, K3(1, 1, 1), .stride = {1, 2, 3}, .dilation = {1, 1, 1}), 4, {2, 8, 9, 11}},
	{"3x3 padded", CONV(1, 5 * 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}), 4, {2, 5, 13, 8}},
	{"3x3 strided, uneven pads", CONV(1, 4 * 9, 2, K3(1, 3, 3), .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pad_begin = {0, 0, 1},
	                                  .pad_end = {0, 1, 2}), 4, {2, 4, 11, 12}},
	{"dilated", CONV(1, 3 * 15, 2, K3(1, 3, 5), .stride = {1, 1, 2}, .dilation = {1, 3, 2}, .pad_begin = {0, 3, 4}, .pad_end = {0, 2, 4}), 4,
	 {1, 3, 14, 17}},
	{"same upper", CONV(1, 2 * 16, 2, K3(1, 4, 4), .stride = {1, 2, 3}, .dilation = {1, 1, 1}, .auto_pad = LAYER_PAD_SAME_UPPER), 4,
	 {2, 2, 9, 10}},
	{"same lower", CONV(1, 2 * 16, 2, K3(1, 4, 4), .stride = {1, 2, 3}, .dilation = {1, 1, 1}, .auto_pad = LAYER_PAD_SAME_LOWER), 4,
	 {2, 2, 9, 10}},
	{"depthwise", CONV(6, 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}), 4, {2, 6, 30, 41}},
	{"depthwise 5x5 strided", CONV(4, 25, 2, K3(1, 5, 5), .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pad_begin = {0, 2, 2},
	                               .pad_end = {0, 2, 2}), 4, {3, 4, 19, 23}},
	{"depthwise, dilated and strided unevenly", CONV(5, 9, 2, K3(1, 3, 3), .stride = {1, 3, 2}, .dilation = {1, 2, 3},
	                                                .pad_begin = {0, 2, 1}, .pad_end = {0, 0, 4}), 4, {3, 5, 17, 16}},
	{"small kernel, stride beyond it", CONV(1, 2 * 4, 2, K3(1, 2, 2), .stride = {1, 3, 4}, .dilation = {1, 1, 1}), 4, {5, 2, 10, 13}},
	{"stem", CONV(1, 3 * 9, 2, K3(1, 3, 3), .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pad_end = {0, 1, 1}), 4, {3, 3, 64, 70}},
	{"padding wider than the picture", CONV(2, 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 4, 3}, .pad_end = {0, 3, 5}), 4, {1, 2, 2, 1}},
	{"grouped", CONV(3, 6 * 9, 2, K3(1, 3, 3), ONES), 4, {2, 18, 7, 9}},
	{"1-d", CONV(1, 7 * 5, 1, K3(1, 1, 5), .stride = {1, 1, 2}, .dilation = {1, 1, 2}, .pad_begin = {0, 0, 3}, .pad_end = {0, 0, 1}), 3,
	 {4, 7, 37}},
	{"3-d", CONV(1, 2 * 12, 3, K3(2, 2, 3), .stride = {1, 2, 1}, .dilation = {2, 1, 1}, .pad_begin = {1, 0, 1}, .pad_end = {0, 1, 1}), 5,
	 {2, 2, 5, 6, 7}},
	{"large fan-in", CONV(1, 28 * 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}), 4, {4, 28, 24, 27}},
	{"matrix", .layer = {.op = LAYER_MATMUL, .groups = 1, .fan_in = 70, .scale = 1}, 3, {2, 33, 70}},
	{"large matrix", .layer = {.op = LAYER_MATMUL, .groups = 1, .fan_in = 300, .scale = 1}, 2, {1500, 300}},
	{"narrow matrix", .layer = {.op = LAYER_GEMM, .groups = 1, .fan_in = 3, .scale = 1}, 2, {90, 3}},
	{"transposed matrix", .layer = {.op = LAYER_GEMM, .groups = 1, .fan_in = 40, .trans_a = true, .scale = 1}, 2, {40, 65}},
	{"few rows", .layer = {.op = LAYER_GEMM, .groups = 1, .fan_in = 130, .scale = 1}, 2, {2, 130}},
	{"one row", .layer = {.op = LAYER_MATMUL, .groups = 1, .fan_in = 12, .scale = 1}, 1, {12}},
};
enum { NSHAPES = sizeof shapes / sizeof *shapes };

static struct ort_info info_of(const struct shape *s)
{
	struct ort_info info = {.elem_type = 1, .rank = s->rank, .count = 1};
	for (int i = 0; i < s->rank; i++) {
		info.shape[i] = s->x[i];
		info.count *= s->x[i];
	}
	return info;
}

/* Inputs like those after a Relu: half are zero, the rest have a mean. */
static float *random_input(const struct shape *s, unsigned seed)
{
	struct ort_info info = info_of(s);
	float *x = malloc((size_t)info.count * sizeof *x);
	srand(seed);
	for (int64_t i = 0; i < info.count; i++) {
		float v = (float)rand() / (float)RAND_MAX;
		x[i] = v < 0.5f ? 0 : 4 * v - 1;
	}
	return x;
}

/* ---- plain ---- */

/* Entry k of vector `position` of group g, from the definition of the operators. */
static double plain_entry(const struct shape *s, const struct patches *p, const float *x, int64_t g, int64_t position, int64_t k)
{
	const struct layer *l = &s->layer;
	if (l->op != LAYER_CONV)
		return (double)(l->trans_a ? x[k * s->x[1] + position] : x[position * l->fan_in + k]);
	int64_t in[3] = {1, 1, 1}, at[3], volume = l->kernel[0] * l->kernel[1] * l->kernel[2], out[3], tap[3], rest = k % volume, place = position;
	for (int i = 0; i < l->spatial; i++)
		in[3 - l->spatial + i] = s->x[2 + i];
	for (int i = 0; i < 3; i++) {
		int64_t reach = (l->kernel[i] - 1) * l->dilation[i] + 1;
		out[i] = l->auto_pad ? (in[i] + l->stride[i] - 1) / l->stride[i] : (in[i] + l->pad_begin[i] + l->pad_end[i] - reach) / l->stride[i] + 1;
		if (i < 3 - l->spatial)
			out[i] = 1;
	}
	for (int i = 2; i >= 0; i--) {
		int64_t reach = (l->kernel[i] - 1) * l->dilation[i] + 1, total = (out[i] - 1) * l->stride[i] + reach - in[i], pad = l->pad_begin[i];
		total = total < 0 ? 0 : total;
		if (l->auto_pad == LAYER_PAD_SAME_UPPER)
			pad = total / 2;
		if (l->auto_pad == LAYER_PAD_SAME_LOWER)
			pad = total - total / 2;
		tap[i] = rest % l->kernel[i];
		rest /= l->kernel[i];
		at[i] = place % out[i] * l->stride[i] - pad + tap[i] * l->dilation[i];
		place /= out[i];
	}
	for (int i = 0; i < 3; i++)
		if (at[i] < 0 || at[i] >= in[i])
			return 0;
	int64_t channel = g * (l->fan_in / volume) + k / volume;
	(void)p;
	return (double)x[(((place * s->x[1] + channel) * in[0] + at[0]) * in[1] + at[1]) * in[2] + at[2]];
}

static double plain_loss(const struct shape *s, const struct patches *p, const float *x, int64_t g, const float *d)
{
	double loss = 0;
	for (int64_t t = 0; t < p->positions; t++) {
		double y = 0;
		for (int64_t k = 0; k < p->fan_in; k++)
			y += (double)d[k] * plain_entry(s, p, x, g, t, k);
		loss += y * y;
	}
	return loss;
}

/* ---- tests ---- */

static void vectors_are_what_the_operator_multiplies(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++) {
		const struct shape *s = &shapes[i];
		struct patches p;
		struct err e = ERR_INIT;
		struct ort_info info = info_of(s);
		float *x = random_input(s, 1);
		assert_int_equal(patches_init(&p, &s->layer, &info, &e), 0);
		float *room = malloc((size_t)(p.fan_in * p.positions) * sizeof *room);
		int64_t first = p.positions / 3, count = p.positions - first;
		for (int64_t g = 0; g < p.groups; g++) {
			struct patch_tile t = patches_tile(&p, x, g, first, count, 0, p.fan_in, room);
			for (int64_t k = 0; k < p.fan_in; k++)
				for (int64_t n = 0; n < count; n++) {
					double got = (double)t.data[t.by_k ? k * t.ld + n : n * t.ld + k];
					if (got != plain_entry(s, &p, x, g, first + n, k))
						fail_msg("%s: group %d entry %d of vector %d", s->name, (int)g, (int)k, (int)(first + n));
				}
		}
		free(room);
		free(x);
	}
}

/* Random changes of all sizes, as candidates make them. */
static float *random_changes(int64_t n, unsigned seed)
{
	float *d = malloc((size_t)n * sizeof *d);
	srand(seed);
	for (int64_t i = 0; i < n; i++)
		d[i] = ((float)rand() / (float)RAND_MAX - 0.5f) * 0.1f;
	return d;
}

/* Losses of ROWS changes in each group by a strategy, and their tolerances. */
static void fast_losses(const struct shape *s, enum evidence_strategy strategy, int threads, const float *d, double *loss, double *tol)
{
	struct err e = ERR_INIT;
	struct tiles *tiles = tiles_new(threads);
	struct evidence *v = evidence_new(strategy, s->layer.groups, s->layer.fan_in, 1000, 1000, tiles, &e);
	assert_non_null(v);
	for (unsigned b = 0; b < BATCHES; b++) {
		struct patches p;
		struct ort_info info = info_of(s);
		float *x = random_input(s, b);
		assert_int_equal(patches_init(&p, &s->layer, &info, &e), 0);
		assert_int_equal(evidence_add(v, &p, x, &e), 0);
		free(x);
	}
	assert_int_equal(evidence_finish(v, &e), 0);
	float *scratch = malloc((size_t)evidence_scratch(v) * sizeof *scratch);
	for (int64_t g = 0; g < s->layer.groups; g++) {
		assert_int_equal(evidence_group(v, g, &e), 0);
		evidence_losses(v, d + g * ROWS * s->layer.fan_in, ROWS, scratch, loss + g * ROWS, tol + g * ROWS);
	}
	free(scratch);
	evidence_free(v);
	tiles_free(tiles);
}

static void plain_losses(const struct shape *s, const float *d, double *loss)
{
	struct err e = ERR_INIT;
	for (int64_t i = 0; i < s->layer.groups * ROWS; i++) {
		loss[i] = 0;
		for (unsigned b = 0; b < BATCHES; b++) {
			struct patches p;
			struct ort_info info = info_of(s);
			float *x = random_input(s, b);
			assert_int_equal(patches_init(&p, &s->layer, &info, &e), 0);
			loss[i] += plain_loss(s, &p, x, i / ROWS, d + i * s->layer.fan_in);
			free(x);
		}
	}
}

static void both_strategies_are_within_their_tolerance(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++) {
		const struct shape *s = &shapes[i];
		double plain[64], loss[64], tol[64];
		float *d = random_changes(s->layer.groups * ROWS * s->layer.fan_in, 5);
		plain_losses(s, d, plain);
		for (int strategy = EVIDENCE_GRAM; strategy <= EVIDENCE_DIRECT; strategy++) {
			if (strategy == EVIDENCE_DIRECT && s->layer.groups > 1)
				continue;
			fast_losses(s, (enum evidence_strategy)strategy, THREADS, d, loss, tol);
			for (int64_t r = 0; r < s->layer.groups * ROWS; r++)
				if (!(fabs(loss[r] - plain[r]) <= tol[r]) || (s->rank > 2 && tol[r] > 1e-3 * plain[r]))
					fail_msg("%s: row %d: %.9g, plainly %.9g, tolerance %.3g", s->name, (int)r, loss[r], plain[r], tol[r]);
		}
		free(d);
	}
}

static void losses_do_not_depend_on_threads(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++) {
		const struct shape *s = &shapes[i];
		double one[64], many[64], tol[64];
		float *d = random_changes(s->layer.groups * ROWS * s->layer.fan_in, 6);
		fast_losses(s, EVIDENCE_GRAM, 1, d, one, tol);
		fast_losses(s, EVIDENCE_GRAM, 5, d, many, tol);
		assert_memory_equal(one, many, (size_t)s->layer.groups * ROWS * sizeof *one);
		free(d);
	}
}

static void exact_losses_are_the_plain_ones(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct tiles *tiles = tiles_new(THREADS);
	for (size_t i = 0; i < NSHAPES; i++) {
		const struct shape *s = &shapes[i];
		struct exact_ask asks[64];
		double plain[64];
		int64_t n = s->layer.groups * ROWS, k = s->layer.fan_in;
		float *d = random_changes(n * k, 7);
		double *dd = malloc((size_t)(n * k) * sizeof *dd);
		for (int64_t j = 0; j < n * k; j++)
			dd[j] = (double)d[j];
		for (int64_t j = 0; j < n; j++)
			asks[j] = (struct exact_ask){j / ROWS, dd + j * k, 0};
		for (unsigned b = 0; b < BATCHES; b++) {
			struct patches p;
			struct ort_info info = info_of(s);
			float *x = random_input(s, b);
			assert_int_equal(patches_init(&p, &s->layer, &info, &e), 0);
			assert_int_equal(exact_add(asks, n, &p, x, tiles, &e), 0);
			free(x);
		}
		plain_losses(s, d, plain);
		for (int64_t j = 0; j < n; j++)
			if (fabs(asks[j].loss - plain[j]) > 1e-12 * plain[j])
				fail_msg("%s: row %d: %.17g, plainly %.17g", s->name, (int)j, asks[j].loss, plain[j]);
		free(dd);
		free(d);
	}
	tiles_free(tiles);
}

static void small_matrices_agree_with_their_plain_twin(void **state)
{
	(void)state;
	enum { SEGMENTS = 5, STRIDE = 1300, MAX = GRAM_SMALL_MAX };
	static const int64_t lengths[] = {16, 80, 1296};
	static float mask[STRIDE];
	for (int t = 0; t < STRIDE; t++)
		mask[t] = t % 7 ? 1 : 0;
	for (int64_t k = 1; k <= MAX; k++) {
		float *x = random_changes(k * SEGMENTS * STRIDE, (unsigned)k);
		int64_t length = lengths[k % 3];
		const float *rows[MAX];
		static double fast[MAX * MAX], plain[MAX * MAX];
		memset(fast, 0, sizeof fast);
		memset(plain, 0, sizeof plain);
		for (int64_t i = 0; i < k; i++)
			rows[i] = x + i * SEGMENTS * STRIDE;
		gram_small(rows, mask, k, SEGMENTS, STRIDE, length, fast);
		gram_small_plain(rows, mask, k, SEGMENTS, STRIDE, length, plain);
		assert_memory_equal(fast, plain, sizeof fast);
		for (int64_t i = 0; i < k; i++)
			for (int64_t j = i; j < k; j++) {
				double sum = 0, size = 0;
				for (int64_t s = 0; s < SEGMENTS; s++)
					for (int64_t t = 0; t < length; t++) {
						double both = (double)mask[t] * (double)rows[i][s * STRIDE + t] * (double)rows[j][s * STRIDE + t];
						sum += both;
						size += fabs(both);
					}
				assert_true(fabs(sum - fast[i * k + j]) <= 1e-6 * size);
			}
		free(x);
	}
}

static void inputs_that_are_not_finite_are_refused(void **state)
{
	(void)state;
	const struct shape *s = &shapes[17];
	for (int strategy = EVIDENCE_GRAM; strategy <= EVIDENCE_DIRECT; strategy++) {
		struct err e = ERR_INIT;
		struct tiles *tiles = tiles_new(1);
		struct evidence *v = evidence_new((enum evidence_strategy)strategy, 1, s->layer.fan_in, 1000, 1000, tiles, &e);
		struct patches p;
		struct ort_info info = info_of(s);
		float *x = random_input(s, 1);
		x[77] = strategy == EVIDENCE_GRAM ? NAN : INFINITY;
		assert_int_equal(patches_init(&p, &s->layer, &info, &e), 0);
		assert_int_equal(evidence_add(v, &p, x, &e), 0);
		assert_int_equal(evidence_finish(v, &e), -1);
		assert_int_equal(e.code, ERR_NON_FINITE);
		free(x);
		evidence_free(v);
		tiles_free(tiles);
	}
}

static void inputs_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	struct patches p;
	struct err e = ERR_INIT;
	struct ort_info info = info_of(&shapes[0]);
	info.shape[1] = 23;
	assert_int_equal(patches_init(&p, &shapes[0].layer, &info, &e), -1);
	assert_int_equal(e.code, ERR_UNSUPPORTED_GRAPH);
	info.rank = 3;
	assert_int_equal(patches_init(&p, &shapes[0].layer, &info, &e), -1);
	info = info_of(&shapes[17]);
	info.shape[2] = 71;
	assert_int_equal(patches_init(&p, &shapes[17].layer, &info, &e), -1);
}

static int load_blas(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	return gemm_open(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_are_what_the_operator_multiplies),
		cmocka_unit_test(both_strategies_are_within_their_tolerance),
		cmocka_unit_test(losses_do_not_depend_on_threads),
		cmocka_unit_test(exact_losses_are_the_plain_ones),
		cmocka_unit_test(small_matrices_agree_with_their_plain_twin),
		cmocka_unit_test(inputs_that_are_not_finite_are_refused),
		cmocka_unit_test(inputs_that_do_not_fit_are_refused),
	};
	return cmocka_run_group_tests(tests, load_blas, NULL);
}
