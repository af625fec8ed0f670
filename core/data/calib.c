#include "core/data/calib.h"

#include "core/base/buf.h"
#include "core/base/half.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Rows are converted in slices of about this many bytes. */
enum { SLICE = 1 << 20, DEFAULT_BATCH = 32 };

struct feed {
	const struct calib_input *input;
	const struct array *array;
	int64_t shape[ARRAY_MAX_RANK]; /* the array's, its axes in the input's order */
	size_t elements;               /* a row */
};

struct calib {
	struct arrays *z;
	size_t count;
	int64_t samples, used, batch_size;
	struct feed *feeds;
	unsigned char *slice; /* SLICE bytes, or one row where a row is larger; NULL until the first conversion */
	size_t slice_size;
};

static bool is_float(enum array_type t)
{
	return t == ARRAY_F16 || t == ARRAY_F32 || t == ARRAY_F64;
}

static bool is_integer(enum array_type t)
{
	return t >= ARRAY_I8 && t <= ARRAY_U64;
}

/* Whether values of one type may become values of the other; single values may still not fit. */
static bool convertible(enum array_type from, enum array_type to)
{
	if (from == to)
		return from != ARRAY_OTHER;
	if ((is_float(from) || from == ARRAY_BF16) && is_float(to))
		return true;
	return is_integer(from) && (is_integer(to) || to == ARRAY_F32 || to == ARRAY_F64);
}

/* ---- matching arrays to inputs ---- */

static void describe_shape(struct buf *b, int rank, const int64_t *shape)
{
	buf_str(b, "(");
	for (int d = 0; d < rank; d++) {
		if (shape[d] < 0)
			buf_str(b, d ? ", ?" : "?");
		else
			buf_printf(b, d ? ", %lld" : "%lld", (long long)shape[d]);
	}
	buf_str(b, rank == 1 ? ",)" : ")");
}

static void describe_arrays(struct buf *b, const struct arrays *z)
{
	size_t n = arrays_count(z);
	buf_str(b, n ? " (there is" : " (there is nothing");
	for (size_t i = 0; i < n && i < 8; i++)
		buf_printf(b, "%s \"%.80s\"", i ? "," : "", arrays_at(z, i)->name);
	buf_str(b, n > 8 ? ", …)" : ")");
}

/* The array that feeds input i of n. A file with one array feeds a model with one input, whatever the array is called; unless it was named. */
static const struct array *array_for(const struct arrays *z, const struct calib_input *in, size_t i, size_t ninputs)
{
	char place[32];
	if (in->source && in->source->array)
		return arrays_find(z, in->source->array);
	(void)snprintf(place, sizeof place, "input_%zu", i);
	if (arrays_are_numbered(z))
		return arrays_find(z, place);
	if (ninputs == 1 && arrays_count(z) == 1)
		return arrays_at(z, 0);
	return arrays_find(z, in->name);
}

static bool shape_fits(const struct feed *f)
{
	const struct calib_input *in = f->input;
	const struct array *a = f->array;
	if (a->rank < 1 || (in->rank >= 0 && a->rank != in->rank))
		return false;
	for (int d = 1; d < in->rank; d++)
		if (in->shape[d] >= 0 && in->shape[d] != f->shape[d])
			return false;
	for (int d = 1; d < a->rank; d++)
		if (f->shape[d] == 0)
			return false;
	return true;
}

/* Whether the number of factors is one for all, or one for every place on axis 1. */
static bool factors_fit(const struct feed *f, size_t n)
{
	return n <= 1 || (f->array->rank > 1 && (int64_t)n == f->shape[1]);
}

/* Adds to *wrong what an input's source says that its array is not. */
static bool check_source(struct buf *wrong, const struct feed *f)
{
	const struct calib_source *s = f->input->source;
	const char *what = NULL;
	if (!s)
		return true;
	if (s->rank && s->rank != f->array->rank)
		what = "transpose names other axes than the array has";
	else if ((s->nscale || s->noffset) && !is_float(f->input->type))
		what = "scale and offset are for inputs of floating point";
	else if (!factors_fit(f, s->nscale) || !factors_fit(f, s->noffset))
		what = "scale or offset has not one number for every place on axis 1";
	if (what)
		buf_printf(wrong, "; input \"%.100s\": %s", f->input->name, what);
	return !what;
}

