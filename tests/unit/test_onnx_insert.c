/* Nodes inserted into every model of the zoo, and our own operators in ONNX Runtime: what passes by is what the tensor is, what is read is what the inserted
 * nodes make, in bodies too, and a model whose nodes change nothing computes the same bits. */

#include "core/base/half.h"
#include "core/data/calib.h"
#include "core/onnx/onnx_insert.h"
#include "core/onnx/onnx_pb.h"
#include "core/run/forward.h"
#include "core/run/ort.h"
#include "core/search/layers.h"
#include "core/workflow/inspect.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_CUTS = 64, FLOAT = 1 };

static struct err e = ERR_INIT;

#define must(x)                                \
	do {                                   \
		if (!(x))                      \
			fail_msg("%s", e.msg); \
	} while (0)

/* A model, its data, and an instrumented run of its first batch. */
struct run {
	struct ort *ort;
	struct onnx_model *m;
	struct arrays *z;
	struct calib_input *inputs;
	struct calib *c;
	const float **replaced;
	int cuts[MAX_CUTS];
	size_t ncuts;
	struct ort_fake fakes[MAX_CUTS];
	struct ort_ops ops;
	float *seen[MAX_CUTS];
	size_t nseen[MAX_CUTS], times[MAX_CUTS];
	bool halves; /* some were float16 */
};

/* The data lie beside the model, or in calib.npz. */
static void open_run(struct run *r, const char *path, int64_t batch, int threads)
{
	char data[512];
	size_t n;
	*r = (struct run){0};
	(void)snprintf(data, sizeof data, "%.*s.npz", (int)(strlen(path) - strlen(".onnx")), path);
	if (access(data, R_OK))
		(void)snprintf(data, sizeof data, "%.*scalib.npz", (int)(strlen(path) - strlen("model.onnx")), path);
	must((r->m = onnx_model_open(path, &e)));
	must((r->z = arrays_open(data, &e)));
	must(!inspect_calib_inputs(r->m, &r->inputs, &n, &e));
	r->c = calib_new(r->z, r->inputs, n, batch, 0, &e);
	if (!r->c) /* the model has a batch size of its own */
		r->c = calib_new(r->z, r->inputs, n, 0, 0, &e);
	must(r->c);
	must((r->ort = ort_open(threads, &e)));
	r->replaced = calloc((size_t)onnx_model_values(r->m), sizeof *r->replaced);
}

static void close_run(struct run *r)
{
	for (size_t i = 0; i < r->ncuts; i++)
		free(r->seen[i]);
	ort_close(r->ort);
	calib_free(r->c);
	free(r->inputs);
	arrays_free(r->z);
	onnx_model_free(r->m);
	free((void *)r->replaced);
}

/* Cuts at the inputs of all layers. */
static void choose_cuts(struct run *r)
{
	struct layer *layers;
	int n;
	must(!layers_find(r->m, NULL, NULL, &layers, &n, &e));
	for (int i = 0; i < n && r->ncuts < MAX_CUTS; i++) {
		bool known = layers[i].x < 0 || onnx_model_value(r->m, layers[i].x)->is_static;
		for (size_t k = 0; k < r->ncuts; k++)
			known = known || r->cuts[k] == layers[i].x;
		if (!known)
			r->cuts[r->ncuts++] = layers[i].x;
	}
	free(layers);
}

static int observe(void *ctx, int64_t slot, const struct ort_tensor *t, struct err *err)
{
	struct run *r = ctx;
	(void)err;
	r->times[slot]++;
	r->nseen[slot] = t->count;
	r->halves = r->halves || t->elem_type != FLOAT;
	free(r->seen[slot]);
	r->seen[slot] = malloc((t->count + 1) * sizeof(float));
	for (size_t i = 0; i < t->count; i++)
		r->seen[slot][i] =
			t->elem_type == FLOAT ? ((const float *)t->data)[i] : half_to_float(((const uint16_t *)t->data)[i]);
	return 0;
}

