#include "server/layer_frame.h"

#include "core/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GRID = 4 }; /* numbers a channel */

static void reals(struct json_out *w, const char *key, const double *v, int n)
{
	json_out_array(w, key);
	for (int i = 0; i < n; i++)
		json_out_real(w, NULL, v[i]);
	json_out_end_array(w);
}

int layer_frame_write(const struct seqmse_layer_result *l, struct buf *out, struct err *e)
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
	json_out_string(&w, "strategy", l->strategy);
	json_out_integer(&w, "rechecked", l->rechecked);
	json_out_real(&w, "seconds", l->seconds);
	json_out_array(&w, "grids");
	for (int i = 0; i < l->channels; i++) {
		const double g[GRID] = {l->grids[i].min, l->grids[i].max, l->grids[i].delta, l->grids[i].offset};
		for (int k = 0; k < GRID; k++)
			json_out_real(&w, NULL, g[k]);
	}
	json_out_end_array(&w);
	json_out_array(&w, "chosen");
	for (int i = 0; i < l->channels; i++)
		json_out_integer(&w, NULL, l->chosen[i]);
	json_out_end_array(&w);
	reals(&w, "loss", l->loss, l->channels);
	reals(&w, "minmax_loss", l->minmax_loss, l->channels);
	json_out_end_object(&w);
	return buf_failed(out) ? err_nomem(e, "a layer's frame") : 0;
}

static int bad(struct err *e, const char *what)
{
	return err_set(e, ERR_INTERNAL, "the engine sent a layer with a wrong %s", what);
}

/* A sum over the channels; one that is not finite (null on the wire) makes it NaN. */
static double sum(const struct json *list)
{
	double s = 0;
	for (size_t i = 0; i < json_size(list); i++) {
		const struct json *v = json_at(list, i);
		s += json_is_number(v) ? json_number(v) : (double)NAN;
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
	size_t n = l->channels > 0 ? (size_t)l->channels : 0;
	if (n == 0 || l->index < 0 || !isfinite(l->seconds))
		return bad(e, "number");
	if (json_size(grids) != n * GRID || json_size(chosen) != n || json_size(loss) != n || json_size(minmax) != n)
		return bad(e, "list");
	l->loss = sum(loss);
	l->minmax_loss = sum(minmax);
	return read_texts(v, l, e) == 0 && read_grids(grids, out, e) == 0 && read_chosen(chosen, l, e) == 0 ? 0 : -1;
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
