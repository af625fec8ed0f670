/* Version 0.6.1: an object of tensor names, sorted, each with a list of one object per grid. Blocks stand in the order of the tensor. */

#include "core/encodings/encodings_file.h"

#include <stdlib.h>
#include <string.h>

static void write_grid(struct json_out *w, struct quant_mode mode, struct quant_grid g)
{
	json_out_object(w, NULL);
	json_out_integer(w, "bitwidth", mode.bw);
	json_out_string(w, "dtype", "int");
	json_out_string(w, "is_symmetric", mode.symmetric ? "True" : "False");
	json_out_real(w, "max", (g.offset + encodings_steps(mode)) * g.delta);
	json_out_real(w, "min", g.offset * g.delta);
	json_out_real(w, "offset", g.offset);
	json_out_real(w, "scale", g.delta);
	json_out_end_object(w);
}

static void write_float16(struct json_out *w)
{
	json_out_object(w, NULL);
	json_out_integer(w, "bitwidth", 16);
	json_out_string(w, "dtype", "float");
	json_out_end_object(w);
}

static int write_entry(struct json_out *w, const struct encoding *x, struct err *e)
{
	if (x->granularity == QUANT_LPBQ && !x->is_float16)
		return err_set(e, ERR_BAD_PARAM, "version 0.6.1 cannot say LPBQ, which %.200s has", x->name);
	json_out_array(w, x->name);
	bool by_blocks = x->granularity == QUANT_PER_BLOCK && x->rank && x->channel_axis > x->block_axis;
	size_t blocks = by_blocks ? x->n / x->channels : 1;
	if (x->is_float16)
		write_float16(w);
	else if (by_blocks)
		for (size_t i = 0; i < x->n; i++)
			write_grid(w, x->mode, x->grids[i % x->channels * blocks + i / x->channels]);
	else
		for (size_t i = 0; i < x->n; i++)
			write_grid(w, x->mode, x->grids[i]);
	json_out_end_array(w);
	return 0;
}

/* UTF-8 sorts by bytes as it does by code points, which is how Python sorts. */
static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct encoding *const *)a)->name, (*(const struct encoding *const *)b)->name);
}

/* The list's entries in the order of their names; free it. NULL is for no memory. */
static const struct encoding **sorted(const struct encoding *list, size_t n)
{
	const struct encoding **order = calloc(n + 1, sizeof(const struct encoding *));
	if (!order)
		return NULL;
	for (size_t i = 0; i < n; i++)
		order[i] = &list[i];
	qsort(order, n, sizeof *order, by_name);
	return order;
}

int encodings_write_0(struct json_out *w, const char *key, const struct encoding *list, size_t n, struct err *e)
{
	const struct encoding **order = sorted(list, n);
	int rc = 0;
	if (!order)
		return err_nomem(e, "encodings");
	json_out_object(w, key);
	for (size_t i = 0; i < n && rc == 0; i++)
		if (!order[i]->derived)
			rc = write_entry(w, order[i], e);
	json_out_end_object(w);
	free(order);
	return rc;
}
