/* The fast ways to a layer's losses against loops that anyone can read: vectors out of an input, Gram matrices, both
 * strategies, exact losses; on random layers of every shape that a Conv or a matrix product can have. */

#include "core/kernels/gemm.h"
#include "core/kernels/gram.h"
#include "core/kernels/patches.h"
#include "core/search/evidence.h"
#include "core/search/exact.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCHES = 3, ROWS = 7, THREADS = 3 };
static const double SCALE = -0.7; /* of the layers' outputs */

/* A layer and one input shape. */
struct shape {
	const char *name;
	struct layer layer;
	int rank;
	int64_t x[5];
};

#define CONV(groups_, per_group, spatial_, ...) \
	.layer = {.op = LAYER_CONV,             \
	          .groups = groups_,            \
	          .fan_in = per_group,          \
	          .spatial = spatial_,          \
	          .blocks = 1,                  \
	          .scale = 1,                   \
	          __VA_ARGS__}
#define K3(a, b, c) .kernel = {a, b, c}
#define ONES        .stride = {1, 1, 1}, .dilation = {1, 1, 1}

static const struct shape shapes[] = {
	{"pointwise", CONV(1, 24, 2, K3(1, 1, 1), ONES), 4, {3, 24, 9, 11}},
	{"pointwise, strided", CONV(1, 8, 2, K3(1, 1, 1), .stride = {1, 2, 3}, .dilation = {1, 1, 1}), 4, {2, 8, 9, 11}},
	{"3x3 padded", CONV(1, 5 * 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}), 4, {2, 5, 13, 8}},
	{"3x3 strided, uneven pads",
         CONV(1, 4 * 9, 2, K3(1, 3, 3), .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pad_begin = {0, 0, 1}, .pad_end = {0, 1, 2}),
         4,
         {2, 4, 11, 12}},
	{"dilated",
         CONV(1, 3 * 15, 2, K3(1, 3, 5), .stride = {1, 1, 2}, .dilation = {1, 3, 2}, .pad_begin = {0, 3, 4}, .pad_end = {0, 2, 4}),
         4,
         {1, 3, 14, 17}},
	{"same upper",
         CONV(1, 2 * 16, 2, K3(1, 4, 4), .stride = {1, 2, 3}, .dilation = {1, 1, 1}, .auto_pad = LAYER_PAD_SAME_UPPER),
         4,
         {2, 2, 9, 10}},
	{"same lower",
         CONV(1, 2 * 16, 2, K3(1, 4, 4), .stride = {1, 2, 3}, .dilation = {1, 1, 1}, .auto_pad = LAYER_PAD_SAME_LOWER),
         4,
         {2, 2, 9, 10}},
	{"depthwise", CONV(6, 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}), 4, {2, 6, 30, 41}},
	{"depthwise 5x5 strided",
         CONV(4, 25, 2, K3(1, 5, 5), .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pad_begin = {0, 2, 2}, .pad_end = {0, 2, 2}),
         4,
         {3, 4, 19, 23}},
	{"depthwise, dilated and strided unevenly",
         CONV(5, 9, 2, K3(1, 3, 3), .stride = {1, 3, 2}, .dilation = {1, 2, 3}, .pad_begin = {0, 2, 1}, .pad_end = {0, 0, 4}),
         4,
         {3, 5, 17, 16}},
	{"depthwise 5x5, dilated, uneven pads",
         CONV(3, 25, 2, K3(1, 5, 5), .stride = {1, 1, 1}, .dilation = {1, 2, 1}, .pad_begin = {0, 3, 1}, .pad_end = {0, 4, 3}),
         4,
         {5, 3, 12, 9}},
	{"depthwise, no padding", CONV(4, 9, 2, K3(1, 3, 3), ONES), 4, {3, 4, 5, 20}},
	{"depthwise, kernel beyond the picture",
         CONV(2, 25, 2, K3(1, 5, 5), ONES, .pad_begin = {0, 2, 2}, .pad_end = {0, 2, 2}),
         4,
         {40, 2, 2, 3}},
	{"depthwise 1-d", CONV(3, 7, 1, K3(1, 1, 7), ONES, .pad_begin = {0, 0, 3}, .pad_end = {0, 0, 3}), 3, {4, 3, 37}},
	{"one channel", CONV(1, 49, 2, K3(1, 7, 7), ONES, .pad_begin = {0, 3, 3}, .pad_end = {0, 3, 3}), 4, {2, 1, 28, 28}},
	{"small kernel, stride beyond it",
         CONV(1, 2 * 4, 2, K3(1, 2, 2), .stride = {1, 3, 4}, .dilation = {1, 1, 1}),
         4,
         {5, 2, 10, 13}},
	{"stem",
         CONV(1, 3 * 9, 2, K3(1, 3, 3), .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .pad_end = {0, 1, 1}),
         4,
         {3, 3, 64, 70}},
	{"padding wider than the picture",
         CONV(2, 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 4, 3}, .pad_end = {0, 3, 5}),
         4,
         {1, 2, 2, 1}},
	{"grouped", CONV(3, 6 * 9, 2, K3(1, 3, 3), ONES), 4, {2, 18, 7, 9}},
	{"1-d",
         CONV(1, 7 * 5, 1, K3(1, 1, 5), .stride = {1, 1, 2}, .dilation = {1, 1, 2}, .pad_begin = {0, 0, 3}, .pad_end = {0, 0, 1}),
         3,
         {4, 7, 37}},
	{"3-d",
         CONV(1, 2 * 12, 3, K3(2, 2, 3), .stride = {1, 2, 1}, .dilation = {2, 1, 1}, .pad_begin = {1, 0, 1}, .pad_end = {0, 1, 1}),
         5,
         {2, 2, 5, 6, 7}},
	{"large fan-in", CONV(1, 28 * 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}), 4, {4, 28, 24, 27}},
	{"3x3 of many channels",
         CONV(1, 9 * 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}),
         4,
         {3, 9, 14, 11}},
	{"many channels, no padding", CONV(1, 10 * 9, 2, K3(1, 3, 3), ONES), 4, {2, 10, 9, 8}},
	{"many channels, wide kernel",
         CONV(1, 8 * 14, 2, K3(1, 2, 7), ONES, .pad_begin = {0, 1, 3}, .pad_end = {0, 0, 3}),
         4,
         {2, 8, 12, 13}},
	{"many channels, dilated, uneven pads",
         CONV(1, 12 * 9, 2, K3(1, 3, 3), .stride = {1, 1, 1}, .dilation = {1, 2, 3}, .pad_begin = {0, 2, 5}, .pad_end = {0, 3, 1}),
         4,
         {2, 12, 9, 10}},
	{"many channels, picture smaller than the kernel",
         CONV(1, 8 * 25, 2, K3(1, 5, 5), ONES, .pad_begin = {0, 2, 3}, .pad_end = {0, 2, 2}),
         4,
         {9, 8, 3, 2}},
	{"many channels, same upper", CONV(1, 8 * 16, 2, K3(1, 4, 4), ONES, .auto_pad = LAYER_PAD_SAME_UPPER), 4, {2, 8, 9, 10}},
	{"matrix", .layer = {.op = LAYER_MATMUL, .groups = 1, .fan_in = 70, .blocks = 1, .scale = 1}, 3, {2, 33, 70}},
	{"large matrix", .layer = {.op = LAYER_MATMUL, .groups = 1, .fan_in = 300, .blocks = 1, .scale = 1}, 2, {1500, 300}},
	{"narrow matrix", .layer = {.op = LAYER_GEMM, .groups = 1, .fan_in = 3, .blocks = 1, .scale = 1}, 2, {90, 3}},
	{"transposed matrix",
         .layer = {.op = LAYER_GEMM, .groups = 1, .fan_in = 40, .trans_a = true, .blocks = 1, .scale = 1},
         2,
         {40, 65}},
	{"few rows", .layer = {.op = LAYER_GEMM, .groups = 1, .fan_in = 130, .blocks = 1, .scale = 1}, 2, {2, 130}},
	{"pointwise, pictures that fill lanes", CONV(1, 24, 2, K3(1, 1, 1), ONES), 4, {3, 24, 8, 40}},
	{"pointwise, pictures of several parts", CONV(1, 19, 2, K3(1, 1, 1), ONES), 4, {1, 19, 40, 36}},
	{"grouped pointwise", CONV(3, 20, 2, K3(1, 1, 1), ONES), 4, {2, 60, 8, 20}},
	{"pointwise, pixels in panels", CONV(1, 70, 2, K3(1, 1, 1), ONES), 4, {3, 70, 16, 10}},
	{"pointwise, pixels in panels, several parts", CONV(1, 191, 2, K3(1, 1, 1), ONES), 4, {2, 191, 45, 40}},
	{"grouped pointwise, pixels in panels", CONV(2, 65, 2, K3(1, 1, 1), ONES), 4, {2, 130, 8, 20}},
	{"many channels, pointwise, small pictures", CONV(1, 203, 2, K3(1, 1, 1), ONES), 4, {60, 203, 7, 7}},
	{"many channels, pointwise, strided", CONV(1, 203, 2, K3(1, 1, 1), .stride = {1, 2, 2}, .dilation = {1, 1, 1}), 4, {5, 203, 9, 7}},
	{"many channels, pointwise", CONV(1, 196, 2, K3(1, 1, 1), ONES), 4, {1, 196, 23, 23}},
	{"many channels, strided", CONV(1, 10 * 9, 2, K3(1, 3, 3), .stride = {1, 2, 2}, .dilation = {1, 1, 1}), 4, {5, 10, 35, 33}},
	{"many channels, strided and dilated unevenly, uneven pads",
         CONV(1, 9 * 15, 2, K3(1, 3, 5), .stride = {1, 2, 3}, .dilation = {1, 3, 1}, .pad_begin = {0, 4, 1}, .pad_end = {0, 2, 5}),
         4,
         {3, 9, 15, 14}},
	{"many channels, stride along one axis",
         CONV(1, 17 * 9, 2, K3(1, 3, 3), .stride = {1, 1, 2}, .dilation = {1, 1, 1}, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}),
         4,
         {3, 17, 9, 14}},
	{"many channels, stride beyond the picture",
         CONV(1, 34 * 4, 2, K3(1, 2, 2), .stride = {1, 5, 7}, .dilation = {1, 1, 1}, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}),
         4,
         {4, 34, 4, 6}},
	{"pointwise, strided, more channels",
         CONV(1, 70, 2, K3(1, 1, 1), .stride = {1, 2, 2}, .dilation = {1, 1, 1}),
         4,
         {3, 70, 9, 8}},
	{"many channels, pictures of several runs",
         CONV(1, 8 * 9, 2, K3(1, 3, 3), ONES, .pad_begin = {0, 1, 1}, .pad_end = {0, 1, 1}),
         4,
         {2, 8, 80, 70}},
	{"many channels, long rows",
         CONV(1, 8 * 7, 1, K3(1, 1, 7), ONES, .pad_begin = {0, 0, 3}, .pad_end = {0, 0, 3}),
         3,
         {2, 8, 5000}},
	{"one row", .layer = {.op = LAYER_MATMUL, .groups = 1, .fan_in = 12, .blocks = 1, .scale = 1}, 1, {12}},
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
	int64_t in[3] = {1, 1, 1}, at[3], volume = l->kernel[0] * l->kernel[1] * l->kernel[2], out[3], tap[3], rest = k % volume,
		place = position;
	for (int i = 0; i < l->spatial; i++)
		in[3 - l->spatial + i] = s->x[2 + i];
	for (int i = 0; i < 3; i++) {
		int64_t reach = (l->kernel[i] - 1) * l->dilation[i] + 1;
		out[i] = l->auto_pad ? (in[i] + l->stride[i] - 1) / l->stride[i]
		                     : (in[i] + l->pad_begin[i] + l->pad_end[i] - reach) / l->stride[i] + 1;
		if (i < 3 - l->spatial)
			out[i] = 1;
	}
	for (int i = 2; i >= 0; i--) {
		int64_t reach = (l->kernel[i] - 1) * l->dilation[i] + 1, total = (out[i] - 1) * l->stride[i] + reach - in[i],
			pad = l->pad_begin[i];
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

/* The loss of a batch, from its definition. f is what the float side sees, or NULL. */
static double plain_loss(const struct shape *s, const struct patches *p, const float *x, const float *f, enum loss_fn fn, int64_t g,
                         const float *d, const float *w)
{
	double sum = 0;
	for (int64_t t = 0; t < p->positions; t++) {
		double y = 0;
		for (int64_t k = 0; k < p->fan_in; k++) {
			double entry = plain_entry(s, p, x, g, t, k), quantized = (double)w[k] + (double)d[k];
			y += quantized * entry - (double)w[k] * (f ? plain_entry(s, p, f, g, t, k) : entry);
		}
		y *= SCALE;
		sum += fn == LOSS_L1 ? fabs(y) : y * y;
	}
	return fn == LOSS_SQNR ? 10 * log10(sum / (double)p->positions + 1e-10) / BATCHES : sum;
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
						fail_msg("%s: group %d entry %d of vector %d", s->name, (int)g, (int)k,
						         (int)(first + n));
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

/* ROWS changes in each group, of the one weight vector that its channels are. */
struct question {
	const struct shape *shape;
	const float *d, *w;
	float *x, *x_float; /* of the batch that is being looked at */
	bool two;
};

static void question_change(void *ctx, int64_t row, float *d)
{
	const struct question *q = ctx;
	memcpy(d, q->d + row * q->shape->layer.fan_in, (size_t)q->shape->layer.fan_in * sizeof *d);
}

static const float *question_weights(void *ctx, int64_t group, int64_t vector)
{
	const struct question *q = ctx;
	assert_int_equal(vector, 0);
	return q->w + group * q->shape->layer.fan_in;
}

/* What the float side sees is the other's input, a little off. */
static float *float_input(const struct shape *s, unsigned seed)
{
	struct ort_info info = info_of(s);
	float *x = random_input(s, seed);
	for (int64_t i = 0; i < info.count; i++)
		x[i] += x[i] * 0.2f * ((float)rand() / (float)RAND_MAX - 0.4f);
	return x;
}

static int question_look(void *ctx, int64_t batch, struct patches_input *in, struct err *e)
{
	struct question *q = ctx;
	struct ort_info info = info_of(q->shape);
	q->x = random_input(q->shape, (unsigned)batch);
	q->x_float = q->two ? float_input(q->shape, (unsigned)batch) : NULL;
	*in = (struct patches_input){.x = q->x, .x_float = q->x_float};
	return patches_init(&in->patches, &q->shape->layer, &info, e);
}

static void question_looked(void *ctx, int64_t batch)
{
	struct question *q = ctx;
	(void)batch;
	free(q->x);
	free(q->x_float);
}

/* What the first question left behind makes no difference to the next one. */
static void ask_again(struct evidence *v, const struct evidence_ask *ask, const double *loss, size_t rows)
{
	struct err e = ERR_INIT;
	double *again = malloc(2 * rows * sizeof *again);
	assert_non_null(again);
	assert_int_equal(evidence_losses(v, ask, again, again + rows, &e), 0);
	assert_memory_equal(again, loss, rows * sizeof *loss);
	free(again);
}

/* Losses of the changes by a strategy, and their tolerances. */
static void fast_losses(struct question *q, enum evidence_strategy strategy, enum loss_fn loss_fn, int threads, double *loss,
                        double *tol)
{
	struct err e = ERR_INIT;
	struct tiles *tiles = tiles_new(threads);
	const struct layer *l = &q->shape->layer;
	struct evidence_setup setup = {.strategy = strategy,
	                               .loss = loss_fn,
	                               .groups = l->groups,
	                               .fan_in = l->fan_in,
	                               .positions = 1000,
	                               .rows = 1000,
	                               .source = {.ctx = q, .batches = BATCHES, .look = question_look, .looked = question_looked}};
	struct evidence_ask ask = {
		.vectors = 1, .changes = ROWS, .scale = SCALE, .ctx = q, .change = question_change, .weights = question_weights};
	struct evidence *v = evidence_new(&setup, tiles, &e);
	assert_non_null(v);
	for (int64_t b = 0; b < BATCHES; b++) {
		struct patches_input in;
		assert_int_equal(question_look(q, b, &in, &e), 0);
		assert_int_equal(evidence_add(v, &in, &e), 0);
		question_looked(q, b);
	}
	assert_int_equal(evidence_finish(v, &e), 0);
	assert_int_equal(evidence_losses(v, &ask, loss, tol, &e), 0);
	ask_again(v, &ask, loss, (size_t)(l->groups * ROWS));
	evidence_free(v);
	tiles_free(tiles);
}

static void plain_losses(struct question *q, enum loss_fn fn, double *loss)
{
	struct err e = ERR_INIT;
	const struct layer *l = &q->shape->layer;
	memset(loss, 0, (size_t)(l->groups * ROWS) * sizeof *loss);
	for (int64_t b = 0; b < BATCHES; b++) {
		struct patches_input in;
		assert_int_equal(question_look(q, b, &in, &e), 0);
		for (int64_t i = 0; i < l->groups * ROWS; i++)
			loss[i] += plain_loss(q->shape, &in.patches, in.x, in.x_float, fn, i / ROWS, q->d + i * l->fan_in,
			                      q->w + i / ROWS * l->fan_in);
		question_looked(q, b);
	}
}

static struct question question_of(const struct shape *s, bool two, unsigned seed)
{
	return (struct question){.shape = s,
	                         .two = two,
	                         .d = random_changes(s->layer.groups * ROWS * s->layer.fan_in, seed),
	                         .w = random_changes(s->layer.groups * s->layer.fan_in, seed + 1)};
}

static void question_fini(struct question *q)
{
	free((void *)(uintptr_t)q->d);
	free((void *)(uintptr_t)q->w);
}

/* Tolerances must hold, and be worth something: 1e-3 of a loss, but for a row or two of input. */
static void check_strategy(struct question *q, enum evidence_strategy strategy, enum loss_fn fn)
{
	double plain[64], loss[64], tol[64];
	plain_losses(q, fn, plain);
	fast_losses(q, strategy, fn, THREADS, loss, tol);
	for (int64_t r = 0; r < q->shape->layer.groups * ROWS; r++) {
		double worth = fn == LOSS_SQNR ? 5e-3 : 1e-3 * plain[r];
		if (!(fabs(loss[r] - plain[r]) <= tol[r]) || (q->shape->rank > 2 && tol[r] > worth))
			fail_msg("%s, strategy %d, loss %d, %d streams: row %d: %.9g, plainly %.9g, tolerance %.3g", q->shape->name,
			         strategy, fn, q->two + 1, (int)r, loss[r], plain[r], tol[r]);
	}
}

static void every_loss_is_within_its_tolerance(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++)
		for (int two = 0; two < 2; two++) {
			struct question q = question_of(&shapes[i], two, 5);
			check_strategy(&q, EVIDENCE_GRAM, LOSS_MSE);
			check_strategy(&q, EVIDENCE_DIRECT, LOSS_MSE);
			check_strategy(&q, EVIDENCE_GRAM, LOSS_SQNR);
			check_strategy(&q, EVIDENCE_DIRECT, LOSS_SQNR);
			check_strategy(&q, EVIDENCE_AUTO, LOSS_L1);
			question_fini(&q);
		}
}

static void losses_do_not_depend_on_threads(void **state)
{
	(void)state;
	for (size_t i = 0; i < NSHAPES; i++) {
		struct question q = question_of(&shapes[i], i % 2, 6);
		for (int strategy = EVIDENCE_GRAM; strategy <= EVIDENCE_DIRECT; strategy++) {
			double one[64], many[64], tol[64];
			enum loss_fn fn = strategy == EVIDENCE_GRAM ? LOSS_MSE : LOSS_L1;
			fast_losses(&q, (enum evidence_strategy)strategy, fn, 1, one, tol);
			fast_losses(&q, (enum evidence_strategy)strategy, fn, 5, many, tol);
			assert_memory_equal(one, many, (size_t)q.shape->layer.groups * ROWS * sizeof *one);
		}
		question_fini(&q);
	}
}

/* Asks exactly for a question's rows. */
static void ask_exactly(struct question *q, enum loss_fn fn, struct tiles *tiles, struct exact_ask *asks)
{
	struct err e = ERR_INIT;
	int64_t n = q->shape->layer.groups * ROWS, k = q->shape->layer.fan_in;
	double *d = malloc((size_t)(n * k) * sizeof *d);
	for (int64_t j = 0; j < n * k; j++)
		d[j] = SCALE * (double)q->d[j];
	for (int64_t j = 0; j < n; j++)
		asks[j] = (struct exact_ask){.group = j / ROWS, .d = d + j * k, .w = q->w + j / ROWS * k, .scale = SCALE};
	for (int64_t b = 0; b < BATCHES; b++) {
		struct patches_input in;
		assert_int_equal(question_look(q, b, &in, &e), 0);
		assert_int_equal(exact_add(asks, n, fn, &in, tiles, &e), 0);
		question_looked(q, b);
	}
	for (int64_t j = 0; j < n; j++)
		asks[j].loss = loss_of_run(fn, asks[j].loss, BATCHES);
	free(d);
}

static void exact_losses_are_the_plain_ones(void **state)
{
	(void)state;
	struct tiles *tiles = tiles_new(THREADS);
	for (size_t i = 0; i < NSHAPES; i++)
		for (int two = 0; two < 2; two++)
			for (int fn = LOSS_MSE; fn <= LOSS_SQNR; fn++) {
				struct question q = question_of(&shapes[i], two, 7);
				struct exact_ask asks[64];
				double plain[64];
				ask_exactly(&q, (enum loss_fn)fn, tiles, asks);
				plain_losses(&q, (enum loss_fn)fn, plain);
				for (int64_t j = 0; j < q.shape->layer.groups * ROWS; j++)
					if (!(fabs(asks[j].loss - plain[j]) <= 1e-11 * fabs(plain[j])))
						fail_msg("%s, loss %d, %d streams: row %d: %.17g, plainly %.17g", q.shape->name, fn,
						         two + 1, (int)j, asks[j].loss, plain[j]);
				question_fini(&q);
			}
	tiles_free(tiles);
}

/* ---- sqnr by pixels ---- */

/* Of a batch: at every pixel the decibels of the mean over the images, summed. */
static double plain_decibels(const struct question *q, const struct patches_input *in, int64_t row)
{
	const struct shape *s = q->shape;
	const struct patches *p = &in->patches;
	int64_t pixels = p->out[0] * p->out[1] * p->out[2], g = row / ROWS, k = p->fan_in;
	double sum = 0;
	for (int64_t pixel = 0; pixel < pixels; pixel++) {
		double mean = 0;
		for (int64_t image = 0; image < s->x[0]; image++) {
			double e = 0;
			for (int64_t i = 0; i < k; i++) {
				double x = plain_entry(s, p, in->x, g, image * pixels + pixel, i), w = (double)q->w[g * k + i];
				double f = in->x_float ? plain_entry(s, p, in->x_float, g, image * pixels + pixel, i) : x;
				e += (w + (double)q->d[row * k + i]) * x - w * f;
			}
			mean += SCALE * SCALE * e * e / (double)s->x[0];
		}
		sum += 10 * log10(mean + 1e-10);
	}
	return sum / (double)pixels / BATCHES;
}

static void check_by_pixel(const struct shape *s, bool two, struct tiles *tiles)
{
	struct err e = ERR_INIT;
	struct question q = question_of(s, two, 9);
	int64_t n = s->layer.groups * ROWS, k = s->layer.fan_in;
	double loss[64], tol[64], plain[64] = {0}, *d = malloc((size_t)(n * k) * sizeof *d);
	struct exact_ask asks[64];
	int64_t pixels = 0;
	struct evidence_setup setup = {.loss = LOSS_SQNR,
	                               .by_pixel = true,
	                               .groups = s->layer.groups,
	                               .fan_in = k,
	                               .source = {.ctx = &q, .batches = BATCHES, .look = question_look, .looked = question_looked}};
	struct evidence_ask ask = {
		.vectors = 1, .changes = ROWS, .scale = SCALE, .ctx = &q, .change = question_change, .weights = question_weights};
	struct evidence *v = evidence_new(&setup, tiles, &e);
	assert_int_equal(evidence_losses(v, &ask, loss, tol, &e), 0);
	evidence_free(v);
	for (int64_t i = 0; i < n * k; i++)
		d[i] = SCALE * (double)q.d[i];
	for (int64_t i = 0; i < n; i++)
		asks[i] = (struct exact_ask){.group = i / ROWS, .d = d + i * k, .w = q.w + i / ROWS * k, .scale = SCALE};
	for (int64_t b = 0; b < BATCHES; b++) {
		struct patches_input in;
		assert_int_equal(question_look(&q, b, &in, &e), 0);
		assert_int_equal(exact_add_by_pixel(asks, n, &in, tiles, &e), 0);
		pixels += patches_pixels(&in.patches);
		for (int64_t i = 0; i < n; i++)
			plain[i] += plain_decibels(&q, &in, i);
		question_looked(&q, b);
	}
	for (int64_t i = 0; i < n; i++) {
		double exact = loss_of_run(LOSS_SQNR, asks[i].loss, pixels);
		if (!(fabs(loss[i] - plain[i]) <= tol[i] + 1e-12) || tol[i] > 1 || fabs(exact - plain[i]) > 1e-9)
			fail_msg("%s, %d streams: row %d: %.12g, tolerance %.3g, exactly %.12g, plainly %.12g", s->name, two + 1,
			         (int)i, loss[i], tol[i], exact, plain[i]);
	}
	free(d);
	question_fini(&q);
}

static void decibels_are_taken_at_every_pixel(void **state)
{
	(void)state;
	struct tiles *tiles = tiles_new(THREADS);
	for (size_t i = 0; i < NSHAPES; i++)
		for (int two = 0; two < 2; two++)
			if (shapes[i].layer.op == LAYER_CONV)
				check_by_pixel(&shapes[i], two, tiles);
	tiles_free(tiles);
}

static int look_at_nan(void *ctx, int64_t batch, struct patches_input *in, struct err *e)
{
	int rc = question_look(ctx, batch, in, e);
	if (batch == 1)
		((struct question *)ctx)->x[77] = NAN;
	return rc;
}

static void inputs_that_are_not_finite_are_refused(void **state)
{
	(void)state;
	struct question q = question_of(&shapes[28], false, 8);
	for (int strategy = EVIDENCE_GRAM; strategy <= EVIDENCE_DIRECT; strategy++) {
		struct err e = ERR_INIT;
		struct tiles *tiles = tiles_new(1);
		double loss[64], tol[64];
		struct evidence_setup setup = {
			.strategy = (enum evidence_strategy)strategy,
			.groups = 1,
			.fan_in = q.shape->layer.fan_in,
			.source = {.ctx = &q, .batches = BATCHES, .look = look_at_nan, .looked = question_looked}};
		struct evidence_ask ask = {.vectors = 1,
		                           .changes = ROWS,
		                           .scale = 1,
		                           .ctx = &q,
		                           .change = question_change,
		                           .weights = question_weights};
		struct evidence *v = evidence_new(&setup, tiles, &e);
		struct patches_input in;
		assert_int_equal(look_at_nan(&q, 1, &in, &e), 0);
		assert_int_equal(evidence_add(v, &in, &e), 0);
		question_looked(&q, 1);
		assert_true(evidence_finish(v, &e) || evidence_losses(v, &ask, loss, tol, &e));
		assert_int_equal(e.code, ERR_NON_FINITE);
		evidence_free(v);
		tiles_free(tiles);
	}
	question_fini(&q);
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
	info = info_of(&shapes[28]);
	info.shape[2] = 71;
	assert_int_equal(patches_init(&p, &shapes[28].layer, &info, &e), -1);
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
		cmocka_unit_test(every_loss_is_within_its_tolerance),
		cmocka_unit_test(losses_do_not_depend_on_threads),
		cmocka_unit_test(exact_losses_are_the_plain_ones),
		cmocka_unit_test(decibels_are_taken_at_every_pixel),
		cmocka_unit_test(inputs_that_are_not_finite_are_refused),
		cmocka_unit_test(inputs_that_do_not_fit_are_refused),
	};
	return cmocka_run_group_tests(tests, load_blas, NULL);
}
