/* Whole models against brute force: every channel's chosen candidate is the first least one of losses that are computed
 * here in double precision, by loops over the operator's definition, from the layer's real inputs: for every loss and every choice of inputs. On the sample
 * of tests/data, and on the real models of $SEQMSED_SHARED where they are. */

#include "core/data/arrays.h"
#include "core/onnx/onnx_model.h"
#include "core/search/loss.h"
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

enum { CANDIDATES = 20, MAX_LAYERS = 64, BATCHES = 2 };

struct brute {
	struct watched w;
	enum symmetry symmetry;
	enum loss_fn fn;
	double *loss[MAX_LAYERS]; /* [channels][CANDIDATES] of layers[i], summed over the batches */
	int checked, channels, differing;
};

/* A channel before one batch: its weights, those of a candidate, what the float and the quantized side see; and the sums over the
 * positions of what they make of it, in double. */
struct channel {
	const struct layer *l;
	int64_t c;
	const float *w, *q, *x_float, *x;
	double errors, sizes, signal; /* e^2, |e|, the float output's square */
	int64_t positions;
};

/* Candidate i of a channel's weights. */
static void candidate(const float *w, int64_t n, int i, float *q)
{
	struct quant_mode mode = {.bw = 4, .symmetric = true};
	float lo = w[0], hi = w[0];
	for (int64_t k = 0; k < n; k++) {
		lo = w[k] < lo ? w[k] : lo;
		hi = w[k] > hi ? w[k] : hi;
	}
	quant_fake_plain(quant_candidate(quant_minmax(lo, hi, mode), i, CANDIDATES, mode), (size_t)n, w, q);
}

static void add_position(struct channel *h, double y_float, double y)
{
	h->errors += (y_float - y) * (y_float - y);
	h->sizes += fabs(y_float - y);
	h->signal += y_float * y_float;
	h->positions++;
}

/* One output of a Conv, two spatial dimensions, explicit pads. */
static double conv_output(const struct channel *h, const float *w, const int64_t *s, const float *x, int64_t n, int64_t y,
                          int64_t z)
{
	const struct layer *l = h->l;
	int64_t per_group = s[1] / l->groups, first = h->c / (l->channels / l->groups) * per_group, H = s[2], W = s[3];
	double out = 0;
	for (int64_t i = 0; i < per_group; i++)
		for (int64_t a = 0; a < l->kernel[1]; a++)
			for (int64_t b = 0; b < l->kernel[2]; b++, w++) {
				int64_t at_y = y * l->stride[1] - l->pad_begin[1] + a * l->dilation[1];
				int64_t at_z = z * l->stride[2] - l->pad_begin[2] + b * l->dilation[2];
				if (at_y >= 0 && at_y < H && at_z >= 0 && at_z < W)
					out += (double)*w * (double)x[((n * s[1] + first + i) * H + at_y) * W + at_z];
			}
	return out;
}

static void conv_positions(struct channel *h, const int64_t *s)
{
	const struct layer *l = h->l;
	int64_t oh = (s[2] + l->pad_begin[1] + l->pad_end[1] - (l->kernel[1] - 1) * l->dilation[1] - 1) / l->stride[1] + 1;
	int64_t ow = (s[3] + l->pad_begin[2] + l->pad_end[2] - (l->kernel[2] - 1) * l->dilation[2] - 1) / l->stride[2] + 1;
	for (int64_t n = 0; n < s[0]; n++)
		for (int64_t y = 0; y < oh; y++)
			for (int64_t z = 0; z < ow; z++)
				add_position(h, conv_output(h, h->w, s, h->x_float, n, y, z),
				             conv_output(h, h->q, s, h->x, n, y, z));
}

static void matrix_positions(struct channel *h, int64_t rows)
{
	int64_t n = h->l->fan_in;
	for (int64_t r = 0; r < rows; r++) {
		double y_float = 0, y = 0;
		for (int64_t k = 0; k < n; k++) {
			y_float += (double)h->w[k] * (double)h->x_float[r * n + k];
			y += (double)h->q[k] * (double)h->x[r * n + k];
		}
		add_position(h, y_float, y);
	}
}

/* The losses as the torch flavour writes them: of outputs without bias; sqnr with the signal. */
static double loss_of(enum loss_fn fn, const struct channel *h)
{
	double n = (double)h->positions;
	switch (fn) {
	case LOSS_MSE:
		return h->errors;
	case LOSS_L1:
		return h->sizes;
	default:
		return -10 * log10(h->signal / n / (h->errors / n + 1e-10));
	}
}

