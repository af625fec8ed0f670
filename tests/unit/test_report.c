#include "core/base/html.h"
#include "core/workflow/report_html.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void becomes(const char *text, const char *html)
{
	struct buf b = BUF_INIT;
	html_text(&b, text);
	assert_false(buf_failed(&b));
	assert_string_equal(b.data ? b.data : "", html);
	buf_fini(&b);
}

static void text_is_no_markup(void **state)
{
	(void)state;
	becomes("<b title=\"x\" id='y'>&amp;", "&lt;b title=&quot;x&quot; id=&#39;y&#39;&gt;&amp;amp;");
	becomes("caf\xc3\xa9 \xf0\x9f\x98\x80", "caf\xc3\xa9 \xf0\x9f\x98\x80");
	becomes(NULL, "");
}

static void what_html_forbids_is_replaced(void **state)
{
	(void)state;
	becomes("a\x01\x1b\x7f"
	        "b\n\t",
	        "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
	        "b\n\t");
	becomes("\xc2\x80\xc2\x9f\xc2\xa0", "\xef\xbf\xbd\xef\xbf\xbd\xc2\xa0");
	becomes("\xef\xb7\x90\xef\xb7\x8f\xef\xbf\xbe\xef\xbf\xbd", "\xef\xbf\xbd\xef\xb7\x8f\xef\xbf\xbd\xef\xbf\xbd");
	becomes("\xf0\x9f\xbf\xbf\xf0\xaf\xbf\xbf\xf0\x90\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xf0\x90\xbf\xbf");
}

static void reads(double v, enum html_unit unit, const char *text)
{
	struct buf b = BUF_INIT;
	html_number(&b, v, unit);
	assert_string_equal(b.data, text);
	buf_fini(&b);
}

static void numbers_are_for_people(void **state)
{
	(void)state;
	reads(12, HTML_COUNT, "12");
	reads(1893.6, HTML_NUMBER, "1894");
	reads(0.012345, HTML_NUMBER, "0.0123");
	reads(0.0567, HTML_PERCENT, "5.7 %");
	reads(0.567, HTML_PERCENT, "57 %");
	reads(23.64, HTML_DECIBEL, "23.6 dB");
	reads(0.0345, HTML_SECONDS, "34 ms");
	reads(3.41, HTML_SECONDS, "3.4 s");
	reads(300, HTML_SECONDS, "5 min");
	reads(1530000, HTML_BYTES, "1.53 MB");
	reads(1.0 / 0.0, HTML_NUMBER, "\xe2\x80\x93");
}

static struct buf page(const char *json)
{
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	struct json *v = json_parse(json, strlen(json), &e);
	if (!v || report_html(v, &b, &e))
		fail_msg("%s", e.msg);
	json_free(v);
	return b;
}

static void numbers_keep_all_their_digits_for_programs(void **state)
{
	(void)state;
	struct buf b = page("{\"layers\": [{\"index\": 0, \"gain\": 0.46338866468313133, \"histogram\": [0, 3, 1]}]}");
	assert_non_null(strstr(b.data, "<data value=\"0.46338866468313133\">46 %</data>"));
	assert_non_null(strstr(b.data, "grids by candidate: 0 3 1\""));
	buf_fini(&b);
}

/* Wherever a text of a model, of the data or of a request may stand. */
static void no_name_is_markup(void **state)
{
	(void)state;
#define EVIL "\"<i>'&\\\"\""
	struct buf b =
		page("{\"version\": " EVIL ", \"fingerprint\": " EVIL ", \"params\": {" EVIL ": " EVIL "}, \"seconds\": {" EVIL
	             ": 1.0}, \"warnings\": [{\"code\": " EVIL ", \"layer\": " EVIL ", \"detail\": " EVIL
	             "}], \"folded\": [{\"batch_norm\": " EVIL ", \"into\": " EVIL ", \"weight\": " EVIL ", \"bias\": " EVIL
	             "}], \"qdq\": [{\"file\": " EVIL "}], \"accuracy\": [{\"weights\": " EVIL ", \"outputs\": [{\"name\": " EVIL
	             "}]}], \"layers\": [{\"node\": " EVIL ", \"op_type\": " EVIL ", \"weight\": " EVIL ", \"granularity\": " EVIL
	             ", \"loss_fn\": " EVIL ", \"strategy\": " EVIL ", \"histogram\": [" EVIL "]}]}");
	int found = 0;
	assert_null(strstr(b.data, "<i>"));
	for (const char *at = b.data; (at = strstr(at, "&lt;i&gt;&#39;&amp;")); at++)
		found++;
	assert_int_equal(found, 4 + 1 + 3 + 4 + 1 + 2 + 6 + 1); /* the node's name stands in the chart, too */
	buf_fini(&b);
}

static void a_report_of_nothing_is_a_page(void **state)
{
	(void)state;
	struct buf b = page("{}");
	assert_non_null(strstr(b.data, "</html>"));
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_no_markup),      cmocka_unit_test(what_html_forbids_is_replaced),
		cmocka_unit_test(numbers_are_for_people), cmocka_unit_test(numbers_keep_all_their_digits_for_programs),
		cmocka_unit_test(no_name_is_markup),      cmocka_unit_test(a_report_of_nothing_is_a_page),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
