#include "core/workflow/quantize_result.h"

#include "core/base/json.h"
#include "core/base/version.h"
#include "core/workflow/report_html.h"

#include <math.h>
#include <stdlib.h>

static void seconds_object(struct json_out *w, const struct quantize *q)
{
	const struct seqmse_stats *s = seqmse_stats(q->search);
	json_out_object(w, "seconds");
	json_out_real(w, "load", q->seconds_load + s->seconds_load);
	json_out_real(w, "graph", s->seconds_graph);
	json_out_real(w, "gram", s->seconds_gram);
	json_out_real(w, "search", s->seconds_search);
	json_out_real(w, "recheck", s->seconds_recheck);
	json_out_real(w, "search_total", s->seconds_total);
	json_out_real(w, "search_cpu", s->seconds_cpu);
	json_out_real(w, "calibrate", q->seconds_calibrate);
	json_out_real(w, "evaluate", q->seconds_evaluate);
	json_out_real(w, "export", q->seconds_export);
	json_out_real(w, "total",
	              q->seconds_load + s->seconds_total + q->seconds_calibrate + q->seconds_evaluate + q->seconds_export);
	json_out_end_object(w);
}

/* What the cost model expected of the search. */
static void predicted_object(struct json_out *w, const struct quantize *q)
{
	const struct seqmse_stats *s = seqmse_stats(q->search);
	json_out_object(w, "predicted_seconds");
	json_out_real(w, "graph", s->predicted_graph);
	json_out_real(w, "gram", s->predicted_gram);
	json_out_real(w, "search", s->predicted_search);
	json_out_real(w, "search_total", s->predicted_graph + s->predicted_gram + s->predicted_search);
	json_out_end_object(w);
}

static void real_list(struct json_out *w, const char *key, const double *v, int n)
{
	json_out_array(w, key);
	for (int i = 0; i < n; i++)
		json_out_real(w, NULL, v[i]);
	json_out_end_array(w);
}

static double sum(const double *v, int n)
{
	double s = 0;
	for (int i = 0; i < n; i++)
		s += v[i];
	return s;
}

/* How many grids took each of the candidates. Nothing is written without memory; buf_failed() tells. */
static void histogram(struct json_out *w, const struct seqmse_layer_result *l)
{
	json_out_array(w, "histogram");
	int *counts = calloc((size_t)l->candidates + 1, sizeof *counts);
	for (int i = 0; counts && i < l->ngrids; i++)
		counts[l->chosen[i]]++;
	for (int i = 0; counts && i < l->candidates; i++)
		json_out_integer(w, NULL, counts[i]);
	free(counts);
	json_out_end_array(w);
}

/* What each grid chose and lost. */
static void grids(struct json_out *w, const struct seqmse_layer_result *l)
{
	json_out_array(w, "chosen");
	for (int i = 0; i < l->ngrids; i++)
		json_out_integer(w, NULL, l->chosen[i]);
	json_out_end_array(w);
	real_list(w, "loss", l->loss, l->ngrids);
	real_list(w, "minmax_loss", l->minmax_loss, l->ngrids);
}

static void layer_object(struct json_out *w, const struct seqmse_layer_result *l, bool with_grids)
{
	json_out_object(w, NULL);
	json_out_integer(w, "index", l->index);
	json_out_string(w, "node", l->node);
	json_out_string(w, "op_type", l->op_type);
	json_out_string(w, "weight", l->weight);
	json_out_integer(w, "channels", l->channels);
	json_out_integer(w, "fan_in", l->fan_in);
	json_out_integer(w, "param_bw", l->mode.bw);
	json_out_bool(w, "symmetric", l->mode.symmetric);
	json_out_string(w, "granularity", quant_granularity_name(l->granularity));
	if (l->block_size)
		json_out_integer(w, "block_size", l->block_size);
	json_out_integer(w, "grids", l->ngrids);
	json_out_integer(w, "candidates", l->candidates);
	json_out_string(w, "loss_fn", loss_name(l->loss_fn));
	json_out_string(w, "strategy", l->strategy);
	json_out_integer(w, "rechecked", l->rechecked);
	json_out_real(w, "seconds", l->seconds);
	json_out_real(w, "predicted_seconds", l->predicted);
	if (l->fell_back)
		json_out_bool(w, "fell_back", true);
	histogram(w, l);
	double loss = sum(l->loss, l->ngrids), full = sum(l->minmax_loss, l->ngrids);
	json_out_real(w, "loss_total", loss);
	json_out_real(w, "minmax_loss_total", full);
	json_out_real(w, "gain", loss_gain(loss, full));
	json_out_real(w, "sqnr_db", l->signal > 0 ? 10 * log10(l->signal / loss) : (double)NAN);
	if (with_grids)
		grids(w, l);
	json_out_end_object(w);
}