static void on_input(void *ctx, const char *weight, int64_t batch, int rank, const int64_t *shape, const float *x,
                     const float *x_float)
{
	struct brute *b = ctx;
	int at = watched_layer(&b->w, weight);
	const struct layer *l = &b->w.layers[at];
	struct err e = ERR_INIT;
	float *w = malloc((size_t)l->shape.count * sizeof *w);
	float *q = malloc((size_t)l->fan_in * sizeof *q);
	int64_t rows = 1;
	(void)batch;
	for (int i = 0; i < rank - 1; i++)
		rows *= shape[i];
	if (!b->loss[at])
		b->loss[at] = calloc((size_t)(l->channels * CANDIDATES), sizeof **b->loss);
	assert_true(!x_float || b->symmetry == ASYM);
	b->differing += x_float != NULL;
	assert_int_equal(layer_weights(b->w.m, l, w, &e), 0);
	for (int64_t c = 0; c < l->channels; c++)
		for (int i = 0; i < CANDIDATES; i++) {
			struct channel h = {
				.l = l, .c = c, .w = w + c * l->fan_in, .q = q, .x = x, .x_float = x_float ? x_float : x};
			candidate(h.w, l->fan_in, i, q);
			if (l->op == LAYER_CONV)
				conv_positions(&h, shape);
			else
				matrix_positions(&h, rows);
			b->loss[at][c * CANDIDATES + i] += loss_of(b->fn, &h);
		}
	free(q);
	free(w);
}

/* sqnr is reported without the signal: what the choice gains can be compared. */
static void check_loss(const struct brute *b, const struct seqmse_layer_result *r, int c, const double *loss, int best)
{
	double gain = r->minmax_loss[c] - r->loss[c], true_gain = loss[CANDIDATES - 1] - loss[best];
	if (b->fn == LOSS_SQNR)
		true_gain /= BATCHES; /* decibels are averaged */
	if (b->fn == LOSS_SQNR)
		assert_true(fabs(gain - true_gain) <= 1e-2);
	else
		assert_true(fabs(r->loss[c] - loss[best]) <= 1e-4 * loss[best]);
	assert_true(gain >= 0);
}

static void on_layer(void *ctx, const struct seqmse_layer_result *r)
{
	struct brute *b = ctx;
	const double *loss = b->loss[watched_layer(&b->w, r->weight)];
	for (int c = 0; c < r->channels; c++, loss += CANDIDATES) {
		int best = 0;
		for (int i = 1; i < CANDIDATES; i++)
			if (loss[i] < loss[best])
				best = i;
		if (r->chosen[c] != best)
			fail_msg("%s[%d]: chose %d with loss %.17g, the least is %d with %.17g", r->weight, c, r->chosen[c],
			         loss[r->chosen[c]], best, loss[best]);
		check_loss(b, r, c, loss, best);
		b->channels++;
	}
	b->checked++;
}

/* Runs a model and lets the hooks check every layer. Returns how many channels were. */
static int check_search(const char *model, const char *calib, int64_t samples, enum symmetry symmetry, enum loss_fn fn)
{
	struct brute b = {.symmetry = symmetry, .fn = fn};
	struct params p;
	struct seqmse_hooks hooks = {.ctx = &b, .input = on_input, .layer = on_layer};
	params_init(&p);
	p.param_bw = 4;
	p.num_candidates = CANDIDATES;
	p.batch_size = samples / BATCHES;
	p.num_batches = BATCHES;
	p.threads = 2;
	p.inp_symmetry = symmetry;
	p.loss_fn = fn;
	watched_open(&b.w, model, &p);
	size_t searched = watched_search(&b.w, calib, &p, &hooks);
	assert_int_equal(b.checked, searched);
	assert_true(b.checked > 2);
	assert_int_equal(b.differing > 0, symmetry == ASYM);
	for (int i = 0; i < b.w.n; i++)
		free(b.loss[i]);
	watched_close(&b.w);
	params_fini(&p);
	return b.channels;
}

static void check_model(const char *model, const char *calib, int64_t samples, int least_channels)
{
	if (access(model, R_OK))
		skip();
	for (int symmetry = SYMQT; symmetry <= ASYM; symmetry++)
		for (int fn = LOSS_MSE; fn <= LOSS_SQNR; fn++)
			assert_true(check_search(model, calib, samples, (enum symmetry)symmetry, (enum loss_fn)fn) >=
			            least_channels);
}

static void check_shared(const char *model, const char *calib, int64_t samples)
{
	char m[4096], c[4096];
	check_model(shared_path(model, m, sizeof m), shared_path(calib, c, sizeof c), samples, 100);
}

static void the_sample_is_searched_like_brute_force(void **state)
{
	(void)state;
	check_model("tests/data/digits/model.onnx", "tests/data/digits/calib.npz", 64, 50);
}

static void digits_cnn_is_searched_like_brute_force(void **state)
{
	(void)state;
	check_shared("models/digits_cnn/model.onnx", "models/digits_cnn/calib.npz", 16);
}

static void mnist_resnet_is_searched_like_brute_force(void **state)
{
	(void)state;
	check_shared("models/mnist_resnet/model.onnx", "models/mnist_resnet/calib.npz", 2);
}

