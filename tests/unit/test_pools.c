/* Losses that are left out because of sums of neighbouring inputs: bounds stay below losses, whatever the inputs are; and on the layers of
 * real models ($SEQMSED_SHARED) every choice and its loss are those of the plain way, which asks for all candidates. */

#include "core/base/numbers.h"
#include "core/kernels/gemm.h"
#include "core/kernels/sweep.h"
#include "core/search/evidence.h"
#include "core/search/exact.h"
#include "core/search/pools.h"
#include "core/search/seqmse.h"
#include "shared.h"
#include "watched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { CANDIDATES = 20, BATCHES = 2, THREADS = 2 };

/* ---- sums ---- */

static void sums_agree_with_their_plain_twins(void **state)
{
	enum { MOST = 150 };
	float x[MOST];
	(void)state;
	for (int i = 0; i < MOST; i++)
		x[i] = (float)(i * i % 97 - 40) / 7;
	for (int n = 0; n <= MOST; n++) {
		double squares, squares_plain, sizes, sizes_plain, a = 0, b = 0;
		add_squares(x, n, &squares);
		add_squares_plain(x, n, &squares_plain);
		add_sizes(x, n, &sizes);
		add_sizes_plain(x, n, &sizes_plain);
		for (int i = 0; i < n; i++) {
			a += (double)x[i] * (double)x[i];
			b += fabs((double)x[i]);
		}
		assert_true(squares == squares_plain && squares == sum_squares(x, n) && fabs(squares - a) <= 1e-12 * a);
		assert_true(sizes == sizes_plain && sizes == sum_sizes(x, n) && fabs(sizes - b) <= 1e-12 * b);
	}
}

/* ---- bounds ---- */

enum { K = 40, ROWS = 6 };

struct made {
	float *d, *w;
	int64_t k;
};

static void made_change(void *ctx, int64_t row, float *d)
{
	const struct made *m = ctx;
	memcpy(d, m->d + row * m->k, (size_t)m->k * sizeof *d);
}

static const float *made_weights(void *ctx, int64_t group, int64_t vector)
{
	(void)group;
	(void)vector;
	return ((const struct made *)ctx)->w;
}

static float uniform(void)
{
	return (float)rand() / (float)RAND_MAX - 0.5f;
}

static float *numbers(int64_t n, float shared, float own, float size)
{
	float *x = malloc((size_t)n * sizeof *x);
	for (int64_t i = 0; i < n; i++)
		x[i] = size * (shared * (float)(i % K % 5 + 1) + own * uniform());
	return x;
}

/* By definition, in double. */
static double plain_loss(const struct patches_input *in, const struct made *m, int64_t row, double scale, enum loss_fn loss)
{
	double sum = 0;
	for (int64_t p = 0; p < in->patches.positions; p++) {
		double e = 0;
		for (int k = 0; k < K; k++) {
			double x = (double)in->x[p * K + k];
			e += (double)m->d[row * K + k] * x;
			e += in->x_float ? (double)m->w[k] * (x - (double)in->x_float[p * K + k]) : 0;
		}
		sum += loss == LOSS_L1 ? fabs(scale * e) : scale * scale * e * e;
	}
	return loss_of_batch(loss, sum, in->patches.positions);
}

static void check_bounds(float shared, float own, float size, int64_t positions, bool differ)
{
	struct err e = ERR_INIT;
	float *x = numbers(positions * K, shared, own, size), *y = numbers(positions * K, shared, own, size);
	struct made m = {numbers(ROWS * K, 0, 1, 1), numbers(K, 0, 1, 1), K};
	const struct patches_input in = {.patches = {.groups = 1, .fan_in = K, .positions = positions, .linear = true},
	                                 .x = x,
	                                 .x_float = differ ? y : NULL};
	const struct evidence_ask ask = {
		.vectors = ROWS / 2, .changes = 2, .scale = -3, .ctx = &m, .change = made_change, .weights = made_weights};
	struct tiles *tiles = tiles_new(THREADS);
	for (int loss = LOSS_MSE; loss <= LOSS_SQNR; loss++) {
		double bound[ROWS] = {0};
		assert_int_equal(pools_add(&in, &ask, (enum loss_fn)loss, tiles, bound, &e), 0);
		for (int row = 0; row < ROWS; row++) {
			double plain = plain_loss(&in, &m, row, ask.scale, (enum loss_fn)loss);
			if (!(bound[row] <= plain))
				fail_msg("%s: bound %.17g, loss %.17g", loss_name((enum loss_fn)loss), bound[row], plain);
			bool whole = loss == LOSS_L1 || (loss == LOSS_MSE && positions % SWEEP_POOL == 0);
			if (own == 0 && !differ && whole) /* all errors are one: nothing is lost but the margin */
				assert_true(bound[row] >= 0.9 * plain);
		}
	}
	tiles_free(tiles);
	free(x);
	free(y);
	free(m.d);
	free(m.w);
}

