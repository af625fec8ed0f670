#include "core/data/npz.h"

#include "core/data/archive.h"
#include "core/data/arrays_form.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 65536 }; /* of a .npy; numpy itself reads at most 10000 bytes unless told otherwise */

/* An array's file, as it stands in the archive or by itself. */
struct npy {
	struct array *pub; /* while headers are read */
	size_t index;      /* in the archive */
	uint64_t size;     /* header included */
	uint64_t data;     /* where the header ends */
	bool fortran;
};

struct npz {
	struct archive *zip;  /* NULL for a bare .npy */
	struct npy *members;  /* in the order of the arrays */
	struct npy *whole_of; /* the Fortran-ordered one whose data is in whole, or NULL */
	unsigned char *whole;
};

/* numpy's letter and size, after the byte order */
static const char *const codes[] = {
	[ARRAY_BOOL] = "b1", [ARRAY_I8] = "i1",  [ARRAY_U8] = "u1",  [ARRAY_I16] = "i2", [ARRAY_U16] = "u2", [ARRAY_I32] = "i4",
	[ARRAY_U32] = "u4",  [ARRAY_I64] = "i8", [ARRAY_U64] = "u8", [ARRAY_F16] = "f2", [ARRAY_F32] = "f4", [ARRAY_F64] = "f8",
};

static int bad(struct err *e, const char *what)
{
	return arrays_bad(e, what);
}

static int read_bytes(struct arrays *z, const struct npy *m, uint64_t at, void *out, uint64_t n, struct err *e)
{
	struct npz *own = z->own;
	return own->zip ? archive_read(own->zip, m->index, at, out, n, e) : arrays_read_file(z, out, n, at, e);
}

/* ---- the header of a .npy: a Python literal, {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } ---- */

struct text {
	const char *p, *end;
};

static bool accept(struct text *t, const char *token)
{
	size_t n = strlen(token);
	while (t->p < t->end && strchr(" \t\r\n", *t->p) && *t->p)
		t->p++;
	if ((size_t)(t->end - t->p) < n || memcmp(t->p, token, n) != 0)
		return false;
	t->p += n;
	return true;
}

/* A quoted string without escapes; cut off to fit out. */
static bool accept_string(struct text *t, char *out, size_t room)
{
	char quote = accept(t, "'") ? '\'' : accept(t, "\"") ? '"' : '\0';
	const char *close = quote ? memchr(t->p, quote, (size_t)(t->end - t->p)) : NULL;
	if (!close || memchr(t->p, '\\', (size_t)(close - t->p)))
		return false;
	size_t len = (size_t)(close - t->p), keep = len < room ? len : room - 1;
	memcpy(out, t->p, keep);
	out[keep] = '\0';
	t->p = close + 1;
	return true;
}

/* The list of fields that describes a record; only its end is looked for. */
static bool accept_list(struct text *t)
{
	char unused[2];
	if (!accept(t, "["))
		return false;
	for (int depth = 1; depth > 0;) {
		if (accept(t, "[") || accept(t, "("))
			depth++;
		else if (accept(t, "]") || accept(t, ")"))
			depth--;
		else if (accept_string(t, unused, sizeof unused))
			continue;
		else if (t->p < t->end)
			t->p++;
		else
			return false;
	}
	return true;
}

/* "<f4": little endian, or without an order where one byte has none. */
static enum array_type type_of(const char *descr)
{
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (strcmp(descr + 1, codes[i]) == 0 &&
		    (descr[0] == '<' || (descr[0] == '|' && array_type_size((enum array_type)i) == 1)))
			return (enum array_type)i;
	return ARRAY_OTHER;
}

static int parse_descr(struct text *t, struct npy *m, struct err *e)
{
	if (accept_string(t, m->pub->descr, sizeof m->pub->descr) && arrays_is_printable(m->pub->descr) && m->pub->descr[0])
		m->pub->type = type_of(m->pub->descr);
	else if (accept_list(t)) {
		(void)strcpy(m->pub->descr, "[...]");
		m->pub->type = ARRAY_OTHER;
	} else
		return bad(e, "its header's \"descr\" is not understood");
	return 0;
}

static int parse_dimension(struct text *t, int64_t *out, struct err *e)
{
	const char *start = t->p;
	int64_t v = 0;
	for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *t->p - '0', &v))
			return bad(e, "a dimension is too large");
	if (t->p == start)
		return bad(e, "its header's \"shape\" is not understood");
	(void)accept(t, "L"); /* Python 2 wrote long integers so */
	*out = v;
	return 0;
}