/* ---- ties ---- */

/* Half of the channels of the model's first layer see zeros only: no candidate does any harm, and the first one is taken. */
static void ties_go_to_the_smallest_range(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct params p;
	params_init(&p);
	struct onnx_model *m = onnx_model_open("tests/data/zoo/silent_input.onnx", &e);
	struct arrays *z = arrays_open("tests/data/zoo/silent_input.npz", &e);
	struct seqmse_result *r = m && z ? seqmse_run(m, z, NULL, &p, NULL, &e) : NULL;
	if (!r)
		fail_msg("%s", e.msg);
	const struct seqmse_layer_result *l = seqmse_layer(r, 0);
	assert_int_equal(l->channels, 6);
	for (int c = 0; c < 6; c++) {
		assert_int_equal(l->chosen[c] == 0, c >= 3);
		assert_int_equal(l->loss[c] == 0, c >= 3);
		assert_int_equal(l->rechecked, 0);
	}
	seqmse_result_free(r);
	arrays_free(z);
	onnx_model_free(m);
	params_fini(&p);
}

/* ---- the same whatever the threads, the memory and the repetition ---- */

static struct seqmse_result *run_sample(struct onnx_model **m, int64_t threads, int64_t memory, enum symmetry symmetry,
                                        enum loss_fn fn)
{
	struct err e = ERR_INIT;
	struct params p;
	params_init(&p);
	p.threads = threads;
	p.max_memory_bytes = memory;
	p.inp_symmetry = symmetry;
	p.loss_fn = fn;
	*m = onnx_model_open("tests/data/digits/model.onnx", &e);
	struct arrays *z = arrays_open("tests/data/digits/calib.npz", &e);
	assert_non_null(z);
	struct seqmse_result *r = seqmse_run(*m, z, NULL, &p, NULL, &e);
	if (!r)
		fail_msg("%s", e.msg);
	arrays_free(z);
	params_fini(&p);
	return r;
}

static void check_same_bits(enum symmetry symmetry, enum loss_fn fn)
{
	static const struct {
		int64_t threads, memory;
	} ways[] = {{1, 0}, {3, 0}, {2, 1}, {1, 200000}};
	struct onnx_model *m, *m2;
	struct seqmse_result *base = run_sample(&m, 2, 0, symmetry, fn);
	assert_int_equal(seqmse_stats(base)->spilled_bytes, 0);
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		struct seqmse_result *r = run_sample(&m2, ways[i].threads, ways[i].memory, symmetry, fn);
		assert_int_equal(seqmse_stats(r)->spilled_bytes > 0, ways[i].memory > 0);
		for (size_t l = 0; l < seqmse_layers(r); l++) {
			const struct seqmse_layer_result *a = seqmse_layer(base, l), *b = seqmse_layer(r, l);
			assert_memory_equal(a->grids, b->grids, (size_t)a->channels * sizeof *a->grids);
			/* Which way is faster depends on threads, too; losses out of a matrix and out of the inputs have other last digits. */
			if (strcmp(a->strategy, b->strategy) == 0)
				assert_memory_equal(a->loss, b->loss, (size_t)a->channels * sizeof *a->loss);
		}
		seqmse_result_free(r);
		onnx_model_free(m2);
	}
	seqmse_result_free(base);
	onnx_model_free(m);
}

static void results_do_not_depend_on_threads_or_memory(void **state)
{
	(void)state;
	for (int symmetry = SYMQT; symmetry <= ASYM; symmetry++)
		for (int fn = LOSS_MSE; fn <= LOSS_SQNR; fn++)
			check_same_bits((enum symmetry)symmetry, (enum loss_fn)fn);
}

static bool stop_at_once(void *ctx)
{
	int *asked = ctx;
	return ++*asked > 3;
}

static void a_canceled_run_ends_with_its_error(void **state)
{
	(void)state;
	int asked = 0;
	struct err e = ERR_INIT;
	struct params p;
	struct seqmse_hooks hooks = {.ctx = &asked, .canceled = stop_at_once};
	params_init(&p);
	struct onnx_model *m = onnx_model_open("tests/data/digits/model.onnx", &e);
	struct arrays *z = arrays_open("tests/data/digits/calib.npz", &e);
	assert_null(seqmse_run(m, z, NULL, &p, &hooks, &e));
	assert_int_equal(e.code, ERR_CANCELED);
	assert_int_equal(asked, 4);
	arrays_free(z);
	onnx_model_free(m);
	params_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_is_searched_like_brute_force),
		cmocka_unit_test(digits_cnn_is_searched_like_brute_force),
		cmocka_unit_test(mnist_resnet_is_searched_like_brute_force),
		cmocka_unit_test(ties_go_to_the_smallest_range),
		cmocka_unit_test(results_do_not_depend_on_threads_or_memory),
		cmocka_unit_test(a_canceled_run_ends_with_its_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
