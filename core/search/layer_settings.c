#include "core/search/layer_settings.h"

#include "core/base/json.h"
#include "core/quantsim/quantsim.h"
#include "core/search/layer_match.h"
#include "core/workflow/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Puts a place before the message; one that begins with a place inside it goes on from there. */
static int __attribute__((format(printf, 2, 3))) err_at(struct err *e, const char *fmt, ...)
{
	char place[160];
	struct err inner = *e;
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(place, sizeof place, fmt, ap);
	va_end(ap);
	return err_set(e, inner.code, "%s%s%.800s", place, inner.msg[0] == '/' ? "" : ": ", inner.msg);
}

/* ---- overrides ---- */

/* The settings that may differ between layers. */
static const char *const fields[] = {"param_bw",       "weight_bits", "granularity", "block_size", "lpbq",  "symmetric",
                                     "num_candidates", "loss_fn",     "search",      "min_range",  "guard", "dead_channels"};

static bool may_differ(const char *name)
{
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		if (strcmp(name, fields[i]) == 0)
			return true;
	return false;
}

static int check_match(const struct json *match, struct err *e)
{
	if (!json_is_object(match) || json_size(match) == 0)
		return err_set(e, ERR_BAD_PARAM, "/match: expected an object with \"name\" or \"op_type\", or both");
	for (void *it = json_first(match); it; it = json_next(match, it)) {
		const char *key = json_key(it), *text = json_text(json_value(it));
		if (strcmp(key, "name") != 0 && strcmp(key, "op_type") != 0)
			return err_set(e, ERR_UNKNOWN_FIELD, "/match/%.100s: layers are matched by \"name\" and \"op_type\"", key);
		if (!text || !*text)
			return err_set(e, ERR_BAD_PARAM, "/match/%s: expected a string", key);
	}
	return 0;
}

/* Sets an override's settings in *p. */
static int apply(const struct json *override, struct params *p, struct err *e)
{
	for (void *it = json_first(override); it; it = json_next(override, it)) {
		const char *key = json_key(it);
		if (strcmp(key, "match") == 0)
			continue;
		if (params_find(key) && !may_differ(key))
			return err_set(e, ERR_BAD_PARAM, "/%s: it cannot differ between layers", key);
		if (params_set_json(p, key, json_value(it), e))
			return err_at(e, "/%.100s", key);
	}
	return 0;
}

static bool names(const struct json *object, const char *key)
{
	return json_get(object, key) != NULL;
}

/* What an object of settings says about blocks must fit what it leads to; leftovers from outside it are just not used. */
static int check_blocks(const struct params *p, bool says_size, bool says_lpbq, struct err *e)
{
	bool blocks = p->granularity == PARAMS_BLOCK;
	if (blocks && p->block_size == 0)
		return err_set(e, ERR_BAD_PARAM, "/granularity: blocks need a block_size");
	if (says_size && p->block_size > 0 && !blocks)
		return err_set(e, ERR_BAD_PARAM, "/block_size: it goes with the granularity \"block\" only");
	if (says_lpbq && p->lpbq && !blocks)
		return err_set(e, ERR_BAD_PARAM, "/lpbq: it goes with the granularity \"block\" only");
	if (blocks && p->lpbq && p->symmetric == PARAMS_FALSE)
		return err_set(e, ERR_BAD_PARAM, "/lpbq: its grids are symmetric");
	if (blocks && p->lpbq && p->param_bw > SETTINGS_LPBQ_MAX_BW)
		return err_set(e, ERR_BAD_PARAM, "/lpbq: it has at most %d bits", SETTINGS_LPBQ_MAX_BW);
	return 0;
}

static int check_override(const struct json *v, struct err *e)
{
	struct params p;
	if (!json_is_object(v))
		return err_set(e, ERR_BAD_PARAM, "expected an object");
	if (!names(v, "match"))
		return err_set(e, ERR_BAD_PARAM, "\"match\" is missing");
	if (json_size(v) == 1)
		return err_set(e, ERR_BAD_PARAM, "it sets nothing");
	params_init(&p);
	int rc = check_match(json_get(v, "match"), e) || apply(v, &p, e) ? -1 : 0;
	params_fini(&p);
	return rc;
}

