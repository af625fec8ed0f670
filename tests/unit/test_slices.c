/* A batch in slices gives the bits of the batch at once; and which graphs can be sliced. */

#include "core/onnx/onnx_edit.h"
#include "core/onnx/onnx_insert.h"
#include "core/run/slices.h"
#include "core/run/value_types.h"
#include "whole_model.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BATCH = 33, FLOAT = 1 };

static struct err e = ERR_INIT;

static void must(bool ok)
{
	if (!ok)
		fail_msg("%s", e.msg);
}

/* The nodes before the first one of a kind, and what that reads. */
struct front {
	int nodes[64];
	size_t n;
	int value;
};

static struct front front_of(const struct onnx_model *m, const char *op_type)
{
	struct front f = {.value = -1};
	for (int i = 0; i < onnx_model_nodes(m) && f.value < 0; i++) {
		const struct onnx_node *n = onnx_model_node(m, i);
		if (strcmp(n->op_type, op_type) == 0)
			f.value = n->inputs[0];
		else if (!n->is_static)
			f.nodes[f.n++] = i;
	}
	assert_true(f.value >= 0 && f.n < 64);
	return f;
}

static struct ort_session *session_of(struct whole *w, const struct front *f, struct onnx_submodel *model)
{
	const struct onnx_io *io = onnx_model_input(w->m, 0);
	struct onnx_feed feed = {.value = onnx_model_find(w->m, io->name), .elem_type = io->elem_type, .rank = io->rank};
	memcpy(feed.shape, io->shape, sizeof feed.shape);
	must(!onnx_submodel_build(w->m, f->nodes, f->n, &feed, 1, &f->value, 1, NULL, model, &e));
	struct ort_session *s = ort_session_new(w->ort, model, &e);
	must(s);
	return s;
}

static void slices_give_the_same_bits(void **unused)
{
	(void)unused;
	struct whole w;
	struct onnx_submodel model = {.bytes = BUF_INIT};
	struct ort_info info, whole;
	int64_t shape[ARRAY_MAX_RANK];
	whole_open(&w, "tests/data/digits/model.onnx", "tests/data/digits/calib.npz", BATCH, 1, 2);
	struct front f = front_of(w.m, "Gemm");
	struct ort_session *s = session_of(&w, &f, &model);
	const char *in_name = onnx_model_input(w.m, 0)->name, *out_name = onnx_model_value(w.m, f.value)->name;
	int rank = calib_shape(w.c, 0, 0, shape);
	struct ort_value *in = ort_tensor_new(w.ort, FLOAT, rank, shape, &e), *at_once, *sliced;
	must(in && !calib_read(w.c, 0, 0, ort_value_data(w.ort, in), &e));
	must(!ort_run(s, &in_name, &in, 1, &out_name, &at_once, 1, &e));
	must(!ort_value_info(w.ort, at_once, &whole, &e));
	assert_int_equal(whole.shape[0], BATCH);
	for (int64_t rows = 4; rows < BATCH; rows++) {
		must(!slices_run(w.ort, s, rows, &in_name, &in, 1, &out_name, &sliced, 1, &e));
		must(!ort_value_info(w.ort, sliced, &info, &e));
		assert_int_equal(info.rank, whole.rank);
		assert_memory_equal(info.shape, whole.shape, (size_t)whole.rank * sizeof *whole.shape);
		assert_memory_equal(ort_value_data(w.ort, sliced), ort_value_data(w.ort, at_once), whole.bytes);
		ort_value_free(w.ort, sliced);
	}
	ort_value_free(w.ort, at_once);
	ort_value_free(w.ort, in);
	ort_session_free(s);
	onnx_submodel_fini(&model);
	whole_close(&w);
}

static void slices_are_even_and_never_of_one_sample(void **unused)
{
	(void)unused;
	assert_int_equal(slices_count(0, 1000), 1);
	assert_int_equal(slices_count(8, 8), 1);
	assert_int_equal(slices_count(8, 9), 2);
	assert_int_equal(slices_count(11, 32), 3);
	for (int64_t rows = 4; rows < 40; rows++)
		for (int64_t samples = 2; samples < 200; samples++)
			assert_true(samples / slices_count(rows, samples) >= 2);
}

