/* QDQ models of every form of grid, against our own simulation of the same grids. */

#include "shared.h"
#include "whole_model.h"

#include "core/base/buf.h"
#include "core/encodings/bias_encodings.h"
#include "core/encodings/moved_encodings.h"
#include "core/encodings/qdq.h"
#include "core/quantsim/quantsim.h"
#include "core/run/value_types.h"
#include "core/simulate/calibrate.h"
#include "core/simulate/sim.h"

#include <dirent.h>
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

struct subject {
	struct whole w;
	struct value_types *types;
	struct quantsim *qs;
	struct sim *sim;
	struct encodings x;
};

static void subject_open(struct subject *s, const char *model, const char *data, int64_t batch,
                         const struct quantsim_settings *settings, bool strict)
{
	static const struct calibrate_settings calibration = {.plain = true};
	*s = (struct subject){0};
	whole_open(&s->w, model, data, batch, 1, 1);
	must((s->types = value_types_new(s->w.m, s->w.ort, &e)));
	must((s->qs = quantsim_new(s->w.m, s->types, settings, &e)));
	for (int i = 0; i < s->qs->nquantizers; i++)
		s->qs->quantizers[i].mode.strict_symmetric = strict;
	must((s->sim = sim_new(s->qs, &e)));
	must(calibrate(s->sim, s->w.ort, s->w.c, &calibration, NULL, &e) == 0);
	must(sim_encodings(s->sim, "min_max", &s->x, &e) == 0);
	must(bias_encodings_add(&s->x, s->qs, &e) == 0);
	must(moved_encodings_add(&s->x, s->qs, &e) == 0);
	for (int v = ENCODINGS_1_0_0; v <= ENCODINGS_2_1_0; v++) {
		struct buf b = BUF_INIT;
		must(encodings_write(&s->x, (enum encodings_version)v, &b, &e) == 0);
		buf_fini(&b);
	}
}

static void subject_close(struct subject *s)
{
	encodings_fini(&s->x);
	sim_free(s->sim);
	quantsim_free(s->qs);
	value_types_free(s->types);
	whole_close(&s->w);
}

static float *simulated(struct subject *s, size_t *n)
{
	size_t nout = onnx_model_outputs(s->w.m);
	struct ort_value **out = calloc(nout, sizeof(struct ort_value *));
	struct sim_run *r = sim_run_new(s->sim, s->w.ort, SIM_QUANTIZED, true, NULL, NULL, &e);
	must(r);
	must(sim_run_batch(r, s->w.c, 0, out, &e) == 0);
	float *all = whole_floats(s->w.ort, out, nout, n);
	sim_run_done(r, out);
	sim_run_free(r);
	free(out);
	return all;
}

static float *exported(struct subject *s, bool prequantized, size_t *n)
{
	struct buf b = BUF_INIT;
	must(qdq_write(s->w.m, s->types, &s->x, (struct qdq_options){prequantized, false}, &b, &e) == 0);
	struct onnx_model *m = onnx_model_parse(b.data, b.len, "QDQ", &e);
	must(m);
	float *out = whole_run(&s->w, m, 0, n);
	onnx_model_free(m);
	buf_fini(&b);
	return out;
}

/* The noise that b adds to a, in decibels below a. */
static double agreement(const float *a, const float *b, size_t n)
{
	double signal = 0, noise = 0;
	for (size_t i = 0; i < n; i++) {
		double d = (double)a[i] - (double)b[i];
		signal += (double)a[i] * (double)a[i];
		noise += d * d;
	}
	return noise > 0 ? 10 * log10(signal / noise) : INFINITY;
}

struct form {
	const char *name;
	struct quantsim_settings settings;
	bool strict;
};

