/* Simulation and calibration against the reference's, on its own examples and on real models, where $SEQMSED_SHARED has them: the grids of all quantizers that were
 * not searched, and the outputs of the simulated model. Searched grids are taken from the reference. */

#include "core/base/json.h"
#include "core/quantsim/quantsim.h"
#include "core/run/value_types.h"
#include "core/simulate/calibrate.h"
#include "core/simulate/evaluate.h"
#include "core/simulate/sim.h"
#include "shared.h"
#include "whole_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct err e = ERR_INIT;

static void must(bool ok)
{
	if (!ok)
		fail_msg("%s", e.msg);
}

/* What the reference was run with. */
struct setup {
	const char *name, *model, *data;
	int64_t batch, batches;
	struct quantsim_settings rules;
	struct calibrate_settings calibration;
	enum quant_granularity weights; /* of Gemm and MatMul, by quantsim_set_weight() */
	int64_t block_size;
};

struct simulation {
	struct whole w;
	struct value_types *types;
	struct quantsim *qs;
	struct sim *s;
	struct json *want; /* quantizers.json */
};

static struct json *read_json(const char *relative)
{
	char path[512], command[600];
	struct buf text = BUF_INIT;
	(void)snprintf(command, sizeof command, "gzip -dcf '%s'", shared_path(relative, path, sizeof path));
	FILE *f = popen(command, "r"); /* also plain files */
	char chunk[1 << 16];
	assert_non_null(f);
	for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
		buf_add(&text, chunk, n);
	assert_int_equal(pclose(f), 0);
	struct json *root = json_parse(text.data, text.len, &e);
	must(root != NULL);
	buf_fini(&text);
	return root;
}

static void open_simulation(struct simulation *x, const struct setup *s)
{
	char model[512], data[512], relative[256];
	whole_open(&x->w,
	           *s->model == '/' || strncmp(s->model, "build", 5) == 0 ? s->model : shared_path(s->model, model, sizeof model),
	           shared_path(s->data, data, sizeof data), s->batch, s->batches, 1);
	must((x->types = value_types_new(x->w.m, x->w.ort, &e)));
	must((x->qs = quantsim_new(x->w.m, x->types, &s->rules, &e)));
	for (int op = 0; op < x->qs->nops && s->block_size && s->rules.weights != QUANTSIM_FORCED; op++)
		if (strcmp(x->qs->ops[op].type, "Gemm") == 0 ||
		    (s->weights == QUANT_LPBQ && strcmp(x->qs->ops[op].type, "MatMul") == 0))
			(void)quantsim_set_weight(x->qs, op, 0, s->weights, s->block_size);
	must((x->s = sim_new(x->qs, &e)));
	(void)snprintf(relative, sizeof relative, "reference/%s/quantizers.json%s", s->name,
	               strncmp(s->name, "golden", 6) ? "" : ".gz");
	x->want = read_json(relative);
}

static void close_simulation(struct simulation *x)
{
	json_free(x->want);
	sim_free(x->s);
	quantsim_free(x->qs);
	value_types_free(x->types);
	whole_close(&x->w);
}

static const char *name_of(const struct simulation *x, int q)
{
	return onnx_model_value(x->w.m, x->qs->quantizers[q].value)->name;
}

/* The reference's grids of a quantizer as [channels][blocks]; its own order is that of the axes. */
static struct quant_grid *wanted_grids(const struct simulation *x, int q, const struct json *list)
{
	const struct quantsim_quantizer *z = &x->qs->quantizers[q];
	size_t n = sim_grid_count(x->qs, q), blocks = sim_blocks(x->qs, q), channels = n / blocks;
	struct quant_grid *g = malloc(n * sizeof *g);
	if (json_size(list) != n)
		fail_msg("%s: %zu grids, expected %zu", name_of(x, q), n, json_size(list));
	for (size_t i = 0; i < n; i++) {
		const struct json *four = json_at(list, i);
		size_t at = blocks > 1 && z->block_axis < z->channel_axis ? i % channels * blocks + i / channels : i;
		g[at] = (struct quant_grid){json_number(json_at(four, 0)), json_number(json_at(four, 1)),
		                            json_number(json_at(four, 2)), json_number(json_at(four, 3))};
	}
	return g;
}

/* Gives the searched weights their grids. */
static void freeze_searched(struct simulation *x)
{
	for (int q = 0; q < x->qs->nquantizers; q++) {
		const struct json *want = json_get(x->want, name_of(x, q));
		if (!json_bool(json_get(want, "frozen")))
			continue;
		struct quant_grid *g = wanted_grids(x, q, json_get(want, "encodings"));
		must(!sim_set_grids(x->s, q, g, true, &e));
		free(g);
	}
}

static bool close_to(double a, double b, double tolerance)
{
	return a == b || fabs(a - b) <= tolerance * fmax(fabs(a), fabs(b));
}