/* The rows of a slice of a model, exact or not. */
static int64_t rows_of(const char *name, bool exact)
{
	char path[200], data[200];
	struct whole w;
	(void)snprintf(path, sizeof path, "tests/data/%s.onnx", name);
	(void)snprintf(data, sizeof data, "tests/data/%s.npz", strcmp(name, "digits/model") == 0 ? "digits/calib" : name);
	whole_open(&w, path, data, 0, 1, 1);
	struct value_types *types = value_types_new(w.m, w.ort, &e);
	must(types);
	int64_t rows = slices_rows(w.m, types, NULL, 0, exact);
	assert_int_equal(slices_rows(w.m, NULL, NULL, 0, exact), 0);
	value_types_free(types);
	whole_close(&w);
	return rows;
}

static void only_what_keeps_samples_apart_is_sliced(void **unused)
{
	(void)unused;
	struct whole w;
	whole_open(&w, "tests/data/digits/model.onnx", "tests/data/digits/calib.npz", 0, 1, 1);
	struct value_types *types = value_types_new(w.m, w.ort, &e);
	struct front f = front_of(w.m, "Gemm");
	must(types);
	assert_true(slices_rows(w.m, types, f.nodes, f.n, true) > 0);
	value_types_free(types);
	whole_close(&w);
	assert_true(rows_of("digits/model", false) > 0);
	assert_int_equal(rows_of("digits/model", true), 0); /* its Gemm has a row for each sample */
	static const char *const whole[] = {
		"zoo/pooling", /* Resize is not among the known */
		"zoo/scan",           "zoo/fixed_batch_4",   "zoo/question_mark_dims",   "zoo/gemm_trans_a",
		"zoo/matmul_dynamic", "zoo/rejects_batch_1", "zoo/initializer_is_output"};
	static const char *const apart[] = {"zoo/residual", "zoo/unequal_branches", "zoo/shared_at_one_depth",
	                                    "zoo/conv_depthwise"};
	for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
		assert_int_equal(rows_of(whole[i], false), 0);
	for (size_t i = 0; i < sizeof apart / sizeof *apart; i++)
		assert_true(rows_of(apart[i], true) > 0);
}

/* ---- tests/data/slices ---- */

enum { MAX_INPUTS = 2, MAX_OUTPUTS = 2, LEVELS = 3 };

struct small {
	struct ort *ort;
	struct onnx_model *m;
	struct onnx_submodel serialized;
	struct value_types *types;
	size_t nin, nout;
	const char *in_names[MAX_INPUTS], *out_names[MAX_OUTPUTS];
	struct ort_value *in[MAX_INPUTS];
};

static void small_open(struct small *s, const char *name, int threads)
{
	char path[300];
	*s = (struct small){0};
	(void)snprintf(path, sizeof path, "tests/data/slices/%s", name);
	must((s->m = onnx_model_open(path, &e)) && (s->ort = ort_open(threads, &e)));
	must((s->types = value_types_new(s->m, s->ort, &e)));
	s->nin = onnx_model_inputs(s->m);
	s->nout = onnx_model_outputs(s->m);
	assert_true(s->nin <= MAX_INPUTS && s->nout <= MAX_OUTPUTS);
	for (size_t i = 0; i < s->nin; i++)
		s->in_names[i] = onnx_model_input(s->m, i)->name;
	for (size_t i = 0; i < s->nout; i++)
		s->out_names[i] = onnx_model_output(s->m, i)->name;
}

static void small_close(struct small *s)
{
	for (size_t i = 0; i < s->nin; i++)
		ort_value_free(s->ort, s->in[i]);
	onnx_submodel_fini(&s->serialized);
	value_types_free(s->types);
	ort_close(s->ort);
	onnx_model_free(s->m);
}

