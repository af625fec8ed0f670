#include "core/data/test_sets.h"

#include "core/data/arrays_form.h"
#include "core/onnx/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One input_M.pb of one set. */
struct piece {
	unsigned set, input;
	uint64_t file, size;          /* where in the archive */
	struct array shape;           /* no name */
	uint64_t data;                /* where its numbers begin, if they lie there as they are; else 0 */
	uint64_t packed, packed_size; /* else where the packed ones are */
};

struct test_sets {
	struct piece *pieces; /* by input, then set */
	size_t count, room;
	size_t first[TEST_SETS_MAX_INPUTS + 1]; /* of each input's pieces */
};

/* ---- the archive ---- */

enum { BLOCK = 512 };

/* A number in octal digits, or, where it would be too long, in binary with the first bit set. */
static bool read_number(const unsigned char *p, size_t n, uint64_t *v)
{
	*v = 0;
	if (*p & 0x80) {
		for (size_t i = 1; i < n; i++)
			if (__builtin_mul_overflow(*v, 256, v) || __builtin_add_overflow(*v, p[i], v))
				return false;
		return (*p & 0x7f) == 0;
	}
	size_t i = 0;
	while (i < n && p[i] == ' ')
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		*v = *v << 3 | (uint64_t)(p[i] - '0');
	return i == n || p[i] == ' ' || p[i] == '\0';
}

static bool checksum_fits(const unsigned char *h)
{
	uint64_t told, sum = 0;
	for (int i = 0; i < BLOCK; i++)
		sum += i >= 148 && i < 156 ? ' ' : h[i];
	return read_number(h + 148, 8, &told) && told == sum;
}

/* "…_12…" from p on: the number, and where it ends; false where there is none, or one that nobody needs. */
static bool take_number(const char **p, unsigned *v)
{
	const char *start = *p;
	*v = 0;
	for (; **p >= '0' && **p <= '9' && *p - start < 7; (*p)++)
		*v = *v * 10 + (unsigned)(**p - '0');
	return *p > start && *p - start < 7;
}

/* Whether a path ends in test_data_set_N/input_M.pb. */
static bool is_input(const char *path, unsigned *set, unsigned *input)
{
	const char folder[] = "test_data_set_", file[] = "/input_", *p = strstr(path, folder);
	for (const char *next = p; next; next = strstr(next + 1, folder))
		p = next;
	if (!p || (p > path && p[-1] != '/'))
		return false;
	p += sizeof folder - 1;
	if (!take_number(&p, set) || strncmp(p, file, sizeof file - 1) != 0)
		return false;
	p += sizeof file - 1;
	return take_number(&p, input) && strcmp(p, ".pb") == 0;
}

static int add_piece(struct test_sets *own, const struct piece *p, struct err *e)
{
	if (p->input >= TEST_SETS_MAX_INPUTS)
		return err_set(e, ERR_CALIBRATION, "has more than %d inputs", TEST_SETS_MAX_INPUTS);
	if (own->count == own->room) {
		size_t room = own->room ? 2 * own->room : 64;
		struct piece *grown = realloc(own->pieces, room * sizeof *grown);
		if (!grown)
			return err_nomem(e, "a list of test sets");
		own->pieces = grown;
		own->room = room;
	}
	own->pieces[own->count++] = *p;
	return 0;
}

/* Header h, of the file that begins at byte at. */
static int take_file(struct test_sets *own, const unsigned char *h, uint64_t at, uint64_t size, struct err *e)
{
	char path[160 + 1 + 100 + 1];
	struct piece p = {.file = at, .size = size};
	(void)snprintf(path, sizeof path, "%.155s%s%.100s", (const char *)h + 345, h[345] ? "/" : "", (const char *)h);
	bool plain = h[156] == '0' || h[156] == '\0';
	return plain && is_input(path, &p.set, &p.input) ? add_piece(own, &p, e) : 0;
}