/* Adds to *wrong what is wrong with a as in's data. */
static void check_array(struct buf *wrong, struct feed *f)
{
	const struct calib_input *in = f->input;
	const struct array *a = f->array;
	bool moved = in->source && in->source->rank == a->rank;
	for (int d = 0; d < a->rank; d++)
		f->shape[d] = a->shape[moved ? in->source->axes[d] : d];
	bool fits = shape_fits(f);
	if (a->type == ARRAY_IMAGE) {
		buf_printf(wrong,
		           "; input \"%.100s\": images become numbers by the setting preprocess, such as resize=256,crop=224",
		           in->name);
		return;
	}
	if (!check_source(wrong, f))
		return;
	if (fits && a->shape[0] == 0) {
		buf_printf(wrong, "; input \"%.100s\": there are no samples in its array", in->name);
	} else if (!fits) {
		buf_printf(wrong, "; input \"%.100s\": expected ", in->name);
		if (in->rank < 0)
			buf_str(wrong, "samples along the first axis");
		else
			describe_shape(wrong, in->rank, in->shape);
		buf_str(wrong, ", the array is ");
		describe_shape(wrong, a->rank, f->shape);
		if (in->rank == 0)
			buf_str(wrong, "; an input without a batch axis cannot be fed");
	} else if (!convertible(a->type, in->type)) {
		buf_printf(wrong, "; input \"%.100s\": expected %s, the array is %s", in->name, array_type_name(in->type),
		           a->type == ARRAY_OTHER ? a->descr : array_type_name(a->type));
	}
}

/* Finds every input's array; one message tells all that is wrong. */
static int match(struct calib *c, const struct calib_input *inputs, struct err *e)
{
	struct buf wrong = BUF_INIT;
	for (size_t i = 0; i < c->count; i++) {
		struct feed *f = &c->feeds[i];
		f->input = &inputs[i];
		f->array = array_for(c->z, f->input, i, c->count);
		if (f->array) {
			check_array(&wrong, f);
			continue;
		}
		bool named = inputs[i].source && inputs[i].source->array;
		buf_printf(&wrong, "; input \"%.100s\": no array of %s", inputs[i].name,
		           named ? "the name that was given" : "that name");
		describe_arrays(&wrong, c->z);
	}
	bool ok = wrong.len == 0 && !buf_failed(&wrong);
	if (buf_failed(&wrong))
		err_nomem(e, "a message");
	else if (!ok)
		err_set(e, ERR_CALIBRATION, "calibration data does not fit the model: %.900s", wrong.data + 2);
	buf_fini(&wrong);
	return ok ? 0 : -1;
}

/* Equal numbers of samples everywhere, at least one; and no tensor larger than what can be addressed. */
static int count_samples(struct calib *c, struct err *e)
{
	c->samples = c->count ? c->feeds[0].array->shape[0] : 0;
	for (size_t i = 0; i < c->count; i++) {
		struct feed *f = &c->feeds[i];
		int64_t bytes = (int64_t)array_type_size(f->input->type), n = f->array->shape[0];
		if (n != c->samples)
			return err_set(e, ERR_CALIBRATION, "input \"%.100s\" has %lld samples and \"%.100s\" %lld",
			               c->feeds[0].input->name, (long long)c->samples, f->input->name, (long long)n);
		f->elements = 1;
		for (int d = 1; d < f->array->rank; d++)
			f->elements *= (size_t)f->array->shape[d]; /* the bytes are in the file, so that this fits */
		if (__builtin_mul_overflow(bytes, (int64_t)f->elements, &bytes) || __builtin_mul_overflow(bytes, n, &bytes))
			return err_set(e, ERR_CALIBRATION, "input \"%.100s\" is too large", f->input->name);
	}
	if (c->samples < 1)
		return err_set(e, ERR_CALIBRATION, "there are no samples: the model has no inputs to feed");
	return 0;
}

