#include "encodings.h"

#include "json.h"
#include "version.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_BW = 2, MAX_BW = 32 }; /* that a file may have; the search itself stops at QUANT_MAX_BW */

/* ---- the list ---- */

static void entry_fini(struct encoding *x)
{
	free(x->name);
	free(x->grids);
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

int encodings_add(struct encodings *x, bool activation, const char *name, struct quant_mode mode, enum encoding_type type, size_t n,
                  const struct quant_grid *grids, struct err *e)
{
	struct encoding **list = activation ? &x->activations : &x->params;
	size_t *len = activation ? &x->nactivations : &x->nparams;
	struct encoding new = {.name = strdup(name), .mode = mode, .type = type, .n = n, .grids = calloc(n + 1, sizeof *grids)};
	if (!new.name || !new.grids)
		goto nomem;
	memcpy(new.grids, grids, n * sizeof *grids);
	if ((*len & (*len - 1)) == 0) { /* room is always for a power of two */
		struct encoding *longer = realloc(*list, (*len ? 2 * *len : 1) * sizeof *longer);
		if (!longer)
			goto nomem;
		*list = longer;
	}
	(*list)[(*len)++] = new;
	return 0;
nomem:
	entry_fini(&new);
	return err_nomem(e, "encodings");
}

/* ---- versions ---- */

static const char *const version_names[] = {[ENCODINGS_0_6_1] = "0.6.1", [ENCODINGS_1_0_0] = "1.0.0"};

int encodings_version_parse(const char *text, enum encodings_version *v, struct err *e)
{
	for (size_t i = 0; i < sizeof version_names / sizeof *version_names; i++) {
		if (strcmp(text, version_names[i]) == 0) {
			*v = (enum encodings_version)i;
			return 0;
		}
	}
	if (strcmp(text, "2.0.0") == 0 || strcmp(text, "2.1.0") == 0)
		return err_set(e, ERR_BAD_PARAM, "encodings version %s is not built yet; there are 0.6.1 and 1.0.0", text);
	return err_set(e, ERR_BAD_PARAM, "encodings version \"%.20s\" is unknown; there are 0.6.1 and 1.0.0", text);
}

const char *encodings_version_name(enum encodings_version v)
{
	return version_names[v];
}

/* ---- writing ---- */

/* The grid's number of steps: 2^bw levels, or one less. */
static double steps(struct quant_mode mode)
{
	return ldexp(1, mode.bw) - 1 - (mode.symmetric && mode.strict_symmetric);
}

/* Keys of every object are written in the order of the alphabet, which is not always the order of thought. */

static void write_1_0_0(struct json_out *w, const char *key, const struct encoding *list, size_t n)
{
	json_out_array(w, key);
	for (size_t k = 0; k < n; k++) {
		const struct encoding *x = &list[k];
		json_out_object(w, NULL);
		json_out_integer(w, "bw", x->mode.bw);
		json_out_string(w, "dtype", "INT");
		json_out_string(w, "enc_type", x->type == ENCODING_PER_TENSOR ? "PER_TENSOR" : "PER_CHANNEL");
		json_out_bool(w, "is_sym", x->mode.symmetric);
		json_out_string(w, "name", x->name);
		json_out_array(w, "offset");
		for (size_t i = 0; i < x->n; i++)
			json_out_real(w, NULL, x->grids[i].offset);
		json_out_end_array(w);
		json_out_array(w, "scale");
		for (size_t i = 0; i < x->n; i++)
			json_out_real(w, NULL, x->grids[i].delta);
		json_out_end_array(w);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

static void write_grid_0_6_1(struct json_out *w, struct quant_mode mode, struct quant_grid g)
{
	json_out_object(w, NULL);
	json_out_integer(w, "bitwidth", mode.bw);
	json_out_string(w, "dtype", "int");
	json_out_string(w, "is_symmetric", mode.symmetric ? "True" : "False");
	json_out_real(w, "max", (g.offset + steps(mode)) * g.delta);
	json_out_real(w, "min", g.offset * g.delta);
	json_out_real(w, "offset", g.offset);
	json_out_real(w, "scale", g.delta);
	json_out_end_object(w);
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

static int write_0_6_1(struct json_out *w, const char *key, const struct encoding *list, size_t n, struct err *e)
{
	const struct encoding **order = sorted(list, n);
	if (!order)
		return err_nomem(e, "encodings");
	json_out_object(w, key);
	for (size_t i = 0; i < n; i++) {
		json_out_array(w, order[i]->name);
		for (size_t k = 0; k < order[i]->n; k++)
			write_grid_0_6_1(w, order[i]->mode, order[i]->grids[k]);
		json_out_end_array(w);
	}
	json_out_end_object(w);
	free(order);
	return 0;
}

static int write_section(struct json_out *w, enum encodings_version v, const char *key, const struct encoding *list, size_t n,
                         struct err *e)
{
	if (v == ENCODINGS_0_6_1)
		return write_0_6_1(w, key, list, n, e);
	write_1_0_0(w, key, list, n);
	return 0;
}

static void write_producer(struct json_out *w)
{
	json_out_object(w, "producer");
	json_out_string(w, "package", "seqmsed");
	json_out_string(w, "version", SEQMSED_VERSION);
	json_out_end_object(w);
}

static void write_args(struct json_out *w, const struct encodings *x)
{
	json_out_object(w, "quantizer_args");
	json_out_integer(w, "activation_bitwidth", x->activation_bw);
	json_out_string(w, "dtype", "int");
	json_out_bool(w, "is_symmetric", x->symmetric_params);
	json_out_integer(w, "param_bitwidth", x->param_bw);
	json_out_bool(w, "per_channel_quantization", x->per_channel);
	json_out_string(w, "quant_scheme", x->quant_scheme ? x->quant_scheme : "min_max");
	json_out_end_object(w);
}

int encodings_write(const struct encodings *x, enum encodings_version v, struct buf *out, struct err *e)
{
	struct json_out w;
	json_out_init(&w, out, 4);
	w.ascii_only = true;
	json_out_object(&w, NULL);
	if (write_section(&w, v, "activation_encodings", x->activations, x->nactivations, e) != 0 ||
	    write_section(&w, v, "param_encodings", x->params, x->nparams, e) != 0)
		return -1;
	write_producer(&w);
	write_args(&w, x);
	json_out_string(&w, "version", encodings_version_name(v));
	json_out_end_object(&w);
	return buf_failed(out) ? err_nomem(e, "an encodings file") : 0;
}

/* ---- reading ---- */

static int bad(struct err *e, const char *what)
{
	return err_set(e, ERR_BAD_PARAM, "%s", what);
}

/* true, false, "True" or "False". */
static int read_truth(const struct json *v, bool *out, struct err *e)
{
	const char *text = json_text(v);
	*out = text ? strcmp(text, "True") == 0 : json_bool(v);
	if (json_is_bool(v) || (text && (*out || strcmp(text, "False") == 0)))
		return 0;
	return bad(e, "its symmetry is neither true nor false");
}

static int read_bw(const struct json *v, int *out, struct err *e)
{
	int64_t bw = json_int(v);
	if (!json_is_integer(v) || bw < MIN_BW || bw > MAX_BW)
		return err_set(e, ERR_BAD_PARAM, "its bit width is not an integer from %d to %d", MIN_BW, MAX_BW);
	*out = (int)bw;
	return 0;
}

/* Scale and offset; which ends they give is known only when all channels' are (see read_ends()). */
static int read_grid(const struct json *scale, const struct json *offset, int bw, struct quant_grid *g, struct err *e)
{
	g->delta = json_number(scale);
	g->offset = json_number(offset);
	if (!json_is_number(scale) || !(g->delta > 0) || !isfinite(g->delta))
		return bad(e, "a scale is not a positive number");
	if (!json_is_number(offset) || !(g->offset <= 0) || g->offset < 1 - ldexp(1, bw) || g->offset != floor(g->offset))
		return bad(e, "an offset is not an integer from -(2^bits - 1) to 0");
	return 0;
}

/* The files do not tell a strict symmetric grid from others, nor an unsigned one, but their offsets do: one less than half of
 * the levels, and 0. */
static void read_ends(struct quant_mode *mode, size_t n, struct quant_grid *g)
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
		g[i].max = g[i].delta * (g[i].offset + steps(*mode));
	}
}

static int add_read(struct encodings *x, bool activation, const char *name, struct quant_mode mode, enum encoding_type type,
                    size_t n, struct quant_grid *grids, struct err *e)
{
	read_ends(&mode, n, grids);
	return encodings_add(x, activation, name, mode, type, n, grids, e);
}

static int read_type(const struct json *v, size_t n, enum encoding_type *out, struct err *e)
{
	const char *text = json_text(v);
	if (!text)
		return bad(e, "its enc_type is missing");
	if (strcmp(text, "PER_TENSOR") != 0 && strcmp(text, "PER_CHANNEL") != 0)
		return err_set(e, ERR_BAD_PARAM, "its enc_type is %.20s; only PER_TENSOR and PER_CHANNEL are read", text);
	*out = strcmp(text, "PER_TENSOR") == 0 ? ENCODING_PER_TENSOR : ENCODING_PER_CHANNEL;
	if (n < 1 || (*out == ENCODING_PER_TENSOR && n != 1))
		return bad(e, "it has a wrong number of scales");
	return 0;
}

static int read_integer_1_0_0(struct encodings *x, bool activation, const char *name, const struct json *v, struct err *e)
{
	const struct json *scale = json_get(v, "scale"), *offset = json_get(v, "offset");
	struct quant_mode mode = {0};
	enum encoding_type type = ENCODING_PER_TENSOR;
	size_t n = json_size(scale);
	struct quant_grid *grids = NULL;
	int rc = -1;
	if (!json_is_array(scale) || !json_is_array(offset) || json_size(offset) != n)
		return bad(e, "its scale and offset are not lists of equal length");
	if (read_type(json_get(v, "enc_type"), n, &type, e) != 0 || read_bw(json_get(v, "bw"), &mode.bw, e) != 0 ||
	    read_truth(json_get(v, "is_sym"), &mode.symmetric, e) != 0)
		return -1;
	grids = calloc(n, sizeof *grids);
	if (!grids)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < n; i++)
		if (read_grid(json_at(scale, i), json_at(offset, i), mode.bw, &grids[i], e) != 0)
			goto out;
	rc = add_read(x, activation, name, mode, type, n, grids, e);
out:
	free(grids);
	return rc;
}

static int read_section_1_0_0(struct encodings *x, bool activation, const struct json *list, struct err *e)
{
	if (!json_is_array(list))
		return bad(e, "not a list");
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *v = json_at(list, i);
		const char *name = json_text(json_get(v, "name")), *dtype = json_text(json_get(v, "dtype"));
		int rc = 0;
		if (!name)
			return err_set(e, ERR_BAD_PARAM, "entry %zu has no name", i);
		if (!dtype || (strcmp(dtype, "INT") != 0 && strcmp(dtype, "FLOAT") != 0))
			rc = bad(e, "its dtype is neither INT nor FLOAT");
		else if (strcmp(dtype, "INT") == 0)
			rc = read_integer_1_0_0(x, activation, name, v, e);
		if (rc != 0)
			return err_wrap(e, "entry \"%.200s\"", name);
	}
	return 0;
}

