#include "core/data/safetensors.h"

#include "core/base/json.h"
#include "core/data/arrays_form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tensor {
	uint64_t begin, end; /* bytes after the header */
};

struct safetensors {
	uint64_t data; /* where the numbers begin */
	struct tensor *tensors;
};

static const struct {
	const char *name;
	enum array_type type;
} dtypes[] = {
	{"BOOL", ARRAY_BOOL}, {"I8", ARRAY_I8},   {"U8", ARRAY_U8},     {"I16", ARRAY_I16}, {"U16", ARRAY_U16},
	{"I32", ARRAY_I32},   {"U32", ARRAY_U32}, {"I64", ARRAY_I64},   {"U64", ARRAY_U64}, {"F16", ARRAY_F16},
	{"F32", ARRAY_F32},   {"F64", ARRAY_F64}, {"BF16", ARRAY_BF16},
};

static enum array_type type_of(const char *dtype)
{
	for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
		if (strcmp(dtypes[i].name, dtype) == 0)
			return dtypes[i].type;
	return ARRAY_OTHER;
}

/* ---- the header ---- */

static int read_shape(const struct json *v, struct array *a, struct err *e)
{
	size_t n = json_size(v);
	if (!json_is_array(v))
		return arrays_bad(e, "has no \"shape\"");
	if (n > ARRAY_MAX_RANK)
		return err_set(e, ERR_CALIBRATION, "has more than %d dimensions", ARRAY_MAX_RANK);
	a->rank = (int)n;
	for (size_t i = 0; i < n; i++) {
		a->shape[i] = json_is_integer(json_at(v, i)) ? json_int(json_at(v, i)) : -1;
		if (a->shape[i] < 0)
			return arrays_bad(e, "has a dimension that is none");
	}
	return 0;
}

static int read_offsets(const struct json *v, uint64_t room, struct tensor *t, struct err *e)
{
	const struct json *begin = json_at(v, 0), *end = json_at(v, 1);
	if (json_size(v) != 2 || !json_is_integer(begin) || !json_is_integer(end) || json_int(begin) < 0 ||
	    json_int(end) < json_int(begin))
		return arrays_bad(e, "has no \"data_offsets\"");
	*t = (struct tensor){(uint64_t)json_int(begin), (uint64_t)json_int(end)};
	return t->end <= room ? 0 : arrays_bad(e, "declares more bytes than the file has");
}

static int read_tensor(const struct json *v, uint64_t room, struct array *a, struct tensor *t, struct err *e)
{
	const char *dtype = json_text(json_get(v, "dtype"));
	uint64_t row;
	if (!dtype || !arrays_is_printable(dtype))
		return arrays_bad(e, "has no \"dtype\"");
	(void)snprintf(a->descr, sizeof a->descr, "%s", dtype);
	a->type = type_of(dtype);
	if (read_shape(json_get(v, "shape"), a, e) || read_offsets(json_get(v, "data_offsets"), room, t, e))
		return -1;
	if (!array_row_bytes(a, &row))
		return arrays_bad(e, "declares more bytes than can be");
	if (a->type != ARRAY_OTHER && t->end - t->begin != row * array_rows(a))
		return err_set(e, ERR_CALIBRATION, "declares %llu bytes of data and has %llu",
		               (unsigned long long)(row * array_rows(a)), (unsigned long long)(t->end - t->begin));
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct tensor *x = a, *y = b;
	if (x->begin != y->begin)
		return x->begin < y->begin ? -1 : 1;
	return x->end < y->end ? -1 : x->end > y->end;
}

/* Every byte belongs to exactly one tensor. */
static int check_places(const struct tensor *tensors, size_t n, uint64_t room, struct err *e)
{
	struct tensor *sorted = malloc((n + 1) * sizeof *sorted);
	uint64_t at = 0;
	if (!sorted)
		return err_nomem(e, "a list of tensors");
	if (n)
		memcpy(sorted, tensors, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, by_place);
	size_t i = 0;
	for (; i < n && sorted[i].begin == at; i++)
		at = sorted[i].end;
	free(sorted);
	return i == n && at == room ? 0 : arrays_bad(e, "its tensors overlap, or leave bytes that belong to none");
}

static int list_tensors(struct arrays *z, const struct json *header, struct err *e)
{
	struct safetensors *own = z->own;
	uint64_t room = z->size - own->data;
	for (void *it = json_first(header); it; it = json_next(header, it)) {
		if (strcmp(json_key(it), "__metadata__") == 0)
			continue;
		size_t at = z->count;
		if (at == SAFETENSORS_MAX_TENSORS)
			return err_set(e, ERR_CALIBRATION, "has more than %d tensors", SAFETENSORS_MAX_TENSORS);
		struct array *a = arrays_add(z, json_key(it), strlen(json_key(it)), e);
		if (!a)
			return -1;
		if (read_tensor(json_value(it), room, a, &own->tensors[at], e))
			return err_wrap(e, "array \"%.200s\"", a->name);
	}
	return check_places(own->tensors, z->count, room, e);
}

static struct json *read_header(struct arrays *z, struct err *e)
{
	struct safetensors *own = z->own;
	unsigned char length[8];
	uint64_t n = 0;
	struct json *header = NULL;
	if (arrays_read_file(z, length, sizeof length, 0, e))
		return NULL;
	for (int i = 7; i >= 0; i--)
		n = n << 8 | length[i];
	if (n > SAFETENSORS_MAX_HEADER || n > z->size - sizeof length) {
		err_set(e, ERR_CALIBRATION, "has a header of %llu bytes, which is too long", (unsigned long long)n);
		return NULL;
	}
	own->data = sizeof length + n;
	char *text = malloc((size_t)n + 1);
	if (!text)
		err_nomem(e, "a header");
	else if (arrays_read_file(z, text, (size_t)n, sizeof length, e) == 0)
		header = json_parse(text, (size_t)n, e);
	free(text);
	return header;
}

/* ---- the form ---- */

static int safetensors_open(struct arrays *z, struct err *e)
{
	struct safetensors *own = z->own = calloc(1, sizeof *own);
	if (!own || !(own->tensors = calloc(SAFETENSORS_MAX_TENSORS, sizeof *own->tensors)))
		return err_nomem(e, "a list of tensors");
	struct json *header = read_header(z, e);
	int rc = -1;
	if (header && !json_is_object(header))
		err_set(e, ERR_CALIBRATION, "its header is no JSON object");
	else if (header)
		rc = list_tensors(z, header, e);
	else if (e->code == ERR_BAD_PARAM) { /* JSON's errors speak of settings */
		e->code = ERR_CALIBRATION;
		err_wrap(e, "its header");
	}
	json_free(header);
	return rc;
}

static int safetensors_read(struct arrays *z, size_t i, uint64_t first, uint64_t rows, void *out, struct err *e)
{
	const struct safetensors *own = z->own;
	uint64_t row = 0;
	(void)array_row_bytes(&z->list[i], &row);
	return arrays_read_file(z, out, rows * row, own->data + own->tensors[i].begin + first * row, e);
}

static void safetensors_free(struct arrays *z)
{
	struct safetensors *own = z->own;
	if (own)
		free(own->tensors);
	free(own);
}

const struct arrays_form safetensors_form = {safetensors_open, safetensors_read, safetensors_free};