/* The batch size that the model's inputs insist on, -1 where they do not. */
static int fixed_batch(const struct calib *c, int64_t *fixed, struct err *e)
{
	const struct calib_input *by = NULL;
	*fixed = -1;
	for (size_t i = 0; i < c->count; i++) {
		const struct calib_input *in = c->feeds[i].input;
		if (in->rank < 1 || in->shape[0] < 0)
			continue;
		if (in->shape[0] == 0)
			return err_set(e, ERR_CALIBRATION, "input \"%.100s\" takes batches of 0", in->name);
		if (by && in->shape[0] != *fixed)
			return err_set(e, ERR_CALIBRATION, "input \"%.100s\" takes batches of %lld and \"%.100s\" of %lld",
			               by->name, (long long)*fixed, in->name, (long long)in->shape[0]);
		by = in;
		*fixed = in->shape[0];
	}
	return 0;
}

static int choose_batches(struct calib *c, int64_t batch_size, int64_t num_batches, struct err *e)
{
	int64_t fixed, most;
	if (fixed_batch(c, &fixed, e) != 0)
		return -1;
	if (batch_size < 0 || num_batches < 0)
		return err_set(e, ERR_BAD_PARAM, "batch_size and num_batches cannot be negative");
	if (fixed > 0 && batch_size > 0 && batch_size != fixed)
		return err_set(e, ERR_BAD_PARAM, "batch_size is %lld, but the model takes batches of %lld only",
		               (long long)batch_size, (long long)fixed);
	c->batch_size = fixed > 0 ? fixed : batch_size > 0 ? batch_size : DEFAULT_BATCH;
	c->used = fixed > 0 ? c->samples - c->samples % fixed : c->samples;
	if (c->used == 0)
		return err_set(e, ERR_CALIBRATION, "the model takes batches of %lld, and there are %lld samples", (long long)fixed,
		               (long long)c->samples);
	if (num_batches > 0 && !__builtin_mul_overflow(num_batches, c->batch_size, &most) && most < c->used)
		c->used = most;
	return 0;
}

struct calib *calib_new(struct arrays *z, const struct calib_input *inputs, size_t ninputs, int64_t batch_size, int64_t num_batches,
                        struct err *e)
{
	struct calib *c = calloc(1, sizeof *c);
	if (!c || !(c->feeds = calloc(ninputs + 1, sizeof *c->feeds))) {
		err_nomem(e, "calibration data");
		goto out;
	}
	c->z = z;
	c->count = ninputs;
	if (match(c, inputs, e) == 0 && count_samples(c, e) == 0 && choose_batches(c, batch_size, num_batches, e) == 0)
		return c;
out:
	calib_free(c);
	return NULL;
}

void calib_free(struct calib *c)
{
	if (!c)
		return;
	free(c->feeds);
	free(c->slice);
	free(c);
}

int64_t calib_samples(const struct calib *c)
{
	return c->samples;
}

int64_t calib_samples_used(const struct calib *c)
{
	return c->used;
}

int64_t calib_batch_size(const struct calib *c)
{
	return c->batch_size;
}

int64_t calib_batches(const struct calib *c)
{
	return c->used / c->batch_size + (c->used % c->batch_size != 0);
}

int64_t calib_rows(const struct calib *c, int64_t batch)
{
	assert(batch >= 0 && batch < calib_batches(c));
	int64_t left = c->used - batch * c->batch_size;
	return left < c->batch_size ? left : c->batch_size;
}

size_t calib_bytes(const struct calib *c, size_t i, int64_t batch)
{
	return (size_t)calib_rows(c, batch) * c->feeds[i].elements * array_type_size(c->feeds[i].input->type);
}

int calib_shape(const struct calib *c, size_t i, int64_t batch, int64_t shape[ARRAY_MAX_RANK])
{
	const struct array *a = c->feeds[i].array;
	for (int d = 0; d < a->rank; d++)
		shape[d] = d ? c->feeds[i].shape[d] : calib_rows(c, batch);
	return a->rank;
}

