#include "core/onnx/onnx_prescan_parts.h"

#include <stdio.h>
#include <string.h>

/* Field numbers of TensorProto and its parts. */
enum {
	DIMS = 1,
	TYPE = 2,
	FLOATS = 4,
	INT32S = 5,
	TEXTS = 6,
	INT64S = 7,
	NAME = 8,
	RAW = 9,
	DOUBLES = 10,
	UINT64S = 11,
	ENTRIES = 13,
	PLACE = 14
};

/* How elements of a type are kept: bits in raw_data, the field of typed data, and how many of that make an element. */
static const struct storage {
	int bits, field, each;
} storages[] = {
	[1] = {32, FLOATS, 1},   [2] = {8, INT32S, 1},    [3] = {8, INT32S, 1},    [4] = {16, INT32S, 1},  [5] = {16, INT32S, 1},
	[6] = {32, INT32S, 1},   [7] = {64, INT64S, 1},   [8] = {0, TEXTS, 1},     [9] = {8, INT32S, 1},   [10] = {16, INT32S, 1},
	[11] = {64, DOUBLES, 1}, [12] = {32, UINT64S, 1}, [13] = {64, UINT64S, 1}, [14] = {64, FLOATS, 2}, [15] = {128, DOUBLES, 2},
	[16] = {16, INT32S, 1},  [17] = {8, INT32S, 1},   [18] = {8, INT32S, 1},   [19] = {8, INT32S, 1},  [20] = {8, INT32S, 1},
	[21] = {4, INT32S, 1},   [22] = {4, INT32S, 1},   [23] = {4, INT32S, 1},   [24] = {8, INT32S, 1},  [25] = {2, INT32S, 1},
	[26] = {2, INT32S, 1},
};
enum { TYPES = sizeof storages / sizeof *storages };

const char *prescan_show(const struct wire *w, char out[SHOWN])
{
	size_t n = wire_left(w) < SHOWN - 1 ? wire_left(w) : SHOWN - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = w->at[i] < ' ' || w->at[i] > '~' ? '?' : (char)w->at[i];
	out[n] = '\0';
	return out;
}

static int bad(const struct tensor_facts *t, const char *what, struct err *e)
{
	char name[SHOWN];
	return err_set(e, ERR_NOT_ONNX, "tensor %s: %s", prescan_show(&t->name, name), what);
}

/* ---- dimensions ---- */

static int add_dim(struct tensor_facts *t, uint64_t v, struct err *e)
{
	if (t->rank == PRESCAN_MAX_RANK)
		return bad(t, "too many dimensions", e);
	if (v > INT64_MAX)
		return bad(t, "a negative or overflowing dimension", e);
	t->dims[t->rank++] = (int64_t)v;
	return 0;
}

static int add_dims(struct tensor_facts *t, const struct wire_field *f, struct err *e)
{
	struct wire w = f->bytes;
	uint64_t v;
	if (f->type == WIRE_VARINT)
		return add_dim(t, f->value, e);
	while (w.at < w.end)
		if (wire_varint(&w, &v) < 0 || add_dim(t, v, e) < 0)
			return e->code ? -1 : bad(t, "damaged dimensions", e);
	return 0;
}

/* The product, as far as anything can be that large. */
static int count_elements(const int64_t *dims, size_t rank, int64_t *count)
{
	*count = 1;
	for (size_t i = 0; i < rank; i++)
		if (__builtin_mul_overflow(*count, dims[i], count) || *count > INT64_MAX / 16)
			return -1;
	return 0;
}

/* ---- external data ---- */

static bool plain_relative(const struct wire *w)
{
	const uint8_t *p = w->at;
	while (p < w->end) {
		const uint8_t *slash = memchr(p, '/', (size_t)(w->end - p)), *stop = slash ? slash : w->end;
		size_t n = (size_t)(stop - p);
		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p = stop + (slash != NULL);
	}
	return w->at < w->end && !memchr(w->at, '\\', wire_left(w)) && w->end[-1] != '/';
}

/* Runtimes write "*" and more into the location of tensors that they hold themselves, and believe the address that follows. */
static int check_location(const struct tensor_facts *t, const struct wire *where, struct err *e)
{
	char name[SHOWN], shown[SHOWN];
	(void)prescan_show(&t->name, name);
	if (where->at < where->end && where->at[0] == '*')
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "tensor %s: its data is said to lie in memory, not in a file", name);
	if (!plain_relative(where))
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "tensor %s: external data must be a plain name beside the model, not %s",
		               name, prescan_show(where, shown));
	return 0;
}

