#include "shared.h"

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/version.h"
#include "core/encodings/encodings.h"
#include "core/grid/quant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* clang-format off */

/* What the reference (aimet-onnx 2.42.0) wrote for three tensors of a small model, but for the producer. */
static const char reference_1_0_0[] =
        "{\n"
        "    \"activation_encodings\": [\n"
        "        {\n"
        "            \"bw\": 8,\n"
        "            \"dtype\": \"INT\",\n"
        "            \"enc_type\": \"PER_TENSOR\",\n"
        "            \"is_sym\": false,\n"
        "            \"name\": \"x\",\n"
        "            \"offset\": [\n"
        "                -121.0\n"
        "            ],\n"
        "            \"scale\": [\n"
        "                0.027051147760129443\n"
        "            ]\n"
        "        },\n"
        "        {\n"
        "            \"bw\": 8,\n"
        "            \"dtype\": \"INT\",\n"
        "            \"enc_type\": \"PER_TENSOR\",\n"
        "            \"is_sym\": false,\n"
        "            \"name\": \"r1\",\n"
        "            \"offset\": [\n"
        "                0.0\n"
        "            ],\n"
        "            \"scale\": [\n"
        "                0.07562547571518842\n"
        "            ]\n"
        "        }\n"
        "    ],\n"
        "    \"param_encodings\": [\n"
        "        {\n"
        "            \"bw\": 4,\n"
        "            \"dtype\": \"INT\",\n"
        "            \"enc_type\": \"PER_CHANNEL\",\n"
        "            \"is_sym\": true,\n"
        "            \"name\": \"w1\",\n"
        "            \"offset\": [\n"
        "                -8.0,\n"
        "                -8.0,\n"
        "                -8.0,\n"
        "                -8.0\n"
        "            ],\n"
        "            \"scale\": [\n"
        "                0.2906288504600525,\n"
        "                0.25203321661267963,\n"
        "                0.2717532770974295,\n"
        "                0.21717095375061035\n"
        "            ]\n"
        "        }\n"
        "    ],\n"
        "    \"producer\": {\n"
        "        \"package\": \"seqmsed\",\n"
        "        \"version\": \"" SEQMSED_VERSION "\"\n"
        "    },\n"
        "    \"quantizer_args\": {\n"
        "        \"activation_bitwidth\": 8,\n"
        "        \"dtype\": \"int\",\n"
        "        \"is_symmetric\": true,\n"
        "        \"param_bitwidth\": 4,\n"
        "        \"per_channel_quantization\": true,\n"
        "        \"quant_scheme\": \"min_max\"\n"
        "    },\n"
        "    \"version\": \"1.0.0\"\n"
        "}";

