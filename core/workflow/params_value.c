#include "core/workflow/params_value.h"

#include "core/base/buf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- where it is ---- */

static void *member(const struct params_entry *t, const struct params *p)
{
	return (char *)(uintptr_t)p + t->offset;
}

static bool is_number(const struct params_entry *t)
{
	return t->kind != PARAMS_GLOBS && t->kind != PARAMS_JSON && t->kind != PARAMS_REAL;
}

static int64_t *number(const struct params_entry *t, const struct params *p)
{
	assert(is_number(t));
	return member(t, p);
}

static double *real(const struct params_entry *t, const struct params *p)
{
	assert(t->kind == PARAMS_REAL);
	return member(t, p);
}

static char **text_of(const struct params_entry *t, const struct params *p)
{
	assert(t->kind == PARAMS_JSON);
	return member(t, p);
}

static char ***list(const struct params_entry *t, const struct params *p)
{
	assert(t->kind == PARAMS_GLOBS);
	return member(t, p);
}

/* ---- lists of globs ---- */

static size_t list_len(char *const *l)
{
	size_t n = 0;
	while (l && l[n])
		n++;
	return n;
}

static void list_free(char **l)
{
	for (size_t i = 0; l && l[i]; i++)
		free(l[i]);
	free(l);
}

static int list_append(char ***l, const char *glob, struct err *e)
{
	size_t n = list_len(*l);
	if (!*glob)
		return err_set(e, ERR_BAD_PARAM, "a glob cannot be empty");
	if (strlen(glob) > PARAMS_MAX_GLOB)
		return err_set(e, ERR_BAD_PARAM, "a glob cannot be longer than %d bytes", PARAMS_MAX_GLOB);
	if (!json_is_utf8(glob))
		return err_set(e, ERR_BAD_PARAM, "a glob must be UTF-8, as the names of nodes are");
	if (n == PARAMS_MAX_GLOBS)
		return err_set(e, ERR_BAD_PARAM, "there cannot be more than %d globs", PARAMS_MAX_GLOBS);
	char *copy = strdup(glob), **longer = copy ? realloc(*l, (n + 2) * sizeof *longer) : NULL;
	if (!longer) {
		free(copy);
		return err_nomem(e, "a list of globs");
	}
	longer[n] = copy;
	longer[n + 1] = NULL;
	*l = longer;
	return 0;
}

/* A new list in *l; NULL for none. */
static int list_from_json(char ***l, const struct json *v, struct err *e)
{
	*l = NULL;
	if (!json_is_array(v))
		return err_set(e, ERR_BAD_PARAM, "expected a list of strings");
	for (size_t i = 0; i < json_size(v); i++) {
		const char *glob = json_text(json_at(v, i));
		if ((glob ? list_append(l, glob, e) : err_set(e, ERR_BAD_PARAM, "expected a string")) == 0)
			continue;
		list_free(*l);
		*l = NULL;
		return err_wrap(e, "/%zu", i);
	}
	return 0;
}

static int list_dup(char ***to, char *const *from, struct err *e)
{
	*to = NULL;
	for (size_t i = 0; from && from[i]; i++)
		if (list_append(to, from[i], e) != 0)
			return -1;
	return 0;
}

/* ---- life ---- */

void params_value_default(const struct params_entry *t, struct params *p)
{
	if (is_number(t))
		*number(t, p) = t->dflt;
	else if (t->kind == PARAMS_REAL)
		*real(t, p) = (double)t->dflt;
}

void params_value_fini(const struct params_entry *t, struct params *p)
{
	if (t->kind == PARAMS_GLOBS)
		list_free(*list(t, p));
	else if (t->kind == PARAMS_JSON)
		free(*text_of(t, p));
}

int params_value_copy(const struct params_entry *t, struct params *to, const struct params *from, struct err *e)
{
	if (is_number(t))
		*number(t, to) = *number(t, from);
	else if (t->kind == PARAMS_REAL)
		*real(t, to) = *real(t, from);
	else if (t->kind == PARAMS_GLOBS)
		return list_dup(list(t, to), *list(t, from), e);
	else if (*text_of(t, from) && !(*text_of(t, to) = strdup(*text_of(t, from))))
		return err_nomem(e, "a setting");
	return 0;
}

/* ---- numbers and words ---- */

static int set_number(struct params *p, const struct params_entry *t, int64_t v, struct err *e)
{
	if (v < t->min || v > t->max)
		return err_set(e, ERR_BAD_PARAM, "%" PRId64 " is not in the range %" PRId64 " to %" PRId64, v, t->min, t->max);
	*number(t, p) = v;
	return 0;
}

