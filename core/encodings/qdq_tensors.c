#include "core/encodings/qdq_tensors.h"

#include "core/base/half.h"
#include "core/encodings/encodings_file.h"
#include "core/grid/lpbq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
	FLOAT = 1,
	UINT8 = 2,
	INT8 = 3,
	UINT16 = 4,
	INT16 = 5,
	INT32 = 6,
	FLOAT16 = 10,
	BFLOAT16 = 16,
	UINT4 = 21,
	INT4 = 22
}; /* ONNX's */

static bool has_blocks(const struct encoding *x)
{
	return x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ;
}

static int check_shape(const struct qdq_tensor *t, struct err *e)
{
	const struct encoding *x = t->x;
	if (x->granularity == QUANT_PER_TENSOR)
		return 0;
	if (x->channel_axis < 0 || x->channel_axis >= t->rank)
		return err_set(e, ERR_BAD_PARAM, "the axis of the channels of %.200s is not known", x->name);
	size_t channels = has_blocks(x) ? x->channels : x->n;
	if (t->shape[x->channel_axis] != (int64_t)channels)
		return err_set(e, ERR_BAD_PARAM, "%.200s has %lld channels, its encoding %zu", x->name,
		               (long long)t->shape[x->channel_axis], channels);
	if (!has_blocks(x))
		return 0;
	if (x->block_axis < 0 || x->block_axis >= t->rank || x->block_axis == x->channel_axis ||
	    t->shape[x->block_axis] != x->block_size * (int64_t)(x->n / x->channels))
		return err_set(e, ERR_BAD_PARAM, "the blocks of %.200s are not those of its encoding", x->name);
	return 0;
}

int qdq_tensor_init(struct qdq_tensor *t, const struct encoding *x, const struct quant_grid *grids, int float_type, int rank,
                    const int64_t *shape, struct err *e)
{
	static const int types[][2] = {{UINT4, INT4}, {UINT8, INT8}, {UINT16, INT16}};
	int wide = x->mode.bw <= 4 ? 0 : x->mode.bw <= 8 ? 1 : 2;
	*t = (struct qdq_tensor){.x = x, .grids = grids, .float_type = float_type, .rank = rank < 0 ? 0 : rank};
	t->is_signed = x->mode.symmetric && x->is_param;
	t->bits = x->mode.bw > 16 ? 32 : 4 << wide;
	t->int_type = x->mode.bw > 16 ? INT32 : types[wide][t->is_signed];
	if (rank > 0)
		memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
	return check_shape(t, e);
}

bool qdq_tensor_is_wider(const struct qdq_tensor *t)
{
	return encodings_steps(t->x->mode) != ldexp(1, t->bits) - 1;
}

/* ---- which grid ---- */

/* The index of the grid at element i of a tensor of t's rank and this shape, each of whose places along the block axis stands for `run`. */
static size_t grid_at(const struct qdq_tensor *t, const int64_t *shape, int64_t run, size_t i)
{
	const struct encoding *x = t->x;
	size_t channel = 0, block = 0;
	if (x->granularity == QUANT_PER_TENSOR)
		return 0;
	for (int axis = t->rank; axis-- > 0;) {
		size_t at = i % (size_t)shape[axis];
		i /= (size_t)shape[axis];
		if (axis == x->channel_axis)
			channel = at;
		if (has_blocks(x) && axis == x->block_axis)
			block = at * (size_t)run / (size_t)x->block_size;
	}
	return has_blocks(x) ? channel * (x->n / x->channels) + block : channel;
}

/* The shape of scales and zero points: none, the channels, or the tensor's with blocks in place of their numbers. Returns the rank. */
static int scale_shape(const struct qdq_tensor *t, int64_t *shape, size_t *count)
{
	const struct encoding *x = t->x;
	*count = 1;
	if (x->granularity == QUANT_PER_TENSOR)
		return 0;
	if (!has_blocks(x)) {
		shape[0] = (int64_t)x->n;
		*count = x->n;
		return 1;
	}
	for (int i = 0; i < t->rank; i++) {
		shape[i] = i == x->block_axis ? (int64_t)(x->n / x->channels) : t->shape[i];
		*count *= (size_t)shape[i];
	}
	return t->rank;
}

static size_t scale_grid(const struct qdq_tensor *t, const int64_t *shape, size_t i)
{
	return has_blocks(t->x) ? grid_at(t, shape, t->x->block_size, i) : i;
}

/* ---- tensors ---- */

static int nomem(struct err *e)
{
	return err_nomem(e, "a QDQ model");
}

/* Adds floats, in the tensor's type. */
static int add_floats(struct onnx_insert *in, int type, const char *name, int rank, const int64_t *shape, const float *v, size_t n,
                      struct err *e)
{
	if (type == FLOAT)
		return onnx_insert_tensor(in, name, type, rank, shape, v, n * sizeof *v, e);
	uint16_t *half = calloc(n + 1, sizeof *half);
	if (!half)
		return nomem(e);
	for (size_t i = 0; i < n; i++)
		half[i] = type == FLOAT16 ? half_from_float(v[i]) : bfloat_from_float(v[i]);
	int rc = onnx_insert_tensor(in, name, type, rank, shape, half, n * sizeof *half, e);
	free(half);
	return rc;
}