static int walk_archive(struct arrays *z, struct err *e)
{
	unsigned char h[BLOCK];
	uint64_t at = 0, size;
	for (int files = 0; z->size - at >= BLOCK; files++) {
		if (arrays_read_file(z, h, sizeof h, at, e))
			return -1;
		at += BLOCK;
		if (h[0] == '\0')
			return 0; /* the end */
		if (files == TEST_SETS_MAX_FILES)
			return err_set(e, ERR_CALIBRATION, "has more than %d files", TEST_SETS_MAX_FILES);
		if (!checksum_fits(h) || !read_number(h + 124, 12, &size))
			return arrays_bad(e, "is damaged: a file's header in the archive is not understood");
		if (size > z->size - at)
			return arrays_bad(e, "is cut off: a file in the archive is longer than the archive");
		if (take_file(z->own, h, at, size, e))
			return -1;
		uint64_t step = (size + BLOCK - 1) / BLOCK * BLOCK;
		at += step < z->size - at ? step : z->size - at;
	}
	return 0;
}

/* ---- a tensor ---- */

enum {
	DIMS = 1,
	DATA_TYPE,
	FLOAT_DATA = 4,
	INT32_DATA,
	INT64_DATA = 7,
	RAW_DATA = 9,
	DOUBLE_DATA,
	UINT64_DATA,
	EXTERNAL_DATA = 13,
	LOCATION
};

/* ONNX's numbers of types: what they are here, and the field that has them unless raw_data does. */
static const struct {
	enum array_type type;
	uint32_t field;
} types[] = {
	[0] = {ARRAY_OTHER, 0},          [1] = {ARRAY_F32, FLOAT_DATA},   [2] = {ARRAY_U8, INT32_DATA},
	[3] = {ARRAY_I8, INT32_DATA},    [4] = {ARRAY_U16, INT32_DATA},   [5] = {ARRAY_I16, INT32_DATA},
	[6] = {ARRAY_I32, INT32_DATA},   [7] = {ARRAY_I64, INT64_DATA},   [8] = {ARRAY_OTHER, 0},
	[9] = {ARRAY_BOOL, INT32_DATA},  [10] = {ARRAY_F16, INT32_DATA},  [11] = {ARRAY_F64, DOUBLE_DATA},
	[12] = {ARRAY_U32, UINT64_DATA}, [13] = {ARRAY_U64, UINT64_DATA},
};

/* What a TensorProto says. */
struct tensor {
	struct array shape;
	uint64_t type;
	struct wire raw, typed;
	uint32_t typed_field;
	int pieces; /* of data */
};

static int add_dim(struct array *a, uint64_t v, struct err *e)
{
	if (a->rank == ARRAY_MAX_RANK)
		return err_set(e, ERR_CALIBRATION, "has more than %d dimensions", ARRAY_MAX_RANK);
	if (v > INT64_MAX)
		return arrays_bad(e, "has a negative dimension");
	a->shape[a->rank++] = (int64_t)v;
	return 0;
}

static int read_dims(struct array *a, struct wire_field *f, struct err *e)
{
	uint64_t v;
	if (f->type == WIRE_VARINT)
		return add_dim(a, f->value, e);
	while (wire_left(&f->bytes) > 0) {
		if (wire_varint(&f->bytes, &v) < 0)
			return arrays_bad(e, "is damaged");
		if (add_dim(a, v, e))
			return -1;
	}
	return 0;
}

static int read_field(struct tensor *t, struct wire_field *f, struct err *e)
{
	bool data = f->number == FLOAT_DATA || f->number == INT32_DATA || f->number == INT64_DATA || f->number == DOUBLE_DATA ||
	            f->number == UINT64_DATA;
	if (f->number == DIMS && (f->type == WIRE_VARINT || f->type == WIRE_BYTES))
		return read_dims(&t->shape, f, e);
	if (f->number == DATA_TYPE && f->type == WIRE_VARINT)
		t->type = f->value;
	else if (f->number == EXTERNAL_DATA || (f->number == LOCATION && f->value != 0))
		return arrays_bad(e, "has its numbers in another file, which is not read");
	else if (f->number == RAW_DATA && f->type == WIRE_BYTES) {
		t->raw = f->bytes;
		t->pieces++;
	} else if (data && f->type == WIRE_BYTES) {
		t->typed = f->bytes;
		t->typed_field = f->number;
		t->pieces++;
	} else if (data)
		return arrays_bad(e, "has its numbers one by one, which is not read: write it with raw_data");
	return 0;
}