static void bounds_are_below_the_losses(void **state)
{
	(void)state;
	static const int64_t positions[] = {1, 3, 255, 256, 4000, 20000};
	for (size_t i = 0; i < sizeof positions / sizeof *positions; i++)
		for (int differ = 0; differ < 2; differ++) {
			srand((unsigned)i + 1);
			check_bounds(1, 0, 1, positions[i], differ);      /* all vectors are the same */
			check_bounds(1, 1e-4f, 1, positions[i], differ);  /* almost */
			check_bounds(1, 1, 1, positions[i], differ);      /* like activations */
			check_bounds(0, 1, 1, positions[i], differ);      /* neighbours have nothing in common */
			check_bounds(1, 1, 1e-37f, positions[i], differ); /* products are subnormal */
			check_bounds(1, 1, 1e-45f, positions[i], differ); /* inputs are */
			check_bounds(1, 1, 3e37f, positions[i], differ);  /* sums are infinite */
			check_bounds(0, 0, 1, positions[i], differ);      /* nothing */
		}
}

/* Threads share the entries of a wide convolution's vectors, the last of which are fewer than the others. */
static void sums_are_the_same_with_any_number_of_threads(void **state)
{
	enum { CHANNELS = 40, SIDE = 28, IMAGES = 8, FAN_IN = CHANNELS * 9, TIMES = 20 };
	struct err e = ERR_INIT;
	int64_t n = (int64_t)IMAGES * CHANNELS * SIDE * SIDE;
	float *x = numbers(n, 0, 1, 1), *y = numbers(n, 0, 1, 1);
	struct made m = {numbers((int64_t)ROWS * FAN_IN, 0, 1, 1), numbers(FAN_IN, 0, 1, 1), FAN_IN};
	struct patches_input in = {.patches = {.groups = 1,
	                                       .fan_in = FAN_IN,
	                                       .positions = (int64_t)IMAGES * SIDE * SIDE,
	                                       .in_channels = CHANNELS,
	                                       .in = {1, SIDE, SIDE},
	                                       .out = {1, SIDE, SIDE},
	                                       .kernel = {1, 3, 3},
	                                       .stride = {1, 1, 1},
	                                       .dilation = {1, 1, 1},
	                                       .pad = {0, 1, 1}},
	                           .x = x};
	const struct evidence_ask ask = {
		.vectors = ROWS / 2, .changes = 2, .scale = 1, .ctx = &m, .change = made_change, .weights = made_weights};
	(void)state;
	for (int differ = 0; differ < 2; differ++) {
		double bound[ROWS];
		in.x_float = differ ? y : NULL;
		for (int time = 0; time < TIMES; time++) {
			double again[ROWS] = {0};
			struct tiles *tiles = tiles_new(time == 0 ? 1 : 1 + time % 3);
			assert_int_equal(pools_add(&in, &ask, LOSS_L1, tiles, again, &e), 0);
			if (time == 0)
				memcpy(bound, again, sizeof bound);
			assert_memory_equal(bound, again, sizeof bound);
			tiles_free(tiles);
		}
	}
	free(x);
	free(y);
	free(m.d);
	free(m.w);
}

/* ---- real layers ---- */

struct kept {
	float *x, *x_float;
	struct patches_input in;
};

struct walk {
	struct watched w;
	enum loss_fn fn;
	struct kept *inputs; /* [layers][BATCHES] */
	int checked;
};

static float *copied(const float *x, int64_t n)
{
	float *copy = x ? malloc((size_t)n * sizeof *copy) : NULL;
	if (copy)
		memcpy(copy, x, (size_t)n * sizeof *copy);
	return copy;
}

static void on_input(void *ctx, const char *weight, int64_t batch, int rank, const int64_t *shape, const float *x,
                     const float *x_float)
{
	struct walk *w = ctx;
	int at = watched_layer(&w->w, weight);
	struct kept *k = &w->inputs[at * BATCHES + batch];
	struct ort_info info = {.elem_type = 1, .rank = rank, .count = 1};
	struct err e = ERR_INIT;
	for (int i = 0; i < rank; i++)
		info.count *= info.shape[i] = shape[i];
	assert_int_equal(patches_init(&k->in.patches, &w->w.layers[at], &info, &e), 0);
	k->in.x = k->x = copied(x, info.count);
	k->in.x_float = k->x_float = copied(x_float, info.count);
}

