#include "server/engine/layer_frame.h"

#include "core/base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 4 }; /* numbers a grid */

static void reals(struct json_out *w, const char *key, const double *v, int n)
{
	json_out_array(w, key);
	for (int i = 0; i < n; i++)
		json_out_real(w, NULL, v[i]);
	json_out_end_array(w);
}

int layer_frame_write(const struct seqmse_layer_result *l, const char *machine, struct buf *out, struct err *e)
{
	struct json_out w;
	json_out_init(&w, out, 0);
	json_out_object(&w, NULL);
	json_out_integer(&w, "index", l->index);
	json_out_string(&w, "node", l->node);
	json_out_string(&w, "op_type", l->op_type);
	json_out_string(&w, "weight", l->weight);
	json_out_integer(&w, "channels", l->channels);
	json_out_integer(&w, "fan_in", l->fan_in);
	json_out_integer(&w, "param_bw", l->mode.bw);
	json_out_bool(&w, "symmetric", l->mode.symmetric);
	json_out_bool(&w, "strict_symmetric", l->mode.strict_symmetric);
	json_out_bool(&w, "unsigned_symmetric", l->mode.unsigned_symmetric);
	json_out_integer(&w, "rank", l->rank);
	json_out_integer(&w, "channel_axis", l->channel_axis);
	json_out_string(&w, "granularity", quant_granularity_name(l->granularity));
	json_out_integer(&w, "block_size", l->block_size);
	json_out_integer(&w, "candidates", l->candidates);
	json_out_bool(&w, "fell_back", l->fell_back);
	json_out_string(&w, "loss_fn", loss_name(l->loss_fn));
	json_out_string(&w, "strategy", l->strategy);
	json_out_real(&w, "signal", l->signal);
	json_out_integer(&w, "rechecked", l->rechecked);
	json_out_real(&w, "seconds", l->seconds);
	json_out_real(&w, "predicted", l->predicted);
	json_out_array(&w, "grids");
	for (int i = 0; i < l->ngrids; i++) {
		const double g[GRID] = {l->grids[i].min, l->grids[i].max, l->grids[i].delta, l->grids[i].offset};
		for (int k = 0; k < GRID; k++)
			json_out_real(&w, NULL, g[k]);
	}
	json_out_end_array(&w);
	json_out_array(&w, "chosen");
	for (int i = 0; i < l->ngrids; i++)
		json_out_integer(&w, NULL, l->chosen[i]);
	json_out_end_array(&w);
	reals(&w, "loss", l->loss, l->ngrids);
	reals(&w, "minmax_loss", l->minmax_loss, l->ngrids);
	if (l->curve)
		reals(&w, "curve", l->curve, l->candidates);
	if (machine[0])
		json_out_string(&w, "machine", machine);
	json_out_end_object(&w);
	return buf_failed(out) ? err_nomem(e, "a layer's frame") : 0;
}

static int bad(struct err *e, const char *what)
{
	return err_set(e, ERR_INTERNAL, "the engine sent a layer with a wrong %s", what);
}

/* A sum over the grids, as amounts (core/search/loss.h); one that is not finite (null on the wire) makes it NaN. */
static double sum(const struct json *list, enum loss_fn f)
{
	double s = 0;
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *v = json_at(list, i);
		s += json_is_number(v) ? loss_amount(f, json_number(v)) : (double)NAN;
	}
	return s;
}

static int read_grids(const struct json *list, struct store_layer *out, struct err *e)
{
	size_t n = json_size(list);
	double *g = malloc((n + 1) * sizeof *g);
	if (!g)
		return err_nomem(e, "a layer's grids");
	out->grids = g;
	out->grids_len = n * sizeof *g;
	for (size_t i = 0; i < n; i++) {
		const struct json *v = json_at(list, i);
		if (!json_is_number(v) || !isfinite(json_number(v)))
			return bad(e, "grid");
		g[i] = json_number(v);
	}
	return 0;
}

static int read_chosen(const struct json *list, struct api_layer *out, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	for (size_t i = 0; i < json_size(list); i++)
		if (!json_is_integer(json_at(list, i)))
			return bad(e, "choice");
	json_out_init(&w, &b, 0);
	json_out_value(&w, NULL, list);
	if (buf_failed(&b)) {
		buf_fini(&b);
		return err_nomem(e, "a layer's choices");
	}
	out->chosen = b.data;
	return 0;
}

