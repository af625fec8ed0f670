/* What a job found for each layer: all of them, and one's loss curve. */

#include "api/handlers.h"
#include "api/problems.h"
#include "api/replies.h"
#include "core/search/loss.h"

#include <stdlib.h>
#include <string.h>

/* A layer's texts, parsed. */
struct parsed {
	struct json *settings, *chosen, *curve; /* NULL where there is none */
	size_t candidates;                      /* 0 where it is not known */
	int64_t *histogram;                     /* [candidates] how many grids chose each */
};

static struct json *parse(const char *text, struct err *e)
{
	return text ? json_parse(text, strlen(text), e) : NULL;
}

static void parsed_fini(struct parsed *p)
{
	json_free(p->settings);
	json_free(p->chosen);
	json_free(p->curve);
	free(p->histogram);
}

static int parsed_init(struct parsed *p, const struct api_layer *l, struct err *e)
{
	struct err why = ERR_INIT;
	*p = (struct parsed){
		.settings = parse(l->settings, &why), .chosen = parse(l->chosen, &why), .curve = parse(l->curve, &why)};
	int64_t n = json_int(json_get(p->settings, "candidates"));
	p->candidates = n > 0 ? (size_t)n : 0;
	p->histogram = calloc(p->candidates + 1, sizeof *p->histogram);
	if (!p->histogram || why.code == ERR_MEMORY)
		return err_nomem(e, "a layer");
	for (size_t i = 0; i < json_size(p->chosen); i++) {
		int64_t c = json_int(json_at(p->chosen, i));
		if (c >= 0 && (size_t)c < p->candidates)
			p->histogram[c]++;
	}
	return 0;
}

static void value_or_null(struct json_out *w, const char *key, const struct json *v)
{
	if (v)
		json_out_value(w, key, v);
	else
		json_out_null(w, key);
}

static void counts(struct json_out *w, const struct parsed *p)
{
	if (p->candidates == 0) {
		json_out_null(w, "histogram");
		return;
	}
	json_out_array(w, "histogram");
	for (size_t i = 0; i < p->candidates; i++)
		json_out_integer(w, NULL, p->histogram[i]);
	json_out_end_array(w);
}

static void layer_json(struct json_out *w, const struct api_layer *l, const struct parsed *p)
{
	json_out_object(w, NULL);
	json_out_integer(w, "index", l->index);
	json_out_string(w, "node", l->node);
	json_out_string(w, "op_type", l->op_type);
	json_out_string(w, "weight", l->weight);
	json_out_integer(w, "channels", l->channels);
	json_out_integer(w, "fan_in", l->fan_in);
	json_out_string(w, "strategy", l->strategy);
	json_out_integer(w, "rechecked", l->rechecked);
	json_out_real(w, "ms", l->seconds * 1000);
	json_out_real(w, "loss", l->loss);
	json_out_real(w, "minmax_loss", l->minmax_loss);
	json_out_real(w, "gain", loss_gain(l->loss, l->minmax_loss));
	value_or_null(w, "settings", p->settings);
	counts(w, p);
	value_or_null(w, "chosen", p->chosen);
	json_out_end_object(w);
}

static int list_json(struct json_out *w, const struct api_layer *l, size_t n, struct err *e)
{
	json_out_object(w, NULL);
	json_out_array(w, "data");
	for (size_t i = 0; i < n; i++) {
		struct parsed p;
		int rc = parsed_init(&p, &l[i], e);
		if (rc == 0)
			layer_json(w, &l[i], &p);
		parsed_fini(&p);
		if (rc < 0)
			return -1;
	}
	json_out_end_array(w);
	json_out_end_object(w);
	return 0;
}

HANDLER(results_layers)
{
	struct api_layer *l;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	if (a->backend.job_layers(a->backend.ctx, &q->who, q->args[0], &l, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	if (list_json(&w, l, n, &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_end(r, q, 200);
	api_layers_free(l, n);
}

/* ---- the curve ---- */

static void points_json(struct json_out *w, const struct parsed *p)
{
	json_out_array(w, "points");
	for (size_t i = 0; i < json_size(p->curve) && i < p->candidates; i++) {
		json_out_object(w, NULL);
		json_out_integer(w, "candidate", (int64_t)i);
		json_out_real(w, "range", (double)(i + 1) / (double)p->candidates);
		json_out_value(w, "loss", json_at(p->curve, i));
		json_out_integer(w, "chosen", p->histogram[i]);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

static void curve_json(struct json_out *w, const struct api_layer *l, const struct parsed *p)
{
	json_out_object(w, NULL);
	json_out_integer(w, "index", l->index);
	json_out_string(w, "node", l->node);
	value_or_null(w, "loss_fn", json_get(p->settings, "loss_fn"));
	json_out_real(w, "loss", l->loss);
	json_out_real(w, "minmax_loss", l->minmax_loss);
	points_json(w, p);
	json_out_end_object(w);
}

/* The index of a layer, -1 for what is none. */
static int64_t index_of(const char *text)
{
	size_t n = strlen(text);
	return n > 0 && n <= 9 && strspn(text, "0123456789") == n ? strtoll(text, NULL, 10) : -1;
}

HANDLER(results_curve)
{
	struct api_layer l;
	struct parsed p;
	struct err e = ERR_INIT;
	struct json_out w;
	if (a->backend.job_layer(a->backend.ctx, &q->who, q->args[0], index_of(q->args[1]), &l, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	if (parsed_init(&p, &l, &e) < 0) {
		problem_of(r, q, &e, NULL);
	} else {
		reply_begin(r, &w);
		curve_json(&w, &l, &p);
		reply_end(r, q, 200);
	}
	parsed_fini(&p);
	api_layer_fini(&l);
}