/* The question that a search asks of a layer. */
struct question {
	const struct layer *l;
	const struct kept *inputs;
	float *w;
	int64_t groups, vectors, len;
};

static int64_t unit_of(const struct question *q, int64_t at)
{
	return q->l->blocks > 1 ? at % q->vectors * q->l->blocks + at / q->vectors : at;
}

/* The weights of a row's candidate; returns those that it is one for. */
static const float *candidate(const struct question *q, int64_t row, float *out)
{
	const struct quant_mode mode = q->l->settings.mode;
	const float *w = q->w + unit_of(q, row / CANDIDATES) * q->len;
	float lo = w[0], hi = w[0];
	for (int64_t k = 0; k < q->len; k++) {
		lo = fminf(lo, w[k]);
		hi = fmaxf(hi, w[k]);
	}
	struct quant_grid full = quant_minmax(lo, hi, mode);
	quant_fake_plain(quant_candidate(full, (int)(row % CANDIDATES), CANDIDATES, mode), (size_t)q->len, w, out);
	return w;
}

static void change(void *ctx, int64_t row, float *d)
{
	const struct question *q = ctx;
	const float *w = candidate(q, row, d);
	for (int64_t k = 0; k < q->len; k++)
		d[k] -= w[k];
}

static const float *weights(void *ctx, int64_t group, int64_t vector)
{
	const struct question *q = ctx;
	return q->w + unit_of(q, group * q->vectors + vector) * q->len;
}

static int look(void *ctx, int64_t batch, struct patches_input *in, struct err *e)
{
	(void)e;
	*in = ((const struct question *)ctx)->inputs[batch].in;
	return 0;
}

static void looked(void *ctx, int64_t batch)
{
	(void)ctx;
	(void)batch;
}

/* In double: of one candidate, where the plain losses leave the choice open. */
static double exact_loss(struct question *q, int64_t row, enum loss_fn fn, double scale, struct tiles *tiles)
{
	struct err e = ERR_INIT;
	float *f = malloc((size_t)q->len * sizeof *f);
	double *d = malloc((size_t)q->len * sizeof *d);
	const float *w = candidate(q, row, f);
	for (int64_t k = 0; k < q->len; k++)
		d[k] = scale * ((double)f[k] - (double)w[k]);
	int64_t group = row / CANDIDATES / q->vectors;
	struct exact_ask ask = {.group = group, .d = d, .w = w, .scale = scale};
	for (int b = 0; b < BATCHES; b++)
		assert_int_equal(exact_add(&ask, 1, fn, &q->inputs[b].in, tiles, &e), 0);
	free(f);
	free(d);
	return loss_of_run(fn, ask.loss, BATCHES);
}

static int first_least(const double *loss)
{
	int best = 0;
	for (int i = 1; i < CANDIDATES; i++)
		best = loss[i] < loss[best] ? i : best;
	return best;
}

static void check_unit(struct question *q, const struct seqmse_layer_result *r, int64_t at, double *loss, const double *tol,
                       double scale, struct tiles *tiles)
{
	int64_t unit = unit_of(q, at);
	int best = first_least(loss), rivals = 0;
	double least = loss[best] + tol[best];
	for (int i = 0; i < CANDIDATES; i++)
		rivals += loss[i] - tol[i] < least;
	for (int i = 0; i < CANDIDATES && rivals > 1; i++)
		loss[i] = loss[i] - tol[i] < least ? exact_loss(q, at * CANDIDATES + i, r->loss_fn, scale, tiles) : INFINITY;
	best = first_least(loss);
	if (r->chosen[unit] != best || !(fabs(r->loss[unit] - loss[best]) <= 2 * tol[best] + 1e-12 * fabs(loss[best])))
		fail_msg("%s, %s, %lld: chose %d with %.17g, plainly %d with %.17g", r->weight, loss_name(r->loss_fn),
		         (long long)unit, r->chosen[unit], r->loss[unit], best, loss[best]);
}