int layer_settings_check_overrides(const struct json *v, struct err *e)
{
	if (!json_is_array(v))
		return err_set(e, ERR_BAD_PARAM, "expected a list of objects");
	for (size_t i = 0; i < json_size(v); i++)
		if (check_override(json_at(v, i), e))
			return err_at(e, "/%zu", i);
	return 0;
}

/* The parsed list; *tree is NULL for none. */
static int read_overrides(const struct params *p, struct json **tree, struct err *e)
{
	*tree = p->overrides ? json_parse(p->overrides, strlen(p->overrides), e) : NULL;
	return p->overrides && !*tree ? -1 : 0;
}

int layer_settings_check(const struct params *p, struct err *e)
{
	struct json *list;
	bool blocks_somewhere = false;
	int rc = read_overrides(p, &list, e);
	for (size_t i = 0; i < json_size(list) && !rc; i++) {
		const struct json *v = json_at(list, i);
		struct params q = *p; /* what overrides set lies in the struct itself */
		rc = apply(v, &q, e);
		blocks_somewhere = blocks_somewhere || q.granularity == PARAMS_BLOCK;
		/* Another override may give what this one lacks, so only what it says itself can be wrong. */
		if (!rc && names(v, "granularity"))
			rc = check_blocks(&q, names(v, "block_size"), names(v, "lpbq"), e);
		if (rc)
			(void)err_at(e, "/overrides/%zu", i);
	}
	if (!rc)
		rc = check_blocks(p, !blocks_somewhere, !blocks_somewhere, e);
	json_free(list);
	return rc;
}

/* ---- a layer's settings ---- */

struct resolve {
	const struct onnx_model *m;
	const struct quantsim *qs;
	const struct params *p;
	const struct json *overrides;
	struct layer *layers;
	int n;
};

static bool override_fits(const struct resolve *r, const struct layer *l, const struct json *override)
{
	const struct json *match = json_get(override, "match");
	const char *glob = json_text(json_get(match, "name")), *type = json_text(json_get(match, "op_type"));
	return (!type || layer_match_type(r->qs, l, type)) && (!glob || layer_match_name(r->m, r->qs, l, glob));
}

static int64_t in_channels(const struct layer *l)
{
	return l->op == LAYER_CONV ? l->shape.shape[1] : l->fan_in;
}

/* Cuts the layer's weights into blocks where they can be cut, else leaves it at a grid a channel. */
static void set_blocks(struct layer *l, enum quant_granularity kind, int64_t size)
{
	struct layer_settings *s = &l->settings;
	s->granularity = QUANT_PER_CHANNEL;
	if (l->groups > 1)
		s->refused = "it is a convolution with groups";
	else if (l->op == LAYER_CONV && l->spatial != 2)
		s->refused = "it is a convolution in other than two dimensions";
	else if (in_channels(l) % size == 0) {
		s->granularity = kind;
		s->block_size = size;
		l->blocks = in_channels(l) / size;
	}
}

/* The first candidate i of n with (i + 1) / n at least as large as the fraction. */
static int first_candidate(double fraction, int n)
{
	int i = (int)ceil(fraction * n - 1e-9) - 1;
	return i < 0 ? 0 : i;
}

/* What the settings, or else the simulation, say about the weight's grids. */
static void fill_grids(struct layer *l, const struct params *p, const struct quantsim_quantizer *q)
{
	struct layer_settings *s = &l->settings;
	enum quant_granularity kind = q ? q->granularity : QUANT_PER_CHANNEL;
	int64_t size = q ? q->block_size : 0;
	s->mode = q ? q->mode : (struct quant_mode){.symmetric = true};
	s->mode.bw = (int)p->param_bw;
	if (p->symmetric != PARAMS_SYMMETRIC_AS_CONFIGURED)
		s->mode.symmetric = p->symmetric == PARAMS_TRUE;
	if (p->granularity == PARAMS_PER_TENSOR || p->granularity == PARAMS_PER_CHANNEL)
		kind = p->granularity == PARAMS_PER_TENSOR ? QUANT_PER_TENSOR : QUANT_PER_CHANNEL;
	if (p->granularity == PARAMS_BLOCK) {
		kind = p->lpbq ? QUANT_LPBQ : QUANT_PER_BLOCK;
		size = p->block_size;
	}
	s->granularity = kind;
	l->blocks = 1;
	if (kind == QUANT_PER_BLOCK || kind == QUANT_LPBQ)
		set_blocks(l, kind, size);
}

