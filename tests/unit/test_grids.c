/* Grids of every kind against brute force: one for the tensor, one a channel, one a block, LPBQ; symmetric or not. Losses of all candidates are computed
 * here in double precision, by loops over the operator's definition, from the layer's real inputs; what has to be chosen follows from them. On the sample of
 * tests/data, and on the real models of $SEQMSED_SHARED where they are. */

#include "core/search/seqmse.h"
#include "shared.h"
#include "watched.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { CANDIDATES = 20, MAX_LAYERS = 64 };

struct kind {
	enum params_granularity granularity;
	int64_t block_size;
	bool lpbq;
	enum params_symmetric symmetric;
	int bw;
};

static const struct kind kinds[] = {
	{PARAMS_PER_CHANNEL, 0, false, PARAMS_FALSE, 4}, {PARAMS_PER_TENSOR, 0, false, PARAMS_TRUE, 4},
	{PARAMS_PER_TENSOR, 0, false, PARAMS_FALSE, 3},  {PARAMS_BLOCK, 8, false, PARAMS_TRUE, 4},
	{PARAMS_BLOCK, 4, false, PARAMS_FALSE, 5},       {PARAMS_BLOCK, 8, true, PARAMS_TRUE, 4},
};

/* For models with few channels. */
static const struct kind small_kinds[] = {
	{PARAMS_PER_TENSOR, 0, false, PARAMS_TRUE, 4},
	{PARAMS_BLOCK, 2, false, PARAMS_TRUE, 3},
	{PARAMS_BLOCK, 2, false, PARAMS_FALSE, 4},
};

struct brute {
	const struct kind *kind;
	struct watched w;
	double *loss[MAX_LAYERS]; /* [channels][blocks][CANDIDATES] of layers[i], summed over the batches */
	int checked, cut, grids;
};

/* ---- what there is to choose from ---- */

static int64_t in_channels(const struct layer *l)
{
	return l->op == LAYER_CONV ? l->shape.shape[1] : l->fan_in;
}

/* How many blocks the layer's weight vectors have to be cut into. */
static int64_t blocks_of(const struct kind *k, const struct layer *l)
{
	bool can = k->granularity == PARAMS_BLOCK && l->groups == 1 && (l->op != LAYER_CONV || l->shape.rank == 4);
	return can && in_channels(l) % k->block_size == 0 ? in_channels(l) / k->block_size : 1;
}

static struct quant_grid full_range(const struct kind *k, const float *w, int64_t n)
{
	const struct quant_mode mode = {.bw = k->bw, .symmetric = k->symmetric == PARAMS_TRUE};
	float lo = w[0], hi = w[0];
	for (int64_t i = 0; i < n; i++) {
		lo = fminf(lo, w[i]);
		hi = fmaxf(hi, w[i]);
	}
	return quant_minmax(lo, hi, mode);
}

/* The grid of candidate i of block b of channel c. */
static struct quant_grid grid_of(const struct brute *b, const struct layer *l, const float *w, int64_t c, int64_t block, int i)
{
	const struct quant_mode mode = {.bw = b->kind->bw, .symmetric = b->kind->symmetric == PARAMS_TRUE};
	int64_t len = l->fan_in / blocks_of(b->kind, l);
	bool one = b->kind->granularity == PARAMS_PER_TENSOR;
	struct quant_grid start =
		one ? full_range(b->kind, w, l->shape.count) : full_range(b->kind, w + c * l->fan_in + block * len, len);
	return quant_candidate(start, i, CANDIDATES, mode);
}

/* ---- losses ---- */

/* What entries k0 .. k1-1 of a change of a channel's weights add to one output of a Conv. */
static double conv_part(const struct layer *l, int64_t c, const double *d, int64_t k0, int64_t k1, const int64_t *s, const float *x,
                        int64_t n, int64_t y, int64_t z)
{
	int64_t first = c / (l->channels / l->groups) * (s[1] / l->groups), area = l->kernel[1] * l->kernel[2];
	double out = 0;
	for (int64_t k = k0; k < k1; k++) {
		int64_t at_y = y * l->stride[1] - l->pad_begin[1] + k % area / l->kernel[2] * l->dilation[1];
		int64_t at_z = z * l->stride[2] - l->pad_begin[2] + k % l->kernel[2] * l->dilation[2];
		if (at_y >= 0 && at_y < s[2] && at_z >= 0 && at_z < s[3])
			out += d[k] * (double)x[((n * s[1] + first + k / area) * s[2] + at_y) * s[3] + at_z];
	}
	return out;
}

static double conv_loss(const struct layer *l, int64_t c, const double *d, int64_t k0, int64_t k1, const int64_t *s, const float *x)
{
	int64_t oh = (s[2] + l->pad_begin[1] + l->pad_end[1] - (l->kernel[1] - 1) * l->dilation[1] - 1) / l->stride[1] + 1;
	int64_t ow = (s[3] + l->pad_begin[2] + l->pad_end[2] - (l->kernel[2] - 1) * l->dilation[2] - 1) / l->stride[2] + 1;
	double sum = 0;
	for (int64_t n = 0; n < s[0]; n++)
		for (int64_t y = 0; y < oh; y++)
			for (int64_t z = 0; z < ow; z++) {
				double out = conv_part(l, c, d, k0, k1, s, x, n, y, z);
				sum += out * out;
			}
	return sum;
}

