/* Whole models against brute force: every channel's chosen candidate is the first least one of losses that are computed
 * here in double precision, by loops over the operator's definition, from the layer's real inputs. On the sample of tests/data, and on the real models
 * of $SEQMSED_SHARED where they are. */

#include "core/layers.h"
#include "core/npz.h"
#include "core/onnx_model.h"
#include "core/seqmse.h"
#include "shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { CANDIDATES = 20, MAX_LAYERS = 64 };

struct brute {
	struct onnx_model *m;
	struct layer *layers;
	int n;
	double *loss[MAX_LAYERS]; /* [channels][CANDIDATES] of layers[i], summed over the batches */
	int checked, channels;
};

/* Candidate i's weights of a channel, minus the weights. */
static void change(const float *w, int64_t n, int i, double *d)
{
	struct quant_mode mode = {.bw = 4, .symmetric = true};
	float lo = w[0], hi = w[0], q;
	for (int64_t k = 0; k < n; k++) {
		lo = w[k] < lo ? w[k] : lo;
		hi = w[k] > hi ? w[k] : hi;
	}
	struct quant_grid g = quant_candidate(quant_minmax(lo, hi, mode), i, CANDIDATES, mode);
	for (int64_t k = 0; k < n; k++) {
		quant_fake_plain(g, 1, w + k, &q);
		d[k] = (double)q - (double)w[k];
	}
}

/* Squared output error of one channel of a Conv, two spatial dimensions, explicit pads. */
static double conv_error(const struct layer *l, int64_t c, const double *d, const int64_t *s, const float *x)
{
	double sum = 0;
	int64_t per_group = s[1] / l->groups, first = c / (l->channels / l->groups) * per_group, H = s[2], W = s[3];
	int64_t oh = (H + l->pad_begin[1] + l->pad_end[1] - (l->kernel[1] - 1) * l->dilation[1] - 1) / l->stride[1] + 1;
	int64_t ow = (W + l->pad_begin[2] + l->pad_end[2] - (l->kernel[2] - 1) * l->dilation[2] - 1) / l->stride[2] + 1;
	for (int64_t n = 0; n < s[0]; n++)
		for (int64_t y = 0; y < oh; y++)
			for (int64_t z = 0; z < ow; z++) {
				double out = 0;
				const double *dk = d;
				for (int64_t i = 0; i < per_group; i++)
					for (int64_t a = 0; a < l->kernel[1]; a++)
						for (int64_t b = 0; b < l->kernel[2]; b++, dk++) {
							int64_t h = y * l->stride[1] - l->pad_begin[1] + a * l->dilation[1], w = z * l->stride[2] - l->pad_begin[2] + b * l->dilation[2];
							if (h >= 0 && h < H && w >= 0 && w < W)
								out += *dk * (double)x[((n * s[1] + first + i) * H + h) * W + w];
						}
				sum += out * out;
			}
	return sum;
}

static double matrix_error(const struct layer *l, const double *d, int64_t rows, const float *x)
{
	double sum = 0;
	for (int64_t r = 0; r < rows; r++) {
		double out = 0;
		for (int64_t k = 0; k < l->fan_in; k++)
			out += d[k] * (double)x[r * l->fan_in + k];
		sum += out * out;
	}
	return sum;
}

static int layer_of_weight(const struct brute *b, const char *weight)
{
	for (int i = 0; i < b->n; i++)
		if (layer_is_searched(b->layers, i) && strcmp(onnx_model_value(b->m, b->layers[i].weight)->name, weight) == 0)
			return i;
	return -1;
}

static void on_input(void *ctx, const char *weight, int64_t batch, int rank, const int64_t *shape, const float *x)
{
	struct brute *b = ctx;
	int at = layer_of_weight(b, weight);
	const struct layer *l = &b->layers[at];
	struct err e = ERR_INIT;
	float *w = malloc((size_t)l->shape.count * sizeof *w);
	double *d = malloc((size_t)l->fan_in * sizeof *d);
	int64_t rows = 1;
	(void)batch;
	for (int i = 0; i < rank - 1; i++)
		rows *= shape[i];
	if (!b->loss[at])
		b->loss[at] = calloc((size_t)(l->channels * CANDIDATES), sizeof **b->loss);
	assert_int_equal(layer_weights(b->m, l, w, &e), 0);
	for (int64_t c = 0; c < l->channels; c++)
		for (int i = 0; i < CANDIDATES; i++) {
			change(w + c * l->fan_in, l->fan_in, i, d);
			b->loss[at][c * CANDIDATES + i] += l->op == LAYER_CONV ? conv_error(l, c, d, shape, x) : matrix_error(l, d, rows, x);
		}
	free(d);
	free(w);
}

