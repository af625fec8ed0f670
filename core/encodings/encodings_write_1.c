/* Version 1.0.0: a list of objects, each with flat lists of its scales and offsets. */

#include "core/encodings/encodings_file.h"

#include <stdlib.h>

static const char *const type_names[] = {[QUANT_PER_TENSOR] = "PER_TENSOR",
                                         [QUANT_PER_CHANNEL] = "PER_CHANNEL",
                                         [QUANT_PER_BLOCK] = "PER_BLOCK",
                                         [QUANT_LPBQ] = "LPBQ"};

/* The index, among the grids, of the i-th number of a list: matrices stand as [channels][blocks], whichever way they lie, everything else
 * in the order of the tensor. */
static size_t place(const struct encoding *x, size_t i)
{
	bool has_blocks = x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ;
	if (!has_blocks || !x->channels || x->rank <= 2 || x->channel_axis < x->block_axis)
		return i;
	return i % x->channels * (x->n / x->channels) + i / x->channels;
}

static void write_affine(struct json_out *w, const struct encoding *x)
{
	if (x->granularity == QUANT_PER_BLOCK)
		json_out_integer(w, "block_size", x->block_size);
	json_out_integer(w, "bw", x->mode.bw);
	json_out_string(w, "dtype", "INT");
	json_out_string(w, "enc_type", type_names[x->granularity]);
	json_out_bool(w, "is_sym", x->mode.symmetric);
	json_out_string(w, "name", x->name);
	json_out_array(w, "offset");
	for (size_t i = 0; i < x->n; i++)
		json_out_real(w, NULL, x->grids[place(x, i)].offset);
	json_out_end_array(w);
	json_out_array(w, "scale");
	for (size_t i = 0; i < x->n; i++)
		json_out_real(w, NULL, x->grids[place(x, i)].delta);
	json_out_end_array(w);
}

static void write_lpbq_numbers(struct json_out *w, const struct encoding *x, int bw, const double *channel_scale, const int *factor)
{
	json_out_integer(w, "block_size", x->block_size);
	json_out_integer(w, "bw", bw);
	json_out_integer(w, "compressed_bw", x->mode.bw);
	json_out_string(w, "dtype", "INT");
	json_out_string(w, "enc_type", type_names[QUANT_LPBQ]);
	json_out_bool(w, "is_sym", true);
	json_out_string(w, "name", x->name);
	json_out_array(w, "offset");
	for (size_t c = 0; c < x->channels; c++)
		json_out_integer(w, NULL, -(INT64_C(1) << (bw - 1)));
	json_out_end_array(w);
	json_out_array(w, "per_block_int_scale");
	for (size_t i = 0; i < x->n; i++)
		json_out_integer(w, NULL, factor[place(x, i)]);
	json_out_end_array(w);
	json_out_array(w, "scale");
	for (size_t c = 0; c < x->channels; c++)
		json_out_real(w, NULL, channel_scale[c]);
	json_out_end_array(w);
}

static int write_lpbq(struct json_out *w, const struct encoding *x, struct err *e)
{
	double *channel_scale;
	int *factor, bits = x->lpbq_bits ? x->lpbq_bits : x->mode.bw, rc = encodings_compress(x, &channel_scale, &factor, e);
	if (rc == 0)
		write_lpbq_numbers(w, x, x->mode.bw + bits, channel_scale, factor);
	free(channel_scale);
	free(factor);
	return rc;
}

static void write_float16(struct json_out *w, const struct encoding *x)
{
	json_out_integer(w, "bw", 16);
	json_out_string(w, "dtype", "FLOAT");
	json_out_string(w, "enc_type", type_names[QUANT_PER_TENSOR]);
	json_out_string(w, "name", x->name);
}

int encodings_write_1(struct json_out *w, const char *key, const struct encoding *list, size_t n, struct err *e)
{
	int rc = 0;
	json_out_array(w, key);
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (list[i].derived)
			continue;
		json_out_object(w, NULL);
		if (list[i].is_float16)
			write_float16(w, &list[i]);
		else if (list[i].granularity == QUANT_LPBQ)
			rc = write_lpbq(w, &list[i], e);
		else
			write_affine(w, &list[i]);
		json_out_end_object(w);
	}
	json_out_end_array(w);
	return rc;
}