/* Numbers of all sizes from 2^-6 to 2^6, of both signs. */
static void feed(struct small *s, size_t i, int64_t samples)
{
	const struct onnx_io *io = onnx_model_input(s->m, i);
	struct ort_info info;
	int64_t shape[ARRAY_MAX_RANK];
	memcpy(shape, io->shape, sizeof shape);
	shape[0] = samples;
	ort_value_free(s->ort, s->in[i]);
	must((s->in[i] = ort_tensor_new(s->ort, FLOAT, io->rank, shape, &e)) && !ort_value_info(s->ort, s->in[i], &info, &e));
	float *x = ort_value_data(s->ort, s->in[i]);
	uint32_t chance = 7 + (uint32_t)i;
	for (int64_t k = 0; k < info.count; k++) {
		chance = chance * 1664525 + 1013904223;
		float size = ldexpf(1 + (float)(chance >> 9 & 0xffff) / 65536, (int)(chance >> 26) % 12 - 6);
		x[k] = chance >> 25 & 1 ? -size : size;
	}
}

static struct ort_session *small_session(struct small *s, enum ort_level level)
{
	struct onnx_insert *x = onnx_insert_new(s->m, &e);
	onnx_submodel_fini(&s->serialized);
	const float **replaced = calloc((size_t)onnx_model_values(s->m) + 1, sizeof *replaced);
	must(x && !onnx_insert_build(x, replaced, true, &s->serialized, &e));
	onnx_insert_free(x);
	free((void *)replaced);
	struct ort_session *session = ort_session_new_with(s->ort, &s->serialized, NULL, level, &e);
	must(session);
	return session;
}

static void assert_same(struct small *s, struct ort_value *a, struct ort_value *b, bool bits)
{
	struct ort_info x, y;
	must(!ort_value_info(s->ort, a, &x, &e) && !ort_value_info(s->ort, b, &y, &e));
	assert_int_equal(x.rank, y.rank);
	assert_memory_equal(x.shape, y.shape, (size_t)x.rank * sizeof *x.shape);
	if (bits) {
		assert_memory_equal(ort_value_data(s->ort, a), ort_value_data(s->ort, b), x.bytes);
		return;
	}
	const float *p = ort_value_data(s->ort, a), *q = ort_value_data(s->ort, b);
	for (int64_t i = 0; i < x.count; i++)
		assert_true(fabsf(p[i] - q[i]) <= 1e-5F * fmaxf(1, fabsf(p[i])));
}

/* A batch in slices of so many rows against the batch at once. */
static void compare(struct small *s, struct ort_session *session, int64_t rows, bool bits)
{
	struct ort_value *at_once[MAX_OUTPUTS], *sliced[MAX_OUTPUTS];
	must(!ort_run(session, s->in_names, s->in, s->nin, s->out_names, at_once, s->nout, &e));
	must(!slices_run(s->ort, session, rows, s->in_names, s->in, s->nin, s->out_names, sliced, s->nout, &e));
	for (size_t i = 0; i < s->nout; i++) {
		assert_same(s, at_once[i], sliced[i], bits);
		ort_value_free(s->ort, at_once[i]);
		ort_value_free(s->ort, sliced[i]);
	}
}

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

/* Returns whether it may be sliced. */
static bool check_small(const char *name)
{
	static const int64_t rows[] = {4, 5, 8, 11, 16, 32};
	bool apart = begins(name, "apart_"), bits = !begins(name, "apart_rows_");
	for (int threads = 1; threads <= 3; threads++) {
		struct small s;
		small_open(&s, name, threads);
		if (apart != (slices_rows(s.m, s.types, NULL, 0, false) > 0) ||
		    (apart && bits) != (slices_rows(s.m, s.types, NULL, 0, true) > 0))
			fail_msg("%s", name);
		for (size_t i = 0; apart && i < s.nin; i++)
			feed(&s, i, BATCH);
		for (int level = 0; apart && level < LEVELS; level++) {
			struct ort_session *session = small_session(&s, (enum ort_level)level);
			for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
				compare(&s, session, rows[i], bits);
			ort_session_free(session);
		}
		small_close(&s);
	}
	return apart;
}

