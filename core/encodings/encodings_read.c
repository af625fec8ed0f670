#include "core/encodings/encodings_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int encodings_bad(struct err *e, const char *what)
{
	return err_set(e, ERR_BAD_PARAM, "%s", what);
}

int encodings_read_truth(const struct json *v, bool *out, struct err *e)
{
	const char *text = json_text(v);
	*out = text ? strcmp(text, "True") == 0 : json_bool(v);
	if (json_is_bool(v) || (text && (*out || strcmp(text, "False") == 0)))
		return 0;
	return encodings_bad(e, "its symmetry is neither true nor false");
}

int encodings_read_bw(const struct json *v, int *out, struct err *e)
{
	int64_t bw = json_int(v);
	if (!json_is_integer(v) || bw < QUANT_MIN_BW || bw > ENCODINGS_MAX_BW)
		return err_set(e, ERR_BAD_PARAM, "its bit width is not an integer from %d to %d", QUANT_MIN_BW, ENCODINGS_MAX_BW);
	*out = (int)bw;
	return 0;
}

int encodings_read_scale(const struct json *v, double *out, struct err *e)
{
	*out = json_number(v);
	if (!json_is_number(v) || !(*out > 0) || !isfinite(*out))
		return encodings_bad(e, "a scale is not a positive number");
	return 0;
}

int encodings_read_offset(const struct json *v, int bw, double *out, struct err *e)
{
	*out = json_number(v);
	if (!json_is_number(v) || !(*out <= 0) || *out < 1 - ldexp(1, bw) || *out != floor(*out))
		return encodings_bad(e, "an offset is not an integer from -(2^bits - 1) to 0");
	return 0;
}

int encodings_read_factor(const struct json *scale, const struct json *factor, const struct encoding *entry, struct quant_grid *g,
                          struct err *e)
{
	double channel;
	if (encodings_read_scale(scale, &channel, e) != 0)
		return -1;
	if (!json_is_integer(factor) || json_int(factor) < 1 || json_int(factor) > INT64_C(1) << entry->lpbq_bits)
		return err_set(e, ERR_BAD_PARAM, "a per_block_int_scale is not an integer from 1 to %lld", 1ll << entry->lpbq_bits);
	g->delta = channel * (double)json_int(factor);
	g->offset = -ldexp(1, entry->mode.bw - 1);
	return isfinite(g->delta) ? 0 : encodings_bad(e, "a scale is not finite");
}

int encodings_read_block_size(const struct json *v, int64_t *out, struct err *e)
{
	*out = json_int(v);
	if (!json_is_integer(v) || *out < 1)
		return encodings_bad(e, "its block_size is not a positive integer");
	return 0;
}

/* The files do not tell a strict symmetric grid from others, nor an unsigned one, but their offsets do: one less than half of
 * the levels, and 0. */
static void find_ends(struct quant_mode *mode, size_t n, struct quant_grid *g)
{
	size_t strict = 0, zero = 0;
	for (size_t i = 0; i < n; i++) {
		strict += g[i].offset == 1 - ldexp(1, mode->bw - 1);
		zero += g[i].offset == 0;
	}
	mode->strict_symmetric = mode->symmetric && strict == n;
	mode->unsigned_symmetric = mode->symmetric && zero > 0;
	for (size_t i = 0; i < n; i++) {
		g[i].min = g[i].delta * g[i].offset;
		g[i].max = g[i].delta * (g[i].offset + encodings_steps(*mode));
	}
}

int encodings_add_read(struct encodings *x, bool activation, const char *name, struct encoding *entry, struct quant_grid *grids,
                       struct err *e)
{
	find_ends(&entry->mode, entry->n, grids);
	entry->grids = grids;
	return encodings_add(x, activation, name, entry, e);
}

/* ---- the file ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The reference merges the lists, so a name may be in one of them only. */
static int check_unique(const struct encodings *x, struct err *e)
{
	size_t n = x->nparams + x->nactivations;
	const char **names = calloc(n + 1, sizeof *names);
	int rc = 0;
	if (!names)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < n; i++)
		names[i] = i < x->nparams ? x->params[i].name : x->activations[i - x->nparams].name;
	qsort(names, n, sizeof *names, by_text);
	for (size_t i = 1; i < n && rc == 0; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			rc = err_set(e, ERR_BAD_PARAM, "entry \"%.200s\" is there twice", names[i]);
	free(names);
	return rc;
}

static int read_section(struct encodings *x, enum encodings_version v, bool activation, const struct json *root, struct err *e)
{
	const char *key = activation ? "activation_encodings" : "param_encodings";
	const struct json *section = json_get(root, key);
	int rc = v == ENCODINGS_0_6_1 ? encodings_read_0(x, activation, section, e) : encodings_read_1(x, activation, section, e);
	return rc == 0 ? 0 : err_wrap(e, "%s", key);
}

static int read_sections(struct encodings *x, enum encodings_version v, const struct json *root, struct err *e)
{
	if (v < ENCODINGS_2_0_0) {
		int rc = read_section(x, v, true, root, e);
		return rc ? rc : read_section(x, v, false, root, e);
	}
	int rc = encodings_read_2(x, json_get(root, "encodings"), e);
	return rc ? err_wrap(e, "encodings") : 0;
}

/* What is absent stays 0, as in files that other tools made. */
static int read_args(struct encodings *x, const struct json *args, struct err *e)
{
	const char *scheme = json_text(json_get(args, "quant_scheme"));
	int64_t param_bw = json_int(json_get(args, "param_bitwidth")),
		activation_bw = json_int(json_get(args, "activation_bitwidth"));
	x->param_bw = param_bw >= 0 && param_bw <= ENCODINGS_MAX_BW ? (int)param_bw : 0;
	x->activation_bw = activation_bw >= 0 && activation_bw <= ENCODINGS_MAX_BW ? (int)activation_bw : 0;
	x->per_channel = json_bool(json_get(args, "per_channel_quantization"));
	x->symmetric_params = json_bool(json_get(args, "is_symmetric"));
	if (scheme && !(x->quant_scheme = strdup(scheme)))
		return err_nomem(e, "encodings");
	return 0;
}

int encodings_read(const char *text, size_t len, struct encodings *x, struct err *e)
{
	enum encodings_version v = ENCODINGS_1_0_0;
	struct json *root = json_parse(text, len, e);
	int rc = -1;
	if (!root)
		return -1;
	const char *version = json_text(json_get(root, "version"));
	if (!version) {
		encodings_bad(e, "this is no encodings file: it has no version");
		goto out;
	}
	if (encodings_version_parse(version, &v, e) != 0 || read_sections(x, v, root, e) != 0 || check_unique(x, e) != 0)
		goto out;
	rc = read_args(x, json_get(root, "quantizer_args"), e);
out:
	json_free(root);
	if (rc != 0)
		encodings_fini(x);
	return rc;
}
