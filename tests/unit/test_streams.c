/* What the searches of the sample see, against the same tensors out of other models: the float side of asym, and both of symfp, are the float
 * network's; the quantized side is that of the network with the weights that were found. */

#include "core/data/arrays.h"
#include "core/onnx/onnx_model.h"
#include "core/search/loss.h"
#include "core/search/seqmse.h"
#include "scratch.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_INPUTS = 64, BATCHES = 2 };

struct input {
	char weight[100];
	int64_t batch, count;
	float *x, *x_float; /* the same memory where both sides see the same */
};

struct seen {
	struct input inputs[MAX_INPUTS];
	int n;
};

static float *copy_of(const float *x, int64_t n)
{
	float *out = malloc((size_t)n * sizeof *out);
	assert_non_null(out);
	memcpy(out, x, (size_t)n * sizeof *out);
	return out;
}

static void on_input(void *ctx, const char *weight, int64_t batch, int rank, const int64_t *shape, const float *x,
                     const float *x_float)
{
	struct seen *s = ctx;
	struct input *in = &s->inputs[s->n++];
	assert_true(s->n <= MAX_INPUTS && strlen(weight) < sizeof in->weight);
	*in = (struct input){.batch = batch, .count = 1};
	memcpy(in->weight, weight, strlen(weight) + 1);
	for (int i = 0; i < rank; i++)
		in->count *= shape[i];
	in->x = copy_of(x, in->count);
	in->x_float = x_float ? copy_of(x_float, in->count) : in->x;
}

static void seen_fini(struct seen *s)
{
	for (int i = 0; i < s->n; i++) {
		if (s->inputs[i].x_float != s->inputs[i].x)
			free(s->inputs[i].x_float);
		free(s->inputs[i].x);
	}
}

/* Searches a model; only: the one node to search, or NULL. Writes the model with the weights found where out is given. */
static void run(const char *model, enum symmetry symmetry, char *only, struct seen *seen, const char *out)
{
	struct err e = ERR_INIT;
	struct params p;
	char *include[] = {only, NULL};
	struct seqmse_hooks hooks = {.ctx = seen, .input = on_input};
	struct buf b = BUF_INIT;
	*seen = (struct seen){0};
	params_init(&p);
	p.param_bw = 3;
	p.batch_size = 32;
	p.num_batches = BATCHES;
	p.inp_symmetry = symmetry;
	p.include = only ? include : NULL;
	struct onnx_model *m = onnx_model_open(model, &e);
	struct arrays *z = arrays_open("tests/data/digits/calib.npz", &e);
	struct seqmse_result *r = m && z ? seqmse_run(m, z, NULL, &p, &hooks, &e) : NULL;
	if (!r)
		fail_msg("%s", e.msg);
	if (out) {
		assert_int_equal(seqmse_write_model(r, &b, &e), 0);
		FILE *f = fopen(out, "wb");
		assert_non_null(f);
		assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
		assert_int_equal(fclose(f), 0);
	}
	buf_fini(&b);
	seqmse_result_free(r);
	arrays_free(z);
	onnx_model_free(m);
	p.include = NULL;
	params_fini(&p);
}

static const struct input *find(const struct seen *s, const struct input *like)
{
	for (int i = 0; i < s->n; i++)
		if (strcmp(s->inputs[i].weight, like->weight) == 0 && s->inputs[i].batch == like->batch)
			return &s->inputs[i];
	fail_msg("%s is not searched", like->weight);
	return NULL;
}

/* The largest difference, relative to the largest number. */
static double distance(const float *a, const float *b, int64_t n)
{
	double most = 0, size = 0;
	for (int64_t i = 0; i < n; i++) {
		most = fmax(most, fabs((double)a[i] - (double)b[i]));
		size = fmax(size, fabs((double)a[i]));
	}
	return most / size;
}

static const char sample[] = "tests/data/digits/model.onnx";

static void symfp_sees_the_float_network(void **state)
{
	(void)state;
	struct seen all, one;
	struct err e = ERR_INIT;
	struct onnx_model *m = onnx_model_open(sample, &e);
	run(sample, SYMFP, NULL, &all, NULL);
	for (int i = 0; i < onnx_model_nodes(m); i++) {
		const struct onnx_node *n = onnx_model_node(m, i);
		if (strcmp(n->op_type, "Conv") != 0 && strcmp(n->op_type, "Gemm") != 0)
			continue;
		run(sample, SYMQT, (char *)(uintptr_t)n->name, &one, NULL); /* nothing before it is quantized */
		assert_int_equal(one.n, BATCHES);
		for (int b = 0; b < one.n; b++) {
			const struct input *same = find(&all, &one.inputs[b]);
			assert_true(distance(same->x, one.inputs[b].x, same->count) < 1e-5);
			assert_ptr_equal(same->x, same->x_float);
		}
		seen_fini(&one);
	}
	seen_fini(&all);
	onnx_model_free(m);
}

static void asym_sees_both_networks(void **state)
{
	(void)state;
	struct seen both, floats, quantized;
	char path[128];
	double most = 0;
	(void)snprintf(path, sizeof path, "%s/quantized.onnx", scratch_new());
	run(sample, ASYM, NULL, &both, path);
	run(sample, SYMFP, NULL, &floats, NULL);
	run(path, SYMFP, NULL, &quantized, NULL);
	for (int i = 0; i < both.n; i++) {
		const struct input *in = &both.inputs[i], *f = find(&floats, in), *q = find(&quantized, in);
		assert_true(distance(in->x_float, f->x, in->count) < 1e-5);
		assert_true(distance(in->x, q->x, in->count) < 1e-5);
		most = fmax(most, distance(in->x, in->x_float, in->count));
	}
	assert_true(most > 1e-2);
	assert_ptr_equal(both.inputs[0].x, both.inputs[0].x_float); /* nothing differs before the first layer */
	seen_fini(&both);
	seen_fini(&floats);
	seen_fini(&quantized);
	scratch_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(symfp_sees_the_float_network),
		cmocka_unit_test(asym_sees_both_networks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