/* tensor -> Observe (slot k) -> FakeQuantize (slot k) -> readers */
static struct forward *instrumented(struct run *r)
{
	struct onnx_insert *x = onnx_insert_new(r->m, &e);
	struct onnx_submodel out;
	must(x);
	for (size_t i = 0; i < r->ncuts; i++) {
		struct onnx_cut cut;
		char between[300];
		must(!onnx_insert_cut(x, r->cuts[i], "_updated", &cut, &e));
		(void)snprintf(between, sizeof between, "%s/seen", cut.made);
		must(!onnx_insert_node(x, r->cuts[i],
		                       &(struct onnx_insert_node){.op_type = ORT_OPS_OBSERVE,
		                                                  .domain = ORT_OPS_DOMAIN,
		                                                  .inputs = {cut.made},
		                                                  .outputs = {between},
		                                                  .ints = {{ORT_OPS_SLOT, (int64_t)i}}},
		                       &e));
		must(!onnx_insert_node(x, r->cuts[i],
		                       &(struct onnx_insert_node){.op_type = ORT_OPS_FAKE_QUANTIZE,
		                                                  .domain = ORT_OPS_DOMAIN,
		                                                  .inputs = {between},
		                                                  .outputs = {cut.read},
		                                                  .ints = {{ORT_OPS_SLOT, (int64_t)i}}},
		                       &e));
	}
	must(!onnx_insert_opset(x, ORT_OPS_DOMAIN, 1, &e));
	must(!onnx_insert_build(x, r->replaced, true, &out, &e));
	onnx_insert_free(x);
	r->ops = (struct ort_ops){r->fakes, r->ncuts, observe, r};
	struct forward *f = forward_new(r->ort, r->m, NULL, &out, &r->ops, true, &e);
	must(f);
	return f;
}

static struct forward *untouched(struct run *r)
{
	struct onnx_insert *x = onnx_insert_new(r->m, &e);
	struct onnx_submodel out;
	must(x && !onnx_insert_build(x, r->replaced, false, &out, &e));
	onnx_insert_free(x);
	struct forward *f = forward_new(r->ort, r->m, NULL, &out, NULL, true, &e);
	must(f);
	return f;
}

/* The outputs of the first batch, end to end; *bytes counts. */
static char *outputs(struct run *r, struct forward *f, size_t *bytes)
{
	size_t n = onnx_model_outputs(r->m);
	struct ort_value **out = calloc(n, sizeof(struct ort_value *));
	char *all = NULL;
	*bytes = 0;
	must(!forward_run(f, r->c, 0, out, &e));
	for (size_t i = 0; i < n; i++) {
		struct ort_info info;
		must(!ort_value_info(r->ort, out[i], &info, &e));
		all = realloc(all, *bytes + info.bytes + 1);
		if (info.bytes)
			memcpy(all + *bytes, ort_value_data(r->ort, out[i]), info.bytes);
		*bytes += info.bytes;
	}
	forward_done(f, out);
	free(out);
	forward_free(f);
	return all;
}