/* ---- the parts around the layers ---- */

static void warnings(struct json_out *w, const struct quantize *q)
{
	json_out_array(w, "warnings");
	for (size_t i = 0; i < q->nwarnings; i++) {
		json_out_object(w, NULL);
		json_out_string(w, "code", q->warnings[i].code);
		json_out_string(w, "layer", q->warnings[i].place);
		json_out_string(w, "detail", q->warnings[i].detail);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

static void folds(struct json_out *w, const struct quantize *q)
{
	json_out_array(w, "folded");
	for (size_t i = 0; i < q->folds.n; i++) {
		const struct fold *f = &q->folds.p[i];
		json_out_object(w, NULL);
		json_out_string(w, "batch_norm", f->batch_norm);
		json_out_string(w, "into", f->node);
		json_out_string(w, "weight", f->weight);
		json_out_string(w, "bias", f->bias);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

static void agreements(struct json_out *w, const struct quantize *q)
{
	static const char *const files[] = {"model_qdq.onnx", "model_qdq_prequantized.onnx"};
	json_out_array(w, "qdq");
	for (size_t i = 0; i < 2; i++) {
		const struct quantize_agreement *a = &q->agreements[i];
		if (!a->known)
			continue;
		json_out_object(w, NULL);
		json_out_string(w, "file", files[i]);
		json_out_real(w, "sqnr_db", 10 * log10(a->signal / a->noise)); /* null where there is no difference at all */
		json_out_real(w, "largest_difference", a->largest);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

static void accuracy(struct json_out *w, const struct quantize *q)
{
	json_out_array(w, "accuracy");
	for (int i = 0; i < q->nrows; i++)
		evaluate_row_json(q->evaluate, &q->rows[i], w, NULL);
	json_out_end_array(w);
}

static int write(const struct quantize *q, bool with_grids, struct buf *out, struct err *e)
{
	const struct seqmse_stats *s = seqmse_stats(q->search);
	struct json_out w;
	json_out_init(&w, out, 0);
	json_out_object(&w, NULL);
	json_out_string(&w, "version", SEQMSED_VERSION);
	json_out_string(&w, "fingerprint", q->fingerprint);
	params_to_json(q->params, &w, "params");
	json_out_integer(&w, "samples", s->samples);
	json_out_integer(&w, "samples_used", s->samples_used);
	json_out_integer(&w, "batches", s->batches);
	json_out_integer(&w, "pieces", s->pieces);
	seconds_object(&w, q);
	predicted_object(&w, q);
	json_out_integer(&w, "spilled_bytes", s->spilled_bytes);
	warnings(&w, q);
	folds(&w, q);
	accuracy(&w, q);
	agreements(&w, q);
	json_out_array(&w, "layers");
	for (size_t i = 0; i < seqmse_layers(q->search); i++)
		layer_object(&w, seqmse_layer(q->search, i), with_grids);
	json_out_end_array(&w);
	json_out_end_object(&w);
	buf_str(out, "\n");
	return buf_failed(out) ? err_nomem(e, "the report") : 0;
}

int report_json(const struct quantize *q, struct buf *out, struct err *e)
{
	return write(q, true, out, e);
}

/* Made from the JSON, so that both say the same; but a model may have millions of grids, whose lists nobody reads on a page. */
int report_page(const struct quantize *q, struct buf *out, struct err *e)
{
	struct buf text = BUF_INIT;
	struct json *report = write(q, false, &text, e) ? NULL : json_parse(text.data, text.len, e);
	int rc = report ? report_html(report, out, e) : -1;
	json_free(report);
	buf_fini(&text);
	return rc;
}
