#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/json.h"
#include "core/workflow/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool says(const char *message, const char *what)
{
	if (!strstr(message, what))
		print_error("the message is: %s\n", message);
	return strstr(message, what) != NULL;
}

static void set(struct params *p, const char *name, const char *text)
{
	struct err e = ERR_INIT;
	if (params_set_text(p, name, text, &e) != 0)
		fail_msg("%s", e.msg);
}

/* The message that a command line's setting is refused with. */
static const char *refused(const char *name, const char *text, enum err_code code)
{
	static struct err e;
	struct params p, before;
	e = (struct err)ERR_INIT;
	params_init(&p);
	before = p;
	assert_int_equal(params_set_text(&p, name, text, &e), -1);
	assert_int_equal(e.code, code);
	assert_memory_equal(&p, &before, sizeof p);
	params_fini(&p);
	return e.msg;
}

static int from_json(struct params *p, const char *text, struct err *e)
{
	struct json *v = json_parse(text, strlen(text), e);
	int rc = v ? params_from_json(p, v, e) : -1;
	json_free(v);
	return rc;
}

static const char *refused_json(const char *text, enum err_code code)
{
	static struct err e;
	struct params p;
	e = (struct err)ERR_INIT;
	params_init(&p);
	assert_int_equal(from_json(&p, text, &e), -1);
	assert_int_equal(e.code, code);
	params_fini(&p);
	return e.msg;
}

static void defaults_are_the_documented_ones(void **state)
{
	(void)state;
	struct params p;
	params_init(&p);
	assert_int_equal(p.param_bw, 4);
	assert_int_equal(p.num_candidates, 20);
	assert_int_equal(p.batch_size, 0);
	assert_int_equal(p.num_batches, 0);
	assert_int_equal(p.threads, 0);
	assert_int_equal(p.max_memory_bytes, 0);
	assert_null(p.include);
	assert_null(p.exclude);
	params_fini(&p);
}

static void every_entry_can_be_set_by_its_name(void **state)
{
	(void)state;
	struct params p;
	params_init(&p);
	for (size_t i = 0; i < params_table_len; i++) {
		const struct params_entry *t = &params_table[i];
		assert_ptr_equal(params_find(t->name), t);
		if (t->alias)
			assert_ptr_equal(params_find(t->alias), t);
		if (t->kind == PARAMS_INTEGER || t->kind == PARAMS_BYTES || t->kind == PARAMS_WIDTH) {
			set(&p, t->name, "3");
			assert_int_equal(*(const int64_t *)(const void *)((const char *)&p + t->offset), 3);
		} else if (t->kind == PARAMS_GLOBS) {
			set(&p, t->name, "conv*");
		}
	}
	assert_string_equal(p.include[0], "conv*");
	assert_string_equal(p.exclude[0], "conv*");
	params_fini(&p);
}

static void hyphens_may_stand_for_underscores_on_the_command_line_only(void **state)
{
	(void)state;
	struct params p;
	params_init(&p);
	set(&p, "num-candidates", "7");
	set(&p, "weight-bits", "8");
	assert_int_equal(p.num_candidates, 7);
	assert_int_equal(p.param_bw, 8);
	params_fini(&p);
	(void)refused_json("{\"num-candidates\": 7}", ERR_UNKNOWN_FIELD);
}