static void every_kind_of_node_is_told_apart(void **unused)
{
	(void)unused;
	DIR *d = opendir("tests/data/slices");
	int apart = 0, mixed = 0;
	assert_non_null(d);
	for (struct dirent *f; (f = readdir(d)) != NULL;) {
		const char *dot = strrchr(f->d_name, '.');
		if (!dot || strcmp(dot, ".onnx") != 0)
			continue;
		if (check_small(f->d_name))
			apart++;
		else
			mixed++;
	}
	(void)closedir(d);
	assert_true(apart > 30 && mixed > 40);
}

/* What an Observe behind the output sees, which makes the output's shape unknown before a run. */
static int count_samples(void *ctx, int64_t slot, const struct ort_tensor *t, struct err *why)
{
	int64_t *seen = ctx;
	(void)slot;
	(void)why;
	seen[0]++;
	seen[1] = t->shape[0] > seen[1] ? t->shape[0] : seen[1];
	return 0;
}

static void batches_do_go_in_slices(void **unused)
{
	(void)unused;
	static const char *const names[] = {"apart_relu.onnx", "apart_conv.onnx"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct small s;
		int64_t seen[2] = {0};
		const struct ort_ops ops = {.observe = count_samples, .ctx = seen};
		struct onnx_cut cut;
		small_open(&s, names[i], 1);
		feed(&s, 0, BATCH);
		int out = onnx_model_find(s.m, s.out_names[0]);
		struct onnx_insert *x = onnx_insert_new(s.m, &e);
		must(x && !onnx_insert_cut(x, out, "_seen", &cut, &e));
		must(!onnx_insert_node(x, out,
		                       &(struct onnx_insert_node){.op_type = ORT_OPS_OBSERVE,
		                                                  .domain = ORT_OPS_DOMAIN,
		                                                  .inputs = {cut.made},
		                                                  .outputs = {cut.read},
		                                                  .ints = {{ORT_OPS_SLOT, 0}}},
		                       &e));
		const float **replaced = calloc((size_t)onnx_model_values(s.m) + 1, sizeof *replaced);
		must(!onnx_insert_build(x, replaced, true, &s.serialized, &e));
		struct ort_session *session = ort_session_new_with(s.ort, &s.serialized, &ops, ORT_BLOCKED, &e), *plain;
		must(session);
		struct ort_value *at_once, *sliced;
		must(!slices_run(s.ort, session, 8, s.in_names, s.in, 1, s.out_names, &sliced, 1, &e));
		assert_true(seen[0] == 5 && seen[1] == 7);
		plain = small_session(&s, ORT_BLOCKED);
		must(!ort_run(plain, s.in_names, s.in, 1, s.out_names, &at_once, 1, &e));
		assert_same(&s, at_once, sliced, true);
		ort_value_free(s.ort, at_once);
		ort_value_free(s.ort, sliced);
		ort_session_free(session);
		ort_session_free(plain);
		onnx_insert_free(x);
		free((void *)replaced);
		small_close(&s);
	}
}

static void inputs_of_unequal_length_go_through_at_once(void **unused)
{
	(void)unused;
	struct small s;
	small_open(&s, "apart_two_outputs.onnx", 1);
	struct ort_session *session = small_session(&s, ORT_BLOCKED);
	for (int64_t other = 1; other <= BATCH + 1; other += BATCH / 3) {
		feed(&s, 0, BATCH);
		feed(&s, 1, other);
		compare(&s, session, 4, true);
	}
	ort_session_free(session);
	small_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slices_give_the_same_bits),
		cmocka_unit_test(slices_are_even_and_never_of_one_sample),
		cmocka_unit_test(only_what_keeps_samples_apart_is_sliced),
		cmocka_unit_test(every_kind_of_node_is_told_apart),
		cmocka_unit_test(batches_do_go_in_slices),
		cmocka_unit_test(inputs_of_unequal_length_go_through_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