static int set_real(struct params *p, const struct params_entry *t, double v, struct err *e)
{
	if (!(v >= (double)t->min && v <= (double)t->max))
		return err_set(e, ERR_BAD_PARAM, "%g is not in the range %" PRId64 " to %" PRId64, v, t->min, t->max);
	*real(t, p) = v;
	return 0;
}

static const char *const no_yes = "false|true";

static const char *words(const struct params_entry *t)
{
	return t->kind == PARAMS_BOOL ? no_yes : t->choices;
}

/* The word's place among the choices, or -1. */
static int64_t place(const char *choices, const char *word)
{
	size_t len = strlen(word);
	for (int64_t i = 0; choices; i++) {
		const char *end = strchr(choices, '|');
		size_t n = end ? (size_t)(end - choices) : strlen(choices);
		if (n == len && memcmp(choices, word, n) == 0)
			return i;
		choices = end ? end + 1 : NULL;
	}
	return -1;
}

static void word_at(const char *choices, int64_t i, char out[64])
{
	for (; i > 0; i--)
		choices = strchr(choices, '|') + 1;
	(void)snprintf(out, 64, "%.*s", (int)strcspn(choices, "|"), choices);
}

static int set_word(struct params *p, const struct params_entry *t, const char *word, struct err *e)
{
	int64_t i = place(words(t), word);
	if (i >= 0) {
		*number(t, p) = i;
		return 0;
	}
	struct buf list = BUF_INIT;
	for (const char *c = words(t); *c; c++)
		buf_printf(&list, *c == '|' ? ",%c" : "%c", *c == '|' ? ' ' : *c);
	(void)err_set(e, ERR_BAD_PARAM, "\"%.100s\" is none of %s", word, list.data ? list.data : words(t));
	buf_fini(&list);
	return -1;
}

static int set_width(struct params *p, const struct params_entry *t, const char *word, struct err *e)
{
	if (strcmp(word, "float16") != 0)
		return err_set(e, ERR_BAD_PARAM, "\"%.100s\" is neither a number of bits nor \"float16\"", word);
	*number(t, p) = PARAMS_FLOAT16;
	return 0;
}

/* ---- from JSON ---- */

static int set_tree(struct params *p, const struct params_entry *t, const struct json *v, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	if (t->check && !json_is_null(v) && t->check(v, e))
		return -1;
	json_out_init(&w, &b, 0);
	json_out_value(&w, NULL, v);
	char *text = buf_failed(&b) || b.len > PARAMS_MAX_JSON || json_is_null(v) ? NULL : strndup(b.data, b.len);
	bool too_long = b.len > PARAMS_MAX_JSON;
	buf_fini(&b);
	if (too_long)
		return err_set(e, ERR_BAD_PARAM, "it cannot be longer than %d bytes", PARAMS_MAX_JSON);
	if (!text && !json_is_null(v))
		return err_nomem(e, "a setting");
	free(*text_of(t, p));
	*text_of(t, p) = text;
	return 0;
}

static int set_globs(struct params *p, const struct params_entry *t, const struct json *v, struct err *e)
{
	char **l;
	if (list_from_json(&l, v, e) != 0)
		return -1;
	list_free(*list(t, p));
	*list(t, p) = l;
	return 0;
}

int params_value_from_json(const struct params_entry *t, struct params *p, const struct json *v, struct err *e)
{
	const char *word = json_is_bool(v) ? (json_bool(v) ? "true" : "false") : json_text(v);
	switch (t->kind) {
	case PARAMS_GLOBS:
		return set_globs(p, t, v, e);
	case PARAMS_JSON:
		return set_tree(p, t, v, e);
	case PARAMS_REAL:
		return json_is_number(v) ? set_real(p, t, json_number(v), e) : err_set(e, ERR_BAD_PARAM, "expected a number");
	case PARAMS_BOOL:
		return json_is_bool(v) ? set_word(p, t, word, e) : err_set(e, ERR_BAD_PARAM, "expected true or false");
	case PARAMS_CHOICE:
		return word ? set_word(p, t, word, e) : err_set(e, ERR_BAD_PARAM, "expected a string");
	case PARAMS_WIDTH:
		if (json_is_string(v))
			return set_width(p, t, word, e);
		break;
	case PARAMS_INTEGER:
	case PARAMS_BYTES:
		break;
	}
	return json_is_integer(v) ? set_number(p, t, json_int(v), e) : err_set(e, ERR_BAD_PARAM, "expected an integer");
}

/* ---- from text ---- */

/* "12", "-1", and for bytes "4G"; false if it is no number. What is too large for an int64 becomes the largest one, which is in
 * no setting's range. */