static double matrix_loss(const struct layer *l, const double *d, int64_t k0, int64_t k1, int64_t rows, const float *x)
{
	double sum = 0;
	for (int64_t r = 0; r < rows; r++) {
		double out = 0;
		for (int64_t k = k0; k < k1; k++)
			out += d[k] * (double)(l->trans_a ? x[k * rows + r] : x[r * l->fan_in + k]);
		sum += out * out;
	}
	return sum;
}

/* Adds a batch to the loss of candidate i of a block; d has room for the channel's change. */
static void add_candidate(struct brute *b, int at, const float *w, int64_t c, int64_t block, int i, const int64_t *shape,
                          int64_t rows, const float *x, double *d)
{
	const struct layer *l = &b->w.layers[at];
	int64_t blocks = blocks_of(b->kind, l), len = l->fan_in / blocks, k0 = block * len, k1 = k0 + len;
	struct quant_grid g = grid_of(b, l, w, c, block, i);
	for (int64_t k = k0; k < k1; k++) {
		float q;
		quant_fake_plain(g, 1, w + c * l->fan_in + k, &q);
		d[k] = (double)q - (double)w[c * l->fan_in + k];
	}
	double scale = blocks_of(b->kind, l) > 1 ? 1 : l->scale * l->scale;
	b->loss[at][(c * blocks + block) * CANDIDATES + i] +=
		scale * (l->op == LAYER_CONV ? conv_loss(l, c, d, k0, k1, shape, x) : matrix_loss(l, d, k0, k1, rows, x));
}

static void on_input(void *ctx, const char *weight, int64_t batch, int rank, const int64_t *shape, const float *x,
                     const float *x_float)
{
	struct brute *b = ctx;
	int at = watched_layer(&b->w, weight);
	const struct layer *l = &b->w.layers[at];
	struct err e = ERR_INIT;
	float *w = malloc((size_t)l->shape.count * sizeof *w);
	double *d = malloc((size_t)l->fan_in * sizeof *d);
	int64_t rows = 1, blocks = blocks_of(b->kind, l);
	(void)batch;
	assert_null(x_float);
	for (int i = 0; i < rank; i++)
		rows *= shape[i];
	rows /= l->op == LAYER_CONV ? rows : l->fan_in;
	if (!b->loss[at])
		b->loss[at] = calloc((size_t)(l->channels * blocks * CANDIDATES), sizeof **b->loss);
	assert_int_equal(layer_weights(b->w.m, l, w, &e), 0);
	for (int64_t c = 0; c < l->channels; c++)
		for (int64_t block = 0; block < blocks; block++)
			for (int i = 0; i < CANDIDATES; i++)
				add_candidate(b, at, w, c, block, i, shape, rows, x, d);
	free(d);
	free(w);
}

/* ---- the choice ---- */

static int first_least(const double *loss)
{
	int best = 0;
	for (int i = 1; i < CANDIDATES; i++)
		if (loss[i] < loss[best])
			best = i;
	return best;
}

static void check_grid(const struct brute *b, const struct seqmse_layer_result *r, int64_t c, int64_t block, int g, int want,
                       const float *w)
{
	const struct layer *l = &b->w.layers[watched_layer(&b->w, r->weight)];
	struct quant_grid grid = grid_of(b, l, w, c, block, want);
	if (r->chosen[g] != want)
		fail_msg("%s[%lld][%lld]: chose %d, not %d", r->weight, (long long)c, (long long)block, r->chosen[g], want);
	assert_memory_equal(&r->grids[g], &grid, sizeof grid);
}

static void check_loss(double ours, double exact)
{
	if (!(fabs(ours - exact) <= 1e-3 * exact))
		fail_msg("a loss of %.9g is reported as %.9g", exact, ours);
}

/* All channels share the grid, which is the largest of their choices. */
static void check_tensor(const struct brute *b, const struct seqmse_layer_result *r, const double *loss, const float *w)
{
	int largest = 0;
	double sum = 0, full = 0;
	for (int c = 0; c < r->channels; c++) {
		int best = first_least(loss + c * CANDIDATES);
		largest = best > largest ? best : largest;
	}
	for (int c = 0; c < r->channels; c++) {
		sum += loss[c * CANDIDATES + largest];
		full += loss[c * CANDIDATES + CANDIDATES - 1];
	}
	assert_int_equal(r->ngrids, 1);
	check_grid(b, r, 0, 0, 0, largest, w);
	check_loss(r->loss[0], sum);
	check_loss(r->minmax_loss[0], full);
}

static void check_units(const struct brute *b, const struct seqmse_layer_result *r, int64_t blocks, const double *loss,
                        const float *w)
{
	assert_int_equal(r->ngrids, r->channels * blocks);
	for (int g = 0; g < r->ngrids; g++, loss += CANDIDATES) {
		int best = first_least(loss);
		check_grid(b, r, g / blocks, g % blocks, g, best, w);
		check_loss(r->loss[g], loss[best]);
		check_loss(r->minmax_loss[g], loss[CANDIDATES - 1]);
	}
}