static const char reference_0_6_1[] =
        "{\n"
        "    \"activation_encodings\": {\n"
        "        \"r1\": [\n"
        "            {\n"
        "                \"bitwidth\": 8,\n"
        "                \"dtype\": \"int\",\n"
        "                \"is_symmetric\": \"False\",\n"
        "                \"max\": 19.284496307373047,\n"
        "                \"min\": 0.0,\n"
        "                \"offset\": 0.0,\n"
        "                \"scale\": 0.07562547571518842\n"
        "            }\n"
        "        ],\n"
        "        \"x\": [\n"
        "            {\n"
        "                \"bitwidth\": 8,\n"
        "                \"dtype\": \"int\",\n"
        "                \"is_symmetric\": \"False\",\n"
        "                \"max\": 3.6248537998573456,\n"
        "                \"min\": -3.2731888789756627,\n"
        "                \"offset\": -121.0,\n"
        "                \"scale\": 0.027051147760129443\n"
        "            }\n"
        "        ]\n"
        "    },\n"
        "    \"param_encodings\": {\n"
        "        \"w1\": [\n"
        "            {\n"
        "                \"bitwidth\": 4,\n"
        "                \"dtype\": \"int\",\n"
        "                \"is_symmetric\": \"True\",\n"
        "                \"max\": 2.0344019532203674,\n"
        "                \"min\": -2.32503080368042,\n"
        "                \"offset\": -8.0,\n"
        "                \"scale\": 0.2906288504600525\n"
        "            },\n"
        "            {\n"
        "                \"bitwidth\": 4,\n"
        "                \"dtype\": \"int\",\n"
        "                \"is_symmetric\": \"True\",\n"
        "                \"max\": 1.7642325162887573,\n"
        "                \"min\": -2.016265732901437,\n"
        "                \"offset\": -8.0,\n"
        "                \"scale\": 0.25203321661267963\n"
        "            },\n"
        "            {\n"
        "                \"bitwidth\": 4,\n"
        "                \"dtype\": \"int\",\n"
        "                \"is_symmetric\": \"True\",\n"
        "                \"max\": 1.9022729396820066,\n"
        "                \"min\": -2.174026216779436,\n"
        "                \"offset\": -8.0,\n"
        "                \"scale\": 0.2717532770974295\n"
        "            },\n"
        "            {\n"
        "                \"bitwidth\": 4,\n"
        "                \"dtype\": \"int\",\n"
        "                \"is_symmetric\": \"True\",\n"
        "                \"max\": 1.5201966762542725,\n"
        "                \"min\": -1.7373676300048828,\n"
        "                \"offset\": -8.0,\n"
        "                \"scale\": 0.21717095375061035\n"
        "            }\n"
        "        ]\n"
        "    },\n"
        "    \"producer\": {\n"
        "        \"package\": \"seqmsed\",\n"
        "        \"version\": \"" SEQMSED_VERSION "\"\n"
        "    },\n"
        "    \"quantizer_args\": {\n"
        "        \"activation_bitwidth\": 8,\n"
        "        \"dtype\": \"int\",\n"
        "        \"is_symmetric\": true,\n"
        "        \"param_bitwidth\": 4,\n"
        "        \"per_channel_quantization\": true,\n"
        "        \"quant_scheme\": \"min_max\"\n"
        "    },\n"
        "    \"version\": \"0.6.1\"\n"
        "}";

/* clang-format on */

static bool says(const char *message, const char *what)
{
	if (!strstr(message, what))
		print_error("the message is: %s\n", message);
	return strstr(message, what) != NULL;
}

static struct encodings parsed(const char *text)
{
	struct encodings x = {0};
	struct err e = ERR_INIT;
	if (encodings_read(text, strlen(text), &x, &e) != 0)
		fail_msg("%s", e.msg);
	return x;
}

static struct buf written(const struct encodings *x, enum encodings_version v)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	if (encodings_write(x, v, &b, &e) != 0)
		fail_msg("%s", e.msg);
	return b;
}

/* The three tensors, in the order of the graph. */
static struct encodings sample(void)
{
	const struct quant_grid x = {.delta = 0.027051147760129443, .offset = -121}, r1 = {.delta = 0.07562547571518842};
	const struct quant_grid w1[] = {{.delta = 0.2906288504600525, .offset = -8},
	                                {.delta = 0.25203321661267963, .offset = -8},
	                                {.delta = 0.2717532770974295, .offset = -8},
	                                {.delta = 0.21717095375061035, .offset = -8}};
	const struct encoding weight = {
		.mode = {.bw = 4, .symmetric = true}, .granularity = QUANT_PER_CHANNEL, .n = 4, .grids = w1};
	struct encodings s = {.param_bw = 4, .activation_bw = 8, .per_channel = true, .symmetric_params = true};
	struct err e = ERR_INIT;
	assert_int_equal(encodings_add(&s, true, "x", &(struct encoding){.mode = {.bw = 8}, .n = 1, .grids = &x}, &e), 0);
	assert_int_equal(encodings_add(&s, true, "r1", &(struct encoding){.mode = {.bw = 8}, .n = 1, .grids = &r1}, &e), 0);
	assert_int_equal(encodings_add(&s, false, "w1", &weight, &e), 0);
	return s;
}

static void files_are_the_references_byte_for_byte(void **state)
{
	(void)state;
	struct encodings x = sample();
	struct buf new = written(&x, ENCODINGS_1_0_0), old = written(&x, ENCODINGS_0_6_1);
	assert_string_equal(new.data, reference_1_0_0);
	assert_string_equal(old.data, reference_0_6_1);
	buf_fini(&new);
	buf_fini(&old);
	encodings_fini(&x);
}