static bool parse_number(const char *text, bool bytes, int64_t *out)
{
	static const char letters[] = "KMGT";
	bool negative = *text == '-', huge = false;
	int64_t v = 0;
	text += negative;
	if (*text < '0' || *text > '9')
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		huge |= __builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *text - '0', &v);
	const char *letter = bytes && *text ? strchr(letters, *text & ~0x20) : NULL;
	if (letter && *letter) {
		huge |= __builtin_mul_overflow(v, (int64_t)1 << (10 * (letter - letters + 1)), &v);
		text++;
	}
	v = huge ? INT64_MAX : v;
	*out = negative ? -v : v;
	return *text == '\0';
}

/* A JSON value, or a word that stands for a JSON string. */
static int tree_from_text(struct params *p, const struct params_entry *t, const char *text, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	if (text[0] && strchr("{[\"", text[0])) {
		buf_str(&b, text);
	} else {
		json_out_init(&w, &b, 0);
		json_out_string(&w, NULL, text);
	}
	struct json *v = buf_failed(&b) ? NULL : json_parse(b.data, b.len, e);
	int rc = buf_failed(&b) ? err_nomem(e, "a setting") : v ? set_tree(p, t, v, e) : -1;
	json_free(v);
	buf_fini(&b);
	return rc;
}

static int real_from_text(struct params *p, const struct params_entry *t, const char *text, struct err *e)
{
	char *end;
	double v = strtod(text, &end);
	if (end == text || *end)
		return err_set(e, ERR_BAD_PARAM, "\"%.100s\" is not a number", text);
	return set_real(p, t, v, e);
}

int params_value_from_text(const struct params_entry *t, struct params *p, const char *text, struct err *e)
{
	int64_t v;
	switch (t->kind) {
	case PARAMS_GLOBS:
		return list_append(list(t, p), text, e);
	case PARAMS_JSON:
		return tree_from_text(p, t, text, e);
	case PARAMS_REAL:
		return real_from_text(p, t, text, e);
	case PARAMS_BOOL:
	case PARAMS_CHOICE:
		return set_word(p, t, text, e);
	case PARAMS_WIDTH:
		if (!parse_number(text, false, &v))
			return set_width(p, t, text, e);
		return set_number(p, t, v, e);
	case PARAMS_INTEGER:
	case PARAMS_BYTES:
		break;
	}
	if (!parse_number(text, t->kind == PARAMS_BYTES, &v))
		return err_set(e, ERR_BAD_PARAM, "\"%.100s\" is not a number%s", text,
		               t->kind == PARAMS_BYTES ? " of bytes (K, M, G or T may follow)" : "");
	return set_number(p, t, v, e);
}

/* ---- to JSON ---- */

static void word_to_json(const struct params_entry *t, int64_t v, struct json_out *w, const char *key)
{
	char word[64];
	word_at(words(t), v, word);
	if (place(no_yes, word) >= 0)
		json_out_bool(w, key, word[0] == 't');
	else
		json_out_string(w, key, word);
}

static void tree_to_json(const char *text, struct json_out *w, const char *key)
{
	struct err e;
	struct json *v = text ? json_parse(text, strlen(text), &e) : NULL;
	if (v)
		json_out_value(w, key, v);
	else
		json_out_null(w, key);
	json_free(v);
}

void params_value_to_json(const struct params_entry *t, const struct params *p, struct json_out *w, const char *key)
{
	switch (t->kind) {
	case PARAMS_GLOBS:
		json_out_array(w, key);
		for (char **g = *list(t, p); g && *g; g++)
			json_out_string(w, NULL, *g);
		json_out_end_array(w);
		break;
	case PARAMS_JSON:
		tree_to_json(*text_of(t, p), w, key);
		break;
	case PARAMS_REAL:
		json_out_real(w, key, *real(t, p));
		break;
	case PARAMS_BOOL:
	case PARAMS_CHOICE:
		word_to_json(t, *number(t, p), w, key);
		break;
	case PARAMS_WIDTH:
		if (*number(t, p) == PARAMS_FLOAT16) {
			json_out_string(w, key, "float16");
			break;
		}
		json_out_integer(w, key, *number(t, p));
		break;
	case PARAMS_INTEGER:
	case PARAMS_BYTES:
		json_out_integer(w, key, *number(t, p));
		break;
	}
}

/* ---- words ---- */

int64_t params_value_words(const struct params_entry *t)
{
	int64_t n = 1;
	for (const char *c = words(t); *c; c++)
		n += *c == '|';
	return n;
}

void params_value_word(const struct params_entry *t, int64_t i, char out[64])
{
	word_at(words(t), i, out);
}