static void on_layer(void *ctx, const struct seqmse_layer_result *r)
{
	struct walk *w = ctx;
	struct err e = ERR_INIT;
	int at = watched_layer(&w->w, r->weight);
	const struct layer *l = &w->w.layers[at];
	struct question q = {
		.l = l, .inputs = w->inputs + at * BATCHES, .groups = l->groups * l->blocks, .len = l->fan_in / l->blocks};
	int64_t units = l->channels * l->blocks;
	double scale = l->blocks > 1 ? 1 : l->scale;
	q.vectors = units / q.groups;
	q.w = malloc((size_t)(units * q.len) * sizeof *q.w);
	assert_int_equal(layer_weights(w->w.m, l, q.w, &e), 0);
	struct tiles *tiles = tiles_new(THREADS);
	struct evidence_setup setup = {.strategy = EVIDENCE_DIRECT,
	                               .loss = r->loss_fn,
	                               .groups = q.groups,
	                               .fan_in = q.len,
	                               .source = {.ctx = &q, .batches = BATCHES, .look = look, .looked = looked}};
	struct evidence_ask ask = {
		.vectors = q.vectors, .changes = CANDIDATES, .scale = scale, .ctx = &q, .change = change, .weights = weights};
	struct evidence *v = evidence_new(&setup, tiles, &e);
	double *loss = malloc((size_t)(units * CANDIDATES) * sizeof *loss),
	       *tol = malloc((size_t)(units * CANDIDATES) * sizeof *tol);
	for (int b = 0; b < BATCHES; b++)
		assert_int_equal(evidence_add(v, &q.inputs[b].in, &e), 0);
	assert_int_equal(evidence_losses(v, &ask, loss, tol, &e), 0);
	for (int64_t i = 0; i < units; i++)
		check_unit(&q, r, i, loss + i * CANDIDATES, tol + i * CANDIDATES, scale, tiles);
	evidence_free(v);
	tiles_free(tiles);
	for (int b = 0; b < BATCHES; b++) {
		free(w->inputs[at * BATCHES + b].x);
		free(w->inputs[at * BATCHES + b].x_float);
	}
	free(loss);
	free(tol);
	free(q.w);
	w->checked++;
}

static void check_model(const char *name, int64_t samples, enum loss_fn fn, enum symmetry symmetry, int64_t block_size)
{
	char model[4096], calib[4096], path[4096];
	struct walk w = {.fn = fn};
	struct params p;
	const struct seqmse_hooks hooks = {.ctx = &w, .input = on_input, .layer = on_layer};
	(void)snprintf(path, sizeof path, "models/%s/model.onnx", name);
	if (access(shared_path(path, model, sizeof model), R_OK))
		skip();
	(void)snprintf(path, sizeof path, "models/%s/calib.npz", name);
	params_init(&p);
	p.param_bw = 4;
	p.num_candidates = CANDIDATES;
	p.batch_size = samples / BATCHES;
	p.num_batches = BATCHES;
	p.threads = THREADS;
	p.inp_symmetry = symmetry;
	p.loss_fn = fn;
	p.granularity = block_size ? PARAMS_BLOCK : PARAMS_AS_CONFIGURED;
	p.block_size = block_size;
	watched_open(&w.w, model, &p);
	w.inputs = calloc((size_t)(w.w.n * BATCHES), sizeof *w.inputs);
	size_t searched = watched_search(&w.w, shared_path(path, calib, sizeof calib), &p, &hooks);
	assert_int_equal(w.checked, searched);
	free(w.inputs);
	watched_close(&w.w);
	params_fini(&p);
}

static void check_settings(const char *name, int64_t samples)
{
	for (int fn = LOSS_MSE; fn <= LOSS_SQNR; fn++)
		for (int symmetry = SYMQT; symmetry <= ASYM; symmetry += ASYM - SYMQT)
			check_model(name, samples, (enum loss_fn)fn, (enum symmetry)symmetry, 0);
	check_model(name, samples, LOSS_MSE, SYMQT, 8);
	check_model(name, samples, LOSS_L1, SYMQT, 8);
}

static void digits_cnn_is_searched_as_plainly(void **state)
{
	(void)state;
	check_settings("digits_cnn", 64);
}

static void mnist_resnet_is_searched_as_plainly(void **state)
{
	(void)state;
	check_settings("mnist_resnet", 16);
}

static void efficientnet_lite0_is_searched_as_plainly(void **state)
{
	(void)state;
	check_settings("efficientnet_lite0", 2);
}

int main(void)
{
	struct err e = ERR_INIT;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_agree_with_their_plain_twins),
		cmocka_unit_test(bounds_are_below_the_losses),
		cmocka_unit_test(sums_are_the_same_with_any_number_of_threads),
		cmocka_unit_test(digits_cnn_is_searched_as_plainly),
		cmocka_unit_test(mnist_resnet_is_searched_as_plainly),
		cmocka_unit_test(efficientnet_lite0_is_searched_as_plainly),
	};
	if (gemm_open(&e))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
