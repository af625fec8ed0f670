/* A search that goes on after it was broken off: with the layers that were finished, in the form in which they are kept, the result
 * is that of an unbroken run, to the last bit. */

#include "core/data/arrays.h"
#include "core/encodings/encodings.h"
#include "core/onnx/onnx_model.h"
#include "core/search/seqmse.h"
#include "core/workflow/machine.h"
#include "server/engine/layer_frame.h"
#include "server/engine/resume.h"
#include "shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static const char *model_path, *calib_path;
static char machine[MACHINE_ID];

struct broken {
	struct resume *resume;
	int stop_after; /* layers; -1: never */
	int searched;
	struct buf lines; /* frames of what was finished */
	double fraction;  /* that was told last */
};

/* What is done stays done, resumed or not. */
static void on_progress(void *ctx, const char *phase, int done, int total, double fraction, const char *current)
{
	struct broken *b = ctx;
	if (!(fraction >= b->fraction && fraction <= 1 && done <= total))
		fail_msg("%s %s: %d of %d, %g after %g", phase, current, done, total, fraction, b->fraction);
	b->fraction = fraction;
}

static void on_layer(void *ctx, const struct seqmse_layer_result *l)
{
	struct broken *b = ctx;
	struct err e = ERR_INIT;
	b->searched++;
	assert_int_equal(layer_frame_write(l, machine, &b->lines, &e), 0);
	buf_str(&b->lines, "\n");
}

static bool on_canceled(void *ctx)
{
	const struct broken *b = ctx;
	return b->searched == b->stop_after;
}

static const struct seqmse_layer_result *on_known(void *ctx, int index)
{
	const struct broken *b = ctx;
	return resume_layer(b->resume, index);
}

/* Settings of some layers, or NULL. */
static const char *overrides;

static struct seqmse_result *search(const struct onnx_model *m, struct broken *b)
{
	struct err e = ERR_INIT;
	struct params p;
	params_init(&p);
	p.num_batches = 4;
	p.overrides = overrides ? strdup(overrides) : NULL;
	const struct seqmse_hooks hooks = {
		.ctx = b, .progress = on_progress, .layer = on_layer, .canceled = on_canceled, .known = on_known};
	struct arrays *z = arrays_open(calib_path, &e);
	assert_non_null(z);
	struct seqmse_result *r = seqmse_run(m, z, NULL, &p, &hooks, &e);
	if (!r && e.code != ERR_CANCELED)
		fail_msg("%s", e.msg);
	arrays_free(z);
	params_fini(&p);
	return r;
}

/* A file with the text in it. */
static int file_of(const struct buf *b)
{
	int fd = memfd_create("known", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, b->data ? b->data : "", b->len), (ssize_t)b->len);
	return fd;
}

static struct resume *read_lines(const struct buf *lines, const char *on)
{
	struct err e = ERR_INIT;
	int fd = file_of(lines);
	struct resume *r = resume_read(fd, on, &e);
	assert_non_null(r);
	(void)close(fd);
	return r;
}

static void assert_same_bits(const struct seqmse_result *a, const struct seqmse_result *b)
{
	struct err e = ERR_INIT;
	struct buf texts[2] = {BUF_INIT, BUF_INIT}, models[2] = {BUF_INIT, BUF_INIT};
	const struct seqmse_result *const both[2] = {a, b};
	for (int i = 0; i < 2; i++) {
		assert_int_equal(encodings_write(seqmse_encodings(both[i]), ENCODINGS_1_0_0, &texts[i], &e), 0);
		assert_int_equal(seqmse_write_model(both[i], &models[i], &e), 0);
	}
	assert_string_equal(texts[0].data, texts[1].data);
	assert_int_equal(models[0].len, models[1].len);
	assert_memory_equal(models[0].data, models[1].data, models[0].len);
	assert_int_equal(seqmse_layers(a), seqmse_layers(b));
	for (size_t i = 0; i < seqmse_layers(a); i++) {
		const struct seqmse_layer_result *x = seqmse_layer(a, i), *y = seqmse_layer(b, i);
		size_t n = (size_t)x->ngrids;
		assert_int_equal(x->ngrids, y->ngrids);
		assert_int_equal(x->granularity, y->granularity);
		assert_int_equal(x->fell_back, y->fell_back);
		assert_memory_equal(x->grids, y->grids, n * sizeof *x->grids);
		assert_memory_equal(x->chosen, y->chosen, n * sizeof *x->chosen);
		assert_memory_equal(x->loss, y->loss, n * sizeof *x->loss);
		assert_memory_equal(x->minmax_loss, y->minmax_loss, n * sizeof *x->minmax_loss);
		assert_int_equal(x->candidates, y->candidates);
		assert_int_equal(!x->curve, !y->curve);
		if (x->curve)
			assert_memory_equal(x->curve, y->curve, (size_t)x->candidates * sizeof *x->curve);
		assert_string_equal(x->strategy, y->strategy);
		assert_string_equal(x->node, y->node);
		assert_int_equal(x->rechecked, y->rechecked);
		assert_int_equal(x->index, y->index);
	}
	for (int i = 0; i < 2; i++) {
		buf_fini(&texts[i]);
		buf_fini(&models[i]);
	}
}

