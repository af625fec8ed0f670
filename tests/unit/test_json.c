#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/base/json.h"

#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct json *parsed(const char *text)
{
	struct err e = ERR_INIT;
	struct json *v = json_parse(text, strlen(text), &e);
	if (!v)
		fail_msg("%s", e.msg);
	return v;
}

/* The message that a text is refused with. */
static const char *refused(const char *text, size_t len)
{
	static struct err e;
	e = (struct err)ERR_INIT;
	assert_null(json_parse(text, len, &e));
	assert_int_equal(e.code, ERR_BAD_PARAM);
	return e.msg;
}

static void parse_gives_values_of_every_kind(void **state)
{
	(void)state;
	struct json *v =
		parsed("{\"s\": \"\\u00e9\\n\", \"i\": -7, \"r\": 2.5, \"t\": true, \"f\": false, \"n\": null, \"a\": [1, [2]]}");
	assert_true(json_is_object(v));
	assert_int_equal(json_size(v), 7);
	assert_string_equal(json_text(json_get(v, "s")), "\xc3\xa9\n");
	assert_int_equal(json_int(json_get(v, "i")), -7);
	assert_true(json_number(json_get(v, "i")) == -7.0);
	assert_true(json_number(json_get(v, "r")) == 2.5);
	assert_true(json_is_number(json_get(v, "r")) && !json_is_integer(json_get(v, "r")));
	assert_true(json_bool(json_get(v, "t")) && !json_bool(json_get(v, "f")) && json_is_bool(json_get(v, "f")));
	assert_true(json_is_null(json_get(v, "n")));
	assert_int_equal(json_int(json_at(json_at(json_get(v, "a"), 1), 0)), 2);
	json_free(v);
}

static void asking_for_what_is_not_there_gives_nothing(void **state)
{
	(void)state;
	struct json *v = parsed("[1, \"a\"]");
	assert_null(json_get(v, "key"));
	assert_null(json_at(v, 2));
	assert_null(json_at(json_at(v, 0), 0));
	assert_null(json_text(json_at(v, 0)));
	assert_null(json_text(NULL));
	assert_null(json_first(v));
	assert_int_equal(json_int(json_at(v, 1)), 0);
	assert_true(json_number(NULL) == 0);
	assert_int_equal(json_size(NULL), 0);
	assert_int_equal(json_size(json_at(v, 1)), 0);
	assert_false(json_bool(v) || json_is_null(NULL) || json_is_bool(NULL) || json_is_integer(NULL));
	json_free(v);
	json_free(NULL);
}

static void objects_are_walked_in_the_order_of_the_text(void **state)
{
	(void)state;
	struct json *v = parsed("{\"z\": 1, \"a\": 2, \"m\": 3}");
	char keys[8] = "";
	for (void *it = json_first(v); it; it = json_next(v, it))
		(void)strcat(keys, json_key(it));
	assert_string_equal(keys, "zam");
	json_free(v);
}

static void damaged_texts_are_refused_with_their_place(void **state)
{
	(void)state;
	assert_non_null(strstr(refused("{\"a\": 1,\n \"a\": 2}", 17), "line 2"));
	(void)refused("", 0);
	(void)refused("[1] 2", 5);
	(void)refused("[1", 2);
	(void)refused("[NaN]", 5);
	(void)refused("[01]", 4);
	(void)refused("[\"\xff\"]", 5);
	(void)refused("[\"a\\u0000b\"]", 12);
	(void)refused("[\"a\0b\"]", 7);
	(void)refused("[9223372036854775808]", 21);
	(void)refused("[1e999]", 7);
}

static void nesting_is_limited(void **state)
{
	(void)state;
	char text[2 * JSON_MAX_DEPTH + 8] = "";
	memset(text, '[', JSON_MAX_DEPTH);
	memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
	json_free(parsed(text));
	memset(text, '[', JSON_MAX_DEPTH + 1);
	assert_non_null(strstr(refused(text, strlen(text)), "deeper"));
	json_free(parsed("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[\"]")); /* brackets in strings are no nesting */
}

static void write_sample(struct json_out *w)
{
	json_out_object(w, NULL);
	json_out_array(w, "empty");
	json_out_end_array(w);
	json_out_array(w, "list");
	json_out_integer(w, NULL, -3);
	json_out_object(w, NULL);
	json_out_end_object(w);
	json_out_end_array(w);
	json_out_real(w, "real", -8);
	json_out_real(w, "nan", NAN);
	json_out_bool(w, "yes", true);
	json_out_string(w, "none", NULL);
	json_out_end_object(w);
}

static void indented_output_is_pythons(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 4);
	write_sample(&w);
	assert_string_equal(b.data, "{\n"
	                            "    \"empty\": [],\n"
	                            "    \"list\": [\n"
	                            "        -3,\n"
	                            "        {}\n"
	                            "    ],\n"
	                            "    \"real\": -8.0,\n"
	                            "    \"nan\": null,\n"
	                            "    \"yes\": true,\n"
	                            "    \"none\": null\n"
	                            "}");
	buf_fini(&b);
}