static void an_empty_set_is_written(void **state)
{
	(void)state;
	struct encodings x = {.param_bw = 4, .activation_bw = 8};
	struct buf new = written(&x, ENCODINGS_1_0_0), old = written(&x, ENCODINGS_0_6_1);
	assert_non_null(strstr(new.data, "\"activation_encodings\": [],\n    \"param_encodings\": [],\n"));
	assert_non_null(strstr(old.data, "\"activation_encodings\": {},\n    \"param_encodings\": {},\n"));
	struct encodings y = parsed(old.data);
	assert_int_equal(y.nparams + y.nactivations, 0);
	encodings_fini(&y);
	buf_fini(&new);
	buf_fini(&old);
}

static void what_is_read_is_what_was_written(void **state)
{
	(void)state;
	const char *const texts[] = {reference_1_0_0, reference_0_6_1};
	for (int v = 0; v < 2; v++) {
		struct encodings x = parsed(texts[v]);
		struct buf again = written(&x, v == 0 ? ENCODINGS_1_0_0 : ENCODINGS_0_6_1);
		assert_string_equal(again.data, texts[v]);
		buf_fini(&again);
		encodings_fini(&x);
	}
}

static void a_file_is_read_into_grids(void **state)
{
	(void)state;
	struct encodings x = parsed(reference_1_0_0);
	assert_int_equal(x.nparams, 1);
	assert_int_equal(x.nactivations, 2);
	assert_int_equal(x.param_bw, 4);
	assert_int_equal(x.activation_bw, 8);
	assert_true(x.per_channel && x.symmetric_params);
	assert_string_equal(x.quant_scheme, "min_max");
	const struct encoding *w = &x.params[0], *a = &x.activations[0];
	assert_string_equal(w->name, "w1");
	assert_int_equal(w->mode.bw, 4);
	assert_true(w->mode.symmetric && !w->mode.strict_symmetric && !w->mode.unsigned_symmetric);
	assert_int_equal(w->granularity, QUANT_PER_CHANNEL);
	assert_int_equal(w->n, 4);
	assert_true(w->grids[1].delta == 0.25203321661267963 && w->grids[1].offset == -8);
	assert_true(w->grids[1].min == -2.016265732901437 && w->grids[1].max == 1.7642325162887573);
	assert_string_equal(a->name, "x");
	assert_false(a->mode.symmetric);
	assert_int_equal(a->granularity, QUANT_PER_TENSOR);
	assert_true(a->grids[0].min == -3.2731888789756627 && a->grids[0].max == 3.6248537998573456);
	encodings_fini(&x);
}

static void versions_are_converted_through_the_same_grids(void **state)
{
	(void)state;
	struct encodings x = parsed(reference_0_6_1);
	struct buf new = written(&x, ENCODINGS_1_0_0);
	struct encodings y = parsed(new.data);
	struct buf old = written(&y, ENCODINGS_0_6_1);
	assert_string_equal(old.data, reference_0_6_1);
	buf_fini(&new);
	buf_fini(&old);
	encodings_fini(&x);
	encodings_fini(&y);
}

static void version_0_6_1_is_sorted_by_name(void **state)
{
	(void)state;
	static const char *const names[] = {"b", "a", "B", "\xc3\xa9", "a/0"};
	const struct quant_grid g = {.delta = 1};
	const struct encoding entry = {.mode = {.bw = 8}, .n = 1, .grids = &g};
	struct encodings x = {0};
	struct err e = ERR_INIT;
	for (int i = 0; i < 5; i++)
		assert_int_equal(encodings_add(&x, false, names[i], &entry, &e), 0);
	struct buf b = written(&x, ENCODINGS_0_6_1);
	const char *p = b.data;
	static const char *const order[] = {"\"B\": [", "\"a\": [", "\"a/0\": [", "\"b\": [", "\"\\u00e9\": ["};
	for (int i = 0; i < 5; i++)
		assert_non_null(p = strstr(p, order[i]));
	buf_fini(&b);
	encodings_fini(&x);
}

