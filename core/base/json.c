#include "core/base/json.h"

#include "core/base/json_memory.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Macros there, functions here. */
#undef json_is_object
#undef json_is_array
#undef json_is_string
#undef json_is_number
#undef json_is_integer
#undef json_is_null

/* A `struct json *` is a json_t *: the type has no members of ours, and only these two know. */
static const json_t *in(const struct json *v)
{
	return (const json_t *)v;
}

static const struct json *from(const json_t *v)
{
	return (const struct json *)v;
}

/* ---- reading ---- */

/* jansson recurses for every level and its own limit is high, so brackets are counted before it sees the text. Text that is
 * not JSON may be miscounted; jansson refuses that. */
static int check_depth(const char *text, size_t len, struct err *e)
{
	int depth = 0, line = 1;
	size_t line_start = 0;
	bool quoted = false;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '\n') {
			line++;
			line_start = i + 1;
		} else if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '[' || c == '{') {
			if (++depth > JSON_MAX_DEPTH)
				return err_set(e, ERR_BAD_PARAM, "JSON, line %d, column %zu: nested deeper than %d levels", line,
				               i - line_start + 1, JSON_MAX_DEPTH);
		} else if (c == ']' || c == '}') {
			depth--;
		}
	}
	return 0;
}

void json_take_memory(void)
{
	json_set_alloc_funcs(json_memory_alloc, json_memory_free);
	json_object_seed(0);
}

/* NULL with *no_memory where that was the reason. */
static json_t *load(const char *text, size_t len, json_error_t *why, bool *no_memory)
{
	struct json_memory m;
	*no_memory = true;
	if (setjmp(m.out)) {
		json_memory_drop(&m);
		return NULL;
	}
	errno = 0; /* jansson calls what it had no memory for an invalid token */
	json_memory_begin(&m);
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, why);
	json_memory_end(&m);
	*no_memory = !root && (json_error_code(why) == json_error_out_of_memory || errno == ENOMEM);
	return root;
}

struct json *json_parse(const char *text, size_t len, struct err *e)
{
	json_error_t why = {0}; /* jansson leaves the code as it is when it cannot even begin */
	bool no_memory;
	if (check_depth(text, len, e) != 0)
		return NULL;
	json_t *root = load(text, len, &why, &no_memory);
	if (no_memory)
		err_nomem(e, "a JSON text");
	else if (!root)
		err_set(e, ERR_BAD_PARAM, "JSON, line %d, column %d: %s", why.line, why.column, why.text);
	return (struct json *)root;
}

void json_free(struct json *root)
{
	json_decref((json_t *)root);
}

bool json_is_object(const struct json *v)
{
	return v && json_typeof(in(v)) == JSON_OBJECT;
}

bool json_is_array(const struct json *v)
{
	return v && json_typeof(in(v)) == JSON_ARRAY;
}

bool json_is_string(const struct json *v)
{
	return v && json_typeof(in(v)) == JSON_STRING;
}

bool json_is_number(const struct json *v)
{
	return v && (json_typeof(in(v)) == JSON_INTEGER || json_typeof(in(v)) == JSON_REAL);
}

bool json_is_integer(const struct json *v)
{
	return v && json_typeof(in(v)) == JSON_INTEGER;
}

bool json_is_bool(const struct json *v)
{
	return v && (json_typeof(in(v)) == JSON_TRUE || json_typeof(in(v)) == JSON_FALSE);
}

bool json_is_null(const struct json *v)
{
	return v && json_typeof(in(v)) == JSON_NULL;
}

const char *json_text(const struct json *v)
{
	return json_string_value(in(v));
}

double json_number(const struct json *v)
{
	return json_number_value(in(v));
}

int64_t json_int(const struct json *v)
{
	return json_integer_value(in(v));
}

bool json_bool(const struct json *v)
{
	return v && json_typeof(in(v)) == JSON_TRUE;
}

size_t json_size(const struct json *v)
{
	return json_is_object(v) ? json_object_size(in(v)) : json_array_size(in(v));
}

const struct json *json_get(const struct json *object, const char *key)
{
	return from(json_object_get(in(object), key));
}

const struct json *json_at(const struct json *array, size_t i)
{
	return from(json_array_get(in(array), i));
}

void *json_first(const struct json *object)
{
	return json_object_iter((json_t *)object);
}

void *json_next(const struct json *object, void *it)
{
	return json_object_iter_next((json_t *)object, it);
}

const char *json_key(void *it)
{
	return json_object_iter_key(it);
}

const struct json *json_value(void *it)
{
	return from(json_object_iter_value(it));
}

/* ---- numbers ---- */

