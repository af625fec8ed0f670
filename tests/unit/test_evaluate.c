/* Evaluation: shares, SQNR and cosine against loops over the raw outputs; every kind of labels; ranges that huge constants ruin. */

#include "core/quantsim/quantsim.h"
#include "core/run/value_types.h"
#include "core/simulate/calibrate.h"
#include "core/simulate/evaluate.h"
#include "core/simulate/sim.h"
#include "npz_file.h"
#include "shared.h"
#include "whole_model.h"

#include <glob.h>
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

static void near(double got, double want, double tolerance)
{
	if (!(fabs(got - want) <= tolerance))
		fail_msg("%.17g instead of %.17g", got, want);
}

static void must(bool ok)
{
	if (!ok)
		fail_msg("%s", e.msg);
}

/* A calibrated simulation of 4-bit weights, or of others. */
struct subject {
	struct whole w;
	struct value_types *types;
	struct quantsim *qs;
	struct sim *s;
	int warnings;
};

static void count(void *ctx, const char *code, const char *tensor, const char *detail)
{
	(void)tensor;
	(void)detail;
	((struct subject *)ctx)->warnings += strcmp(code, "degenerate-range") == 0;
}

static void open_subject(struct subject *x, const char *model, const char *data, int64_t batch, int64_t batches, int bits,
                         int output_bits, enum degenerate_ranges degenerate)
{
	const struct calibrate_hooks hooks = {.ctx = x, .warning = count};
	x->warnings = 0;
	whole_open(&x->w, model, data, batch, batches, 2);
	must((x->types = value_types_new(x->w.m, x->w.ort, &e)));
	must((x->qs = quantsim_new(x->w.m, x->types, &(struct quantsim_settings){.param_bw = bits, .output_bw = output_bits}, &e)));
	must((x->s = sim_new(x->qs, &e)));
	must(!calibrate(x->s, x->w.ort, x->w.c, &(struct calibrate_settings){.degenerate = degenerate}, &hooks, &e));
}

static void close_subject(struct subject *x)
{
	sim_free(x->s);
	quantsim_free(x->qs);
	value_types_free(x->types);
	whole_close(&x->w);
}

static const char digits[] = "tests/data/digits/model.onnx", digits_calib[] = "tests/data/digits/calib.npz",
		  digits_eval[] = "tests/data/digits/eval.npz";

/* All outputs of a mode over the evaluation data, [samples][10]. */
static float *raw(struct subject *x, struct calib *c, enum sim_mode mode)
{
	float *all = malloc((size_t)calib_samples(c) * 10 * sizeof *all);
	struct sim_run *r = sim_run_new(x->s, x->w.ort, mode, true, NULL, NULL, &e);
	struct ort_value *out;
	must(r != NULL);
	for (int64_t b = 0, at = 0; b < calib_batches(c); b++) {
		size_t n;
		must(!sim_run_batch(r, c, b, &out, &e));
		float *got = whole_floats(x->w.ort, &out, 1, &n);
		memcpy(all + at, got, n * sizeof *got);
		at += (int64_t)n;
		free(got);
		sim_run_done(r, &out);
	}
	sim_run_free(r);
	return all;
}

static int64_t best(const float *x)
{
	int64_t b = 0;
	for (int64_t i = 1; i < 10; i++)
		b = x[i] > x[b] ? i : b;
	return b;
}

static bool within_first(const float *x, int64_t label, int k)
{
	int better = 0;
	for (int64_t i = 0; i < 10; i++)
		better += x[i] > x[label];
	return better < k;
}

