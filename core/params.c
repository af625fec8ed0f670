#include "params.h"

#include "buf.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER(name) offsetof(struct params, name)

const struct params_entry params_table[] = {
	{"param_bw", "weight_bits", PARAMS_INTEGER, 4, 2, 16, MEMBER(param_bw), "bits of a weight"},
	{"num_candidates", NULL, PARAMS_INTEGER, 20, 1, 100000, MEMBER(num_candidates), "ranges tried for every channel"},
	{"batch_size", NULL, PARAMS_INTEGER, 0, 0, 1000000, MEMBER(batch_size),
         "samples a batch; 0: the model's fixed batch, else 32"},
	{"num_batches", NULL, PARAMS_INTEGER, 0, 0, 1000000000, MEMBER(num_batches), "batches used; 0: all"},
	{"threads", NULL, PARAMS_INTEGER, 0, 0, 1024, MEMBER(threads), "0: one per processor"},
	{"max_memory_bytes", "max_memory", PARAMS_BYTES, 0, 0, (int64_t)1 << 60, MEMBER(max_memory_bytes),
         "activations kept in memory before they spill to a file; 0: half of the machine's memory"},
	{"include", NULL, PARAMS_GLOBS, 0, 0, 0, MEMBER(include), "only nodes whose names match one of these"},
	{"exclude", NULL, PARAMS_GLOBS, 0, 0, 0, MEMBER(exclude), "no node whose name matches one of these"},
};
const size_t params_table_len = sizeof params_table / sizeof *params_table;

/* Settings that the interface has promised and the engine does not have yet. */
static const char *const not_built[] = {
	"inp_symmetry",
	"loss_fn",
	"output_bw",
	"quant_scheme",
	"param_quant_scheme",
	"percentile",
	"config",
	"granularity",
	"block_size",
	"lpbq",
	"symmetric",
	"overrides",
	"evaluate",
	"load_encodings",
	"fold_batch_norm",
	"guard",
	"dead_channels",
	"degenerate_ranges",
	"search",
	"min_range",
	"deadline_seconds",
	"reuse",
	"inputs",
	"checkpoints_config",
};

static int64_t *number(const struct params_entry *t, struct params *p)
{
	assert(t->kind != PARAMS_GLOBS);
	return (int64_t *)(void *)((char *)p + t->offset);
}