/* Compares every quantizer; tolerance is relative, 0 for the same doubles. Returns how many grids there were, less than 0 where some are wrong. */
static int compare(const struct simulation *x, double tolerance)
{
	int seen = 0, wrong = 0;
	for (int q = 0; q < x->qs->nquantizers; q++) {
		const struct json *want = json_get(x->want, name_of(x, q)), *list = json_get(want, "encodings");
		const struct quant_grid *got = sim_grids(x->s, q);
		bool enabled = json_bool(json_get(want, "enabled"));
		if (x->qs->quantizers[q].is_float16) {
			assert_int_equal(json_size(list), 0);
			continue;
		}
		if (!json_is_array(list) || !enabled || enabled != x->qs->quantizers[q].enabled) {
			if (enabled != x->qs->quantizers[q].enabled && ++wrong < 10)
				print_error("%s: enabled is %d\n", name_of(x, q), x->qs->quantizers[q].enabled);
			continue;
		}
		struct quant_grid *g = wanted_grids(x, q, list);
		for (size_t i = 0; i < sim_grid_count(x->qs, q); i++, seen++) {
			bool same = got && close_to(got[i].delta, g[i].delta, tolerance) &&
			            close_to(got[i].min, g[i].min, tolerance) && close_to(got[i].max, g[i].max, tolerance) &&
			            got[i].offset == g[i].offset;
			if (!same && ++wrong < 10)
				print_error("%s[%zu]: %.17g %.17g %.17g %g instead of %.17g %.17g %.17g %g\n", name_of(x, q), i,
				            got ? got[i].min : NAN, got ? got[i].max : NAN, got ? got[i].delta : NAN,
				            got ? got[i].offset : NAN, g[i].min, g[i].max, g[i].delta, g[i].offset);
		}
		free(g);
	}
	if (wrong)
		print_error("%d grids are wrong\n", wrong);
	return wrong ? -wrong : seen;
}

/* The named array of outputs.npz against a run of the first batch, bit for bit. */
static void compare_outputs(struct simulation *x, const struct setup *s, enum sim_mode mode, bool plain, const char *name)
{
	char relative[256], path[512];
	size_t nout = onnx_model_outputs(x->w.m), n;
	struct ort_value *out[8];
	(void)snprintf(relative, sizeof relative, "reference/%s/outputs.npz", s->name);
	struct arrays *z = arrays_open(shared_path(relative, path, sizeof path), &e);
	must(z != NULL);
	const struct array *a = arrays_find(z, name);
	assert_non_null(a);
	float *want = malloc((size_t)(a->shape[0] * a->shape[1]) * sizeof *want);
	must(!arrays_read_rows(z, a, 0, a->shape[0], want, &e));
	struct sim_run *r = sim_run_new(x->s, x->w.ort, mode, plain, NULL, NULL, &e);
	must(r && !sim_run_batch(r, x->w.c, 0, out, &e));
	float *got = whole_floats(x->w.ort, out, nout, &n);
	assert_int_equal(n, a->shape[0] * a->shape[1]);
	for (size_t i = 0; i < n; i++)
		if (memcmp(&got[i], &want[i], sizeof *got) != 0)
			fail_msg("%s, %s[%zu]: %.9g instead of %.9g", s->name, name, i, (double)got[i], (double)want[i]);
	sim_run_done(r, out);
	sim_run_free(r);
	free(got);
	free(want);
	arrays_free(z);
}

/* LPBQ: it searches, observes and simulates with scales that are not compressed, and exports compressed ones. */
static void reference_reading(struct quantsim *qs)
{
	for (int q = 0; q < qs->nquantizers; q++)
		if (qs->quantizers[q].granularity == QUANT_LPBQ)
			qs->quantizers[q].granularity = QUANT_PER_BLOCK;
}

static void check_example(const char *name, struct quantsim_settings rules, struct calibrate_settings calibration)
{
	char full[128];
	(void)snprintf(full, sizeof full, "examples/%s", name);
	struct setup s = {.name = full,
	                  .model = "reference/examples/tiny.onnx",
	                  .data = "reference/examples/tiny_calib.npz",
	                  .batch = 4,
	                  .batches = 3,
	                  .rules = rules,
	                  .calibration = calibration};
	struct simulation x;
	calibration.plain = true;
	open_simulation(&x, &s);
	freeze_searched(&x);
	reference_reading(x.qs);
	must(!calibrate(x.s, x.w.ort, x.w.c, &calibration, NULL, &e));
	assert_true(compare(&x, 0) > 5);
	compare_outputs(&x, &s, SIM_FLOAT, false, "fp_0");
	compare_outputs(&x, &s, SIM_QUANTIZED, true, "sim_0");
	close_simulation(&x);
}