static void shares_and_decibels_are_what_they_say(void **state)
{
	(void)state;
	struct subject x;
	struct evaluate_row rows[EVALUATE_ROWS];
	open_subject(&x, digits, digits_calib, 64, 0, 3, 8, DEGENERATE_REFERENCE);
	struct arrays *z = arrays_open(digits_eval, &e);
	must(z != NULL);
	struct evaluate *v = evaluate_new(x.w.m, x.w.ort, z, 64, &(struct evaluate_settings){.plain = true, .top_k = 2}, &e);
	must(v != NULL);
	assert_string_equal(evaluate_labels(v), "label");
	assert_int_equal(evaluate_table(v, NULL, x.s, rows, &e), 3);

	struct calib *c = calib_new(z, x.w.inputs, 1, 64, 0, &e);
	must(c != NULL);
	int64_t n = calib_samples(c), *label = malloc((size_t)n * sizeof *label);
	must(!arrays_read_rows(z, arrays_find(z, "label"), 0, n, label, &e));
	float *want = raw(&x, c, SIM_FLOAT);
	const enum sim_mode modes[] = {SIM_FLOAT, SIM_WEIGHTS, SIM_QUANTIZED};
	for (int m = 0; m < 3; m++) {
		const struct evaluate_score *s = &rows[m].score;
		float *got = raw(&x, c, modes[m]);
		double right = 0, second = 0, same = 0, signal = 0, noise = 0, cosines = 0;
		for (int64_t i = 0; i < n; i++) {
			const float *a = want + i * 10, *b = got + i * 10;
			double ab = 0, aa = 0, bb = 0;
			right += best(b) == label[i];
			second += within_first(b, label[i], 2);
			same += best(a) == best(b);
			for (int k = 0; k < 10; k++) {
				ab += (double)a[k] * (double)b[k];
				aa += (double)a[k] * (double)a[k];
				bb += (double)b[k] * (double)b[k];
				noise += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
			}
			signal += aa;
			cosines += ab / sqrt(aa * bb);
		}
		assert_int_equal(s->samples, n);
		assert_int_equal(s->noutputs, 1);
		near(s->accuracy, right / (double)n, 1e-12);
		near(s->top_k, second / (double)n, 1e-12);
		near(s->agreement, same / (double)n, 1e-12);
		near(s->outputs[0].cosine, cosines / (double)n, 1e-9);
		if (m == 0)
			assert_true(isinf(s->outputs[0].sqnr));
		else
			near(s->outputs[0].sqnr, 10 * log10(signal / noise), 1e-6);
		assert_true(isnan(s->retrieval));
		free(got);
	}
	assert_true(rows[1].score.outputs[0].sqnr < 40 && rows[2].score.outputs[0].sqnr < 40);
	assert_true(rows[0].score.accuracy > 0.98);
	for (int m = 0; m < 3; m++)
		evaluate_score_fini(&rows[m].score);
	free(want);
	free(label);
	calib_free(c);
	evaluate_free(v);
	arrays_free(z);
	close_subject(&x);
}

/* 8 digits with labels of the given shape. */
static struct arrays *digits_with(const char *name, const char *dict, const void *labels, size_t len)
{
	struct arrays *from = arrays_open(digits_eval, &e);
	float image[8 * 64];
	struct buf a = BUF_INIT, b = BUF_INIT, zip = BUF_INIT;
	must(from && !arrays_read_rows(from, arrays_find(from, "image"), 0, 8, image, &e));
	arrays_free(from);
	npz_file_npy(&a, "{'descr': '<f4', 'fortran_order': False, 'shape': (8, 1, 8, 8), }", image, sizeof image);
	npz_file_npy(&b, dict, labels, len);
	npz_file_zip(&zip,
	             (struct npz_file_member[]){{.name = "image.npy", .bytes = a.data, .len = a.len},
	                                        {.name = name, .bytes = b.data, .len = b.len}},
	             2);
	buf_fini(&a);
	buf_fini(&b);
	struct arrays *z = npz_file_open(&zip, &e);
	must(z != NULL);
	return z;
}

static void score_digits(struct subject *x, struct arrays *z, const struct evaluate_settings *settings, struct evaluate_score *score)
{
	struct evaluate *v = evaluate_new(x->w.m, x->w.ort, z, 3, settings, &e);
	must(v && !evaluate_score(v, x->s, SIM_FLOAT, score, &e));
	evaluate_free(v);
	arrays_free(z);
}