/* ---- half precision: 1 sign, 5 exponent (bias 15), 10 mantissa bits ---- */

static double half_to_double(uint16_t h)
{
	int exponent = h >> 10 & 31, mantissa = h & 1023;
	double v = exponent == 31  ? mantissa ? (double)NAN : (double)INFINITY
	           : exponent == 0 ? ldexp(mantissa, -24)
	                           : ldexp(mantissa + 1024, exponent - 25);
	return h >> 15 ? -v : v;
}

/* v finite. Rounds to nearest even from any double, in one step; infinity where v is half a step or more beyond 65504. A
 * mantissa that is rounded up to the next power of two carries into the exponent by itself. */
static uint16_t half_of_double(double v)
{
	double a = fabs(v);
	int exponent, bits;
	(void)frexp(a, &exponent); /* a = 0.5 .. 1 times 2^exponent */
	if (a >= 65520)
		bits = 31 << 10;
	else if (a == 0 || exponent < -13) /* frexp() gives zero an exponent like that of 1 */
		bits = (int)rint(ldexp(a, 24));
	else
		bits = (int)rint(ldexp(a, 11 - exponent)) - 1024 + ((exponent + 14) << 10);
	return (uint16_t)((signbit(v) ? 0x8000 : 0) | bits);
}

/* ---- converting ---- */

/* One element of any type: a real, or a sign and a magnitude, which hold every integer type. */
struct number {
	bool real, negative;
	double value;
	uint64_t magnitude;
};

static struct number signed_number(int64_t v)
{
	return (struct number){.negative = v < 0, .magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v};
}

static struct number load(enum array_type t, const unsigned char *p)
{
	union {
		int16_t i16;
		int32_t i32;
		int64_t i64;
		uint16_t u16;
		uint32_t u32;
		uint64_t u64;
		float f32;
		double f64;
	} v;
	memcpy(&v, p, array_type_size(t));
	switch (t) {
	case ARRAY_I8:
		return signed_number((int8_t)p[0]);
	case ARRAY_I16:
		return signed_number(v.i16);
	case ARRAY_I32:
		return signed_number(v.i32);
	case ARRAY_I64:
		return signed_number(v.i64);
	case ARRAY_U16:
		return (struct number){.magnitude = v.u16};
	case ARRAY_U32:
		return (struct number){.magnitude = v.u32};
	case ARRAY_U64:
		return (struct number){.magnitude = v.u64};
	case ARRAY_F16:
		return (struct number){.real = true, .value = half_to_double(v.u16)};
	case ARRAY_BF16:
		return (struct number){.real = true, .value = (double)bfloat_to_float(v.u16)};
	case ARRAY_F32:
		return (struct number){.real = true, .value = (double)v.f32};
	case ARRAY_F64:
		return (struct number){.real = true, .value = v.f64};
	default: /* ARRAY_U8, ARRAY_BOOL */
		return (struct number){.magnitude = p[0]};
	}
}

/* False if the value does not fit: an integer that is out of range or that a float does not hold exactly, or a real that
 * would become infinite. */
static bool store(struct number n, enum array_type t, unsigned char *out)
{
	size_t size = array_type_size(t);
	double real = n.real ? n.value : n.negative ? -(double)n.magnitude : (double)n.magnitude;
	if (is_integer(t)) {
		bool has_sign = t == ARRAY_I8 || t == ARRAY_I16 || t == ARRAY_I32 || t == ARRAY_I64;
		uint64_t all = UINT64_MAX >> (64 - 8 * size), most = has_sign ? (all >> 1) + n.negative : n.negative ? 0 : all;
		uint64_t bits = n.negative ? 0 - n.magnitude : n.magnitude;
		memcpy(out, &bits, size); /* little endian, as all we run on */
		return n.magnitude <= most;
	}
	if (t == ARRAY_F16) {
		uint16_t h = half_of_double(real);
		memcpy(out, &h, size);
		return (h & 0x7fff) < 31 << 10;
	}
	float f = (float)real;
	double stored = t == ARRAY_F32 ? (double)f : real;
	memcpy(out, t == ARRAY_F32 ? (const void *)&f : (const void *)&real, size);
	if (n.real)
		return isfinite(stored);
	/* An integer must come back as it was; what was rounded up to 2^64 could not even be asked. */
	return fabs(stored) < 0x1p64 && (uint64_t)fabs(stored) == n.magnitude;
}