/* A grid that is strict symmetric or unsigned shows it by its offset only, and its maximum depends on it. */
static void strict_and_unsigned_grids_are_recognized(void **state)
{
	(void)state;
	const struct quant_mode strict = {.bw = 4, .symmetric = true, .strict_symmetric = true};
	const struct quant_mode positive = {.bw = 4, .symmetric = true, .unsigned_symmetric = true};
	const struct quant_grid g = quant_minmax(-1, 2, strict), h = quant_minmax(0, 3, positive);
	struct encodings x = {0};
	struct err e = ERR_INIT;
	assert_int_equal(encodings_add(&x, false, "strict", &(struct encoding){.mode = strict, .n = 1, .grids = &g}, &e), 0);
	assert_int_equal(encodings_add(&x, false, "positive", &(struct encoding){.mode = positive, .n = 1, .grids = &h}, &e), 0);
	struct buf b = written(&x, ENCODINGS_1_0_0);
	struct encodings y = parsed(b.data);
	assert_memory_equal(&y.params[0].grids[0], &g, sizeof g);
	assert_memory_equal(&y.params[1].grids[0], &h, sizeof h);
	assert_true(y.params[0].mode.strict_symmetric && !y.params[0].mode.unsigned_symmetric);
	assert_true(y.params[1].mode.unsigned_symmetric && !y.params[1].mode.strict_symmetric);
	buf_fini(&b);
	encodings_fini(&x);
	encodings_fini(&y);
}

static void float16_tensors_have_no_grid(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"{\"version\": \"1.0.0\", \"param_encodings\": [], \"activation_encodings\": [{\"name\": \"x\","
		" \"dtype\": \"FLOAT\", \"bw\": 16, \"enc_type\": \"PER_TENSOR\"}]}",
		"{\"version\": \"0.6.1\", \"param_encodings\": {}, \"activation_encodings\":"
		" {\"x\": [{\"bitwidth\": 16, \"dtype\": \"float\"}]}}"};
	for (int i = 0; i < 2; i++) {
		struct encodings x = parsed(texts[i]);
		struct buf old = written(&x, ENCODINGS_0_6_1), new = written(&x, ENCODINGS_1_0_0),
			   newer = written(&x, ENCODINGS_2_0_0);
		assert_int_equal(x.nactivations, 1);
		assert_true(x.activations[0].is_float16 && x.activations[0].n == 0);
		assert_non_null(strstr(old.data, "\"dtype\": \"float\"\n"));
		assert_non_null(
			strstr(new.data,
		               "\"dtype\": \"FLOAT\",\n            \"enc_type\": \"PER_TENSOR\",\n            \"name\": \"x\"\n"));
		assert_non_null(strstr(newer.data, "\"encodings\": []"));
		buf_fini(&old);
		buf_fini(&new);
		buf_fini(&newer);
		encodings_fini(&x);
	}
}

static const char *refused(const char *text)
{
	static struct err e;
	struct encodings x = {0};
	e = (struct err)ERR_INIT;
	assert_int_equal(encodings_read(text, strlen(text), &x, &e), -1);
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_null(x.params);
	assert_null(x.activations);
	return e.msg;
}

static void files_of_other_versions_are_refused(void **state)
{
	(void)state;
	assert_true(says(refused("{}"), "no version"));
	assert_true(says(refused("[]"), "no version"));
	assert_true(says(refused("{\"version\": \"2.0.0\"}"), "encodings: not a list"));
	assert_true(says(refused("{\"version\": \"3\"}"), "unknown"));
	assert_true(says(refused("{\"version\": \"1.0.0\"}"), "activation_encodings: not a list"));
	assert_true(says(refused("{\"version\": \"0.6.1\", \"activation_encodings\": []}"), "activation_encodings: not an object"));
	(void)refused("{");
}

/* The message for a 1.0.0 file with this one weight. */
static const char *refused_entry(const char *entry)
{
	struct buf b = BUF_INIT;
	buf_printf(&b, "{\"version\": \"1.0.0\", \"activation_encodings\": [], \"param_encodings\": [%s]}", entry);
	const char *message = refused(b.data);
	buf_fini(&b);
	return message;
}