/* The decimal digits of v (finite, not negative), n of them, correctly rounded; returns the power of ten of the first one. */
static int decimal(double v, int n, char digits[20])
{
	char text[40];
	int len = 0;
	assert(n >= 1 && n <= 17);
	(void)snprintf(text, sizeof text, "%.*e", n - 1, v);
	const char *p = text;
	for (; *p != 'e'; p++) /* whatever the locale has for a point is left out */
		if (*p >= '0' && *p <= '9')
			digits[len++] = *p;
	digits[len] = '\0';
	return atoi(p + 1);
}

static bool reads_back(const char *digits, int exponent, double v)
{
	char text[40];
	(void)snprintf(text, sizeof text, "%se%d", digits, exponent - (int)strlen(digits) + 1);
	return strtod(text, NULL) == v;
}

/* The next larger number of as many digits; false where it would need one more. */
static bool increment(char *digits)
{
	for (size_t i = strlen(digits); i-- > 0;) {
		if (digits[i] != '9') {
			digits[i]++;
			return true;
		}
		digits[i] = '0';
	}
	return false;
}

/* The shortest digits that read back to v, and of those the nearest; returns the power of ten of the first digit.
 *
 * Any decimal of up to 15 digits survives the way to a normal double and back, so if there is a short text, 15 digits are it and
 * zeros. Else it takes 16 or 17. Subnormals hold fewer digits and are tried from one up. The nearest decimal of n digits is
 * the one to try, except at a power of two: doubles lie twice as dense below as above it, so that the decimal just above may read
 * back where a nearer one below does not. */
static int shortest(double v, char digits[20])
{
	int unused, exponent = 0;
	bool power_of_two = frexp(v, &unused) == 0.5;
	for (int n = v < DBL_MIN ? 1 : 15; n <= 17; n++) {
		exponent = decimal(v, n, digits);
		if (n == 17 || reads_back(digits, exponent, v))
			break;
		if (power_of_two && increment(digits) && reads_back(digits, exponent, v))
			break;
	}
	for (size_t len = strlen(digits); len > 1 && digits[len - 1] == '0'; len--)
		digits[len - 1] = '\0';
	return exponent;
}