/* ---- reading ---- */

/* Element k of row sample, as "sample 3 at [0, 5]". */
static void describe_place(struct buf *b, const struct array *a, int64_t sample, size_t k)
{
	int64_t index[ARRAY_MAX_RANK];
	for (int d = a->rank - 1; d > 0; d--) {
		index[d] = (int64_t)(k % (size_t)a->shape[d]);
		k /= (size_t)a->shape[d];
	}
	buf_printf(b, "sample %lld", (long long)sample);
	for (int d = 1; d < a->rank; d++)
		buf_printf(b, "%s%lld", d == 1 ? " at [" : ", ", (long long)index[d]);
	if (a->rank > 1)
		buf_str(b, "]");
}

/* The value at p, element k of row sample, cannot be fed. */
static int refuse(const struct feed *f, const unsigned char *p, int64_t sample, size_t k, struct err *e)
{
	struct number n = load(f->array->type, p);
	struct buf place = BUF_INIT;
	const char *name = f->array->name[0] ? f->array->name : f->input->name;
	describe_place(&place, f->array, sample, k);
	const char *at = place.data ? place.data : "";
	if (n.real && !isfinite(n.value))
		err_set(e, ERR_NON_FINITE, "array \"%.100s\", %s: %s", name, at, isnan(n.value) ? "NaN" : "infinity");
	else if (n.real)
		err_set(e, ERR_NON_FINITE, "array \"%.100s\", %s: %g is beyond %s", name, at, n.value,
		        array_type_name(f->input->type));
	else
		err_set(e, ERR_CALIBRATION, "array \"%.100s\", %s: %s%llu cannot be held by %s", name, at, n.negative ? "-" : "",
		        (unsigned long long)n.magnitude, array_type_name(f->input->type));
	buf_fini(&place);
	return -1;
}

/* Of n float32: whether none has the exponent of infinity and NaN; without a branch, so that many are looked at together. */
static bool are_finite(const unsigned char *p, size_t n)
{
	const uint32_t exponent = UINT32_C(0xff) << 23;
	uint32_t bad = 0;
	for (size_t k = 0; k < n; k++) {
		uint32_t bits;
		memcpy(&bits, p + k * sizeof bits, sizeof bits);
		bad |= (bits & exponent) == exponent;
	}
	return !bad;
}

/* No conversion: rows go straight to out and are only looked at. */
static int read_same(struct calib *c, const struct feed *f, int64_t first, int64_t rows, unsigned char *out, struct err *e)
{
	enum array_type t = f->array->type;
	size_t size = array_type_size(t), n = (size_t)rows * f->elements;
	if (arrays_read_rows(c->z, f->array, first, rows, out, e) != 0)
		return -1;
	if (!is_float(t) || (t == ARRAY_F32 && are_finite(out, n)))
		return 0;
	for (size_t k = 0; k < n; k++) {
		if (!isfinite(load(t, out + k * size).value))
			return refuse(f, out + k * size, first + (int64_t)(k / f->elements), k % f->elements, e);
	}
	return 0;
}

static int convert(const struct feed *f, int64_t first, int64_t rows, const unsigned char *in, unsigned char *out, struct err *e)
{
	enum array_type from = f->array->type, to = f->input->type;
	size_t in_size = array_type_size(from), out_size = array_type_size(to), n = (size_t)rows * f->elements;
	for (size_t k = 0; k < n; k++) {
		const unsigned char *p = in + k * in_size;
		struct number v = load(from, p);
		if ((v.real && !isfinite(v.value)) || !store(v, to, out + k * out_size))
			return refuse(f, p, first + (int64_t)(k / f->elements), k % f->elements, e);
	}
	return 0;
}