static void entries_that_are_not_understood_are_named(void **state)
{
	(void)state;
	static const char *const entries[][2] = {
		{"1", "entry 0 has no name"},
		{"{\"name\": \"w\"}", "dtype"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"enc_type\": \"PER_TENSOR\"}", "lists of equal length"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"enc_type\": \"PER_TENSOR\", \"scale\": [1], \"offset\": []}",
	         "lists of equal length"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [0]}", "enc_type is missing"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [0], \"enc_type\": \"PER_BLOCK\"}",
	         "block_size"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [0], \"enc_type\": \"PER_CHANCE\"}",
	         "PER_CHANCE"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [], \"offset\": [], \"enc_type\": \"PER_CHANNEL\"}",
	         "number of scales"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1, 1], \"offset\": [0, 0], \"enc_type\": \"PER_TENSOR\"}",
	         "number of"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [0], \"enc_type\": \"PER_TENSOR\", \"bw\": 33}",
	         "bit width"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [0], \"enc_type\": \"PER_TENSOR\", \"bw\": 4}",
	         "symmetry"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [0], \"offset\": [0], \"enc_type\": \"PER_TENSOR\", \"bw\": 4,"
	         " \"is_sym\": true}",
	         "scale"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [-16], \"enc_type\": \"PER_TENSOR\", \"bw\": 4,"
	         " \"is_sym\": true}",
	         "offset"},
		{"{\"name\": \"w\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [-1.5], \"enc_type\": \"PER_TENSOR\", \"bw\": "
	         "4,"
	         " \"is_sym\": true}",
	         "offset"},
		{"{\"name\": \"w\", \"dtype\": \"FLOAT\"}, {\"name\": \"v\", \"dtype\": \"INT\", \"scale\": [1], \"offset\": [0],"
	         " \"enc_type\": \"PER_TENSOR\", \"bw\": 4, \"is_sym\": true}, {\"name\": \"v\", \"dtype\": \"INT\", \"scale\": "
	         "[1],"
	         " \"offset\": [0], \"enc_type\": \"PER_TENSOR\", \"bw\": 4, \"is_sym\": true}",
	         "\"v\" is there twice"},
	};
	for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
		const char *message = refused_entry(entries[i][0]);
		assert_true(says(message, "entry "));
		assert_true(says(message, entries[i][1]));
	}
}

static void entries_of_versions_2_that_are_not_understood_are_named(void **state)
{
	(void)state;
	static const char *const entries[][2] = {
		{"1", "entry 0 has no name"},
		{"{\"name\": \"w\"}", "output_dtype is missing"},
		{"{\"name\": \"w\", \"output_dtype\": \"int33\"}", "int33"},
		{"{\"name\": \"w\", \"output_dtype\": \"float8e5m2\"}", "float8e5m2"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\"}", "a scale is not"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": 0}", "a scale is not"},
		{"{\"name\": \"w\", \"output_dtype\": \"uint4\", \"y_scale\": 1, \"y_zero_point\": 16}", "y_zero_point"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": 1, \"y_zero_point\": 8}", "y_zero_point"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": [1, 1]}", "axis"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": [1, 1], \"axis\": 0, \"y_zero_point\": [0]}",
	         "not a list like y_scale"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": [[1, 1]], \"axis\": 1, \"block_size\": 0}",
	         "block_size"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": [[1, 1], [1]], \"axis\": 1, \"block_size\": 4}",
	         "regular"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": [[1, 1]], \"axis\": 2, \"block_size\": 4}", "regular"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": [[[1, 1], [1, 1]], [[1, 1], [1, 1]]], \"axis\": 1, "
	         "\"block_size\": 4}",
	         "more than two axes"},
		{"{\"name\": \"w\", \"output_dtype\": \"uint4\", \"per_block_int_scale\": [[1]], \"axis\": 1, \"block_size\": 4}",
	         "LPBQ"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"per_block_int_scale\": [[17]], \"per_channel_float_scale\": "
	         "[[1]],"
	         " \"axis\": 1, \"block_size\": 4}",
	         "1 to 16"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": {\"x\": [[1]], \"x_scale\": []}, \"axis\": 1, "
	         "\"block_size\": 4}",
	         "a scale is not"},
		{"{\"name\": \"w\", \"output_dtype\": \"int4\", \"y_scale\": 1}, {\"name\": \"w\", \"output_dtype\": \"uint4\", "
	         "\"y_scale\": 1}",
	         "\"w\" is there twice"},
	};
	for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
		struct buf b = BUF_INIT;
		buf_printf(&b, "{\"version\": \"2.1.0\", \"encodings\": [%s]}", entries[i][0]);
		assert_true(says(refused(b.data), entries[i][1]));
		buf_fini(&b);
	}
}