static void passing_nodes_change_no_bit(void **state)
{
	(void)state;
	glob_t found;
	size_t models = 0;
	assert_int_equal(glob("tests/data/zoo/*.onnx", 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct run r;
		size_t na, nb;
		open_run(&r, found.gl_pathv[i], 4, 1);
		choose_cuts(&r);
		char *a = outputs(&r, untouched(&r), &na), *b = outputs(&r, instrumented(&r), &nb);
		/* In float16 models the runtime computes in float32 from node to node, unless something stands between. */
		if (na != nb || (!r.halves && memcmp(a, b, na) != 0))
			fail_msg("%s: other outputs", found.gl_pathv[i]);
		for (size_t k = 0; k < r.ncuts; k++)
			assert_int_equal(r.times[k], 1);
		free(a);
		free(b);
		close_run(&r);
		models++;
	}
	globfree(&found);
	assert_true(models > 80);
}

/* Runs the model with its cut k on a coarse grid; the outputs, and what the other cuts saw, are r's. */
static char *with_grid(struct run *r, size_t k, struct quant_grid grid, size_t *bytes)
{
	for (size_t i = 0; i < r->ncuts; i++)
		r->fakes[i].kind = ORT_FAKE_NOT;
	r->fakes[k] = (struct ort_fake){ORT_FAKE_GRID, grid};
	return outputs(r, instrumented(r), bytes);
}

/* conv, then a Loop or an If whose body alone reads its output. */
static void bodies_read_the_quantized_tensor(void **state)
{
	(void)state;
	const char *models[] = {"tests/data/zoo/loop_captures.onnx", "tests/data/zoo/if_captures.onnx"};
	const struct quant_grid coarse = quant_minmax(-1, 1, (struct quant_mode){.bw = 2, .symmetric = true});
	for (size_t i = 0; i < 2; i++) {
		struct run r;
		size_t na, nb;
		open_run(&r, models[i], 4, 1);
		for (int n = 0; n < onnx_model_nodes(r.m); n++)
			if (onnx_model_node(r.m, n)->ncaptured && r.ncuts == 0)
				for (int c = 0; c < onnx_model_node(r.m, n)->ncaptured; c++)
					if (!onnx_model_value(r.m, onnx_model_node(r.m, n)->captured[c])->is_static)
						r.cuts[r.ncuts++] = onnx_model_node(r.m, n)->captured[c];
		assert_true(r.ncuts > 0);
		char *a = outputs(&r, instrumented(&r), &na), *b = with_grid(&r, 0, coarse, &nb);
		assert_int_equal(na, nb);
		assert_memory_not_equal(a, b, na);
		free(a);
		free(b);
		close_run(&r);
	}
}

/* Identity models of our own would prove less: a graph input that goes through the operator into an observer. */
static void check_operator(const char *path, int threads, struct ort_fake how)
{
	struct run r;
	struct onnx_submodel out;
	struct onnx_cut cut;
	open_run(&r, path, 1024, threads);
	int v = onnx_model_find(r.m, onnx_model_input(r.m, 0)->name);
	r.ncuts = 2;
	r.fakes[0] = how;
	struct onnx_insert *x = onnx_insert_new(r.m, &e);
	must(x && !onnx_insert_cut(x, v, "_q", &cut, &e) && !onnx_insert_opset(x, ORT_OPS_DOMAIN, 1, &e));
	const char *ops[] = {ORT_OPS_OBSERVE, ORT_OPS_FAKE_QUANTIZE, ORT_OPS_OBSERVE};
	const char *names[] = {cut.made, "one", "two", cut.read};
	for (int i = 0; i < 3; i++)
		must(!onnx_insert_node(x, v,
		                       &(struct onnx_insert_node){.op_type = ops[i],
		                                                  .domain = ORT_OPS_DOMAIN,
		                                                  .inputs = {names[i]},
		                                                  .outputs = {names[i + 1]},
		                                                  .ints = {{ORT_OPS_SLOT, i / 2}}},
		                       &e));
	must(!onnx_insert_build(x, r.replaced, true, &out, &e));
	onnx_insert_free(x);
	r.ops = (struct ort_ops){r.fakes, 1, observe, &r};
	struct forward *f = forward_new(r.ort, r.m, NULL, &out, &r.ops, false, &e);
	must(f);
	size_t bytes;
	free(outputs(&r, f, &bytes));
	assert_int_equal(r.nseen[0], r.nseen[1]);
	assert_true(r.nseen[0] > 0);
	bool half = onnx_model_input(r.m, 0)->elem_type != FLOAT, changed = false;
	for (size_t i = 0; i < r.nseen[0]; i++) {
		float want = r.seen[0][i];
		if (how.kind == ORT_FAKE_GRID)
			quant_fake_plain(how.grid, 1, &want, &want);
		if (how.kind == ORT_FAKE_HALF || half)
			want = half_to_float(half_from_float(want));
		changed = changed || memcmp(&want, &r.seen[0][i], sizeof want) != 0;
		assert_memory_equal(&want, &r.seen[1][i], sizeof want);
	}
	assert_true(changed || how.kind != ORT_FAKE_GRID);
	close_run(&r);
}

static void the_operator_is_quant_fake(void **state)
{
	(void)state;
	struct ort_fake grid = {ORT_FAKE_GRID, quant_minmax(-0.7f, 1.3f, (struct quant_mode){.bw = 4})};
	const char *models[] = {"tests/data/digits/model.onnx", "tests/data/zoo/half_precision.onnx"};
	for (int threads = 1; threads <= 2; threads++) {
		check_operator(models[0], threads, grid);
		check_operator(models[0], threads, (struct ort_fake){.kind = ORT_FAKE_HALF});
		check_operator(models[0], threads, (struct ort_fake){.kind = ORT_FAKE_NOT});
		check_operator(models[1], threads, grid);
	}
}

/* What it does not make comes from the graph around it. */
static void a_graph_makes_its_inputs_constants_and_outputs(void **state)
{
	(void)state;
	Onnx__ValueInfoProto x = ONNX__VALUE_INFO_PROTO__INIT, *inputs[] = {&x};
	Onnx__TensorProto w = ONNX__TENSOR_PROTO__INIT, *initializers[] = {&w};
	Onnx__NodeProto add = ONNX__NODE_PROTO__INIT, *nodes[] = {&add};
	Onnx__GraphProto g = ONNX__GRAPH_PROTO__INIT;
	char *outputs[] = {"sum"};
	x.name = "x";
	w.name = "w";
	add.output = outputs;
	add.n_output = 1;
	g.input = inputs;
	g.initializer = initializers;
	g.node = nodes;
	g.n_input = g.n_initializer = g.n_node = 1;
	assert_true(pb_makes(&g, "x") && pb_makes(&g, "w") && pb_makes(&g, "sum"));
	assert_false(pb_makes(&g, "outer") || pb_makes(&g, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passing_nodes_change_no_bit),
		cmocka_unit_test(bodies_read_the_quantized_tensor),
		cmocka_unit_test(the_operator_is_quant_fake),
		cmocka_unit_test(a_graph_makes_its_inputs_constants_and_outputs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
