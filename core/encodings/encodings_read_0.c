/* Version 0.6.1; see encodings_write_0.c. */

#include "core/encodings/encodings_file.h"

#include <stdlib.h>
#include <string.h>

static int read_channel(const struct json *v, bool first, struct quant_mode *mode, struct quant_grid *g, struct err *e)
{
	struct quant_mode own = {0};
	const char *dtype = json_text(json_get(v, "dtype"));
	if (!dtype || strcmp(dtype, "int") != 0)
		return encodings_bad(e, "its dtype is neither int nor float, or not the same for all channels");
	if (encodings_read_bw(json_get(v, "bitwidth"), &own.bw, e) != 0 ||
	    encodings_read_truth(json_get(v, "is_symmetric"), &own.symmetric, e) != 0)
		return -1;
	if (first)
		*mode = own;
	if (own.bw != mode->bw || own.symmetric != mode->symmetric)
		return encodings_bad(e, "its channels differ in bit width or symmetry");
	if (encodings_read_scale(json_get(v, "scale"), &g->delta, e) != 0)
		return -1;
	return encodings_read_offset(json_get(v, "offset"), own.bw, &g->offset, e);
}

static bool is_float(const struct json *list)
{
	const char *dtype = json_text(json_get(json_at(list, 0), "dtype"));
	return json_size(list) == 1 && dtype && strcmp(dtype, "float") == 0;
}

static int read_entry(struct encodings *x, bool activation, const char *name, const struct json *list, struct err *e)
{
	struct encoding entry = {.n = json_size(list), .channel_axis = -1, .block_axis = -1};
	int rc = -1;
	if (!json_is_array(list) || entry.n == 0)
		return encodings_bad(e, "it is not a list of encodings");
	if (is_float(list))
		return encodings_add(x, activation, name, &(struct encoding){.is_float16 = true}, e);
	struct quant_grid *grids = calloc(entry.n, sizeof *grids);
	if (!grids)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < entry.n; i++)
		if (read_channel(json_at(list, i), i == 0, &entry.mode, &grids[i], e) != 0)
			goto out;
	entry.granularity = entry.n == 1 ? QUANT_PER_TENSOR : QUANT_PER_CHANNEL;
	rc = encodings_add_read(x, activation, name, &entry, grids, e);
out:
	free(grids);
	return rc;
}

int encodings_read_0(struct encodings *x, bool activation, const struct json *object, struct err *e)
{
	if (!json_is_object(object))
		return encodings_bad(e, "not an object");
	for (void *it = json_first(object); it; it = json_next(object, it))
		if (read_entry(x, activation, json_key(it), json_value(it), e) != 0)
			return err_wrap(e, "entry \"%.200s\"", json_key(it));
	return 0;
}