/* A number or null for every candidate; none where nothing was searched. */
static int read_curve(const struct json *v, struct api_layer *out, struct err *e)
{
	const struct json *list = json_get(v, "curve");
	struct buf b = BUF_INIT;
	struct json_out w;
	if (!list)
		return 0;
	bool good = json_is_array(list) && (int64_t)json_size(list) == json_int(json_get(v, "candidates"));
	for (size_t i = 0; good && i < json_size(list); i++)
		good = json_is_number(json_at(list, i)) || json_is_null(json_at(list, i));
	if (!good)
		return bad(e, "curve");
	json_out_init(&w, &b, 0);
	json_out_value(&w, NULL, list);
	if (buf_failed(&b)) {
		buf_fini(&b);
		return err_nomem(e, "a layer's curve");
	}
	out->curve = b.data;
	return 0;
}

/* What the layer's own settings are, for whoever asks for the layer later. */
static int read_settings(const struct json *v, struct api_layer *out, struct err *e)
{
	static const char *const keys[] = {"param_bw",   "symmetric", "granularity", "block_size",
	                                   "candidates", "fell_back", "loss_fn"};
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	json_out_object(&w, NULL);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (json_get(v, keys[i]))
			json_out_value(&w, keys[i], json_get(v, keys[i]));
	json_out_end_object(&w);
	if (buf_failed(&b)) {
		buf_fini(&b);
		return err_nomem(e, "a layer's settings");
	}
	out->settings = b.data;
	return 0;
}

static int read_texts(const struct json *v, struct api_layer *out, struct err *e)
{
	static const char *const keys[] = {"node", "op_type", "weight", "strategy"};
	char **const to[] = {&out->node, &out->op_type, &out->weight, &out->strategy};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const char *s = json_text(json_get(v, keys[i]));
		if (!s)
			return bad(e, keys[i]);
		*to[i] = strdup(s);
		if (!*to[i])
			return err_nomem(e, "a layer");
	}
	return 0;
}

static int unpack(const struct json *v, struct store_layer *out, struct err *e)
{
	struct api_layer *l = &out->summary;
	const struct json *grids = json_get(v, "grids"), *chosen = json_get(v, "chosen"), *loss = json_get(v, "loss"),
			  *minmax = json_get(v, "minmax_loss");
	l->index = json_int(json_get(v, "index"));
	l->channels = json_int(json_get(v, "channels"));
	l->fan_in = json_int(json_get(v, "fan_in"));
	l->rechecked = json_int(json_get(v, "rechecked"));
	l->seconds = json_number(json_get(v, "seconds"));
	size_t n = json_size(chosen);
	if (n == 0 || l->channels < 1 || l->index < 0 || !isfinite(l->seconds))
		return bad(e, "number");
	if (json_size(grids) != n * GRID || json_size(loss) != n || json_size(minmax) != n)
		return bad(e, "list");
	const char *name = json_text(json_get(v, "loss_fn"));
	int f = name ? loss_find(name) : -1;
	if (f < 0)
		return bad(e, "loss_fn");
	l->loss = sum(loss, (enum loss_fn)f);
	l->minmax_loss = sum(minmax, (enum loss_fn)f);
	return read_texts(v, l, e) == 0 && read_settings(v, l, e) == 0 && read_grids(grids, out, e) == 0 &&
	                       read_chosen(chosen, l, e) == 0 && read_curve(v, l, e) == 0
	               ? 0
	               : -1;
}

int layer_frame_read(const char *text, size_t len, struct store_layer *out, struct err *e)
{
	memset(out, 0, sizeof *out);
	struct json *v = json_parse(text, len, e);
	int rc = v ? unpack(v, out, e) : -1;
	json_free(v);
	if (rc < 0)
		layer_frame_fini(out);
	return rc;
}

void layer_frame_fini(struct store_layer *l)
{
	api_layer_fini(&l->summary);
	free(l->grids);
	memset(l, 0, sizeof *l);
}

/* ---- for the next engine ---- */

static int allocate(struct layer_result *l, size_t n, size_t curve, struct err *e)
{
	l->grids = calloc(n, sizeof *l->grids);
	l->chosen = calloc(n, sizeof *l->chosen);
	l->loss = calloc(n, sizeof *l->loss);
	l->minmax_loss = calloc(n, sizeof *l->minmax_loss);
	l->curve = calloc(curve + 1, sizeof *l->curve);
	return l->grids && l->chosen && l->loss && l->minmax_loss && l->curve ? 0 : err_nomem(e, "a known layer");
}