static void labels_come_in_three_shapes(void **state)
{
	(void)state;
	struct subject x;
	struct evaluate_score s;
	const struct evaluate_settings automatic = {0};
	open_subject(&x, digits, digits_calib, 64, 0, 8, 8, DEGENERATE_REFERENCE);

	uint8_t sets[8][10] = {{0}};
	for (int i = 0; i < 8; i++) /* everything is acceptable for half of them */
		memset(sets[i], i % 2, 10);
	score_digits(
		&x,
		digits_with("label_sets.npy", "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 10), }", sets, sizeof sets),
		&automatic, &s);
	near(s.accuracy, 0.5, 0);
	evaluate_score_fini(&s);

	/* Two queries; the third sample is a copy of neither, so what they find is worked out here. */
	int32_t pairs[2] = {-1, -1};
	struct arrays *z =
		digits_with("pair_of_query.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", pairs, sizeof pairs);
	struct calib *c = calib_new(z, x.w.inputs, 1, 3, 0, &e);
	must(c != NULL);
	float *y = raw(&x, c, SIM_FLOAT);
	for (int q = 0; q < 2; q++) {
		double most = -2;
		for (int i = 2; i < 8; i++) {
			double ab = 0, aa = 0, bb = 0;
			for (int k = 0; k < 10; k++) {
				ab += (double)y[q * 10 + k] * (double)y[i * 10 + k];
				aa += (double)y[q * 10 + k] * (double)y[q * 10 + k];
				bb += (double)y[i * 10 + k] * (double)y[i * 10 + k];
			}
			if (ab / sqrt(aa * bb) > most) {
				most = ab / sqrt(aa * bb);
				pairs[q] = i;
			}
		}
	}
	free(y);
	calib_free(c);
	arrays_free(z);
	score_digits(
		&x,
		digits_with("pair_of_query.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", pairs, sizeof pairs),
		&automatic, &s);
	near(s.retrieval, 1, 0);
	assert_true(isnan(s.accuracy));
	evaluate_score_fini(&s);
	pairs[0] = pairs[0] == 2 ? 3 : 2;
	score_digits(&x, digits_with("mine.npy", "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", pairs, sizeof pairs),
	             &(struct evaluate_settings){.labels = "mine"}, &s);
	near(s.retrieval, 0.5, 0);
	evaluate_score_fini(&s);
	close_subject(&x);
}

static void refuse(struct subject *x, struct arrays *z, struct evaluate_settings settings, const char *says)
{
	struct evaluate *v = evaluate_new(x->w.m, x->w.ort, z, 4, &settings, &e);
	struct evaluate_score s;
	if (v) {
		assert_int_equal(evaluate_score(v, x->s, SIM_FLOAT, &s, &e), -1);
		evaluate_free(v);
	}
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_non_null(strstr(e.msg, says));
	arrays_free(z);
}

static void wrong_labels_are_refused(void **state)
{
	(void)state;
	struct subject x;
	float real[8] = {0};
	int64_t few[3] = {0};
	open_subject(&x, digits, digits_calib, 64, 0, 8, 8, DEGENERATE_REFERENCE);
	refuse(&x, digits_with("label.npy", "{'descr': '<f4', 'fortran_order': False, 'shape': (8,), }", real, sizeof real),
	       (struct evaluate_settings){0}, "cannot be labels");
	refuse(&x, digits_with("label.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", few, sizeof few),
	       (struct evaluate_settings){.metric = EVALUATE_ACCURACY}, "3 labels");
	refuse(&x, digits_with("label.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", few, sizeof few),
	       (struct evaluate_settings){.labels = "nothing"}, "nothing");
	refuse(&x, digits_with("other.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", few, sizeof few),
	       (struct evaluate_settings){.metric = EVALUATE_RETRIEVAL}, "no labels");
	refuse(&x, digits_with("label.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }", few, sizeof few),
	       (struct evaluate_settings){.output = "nowhere"}, "nowhere");
	close_subject(&x);
}

static bool after_two(void *ctx)
{
	return ++*(int *)ctx > 2;
}

static void cancels_between_batches(void **state)
{
	(void)state;
	struct subject x;
	struct evaluate_score score;
	int asked = 0;
	open_subject(&x, digits, digits_calib, 64, 0, 8, 8, DEGENERATE_REFERENCE);
	const struct calibrate_hooks hooks = {.ctx = &asked, .canceled = after_two};
	assert_int_equal(calibrate(x.s, x.w.ort, x.w.c, &(struct calibrate_settings){0}, &hooks, &e), -1);
	assert_int_equal(e.code, ERR_CANCELED);
	assert_int_equal(asked, 3);
	struct arrays *z = arrays_open(digits_eval, &e);
	struct evaluate *v = evaluate_new(x.w.m, x.w.ort, z, 64, &(struct evaluate_settings){0}, &e);
	must(v != NULL);
	asked = 0;
	evaluate_hooks(v, after_two, &asked);
	assert_int_equal(evaluate_score(v, x.s, SIM_QUANTIZED, &score, &e), -1);
	assert_int_equal(e.code, ERR_CANCELED);
	evaluate_free(v);
	arrays_free(z);
	close_subject(&x);
}

