/* Bytes as text: base64 and hexadecimal digits, there and back. */

#include "core/base/base64.h"
#include "core/base/hex.h"
#include "core/base/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

enum { MOST = 64 };

static int64_t decoded(const char *text, char out[BASE64_BYTES(MOST)])
{
	return base64_decode(text, strlen(text), out);
}

static void is(const char *text, const char *bytes)
{
	char out[BASE64_BYTES(MOST)];
	assert_int_equal(decoded(text, out), strlen(bytes));
	assert_memory_equal(out, bytes, strlen(bytes));
}

/* RFC 4648, section 10. */
static void vectors_of_the_standard(void **state)
{
	static const char *const vectors[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		char text[BASE64_TEXT(6) + 1];
		base64_encode(vectors[i][0], strlen(vectors[i][0]), text);
		assert_string_equal(text, vectors[i][1]);
		is(vectors[i][1], vectors[i][0]);
	}
}

/* Bytes that between them use every character of the alphabet; the buffers are as large as the header says, and sanitizers watch. */
static void every_length_comes_back(void **state)
{
	(void)state;
	for (size_t len = 0; len <= MOST; len++) {
		unsigned char bytes[MOST], again[BASE64_BYTES(BASE64_TEXT(MOST))];
		char text[BASE64_TEXT(MOST) + 1], digits[2 * MOST + 1];
		for (size_t i = 0; i < len; i++)
			bytes[i] = (unsigned char)(37 * i + 11 * len);
		memset(text, '#', sizeof text);
		base64_encode(bytes, len, text);
		assert_int_equal(strlen(text), BASE64_TEXT(len));
		assert_true(BASE64_BYTES(BASE64_TEXT(len)) >= len);
		assert_int_equal(base64_decode(text, strlen(text), again), len);
		assert_memory_equal(again, bytes, len);
		hex_encode(bytes, len, digits);
		assert_int_equal(strlen(digits), 2 * len);
		memset(again, 0, sizeof again);
		assert_int_equal(hex_decode(digits, len, again), 0);
		assert_memory_equal(again, bytes, len);
	}
}

static void every_character_has_its_place(void **state)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	(void)state;
	for (unsigned v = 0; v < 64; v++) {
		unsigned char bytes[3] = {(unsigned char)(v << 2 | v >> 4), (unsigned char)(v << 4 | v >> 2),
		                          (unsigned char)(v << 6 | v)};
		char text[BASE64_TEXT(3) + 1];
		base64_encode(bytes, 3, text);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(text[i], alphabet[v]);
	}
}

static void other_characters_are_refused(void **state)
{
	char out[BASE64_BYTES(MOST)];
	(void)state;
	for (int c = 0; c < 256; c++) {
		char text[4] = {'Z', 'm', (char)c, 'v'};
		bool known = c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", c);
		assert_int_equal(base64_decode(text, 4, out), known ? 3 : -1);
	}
	assert_int_equal(decoded("Zg==Zg==", out), -1);
	assert_int_equal(decoded("=Zg=", out), -1);
	assert_int_equal(decoded("Zm9v\n", out), -1);
	assert_int_equal(decoded(" Zm9v", out), -1);
	assert_int_equal(decoded("Zm-_", out), -1);
}

static void padding_and_spare_bits_are_not_looked_at(void **state)
{
	(void)state;
	is("Zg", "f");
	is("Zg=", "f");
	is("Zg====", "f");
	is("Zh==", "f");
	is("Zm9vZ", "foo");
	is("====", "");
	is("Z", "");
}

static void digits_that_are_none_are_refused(void **state)
{
	unsigned char out[2];
	(void)state;
	assert_int_equal(hex_decode("0aFf", 2, out), 0);
	assert_int_equal(out[0], 0x0a);
	assert_int_equal(out[1], 0xff);
	assert_int_equal(hex_decode("0g", 1, out), -1);
	assert_int_equal(hex_decode("g0", 1, out), -1);
	assert_int_equal(hex_decode("0", 1, out), -1);
	assert_int_equal(hex_decode("", 1, out), -1);
}

/* The SHA-256 of nothing. */
static void a_digest_as_headers_have_it(void **state)
{
	char hex[SHA256_HEX + 1], text[SHA256_BASE64 + 1];
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(sha256_of("", 0, hex, &e), 0);
	sha256_base64(hex, text);
	assert_string_equal(text, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_of_the_standard),
		cmocka_unit_test(every_length_comes_back),
		cmocka_unit_test(every_character_has_its_place),
		cmocka_unit_test(other_characters_are_refused),
		cmocka_unit_test(padding_and_spare_bits_are_not_looked_at),
		cmocka_unit_test(digits_that_are_none_are_refused),
		cmocka_unit_test(a_digest_as_headers_have_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