/* Python's rule: an exponent below -4 or from 16 on, plain otherwise, and always something that tells a float from an integer. */
void json_repr_double(double v, char out[32])
{
	char digits[20] = "0", text[64];
	const char *sign = signbit(v) ? "-" : "";
	int exponent = v == 0 || !isfinite(v) ? 0 : shortest(fabs(v), digits), len = (int)strlen(digits);
	if (!isfinite(v))
		(void)snprintf(text, sizeof text, "%s%s", isnan(v) ? "" : sign, isnan(v) ? "nan" : "inf");
	else if (exponent < -4 || exponent >= 16)
		(void)snprintf(text, sizeof text, "%s%c%s%se%c%02d", sign, digits[0], len > 1 ? "." : "", digits + 1,
		               exponent < 0 ? '-' : '+', abs(exponent));
	else if (exponent < 0)
		(void)snprintf(text, sizeof text, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
	else if (len <= exponent + 1)
		(void)snprintf(text, sizeof text, "%s%s%.*s.0", sign, digits, exponent + 1 - len, "000000000000000");
	else
		(void)snprintf(text, sizeof text, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
	assert(strlen(text) < 32);
	memcpy(out, text, strlen(text) + 1);
}

/* ---- writing ---- */

void json_out_init(struct json_out *w, struct buf *to, int indent)
{
	*w = (struct json_out){.to = to, .indent = indent};
}

static void new_line(struct json_out *w)
{
	buf_printf(w->to, "\n%*s", w->indent * w->depth, "");
}

/* One UTF-8 sequence at s: its code point, and its length in *n; -1 with *n = 1 for a byte that is not part of one. */
static int32_t code_point(const unsigned char *s, size_t *n)
{
	static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf8 ? 4 : 0;
	*n = 1;
	if (len <= 1)
		return len ? s[0] : -1;
	int32_t c = s[0] & (0x7f >> len);
	for (size_t i = 1; i < len; i++) { /* the NUL at the end is no continuation byte and stops this */
		if ((s[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return -1;
	*n = len;
	return c;
}

bool json_is_utf8(const char *text)
{
	size_t n;
	for (const unsigned char *s = (const unsigned char *)text; *s; s += n)
		if (code_point(s, &n) < 0)
			return false;
	return true;
}

static void escape(struct json_out *w, int32_t c)
{
	if (c >= 0x10000)
		buf_printf(w->to, "\\u%04x\\u%04x", 0xd800u + ((unsigned)(c - 0x10000) >> 10), 0xdc00u + ((unsigned)c & 0x3ff));
	else
		buf_printf(w->to, "\\u%04x", (unsigned)c);
}

/* How many bytes from here on stand for themselves, whatever the settings. */
static size_t plain_bytes(const unsigned char *s)
{
	size_t n = 0;
	while (s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

static void quote(struct json_out *w, const char *text)
{
	static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
	const unsigned char *s = (const unsigned char *)text;
	buf_str(w->to, "\"");
	for (size_t n; *s; s += n) {
		n = plain_bytes(s);
		if (n > 0) {
			buf_add(w->to, s, n);
			continue;
		}
		int32_t c = code_point(s, &n);
		const char *special = c > 0 && c < 0x80 ? strchr(plain, c) : NULL;
		if (special)
			buf_printf(w->to, "\\%c", letters[special - plain]);
		else if (c < 0 && !w->ascii_only)
			buf_str(w->to, "\xef\xbf\xbd");
		else if (c < 0)
			escape(w, 0xfffd);
		else if (c < 0x20 || (w->ascii_only && c > 0x7e))
			escape(w, c);
		else
			buf_add(w->to, s, n);
	}
	buf_str(w->to, "\"");
}

/* Everything before a value: the comma, the line, the key. */
static void before(struct json_out *w, const char *key)
{
	if (w->need_comma)
		buf_str(w->to, w->indent ? "," : ", ");
	if (w->indent && w->depth > 0)
		new_line(w);
	if (key) {
		quote(w, key);
		buf_str(w->to, ": ");
	}
	w->need_comma = true;
}

static void open_with(struct json_out *w, const char *key, const char *bracket)
{
	before(w, key);
	buf_str(w->to, bracket);
	w->depth++;
	w->need_comma = false;
}

/* After an opening bracket no comma is needed, so that need_comma tells whether there is anything inside. */
static void close_with(struct json_out *w, const char *bracket)
{
	assert(w->depth > 0);
	w->depth--;
	if (w->indent && w->need_comma)
		new_line(w);
	buf_str(w->to, bracket);
	w->need_comma = true;
}

void json_out_object(struct json_out *w, const char *key)
{
	open_with(w, key, "{");
}

void json_out_end_object(struct json_out *w)
{
	close_with(w, "}");
}

void json_out_array(struct json_out *w, const char *key)
{
	open_with(w, key, "[");
}

void json_out_end_array(struct json_out *w)
{
	close_with(w, "]");
}

void json_out_string(struct json_out *w, const char *key, const char *s)
{
	if (!s) {
		json_out_null(w, key);
		return;
	}
	before(w, key);
	quote(w, s);
}

void json_out_integer(struct json_out *w, const char *key, int64_t v)
{
	before(w, key);
	buf_printf(w->to, "%lld", (long long)v);
}

void json_out_real(struct json_out *w, const char *key, double v)
{
	char text[32];
	if (!isfinite(v)) {
		json_out_null(w, key);
		return;
	}
	json_repr_double(v, text);
	before(w, key);
	buf_str(w->to, text);
}

void json_out_bool(struct json_out *w, const char *key, bool v)
{
	before(w, key);
	buf_str(w->to, v ? "true" : "false");
}

void json_out_null(struct json_out *w, const char *key)
{
	before(w, key);
	buf_str(w->to, "null");
}

static void out_object(struct json_out *w, const char *key, const struct json *v)
{
	json_out_object(w, key);
	for (void *it = json_first(v); it; it = json_next(v, it))
		json_out_value(w, json_key(it), json_value(it));
	json_out_end_object(w);
}

static void out_array(struct json_out *w, const char *key, const struct json *v)
{
	json_out_array(w, key);
	for (size_t i = 0; i < json_size(v); i++)
		json_out_value(w, NULL, json_at(v, i));
	json_out_end_array(w);
}

/* Recurses as deep as the value is nested; json_parse() has a limit to that. */
void json_out_members(struct json_out *w, const char *text)
{
	size_t len = text ? strlen(text) : 0;
	if (len <= 2 || text[0] != '{' || text[len - 1] != '}')
		return;
	before(w, NULL);
	buf_add(w->to, text + 1, len - 2);
}

void json_out_value(struct json_out *w, const char *key, const struct json *v)
{
	if (!v || json_is_null(v))
		json_out_null(w, key);
	else if (json_is_object(v))
		out_object(w, key, v);
	else if (json_is_array(v))
		out_array(w, key, v);
	else if (json_is_string(v))
		json_out_string(w, key, json_text(v));
	else if (json_is_integer(v))
		json_out_integer(w, key, json_int(v));
	else if (json_is_number(v))
		json_out_real(w, key, json_number(v));
	else
		json_out_bool(w, key, json_bool(v));
}
