#include "core/data/calib_map.h"

#include "core/base/buf.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct calib_map {
	struct json *tree; /* owns the texts */
	struct calib_source *sources;
	const char **names;
	size_t n;
};

/* ---- checking ---- */

static int check_factors(const struct json *v, const char *key, struct err *e)
{
	bool list = json_is_array(v);
	if (list && json_size(v) == 0)
		return err_set(e, ERR_BAD_PARAM, "/%s: the list is empty", key);
	for (size_t i = 0; i < (list ? json_size(v) : 1); i++) {
		const struct json *x = list ? json_at(v, i) : v;
		if (!json_is_number(x) || !isfinite(json_number(x)))
			return err_set(e, ERR_BAD_PARAM, "/%s: expected a number, or a list of numbers", key);
	}
	return 0;
}

/* A permutation that leaves axis 0 where it is. */
static int check_transpose(const struct json *v, struct err *e)
{
	size_t n = json_size(v);
	bool seen[ARRAY_MAX_RANK] = {false}, ok = json_is_array(v) && n > 0 && n <= ARRAY_MAX_RANK;
	for (size_t i = 0; i < n && ok; i++) {
		const struct json *axis = json_at(v, i);
		int64_t at = json_is_integer(axis) ? json_int(axis) : -1;
		ok = at >= 0 && at < (int64_t)n && !seen[at] && (i > 0 || at == 0);
		if (ok)
			seen[at] = true;
	}
	return ok ? 0
	          : err_set(e, ERR_BAD_PARAM,
	                    "/transpose: expected the array's axes in another order, with axis 0, the samples, first");
}

static int check_member(const char *key, const struct json *v, struct err *e)
{
	if (strcmp(key, "array") == 0)
		return json_text(v) ? 0 : err_set(e, ERR_BAD_PARAM, "/array: expected a string");
	if (strcmp(key, "transpose") == 0)
		return check_transpose(v, e);
	if (strcmp(key, "scale") == 0 || strcmp(key, "offset") == 0)
		return check_factors(v, key, e);
	return err_set(e, ERR_UNKNOWN_FIELD, "/%.100s: an input has \"array\", \"transpose\", \"scale\" and \"offset\"", key);
}

static int check_input(const struct json *v, struct err *e)
{
	if (!json_is_object(v))
		return err_set(e, ERR_BAD_PARAM, "expected an object");
	for (void *it = json_first(v); it; it = json_next(v, it))
		if (check_member(json_key(it), json_value(it), e))
			return -1;
	return 0;
}

int calib_map_check(const struct json *v, struct err *e)
{
	if (!json_is_object(v))
		return err_set(e, ERR_BAD_PARAM, "expected an object with the model's inputs");
	for (void *it = json_first(v); it; it = json_next(v, it)) {
		if (!check_input(json_value(it), e))
			continue;
		struct err inner = *e;
		return err_set(e, inner.code, "/%.100s%s%.800s", json_key(it), inner.msg[0] == '/' ? "" : ": ", inner.msg);
	}
	return 0;
}

/* ---- life ---- */

/* A number or a list of them; *n is 0 where there is none. */
static int read_factors(const struct json *v, double **out, size_t *n, struct err *e)
{
	bool list = json_is_array(v);
	*n = !v ? 0 : list ? json_size(v) : 1;
	*out = calloc(*n + 1, sizeof **out);
	for (size_t i = 0; *out && i < *n; i++)
		(*out)[i] = json_number(list ? json_at(v, i) : v);
	return *out ? 0 : err_nomem(e, "the inputs");
}

static int read_source(const struct json *v, struct calib_source *s, struct err *e)
{
	const struct json *axes = json_get(v, "transpose");
	s->array = json_text(json_get(v, "array"));
	s->rank = (int)json_size(axes);
	for (int i = 0; i < s->rank; i++)
		s->axes[i] = (int)json_int(json_at(axes, (size_t)i));
	return read_factors(json_get(v, "scale"), &s->scale, &s->nscale, e) ||
	                       read_factors(json_get(v, "offset"), &s->offset, &s->noffset, e)
	               ? -1
	               : 0;
}

struct calib_map *calib_map_new(const char *text, struct err *e)
{
	struct calib_map *m = calloc(1, sizeof *m);
	if (!m) {
		err_nomem(e, "the inputs");
		return NULL;
	}
	if (!text)
		return m;
	m->tree = json_parse(text, strlen(text), e);
	if (!m->tree || calib_map_check(m->tree, e))
		goto fail;
	m->sources = calloc(json_size(m->tree) + 1, sizeof *m->sources);
	m->names = calloc(json_size(m->tree) + 1, sizeof *m->names);
	if (!m->sources || !m->names) {
		err_nomem(e, "the inputs");
		goto fail;
	}
	for (void *it = json_first(m->tree); it; it = json_next(m->tree, it)) {
		m->names[m->n] = json_key(it);
		if (read_source(json_value(it), &m->sources[m->n++], e))
			goto fail;
	}
	return m;
fail:
	calib_map_free(m);
	return NULL;
}

void calib_map_free(struct calib_map *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->n; i++) {
		free(m->sources[i].scale);
		free(m->sources[i].offset);
	}
	free(m->sources);
	free((void *)m->names);
	json_free(m->tree);
	free(m);
}

/* ---- use ---- */

static int no_such_input(const char *name, const struct calib_input *inputs, size_t n, struct err *e)
{
	struct buf b = BUF_INIT;
	for (size_t i = 0; i < n && i < 8; i++)
		buf_printf(&b, "%s\"%.80s\"", i ? ", " : "", inputs[i].name);
	(void)err_set(e, ERR_BAD_PARAM, "/inputs/%.100s: the model has no such input (there is %.700s)", name,
	              b.data ? b.data : "none");
	buf_fini(&b);
	return -1;
}

int calib_map_apply(const struct calib_map *m, struct calib_input *inputs, size_t n, struct err *e)
{
	for (size_t i = 0; i < m->n; i++) {
		size_t at = 0;
		while (at < n && strcmp(inputs[at].name, m->names[i]) != 0)
			at++;
		if (at == n)
			return no_such_input(m->names[i], inputs, n, e);
		inputs[at].source = &m->sources[i];
	}
	return 0;
}