struct place {
	bool external, has_location;
	struct wire location;
};

static int read_entry(struct wire w, struct place *p)
{
	struct wire key = {NULL, NULL}, value = {NULL, NULL};
	struct wire_field f;
	int rc;
	while ((rc = wire_next(&w, &f)) == 1) {
		if (f.number == 1)
			key = f.bytes;
		else if (f.number == 2)
			value = f.bytes;
	}
	if (rc == 0 && wire_is(&key, "location") && !p->has_location) { /* of several, readers take the first */
		p->has_location = true;
		p->location = value;
	}
	return rc;
}

/* ---- data ---- */

struct data {
	int64_t n[UINT64S + 1]; /* elements of each typed field */
	bool has_raw;
};

static int64_t count_varints(struct wire w)
{
	int64_t n = 0;
	for (; w.at < w.end; w.at++)
		n += !(*w.at & 0x80);
	return n;
}

static void count_typed(struct data *d, const struct wire_field *f)
{
	int64_t *n = &d->n[f->number];
	if (f->type != WIRE_BYTES || f->number == TEXTS)
		++*n;
	else if (f->number == FLOATS)
		*n += (int64_t)wire_left(&f->bytes) / 4;
	else if (f->number == DOUBLES)
		*n += (int64_t)wire_left(&f->bytes) / 8;
	else
		*n += count_varints(f->bytes);
}

static double number_at(const uint8_t *p, int type)
{
	float f;
	double d;
	int32_t i;
	int64_t l;
	switch (type) {
	case 1:
		memcpy(&f, p, sizeof f);
		return (double)f;
	case 6:
		memcpy(&i, p, sizeof i);
		return i;
	case 7:
		memcpy(&l, p, sizeof l);
		return (double)l;
	default:
		memcpy(&d, p, sizeof d);
		return d;
	}
}

static void add_few(struct tensor_facts *t, double v)
{
	if (t->nfew < FEW)
		t->few[t->nfew++] = v;
}

/* The first numbers, for what is made out of them. */
static void read_few(struct tensor_facts *t, const struct wire_field *f)
{
	struct wire w = f->bytes;
	uint64_t v;
	if (f->number == INT32S || f->number == INT64S) {
		if (f->type == WIRE_VARINT)
			add_few(t, (double)(int64_t)f->value);
		while (w.at < w.end && t->nfew < FEW && wire_varint(&w, &v) == 0)
			add_few(t, (double)(int64_t)v);
		return;
	}
	size_t size = t->type == 7 || t->type == 11 ? 8 : 4;
	for (; wire_left(&w) >= size && t->nfew < FEW; w.at += size)
		add_few(t, number_at(w.at, t->type));
}

static int check_data(struct tensor_facts *t, const struct data *d, struct err *e)
{
	if (t->type <= 0 || t->type >= TYPES)
		return bad(t, "an unknown type", e);
	const struct storage *s = &storages[t->type];
	if (d->has_raw) {
		int64_t want = s->bits >= 8 ? t->count * (s->bits / 8)
		               : s->bits    ? (t->count + 8 / s->bits - 1) / (8 / s->bits)
		                            : -1;
		char name[SHOWN];
		if (want != (int64_t)wire_left(&t->raw))
			return err_set(e, ERR_NOT_ONNX, "tensor %s: %zu bytes of data where its shape asks for %lld",
			               prescan_show(&t->name, name), wire_left(&t->raw), (long long)want);
		return 0;
	}
	int64_t n = d->n[s->field], packed = s->bits && s->bits < 8 ? (t->count + 8 / s->bits - 1) / (8 / s->bits) : -1;
	return n == t->count * s->each || n == packed ? 0 : bad(t, "more or less data than its shape asks for", e);
}

