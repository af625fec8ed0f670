/* Which tensors are quantized, and how: the small models of tests/data/placement against what the reference made of them, line for line; and
 * configurations that are refused. */

#include "core/base/json.h"
#include "core/quantsim/quantsim.h"
#include "core/quantsim/quantsim_config.h"
#include "core/run/ort.h"
#include "core/run/value_types.h"
#include "shared.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PLACEMENT "tests/data/placement/"

static struct ort *ort;

static int open_ort(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	ort = ort_open(1, &e);
	return ort ? 0 : -1;
}

static int close_ort(void **state)
{
	(void)state;
	ort_close(ort);
	return 0;
}

/* ---- writing a quantizer down as make.py does ---- */

static const char *name_of(const struct quantsim *qs, int i)
{
	return onnx_model_value(qs->model, qs->quantizers[i].value)->name;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_sharers(struct buf *b, const struct quantsim *qs, int i)
{
	const char *names[256];
	size_t n = 0;
	for (int k = 0; k < qs->nquantizers; k++)
		if (k != i && qs->quantizers[k].shares == qs->quantizers[i].shares)
			names[n++] = name_of(qs, k);
	qsort(names, n, sizeof *names, by_bytes);
	for (size_t k = 0; k < n; k++)
		buf_printf(b, "%s %s", k ? "" : " =", names[k]);
}

static void add_row(struct buf *b, const struct quantsim *qs, int i)
{
	const struct quantsim_quantizer *q = &qs->quantizers[i];
	buf_printf(b, "%s %s%s %s%d %s%s%s", name_of(qs, i), q->enabled ? "on" : "off", q->is_param ? " param" : "",
	           q->is_float16 ? "float" : "int", q->mode.bw, q->mode.symmetric ? "sym" : "asym",
	           q->mode.strict_symmetric ? " strict" : "", q->mode.unsigned_symmetric ? " unsigned" : "");
	buf_str(b, q->granularity == QUANT_PER_TENSOR ? " tensor" : " channel");
	if (q->granularity != QUANT_PER_TENSOR)
		buf_printf(b, " %d", q->channel_axis);
	if (q->constrained)
		buf_printf(b, " %.1f..", q->constraint_min);
	if (q->constrained && !isinf(q->constraint_max))
		buf_printf(b, "%.1f", q->constraint_max);
	add_sharers(b, qs, i);
}

/* ---- comparing ---- */

/* One line of the reference's against ours; prints what differs. */
static int check_line(const struct json *theirs, const struct buf *mine, const char *where)
{
	const char *a = json_text(theirs), *b = mine->data ? mine->data : "";
	if (a && strcmp(a, b) == 0)
		return 0;
	print_error("%s: \"%s\", the reference's \"%s\"\n", where, b, a ? a : "(none)");
	return 1;
}

static int check_listing(const struct quantsim *qs, const struct json *theirs, const char *where)
{
	const struct json *rows = json_get(theirs, "quantizers"), *ops = json_get(theirs, "ops");
	struct buf b = BUF_INIT;
	size_t nops = 0;
	int wrong = (size_t)qs->nquantizers != json_size(rows);
	for (int i = 0; i < qs->nquantizers; i++) {
		buf_reset(&b);
		add_row(&b, qs, i);
		wrong += check_line(json_at(rows, (size_t)i), &b, where);
	}
	for (int i = 0; i < qs->nops; i++) {
		buf_reset(&b);
		buf_str(&b, qs->ops[i].name);
		if (strcmp(qs->ops[i].type, "Constant") != 0)
			wrong += check_line(json_at(ops, nops++), &b, where);
	}
	buf_fini(&b);
	return wrong + (nops != json_size(ops));
}

/* How we answer where the reference stops: in two cases we refuse as well. */
static int check_refusal(const struct quantsim *qs, const struct err *e, const char *stops, const char *where)
{
	enum err_code want = strstr(stops, "different fixed ranges")         ? ERR_UNSUPPORTED_GRAPH
	                     : strstr(stops, "Conflicting tensor quantizer") ? ERR_BAD_PARAM
	                                                                     : ERR_NONE;
	if (e->code == want && !qs == (want != ERR_NONE))
		return 0;
	print_error("%s: %s, where the reference says %s\n", where, e->code ? e->msg : "accepted", stops);
	return 1;
}

/* A configuration of make.py: a built-in name, or a file beside it. */
static struct quantsim *simulate(const struct onnx_model *m, const struct value_types *types, const struct json *config,
                                 struct err *e)
{
	struct buf text = BUF_INIT;
	char path[256];
	const char *name = json_text(json_at(config, 0)), *act = json_text(json_at(config, 2));
	struct quantsim_settings s = {
		.config = name, .param_bw = (int)json_int(json_at(config, 1)), .output_float16 = strcmp(act, "float16") == 0};
	s.output_bw = strcmp(act, "int16") == 0 ? 16 : 8;
	if (strchr(name, '.')) {
		(void)snprintf(path, sizeof path, PLACEMENT "%s", name);
		assert_int_equal(whole_file(path, &text), 0);
		s.config = text.data;
	}
	struct quantsim *qs = quantsim_new(m, types, &s, e);
	buf_fini(&text);
	return qs;
}

static int check_group(const struct onnx_model *m, const struct value_types *types, const struct json *group,
                       const struct json *configs, const char *model, int *checked)
{
	const struct json *names = json_get(group, "configs");
	const char *stops = json_text(json_get(group, "stops"));
	int wrong = 0;
	for (size_t i = 0; i < json_size(names); i++, ++*checked) {
		struct err e = ERR_INIT;
		char where[256];
		(void)snprintf(where, sizeof where, "%s under %s", model, json_text(json_at(names, i)));
		struct quantsim *qs = simulate(m, types, json_get(configs, json_text(json_at(names, i))), &e);
		if (stops)
			wrong += check_refusal(qs, &e, stops, where);
		else if (!qs)
			wrong += check_refusal(qs, &e, "nothing", where);
		else
			wrong += check_listing(qs, group, where);
		quantsim_free(qs);
	}
	return wrong;
}

static struct json *read_json(const char *path)
{
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	assert_int_equal(whole_file(path, &text), 0);
	struct json *v = json_parse(text.data, text.len, &e);
	if (!v)
		fail_msg("%s: %s", path, e.msg);
	buf_fini(&text);
	return v;
}

static int check_model(const char *file, const struct json *configs, int *checked)
{
	char path[512];
	struct err e = ERR_INIT;
	(void)snprintf(path, sizeof path, PLACEMENT "%s", file);
	struct onnx_model *m = onnx_model_open(path, &e);
	struct value_types *types = m ? value_types_new(m, ort, &e) : NULL;
	if (!types)
		fail_msg("%s: %s", path, e.msg);
	(void)snprintf(path, sizeof path, PLACEMENT "%.*s.json", (int)(strlen(file) - 5), file);
	struct json *groups = read_json(path);
	int wrong = 0;
	for (size_t i = 0; i < json_size(groups); i++)
		wrong += check_group(m, types, json_at(groups, i), configs, file, checked);
	json_free(groups);
	value_types_free(types);
	onnx_model_free(m);
	return wrong;
}

static void placement_is_the_references(void **state)
{
	(void)state;
	struct json *configs = read_json(PLACEMENT "configs.json");
	DIR *d = opendir(PLACEMENT);
	int wrong = 0, checked = 0;
	assert_non_null(d);
	for (struct dirent *f; (f = readdir(d));)
		if (strlen(f->d_name) > 5 && strcmp(f->d_name + strlen(f->d_name) - 5, ".onnx") == 0)
			wrong += check_model(f->d_name, configs, &checked);
	(void)closedir(d);
	json_free(configs);
	assert_int_equal(wrong, 0);
	assert_true(checked > 500);
}

/* ---- what others ask ---- */

struct opened {
	struct onnx_model *m;
	struct value_types *types;
	struct quantsim *qs;
};

static struct opened open_model(const char *file, const char *config)
{
	char path[256];
	struct err e = ERR_INIT;
	struct opened o = {0};
	struct quantsim_settings s = {.config = config, .param_bw = 4, .output_bw = 8};
	(void)snprintf(path, sizeof path, PLACEMENT "%s", file);
	o.m = onnx_model_open(path, &e);
	o.types = o.m ? value_types_new(o.m, ort, &e) : NULL;
	o.qs = o.types ? quantsim_new(o.m, o.types, &s, &e) : NULL;
	if (!o.qs)
		fail_msg("%s: %s", file, e.msg);
	return o;
}

static void close_model(struct opened *o)
{
	quantsim_free(o->qs);
	value_types_free(o->types);
	onnx_model_free(o->m);
}

static int op_called(const struct quantsim *qs, const char *name)
{
	for (int i = 0; i < qs->nops; i++)
		if (strcmp(qs->ops[i].name, name) == 0)
			return i;
	fail_msg("no op %s", name);
	return -1;
}

static void nodes_know_the_op_they_are_part_of(void **state)
{
	(void)state;
	struct opened o = open_model("linear_layers.onnx", "default");
	int fused = 0;
	for (int i = 0; i < onnx_model_nodes(o.m); i++) {
		const struct quantsim_op *op = &o.qs->ops[o.qs->op_of_node[i]];
		if (strncmp(onnx_model_node(o.m, i)->name, "/block/fc/", 10) == 0) {
			assert_string_equal(op->name, "/block/fc");
			assert_string_equal(op->type, "Gemm");
			fused++;
		}
	}
	assert_int_equal(fused, 2);
	close_model(&o);
}

static void weights_take_other_granularities(void **state)
{
	(void)state;
	struct opened o = open_model("linear_layers.onnx", "default");
	int op = op_called(o.qs, "/block/fc");
	const struct quantsim_quantizer *w = &o.qs->quantizers[quantsim_param(o.qs, op, "weight")];
	assert_false(quantsim_set_weight(o.qs, op, 0, QUANT_PER_BLOCK, 3)); /* 8 inputs */
	assert_int_equal(w->granularity, QUANT_PER_CHANNEL);
	assert_true(quantsim_set_weight(o.qs, op, 3, QUANT_LPBQ, 4));
	assert_int_equal(w->granularity, QUANT_LPBQ);
	assert_int_equal(w->block_size, 4);
	assert_int_equal(w->mode.bw, 3);
	assert_int_equal(w->block_axis, 0);
	assert_true(quantsim_set_weight(o.qs, op, 0, QUANT_PER_TENSOR, 0));
	assert_int_equal(w->block_size, 0);
	assert_int_equal(w->mode.bw, 3);
	assert_int_equal(quantsim_param(o.qs, op_called(o.qs, "/block/fc") + 1, "weight"), -1); /* Relu */
	close_model(&o);
}

static void the_bias_behind_a_matmul_is_the_adds(void **state)
{
	(void)state;
	struct opened o = open_model("linear_not_fused.onnx", "default");
	int found = 0;
	for (int i = 0; i < o.qs->nops; i++) {
		int bias = quantsim_param(o.qs, i, "bias");
		if (strcmp(o.qs->ops[i].type, "Add") != 0 || bias < 0)
			continue;
		assert_false(o.qs->quantizers[bias].enabled);
		assert_int_equal(o.qs->quantizers[bias].granularity, QUANT_PER_CHANNEL); /* as the weight */
		assert_int_equal(quantsim_param(o.qs, i, "weight"), -1);
		found++;
	}
	assert_int_equal(found, 2); /* behind a weight of rank 3, and behind a product that is an output */
	close_model(&o);
}

static void effective_quantizers_lie_upstream(void **state)
{
	(void)state;
	struct opened o = open_model("pools.onnx", "default");
	for (int v = 0; v < onnx_model_values(o.m); v++) {
		int maker = o.qs->producer_op[v], q = quantsim_effective(o.qs, v);
		const char *type = maker < 0 ? "" : o.qs->ops[maker].type;
		if (strcmp(type, "Reshape") == 0 || strcmp(type, "MaxPool") == 0 || strcmp(type, "Transpose") == 0) {
			assert_true(q >= 0);
			assert_int_not_equal(o.qs->quantizers[q].value, v);
			assert_int_equal(q, quantsim_effective(o.qs, o.qs->ops[maker].inputs[0]));
		} else if (o.qs->of_value[v] >= 0 && o.qs->quantizers[o.qs->of_value[v]].enabled)
			assert_int_equal(q, o.qs->of_value[v]);
	}
	close_model(&o);
}

/* ---- configurations ---- */

static void builtin_names_are_known(void **state)
{
	(void)state;
	for (size_t i = 0; quantsim_config_names[i]; i++) {
		struct err e = ERR_INIT;
		struct quantsim_config *c = quantsim_config_new(quantsim_config_names[i], &e);
		assert_non_null(c);
		assert_string_equal(c->name, quantsim_config_names[i]);
		quantsim_config_free(c);
	}
	struct err e = ERR_INIT;
	assert_null(quantsim_config_new("htp_v99", &e));
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_non_null(strstr(e.msg, "htp_v81"));
}

#define REST     "\"params\":{},\"op_type\":{},\"supergroups\":[],\"model_input\":{},\"model_output\":{}"
#define DEFAULTS "\"defaults\":{\"ops\":{},\"params\":{}}"

static void wrong_configurations_are_refused_with_their_place(void **state)
{
	static const struct {
		const char *text, *begins;
	} cases[] = {
		{"{}", "/defaults: "},
		{"{" DEFAULTS "}", "/params: "},
		{"{\"defaults\":{\"ops\":{}}," REST "}", "/defaults: "},
		{"{\"defaults\":{\"ops\":[],\"params\":{}}," REST "}", "/defaults/ops: "},
		{"{\"defaults\":{\"ops\":{\"is_output_quantized\":true},\"params\":{}}," REST "}",
	         "/defaults/ops/is_output_quantized: "},
		{"{\"defaults\":{\"ops\":{\"is_output_quantized\":\"False\"},\"params\":{}}," REST "}",
	         "/defaults/ops/is_output_quantized: "},
		{"{\"defaults\":{\"ops\":{\"is_input_quantized\":\"True\"},\"params\":{}}," REST "}",
	         "/defaults/ops/is_input_quantized: "},
		{"{\"defaults\":{\"ops\":{},\"params\":{\"is_symmetric\":\"true\"}}," REST "}", "/defaults/params/is_symmetric: "},
		{"{\"defaults\":{\"ops\":{},\"params\":{},\"hw_version\":66}," REST "}", "/defaults/hw_version: "},
		{"{\"defaults\":{\"ops\":{},\"params\":{},\"supported_kernels\":[]}," REST "}", "/defaults/supported_kernels: "},
		{"{\"extra\":1," DEFAULTS "," REST "}", "/extra: "},
		{"{" DEFAULTS
	         ",\"params\":{\"bias\":{\"bits\":8}},\"op_type\":{},\"supergroups\":[],\"model_input\":{},\"model_output\":{}}",
	         "/params/bias/bits: "},
		{"{" DEFAULTS ",\"params\":{},\"op_type\":{\"Relu\":{\"encoding_constraints\":{\"max\":1}}},\"supergroups\":[],"
	         "\"model_input\":{},\"model_output\":{}}",
	         "/op_type/Relu/encoding_constraints: "},
		{"{" DEFAULTS ",\"params\":{},\"op_type\":{\"Relu\":{\"is_input_quantized\":\"False\"}},\"supergroups\":[],\"model_"
	         "input\":{},\"model_output\":{}}",
	         "/op_type/Relu/is_input_quantized: "},
		{"{" DEFAULTS ",\"params\":{},\"op_type\":{\"Relu\":{\"supported_kernels\":[{\"activation\":{\"bitwidth\":8,"
	         "\"dtype\":\"float\"}}]}},"
	         "\"supergroups\":[],\"model_input\":{},\"model_output\":{}}",
	         "/op_type/Relu/supported_kernels/0/activation: "},
		{"{" DEFAULTS
	         ",\"params\":{},\"op_type\":{},\"supergroups\":[{\"op_list\":[\"Conv\"]}],\"model_input\":{},\"model_output\":{}}",
	         "/supergroups/0: "},
		{"{" DEFAULTS ",\"params\":{},\"op_type\":{},\"supergroups\":[],\"supergroup_pass_list\":[\"Nothing\"],\"model_"
	         "input\":{},\"model_output\":{}}",
	         "/supergroup_pass_list/0: "},
		{"{" DEFAULTS ",\"params\":{},\"op_type\":{},\"supergroups\":[],\"model_input\":{\"is_input_quantized\":\"False\"},"
	         "\"model_output\":{}}",
	         "/model_input/is_input_quantized: "},
		{"{" DEFAULTS ",\"params\":{},\"op_type\":{},\"supergroups\":[],\"model_input\":{},\"model_output\":{\"is_input_"
	         "quantized\":\"True\"}}",
	         "/model_output/is_input_quantized: "},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct err e = ERR_INIT;
		struct quantsim_config *c = quantsim_config_new(cases[i].text, &e);
		if (c || e.code != ERR_BAD_PARAM || strncmp(e.msg, cases[i].begins, strlen(cases[i].begins)) != 0)
			fail_msg("%s: %s", cases[i].text, c ? "accepted" : e.msg);
	}
	struct err e = ERR_INIT;
	struct quantsim_config *least = quantsim_config_new("{" DEFAULTS "," REST "}", &e);
	assert_non_null(least);
	quantsim_config_free(least);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(placement_is_the_references),
		cmocka_unit_test(nodes_know_the_op_they_are_part_of),
		cmocka_unit_test(weights_take_other_granularities),
		cmocka_unit_test(the_bias_behind_a_matmul_is_the_adds),
		cmocka_unit_test(effective_quantizers_lie_upstream),
		cmocka_unit_test(builtin_names_are_known),
		cmocka_unit_test(wrong_configurations_are_refused_with_their_place),
	};
	return cmocka_run_group_tests(tests, open_ort, close_ort);
}