/* Sums over all units. Where a unit could rule a candidate out without its loss there is an estimate in them, above the unit's least loss; of
 * the full range there is none. */
static void check_curve(const struct seqmse_layer_result *r, int64_t units, const double *loss)
{
	assert_non_null(r->curve);
	for (int i = 0; i < CANDIDATES; i++) {
		double sum = 0, least = 0;
		for (int64_t u = 0; u < units; u++) {
			sum += loss[u * CANDIDATES + i];
			least += loss[u * CANDIDATES + first_least(loss + u * CANDIDATES)];
		}
		if (i == CANDIDATES - 1)
			check_loss(r->curve[i], sum);
		if (r->curve[i] < least * (1 - 1e-3) || r->curve[i] < sum / 2 || r->curve[i] > 2 * sum)
			fail_msg("%s: with candidate %d %.9g is lost, not %.9g; at least %.9g", r->weight, i, sum, r->curve[i],
			         least);
	}
}

static void on_layer(void *ctx, const struct seqmse_layer_result *r)
{
	struct brute *b = ctx;
	int at = watched_layer(&b->w, r->weight);
	const struct layer *l = &b->w.layers[at];
	int64_t blocks = blocks_of(b->kind, l);
	struct err e = ERR_INIT;
	float *w = malloc((size_t)l->shape.count * sizeof *w);
	assert_int_equal(layer_weights(b->w.m, l, w, &e), 0);
	if (b->kind->granularity == PARAMS_PER_TENSOR)
		check_tensor(b, r, b->loss[at], w);
	else
		check_units(b, r, blocks, b->loss[at], w);
	check_curve(r, r->channels * blocks, b->loss[at]);
	free(w);
	b->checked++;
	b->cut += r->block_size > 0;
	b->grids += r->ngrids;
}

/* samples: how many, in two batches; 0: all, in one. */
static void check_kind(const char *model, const char *calib, int64_t samples, const struct kind *k)
{
	struct brute b = {.kind = k};
	struct params p;
	struct seqmse_hooks hooks = {.ctx = &b, .input = on_input, .layer = on_layer};
	params_init(&p);
	p.param_bw = k->bw;
	p.granularity = k->granularity;
	p.block_size = k->block_size;
	p.lpbq = k->lpbq;
	p.symmetric = k->symmetric;
	p.batch_size = samples ? samples / 2 : 1000;
	p.num_batches = 2;
	p.threads = 2;
	watched_open(&b.w, model, &p);
	size_t searched = watched_search(&b.w, calib, &p, &hooks);
	assert_int_equal(b.checked, searched);
	assert_int_equal(b.cut > 0, k->granularity == PARAMS_BLOCK);
	assert_true(b.grids >= b.checked);
	for (int i = 0; i < b.w.n; i++)
		free(b.loss[i]);
	watched_close(&b.w);
	params_fini(&p);
}

static void check_model(const char *model, const char *calib, int64_t samples)
{
	if (access(model, R_OK))
		skip();
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		check_kind(model, calib, samples, &kinds[i]);
}

static void check_shared(const char *model, const char *calib, int64_t samples)
{
	char m[4096], c[4096];
	check_model(shared_path(model, m, sizeof m), shared_path(calib, c, sizeof c), samples);
}

static void the_sample_gets_the_grids_of_brute_force(void **state)
{
	(void)state;
	check_model("tests/data/digits/model.onnx", "tests/data/digits/calib.npz", 16);
}

static void digits_cnn_gets_the_grids_of_brute_force(void **state)
{
	(void)state;
	check_shared("models/digits_cnn/model.onnx", "models/digits_cnn/calib.npz", 4);
}

static void mnist_resnet_gets_the_grids_of_brute_force(void **state)
{
	(void)state;
	check_shared("models/mnist_resnet/model.onnx", "models/mnist_resnet/calib.npz", 2);
}

/* Weights by rows and by columns, inputs by columns, alpha, more dimensions, strides, dilations. */
static void every_form_of_layer_gets_the_grids_of_brute_force(void **state)
{
	static const char *const models[] = {"gemm_trans_a", "gemm_forms", "matmul_transposed",
	                                     "matmul_ranks", "conv2d",     "conv_dilated_strided"};
	char model[100], calib[100];
	(void)state;
	for (size_t m = 0; m < sizeof models / sizeof *models; m++)
		for (size_t i = 0; i < sizeof small_kinds / sizeof *small_kinds; i++) {
			(void)snprintf(model, sizeof model, "tests/data/zoo/%s.onnx", models[m]);
			(void)snprintf(calib, sizeof calib, "tests/data/zoo/%s.npz", models[m]);
			check_kind(model, calib, 0, &small_kinds[i]);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_of_layer_gets_the_grids_of_brute_force),
		cmocka_unit_test(the_sample_gets_the_grids_of_brute_force),
		cmocka_unit_test(digits_cnn_gets_the_grids_of_brute_force),
		cmocka_unit_test(mnist_resnet_gets_the_grids_of_brute_force),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