/* First what says how to read the rest, which may come in any order. */
static int read_head(struct wire w, struct tensor_facts *t, struct place *p, struct err *e)
{
	struct wire_field f;
	int rc;
	while ((rc = wire_next(&w, &f)) == 1) {
		if (f.number == NAME)
			t->name = f.bytes;
		else if (f.number == TYPE)
			t->type = f.value > INT32_MAX ? -1 : (int)f.value;
		else if (f.number == PLACE)
			p->external = f.value == 1;
		else if (f.number == DIMS && add_dims(t, &f, e) < 0)
			return -1;
		else if (f.number == ENTRIES && read_entry(f.bytes, p) < 0)
			return bad(t, "damaged", e);
	}
	if (rc < 0)
		return bad(t, "damaged", e);
	return count_elements(t->dims, t->rank, &t->count) < 0 ? bad(t, "a negative or overflowing dimension", e) : 0;
}

int prescan_tensor(struct wire w, struct tensor_facts *t, struct err *e)
{
	struct place p = {false, false, {NULL, NULL}};
	struct data d = {{0}, false};
	struct wire_field f;
	memset(t, 0, sizeof *t);
	if (read_head(w, t, &p, e) < 0)
		return -1;
	t->external = p.external;
	if (p.has_location && check_location(t, &p.location, e) < 0) /* also where nobody should look at it */
		return -1;
	if (p.external)
		return p.has_location ? 0 : bad(t, "external data without a location", e);
	while (wire_next(&w, &f) == 1) {
		if (f.number == RAW) {
			t->raw = f.bytes;
			d.has_raw = true;
		} else if (f.number >= FLOATS && f.number <= UINT64S && f.number != NAME) {
			count_typed(&d, &f);
			if (f.number == INT64S)
				t->int64_data = f.bytes;
		}
		if ((t->type == 1 || t->type == 6 || t->type == 7 || t->type == 11) &&
		    (f.number == RAW || (int)f.number == storages[t->type].field))
			read_few(t, &f);
	}
	return check_data(t, &d, e);
}

/* ---- sparse tensors ---- */

static int next_index(struct tensor_facts *t, uint64_t *v)
{
	if (t->raw.at < t->raw.end) {
		if (wire_left(&t->raw) < 8)
			return -1;
		memcpy(v, t->raw.at, 8);
		t->raw.at += 8;
		return 0;
	}
	return wire_varint(&t->int64_data, v);
}

/* [n] positions in the flattened tensor, or [n][rank] coordinates, every one inside. */
static int check_indices(struct tensor_facts *indices, const struct tensor_facts *whole, int64_t n, struct err *e)
{
	bool flat = indices->rank == 1;
	if (indices->external || indices->type != 7 || indices->rank < 1 || indices->rank > 2 || indices->dims[0] != n ||
	    (!flat && indices->dims[1] != (int64_t)whole->rank))
		return bad(whole, "sparse indices of a wrong shape or type", e);
	for (int64_t i = 0; i < indices->count; i++) {
		uint64_t v, bound = (uint64_t)(flat ? whole->count : whole->dims[i % (int64_t)whole->rank]);
		if (next_index(indices, &v) < 0 || v >= bound)
			return bad(whole, "a sparse index out of range", e);
	}
	return 0;
}

int prescan_sparse(struct wire w, struct tensor_facts *values, struct err *e)
{
	struct tensor_facts whole, indices;
	struct wire_field f;
	bool has_values = false, has_indices = false;
	int rc;
	memset(&whole, 0, sizeof whole);
	memset(values, 0, sizeof *values);
	while ((rc = wire_next(&w, &f)) == 1) {
		if ((f.number == 1 && prescan_tensor(f.bytes, values, e) < 0) ||
		    (f.number == 2 && prescan_tensor(f.bytes, &indices, e) < 0) || (f.number == 3 && add_dims(&whole, &f, e) < 0))
			return -1;
		has_values = has_values || f.number == 1;
		has_indices = has_indices || f.number == 2;
	}
	whole.name = values->name;
	if (rc < 0 || !has_values || !has_indices || values->rank != 1)
		return bad(&whole, "a damaged sparse tensor", e);
	if (count_elements(whole.dims, whole.rank, &whole.count) < 0)
		return bad(&whole, "a negative or overflowing dimension", e);
	if (whole.count > PRESCAN_MAX_MADE && whole.count / 64 > values->count) {
		char name[SHOWN];
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "tensor %s: %lld sparse values unfold to %lld",
		               prescan_show(&whole.name, name), (long long)values->count, (long long)whole.count);
	}
	return check_indices(&indices, &whole, values->count, e);
}