static void on_layer(void *ctx, const struct seqmse_layer_result *r)
{
	struct brute *b = ctx;
	const double *loss = b->loss[layer_of_weight(b, r->weight)];
	for (int c = 0; c < r->channels; c++, loss += CANDIDATES) {
		int best = 0;
		for (int i = 1; i < CANDIDATES; i++)
			if (loss[i] < loss[best])
				best = i;
		if (r->chosen[c] != best)
			fail_msg("%s[%d]: chose %d with loss %.17g, the least is %d with %.17g", r->weight, c, r->chosen[c], loss[r->chosen[c]], best,
			         loss[best]);
		assert_true(r->loss[c] - loss[best] <= 1e-4 * loss[best] && loss[best] - r->loss[c] <= 1e-4 * loss[best]);
		b->channels++;
	}
	b->checked++;
}

/* Runs a model and lets the hooks check every layer. Returns how many channels were. */
static int check_model(const char *model, const char *calib, int64_t samples)
{
	struct err e = ERR_INIT;
	struct brute b = {0};
	struct params p;
	struct seqmse_hooks hooks = {.ctx = &b, .input = on_input, .layer = on_layer};
	params_init(&p);
	p.param_bw = 4;
	p.num_candidates = CANDIDATES;
	p.batch_size = 16;
	p.num_batches = samples / 16;
	p.threads = 2;
	if (access(model, R_OK))
		skip();
	b.m = onnx_model_open(model, &e);
	struct npz *z = b.m ? npz_open(calib, &e) : NULL;
	if (!z)
		fail_msg("%s", e.msg);
	assert_int_equal(layers_find(b.m, &p, &b.layers, &b.n, &e), 0);
	struct seqmse_result *r = seqmse_run(b.m, z, &p, &hooks, &e);
	if (!r)
		fail_msg("%s", e.msg);
	assert_int_equal(b.checked, seqmse_layers(r));
	assert_true(b.checked > 2);
	seqmse_result_free(r);
	npz_free(z);
	onnx_model_free(b.m);
	for (int i = 0; i < b.n; i++)
		free(b.loss[i]);
	free(b.layers);
	params_fini(&p);
	return b.channels;
}

static void check_shared(const char *model, const char *calib, int64_t samples)
{
	char m[4096], c[4096];
	assert_true(check_model(shared_path(model, m, sizeof m), shared_path(calib, c, sizeof c), samples) > 100);
}

static void the_sample_is_searched_like_brute_force(void **state)
{
	(void)state;
	assert_true(check_model("tests/data/digits/model.onnx", "tests/data/digits/calib.npz", 64) > 50);
}

static void digits_cnn_is_searched_like_brute_force(void **state)
{
	(void)state;
	check_shared("models/digits_cnn/model.onnx", "models/digits_cnn/calib.npz", 64);
}

static void mnist_resnet_is_searched_like_brute_force(void **state)
{
	(void)state;
	check_shared("models/mnist_resnet/model.onnx", "models/mnist_resnet/calib.npz", 16);
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
	struct npz *z = npz_open("tests/data/zoo/silent_input.npz", &e);
	struct seqmse_result *r = m && z ? seqmse_run(m, z, &p, NULL, &e) : NULL;
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
	npz_free(z);
	onnx_model_free(m);
	params_fini(&p);
}

/* ---- the same whatever the threads, the memory and the repetition ---- */

static struct seqmse_result *run_sample(struct onnx_model **m, int64_t threads, int64_t memory)
{
	struct err e = ERR_INIT;
	struct params p;
	params_init(&p);
	p.threads = threads;
	p.max_memory_bytes = memory;
	*m = onnx_model_open("tests/data/digits/model.onnx", &e);
	struct npz *z = npz_open("tests/data/digits/calib.npz", &e);
	assert_non_null(z);
	struct seqmse_result *r = seqmse_run(*m, z, &p, NULL, &e);
	if (!r)
		fail_msg("%s", e.msg);
	npz_free(z);
	params_fini(&p);
	return r;
}

static void results_do_not_depend_on_threads_or_memory(void **state)
{
	(void)state;
	static const struct {
		int64_t threads, memory;
	} ways[] = {{1, 0}, {3, 0}, {2, 1}, {1, 200000}};
	struct onnx_model *m, *m2;
	struct seqmse_result *base = run_sample(&m, 2, 0);
	assert_int_equal(seqmse_stats(base)->spilled_bytes, 0);
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		struct seqmse_result *r = run_sample(&m2, ways[i].threads, ways[i].memory);
		assert_int_equal(seqmse_stats(r)->spilled_bytes > 0, ways[i].memory > 0);
		for (size_t l = 0; l < seqmse_layers(r); l++) {
			const struct seqmse_layer_result *a = seqmse_layer(base, l), *b = seqmse_layer(r, l);
			assert_memory_equal(a->grids, b->grids, (size_t)a->channels * sizeof *a->grids);
			assert_memory_equal(a->loss, b->loss, (size_t)a->channels * sizeof *a->loss);
		}
		seqmse_result_free(r);
		onnx_model_free(m2);
	}
	seqmse_result_free(base);
	onnx_model_free(m);
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
	struct npz *z = npz_open("tests/data/digits/calib.npz", &e);
	assert_null(seqmse_run(m, z, &p, &hooks, &e));
	assert_int_equal(e.code, ERR_CANCELED);
	assert_int_equal(asked, 4);
	npz_free(z);
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
