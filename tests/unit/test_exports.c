/* What is exported, against what the reference exported of the same quantizers: every file of encodings, key for key. */

#include "reference_run.h"

#include "core/base/buf.h"
#include "core/base/version.h"
#include "shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct err e = ERR_INIT;

/* The reference's file as text, in the writer's form. */
static struct buf as_text(const struct json *file)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 4);
	w.ascii_only = true;
	json_out_value(&w, NULL, file);
	assert_false(buf_failed(&b));
	return b;
}

/* Our text as it would be had the reference made it. */
static struct buf as_the_references(const struct buf *text)
{
	static const char ours[] = "\"package\": \"seqmsed\",\n        \"version\": \"" SEQMSED_VERSION "\"";
	const char *at = strstr(text->data, ours);
	struct buf b = BUF_INIT;
	assert_non_null(at);
	buf_add(&b, text->data, (size_t)(at - text->data));
	buf_str(&b, "\"package\": \"aimet-onnx\",\n        \"version\": \"2.42.0\"");
	buf_str(&b, at + strlen(ours));
	return b;
}

static void same_text(const char *variant, const char *version, const char *a, const char *b)
{
	size_t i = 0;
	while (a[i] && a[i] == b[i])
		i++;
	if (a[i] != b[i])
		fail_msg("%s, %s: \"%.200s\" is not \"%.200s\"", variant, version, a + (i > 80 ? i - 80 : 0),
		         b + (i > 80 ? i - 80 : 0));
}

/* file NULL: the reference cannot write it, and neither can we. */
static void check_version(const struct reference_run *t, const char *variant, const char *version, enum encodings_version v,
                          const struct json *file)
{
	struct buf b = BUF_INIT;
	if (!file) {
		assert_int_equal(encodings_write(&t->x, v, &b, &e), -1);
		assert_int_equal(e.code, ERR_BAD_PARAM);
		assert_int_equal(b.len, 0);
		buf_fini(&b);
		return;
	}
	if (encodings_write(&t->x, v, &b, &e) != 0)
		fail_msg("%s", e.msg);
	struct buf ours = as_the_references(&b), theirs = as_text(file);
	same_text(variant, version, ours.data, theirs.data);
	buf_fini(&ours);
	buf_fini(&theirs);
	buf_fini(&b);
}

static void every_file_is_the_references(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_VARIANTS; i++) {
		struct reference_run t;
		reference_run_tiny(&t, tiny_variants[i]);
		const struct json *files = json_get(t.tiny, "files");
		check_version(&t, tiny_variants[i], "0.6.1", ENCODINGS_0_6_1, json_get(files, "0.6.1"));
		check_version(&t, tiny_variants[i], "1.0.0", ENCODINGS_1_0_0, json_get(files, "1.0.0"));
		check_version(&t, tiny_variants[i], "2.0.0", ENCODINGS_2_0_0, json_get(files, "2.0.0"));
		reference_run_close(&t);
	}
}

/* Reading a file and writing it in the same version gives the file again; the geometry that 1.0.0 leaves out does not matter to 1.0.0. */
static void every_file_survives_reading(void **state)
{
	(void)state;
	for (int i = 0; i < TINY_VARIANTS; i++) {
		struct reference_run t;
		reference_run_tiny(&t, tiny_variants[i]);
		for (int v = ENCODINGS_0_6_1; v <= ENCODINGS_2_1_0; v++) {
			struct buf once = BUF_INIT, twice = BUF_INIT;
			struct encodings again = {0};
			if (encodings_write(&t.x, (enum encodings_version)v, &once, &e) == 0) {
				if (encodings_read(once.data, once.len, &again, &e) != 0 ||
				    encodings_write(&again, (enum encodings_version)v, &twice, &e) != 0)
					fail_msg("%s: %s", tiny_variants[i], e.msg);
				same_text(tiny_variants[i], encodings_version_name((enum encodings_version)v), twice.data,
				          once.data);
			}
			encodings_fini(&again);
			buf_fini(&once);
			buf_fini(&twice);
		}
		reference_run_close(&t);
	}
}

static void check_golden(const char *name)
{
	static const enum encodings_version versions[] = {ENCODINGS_1_0_0, ENCODINGS_2_0_0};
	static const char *const files[] = {"model_1_0_0.encodings", "model_2_0_0.encodings"};
	struct reference_run r;
	if (!reference_run_golden(&r, name))
		return;
	for (int i = 0; i < 2; i++) {
		char relative[200];
		struct buf b = BUF_INIT;
		(void)snprintf(relative, sizeof relative, "reference/golden/%s/%s", name, files[i]);
		if (shared_read(relative, &b) == 0) {
			struct json *file = json_parse(b.data, b.len, &e);
			assert_non_null(file);
			check_version(&r, name, files[i], versions[i], file);
			json_free(file);
		}
		buf_fini(&b);
	}
	reference_run_close(&r);
}

static void every_file_of_real_models_is_the_references(void **state)
{
	(void)state;
	static const char *const names[] = {
		"basic_pitch",         "digits_cnn",   "digits_cnn_bn",      "digits_cnn_bq", "digits_cnn_pct",
		"doc_orientation",     "magika",       "efficientnet_lite0", "minilm_l3",     "minilm_l3_lpbq",
		"mnist_resnet_bn_tfe", "mnist_resnet", "ppocr_cls"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		check_golden(names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_file_is_the_references),
		cmocka_unit_test(every_file_survives_reading),
		cmocka_unit_test(every_file_of_real_models_is_the_references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