/* Bodies of Loop and If, float16, external data, fixed batches: whatever runs can be calibrated and simulated, at 8 bits with outputs that are not far off. */
static void every_model_of_the_zoo_is_simulated(void **state)
{
	(void)state;
	glob_t found;
	assert_int_equal(glob("tests/data/zoo/*.onnx", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		const char *path = found.gl_pathv[i];
		char data[512];
		struct subject x;
		struct evaluate_score s;
		(void)snprintf(data, sizeof data, "%.*s.npz", (int)(strlen(path) - strlen(".onnx")), path);
		open_subject(&x, path, data, 4, 2, 8, 8, DEGENERATE_REFERENCE);
		struct evaluate *v = evaluate_new(x.w.m, x.w.ort, x.w.z, calib_batch_size(x.w.c),
		                                  &(struct evaluate_settings){.metric = EVALUATE_OUTPUTS}, &e);
		must(v && !evaluate_score(v, x.s, SIM_QUANTIZED, &s, &e));
		for (size_t k = 0; k < s.noutputs; k++)
			if (!(s.outputs[k].cosine > 0.75)) /* big_and_small has 0.80, the others more than 0.9 */
				fail_msg("%s: %s %g dB, cosine %g", path, s.outputs[k].name, s.outputs[k].sqnr,
				         s.outputs[k].cosine);
		evaluate_score_fini(&s);
		evaluate_free(v);
		close_subject(&x);
	}
	globfree(&found);
}

/* The first n sentences of the real data. */
static struct arrays *sentences(int64_t n)
{
	char path[512];
	struct buf parts[2] = {BUF_INIT, BUF_INIT}, zip = BUF_INIT;
	const char *const names[] = {"input_ids", "attention_mask"};
	char dict[128];
	struct arrays *from = arrays_open(shared_path("models/minilm_l3/eval.npz", path, sizeof path), &e);
	int64_t *rows = malloc((size_t)n * 64 * sizeof *rows);
	must(from != NULL);
	(void)snprintf(dict, sizeof dict, "{'descr': '<i8', 'fortran_order': False, 'shape': (%d, 64), }", (int)n);
	for (int i = 0; i < 2; i++) {
		must(!arrays_read_rows(from, arrays_find(from, names[i]), 0, n, rows, &e));
		npz_file_npy(&parts[i], dict, rows, (size_t)n * 64 * sizeof *rows);
	}
	npz_file_zip(&zip,
	             (struct npz_file_member[]){{.name = "input_ids.npy", .bytes = parts[0].data, .len = parts[0].len},
	                                        {.name = "attention_mask.npy", .bytes = parts[1].data, .len = parts[1].len}},
	             2);
	buf_fini(&parts[0]);
	buf_fini(&parts[1]);
	free(rows);
	arrays_free(from);
	struct arrays *z = npz_file_open(&zip, &e);
	must(z != NULL);
	return z;
}

/* BERT-like: -FLT_MAX where the attention mask is 0 leaves one step for all scores, be they 16 bits wide. */
static void degenerate_ranges_can_be_mended(void **state)
{
	(void)state;
	const char *folder = getenv("SEQMSED_MODELS");
	char model[512], data[512];
	(void)snprintf(model, sizeof model, "%s/minilm_l3/model.onnx", folder ? folder : "build/models");
	if (access(model, R_OK) || access(shared_path("models/minilm_l3/calib.npz", data, sizeof data), R_OK))
		skip();
	struct arrays *z = sentences(12);
	for (int i = DEGENERATE_REFERENCE; i <= DEGENERATE_CLAMP; i++) {
		struct subject x;
		struct evaluate_row rows[EVALUATE_ROWS];
		open_subject(&x, model, data, 32, 1, 8, 16, (enum degenerate_ranges)i);
		struct evaluate *v =
			evaluate_new(x.w.m, x.w.ort, z, 12, &(struct evaluate_settings){.metric = EVALUATE_OUTPUTS}, &e);
		must(v && evaluate_table(v, NULL, x.s, rows, &e) == 3);
		size_t last = rows[0].score.noutputs - 1;
		double weights = rows[1].score.outputs[last].cosine, all = rows[2].score.outputs[last].cosine;
		assert_string_equal(rows[0].score.outputs[last].name, "461");
		assert_int_equal(x.warnings, 3); /* the scores of its three layers */
		assert_true(weights > 0.999);
		if (i == DEGENERATE_REFERENCE)
			assert_true(all < 0.9);
		else
			near(all, weights, 0.001);
		for (int r = 0; r < 3; r++)
			evaluate_score_fini(&rows[r].score);
		evaluate_free(v);
		close_subject(&x);
	}
	arrays_free(z);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_and_decibels_are_what_they_say),
		cmocka_unit_test(labels_come_in_three_shapes),
		cmocka_unit_test(wrong_labels_are_refused),
		cmocka_unit_test(cancels_between_batches),
		cmocka_unit_test(every_model_of_the_zoo_is_simulated),
		cmocka_unit_test(degenerate_ranges_can_be_mended),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
