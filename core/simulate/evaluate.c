#include "core/simulate/evaluate.h"

#include "core/base/half.h"
#include "core/workflow/model_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT = 1, FLOAT16 = 10, BFLOAT16 = 16, TOP_K = 5 };

/* Bytes of the float model's outputs that are kept from one score to the next. */
static const size_t keep_up_to = (size_t)256 << 20;

struct evaluate {
	const struct onnx_model *m;
	struct ort *ort;
	struct evaluate_settings settings;
	struct model_data data;
	/* Labels, NULL: none. Of classes: [samples]; sets: [samples][classes] bytes; of retrieval: [nlabels]. */
	const struct array *array;
	int64_t *labels;
	uint8_t *sets;
	int64_t nlabels, classes;
	bool (*canceled)(void *ctx);
	void *ctx;
	/* The float model's outputs, [batches][outputs]; NULL: there are none yet, or they are too many. */
	struct ort_value **kept;
	bool too_many;
};

int evaluate_metric_parse(const char *text, enum evaluate_metric *metric, struct err *e)
{
	static const char *const names[] = {"auto", "accuracy", "retrieval", "sqnr"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(text, names[i]) == 0) {
			*metric = (enum evaluate_metric)i;
			return 0;
		}
	return err_set(e, ERR_BAD_PARAM, "\"%s\" is none of auto, accuracy, retrieval and sqnr", text);
}

/* ---- labels ---- */

static const struct array *find_labels(struct arrays *z, const char *name, struct err *e)
{
	static const char *const usual[] = {"label", "label_sets", "pair_of_query", "pseudo_label"};
	const struct array *a = NULL;
	if (name) {
		a = arrays_find(z, name);
		if (!a)
			err_set(e, ERR_BAD_PARAM, "the data have no array %s to take labels from", name);
		return a;
	}
	for (size_t i = 0; i < sizeof usual / sizeof *usual && !a; i++)
		a = arrays_find(z, usual[i]);
	return a;
}

static int64_t integer_at(enum array_type type, const void *p, size_t i)
{
	switch (type) {
	case ARRAY_I8:
		return ((const int8_t *)p)[i];
	case ARRAY_BOOL:
	case ARRAY_U8:
		return ((const uint8_t *)p)[i];
	case ARRAY_I16:
		return ((const int16_t *)p)[i];
	case ARRAY_U16:
		return ((const uint16_t *)p)[i];
	case ARRAY_I32:
		return ((const int32_t *)p)[i];
	case ARRAY_U32:
		return ((const uint32_t *)p)[i];
	default:
		return ((const int64_t *)p)[i];
	}
}

static int read_labels(struct evaluate *v, struct arrays *z, struct err *e)
{
	const struct array *a = v->array;
	if (a->type > ARRAY_U64 || a->rank < 1 || a->rank > 2 || a->shape[0] < 1)
		return err_set(e, ERR_BAD_PARAM,
		               "the array %s cannot be labels: they are integers, one or a row of 0 and 1 for each sample",
		               a->name);
	size_t n = (size_t)a->shape[0] * (a->rank == 2 ? (size_t)a->shape[1] : 1);
	void *raw = malloc((n ? n : 1) * array_type_size(a->type));
	v->nlabels = a->shape[0];
	v->classes = a->rank == 2 ? a->shape[1] : 0;
	v->labels = a->rank == 1 ? malloc(n * sizeof *v->labels) : NULL;
	v->sets = a->rank == 2 ? malloc(n + 1) : NULL;
	int rc = raw && (v->labels || v->sets) ? arrays_read_rows(z, a, 0, a->shape[0], raw, e) : err_nomem(e, "labels");
	for (size_t i = 0; !rc && i < n; i++) {
		int64_t x = integer_at(a->type, raw, i);
		if (v->sets)
			v->sets[i] = x != 0;
		else
			v->labels[i] = x;
	}
	free(raw);
	return rc;
}

