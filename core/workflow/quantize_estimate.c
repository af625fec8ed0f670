#include "core/workflow/inspect.h"
#include "core/workflow/quantize_result.h"

#include "core/base/now.h"
#include "core/encodings/qdq.h"
#include "core/run/ort.h"
#include "core/run/slices.h"
#include "core/workflow/model_data.h"
#include "core/workflow/quantize_settings.h"

#include <stdlib.h>
#include <sys/resource.h>

enum { EVALUATIONS = 5, FLOAT_BYTES = 4, QDQ_MODELS = 2 };

/* The phases on two small batches. */
struct probe {
	struct quantize *q;
	struct params few; /* borrows */
	struct seqmse_estimate search;
	struct quantize_estimate *out;
	double scale;             /* samples of the run for each of a probe's batch */
	int64_t rows, batch_rows; /* samples of a batch, here and in the run */
	int64_t loaded, weights;  /* bytes: resident after loading; of all searched weights */
	/* while activations are calibrated */
	double at[3]; /* when it began, and after each batch */
	int64_t used; /* by tensors after the first batch: the session's weights */
	int64_t batches;
};

static int64_t resident(void)
{
	struct rusage u;
	return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

static void raise_peak(struct probe *p, int64_t bytes)
{
	bytes += p->loaded;
	p->out->peak_bytes = bytes > p->out->peak_bytes ? bytes : p->out->peak_bytes;
}

/* What a run's batch takes of the runtime's memory where the probe's took so much: a model's ends grow with the batch, the rest with what goes through at once. */
static int64_t batch_bytes(const struct probe *p, int64_t bytes)
{
	const struct quantize *q = p->q;
	const struct calibrate_settings settings = quantize_calibrate_settings(q->params);
	int64_t rows = calibrate_in_slices(&settings) ? slices_rows(q->model, q->types, NULL, 0, false) : 0;
	int64_t sample = rows ? slices_ends(q->model, q->types) : 0, inside = bytes - sample * p->rows;
	double more = (double)slices_largest(rows, p->batch_rows) / (double)slices_largest(rows, p->rows);
	return sample * p->batch_rows + (inside > 0 ? (int64_t)((double)inside * more) : 0);
}

static int search(struct probe *p, const struct quantize_inputs *in, const struct params *params, const struct rates *rates,
                  struct err *e)
{
	struct seqmse_estimate *s = &p->search;
	struct model_data d;
	if (seqmse_estimate(p->q->model, in->data, p->q->qs, params, rates, s, e))
		return -1;
	p->few = *params;
	p->few.num_batches = 2;
	if (seqmse_probe_batch(p->q->model, in->data, params, &p->few.batch_size, e))
		return -1;
	int rc = model_data_open(&d, p->q->model, in->data, params->inputs, p->few.batch_size, p->few.num_batches, e);
	if (!rc) {
		p->batches = calib_batches(d.calib);
		p->rows = calib_rows(d.calib, p->batches - 1);
		p->batch_rows = s->batch_rows;
		p->scale = (double)s->samples_used / (double)p->rows;
	}
	model_data_close(&d);
	p->weights = s->weight_bytes;
	raise_peak(p, s->bytes);
	return rc;
}

static void on_batch(void *ctx, int64_t batch, int64_t batches)
{
	struct probe *p = ctx;
	(void)batches;
	if (batch > 2)
		return;
	p->at[batch] = run_now();
	if (batch == 1)
		p->used = ort_used(p->q->ort);
	if (batch == 1 && p->batches > 1)
		(void)ort_peak(p->q->ort);
}

/* Seconds a batch by the last one; what came before the second one is paid once. */
static int calibrate_phase(struct probe *p, const struct quantize_inputs *in, struct err *e)
{
	const struct calibrate_hooks hooks = {.ctx = p, .progress = on_batch};
	struct quantize *q = p->q;
	int64_t before = ort_used(q->ort);
	q->params = &p->few;
	(void)ort_peak(q->ort);
	p->at[0] = run_now();
	q->sim = quantize_simulate(q, in->data, false, &hooks, e);
	if (!q->sim || quantize_collect(q, e))
		return -1;
	double end = run_now(), last = p->at[p->batches] - p->at[p->batches - 1];
	double once = p->batches > 1 && p->at[1] - p->at[0] > last ? p->at[1] - p->at[0] - last : 0;
	p->out->calibrate = once + last * p->scale + (end - p->at[p->batches]);
	raise_peak(p, 2 * p->weights + p->used - before + batch_bytes(p, ort_peak(q->ort) - p->used));
	return 0;
}

/* The float model and four quantized ones, and a second calibration. */
static int evaluate_phase(struct probe *p, const struct quantize_inputs *in, struct err *e)
{
	struct model_data d;
	if (!in->evaluation)
		return 0;
	int rc = model_data_open(&d, p->q->model, in->evaluation, NULL, p->q->params->batch_size, 0, e);
	double rows = rc ? 0 : (double)calib_samples_used(d.calib) / (double)calib_rows(d.calib, 0);
	model_data_close(&d);
	p->out->evaluate = p->out->calibrate + EVALUATIONS * rows * (p->at[p->batches] - p->at[p->batches - 1]);
	return rc ? err_wrap(e, "evaluation") : 0;
}

/* One of the two models with QuantizeLinear stands for both. */
static int export_phase(struct probe *p, struct err *e)
{
	struct quantize *q = p->q;
	struct buf b = BUF_INIT;
	struct err ignored = ERR_INIT;
	struct quantize_agreement agreement;
	double start = run_now();
	int rc = qdq_write(q->model, q->types, &q->encodings, (struct qdq_options){0}, &b, &ignored);
	if (!rc)
		(void)quantize_agree(q, &b, &agreement, &ignored);
	double taken = run_now() - start;
	p->out->export = QDQ_MODELS * taken;
	raise_peak(p, 3 * p->weights + 2 * (int64_t)b.len + q->agreeing_bytes);
	buf_fini(&b);
	return ignored.code == ERR_MEMORY ? err_set(e, ERR_MEMORY, "%s", ignored.msg) : 0;
}

int quantize_estimate(const struct quantize_inputs *in, const struct params *params, const struct rates *rates,
                      struct quantize_estimate *out, struct buf *layers, struct err *e)
{
	struct quantize *q = calloc(1, sizeof *q);
	struct probe p = {.q = q, .out = out};
	double start = run_now();
	*out = (struct quantize_estimate){0};
	if (!q)
		return err_nomem(e, "an estimate");
	q->params = params;
	q->model = in->model;
	q->data = in->data;
	int rc = quantize_load(q, in, e);
	out->load = run_now() - start;
	p.loaded = resident();
	raise_peak(&p, 0);
	if (!rc)
		rc = search(&p, in, params, rates, e);
	if (!rc && (calibrate_phase(&p, in, e) || evaluate_phase(&p, in, e) || export_phase(&p, e)))
		rc = -1;
	if (!rc && layers) {
		struct json_out w;
		json_out_init(&w, layers, 0);
		rc = inspect_layers_json(q->model, q->qs, params, &w, NULL, e);
	}
	out->graph = p.search.seconds_graph;
	out->gram = p.search.seconds_gram;
	out->search = p.search.seconds_search;
	out->spilled_bytes = p.search.spilled_bytes;
	out->total = out->load + out->graph + out->gram + out->search + out->calibrate + out->evaluate + out->export;
	quantize_free(q);
	return rc;
}

void quantize_estimate_json(const struct quantize_estimate *x, struct json_out *w, const char *key)
{
	json_out_object(w, key);
	json_out_real(w, "seconds", x->total);
	json_out_integer(w, "peak_bytes", x->peak_bytes);
	json_out_integer(w, "spilled_bytes", x->spilled_bytes);
	json_out_object(w, "phases");
	json_out_real(w, "load", x->load);
	json_out_real(w, "graph", x->graph);
	json_out_real(w, "gram", x->gram);
	json_out_real(w, "search", x->search);
	json_out_real(w, "calibrate", x->calibrate);
	json_out_real(w, "evaluate", x->evaluate);
	json_out_real(w, "export", x->export);
	json_out_end_object(w);
	json_out_end_object(w);
}