/* One channel's object; every channel must have the first one's mode. */
static int read_channel_0_6_1(const struct json *v, bool first, struct quant_mode *mode, struct quant_grid *g, struct err *e)
{
	struct quant_mode own = {0};
	const char *dtype = json_text(json_get(v, "dtype"));
	if (!dtype || strcmp(dtype, "int") != 0)
		return bad(e, "its dtype is neither int nor float, or not the same for all channels");
	if (read_bw(json_get(v, "bitwidth"), &own.bw, e) != 0 || read_truth(json_get(v, "is_symmetric"), &own.symmetric, e) != 0)
		return -1;
	if (first)
		*mode = own;
	if (own.bw != mode->bw || own.symmetric != mode->symmetric)
		return bad(e, "its channels differ in bit width or symmetry");
	return read_grid(json_get(v, "scale"), json_get(v, "offset"), own.bw, g, e);
}

static bool is_float_0_6_1(const struct json *list)
{
	const char *dtype = json_text(json_get(json_at(list, 0), "dtype"));
	return json_size(list) == 1 && dtype && strcmp(dtype, "float") == 0;
}

static int read_entry_0_6_1(struct encodings *x, bool activation, const char *name, const struct json *list, struct err *e)
{
	struct quant_mode mode = {0};
	size_t n = json_size(list);
	int rc = -1;
	if (!json_is_array(list) || n == 0)
		return bad(e, "it is not a list of encodings");
	if (is_float_0_6_1(list))
		return 0;
	struct quant_grid *grids = calloc(n, sizeof *grids);
	if (!grids)
		return err_nomem(e, "encodings");
	for (size_t i = 0; i < n; i++)
		if (read_channel_0_6_1(json_at(list, i), i == 0, &mode, &grids[i], e) != 0)
			goto out;
	rc = add_read(x, activation, name, mode, n == 1 ? ENCODING_PER_TENSOR : ENCODING_PER_CHANNEL, n, grids, e);
out:
	free(grids);
	return rc;
}