static char ***list(const struct params_entry *t, struct params *p)
{
	assert(t->kind == PARAMS_GLOBS);
	return (char ***)(void *)((char *)p + t->offset);
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

void params_init(struct params *p)
{
	*p = (struct params){0};
	for (size_t i = 0; i < params_table_len; i++)
		if (params_table[i].kind != PARAMS_GLOBS)
			*number(&params_table[i], p) = params_table[i].dflt;
}

void params_fini(struct params *p)
{
	list_free(p->include);
	list_free(p->exclude);
	params_init(p);
}

int params_copy(struct params *to, const struct params *from, struct err *e)
{
	*to = *from;
	to->include = to->exclude = NULL;
	if (list_dup(&to->include, from->include, e) == 0 && list_dup(&to->exclude, from->exclude, e) == 0)
		return 0;
	params_fini(to);
	return -1;
}

/* ---- names ---- */

const struct params_entry *params_find(const char *name)
{
	for (size_t i = 0; i < params_table_len; i++) {
		const struct params_entry *t = &params_table[i];
		if (strcmp(name, t->name) == 0 || (t->alias && strcmp(name, t->alias) == 0))
			return t;
	}
	return NULL;
}

/* How many letters have to be put in, taken out or changed to get from a to b (Levenshtein); both shorter than 32. */
static size_t distance(const char *a, const char *b)
{
	size_t row[32], n = strlen(b);
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t corner = row[0];
		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = corner + (a[i - 1] != b[j - 1]);
			corner = row[j];
			best = corner + 1 < best ? corner + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[n];
}

/* The known name that a mistyped one is nearest to; NULL if it is near none, which is when more than a third would change. */
static const char *nearest(const char *name)
{
	const char *best = NULL;
	size_t len = strlen(name), least = len / 3 + 1;
	if (len >= 32)
		return NULL;
	for (size_t i = 0; i < 2 * params_table_len; i++) {
		const struct params_entry *t = &params_table[i / 2];
		const char *known = i % 2 ? t->alias : t->name;
		size_t d = known ? distance(name, known) : least;
		if (d < least) {
			least = d;
			best = known;
		}
	}
	return best;
}

static int unknown(const char *name, struct err *e)
{
	for (size_t i = 0; i < sizeof not_built / sizeof *not_built; i++)
		if (strcmp(name, not_built[i]) == 0)
			return err_set(e, ERR_UNKNOWN_FIELD, "\"%s\" is not built yet", name);
	const char *meant = nearest(name);
	return err_set(e, ERR_UNKNOWN_FIELD, "\"%.100s\" is unknown%s%s%s", name, meant ? "; did you mean \"" : "",
	               meant ? meant : "", meant ? "\"?" : "");
}

/* ---- values ---- */

static int set_number(struct params *p, const struct params_entry *t, int64_t v, struct err *e)
{
	if (v < t->min || v > t->max)
		return err_set(e, ERR_BAD_PARAM, "%" PRId64 " is not in the range %" PRId64 " to %" PRId64, v, t->min, t->max);
	*number(t, p) = v;
	return 0;
}

int params_set_json(struct params *p, const char *name, const struct json *v, struct err *e)
{
	const struct params_entry *t = params_find(name);
	char **l;
	if (!t)
		return unknown(name, e);
	if (t->kind != PARAMS_GLOBS)
		return json_is_integer(v) ? set_number(p, t, json_int(v), e) : err_set(e, ERR_BAD_PARAM, "expected an integer");
	if (list_from_json(&l, v, e) != 0)
		return -1;
	list_free(*list(t, p));
	*list(t, p) = l;
	return 0;
}

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

/* The name with '_' for every '-'; what does not fit into out is no known name anyway. */
static void underscores(const char *name, char out[64])
{
	size_t i = 0;
	for (; i < 63 && name[i]; i++)
		out[i] = name[i] == '-' ? '_' : name[i];
	out[i] = '\0';
}

int params_set_text(struct params *p, const char *name, const char *text, struct err *e)
{
	char plain[64];
	int64_t v;
	underscores(name, plain);
	const struct params_entry *t = params_find(plain);
	if (!t)
		return unknown(plain, e);
	if (t->kind == PARAMS_GLOBS)
		return list_append(list(t, p), text, e);
	if (!parse_number(text, t->kind == PARAMS_BYTES, &v))
		return err_set(e, ERR_BAD_PARAM, "\"%.100s\" is not a number%s", text,
		               t->kind == PARAMS_BYTES ? " of bytes (K, M, G or T may follow)" : "");
	return set_number(p, t, v, e);
}

/* ---- whole objects ---- */

/* Puts "/key" before the message, as a JSON pointer spells it: "~0" for '~', "~1" for '/'. A message that begins with a
 * pointer already, into a list, is the rest of this one. */
static int wrap_pointer(struct err *e, const char *key)
{
	struct buf b = BUF_INIT;
	struct err inner = *e;
	for (; *key && b.len < 100; key++)
		buf_printf(&b, *key == '~' ? "~0" : *key == '/' ? "~1" : "%c", *key);
	const char *name = b.data ? b.data : "";
	(void)err_set(e, inner.code, "/%s%s%.800s", name, inner.msg[0] == '/' ? "" : ": ", inner.msg);
	buf_fini(&b);
	return -1;
}

int params_from_json(struct params *p, const struct json *object, struct err *e)
{
	unsigned seen = 0;
	if (!json_is_object(object))
		return err_set(e, ERR_BAD_PARAM, "expected an object");
	for (void *it = json_first(object); it; it = json_next(object, it)) {
		const struct params_entry *t = params_find(json_key(it));
		unsigned bit = t ? 1u << (t - params_table) : 0;
		if (seen & bit) {
			err_set(e, ERR_BAD_PARAM, "%s and %s are the same setting", t->name, t->alias);
			return wrap_pointer(e, json_key(it));
		}
		seen |= bit;
		if (params_set_json(p, json_key(it), json_value(it), e) != 0)
			return wrap_pointer(e, json_key(it));
	}
	return 0;
}

void params_to_json(const struct params *p, struct json_out *w, const char *key)
{
	struct params *q = (struct params *)(uintptr_t)p; /* only read */
	json_out_object(w, key);
	for (const struct params_entry *t = params_table; t < params_table + params_table_len; t++) {
		if (t->kind != PARAMS_GLOBS) {
			json_out_integer(w, t->name, *number(t, q));
			continue;
		}
		json_out_array(w, t->name);
		for (char **g = *list(t, q); g && *g; g++)
			json_out_string(w, NULL, *g);
		json_out_end_array(w);
	}
	json_out_end_object(w);
}