static void fill(struct layer *l, const struct params *p, const struct quantsim_quantizer *q)
{
	l->settings = (struct layer_settings){.loss = (enum loss_fn)p->loss_fn,
	                                      .num_candidates = (int)p->num_candidates,
	                                      .first_candidate = first_candidate(p->min_range, (int)p->num_candidates),
	                                      .search = (enum search_kind)p->search,
	                                      .guard = (enum search_guard)p->guard,
	                                      .dead = (enum search_dead)p->dead_channels};
	fill_grids(l, p, q);
}

/* ---- all layers ---- */

static int resolve_layer(const struct resolve *r, struct layer *l, struct err *e)
{
	struct params p = *r->p; /* what overrides set lies in the struct itself */
	size_t last = json_size(r->overrides);
	for (size_t i = 0; i < json_size(r->overrides); i++) {
		if (!override_fits(r, l, json_at(r->overrides, i)))
			continue;
		last = i;
		if (apply(json_at(r->overrides, i), &p, e))
			return err_at(e, "/overrides/%zu", i);
	}
	if (last < json_size(r->overrides)) {
		const struct json *v = json_at(r->overrides, last);
		if (check_blocks(&p, names(v, "block_size"), names(v, "lpbq"), e))
			return err_at(e, "/overrides/%zu", last);
	}
	fill(l, &p, r->qs ? layer_quantizer(r->qs, l) : NULL);
	return 0;
}

/* An override has to match a layer, and its blocks have to fit one. */
static int check_use(const struct resolve *r, size_t i, struct err *e)
{
	const struct json *v = json_at(r->overrides, i), *match = json_get(v, "match");
	const char *glob = json_text(json_get(match, "name")), *op = json_text(json_get(match, "op_type"));
	bool matched = false, cut = false;
	for (int k = 0; k < r->n; k++) {
		bool fits = override_fits(r, &r->layers[k], v);
		matched = matched || fits;
		cut = cut || (fits && r->layers[k].settings.block_size > 0);
	}
	if (!matched && glob) {
		(void)layer_match_nothing(r->m, r->qs, r->layers, r->n, glob, e);
		return err_at(e, "/overrides/%zu/match/name", i);
	}
	if (!matched)
		return err_set(e, ERR_BAD_PARAM,
		               "/overrides/%zu/match/op_type: the model has no %.100s among its Conv, Gemm and MatMul", i, op);
	if (json_int(json_get(v, "block_size")) > 0 && !cut)
		return err_set(e, ERR_BAD_PARAM,
		               "/overrides/%zu/block_size: %lld divides the input channels of no layer that it is for", i,
		               (long long)json_int(json_get(v, "block_size")));
	return 0;
}

static int check_size(const struct resolve *r, struct err *e)
{
	if (r->p->granularity != PARAMS_BLOCK)
		return 0;
	for (int i = 0; i < r->n; i++)
		if (r->layers[i].settings.block_size > 0)
			return 0;
	return err_set(e, ERR_BAD_PARAM, "/block_size: %lld divides the input channels of no layer", (long long)r->p->block_size);
}

int layer_settings_resolve(const struct onnx_model *m, const struct quantsim *qs, const struct params *p, struct layer *layers,
                           int n, struct err *e)
{
	struct json *overrides;
	if (layer_settings_check(p, e) || read_overrides(p, &overrides, e))
		return -1;
	const struct resolve r = {m, qs, p, overrides, layers, n};
	int rc = 0;
	for (int i = 0; i < n && !rc; i++)
		if (layers[i].searchable)
			rc = resolve_layer(&r, &layers[i], e);
	for (size_t i = 0; i < json_size(overrides) && !rc; i++)
		rc = check_use(&r, i, e);
	if (!rc)
		rc = check_size(&r, e);
	json_free(overrides);
	return rc;
}

void layer_settings_tell(struct quantsim *qs, const struct layer *layers, int n)
{
	for (int i = 0; i < n; i++) {
		const struct layer *l = &layers[i];
		const struct layer_settings *s = &l->settings;
		if (!l->searchable || (l->owner >= 0 && l->owner != i))
			continue;
		(void)quantsim_set_weight(qs, qs->op_of_node[l->node], s->mode.bw, s->granularity, s->block_size);
		qs->quantizers[qs->of_value[l->weight]].mode = s->mode;
	}
}