static int read_section_0_6_1(struct encodings *x, bool activation, const struct json *object, struct err *e)
{
	if (!json_is_object(object))
		return bad(e, "not an object");
	for (void *it = json_first(object); it; it = json_next(object, it))
		if (read_entry_0_6_1(x, activation, json_key(it), json_value(it), e) != 0)
			return err_wrap(e, "entry \"%.200s\"", json_key(it));
	return 0;
}

static int check_unique(const struct encoding *list, size_t n, struct err *e)
{
	const struct encoding **order = sorted(list, n);
	int rc = 0;
	if (!order)
		return err_nomem(e, "encodings");
	for (size_t i = 1; i < n && rc == 0; i++)
		if (strcmp(order[i - 1]->name, order[i]->name) == 0)
			rc = err_set(e, ERR_BAD_PARAM, "entry \"%.200s\" is there twice", order[i]->name);
	free(order);
	return rc;
}

static int read_section(struct encodings *x, enum encodings_version v, bool activation, const struct json *root, struct err *e)
{
	const char *key = activation ? "activation_encodings" : "param_encodings";
	const struct json *section = json_get(root, key);
	int rc = v == ENCODINGS_0_6_1 ? read_section_0_6_1(x, activation, section, e)
	                              : read_section_1_0_0(x, activation, section, e);
	if (rc == 0)
		rc = activation ? check_unique(x->activations, x->nactivations, e) : check_unique(x->params, x->nparams, e);
	return rc == 0 ? 0 : err_wrap(e, "%s", key);
}

/* What is absent stays 0, as in files that other tools made. */
static int read_args(struct encodings *x, const struct json *args, struct err *e)
{
	const char *scheme = json_text(json_get(args, "quant_scheme"));
	int64_t param_bw = json_int(json_get(args, "param_bitwidth")),
		activation_bw = json_int(json_get(args, "activation_bitwidth"));
	x->param_bw = param_bw >= 0 && param_bw <= MAX_BW ? (int)param_bw : 0;
	x->activation_bw = activation_bw >= 0 && activation_bw <= MAX_BW ? (int)activation_bw : 0;
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
		bad(e, "this is no encodings file: it has no version");
		goto out;
	}
	if (encodings_version_parse(version, &v, e) != 0 || read_section(x, v, true, root, e) != 0 ||
	    read_section(x, v, false, root, e) != 0)
		goto out;
	rc = read_args(x, json_get(root, "quantizer_args"), e);
out:
	json_free(root);
	if (rc != 0)
		encodings_fini(x);
	return rc;
}