/* ---- rows that are moved or scaled ---- */

/* Where element k of a row of the input lies in the array's row. */
static size_t element_of(const struct feed *f, size_t k)
{
	const struct calib_source *s = f->input->source;
	int64_t index[ARRAY_MAX_RANK] = {0};
	size_t at = 0;
	for (int d = f->array->rank - 1; d > 0; d--) {
		index[s->rank ? s->axes[d] : d] = (int64_t)(k % (size_t)f->shape[d]);
		k /= (size_t)f->shape[d];
	}
	for (int d = 1; d < f->array->rank; d++)
		at = at * (size_t)f->array->shape[d] + (size_t)index[d];
	return at;
}

static struct number scaled(const struct feed *f, size_t k, struct number v)
{
	const struct calib_source *s = f->input->source;
	if (!s->nscale && !s->noffset)
		return v;
	size_t place = f->array->rank > 1 ? k / (f->elements / (size_t)f->shape[1]) : 0;
	double x = v.real ? v.value : v.negative ? -(double)v.magnitude : (double)v.magnitude;
	if (s->nscale)
		x *= s->scale[s->nscale > 1 ? place : 0];
	if (s->noffset)
		x += s->offset[s->noffset > 1 ? place : 0];
	return (struct number){.real = true, .value = x};
}

static int convert_mapped(const struct feed *f, int64_t first, int64_t rows, const unsigned char *in, unsigned char *out,
                          struct err *e)
{
	enum array_type from = f->array->type, to = f->input->type;
	size_t in_size = array_type_size(from), out_size = array_type_size(to);
	for (int64_t r = 0; r < rows; r++)
		for (size_t k = 0; k < f->elements; k++) {
			size_t at = element_of(f, k), row = (size_t)r * f->elements;
			struct number raw = load(from, in + (row + at) * in_size), v = scaled(f, k, raw);
			bool lost = (raw.real && !isfinite(raw.value)) || (v.real && !isfinite(v.value));
			if (lost || !store(v, to, out + (row + k) * out_size))
				return refuse(f, in + (row + at) * in_size, first + r, at, e);
		}
	return 0;
}

static int grow_slice(struct calib *c, size_t size, struct err *e)
{
	if (size <= c->slice_size)
		return 0;
	unsigned char *p = realloc(c->slice, size);
	if (!p)
		return err_nomem(e, "rows of calibration data");
	c->slice = p;
	c->slice_size = size;
	return 0;
}

static int read_converted(struct calib *c, const struct feed *f, int64_t first, int64_t rows, unsigned char *out, struct err *e)
{
	size_t row_in = f->elements * array_type_size(f->array->type), row_out = f->elements * array_type_size(f->input->type);
	int64_t most = row_in < SLICE ? (int64_t)(SLICE / row_in) : 1;
	if (grow_slice(c, (size_t)(most < rows ? most : rows) * row_in, e) != 0)
		return -1;
	for (int64_t r = 0, n; r < rows; r += n) {
		n = rows - r < most ? rows - r : most;
		if (arrays_read_rows(c->z, f->array, first + r, n, c->slice, e) != 0)
			return -1;
		int rc = f->input->source ? convert_mapped(f, first + r, n, c->slice, out + (size_t)r * row_out, e)
		                          : convert(f, first + r, n, c->slice, out + (size_t)r * row_out, e);
		if (rc != 0)
			return -1;
	}
	return 0;
}

int calib_read(struct calib *c, size_t i, int64_t batch, void *out, struct err *e)
{
	assert(i < c->count);
	const struct feed *f = &c->feeds[i];
	int64_t first = batch * c->batch_size, rows = calib_rows(c, batch);
	if (f->array->type == f->input->type && !f->input->source)
		return read_same(c, f, first, rows, out, e);
	return read_converted(c, f, first, rows, out, e);
}