/* Settles the metric, and checks that the labels suit it. */
static int choose_metric(struct evaluate *v, struct err *e)
{
	int64_t samples = calib_samples(v->data.calib);
	enum evaluate_metric *metric = &v->settings.metric;
	if (!v->array) {
		if (*metric == EVALUATE_ACCURACY || *metric == EVALUATE_RETRIEVAL)
			return err_set(e, ERR_BAD_PARAM, "the data have no labels for this metric");
		*metric = EVALUATE_OUTPUTS;
		return 0;
	}
	if (*metric == EVALUATE_AUTO)
		*metric = v->nlabels < samples && v->labels ? EVALUATE_RETRIEVAL : EVALUATE_ACCURACY;
	if (*metric == EVALUATE_ACCURACY && v->nlabels != samples)
		return err_set(e, ERR_BAD_PARAM, "%lld labels in %s for %lld samples", (long long)v->nlabels, v->array->name,
		               (long long)samples);
	if (*metric == EVALUATE_RETRIEVAL && (!v->labels || v->nlabels >= samples))
		return err_set(
			e, ERR_BAD_PARAM,
			"for retrieval %s has to have one integer for each query, and there have to be samples that are none",
			v->array->name);
	return 0;
}

struct evaluate *evaluate_new(const struct onnx_model *model, struct ort *ort, struct arrays *data, int64_t batch_size,
                              const struct evaluate_settings *settings, struct err *e)
{
	struct evaluate *v = calloc(1, sizeof *v);
	if (!v) {
		err_nomem(e, "the evaluation");
		return NULL;
	}
	v->m = model;
	v->ort = ort;
	v->settings = *settings;
	if (v->settings.top_k == 0)
		v->settings.top_k = TOP_K;
	e->code = ERR_NONE;
	if (model_data_open(&v->data, model, data, settings->inputs, batch_size, 0, e))
		goto fail;
	if (settings->metric != EVALUATE_OUTPUTS)
		v->array = find_labels(data, settings->labels, e);
	if (e->code || (v->array && read_labels(v, data, e)) || choose_metric(v, e))
		goto fail;
	return v;
fail:
	evaluate_free(v);
	return NULL;
}

void evaluate_free(struct evaluate *v)
{
	if (!v)
		return;
	for (size_t i = 0; v->kept && i < (size_t)calib_batches(v->data.calib) * onnx_model_outputs(v->m); i++)
		ort_value_free(v->ort, v->kept[i]);
	free(v->kept);
	model_data_close(&v->data);
	free(v->labels);
	free(v->sets);
	free(v);
}

const char *evaluate_labels(const struct evaluate *v)
{
	return v->array ? v->array->name : NULL;
}

void evaluate_hooks(struct evaluate *v, bool (*canceled)(void *ctx), void *ctx)
{
	v->canceled = canceled;
	v->ctx = ctx;
}

void evaluate_score_fini(struct evaluate_score *s)
{
	for (size_t i = 0; i < s->noutputs; i++)
		free(s->outputs[i].name);
	free(s->outputs);
	*s = (struct evaluate_score){0};
}

/* ---- one score ---- */

/* Sums over the batches of one output. */
struct sums {
	bool used;
	double signal, noise, cosines;
	int64_t cosine_count;
};

struct scoring {
	struct evaluate *v;
	struct sums *sums; /* [outputs] */
	int judged;        /* the output that the labels are about; -1: not known yet */
	int64_t width;     /* numbers of a sample in it */
	int64_t seen, right, right_k, same;
	float *rows; /* retrieval: [samples][width] */
};

/* A tensor's numbers; *copy is malloc'ed or NULL. *x is NULL for what is not floating point. */
static int floats_of(struct ort *ort, struct ort_value *value, struct ort_info *info, const float **x, float **copy, struct err *e)
{
	*x = *copy = NULL;
	if (ort_value_info(ort, value, info, e))
		return -1;
	if (info->sequence || (info->elem_type != FLOAT && info->elem_type != FLOAT16 && info->elem_type != BFLOAT16))
		return 0;
	const void *data = ort_value_data(ort, value);
	*x = data;
	if (info->elem_type == FLOAT)
		return 0;
	*copy = malloc(((size_t)info->count + 1) * sizeof **copy);
	if (!*copy)
		return err_nomem(e, "an output");
	for (int64_t i = 0; i < info->count; i++)
		(*copy)[i] = info->elem_type == FLOAT16 ? half_to_float(((const uint16_t *)data)[i])
		                                        : bfloat_to_float(((const uint16_t *)data)[i]);
	*x = *copy;
	return 0;
}