static void bytes_take_a_suffix(void **state)
{
	(void)state;
	struct params p;
	params_init(&p);
	set(&p, "max_memory", "17");
	assert_int_equal(p.max_memory_bytes, 17);
	set(&p, "max_memory", "3K");
	assert_int_equal(p.max_memory_bytes, 3072);
	set(&p, "max_memory", "2m");
	assert_int_equal(p.max_memory_bytes, 2 << 20);
	set(&p, "max_memory", "1G");
	assert_int_equal(p.max_memory_bytes, 1 << 30);
	set(&p, "max_memory", "1048576T");
	assert_true(p.max_memory_bytes == (int64_t)1 << 60);
	params_fini(&p);
	(void)refused("max_memory", "1048577T", ERR_BAD_PARAM);
	(void)refused("max_memory", "99999999999999999999T", ERR_BAD_PARAM);
	(void)refused("max_memory", "9223372036854775808", ERR_BAD_PARAM);
	(void)refused("max_memory", "18446744073709551617", ERR_BAD_PARAM);
	(void)refused("max_memory", "1KB", ERR_BAD_PARAM);
	(void)refused("max_memory", "K", ERR_BAD_PARAM);
	assert_true(says(refused("threads", "1K", ERR_BAD_PARAM), "not a number"));
}

static void numbers_out_of_range_are_refused_with_the_range(void **state)
{
	(void)state;
	assert_string_equal(refused("param_bw", "17", ERR_BAD_PARAM), "17 is not in the range 2 to 16");
	(void)refused("param_bw", "1", ERR_BAD_PARAM);
	(void)refused("num_candidates", "0", ERR_BAD_PARAM);
	(void)refused("num_candidates", "100001", ERR_BAD_PARAM);
	(void)refused("batch_size", "-1", ERR_BAD_PARAM);
	(void)refused("batch_size", "1000001", ERR_BAD_PARAM);
	(void)refused("num_batches", "1000000001", ERR_BAD_PARAM);
	(void)refused("threads", "1025", ERR_BAD_PARAM);
	(void)refused("threads", "", ERR_BAD_PARAM);
	(void)refused("threads", "-", ERR_BAD_PARAM);
	(void)refused("threads", "4 ", ERR_BAD_PARAM);
	(void)refused("threads", "4.0", ERR_BAD_PARAM);
	(void)refused("threads", "0x4", ERR_BAD_PARAM);
}

static void names_that_are_promised_are_not_built_yet(void **state)
{
	(void)state;
	assert_string_equal(refused("reuse", "mse", ERR_UNKNOWN_FIELD), "\"reuse\" is not built yet");
	assert_true(says(refused_json("{\"reuse\": true}", ERR_UNKNOWN_FIELD), "/reuse: "));
}

static void mistyped_names_are_answered_with_the_nearest(void **state)
{
	(void)state;
	assert_true(says(refused("parm_bw", "4", ERR_UNKNOWN_FIELD), "did you mean \"param_bw\"?"));
	assert_true(says(refused("num-candidate", "4", ERR_UNKNOWN_FIELD), "did you mean \"num_candidates\"?"));
	assert_null(strstr(refused("colour", "4", ERR_UNKNOWN_FIELD), "mean"));
	assert_null(strstr(refused("a_name_that_is_longer_than_any_that_is_known", "4", ERR_UNKNOWN_FIELD), "mean"));
	(void)refused("", "4", ERR_UNKNOWN_FIELD);
}

static void globs_are_appended_by_text_and_replaced_by_json(void **state)
{
	(void)state;
	struct params p;
	struct err e = ERR_INIT;
	params_init(&p);
	set(&p, "exclude", "a*");
	set(&p, "exclude", "b?");
	assert_string_equal(p.exclude[0], "a*");
	assert_string_equal(p.exclude[1], "b?");
	assert_null(p.exclude[2]);
	assert_int_equal(from_json(&p, "{\"exclude\": [\"c\"], \"include\": []}", &e), 0);
	assert_string_equal(p.exclude[0], "c");
	assert_null(p.exclude[1]);
	assert_null(p.include);
	params_fini(&p);
	(void)refused("include", "", ERR_BAD_PARAM);
	assert_true(says(refused("include", "\xff*", ERR_BAD_PARAM), "UTF-8"));
}