/* Two channels of three blocks, of a convolution and of a matrix that lies the other way, through every version that has blocks. */
static void blocks_are_told_by_channels_whatever_the_file_does(void **state)
{
	(void)state;
	static const struct quant_grid g[] = {{.delta = 1, .offset = -8}, {.delta = 2, .offset = -8}, {.delta = 3, .offset = -8},
	                                      {.delta = 4, .offset = -8}, {.delta = 5, .offset = -8}, {.delta = 6, .offset = -8}};
	static const struct {
		int rank, channel_axis, block_axis;
	} forms[] = {{4, 0, 1}, {4, 1, 0}, {2, 0, 1}, {2, 1, 0}};
	struct err e = ERR_INIT;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		for (int v = ENCODINGS_1_0_0; v <= ENCODINGS_2_1_0; v++) {
			struct encodings x = {0};
			const struct encoding w = {.mode = {.bw = 4, .symmetric = true},
			                           .granularity = QUANT_PER_BLOCK,
			                           .rank = forms[i].rank,
			                           .channel_axis = forms[i].channel_axis,
			                           .block_axis = forms[i].block_axis,
			                           .block_size = 4,
			                           .channels = 2,
			                           .n = 6,
			                           .grids = g};
			assert_int_equal(encodings_add(&x, false, "w", &w, &e), 0);
			struct buf b = written(&x, (enum encodings_version)v);
			struct encodings y = parsed(b.data);
			assert_int_equal(encodings_place(&y.params[0], w.rank, w.channel_axis, w.block_axis, 4, &e), -1);
			if (encodings_place(&y.params[0], w.rank, w.channel_axis, w.block_axis, 2, &e) != 0)
				fail_msg("%s", e.msg);
			for (size_t k = 0; k < 6; k++)
				assert_true(y.params[0].grids[k].delta == g[k].delta);
			assert_int_equal(y.params[0].block_size, 4);
			struct buf again = written(&y, (enum encodings_version)v);
			assert_string_equal(again.data, b.data);
			buf_fini(&again);
			buf_fini(&b);
			encodings_fini(&x);
			encodings_fini(&y);
		}
	}
}

static void what_a_version_cannot_say_is_not_written(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	struct encodings x = parsed(
		"{\"version\": \"1.0.0\", \"activation_encodings\": [], \"param_encodings\": [{\"name\": \"w\", \"bw\": 4,"
		" \"dtype\": \"INT\", \"enc_type\": \"PER_CHANNEL\", \"is_sym\": true, \"offset\": [-8, -8], \"scale\": [1, 2]}]}");
	buf_str(&b, "kept");
	assert_int_equal(encodings_write(&x, ENCODINGS_2_0_0, &b, &e), -1);
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_true(says(e.msg, "w"));
	assert_string_equal(b.data, "kept");
	assert_int_equal(encodings_place(&x.params[0], 2, 1, 0, 2, &e), 0);
	assert_int_equal(encodings_write(&x, ENCODINGS_2_0_0, &b, &e), 0);
	buf_fini(&b);
	encodings_fini(&x);
}

/* What LPBQ leaves of the scales is what every reader will see. */
static void lpbq_grids_are_multiples_of_the_channels_scale(void **state)
{
	(void)state;
	static const struct quant_grid g[] = {{.delta = 1.6, .offset = -8}, {.delta = 0.33, .offset = -8}};
	const struct encoding w = {
		.name = "w", .mode = {.bw = 4, .symmetric = true}, .granularity = QUANT_LPBQ, .channels = 1, .n = 2, .grids = g};
	struct quant_grid out[2];
	struct err e = ERR_INIT;
	assert_int_equal(encoding_lpbq_grids(&w, out, &e), 0);
	assert_true(out[0].delta == 1.6 && out[1].delta == 1.6 / 16 * 3);
	assert_true(out[0].offset == -8 && out[0].min == (double)(1.6f * -8) && out[0].max == (double)(1.6f * 7));
}