/* Breaks the search off after every number of layers and lets another go on. */
static void break_everywhere(void)
{
	struct err e = ERR_INIT;
	if (machine_id(machine, &e) < 0)
		fail_msg("%s", e.msg);
	struct onnx_model *m = onnx_model_open(model_path, &e);
	assert_non_null(m);
	struct broken whole = {.stop_after = -1};
	struct seqmse_result *expected = search(m, &whole);
	int layers = whole.searched;
	assert_int_equal(layers, seqmse_layers(expected));
	for (int n = 1; n < layers; n++) {
		struct broken first = {.stop_after = n}, second = {.stop_after = -1};
		assert_null(search(m, &first));
		second.resume = read_lines(&first.lines, machine);
		struct seqmse_result *r = search(m, &second);
		assert_int_equal(second.searched, layers - first.searched);
		assert_same_bits(expected, r);
		seqmse_result_free(r);
		resume_free(second.resume);
		buf_fini(&first.lines);
		buf_fini(&second.lines);
	}
	seqmse_result_free(expected);
	buf_fini(&whole.lines);
	onnx_model_free(m);
}

static void the_sample_goes_on_after_every_layer(void **state)
{
	(void)state;
	model_path = "tests/data/digits/model.onnx";
	calib_path = "tests/data/digits/calib.npz";
	break_everywhere();
}

static void grids_of_every_kind_go_on(void **state)
{
	(void)state;
	model_path = "tests/data/digits/model.onnx";
	calib_path = "tests/data/digits/calib.npz";
	overrides = "[{\"match\": {\"op_type\": \"Gemm\"}, \"granularity\": \"block\", \"block_size\": 8, \"lpbq\": true, "
		    "\"guard\": \"fallback\"},"
		    " {\"match\": {\"name\": \"/0/Conv\"}, \"granularity\": \"per_tensor\"},"
		    " {\"match\": {\"name\": \"/6/Conv\"}, \"search\": \"off\"},"
		    " {\"match\": {\"name\": \"/9/Conv\"}, \"symmetric\": false}]";
	break_everywhere();
	overrides = NULL;
}

static void stages_of_several_layers_go_on_in_the_middle(void **state)
{
	(void)state;
	model_path = "tests/data/zoo/unequal_branches.onnx";
	calib_path = "tests/data/zoo/unequal_branches.npz";
	break_everywhere();
	model_path = "tests/data/zoo/residual.onnx";
	calib_path = "tests/data/zoo/residual.npz";
	break_everywhere();
}

static void a_real_model_goes_on_after_every_layer(void **state)
{
	static char model[4096], calib[4096];
	(void)state;
	model_path = shared_path("models/mnist_resnet/model.onnx", model, sizeof model);
	calib_path = shared_path("models/mnist_resnet/calib.npz", calib, sizeof calib);
	if (access(model_path, R_OK) < 0)
		skip();
	break_everywhere();
}

static int count(struct resume *r)
{
	int n = 0;
	for (int i = 0; i < 64; i++)
		n += resume_layer(r, i) != NULL;
	return n;
}

static void what_does_not_fit_is_searched_again(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	model_path = "tests/data/digits/model.onnx";
	calib_path = "tests/data/digits/calib.npz";
	struct onnx_model *m = onnx_model_open(model_path, &e);
	struct broken whole = {.stop_after = -1};
	struct seqmse_result *expected = search(m, &whole);
	assert_true(whole.searched > 2);
	/* found by another program, or on another type of processor */
	struct resume *other = read_lines(&whole.lines, "another machine");
	assert_int_equal(count(other), 0);
	resume_free(other);
	/* a line cut short, one that is no frame, one that belongs to another layer */
	struct buf text = BUF_INIT;
	const char *second = strchr(whole.lines.data, '\n') + 1, *third = strchr(second, '\n') + 1;
	buf_add(&text, whole.lines.data, 40);
	buf_str(&text, "\n{}\n\n{\"machine\": 3}\n");
	const char *index = strstr(second, "\"index\": 1,");
	assert_true(index && index < third);
	buf_add(&text, second, (size_t)(index - second));
	buf_str(&text, "\"index\": 2,");
	buf_add(&text, index + strlen("\"index\": 1,"), (size_t)(third - index) - strlen("\"index\": 1,"));
	struct broken again = {.stop_after = -1, .resume = read_lines(&text, machine)};
	assert_int_equal(count(again.resume), 1);
	struct seqmse_result *r = search(m, &again);
	assert_int_equal(again.searched, whole.searched);
	assert_same_bits(expected, r);
	seqmse_result_free(r);
	resume_free(again.resume);
	seqmse_result_free(expected);
	buf_fini(&text);
	buf_fini(&again.lines);
	buf_fini(&whole.lines);
	onnx_model_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_goes_on_after_every_layer),
		cmocka_unit_test(grids_of_every_kind_go_on),
		cmocka_unit_test(stages_of_several_layers_go_on_in_the_middle),
		cmocka_unit_test(a_real_model_goes_on_after_every_layer),
		cmocka_unit_test(what_does_not_fit_is_searched_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