static double cosine(const float *a, const float *b, int64_t n)
{
	double ab = 0, aa = 0, bb = 0;
	for (int64_t i = 0; i < n; i++) {
		ab += (double)a[i] * (double)b[i];
		aa += (double)a[i] * (double)a[i];
		bb += (double)b[i] * (double)b[i];
	}
	return aa == 0 && bb == 0 ? 1 : aa == 0 || bb == 0 ? 0 : ab / (sqrt(aa) * sqrt(bb));
}

static void add_sums(struct sums *s, const float *want, const float *got, int64_t rows, int64_t n)
{
	s->used = true;
	for (int64_t i = 0; i < n; i++) {
		double d = (double)want[i] - (double)got[i];
		s->signal += (double)want[i] * (double)want[i];
		s->noise += d * d;
	}
	for (int64_t r = 0; r < rows; r++)
		s->cosines += cosine(want + r * (n / rows), got + r * (n / rows), n / rows);
	s->cosine_count += rows;
}

static int64_t first_largest(const float *x, int64_t n)
{
	int64_t best = 0;
	for (int64_t i = 1; i < n; i++)
		if (x[i] > x[best] || isnan(x[best]))
			best = i;
	return best;
}

static bool is_right(const struct evaluate *v, int64_t sample, int64_t answer, int64_t width)
{
	if (v->labels)
		return v->labels[sample] == answer;
	return answer < v->classes && answer < width && v->sets[sample * v->classes + answer];
}

/* Whether one of the k first choices is right; ties in favour of the smaller number. */
static bool right_in(const struct evaluate *v, int64_t sample, const float *x, int64_t n, int k)
{
	for (int64_t answer = 0; answer < n; answer++) {
		if (!is_right(v, sample, answer, n))
			continue;
		int64_t better = 0;
		for (int64_t i = 0; i < n && better < k; i++)
			better += x[i] > x[answer] || (i < answer && x[i] == x[answer]);
		if (better < k && !isnan(x[answer]))
			return true;
	}
	return false;
}

static int judge(struct scoring *s, const float *want, const float *got, int64_t rows, int64_t width, struct err *e)
{
	const struct evaluate *v = s->v;
	int64_t samples = calib_samples_used(v->data.calib);
	s->width = width;
	if (v->settings.metric == EVALUATE_RETRIEVAL) {
		if (!s->rows)
			s->rows = malloc((size_t)(samples * width + 1) * sizeof *s->rows);
		if (!s->rows)
			return err_nomem(e, "the outputs of all samples");
		memcpy(s->rows + s->seen * width, got, (size_t)(rows * width) * sizeof *got);
		return 0;
	}
	for (int64_t r = 0; r < rows; r++) {
		const float *x = got + r * width;
		int64_t answer = first_largest(x, width);
		s->same += answer == first_largest(want + r * width, width);
		if (v->settings.metric != EVALUATE_ACCURACY)
			continue;
		s->right += !isnan(x[answer]) && is_right(v, s->seen + r, answer, width);
		s->right_k += right_in(v, s->seen + r, x, width, v->settings.top_k);
	}
	return 0;
}

/* Whether the labels are about output i, which has these dimensions. */
static bool is_judged(struct scoring *s, size_t i, const struct ort_info *info, int64_t rows)
{
	const char *name = s->v->settings.output;
	if (s->judged < 0 && (name ? strcmp(onnx_model_output(s->v->m, i)->name, name) == 0
	                           : info->rank >= 2 && info->shape[0] == rows && info->count > rows))
		s->judged = (int)i;
	return s->judged == (int)i && info->rank >= 1 && info->shape[0] == rows;
}

static int compare_outputs(struct scoring *s, struct ort_value *const *want, struct ort_value *const *got, int64_t rows,
                           struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < onnx_model_outputs(s->v->m) && !rc; i++) {
		struct ort_info a, b;
		const float *x, *y;
		float *copy_x, *copy_y = NULL;
		rc = floats_of(s->v->ort, want[i], &a, &x, &copy_x, e);
		if (!rc)
			rc = floats_of(s->v->ort, got[i], &b, &y, &copy_y, e);
		if (!rc && x && y && a.count == b.count && a.count > 0) {
			add_sums(&s->sums[i], x, y, a.rank > 0 && a.shape[0] == rows ? rows : 1, a.count);
			if (is_judged(s, i, &a, rows))
				rc = judge(s, x, y, rows, a.count / rows, e);
		}
		free(copy_x);
		free(copy_y);
	}
	s->seen += rows;
	return rc;
}

