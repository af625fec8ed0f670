#include "report.h"

#include "json.h"
#include "version.h"

static void seconds_object(struct json_out *w, const struct seqmse_stats *s)
{
	json_out_object(w, "seconds");
	json_out_real(w, "load", s->seconds_load);
	json_out_real(w, "graph", s->seconds_graph);
	json_out_real(w, "gram", s->seconds_gram);
	json_out_real(w, "search", s->seconds_search);
	json_out_real(w, "recheck", s->seconds_recheck);
	json_out_real(w, "total", s->seconds_total);
	json_out_end_object(w);
}

static void real_list(struct json_out *w, const char *key, const double *v, int n)
{
	json_out_array(w, key);
	for (int i = 0; i < n; i++)
		json_out_real(w, NULL, v[i]);
	json_out_end_array(w);
}

static void layer_object(struct json_out *w, const struct seqmse_layer_result *l)
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
	json_out_real(w, "seconds", l->seconds);
	json_out_array(w, "chosen");
	for (int i = 0; i < l->channels; i++)
		json_out_integer(w, NULL, l->chosen[i]);
	json_out_end_array(w);
	real_list(w, "loss", l->loss, l->channels);
	real_list(w, "minmax_loss", l->minmax_loss, l->channels);
	json_out_end_object(w);
}

int report_json(const struct seqmse_result *r, const struct params *p, struct buf *out, struct err *e)
{
	const struct seqmse_stats *s = seqmse_stats(r);
	struct json_out w;
	json_out_init(&w, out, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "version", SEQMSED_VERSION);
	params_to_json(p, &w, "params");
	json_out_integer(&w, "samples", s->samples);
	json_out_integer(&w, "samples_used", s->samples_used);
	json_out_integer(&w, "batches", s->batches);
	json_out_integer(&w, "pieces", s->pieces);
	seconds_object(&w, s);
	json_out_integer(&w, "spilled_bytes", s->spilled_bytes);
	json_out_array(&w, "layers");
	for (size_t i = 0; i < seqmse_layers(r); i++)
		layer_object(&w, seqmse_layer(r, i));
	json_out_end_array(&w);
	json_out_end_object(&w);
	buf_str(out, "\n");
	return buf_failed(out) ? err_nomem(e, "the report") : 0;
}
