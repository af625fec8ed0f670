#include "core/encodings/encodings.h"

#include "core/grid/lpbq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void entry_fini(struct encoding *x)
{
	free((char *)x->name);
	free((struct quant_grid *)x->grids);
}

void encodings_fini(struct encodings *x)
{
	for (size_t i = 0; i < x->nparams; i++)
		entry_fini(&x->params[i]);
	for (size_t i = 0; i < x->nactivations; i++)
		entry_fini(&x->activations[i]);
	free(x->params);
	free(x->activations);
	free(x->quant_scheme);
	*x = (struct encodings){0};
}

static int append(struct encoding **list, size_t *len, const struct encoding *new)
{
	if ((*len & (*len - 1)) == 0) { /* room is always for a power of two */
		struct encoding *longer = realloc(*list, (*len ? 2 * *len : 1) * sizeof *longer);
		if (!longer)
			return -1;
		*list = longer;
	}
	(*list)[(*len)++] = *new;
	return 0;
}

int encodings_add(struct encodings *x, bool activation, const char *name, const struct encoding *like, struct err *e)
{
	struct encoding new = *like;
	struct quant_grid *grids = calloc(like->n + 1, sizeof *grids);
	new.name = strdup(name);
	new.grids = grids;
	if (!new.derived)
		new.is_param = !activation;
	if (grids && like->n)
		memcpy(grids, like->grids, like->n * sizeof *grids);
	if (grids && new.name &&
	    append(activation ? &x->activations : &x->params, activation ? &x->nactivations : &x->nparams, &new) == 0)
		return 0;
	entry_fini(&new);
	return err_nomem(e, "encodings");
}

static const struct encoding *find(const struct encoding *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

const struct encoding *encodings_find(const struct encodings *x, const char *name)
{
	const struct encoding *hit = find(x->params, x->nparams, name);
	return hit ? hit : find(x->activations, x->nactivations, name);
}

/* ---- blocks ---- */

static bool has_blocks(const struct encoding *x)
{
	return x->granularity == QUANT_PER_BLOCK || x->granularity == QUANT_LPBQ;
}

/* [rows][columns] becomes [columns][rows]. */
static int transpose(struct encoding *x, size_t rows, size_t columns, struct err *e)
{
	struct quant_grid *grids = calloc(x->n + 1, sizeof *grids);
	if (!grids)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < rows; i++)
		for (size_t k = 0; k < columns; k++)
			grids[k * rows + i] = x->grids[i * columns + k];
	free((struct quant_grid *)x->grids);
	x->grids = grids;
	return 0;
}

int encodings_place(struct encoding *x, int rank, int channel_axis, int block_axis, size_t channels, struct err *e)
{
	if (x->granularity == QUANT_PER_TENSOR || x->is_float16)
		return 0;
	if (x->channel_axis >= 0 && x->channel_axis != channel_axis)
		return err_set(e, ERR_BAD_PARAM, "%s: its channels run along axis %d, not %d", x->name, channel_axis,
		               x->channel_axis);
	if (has_blocks(x)) {
		bool fits = channels > 0 && x->n % channels == 0 && (!x->channels || x->channels == channels);
		if (!fits || (x->rank && x->rank != rank) || (x->block_axis >= 0 && x->block_axis != block_axis))
			return err_set(e, ERR_BAD_PARAM, "%s: its blocks are not those of a tensor with %zu channels", x->name,
			               channels);
		/* Version 1.0.0 has [channels][blocks] for matrices, whichever way they lie, and the tensor's own order for all others. */
		bool by_blocks = x->rank == 0 && rank > 2 && channel_axis > block_axis;
		if (by_blocks && x->granularity == QUANT_LPBQ)
			return err_set(e, ERR_BAD_PARAM, "%s: version 1.0.0 does not tell which factor is which channel's",
			               x->name);
		if (by_blocks && transpose(x, x->n / channels, channels, e) != 0)
			return -1;
		x->rank = rank;
		x->block_axis = block_axis;
		x->channels = channels;
	} else if (x->n != channels)
		return err_set(e, ERR_BAD_PARAM, "%s: it has %zu grids for %zu channels", x->name, x->n, channels);
	x->channel_axis = channel_axis;
	return 0;
}

int encoding_lpbq_grids(const struct encoding *x, struct quant_grid *out, struct err *e)
{
	size_t blocks = x->channels ? x->n / x->channels : 0;
	double *scale = calloc(x->n + 1, sizeof *scale), *channel = calloc(x->channels + 1, sizeof *channel);
	int *factor = calloc(x->n + 1, sizeof *factor), rc = -1;
	float n = (float)(ldexp(1, x->mode.bw) - 1 - (x->mode.symmetric && x->mode.strict_symmetric));
	if (!scale || !channel || !factor) {
		(void)err_nomem(e, "encodings");
		goto out;
	}
	for (size_t i = 0; i < x->n; i++)
		scale[i] = x->grids[i].delta;
	lpbq_compress(x->channels, blocks, scale, x->lpbq_bits ? x->lpbq_bits : x->mode.bw, channel, factor);
	for (size_t i = 0; i < x->channels * blocks; i++) {
		double delta = channel[i / blocks] * factor[i];
		float offset = (float)x->grids[i].offset;
		out[i] = (struct quant_grid){(double)((float)delta * offset), (double)((n + offset) * (float)delta), delta,
		                             x->grids[i].offset};
	}
	rc = 0;
out:
	free(scale);
	free(channel);
	free(factor);
	return rc;
}

/* ---- versions ---- */

static const char *const version_names[ENCODINGS_VERSIONS] = {
	[ENCODINGS_0_6_1] = "0.6.1", [ENCODINGS_1_0_0] = "1.0.0", [ENCODINGS_2_0_0] = "2.0.0", [ENCODINGS_2_1_0] = "2.1.0"};

int encodings_version_parse(const char *text, enum encodings_version *v, struct err *e)
{
	for (size_t i = 0; i < ENCODINGS_VERSIONS; i++) {
		if (strcmp(text, version_names[i]) == 0) {
			*v = (enum encodings_version)i;
			return 0;
		}
	}
	return err_set(e, ERR_BAD_PARAM, "encodings version \"%.20s\" is unknown; there are 0.6.1, 1.0.0, 2.0.0 and 2.1.0", text);
}

const char *encodings_version_name(enum encodings_version v)
{
	return version_names[v];
}

const char *encodings_file_name(enum encodings_version v)
{
	static const char *const names[] = {[ENCODINGS_0_6_1] = "model_0_6_1.encodings",
	                                    [ENCODINGS_1_0_0] = "model_1_0_0.encodings",
	                                    [ENCODINGS_2_0_0] = "model_2_0_0.encodings",
	                                    [ENCODINGS_2_1_0] = "model_2_1_0.encodings"};
	return names[v];
}