static double retrieved(const struct scoring *s)
{
	const struct evaluate *v = s->v;
	int64_t right = 0;
	for (int64_t q = 0; q < v->nlabels && q < s->seen; q++) {
		int64_t best = -1;
		double most = -2;
		for (int64_t i = v->nlabels; i < s->seen; i++) {
			double c = cosine(s->rows + q * s->width, s->rows + i * s->width, s->width);
			if (c > most) {
				most = c;
				best = i;
			}
		}
		right += best == v->labels[q];
	}
	return (double)right / (double)v->nlabels;
}

static int finish(struct scoring *s, struct evaluate_score *score, struct err *e)
{
	const struct evaluate *v = s->v;
	size_t nout = onnx_model_outputs(v->m);
	double n = (double)s->seen;
	bool accuracy = v->settings.metric == EVALUATE_ACCURACY, retrieval = v->settings.metric == EVALUATE_RETRIEVAL;
	if (s->judged < 0 && (accuracy || retrieval || v->settings.output))
		return err_set(e, ERR_BAD_PARAM, "the model has no floating point output %s that labels could be about",
		               v->settings.output ? v->settings.output : "of several numbers for each sample");
	*score = (struct evaluate_score){.samples = s->seen, .accuracy = NAN, .top_k = NAN, .retrieval = NAN, .agreement = NAN};
	if (accuracy)
		score->accuracy = (double)s->right / n;
	if (accuracy && s->width > v->settings.top_k)
		score->top_k = (double)s->right_k / n;
	if (retrieval)
		score->retrieval = retrieved(s);
	else if (s->judged >= 0)
		score->agreement = (double)s->same / n;
	score->outputs = calloc(nout + 1, sizeof *score->outputs);
	if (!score->outputs)
		return err_nomem(e, "the evaluation");
	for (size_t i = 0; i < nout; i++) {
		const struct sums *x = &s->sums[i];
		if (!x->used)
			continue;
		struct evaluate_output *o = &score->outputs[score->noutputs++];
		*o = (struct evaluate_output){strdup(onnx_model_output(v->m, i)->name),
		                              x->noise == 0 ? INFINITY : 10 * log10(x->signal / x->noise),
		                              x->cosines / (double)x->cosine_count};
		if (!o->name)
			return err_nomem(e, "the evaluation");
	}
	return 0;
}

/* Makes room for the outputs of all batches, if they are as large as these and fit. */
static int decide_to_keep(struct evaluate *v, struct ort_value *const *out, struct err *e)
{
	size_t nout = onnx_model_outputs(v->m), batches = (size_t)calib_batches(v->data.calib), bytes = 0;
	for (size_t i = 0; i < nout; i++) {
		struct ort_info info;
		if (ort_value_info(v->ort, out[i], &info, e))
			return -1;
		bytes += info.bytes;
	}
	v->too_many = bytes > keep_up_to / batches;
	if (!v->too_many)
		v->kept = calloc(batches * nout + 1, sizeof(struct ort_value *));
	return v->too_many || v->kept ? 0 : err_nomem(e, "the outputs");
}

/* The float model's outputs for a batch; *mine says whether they are the caller's to free. *run is made where it is needed. */
static int reference_outputs(struct evaluate *v, const struct sim *sim, struct sim_run **run, int64_t batch, struct ort_value **out,
                             bool *mine, struct err *e)
{
	size_t nout = onnx_model_outputs(v->m);
	struct ort_value **kept = v->kept ? v->kept + (size_t)batch * nout : NULL;
	*mine = false;
	if (kept && kept[0]) {
		memcpy(out, kept, nout * sizeof(struct ort_value *));
		return 0;
	}
	if (!*run && !(*run = sim_run_new(sim, v->ort, SIM_FLOAT, v->settings.plain, NULL, NULL, e)))
		return -1;
	if (sim_run_batch(*run, v->data.calib, batch, out, e))
		return -1;
	*mine = true;
	if (!v->kept && !v->too_many && decide_to_keep(v, out, e))
		return -1;
	if (v->kept) {
		memcpy(v->kept + (size_t)batch * nout, out, nout * sizeof(struct ort_value *));
		*mine = false;
	}
	return 0;
}

static void free_values(struct ort *ort, struct ort_value **values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ort_value_free(ort, values[i]);
}