static double real_at(const struct json *list, size_t i)
{
	const struct json *v = json_at(list, i);
	return json_is_number(v) ? json_number(v) : (double)NAN;
}

/* The lists were checked by layer_frame_read() before they were kept. */
static void copy_lists(const struct json *v, struct layer_result *l, size_t n)
{
	const struct json *grids = json_get(v, "grids"), *chosen = json_get(v, "chosen"), *loss = json_get(v, "loss"),
			  *minmax = json_get(v, "minmax_loss");
	for (size_t i = 0; i < n; i++) {
		l->grids[i] = (struct quant_grid){real_at(grids, GRID * i), real_at(grids, GRID * i + 1),
		                                  real_at(grids, GRID * i + 2), real_at(grids, GRID * i + 3)};
		l->chosen[i] = (int)json_int(json_at(chosen, i));
		l->loss[i] = real_at(loss, i);
		l->minmax_loss[i] = real_at(minmax, i);
	}
	for (size_t i = 0; i < json_size(json_get(v, "curve")); i++)
		l->curve[i] = real_at(json_get(v, "curve"), i);
}

static int fill_result(struct layer_result *l, const char *machine, struct err *e)
{
	const struct json *v = l->text;
	const char *made_on = json_text(json_get(v, "machine"));
	const char *loss_fn = json_text(json_get(v, "loss_fn"));
	size_t n = json_size(json_get(v, "chosen"));
	if (!loss_fn || loss_find(loss_fn) < 0)
		return bad(e, "loss_fn");
	if (machine && (!made_on || strcmp(made_on, machine) != 0))
		return err_set(e, ERR_BAD_STATE, "a layer of another machine");
	l->r = (struct seqmse_layer_result){.index = (int)json_int(json_get(v, "index")),
	                                    .node = json_text(json_get(v, "node")),
	                                    .op_type = json_text(json_get(v, "op_type")),
	                                    .weight = json_text(json_get(v, "weight")),
	                                    .channels = (int)json_int(json_get(v, "channels")),
	                                    .fan_in = json_int(json_get(v, "fan_in")),
	                                    .mode = {.bw = (int)json_int(json_get(v, "param_bw")),
	                                             .symmetric = json_bool(json_get(v, "symmetric")),
	                                             .strict_symmetric = json_bool(json_get(v, "strict_symmetric")),
	                                             .unsigned_symmetric = json_bool(json_get(v, "unsigned_symmetric"))},
	                                    .rank = (int)json_int(json_get(v, "rank")),
	                                    .channel_axis = (int)json_int(json_get(v, "channel_axis")),
	                                    .granularity = quant_granularity_of(json_text(json_get(v, "granularity"))),
	                                    .block_size = json_int(json_get(v, "block_size")),
	                                    .candidates = (int)json_int(json_get(v, "candidates")),
	                                    .fell_back = json_bool(json_get(v, "fell_back")),
	                                    .ngrids = (int)n,
	                                    .loss_fn = (enum loss_fn)loss_find(loss_fn),
	                                    .strategy = json_text(json_get(v, "strategy")),
	                                    .signal = json_number(json_get(v, "signal")),
	                                    .rechecked = (int)json_int(json_get(v, "rechecked")),
	                                    .seconds = json_number(json_get(v, "seconds")),
	                                    .predicted = json_number(json_get(v, "predicted"))};
	if (!l->r.node || !l->r.op_type || !l->r.weight || !l->r.strategy || n == 0 ||
	    allocate(l, n, json_size(json_get(v, "curve")), e) < 0)
		return bad(e, "text");
	copy_lists(v, l, n);
	l->r.grids = l->grids;
	l->r.chosen = l->chosen;
	l->r.loss = l->loss;
	l->r.minmax_loss = l->minmax_loss;
	l->r.curve = json_get(v, "curve") ? l->curve : NULL;
	return 0;
}

int layer_frame_result(const char *text, size_t len, const char *machine, struct layer_result *out, struct err *e)
{
	memset(out, 0, sizeof *out);
	out->text = json_parse(text, len, e);
	int rc = out->text ? fill_result(out, machine, e) : -1;
	if (rc < 0)
		layer_result_fini(out);
	return rc;
}

void layer_result_fini(struct layer_result *l)
{
	json_free(l->text);
	free(l->grids);
	free(l->chosen);
	free(l->loss);
	free(l->minmax_loss);
	free(l->curve);
	memset(l, 0, sizeof *l);
}
