/* Version 1.0.0; see encodings_write_1.c. */

#include "core/encodings/encodings_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int read_type(const struct json *v, enum quant_granularity *out, struct err *e)
{
	static const char *const names[] = {[QUANT_PER_TENSOR] = "PER_TENSOR",
	                                    [QUANT_PER_CHANNEL] = "PER_CHANNEL",
	                                    [QUANT_PER_BLOCK] = "PER_BLOCK",
	                                    [QUANT_LPBQ] = "LPBQ"};
	const char *text = json_text(v);
	if (!text)
		return encodings_bad(e, "its enc_type is missing");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = (enum quant_granularity)i;
			return 0;
		}
	}
	return err_set(e, ERR_BAD_PARAM, "its enc_type is %.20s, which is none of PER_TENSOR, PER_CHANNEL, PER_BLOCK and LPBQ",
	               text);
}

static int read_affine(struct encodings *x, bool activation, const char *name, const struct json *v, struct encoding *entry,
                       struct err *e)
{
	const struct json *scale = json_get(v, "scale"), *offset = json_get(v, "offset");
	int rc = -1;
	entry->n = json_size(scale);
	if (!json_is_array(scale) || !json_is_array(offset) || json_size(offset) != entry->n)
		return encodings_bad(e, "its scale and offset are not lists of equal length");
	if (entry->n < 1 || (entry->granularity == QUANT_PER_TENSOR && entry->n != 1))
		return encodings_bad(e, "it has a wrong number of scales");
	if (encodings_read_bw(json_get(v, "bw"), &entry->mode.bw, e) != 0 ||
	    encodings_read_truth(json_get(v, "is_sym"), &entry->mode.symmetric, e) != 0)
		return -1;
	struct quant_grid *grids = calloc(entry->n, sizeof *grids);
	if (!grids)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < entry->n; i++)
		if (encodings_read_scale(json_at(scale, i), &grids[i].delta, e) != 0 ||
		    encodings_read_offset(json_at(offset, i), entry->mode.bw, &grids[i].offset, e) != 0)
			goto out;
	rc = encodings_add_read(x, activation, name, entry, grids, e);
out:
	free(grids);
	return rc;
}

static int read_widths(const struct json *v, struct encoding *entry, struct err *e)
{
	int whole;
	if (encodings_read_bw(json_get(v, "bw"), &whole, e) != 0 ||
	    encodings_read_bw(json_get(v, "compressed_bw"), &entry->mode.bw, e) != 0)
		return -1;
	entry->lpbq_bits = whole - entry->mode.bw;
	if (entry->lpbq_bits < 1 || entry->lpbq_bits > ENCODINGS_MAX_LPBQ_BITS)
		return err_set(e, ERR_BAD_PARAM, "its bw is not compressed_bw and 1 to %d more", ENCODINGS_MAX_LPBQ_BITS);
	entry->mode.symmetric = true;
	return 0;
}

static int read_lpbq(struct encodings *x, bool activation, const char *name, const struct json *v, struct encoding *entry,
                     struct err *e)
{
	const struct json *scale = json_get(v, "scale"), *factor = json_get(v, "per_block_int_scale");
	int rc = -1;
	entry->n = json_size(factor);
	entry->channels = json_size(scale);
	if (!json_is_array(scale) || !json_is_array(factor) || entry->n < 1 || entry->channels < 1 ||
	    entry->n % entry->channels != 0)
		return encodings_bad(e, "its scale and per_block_int_scale are not lists that fit each other");
	if (read_widths(v, entry, e) != 0)
		return -1;
	struct quant_grid *grids = calloc(entry->n, sizeof *grids);
	if (!grids)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < entry->n; i++)
		if (encodings_read_factor(json_at(scale, i / (entry->n / entry->channels)), json_at(factor, i), entry, &grids[i],
		                          e) != 0)
			goto out;
	rc = encodings_add_read(x, activation, name, entry, grids, e);
out:
	free(grids);
	return rc;
}

static int read_integer(struct encodings *x, bool activation, const char *name, const struct json *v, struct err *e)
{
	struct encoding entry = {.channel_axis = -1, .block_axis = -1};
	if (json_get(v, "zero_point_shift"))
		return encodings_bad(e, "it has a zero_point_shift, which is not understood");
	if (read_type(json_get(v, "enc_type"), &entry.granularity, e) != 0)
		return -1;
	if ((entry.granularity == QUANT_PER_BLOCK || entry.granularity == QUANT_LPBQ) &&
	    encodings_read_block_size(json_get(v, "block_size"), &entry.block_size, e) != 0)
		return -1;
	return entry.granularity == QUANT_LPBQ ? read_lpbq(x, activation, name, v, &entry, e)
	                                       : read_affine(x, activation, name, v, &entry, e);
}

static int read_float(struct encodings *x, bool activation, const char *name, const struct json *v, struct err *e)
{
	const struct json *bw = json_get(v, "bw");
	if (bw && json_int(bw) != 16)
		return encodings_bad(e, "it is a float of another width than 16");
	return encodings_add(x, activation, name, &(struct encoding){.is_float16 = true}, e);
}

int encodings_read_1(struct encodings *x, bool activation, const struct json *list, struct err *e)
{
	if (!json_is_array(list))
		return encodings_bad(e, "not a list");
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *v = json_at(list, i);
		const char *name = json_text(json_get(v, "name")), *dtype = json_text(json_get(v, "dtype"));
		int rc = 0;
		if (!name)
			return err_set(e, ERR_BAD_PARAM, "entry %zu has no name", i);
		if (dtype && strcmp(dtype, "INT") == 0)
			rc = read_integer(x, activation, name, v, e);
		else if (dtype && strcmp(dtype, "FLOAT") == 0)
			rc = read_float(x, activation, name, v, e);
		else
			rc = encodings_bad(e, "its dtype is neither INT nor FLOAT");
		if (rc != 0)
			return err_wrap(e, "entry \"%.200s\"", name);
	}
	return 0;
}