static const struct form forms[] = {
	{"W3A5", {.param_bw = 3, .output_bw = 5}, false},
	{"W2A12", {.param_bw = 2, .output_bw = 12}, false},
	{"W5A16", {.param_bw = 5, .output_bw = 16}, false},
	{"W12A8", {.param_bw = 12, .output_bw = 8}, false},
	{"strict W4A8", {.param_bw = 4, .output_bw = 8}, true},
	{"W4A8 per tensor", {.param_bw = 4, .output_bw = 8, .weights = QUANTSIM_FORCED, .granularity = QUANT_PER_TENSOR}, false},
	{"W4A8 blocks",
         {.param_bw = 4, .output_bw = 8, .weights = QUANTSIM_FORCED, .granularity = QUANT_PER_BLOCK, .block_size = 4},
         false},
	{"W4A8 LPBQ",
         {.param_bw = 4, .output_bw = 8, .weights = QUANTSIM_FORCED, .granularity = QUANT_LPBQ, .block_size = 4},
         false},
	{"W8A8 LPBQ",
         {.param_bw = 8, .output_bw = 8, .weights = QUANTSIM_FORCED, .granularity = QUANT_LPBQ, .block_size = 2},
         false},
	{"dsp", {.config = "dsp", .param_bw = 8, .output_bw = 8}, false},
	{"float16", {.param_bw = 4, .output_bw = 16, .output_float16 = true}, false},
};

static void check(const char *model, const char *data, int64_t batch, const struct form *f, double at_least)
{
	struct subject s;
	size_t n, k;
	subject_open(&s, model, data, batch, &f->settings, f->strict);
	float *want = simulated(&s, &n);
	for (int prequantized = 0; prequantized < 2; prequantized++) {
		float *got = exported(&s, prequantized, &k);
		assert_int_equal(n, k);
		double db = agreement(want, got, n);
		if (!(db >= at_least))
			fail_msg("%s, %s%s: %.1f dB", model, f->name, prequantized ? ", integers" : "", db);
		free(got);
	}
	free(want);
	subject_close(&s);
}

/* In 16 bits the simulation loses bits before it rounds, and float16 tensors have no nodes. All others agree exactly here, where no number lies halfway. */
static double expected(const struct quantsim_settings *s)
{
	return s->output_float16 ? 45 : s->output_bw == 16 ? 80 : INFINITY;
}

static void every_form_computes_what_the_simulation_does(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		check("tests/data/tiny/model.onnx", "tests/data/tiny/calib.npz", 4, &forms[i], expected(&forms[i].settings));
		check("tests/data/digits/model.onnx", "tests/data/digits/calib.npz", 16, &forms[i], expected(&forms[i].settings));
	}
}

/* The zoo's numbers are eighths, so that many lie halfway and are rounded the other way; a wrong grid would be far below 30 dB. */
static void every_kind_of_model_computes_what_the_simulation_does(void **state)
{
	(void)state;
	const struct form f = {"W4A8", {.param_bw = 4, .output_bw = 8}, false};
	DIR *d = opendir("tests/data/zoo");
	int n = 0;
	assert_non_null(d);
	for (struct dirent *x = readdir(d); x; x = readdir(d)) {
		char model[300], data[300];
		int len = (int)strlen(x->d_name) - 5;
		if (len < 1 || strcmp(x->d_name + len, ".onnx") != 0)
			continue;
		(void)snprintf(model, sizeof model, "tests/data/zoo/%s", x->d_name);
		(void)snprintf(data, sizeof data, "tests/data/zoo/%.*s.npz", len, x->d_name);
		check(model, data, 4, &f, 30);
		n++;
	}
	(void)closedir(d);
	assert_true(n > 50);
}

/* Real models, where they are at hand; among them basic_pitch, whose convolutions share biases. Among a million numbers there is one that is so close to
 * the middle that the simulation's float32, which subtracts the offset before it rounds, takes it for halfway; one output is then a step off. */
static void real_models_compute_what_the_simulation_does(void **state)
{
	(void)state;
	static const char *const names[] = {"digits_cnn", "mnist_resnet", "basic_pitch", "magika", "ppocr_cls", "doc_orientation"};
	const struct form f = {"W4A8", {.param_bw = 4, .output_bw = 8}, false};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char model[4096], data[4096], name[200];
		(void)snprintf(name, sizeof name, "models/%s/model.onnx", names[i]);
		shared_path(name, model, sizeof model);
		(void)snprintf(name, sizeof name, "models/%s/calib.npz", names[i]);
		shared_path(name, data, sizeof data);
		if (access(model, R_OK) != 0)
			skip();
		check(model, data, 2, &f, 35);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_computes_what_the_simulation_does),
		cmocka_unit_test(every_kind_of_model_computes_what_the_simulation_does),
		cmocka_unit_test(real_models_compute_what_the_simulation_does),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
