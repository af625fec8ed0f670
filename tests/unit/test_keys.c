#include "mishap.h"
#include "scratch.h"

#include "server/http/key.h"
#include "server/http/keyring.h"
#include "server/http/rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_key_has_a_form_and_a_sum(void **state)
{
	char text[KEY_TEXT + 1], other[KEY_TEXT + 1], id[KEY_ID + 1], again[KEY_ID + 1];
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(key_new(text, &e), 0);
	assert_int_equal(strlen(text), 4 + 8 + 1 + 43 + 1 + 6);
	assert_true(key_parse(text, id));
	assert_int_equal(key_renew(id, other, &e), 0);
	assert_true(key_parse(other, again));
	assert_string_equal(id, again);
	assert_string_not_equal(text, other);
	/* Any character that differs is found out. */
	for (size_t i = 0; i < KEY_TEXT; i++) {
		char wrong[KEY_TEXT + 1];
		memcpy(wrong, text, sizeof wrong);
		wrong[i] = wrong[i] == 'a' ? 'b' : 'a';
		assert_false(key_parse(wrong, id));
	}
	assert_false(key_parse("", id));
	text[KEY_TEXT - 1] = '\0';
	assert_false(key_parse(text, id));
}

/* The sum of a known text, by another program (zlib.crc32 in base 62). */
static void the_sum_is_crc32(void **state)
{
	char id[KEY_ID + 1];
	(void)state;
	assert_true(key_parse("sqm_00000000_0000000000000000000000000000000000000000000_2imbMx", id));
}

static void scopes_have_names(void **state)
{
	unsigned scopes;
	char text[32];
	(void)state;
	assert_true(keyring_scopes_parse("submit,read", &scopes));
	assert_int_equal(scopes, KEYRING_READ | KEYRING_SUBMIT);
	keyring_scopes_text(scopes, text);
	assert_string_equal(text, "read,submit");
	assert_false(keyring_scopes_parse("", &scopes));
	assert_false(keyring_scopes_parse("read,", &scopes));
	assert_false(keyring_scopes_parse("reader", &scopes));
}

static void a_ring_sees_changes_of_others(void **state)
{
	char text[KEY_TEXT + 1], fresh[KEY_TEXT + 1];
	struct keyring_entry x;
	struct err e = ERR_INIT;
	bool any;
	(void)state;
	const char *folder = scratch_new();
	struct keyring *daemon = keyring_open(folder, true, &e), *tool = keyring_open(folder, false, &e);
	assert_non_null(daemon);
	assert_non_null(tool);
	assert_int_equal(keyring_any(daemon, &any, &e), 0);
	assert_false(any);
	assert_int_equal(keyring_add(tool, "ann", KEYRING_READ, 2000, text, &e), 0);
	assert_int_equal(keyring_any(daemon, &any, &e), 0);
	assert_true(any);
	assert_int_equal(keyring_check(daemon, text, 1999, &x, &e), 1);
	assert_string_equal(x.owner, "ann");
	assert_int_equal(keyring_check(daemon, text, 2000, &x, &e), 0); /* expired */
	assert_int_equal(keyring_rotate(tool, x.id, fresh, &e), 0);
	assert_int_equal(keyring_check(daemon, text, 1, &x, &e), 0);
	assert_int_equal(keyring_check(daemon, fresh, 1, &x, &e), 1);
	assert_int_equal(keyring_revoke(tool, x.id, &e), 0);
	assert_int_equal(keyring_check(daemon, fresh, 1, &x, &e), 0);
	keyring_close(daemon);
	keyring_close(tool);
	scratch_remove();
}

static void a_folder_that_cannot_be_read_is_not_an_empty_ring(void **state)
{
	char text[KEY_TEXT + 1];
	struct err e = ERR_INIT;
	bool failed = true, any;
	(void)state;
	const char *folder = scratch_new();
	struct keyring *tool = keyring_open(folder, true, &e);
	assert_non_null(tool);
	assert_int_equal(keyring_add(tool, "ann", KEYRING_READ, 0, text, &e), 0);
	keyring_close(tool);
	for (long n = 1; failed; n++) {
		struct keyring *daemon = keyring_open(folder, false, &e);
		assert_non_null(daemon);
		mishap_begin(n);
		int rc = keyring_any(daemon, &any, &e);
		failed = mishap_end();
		if (failed ? rc == 0 && !any : rc < 0 || !any)
			fail_msg("call %ld, %s", n, mishap_name());
		keyring_close(daemon);
	}
	scratch_remove();
}

static void a_bucket_fills_at_its_pace(void **state)
{
	int64_t left, seconds;
	(void)state;
	struct rate *r = rate_new(60);
	assert_non_null(r);
	for (int i = 0; i < 60; i++)
		assert_true(rate_take(r, "a", 0, &left, &seconds));
	assert_int_equal(left, 0);
	assert_false(rate_take(r, "a", 999, &left, &seconds));
	assert_int_equal(seconds, 1);
	assert_true(rate_take(r, "b", 999, &left, &seconds));
	assert_true(rate_take(r, "a", 1000, &left, &seconds));
	assert_false(rate_take(r, "a", 1000, &left, &seconds));
	assert_true(rate_take(r, "a", 1000000, &left, &seconds)); /* full again, and no fuller */
	assert_int_equal(left, 59);
	rate_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_has_a_form_and_a_sum),
		cmocka_unit_test(the_sum_is_crc32),
		cmocka_unit_test(scopes_have_names),
		cmocka_unit_test(a_ring_sees_changes_of_others),
		cmocka_unit_test(a_folder_that_cannot_be_read_is_not_an_empty_ring),
		cmocka_unit_test(a_bucket_fills_at_its_pace),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
