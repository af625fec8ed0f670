/* Versions 2.0.0 and 2.1.0: one list, in the terms of ONNX's QuantizeLinear: types, scales, zero points and axes; the scales of blocks are nested lists of the
 * tensor's rank. 2.1.0 differs in how it says LPBQ, and leaves out the tensors whose numbers are only moved: the reference, which reads 2.1.0 but does not
 * write it, takes no entry there that none of its quantizers has. Of LPBQ it has the 2.1.0 form for its own use, but does not read it from a file. */

#include "core/encodings/encodings_file.h"

#include <stdio.h>
#include <stdlib.h>

/* Activations are unsigned, whatever their symmetry, for the runtimes of the field want that; parameters are what their symmetry says. */
struct type {
	bool is_signed, shifted; /* shifted: symmetric but said in unsigned numbers, with a zero point even if that is 0 */
};

static struct type type_of(const struct encoding *x)
{
	return (struct type){x->mode.symmetric && x->is_param, x->mode.symmetric && !x->is_param};
}

static int64_t zero_point(const struct encoding *x, size_t i)
{
	return (int64_t)-x->grids[i].offset - (type_of(x).is_signed ? INT64_C(1) << (x->mode.bw - 1) : 0);
}

/* Writes number i of the grids under key; the context is the writer's. */
typedef void number_fn(struct json_out *w, const char *key, const void *ctx, size_t i);

static void write_scale(struct json_out *w, const char *key, const void *ctx, size_t i)
{
	const struct encoding *x = ctx;
	json_out_real(w, key, x->grids[i].delta);
}

static void write_zero_point(struct json_out *w, const char *key, const void *ctx, size_t i)
{
	const struct encoding *x = ctx;
	json_out_integer(w, key, zero_point(x, i));
}

static void write_real(struct json_out *w, const char *key, const void *ctx, size_t i)
{
	const double *x = ctx;
	json_out_real(w, key, x[i]);
}

static void write_integer(struct json_out *w, const char *key, const void *ctx, size_t i)
{
	const int *x = ctx;
	json_out_integer(w, key, x[i]);
}

static void write_flat(struct json_out *w, const char *key, size_t n, number_fn *number, const void *ctx)
{
	json_out_array(w, key);
	for (size_t i = 0; i < n; i++)
		number(w, NULL, ctx, i);
	json_out_end_array(w);
}

/* As many lists within each other as the tensor has axes, of length 1 but for the axes of the channels and the blocks (0: no blocks). The numbers
 * are [channels][blocks]; at is the first one's index. */
static void write_nested(struct json_out *w, const char *key, const struct encoding *x, size_t blocks, int axis, size_t at,
                         number_fn *number, const void *ctx)
{
	if (axis == x->rank) {
		number(w, key, ctx, at);
		return;
	}
	size_t n = axis == x->channel_axis ? x->channels : axis == x->block_axis && blocks ? blocks : 1;
	size_t step = axis == x->channel_axis ? (blocks ? blocks : 1) : 1;
	json_out_array(w, key);
	for (size_t i = 0; i < n; i++)
		write_nested(w, NULL, x, blocks, axis + 1, at + i * step, number, ctx);
	json_out_end_array(w);
}

static void write_numbers(struct json_out *w, const char *key, const struct encoding *x, number_fn *number)
{
	if (x->granularity == QUANT_PER_TENSOR)
		number(w, key, x, 0);
	else if (x->granularity == QUANT_PER_CHANNEL)
		write_flat(w, key, x->n, number, x);
	else
		write_nested(w, key, x, x->n / x->channels, 0, 0, number, x);
}

static void write_start(struct json_out *w, const struct encoding *x, struct type t)
{
	char dtype[32];
	(void)snprintf(dtype, sizeof dtype, "%s%d", t.is_signed ? "int" : "uint", x->mode.bw);
	if (x->granularity != QUANT_PER_TENSOR)
		json_out_integer(w, "axis", x->granularity == QUANT_PER_CHANNEL ? x->channel_axis : x->block_axis);
	if (x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ)
		json_out_integer(w, "block_size", x->block_size);
	json_out_string(w, "name", x->name);
	json_out_string(w, "output_dtype", dtype);
}

static void write_affine(struct json_out *w, const struct encoding *x)
{
	struct type t = type_of(x);
	bool any = t.shifted;
	for (size_t i = 0; i < x->n && !any; i++)
		any = zero_point(x, i) != 0;
	write_start(w, x, t);
	write_numbers(w, "y_scale", x, write_scale);
	if (any)
		write_numbers(w, "y_zero_point", x, write_zero_point);
}

static void write_lpbq_numbers(struct json_out *w, const struct encoding *x, enum encodings_version v, const double *channel_scale,
                               const int *factor)
{
	size_t blocks = x->n / x->channels;
	write_start(w, x, (struct type){.is_signed = true});
	if (v == ENCODINGS_2_0_0) {
		write_nested(w, "per_block_int_scale", x, blocks, 0, 0, write_integer, factor);
		write_nested(w, "per_channel_float_scale", x, 0, 0, 0, write_real, channel_scale);
		return;
	}
	json_out_object(w, "y_scale");
	json_out_integer(w, "axis", x->channel_axis);
	write_nested(w, "x", x, blocks, 0, 0, write_integer, factor);
	write_flat(w, "x_scale", x->channels, write_real, channel_scale);
	json_out_end_object(w);
}

static int write_lpbq(struct json_out *w, const struct encoding *x, enum encodings_version v, struct err *e)
{
	double *channel_scale;
	int *factor, rc = encodings_compress(x, &channel_scale, &factor, e);
	if (rc == 0)
		write_lpbq_numbers(w, x, v, channel_scale, factor);
	free(channel_scale);
	free(factor);
	return rc;
}

/* Versions 2 say more than the others; what was read from an older file may lack it. */
static int check(const struct encoding *x, struct err *e)
{
	bool has_blocks = x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ;
	if ((x->granularity != QUANT_PER_TENSOR && x->channel_axis < 0) ||
	    (has_blocks && (!x->rank || x->block_axis < 0 || !x->channels)))
		return err_set(e, ERR_BAD_PARAM, "versions 2 name the axes of channels and blocks; those of %.200s are not known",
		               x->name);
	if (x->granularity == QUANT_LPBQ && x->lpbq_bits && x->lpbq_bits != x->mode.bw)
		return err_set(e, ERR_BAD_PARAM, "versions 2 have no LPBQ of %d bits with factors of %d, as %.200s has", x->mode.bw,
		               x->lpbq_bits, x->name);
	return 0;
}

static int write_entry(struct json_out *w, const struct encoding *x, enum encodings_version v, struct err *e)
{
	bool is_moved = x->derived && x->mode.bw <= QUANT_MAX_BW;
	if (x->is_float16 || (is_moved && v == ENCODINGS_2_1_0))
		return 0;
	int rc = check(x, e);
	if (rc)
		return rc;
	json_out_object(w, NULL);
	if (x->granularity == QUANT_LPBQ)
		rc = write_lpbq(w, x, v, e);
	else
		write_affine(w, x);
	json_out_end_object(w);
	return rc;
}

int encodings_write_2(struct json_out *w, const struct encodings *x, enum encodings_version v, struct err *e)
{
	int rc = 0;
	json_out_array(w, "encodings");
	for (size_t i = 0; i < x->nparams && rc == 0; i++)
		rc = write_entry(w, &x->params[i], v, e);
	for (size_t i = 0; i < x->nactivations && rc == 0; i++)
		rc = write_entry(w, &x->activations[i], v, e);
	json_out_end_array(w);
	return rc;
}
