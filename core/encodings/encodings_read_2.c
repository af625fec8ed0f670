/* Versions 2.0.0 and 2.1.0; see encodings_write_2.c. */

#include "core/encodings/encodings_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "int4", "uint8", … */
static int read_dtype(const struct json *v, struct quant_mode *mode, struct err *e)
{
	const char *text = json_text(v), *digits = text;
	if (!text)
		return encodings_bad(e, "its output_dtype is missing");
	mode->symmetric = strncmp(text, "int", 3) == 0;
	digits += mode->symmetric ? 3 : strncmp(text, "uint", 4) == 0 ? 4 : strlen(text);
	size_t n = strspn(digits, "0123456789");
	mode->bw = n == 0 || n > 2 || digits[n] ? 0 : atoi(digits);
	if (mode->bw < QUANT_MIN_BW || mode->bw > ENCODINGS_MAX_BW)
		return err_set(e, ERR_BAD_PARAM, "its output_dtype is %.20s, which is no integer type of %d to %d bits", text,
		               QUANT_MIN_BW, ENCODINGS_MAX_BW);
	return 0;
}

static int read_zero_point(const struct json *v, struct quant_mode mode, double *offset, struct err *e)
{
	double zero = v ? json_number(v) : 0;
	*offset = 0 - (zero + (mode.symmetric ? ldexp(1, mode.bw - 1) : 0));
	if ((v && !json_is_number(v)) || !(*offset <= 0) || *offset < 1 - ldexp(1, mode.bw) || *offset != floor(*offset))
		return encodings_bad(e, "a y_zero_point is not an integer of its output_dtype");
	return 0;
}

/* ---- nested lists ---- */

struct shape {
	int rank;
	size_t dim[ENCODINGS_MAX_RANK];
};

static int find_shape(const struct json *v, struct shape *s, struct err *e)
{
	*s = (struct shape){0};
	for (; json_is_array(v); v = json_at(v, 0)) {
		if (s->rank == ENCODINGS_MAX_RANK || json_size(v) == 0)
			return encodings_bad(e, "its scales are lists too deep, or empty");
		s->dim[s->rank++] = json_size(v);
	}
	return 0;
}

static bool has_shape(const struct json *v, const struct shape *s, int axis)
{
	if (axis == s->rank)
		return !json_is_array(v);
	if (!json_is_array(v) || json_size(v) != s->dim[axis])
		return false;
	for (size_t i = 0; i < s->dim[axis]; i++)
		if (!has_shape(json_at(v, i), s, axis + 1))
			return false;
	return true;
}

/* The number of a block in lists of the tensor's rank; NULL for NULL. */
static const struct json *nested(const struct json *v, const struct encoding *x, size_t channel, size_t block)
{
	for (int axis = 0; axis < x->rank; axis++)
		v = json_at(v, axis == x->channel_axis ? channel : axis == x->block_axis ? block : 0);
	return v;
}

/* The channels' axis is the other one that is longer than 1; of several that could be it, the first. */
static int find_axes(const struct json *numbers, const struct json *axis, struct encoding *x, struct err *e)
{
	struct shape s;
	size_t others = 0;
	if (find_shape(numbers, &s, e) != 0)
		return -1;
	x->rank = s.rank;
	x->block_axis = (int)json_int(axis) + (json_int(axis) < 0 ? s.rank : 0);
	if (!json_is_integer(axis) || json_int(axis) < -s.rank || json_int(axis) >= s.rank || s.rank < 2 ||
	    !has_shape(numbers, &s, 0))
		return encodings_bad(e, "its scales are not regular lists, one of whose axes is its axis");
	x->channel_axis = x->block_axis == 0;
	for (int i = 0; i < s.rank; i++) {
		if (i == x->block_axis || s.dim[i] == 1)
			continue;
		x->channel_axis = i;
		others++;
	}
	if (others > 1)
		return encodings_bad(e, "its scales differ along more than two axes");
	x->channels = s.dim[x->channel_axis];
	x->n = x->channels * s.dim[x->block_axis];
	return 0;
}

/* ---- entries ---- */

typedef int grid_fn(const struct json *v, const struct encoding *x, size_t i, struct quant_grid *g, struct err *e);

static int tensor_grid(const struct json *v, const struct encoding *x, size_t i, struct quant_grid *g, struct err *e)
{
	(void)i;
	int rc = encodings_read_scale(json_get(v, "y_scale"), &g->delta, e);
	return rc ? rc : read_zero_point(json_get(v, "y_zero_point"), x->mode, &g->offset, e);
}

static int channel_grid(const struct json *v, const struct encoding *x, size_t i, struct quant_grid *g, struct err *e)
{
	const struct json *zeros = json_get(v, "y_zero_point");
	if (zeros && json_size(zeros) != x->n)
		return encodings_bad(e, "its y_zero_point is not a list like y_scale");
	int rc = encodings_read_scale(json_at(json_get(v, "y_scale"), i), &g->delta, e);
	return rc ? rc : read_zero_point(json_at(zeros, i), x->mode, &g->offset, e);
}