static void output_without_indentation_is_one_line(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	write_sample(&w);
	assert_string_equal(b.data,
	                    "{\"empty\": [], \"list\": [-3, {}], \"real\": -8.0, \"nan\": null, \"yes\": true, \"none\": null}");
	buf_fini(&b);
}

static void check_string(const char *s, bool ascii_only, const char *want)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	w.ascii_only = ascii_only;
	json_out_string(&w, NULL, s);
	assert_string_equal(b.data, want);
	buf_fini(&b);
}

static void strings_are_escaped(void **state)
{
	(void)state;
	check_string("a\"\\/\b\f\n\r\t\x01\x7f", false, "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\"");
	check_string("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", false, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
	check_string("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f~", true, "\"\\u00e9\\u20ac\\ud83d\\ude00\\u007f~\"");
}

static void bytes_that_are_not_utf8_are_replaced(void **state)
{
	(void)state;
	check_string("a\xff\xc3", true, "\"a\\ufffd\\ufffd\"");
	check_string("\xc0\xaf", false, "\"\xef\xbf\xbd\xef\xbf\xbd\"");            /* longer than needed */
	check_string("\xed\xa0\x80", true, "\"\\ufffd\\ufffd\\ufffd\"");            /* half of a surrogate pair */
	check_string("\xf4\x90\x80\x80", true, "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* beyond Unicode */
	check_string("\xe2\x82", true, "\"\\ufffd\\ufffd\"");                       /* cut off */
}

static void utf8_is_recognized(void **state)
{
	(void)state;
	assert_true(json_is_utf8("") && json_is_utf8("a\x7f\xc3\xa9\xf0\x9f\x98\x80"));
	assert_false(json_is_utf8("a\xff") || json_is_utf8("\xe2\x82") || json_is_utf8("\xed\xa0\x80"));
}

static void parsed_values_are_written_back(void **state)
{
	(void)state;
	const char *text = "{\"b\": [1, 2.5, \"x\", true, false, null, {}], \"a\": {\"c\": []}}";
	struct json *v = parsed(text);
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_value(&w, NULL, v);
	assert_string_equal(b.data, text);
	buf_fini(&b);
	json_free(v);
}

static void members_are_written_as_they_stand(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {{"{\"a\": [1, {\"b\": \"}\"}]}", "{\"a\": [1, {\"b\": \"}\"}], \"last\": 1}"},
	             {"{}", "{\"last\": 1}"},
	             {"[1]", "{\"last\": 1}"},
	             {"", "{\"last\": 1}"},
	             {NULL, "{\"last\": 1}"}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf b = BUF_INIT;
		struct json_out w;
		json_out_init(&w, &b, 0);
		json_out_object(&w, NULL);
		json_out_members(&w, cases[i].text);
		json_out_integer(&w, "last", 1);
		json_out_end_object(&w);
		assert_string_equal(b.data, cases[i].expected);
		buf_fini(&b);
	}
}

static void numbers_are_written_as_python_writes_them(void **state)
{
	(void)state;
	FILE *f = fopen("tests/data/json/repr.txt", "r");
	char want[64], got[32];
	uint64_t bits;
	int n = 0;
	if (!f)
		fail_msg("tests/data/json/repr.txt is missing; tests run in the repository's root");
	while (fscanf(f, "%" SCNx64 " %63s", &bits, want) == 2) {
		double v;
		memcpy(&v, &bits, sizeof v);
		json_repr_double(v, got);
		assert_string_equal(got, want);
		n++;
	}
	(void)fclose(f);
	assert_true(n > 1000);
}

static void numbers_that_are_none_have_names(void **state)
{
	(void)state;
	char text[32];
	json_repr_double(NAN, text);
	assert_string_equal(text, "nan");
	json_repr_double(-INFINITY, text);
	assert_string_equal(text, "-inf");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parse_gives_values_of_every_kind),
		cmocka_unit_test(asking_for_what_is_not_there_gives_nothing),
		cmocka_unit_test(objects_are_walked_in_the_order_of_the_text),
		cmocka_unit_test(damaged_texts_are_refused_with_their_place),
		cmocka_unit_test(nesting_is_limited),
		cmocka_unit_test(indented_output_is_pythons),
		cmocka_unit_test(output_without_indentation_is_one_line),
		cmocka_unit_test(strings_are_escaped),
		cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
		cmocka_unit_test(utf8_is_recognized),
		cmocka_unit_test(parsed_values_are_written_back),
		cmocka_unit_test(members_are_written_as_they_stand),
		cmocka_unit_test(numbers_are_written_as_python_writes_them),
		cmocka_unit_test(numbers_that_are_none_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