/* Adds integers of the given width; those of 4 bits two to a byte, the low half first. */
static int add_integers(struct onnx_insert *in, int type, int bits, const char *name, int rank, const int64_t *shape,
                        const int64_t *v, size_t n, struct err *e)
{
	size_t bytes = (n * (size_t)bits + 7) / 8;
	uint8_t *p = calloc(bytes + 1, 1);
	if (!p)
		return nomem(e);
	for (size_t i = 0; i < n; i++) {
		if (bits == 4)
			p[i / 2] = (uint8_t)(p[i / 2] | ((unsigned)v[i] & 15u) << (i % 2 * 4));
		else
			for (size_t k = 0; k < (size_t)bits / 8; k++)
				p[i * (size_t)bits / 8 + k] = (uint8_t)((uint64_t)v[i] >> (8 * k));
	}
	int rc = onnx_insert_tensor(in, name, type, rank, shape, p, bytes, e);
	free(p);
	return rc;
}

int qdq_add_scales(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, struct err *e)
{
	int64_t shape[ARRAY_MAX_RANK];
	size_t n;
	int rank = scale_shape(t, shape, &n);
	float *v = calloc(n + 1, sizeof *v);
	if (!v)
		return nomem(e);
	for (size_t i = 0; i < n; i++)
		v[i] = (float)t->grids[scale_grid(t, shape, i)].delta;
	int rc = add_floats(in, t->float_type, name, rank, shape, v, n, e);
	free(v);
	return rc;
}

/* What the grid's first integer is as a number of the stored type. */
static int64_t first_integer(const struct qdq_tensor *t)
{
	return t->is_signed ? -(INT64_C(1) << (t->x->mode.bw - 1)) : 0;
}

int qdq_add_zero_points(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, struct err *e)
{
	int64_t shape[ARRAY_MAX_RANK], *v;
	size_t n;
	int rank = scale_shape(t, shape, &n);
	v = calloc(n + 1, sizeof *v);
	if (!v)
		return nomem(e);
	for (size_t i = 0; i < n; i++)
		v[i] = first_integer(t) - (int64_t)t->grids[scale_grid(t, shape, i)].offset;
	int rc = add_integers(in, t->int_type, t->bits, name, rank, shape, v, n, e);
	free(v);
	return rc;
}

int qdq_add_scalar(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, double v, struct err *e)
{
	float f = (float)v;
	return add_floats(in, t->float_type, name, 0, NULL, &f, 1, e);
}

int qdq_add_factors(struct onnx_insert *in, const struct qdq_tensor *t, const char *factors, const char *scales, struct err *e)
{
	const struct encoding *x = t->x;
	int64_t shape[ARRAY_MAX_RANK], channels = (int64_t)x->channels;
	size_t n;
	double *channel = NULL;
	int rank = scale_shape(t, shape, &n), *factor = NULL, rc = -1;
	int64_t *v = calloc(n + 1, sizeof *v);
	float *s = calloc(x->channels + 1, sizeof *s);
	bool wide = (x->lpbq_bits ? x->lpbq_bits : x->mode.bw) >= 8; /* 2^bits is a factor, too */
	if (!v || !s) {
		(void)nomem(e);
		goto out;
	}
	if (encodings_compress(x, &channel, &factor, e) != 0)
		goto out;
	for (size_t i = 0; i < n; i++)
		v[i] = factor[scale_grid(t, shape, i)];
	for (size_t c = 0; c < x->channels; c++)
		s[c] = (float)channel[c];
	rc = add_integers(in, wide ? UINT16 : UINT8, wide ? 16 : 8, factors, rank, shape, v, n, e);
	if (rc == 0)
		rc = add_floats(in, t->float_type, scales, 1, &channels, s, x->channels, e);
out:
	free(v);
	free(s);
	free(channel);
	free(factor);
	return rc;
}

/* ---- numbers on their grids ---- */

/* As quant_fake() rounds. */
static int64_t integer_of(struct quant_grid g, float x)
{
	float v = x >= (float)g.min ? x : (float)g.min;
	v = v <= (float)g.max ? v : (float)g.max;
	return (int64_t)roundf(v / (float)g.delta - (float)g.offset);
}

/* A bias; its scale is a float in the model. */
static int64_t wide_integer_of(struct quant_grid g, float x)
{
	return (int64_t)fmin(fmax(rint((double)x / (double)(float)g.delta), -0x1p31), 0x1p31 - 1);
}

int qdq_add_integers(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, const float *numbers, size_t count,
                     struct err *e)
{
	int64_t *v = calloc(count + 1, sizeof *v);
	if (!v)
		return nomem(e);
	for (size_t i = 0; i < count; i++) {
		struct quant_grid g = t->grids[grid_at(t, t->shape, 1, i)];
		v[i] = t->bits == 32 ? wide_integer_of(g, numbers[i]) : integer_of(g, numbers[i]) + first_integer(t);
	}
	int rc = add_integers(in, t->int_type, t->bits, name, t->rank, t->shape, v, count, e);
	free(v);
	return rc;
}

void qdq_put_on_grid(const struct qdq_tensor *t, float *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct quant_grid g = t->grids[grid_at(t, t->shape, 1, i)];
		numbers[i] = (float)g.delta * ((float)integer_of(g, numbers[i]) + (float)g.offset);
	}
}