static void channels_of_0_6_1_must_be_alike(void **state)
{
	(void)state;
	const char *a = "{\"bitwidth\": 4, \"dtype\": \"int\", \"is_symmetric\": \"True\", \"scale\": 1, \"offset\": -8}";
	static const char *const others[][2] = {
		{"{\"bitwidth\": 8, \"dtype\": \"int\", \"is_symmetric\": \"True\", \"scale\": 1, \"offset\": -8}", "differ"},
		{"{\"bitwidth\": 4, \"dtype\": \"int\", \"is_symmetric\": \"False\", \"scale\": 1, \"offset\": -8}", "differ"},
		{"{\"bitwidth\": 4, \"dtype\": \"int\", \"is_symmetric\": \"Perhaps\", \"scale\": 1, \"offset\": -8}", "symmetry"},
		{"{\"bitwidth\": 16, \"dtype\": \"float\"}", "dtype"},
		{"7", "dtype"},
	};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		struct buf b = BUF_INIT;
		buf_printf(&b, "{\"version\": \"0.6.1\", \"activation_encodings\": {}, \"param_encodings\": {\"w\": [%s, %s]}}", a,
		           others[i][0]);
		assert_true(says(refused(b.data), others[i][1]));
		buf_fini(&b);
	}
}

static void versions_are_parsed_and_named(void **state)
{
	(void)state;
	enum encodings_version v;
	struct err e = ERR_INIT;
	assert_int_equal(encodings_version_parse("0.6.1", &v, &e), 0);
	assert_int_equal(v, ENCODINGS_0_6_1);
	assert_int_equal(encodings_version_parse("1.0.0", &v, &e), 0);
	assert_string_equal(encodings_version_name(v), "1.0.0");
	assert_int_equal(encodings_version_parse("2.1.0", &v, &e), 0);
	assert_string_equal(encodings_version_name(v), "2.1.0");
	assert_string_equal(encodings_file_name(v), "model_2_1_0.encodings");
	assert_int_equal(encodings_version_parse("2.2.0", &v, &e), -1);
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_int_equal(encodings_version_parse("", &v, &e), -1);
}

/* ---- the reference's own files, where they are at hand ---- */

/* The text as it would be had the reference made it. */
static char *as_the_references(char *text)
{
	static const char ours[] = "\"package\": \"seqmsed\",\n        \"version\": \"" SEQMSED_VERSION "\"";
	static const char theirs[] = "\"package\": \"aimet-onnx\",\n        \"version\": \"2.42.0\"";
	char *at = strstr(text, ours), *out = malloc(strlen(text) + sizeof theirs);
	assert_non_null(at);
	(void)sprintf(out, "%.*s%s%s", (int)(at - text), text, theirs, at + strlen(ours));
	return out;
}

static void check_file(const char *name, enum encodings_version v)
{
	struct buf text = BUF_INIT;
	if (shared_read(name, &text) != 0)
		skip();
	struct encodings x = parsed(text.data);
	struct buf b = written(&x, v);
	char *again = as_the_references(b.data);
	assert_string_equal(again, text.data);
	free(again);
	buf_fini(&b);
	buf_fini(&text);
	encodings_fini(&x);
}

static void the_references_files_survive_reading_and_writing(void **state)
{
	(void)state;
	check_file("reference/examples/tiny_default/model_1_0_0.encodings", ENCODINGS_1_0_0);
	check_file("reference/examples/tiny_default/model_0_6_1.encodings", ENCODINGS_0_6_1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_the_references_byte_for_byte),
		cmocka_unit_test(an_empty_set_is_written),
		cmocka_unit_test(what_is_read_is_what_was_written),
		cmocka_unit_test(a_file_is_read_into_grids),
		cmocka_unit_test(versions_are_converted_through_the_same_grids),
		cmocka_unit_test(version_0_6_1_is_sorted_by_name),
		cmocka_unit_test(strict_and_unsigned_grids_are_recognized),
		cmocka_unit_test(float16_tensors_have_no_grid),
		cmocka_unit_test(files_of_other_versions_are_refused),
		cmocka_unit_test(entries_that_are_not_understood_are_named),
		cmocka_unit_test(entries_of_versions_2_that_are_not_understood_are_named),
		cmocka_unit_test(blocks_are_told_by_channels_whatever_the_file_does),
		cmocka_unit_test(what_a_version_cannot_say_is_not_written),
		cmocka_unit_test(lpbq_grids_are_multiples_of_the_channels_scale),
		cmocka_unit_test(channels_of_0_6_1_must_be_alike),
		cmocka_unit_test(versions_are_parsed_and_named),
		cmocka_unit_test(the_references_files_survive_reading_and_writing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