static int parse_shape(struct text *t, struct npy *m, struct err *e)
{
	bool comma = accept(t, "("), closed = accept(t, ")");
	while (comma && !closed) {
		if (m->pub->rank == ARRAY_MAX_RANK)
			return err_set(e, ERR_CALIBRATION, "has more than %d dimensions", ARRAY_MAX_RANK);
		if (parse_dimension(t, &m->pub->shape[m->pub->rank++], e) != 0)
			return -1;
		comma = accept(t, ",");
		closed = accept(t, ")");
	}
	return closed ? 0 : bad(e, "its header's \"shape\" is not understood");
}

static int parse_header(struct text t, struct npy *m, struct err *e)
{
	enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
	int seen = 0;
	char key[16];
	if (!accept(&t, "{"))
		return bad(e, "its header is not understood");
	while (!accept(&t, "}")) {
		if (!accept_string(&t, key, sizeof key) || !accept(&t, ":"))
			return bad(e, "its header is not understood");
		int what = !strcmp(key, "descr")           ? DESCR
		           : !strcmp(key, "fortran_order") ? ORDER
		           : !strcmp(key, "shape")         ? SHAPE
		                                           : 0;
		if (!what || (seen & what))
			return bad(e, "its header has an unknown key, or one twice");
		seen |= what;
		if (what == DESCR && parse_descr(&t, m, e) != 0)
			return -1;
		if (what == SHAPE && parse_shape(&t, m, e) != 0)
			return -1;
		if (what == ORDER && !accept(&t, "False") && !(m->fortran = accept(&t, "True")))
			return bad(e, "its header's \"fortran_order\" is not understood");
		if (!accept(&t, ",") && (t.p >= t.end || *t.p != '}'))
			return bad(e, "its header is not understood");
	}
	(void)accept(&t, "");
	if (t.p != t.end || seen != (DESCR | ORDER | SHAPE))
		return bad(e, "its header is not complete");
	return 0;
}

/* The header's sizes must be exactly those of the bytes that are there. */
static int check_sizes(struct npy *m, struct err *e)
{
	uint64_t row, whole;
	int varying = 0; /* dimensions that say something about order */
	for (int i = 0; i < m->pub->rank; i++)
		varying += m->pub->shape[i] != 1;
	m->fortran = m->fortran && varying > 1;
	if (!array_row_bytes(m->pub, &row))
		return bad(e, "declares more bytes than can be");
	if (m->pub->type == ARRAY_OTHER)
		return 0;
	whole = row * array_rows(m->pub);
	if (whole != m->size - m->data)
		return err_set(e, ERR_CALIBRATION, "declares %llu bytes of data and has %llu", (unsigned long long)whole,
		               (unsigned long long)(m->size - m->data));
	return 0;
}

static int read_header(struct arrays *z, struct npy *m, struct err *e)
{
	unsigned char start[12] = {0};
	char *text = NULL;
	int rc = -1;
	if (m->size < 10)
		return bad(e, "is too short for a .npy file");
	if (read_bytes(z, m, 0, start, 10, e) != 0)
		return -1;
	if (memcmp(start, "\x93NUMPY", 6) != 0)
		return bad(e, "is no .npy file");
	if (start[6] < 1 || start[6] > 3 || start[7] != 0)
		return err_set(e, ERR_CALIBRATION, "is of .npy version %d.%d, which is unknown", start[6], start[7]);
	m->data = start[6] == 1 ? 10 : 12;
	if (m->data == 12 && (m->size < 12 || read_bytes(z, m, 10, start + 10, 2, e) != 0))
		return m->size < 12 ? bad(e, "is too short for a .npy file") : -1;
	uint32_t len = start[8] | (uint32_t)start[9] << 8 | (uint32_t)start[10] << 16 | (uint32_t)start[11] << 24;
	if (len > MAX_HEADER || len > m->size - m->data)
		return err_set(e, ERR_CALIBRATION, "has a header of %u bytes, which is too long", len);
	text = malloc(len + 1);
	if (!text)
		return err_nomem(e, "a header");
	if (read_bytes(z, m, m->data, text, len, e) != 0)
		goto out;
	m->data += len;
	if (parse_header((struct text){text, text + len}, m, e) != 0)
		goto out;
	rc = check_sizes(m, e);
out:
	free(text);
	return rc;
}

/* ---- rows ---- */