static void lists_have_limits(void **state)
{
	(void)state;
	struct params p;
	struct err e = ERR_INIT;
	char longest[PARAMS_MAX_GLOB + 2];
	memset(longest, '*', sizeof longest);
	longest[PARAMS_MAX_GLOB + 1] = '\0';
	params_init(&p);
	assert_int_equal(params_set_text(&p, "include", longest, &e), -1);
	set(&p, "include", longest + 1);
	for (int i = 1; i < PARAMS_MAX_GLOBS; i++)
		set(&p, "include", "x");
	assert_int_equal(params_set_text(&p, "include", "x", &e), -1);
	assert_int_equal(e.code, ERR_BAD_PARAM);
	params_fini(&p);
}

static void errors_in_objects_begin_with_a_json_pointer(void **state)
{
	(void)state;
	assert_string_equal(refused_json("{\"param_bw\": 99}", ERR_BAD_PARAM), "/param_bw: 99 is not in the range 2 to 16");
	assert_string_equal(refused_json("{\"threads\": 2, \"param_bw\": 4.0}", ERR_BAD_PARAM), "/param_bw: expected an integer");
	(void)refused_json("{\"param_bw\": \"4\"}", ERR_BAD_PARAM);
	(void)refused_json("{\"param_bw\": null}", ERR_BAD_PARAM);
	assert_true(says(refused_json("{\"a/b~c\": 1}", ERR_UNKNOWN_FIELD), "/a~1b~0c: "));
	assert_true(says(refused_json("{\"include\": \"conv\"}", ERR_BAD_PARAM), "/include: expected a list"));
	assert_string_equal(refused_json("{\"include\": [\"a\", 1]}", ERR_BAD_PARAM), "/include/1: expected a string");
	assert_true(says(refused_json("[]", ERR_BAD_PARAM), "object"));
	(void)refused_json("{\"max_memory_bytes\": \"4G\"}", ERR_BAD_PARAM);
}

static void a_setting_given_by_name_and_alias_is_refused(void **state)
{
	(void)state;
	assert_true(says(refused_json("{\"param_bw\": 4, \"weight_bits\": 4}", ERR_BAD_PARAM), "same setting"));
}

static void settings_are_written_in_the_tables_order(void **state)
{
	(void)state;
	struct params p, q;
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	struct json_out w;
	params_init(&p);
	assert_int_equal(from_json(&p, "{\"exclude\": [\"a\", \"b\"], \"weight_bits\": 8, \"max_memory\": 1073741824}", &e), 0);
	assert_int_equal(params_copy(&q, &p, &e), 0);
	params_fini(&p);
	json_out_init(&w, &b, 0);
	params_to_json(&q, &w, NULL);
	static const char head[] = "{\"param_bw\": 8, \"num_candidates\": 20, \"batch_size\": 0, \"num_batches\": 0, "
				   "\"inp_symmetry\": \"symqt\", \"loss_fn\": \"mse\", \"threads\": 0, "
				   "\"max_memory_bytes\": 1073741824, \"include\": [], \"exclude\": [\"a\", \"b\"], ";
	if (strncmp(b.data, head, strlen(head)) != 0)
		fail_msg("%s", b.data);
	params_init(&p);
	assert_int_equal(from_json(&p, b.data, &e), 0); /* what was written can be read */
	params_fini(&p);
	params_fini(&q);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_the_documented_ones),
		cmocka_unit_test(every_entry_can_be_set_by_its_name),
		cmocka_unit_test(hyphens_may_stand_for_underscores_on_the_command_line_only),
		cmocka_unit_test(bytes_take_a_suffix),
		cmocka_unit_test(numbers_out_of_range_are_refused_with_the_range),
		cmocka_unit_test(names_that_are_promised_are_not_built_yet),
		cmocka_unit_test(mistyped_names_are_answered_with_the_nearest),
		cmocka_unit_test(globs_are_appended_by_text_and_replaced_by_json),
		cmocka_unit_test(lists_have_limits),
		cmocka_unit_test(errors_in_objects_begin_with_a_json_pointer),
		cmocka_unit_test(a_setting_given_by_name_and_alias_is_refused),
		cmocka_unit_test(settings_are_written_in_the_tables_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