static int parse_tensor(struct wire w, struct tensor *t, struct err *e)
{
	struct wire_field f;
	int rc;
	while ((rc = wire_next(&w, &f)) > 0)
		if (read_field(t, &f, e))
			return -1;
	if (rc < 0)
		return arrays_bad(e, "is damaged, or no tensor");
	if (t->pieces > 1)
		return arrays_bad(e, "has its numbers in several pieces, which is not read");
	bool known = t->type < sizeof types / sizeof *types;
	t->shape.type = known ? types[t->type].type : ARRAY_OTHER;
	(void)snprintf(t->shape.descr, sizeof t->shape.descr, "ONNX type %u", (unsigned)(t->type & 0xffff));
	return 0;
}

/* The varints are as many as there are elements. */
static bool counts_fit(struct wire w, uint64_t n)
{
	uint64_t v;
	while (n > 0 && wire_varint(&w, &v) == 0)
		n--;
	return n == 0 && wire_left(&w) == 0;
}

/* Where piece p's numbers are; bytes is the piece's file in memory. */
static int locate(struct piece *p, const struct tensor *t, const unsigned char *bytes, struct err *e)
{
	uint64_t row, whole;
	p->shape = t->shape;
	if (t->shape.type == ARRAY_OTHER)
		return err_set(e, ERR_CALIBRATION, "is of %s, which cannot be read", t->shape.descr);
	if (t->shape.rank == 0)
		return arrays_bad(e, "has no dimensions: its first one has to count samples");
	if (!array_row_bytes(&t->shape, &row))
		return arrays_bad(e, "declares more bytes than can be");
	whole = row * array_rows(&t->shape);
	bool typed = t->typed_field != 0, plain = !typed || t->typed_field == FLOAT_DATA || t->typed_field == DOUBLE_DATA;
	const struct wire *w = typed ? &t->typed : &t->raw;
	if (typed && t->typed_field != types[t->type].field)
		return arrays_bad(e, "has its numbers in a field for another type");
	if (plain ? wire_left(w) != whole : !counts_fit(*w, whole / array_type_size(t->shape.type)))
		return arrays_bad(e, "does not have as many numbers as its dimensions say");
	if (whole > 0 && plain)
		p->data = p->file + (uint64_t)(w->at - bytes);
	else if (whole > 0) {
		p->packed = p->file + (uint64_t)(w->at - bytes);
		p->packed_size = wire_left(w);
	}
	return 0;
}

static int read_piece(struct arrays *z, struct piece *p, struct err *e)
{
	struct tensor t = {.type = 0};
	unsigned char *bytes = malloc((size_t)p->size + 1);
	int rc = bytes ? arrays_read_file(z, bytes, (size_t)p->size, p->file, e) : err_nomem(e, "a tensor");
	if (!rc)
		rc = parse_tensor((struct wire){bytes, bytes + p->size}, &t, e);
	if (!rc)
		rc = locate(p, &t, bytes, e);
	free(bytes);
	return rc ? err_wrap(e, "test_data_set_%u/input_%u.pb", p->set, p->input) : 0;
}

/* ---- the arrays ---- */

static int by_input(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;
	if (x->input != y->input)
		return x->input < y->input ? -1 : 1;
	return x->set < y->set ? -1 : x->set > y->set;
}

static bool same_but_rows(const struct array *a, const struct array *b)
{
	return a->type == b->type && a->rank == b->rank &&
	       memcmp(a->shape + 1, b->shape + 1, (size_t)(a->rank - 1) * sizeof *a->shape) == 0;
}

/* The pieces first .. end-1 become the array of an input. */
static int join(struct arrays *z, unsigned input, size_t first, size_t end, struct err *e)
{
	struct test_sets *own = z->own;
	char name[24];
	int n = snprintf(name, sizeof name, "input_%u", input);
	struct array *a = arrays_add(z, name, (size_t)n, e);
	if (!a)
		return -1;
	const char *kept = a->name;
	*a = own->pieces[first].shape;
	a->name = kept;
	for (size_t i = first + 1; i < end; i++) {
		const struct piece *p = &own->pieces[i];
		if (!same_but_rows(&p->shape, a))
			return err_set(e, ERR_CALIBRATION,
			               "test_data_set_%u/input_%u.pb has another type or other dimensions than in the first set",
			               p->set, p->input);
		if (__builtin_add_overflow(a->shape[0], p->shape.shape[0], &a->shape[0]))
			return arrays_bad(e, "has too many samples");
	}
	uint64_t row;
	return array_row_bytes(a, &row) ? 0 : arrays_bad(e, "has too many samples");
}

