#ifndef SEQMSE_JSON_H
#define SEQMSE_JSON_H

/* JSON in and out. json.c is the only file that includes jansson.h.
 *
 * Reading: json_parse() gives a tree that the caller frees; every other reading function borrows from it. Asking a value for
 * something that it is not gives NULL, 0 or false, never a crash, so that checks can be chained. (json_text and json_int are not
 * called json_string and json_integer because libjansson calls its own functions of these names, and would get ours.)
 *
 * Writing: a `struct json_out` appends to a buffer. The caller opens and closes objects and arrays in pairs; commas,
 * indentation and escapes are the writer's. Numbers are written as Python writes them (the shortest digits that read back to
 * the same double, with ".0" where it would look like an integer), because the encodings files of the field are.
 */

#include "core/base/buf.h"
#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json; /* a value inside a tree, or the tree's root */

enum { JSON_MAX_DEPTH = 32 };

/* Programs call this before anything else: libjansson's memory is then as json_memory.h says, and a parse without memory does no harm. A
 * library must not: whoever uses libjansson beside it may have memory of the old kind. */
void json_take_memory(void);

/* Parses text of len bytes, one value of any kind. Duplicate keys, NUL escapes, invalid UTF-8, numbers that an int64 or a double
 * cannot hold, anything after the value, and nesting deeper than JSON_MAX_DEPTH are errors (ERR_BAD_PARAM, with line and
 * column). Free the root with json_free(). */
struct json *json_parse(const char *text, size_t len, struct err *e);
void json_free(struct json *root);

bool json_is_object(const struct json *v);
bool json_is_array(const struct json *v);
bool json_is_string(const struct json *v);
bool json_is_number(const struct json *v); /* integer or real */
bool json_is_integer(const struct json *v);
bool json_is_bool(const struct json *v);
bool json_is_null(const struct json *v); /* the value null; a missing value (NULL) is not null */

const char *json_text(const struct json *v); /* a string's UTF-8, NUL-terminated */
double json_number(const struct json *v);    /* an integer's or a real's */
int64_t json_int(const struct json *v);
bool json_bool(const struct json *v);

size_t json_size(const struct json *v); /* members of an object or array */
const struct json *json_get(const struct json *object, const char *key);
const struct json *json_at(const struct json *array, size_t i);

/* Walks an object in the order of the text:  for (it = json_first(o); it; it = json_next(o, it)) … json_key(it), json_value(it) */
void *json_first(const struct json *object);
void *json_next(const struct json *object, void *it);
const char *json_key(void *it);
const struct json *json_value(void *it);

/* Writes a parsed value back, as json_out writes. */
struct json_out;
void json_out_value(struct json_out *w, const char *key, const struct json *v);
/* The members of an object of text that json_out wrote without indent, as they stand there. NULL, or what is no object, has none. */
void json_out_members(struct json_out *w, const char *text);

struct json_out {
	struct buf *to;
	int indent;      /* spaces a level; 0 = all on one line with ", " and ": " */
	bool ascii_only; /* writes \uXXXX for everything outside ASCII, as Python's json does; set it after json_out_init() */
	int depth;
	bool need_comma;
};

/* Starts writing to *to; indent as above. Ends by itself when the last object is closed; nothing to free. */
void json_out_init(struct json_out *w, struct buf *to, int indent);

/* key is NULL inside an array and at the top. */
void json_out_object(struct json_out *w, const char *key);
void json_out_end_object(struct json_out *w);
void json_out_array(struct json_out *w, const char *key);
void json_out_end_array(struct json_out *w);
void json_out_string(struct json_out *w, const char *key, const char *s); /* NULL writes null; invalid UTF-8 bytes become U+FFFD */
void json_out_integer(struct json_out *w, const char *key, int64_t v);
void json_out_real(struct json_out *w, const char *key, double v); /* not finite: null */
void json_out_bool(struct json_out *w, const char *key, bool v);
void json_out_null(struct json_out *w, const char *key);

/* Whether text is UTF-8, that is, comes through JSON as it is. */
bool json_is_utf8(const char *text);

/* The number's text as Python's repr(float) gives it: "0.1", "1e-07", "-128.0", "1e+16", "nan". out has room for 32 bytes. */
void json_repr_double(double v, char out[32]);

#endif