/* run is NULL for the float model's own score. */
static int walk(struct scoring *s, const struct sim *sim, struct sim_run *run, struct err *e)
{
	struct evaluate *v = s->v;
	struct sim_run *reference = NULL;
	size_t nout = onnx_model_outputs(v->m);
	struct ort_value **want = calloc(nout + 1, sizeof(struct ort_value *)),
			 **got = calloc(nout + 1, sizeof(struct ort_value *));
	int rc = want && got ? 0 : err_nomem(e, "the outputs");
	for (int64_t b = 0; !rc && b < calib_batches(v->data.calib); b++) {
		bool mine = false;
		if (v->canceled && v->canceled(v->ctx))
			rc = err_set(e, ERR_CANCELED, "canceled");
		if (!rc)
			rc = reference_outputs(v, sim, &reference, b, want, &mine, e);
		if (!rc && run)
			rc = sim_run_batch(run, v->data.calib, b, got, e);
		if (!rc)
			rc = compare_outputs(s, want, run ? got : want, calib_rows(v->data.calib, b), e);
		if (mine)
			free_values(v->ort, want, nout);
		if (run)
			sim_run_done(run, got);
	}
	sim_run_free(reference);
	free(want);
	free(got);
	return rc;
}

int evaluate_score(struct evaluate *v, const struct sim *sim, enum sim_mode mode, struct evaluate_score *score, struct err *e)
{
	struct scoring s = {.v = v, .judged = -1};
	struct sim_run *run = NULL;
	int rc = -1;
	*score = (struct evaluate_score){0};
	s.sums = calloc(onnx_model_outputs(v->m) + 1, sizeof *s.sums);
	if (!s.sums) {
		err_nomem(e, "the evaluation");
		goto out;
	}
	if (mode != SIM_FLOAT) {
		run = sim_run_new(sim, v->ort, mode, v->settings.plain, NULL, NULL, e);
		if (!run)
			goto out;
	}
	rc = walk(&s, sim, run, e);
	if (!rc)
		rc = finish(&s, score, e);
out:
	sim_run_free(run);
	free(s.sums);
	free(s.rows);
	if (rc)
		evaluate_score_fini(score);
	return rc;
}

/* ---- the table ---- */

int evaluate_table(struct evaluate *v, const struct sim *minmax, const struct sim *searched,
                   struct evaluate_row rows[EVALUATE_ROWS], struct err *e)
{
	const struct {
		const char *weights;
		const struct sim *sim;
		enum sim_mode mode;
	} all[EVALUATE_ROWS] = {
		{"fp32", searched, SIM_FLOAT},       {"minmax", minmax, SIM_WEIGHTS},       {"minmax", minmax, SIM_QUANTIZED},
		{"searched", searched, SIM_WEIGHTS}, {"searched", searched, SIM_QUANTIZED},
	};
	int n = 0;
	for (int i = 0; i < EVALUATE_ROWS; i++) {
		if (!all[i].sim)
			continue;
		rows[n] = (struct evaluate_row){.weights = all[i].weights, .activations = all[i].mode == SIM_QUANTIZED};
		if (evaluate_score(v, all[i].sim, all[i].mode, &rows[n].score, e)) {
			while (n-- > 0)
				evaluate_score_fini(&rows[n].score);
			return -1;
		}
		n++;
	}
	return n;
}

void evaluate_row_json(const struct evaluate *v, const struct evaluate_row *row, struct json_out *w, const char *key)
{
	const struct evaluate_score *s = &row->score;
	json_out_object(w, key);
	json_out_string(w, "weights", row->weights);
	json_out_bool(w, "activations", row->activations);
	json_out_integer(w, "samples", s->samples);
	json_out_real(w, "accuracy", s->accuracy);
	json_out_real(w, "top_k", s->top_k);
	json_out_integer(w, "k", v->settings.top_k);
	json_out_real(w, "retrieval", s->retrieval);
	json_out_real(w, "agreement", s->agreement);
	json_out_array(w, "outputs");
	for (size_t i = 0; i < s->noutputs; i++) {
		json_out_object(w, NULL);
		json_out_string(w, "name", s->outputs[i].name);
		json_out_real(w, "sqnr_db", s->outputs[i].sqnr);
		json_out_real(w, "cosine", s->outputs[i].cosine);
		json_out_end_object(w);
	}
	json_out_end_array(w);
	json_out_end_object(w);
}