/* Sorted pieces: every input from 0 on in every set, once. */
static int join_all(struct arrays *z, struct err *e)
{
	struct test_sets *own = z->own;
	size_t sets = 0, first = 0;
	while (sets < own->count && own->pieces[sets].input == 0)
		sets++;
	if (own->count == 0 || sets == 0)
		return arrays_bad(e, "holds no test_data_set_N/input_0.pb");
	for (size_t i = 0; i < own->count; i++) {
		const struct piece *p = &own->pieces[i];
		bool twice = i > 0 && by_input(p - 1, p) == 0;
		if (twice || p->input != i / sets || p->set != own->pieces[i % sets].set)
			return err_set(e, ERR_CALIBRATION,
			               "test_data_set_%u/input_%u.pb is there twice, or other inputs are missing", p->set,
			               p->input);
	}
	if (own->count % sets != 0)
		return arrays_bad(e, "has a test set without one of the inputs");
	for (unsigned input = 0; first < own->count; input++, first += sets) {
		own->first[input] = first;
		own->first[input + 1] = first + sets;
		if (join(z, input, first, first + sets, e))
			return -1;
	}
	return 0;
}

static int test_sets_open(struct arrays *z, struct err *e)
{
	struct test_sets *own = z->own = calloc(1, sizeof *own);
	if (!own)
		return err_nomem(e, "test sets");
	if (walk_archive(z, e))
		return -1;
	if (own->count)
		qsort(own->pieces, own->count, sizeof *own->pieces, by_input);
	for (size_t i = 0; i < own->count; i++)
		if (read_piece(z, &own->pieces[i], e))
			return -1;
	return join_all(z, e);
}

/* ---- reading ---- */

/* Elements first .. first+n-1 out of packed varints. */
static int unpack(struct arrays *z, const struct piece *p, uint64_t first, uint64_t n, size_t size, unsigned char *out,
                  struct err *e)
{
	unsigned char *bytes = malloc((size_t)p->packed_size + 1);
	struct wire w = {bytes, bytes ? bytes + p->packed_size : NULL};
	uint64_t v;
	int rc = bytes ? arrays_read_file(z, bytes, (size_t)p->packed_size, p->packed, e) : err_nomem(e, "a tensor");
	for (uint64_t i = 0; !rc && i < first + n; i++) {
		if (wire_varint(&w, &v) < 0)
			rc = arrays_bad(e, "has changed while it was read");
		else if (i >= first)
			memcpy(out + (i - first) * size, &v, size); /* little endian, as all we run on */
	}
	free(bytes);
	return rc;
}

static int read_part(struct arrays *z, const struct piece *p, uint64_t first, uint64_t rows, uint64_t row, unsigned char *out,
                     struct err *e)
{
	size_t size = array_type_size(p->shape.type);
	return p->data ? arrays_read_file(z, out, rows * row, p->data + first * row, e)
	               : unpack(z, p, first * row / size, rows * row / size, size, out, e);
}

static int test_sets_read(struct arrays *z, size_t i, uint64_t first, uint64_t rows, void *out, struct err *e)
{
	const struct test_sets *own = z->own;
	unsigned char *to = out;
	uint64_t row = 0;
	(void)array_row_bytes(&z->list[i], &row);
	for (size_t k = own->first[i]; k < own->first[i + 1] && rows > 0; k++) {
		const struct piece *p = &own->pieces[k];
		uint64_t there = array_rows(&p->shape);
		if (first >= there) {
			first -= there;
			continue;
		}
		uint64_t n = rows < there - first ? rows : there - first;
		if (read_part(z, p, first, n, row, to, e))
			return -1;
		to += n * row;
		rows -= n;
		first = 0;
	}
	return 0;
}

static void test_sets_free(struct arrays *z)
{
	struct test_sets *own = z->own;
	if (own)
		free(own->pieces);
	free(own);
}

const struct arrays_form test_sets_form = {test_sets_open, test_sets_read, test_sets_free};