static int block_grid(const struct json *v, const struct encoding *x, size_t i, struct quant_grid *g, struct err *e)
{
	size_t blocks = x->n / x->channels;
	const struct json *zeros = json_get(v, "y_zero_point"), *zero = nested(zeros, x, i / blocks, i % blocks);
	if (zeros && !zero)
		return encodings_bad(e, "its y_zero_point is not a list like y_scale");
	int rc = encodings_read_scale(nested(json_get(v, "y_scale"), x, i / blocks, i % blocks), &g->delta, e);
	return rc ? rc : read_zero_point(zero, x->mode, &g->offset, e);
}

static int lpbq_grid(const struct json *v, const struct encoding *x, size_t i, struct quant_grid *g, struct err *e)
{
	size_t blocks = x->n / x->channels;
	const struct json *both = json_get(v, "y_scale"); /* 2.1.0 */
	const struct json *scale = both ? json_at(json_get(both, "x_scale"), i / blocks)
	                                : nested(json_get(v, "per_channel_float_scale"), x, i / blocks, 0);
	const struct json *factor = both ? json_get(both, "x") : json_get(v, "per_block_int_scale");
	return encodings_read_factor(scale, nested(factor, x, i / blocks, i % blocks), x, g, e);
}

static int read_channel_form(const struct json *v, struct encoding *x, struct err *e)
{
	const struct json *axis = json_get(v, "axis");
	x->n = json_size(json_get(v, "y_scale"));
	x->channel_axis = (int)json_int(axis);
	if (!json_is_integer(axis) || json_int(axis) < 0 || json_int(axis) >= ENCODINGS_MAX_RANK || x->n == 0)
		return encodings_bad(e, "its axis is not an axis, or its y_scale is empty");
	return 0;
}

/* Fills what an entry has beside its numbers, and says how these are read. */
static int read_form(const struct json *v, struct encoding *x, grid_fn **grid, struct err *e)
{
	const struct json *scale = json_get(v, "y_scale"), *factor = json_get(json_is_object(scale) ? scale : v,
	                                                                      json_is_object(scale) ? "x" : "per_block_int_scale");
	if (factor) {
		x->granularity = QUANT_LPBQ;
		x->lpbq_bits = x->mode.bw;
		*grid = lpbq_grid;
		if (!x->mode.symmetric || x->mode.bw > ENCODINGS_MAX_LPBQ_BITS)
			return encodings_bad(e, "LPBQ is for signed integers of at most 16 bits");
	} else if (json_get(v, "block_size")) {
		x->granularity = QUANT_PER_BLOCK;
		*grid = block_grid;
	} else if (json_is_array(scale)) {
		x->granularity = QUANT_PER_CHANNEL;
		*grid = channel_grid;
		return read_channel_form(v, x, e);
	} else {
		x->granularity = QUANT_PER_TENSOR;
		x->n = 1;
		*grid = tensor_grid;
		return 0;
	}
	int rc = encodings_read_block_size(json_get(v, "block_size"), &x->block_size, e);
	return rc ? rc : find_axes(factor ? factor : scale, json_get(v, "axis"), x, e);
}

static int read_entry(struct encodings *x, const char *name, const struct json *v, struct err *e)
{
	struct encoding entry = {.channel_axis = -1, .block_axis = -1};
	const char *dtype = json_text(json_get(v, "output_dtype"));
	grid_fn *grid = NULL;
	int rc = 0;
	if (dtype && strcmp(dtype, "float16") == 0 && !json_get(v, "y_scale"))
		return encodings_add(x, true, name, &(struct encoding){.is_float16 = true}, e);
	if (read_dtype(json_get(v, "output_dtype"), &entry.mode, e) != 0 || read_form(v, &entry, &grid, e) != 0)
		return -1;
	struct quant_grid *grids = calloc(entry.n + 1, sizeof *grids);
	if (!grids)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < entry.n && rc == 0; i++)
		rc = grid(v, &entry, i, &grids[i], e);
	bool is_param = entry.mode.symmetric || entry.granularity != QUANT_PER_TENSOR;
	entry.derived = entry.mode.bw == 32; /* a bias */
	entry.is_param = is_param;
	if (rc == 0)
		rc = encodings_add_read(x, !is_param, name, &entry, grids, e);
	free(grids);
	return rc;
}

int encodings_read_2(struct encodings *x, const struct json *list, struct err *e)
{
	if (!json_is_array(list))
		return encodings_bad(e, "not a list");
	for (size_t i = 0; i < json_size(list); i++) {
		const char *name = json_text(json_get(json_at(list, i), "name"));
		if (!name)
			return err_set(e, ERR_BAD_PARAM, "entry %zu has no name", i);
		if (read_entry(x, name, json_at(list, i), e) != 0)
			return err_wrap(e, "entry \"%.200s\"", name);
	}
	return 0;
}