static void examples_are_equal_bit_for_bit(void **state)
{
	(void)state;
	const struct calibrate_settings tf = {0};
	const struct quantsim_settings w4a8 = {.param_bw = 4, .output_bw = 8};
	struct quantsim_settings r;
	char path[512];
	if (access(shared_path("reference/examples/tiny.onnx", path, sizeof path), R_OK))
		skip();
	check_example("tiny_default", w4a8, tf);
	check_example("tiny_exclude_fc1", w4a8, tf);
	check_example("tiny_w8a8_noseq", (struct quantsim_settings){.param_bw = 8, .output_bw = 8}, tf);
	check_example("tiny_tf_enhanced", w4a8, (struct calibrate_settings){.scheme = SCHEME_TF_ENHANCED});
	check_example("tiny_percentile", w4a8, (struct calibrate_settings){.scheme = SCHEME_PERCENTILE, .percentile = 99.9});
	check_example("tiny_htp_v81_w4a16", (struct quantsim_settings){.config = "htp_v81", .param_bw = 4, .output_bw = 16}, tf);
	r = w4a8;
	r.config = "per-tensor";
	check_example("tiny_per_tensor", r, tf);
	r = w4a8;
	r.output_float16 = true;
	check_example("tiny_fp16act", r, tf);
	r = w4a8;
	r.weights = QUANTSIM_FORCED;
	r.granularity = QUANT_PER_BLOCK;
	r.block_size = 4;
	check_example("tiny_bq", r, tf);
	r.granularity = QUANT_LPBQ;
	check_example("tiny_lpbq", r, tf);
}

/* Real models: the runtime's rounding depends on its version and on the processor, so scales may differ a little, and an offset by one where
 * it is close to a half. */
static void real_models_are_close(void **state)
{
	(void)state;
	static const struct {
		const char *name, *model, *data;
		int64_t batch, batches;
		enum quant_scheme scheme;
		enum quant_granularity weights;
		int64_t block_size;
	} real[] = {
		{"digits_cnn", "digits_cnn/model.onnx", "digits_cnn", 64, 4, SCHEME_TF, 0, 0},
		{"digits_cnn_bn", "digits_cnn/model_bn.onnx", "digits_cnn", 64, 4, SCHEME_TF, 0, 0},
		{"digits_cnn_bq", "digits_cnn/model.onnx", "digits_cnn", 64, 4, SCHEME_TF, QUANT_PER_BLOCK, 8},
		{"digits_cnn_pct", "digits_cnn/model.onnx", "digits_cnn", 64, 4, SCHEME_PERCENTILE, 0, 0},
		{"mnist_resnet", "mnist_resnet/model.onnx", "mnist_resnet", 64, 4, SCHEME_TF, 0, 0},
		{"mnist_resnet_bn_tfe", "mnist_resnet/model_bn.onnx", "mnist_resnet", 64, 4, SCHEME_TF_ENHANCED, 0, 0},
		{"magika", "magika/model.onnx", "magika", 16, 2, SCHEME_TF, 0, 0},
		{"ppocr_cls", "ppocr_cls/model.onnx", "ppocr_cls", 32, 3, SCHEME_TF, 0, 0},
		{"minilm_l3", "minilm_l3/model.onnx", "minilm_l3", 32, 4, SCHEME_TF, 0, 0},
		{"minilm_l3_lpbq", "minilm_l3/model.onnx", "minilm_l3", 32, 1, SCHEME_TF, QUANT_LPBQ, 64},
		{"basic_pitch", "basic_pitch/model.onnx", "basic_pitch", 8, 2, SCHEME_TF, 0, 0},
		{"doc_orientation", "doc_orientation/model.onnx", "doc_orientation", 16, 4, SCHEME_TF, 0, 0},
		{"efficientnet_lite0", "efficientnet_lite0/model.onnx", "efficientnet_lite0", 16, 4, SCHEME_TF, 0, 0},
	};
	for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
		char name[64], model[256], data[256], path[512];
		(void)snprintf(name, sizeof name, "golden/%s", real[i].name);
		(void)snprintf(data, sizeof data, "models/%s/calib.npz", real[i].data);
		(void)snprintf(model, sizeof model, "models/%s", real[i].model);
		if (access(shared_path(model, path, sizeof path), R_OK)) {
			const char *second = getenv("SEQMSED_MODELS");
			(void)snprintf(model, sizeof model, "%s/%s", second ? second : "build/models", real[i].model);
			if (access(model, R_OK)) {
				print_message("%s is not here\n", real[i].model);
				continue;
			}
		}
		struct setup s = {.name = name,
		                  .model = model,
		                  .data = data,
		                  .batch = real[i].batch,
		                  .batches = real[i].batches,
		                  .rules = {.param_bw = 4, .output_bw = 8},
		                  .calibration = {.scheme = real[i].scheme, .percentile = 99.9},
		                  .weights = real[i].weights,
		                  .block_size = real[i].block_size};
		struct simulation x;
		open_simulation(&x, &s);
		freeze_searched(&x);
		reference_reading(x.qs);
		must(!calibrate(x.s, x.w.ort, x.w.c, &s.calibration, NULL, &e));
		if (compare(&x, 1e-5) < 100)
			fail_msg("%s", name);
		close_simulation(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(examples_are_equal_bit_for_bit),
		cmocka_unit_test(real_models_are_close),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
