#include "core/base/buf.h"
#include "core/base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void err_set_fills_code_and_message_and_returns_minus_one(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	assert_int_equal(err_set(&e, ERR_BAD_PARAM, "%d is not %s", 7, "even"), -1);
	assert_int_equal(e.code, ERR_BAD_PARAM);
	assert_string_equal(e.msg, "7 is not even");
}

static void err_errno_sorts_the_systems_errors(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	err_errno(&e, ENOSPC, "cannot write %s", "a.bin");
	assert_int_equal(e.code, ERR_DISK_FULL);
	assert_string_equal(e.msg, "cannot write a.bin: No space left on device");
	err_errno(&e, EDQUOT, "x");
	assert_int_equal(e.code, ERR_DISK_FULL);
	err_errno(&e, ENOMEM, "x");
	assert_int_equal(e.code, ERR_MEMORY);
	err_errno(&e, ENOENT, "x");
	assert_int_equal(e.code, ERR_NOT_FOUND);
	err_errno(&e, EPERM, "x");
	assert_int_equal(e.code, ERR_IO);
}

static void err_wrap_puts_context_first_and_keeps_the_code(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	err_set(&e, ERR_CALIBRATION, "too short");
	assert_int_equal(err_wrap(&e, "array %d", 3), -1);
	err_wrap(&e, "file");
	assert_int_equal(e.code, ERR_CALIBRATION);
	assert_string_equal(e.msg, "file: array 3: too short");
	err_set(&e, ERR_CANCELED, "canceled");
	assert_int_equal(err_wrap(&e, "layer %d", 3), -1);
	assert_string_equal(e.msg, "canceled");
}

static void err_messages_that_are_too_long_are_cut_off(void **state)
{
	(void)state;
	char text[4000];
	struct err e = ERR_INIT;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	err_set(&e, ERR_IO, "%s", text);
	assert_int_equal(strlen(e.msg), sizeof e.msg - 1);
	err_wrap(&e, "%s", text);
	assert_true(strlen(e.msg) < sizeof e.msg);
	err_errno(&e, EIO, "%s", text);
	assert_non_null(strstr(e.msg, "Input/output error"));
}

static void err_names_and_codes_are_each_others(void **state)
{
	(void)state;
	for (int code = ERR_NONE; code <= ERR_INTERNAL; code++)
		assert_int_equal(err_code_of(err_name((enum err_code)code)), code);
	assert_string_equal(err_name(ERR_BAD_PARAM), "bad-param");
	assert_string_equal(err_name((enum err_code)999), "internal");
	assert_int_equal(err_code_of("no such name"), ERR_INTERNAL);
}

static void buf_adds_up_and_ends_with_a_nul(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	assert_null(b.data);
	for (int i = 0; i < 1000; i++)
		buf_printf(&b, "%03d", i);
	buf_str(&b, "-");
	buf_add(&b, "a\0b", 3);
	assert_int_equal(b.len, 3004);
	assert_memory_equal(b.data, "000001002", 9);
	assert_memory_equal(b.data + 3000, "-a\0b\0", 5);
	assert_false(buf_failed(&b));
	buf_fini(&b);
	assert_null(b.data);
}

static void buf_formats_text_longer_than_its_room(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_printf(&b, "%5000d|", 1);
	assert_int_equal(b.len, 5001);
	assert_string_equal(b.data + 4999, "1|");
	buf_fini(&b);
}

static void buf_reset_empties_and_keeps_the_memory(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_reset(&b);
	buf_str(&b, "text");
	const char *before = b.data;
	buf_reset(&b);
	assert_int_equal(b.len, 0);
	assert_string_equal(b.data, "");
	assert_ptr_equal(b.data, before);
	buf_fini(&b);
}

static void buf_remembers_that_memory_ran_out(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_str(&b, "kept");
	buf_add(&b, "", SIZE_MAX - 2); /* refused before a byte is read */
	buf_str(&b, " and not this");
	assert_true(buf_failed(&b));
	assert_string_equal(b.data, "kept");
	buf_reset(&b);
	assert_false(buf_failed(&b));
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_set_fills_code_and_message_and_returns_minus_one),
		cmocka_unit_test(err_errno_sorts_the_systems_errors),
		cmocka_unit_test(err_wrap_puts_context_first_and_keeps_the_code),
		cmocka_unit_test(err_messages_that_are_too_long_are_cut_off),
		cmocka_unit_test(err_names_and_codes_are_each_others),
		cmocka_unit_test(buf_adds_up_and_ends_with_a_nul),
		cmocka_unit_test(buf_formats_text_longer_than_its_room),
		cmocka_unit_test(buf_reset_empties_and_keeps_the_memory),
		cmocka_unit_test(buf_remembers_that_memory_ran_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