/* Makes m's data the one that is in memory whole. */
static int load_whole(struct arrays *z, struct npy *m, struct err *e)
{
	struct npz *own = z->own;
	if (own->whole_of == m)
		return 0;
	free(own->whole);
	own->whole_of = NULL;
	own->whole = malloc(m->size - m->data);
	if (!own->whole)
		return err_nomem(e, "a Fortran-ordered array");
	if (read_bytes(z, m, m->data, own->whole, m->size - m->data, e) != 0)
		return -1;
	own->whole_of = m;
	return 0;
}

/* out[r][j…] = in[first + r, j…], where in's first index varies fastest. The elements j… of a row are walked in out's order; at
 * is where in has the one of row first. */
static void gather_rows(const struct array *a, const unsigned char *in, uint64_t first, uint64_t rows, uint64_t row_size,
                        unsigned char *out)
{
	const int64_t *shape = a->shape;
	size_t size = array_type_size(a->type);
	uint64_t step[ARRAY_MAX_RANK] = {1}, index[ARRAY_MAX_RANK] = {0}, at = first;
	for (int d = 1; d < a->rank; d++)
		step[d] = step[d - 1] * (uint64_t)shape[d - 1];
	for (uint64_t j = 0; j < row_size / size; j++) {
		for (uint64_t r = 0; r < rows; r++)
			memcpy(out + r * row_size + j * size, in + (at + r) * size, size);
		for (int d = a->rank - 1; d > 0; d--) {
			at += step[d];
			if (++index[d] < (uint64_t)shape[d])
				break;
			at -= step[d] * (uint64_t)shape[d];
			index[d] = 0;
		}
	}
}

static int npz_read(struct arrays *z, size_t i, uint64_t first, uint64_t rows, void *out, struct err *e)
{
	struct npz *own = z->own;
	struct npy *m = &own->members[i];
	uint64_t row = 0;
	(void)array_row_bytes(&z->list[i], &row);
	if (!m->fortran)
		return read_bytes(z, m, m->data + first * row, out, rows * row, e);
	if (load_whole(z, m, e))
		return -1;
	gather_rows(&z->list[i], own->whole, first, rows, row, out);
	return 0;
}

/* ---- opening ---- */

static int begin(struct arrays *z, size_t members, struct err *e)
{
	struct npz *own = calloc(1, sizeof *own);
	z->own = own;
	return own && (own->members = calloc(members + 1, sizeof *own->members)) ? 0 : err_nomem(e, "a list of arrays");
}

static int add_member(struct arrays *z, size_t index, const char *name, size_t len, struct err *e)
{
	struct npz *own = z->own;
	struct npy *m = &own->members[z->count];
	m->pub = arrays_add(z, name, len, e);
	if (!m->pub)
		return -1;
	m->index = index;
	if (archive_size(own->zip, index, &m->size, e) != 0 || read_header(z, m, e) != 0)
		return err_wrap(e, "array \"%.200s\"", m->pub->name);
	return 0;
}

static int npz_open(struct arrays *z, struct err *e)
{
	struct archive *zip = archive_open(z->fd, z->size, e);
	size_t n = zip ? archive_count(zip) : 0;
	if (!zip || begin(z, n, e)) {
		archive_free(zip);
		return -1;
	}
	((struct npz *)z->own)->zip = zip;
	if (n > NPZ_MAX_MEMBERS)
		return err_set(e, ERR_CALIBRATION, "has more than %d members", NPZ_MAX_MEMBERS);
	for (size_t i = 0; i < n; i++) {
		const char *name = archive_name(zip, i);
		size_t len = strlen(name);
		if (len >= 4 && strcmp(name + len - 4, ".npy") == 0 && add_member(z, i, name, len - 4, e) != 0)
			return -1;
	}
	return 0;
}

static int npy_open(struct arrays *z, struct err *e)
{
	struct array *a = begin(z, 1, e) ? NULL : arrays_add(z, "", 0, e);
	if (!a)
		return -1;
	struct npy *m = &((struct npz *)z->own)->members[0];
	m->pub = a;
	m->size = z->size;
	return read_header(z, m, e);
}

static void npz_free(struct arrays *z)
{
	struct npz *own = z->own;
	if (!own)
		return;
	archive_free(own->zip);
	free(own->members);
	free(own->whole);
	free(own);
}

const struct arrays_form npz_form = {npz_open, npz_read, npz_free};
const struct arrays_form npy_form = {npy_open, npz_read, npz_free};
