#ifndef SEQMSE_EVALUATE_H
#define SEQMSE_EVALUATE_H

/* What quantization does to a model's outputs, on data that are not those it was calibrated with.
 *
 *     struct evaluate *v = evaluate_new(qs->model, ort, data, 0, &settings, &e);
 *     struct evaluate_row rows[EVALUATE_ROWS];
 *     n = evaluate_table(v, minmax, searched, rows, &e);   … for a report: evaluate_row_json() …
 *     evaluate_free(v);
 *
 * Every score compares with the float model, whose outputs are kept where they are small, else computed again; with labels it also says how often the model is right. Labels are an array of the data
 * file that feeds no input:
 *   [samples] integers                 the right class;
 *   [samples][classes], not 0          the acceptable classes;
 *   [queries] integers, fewer than samples, for the metric "retrieval": the first samples are queries, the others what is searched, and the label is the number of the
 *                                      sample that the query should find, by the cosine of the output's rows.
 */

#include "core/base/json.h"
#include "core/simulate/sim.h"

enum evaluate_metric {
	EVALUATE_AUTO, /* by the labels' shape; without labels only SQNR and cosine */
	EVALUATE_ACCURACY,
	EVALUATE_RETRIEVAL,
	EVALUATE_OUTPUTS, /* SQNR and cosine, whatever labels there are */
};

struct evaluate_settings {
	/* The labels' array; NULL: the first that is there of "label", "label_sets", "pair_of_query", "pseudo_label". */
	const char *labels;
	const char *inputs; /* the setting of that name: how arrays feed the model (calib_map.h); NULL: by their names */
	enum evaluate_metric metric;
	const char *
		output; /* what the labels are about; NULL: the first float output of [samples][classes], of several numbers each */
	int top_k;      /* 0: 5; without meaning where there are no more classes than that */
	bool plain;     /* without graph optimizations */
};

/* ERR_BAD_PARAM for a name that there is not, "accuracy", "retrieval", "sqnr" or "auto" being the metrics' names. */
int evaluate_metric_parse(const char *text, enum evaluate_metric *metric, struct err *e);

/* Of one float output. sqnr is in decibels, INFINITY where nothing differs; cosine is the mean over the samples. */
struct evaluate_output {
	char *name;
	double sqnr, cosine;
};

/* Shares lie in 0 .. 1 and are NAN where they do not apply. */
struct evaluate_score {
	int64_t samples;
	double accuracy, top_k, retrieval;
	double agreement; /* how often the float model's first choice is this one's, too */
	struct evaluate_output *outputs;
	size_t noutputs;
};

void evaluate_score_fini(struct evaluate_score *s);

struct evaluate;

/* model is the sims'. batch_size and what is refused: calib_new(). All must outlive the result. */
struct evaluate *evaluate_new(const struct onnx_model *model, struct ort *ort, struct arrays *data, int64_t batch_size,
                              const struct evaluate_settings *settings, struct err *e);
void evaluate_free(struct evaluate *v);
const char *evaluate_labels(const struct evaluate *v); /* the array that is used, NULL: none */

/* Asked once a batch; true ends with ERR_CANCELED. */
void evaluate_hooks(struct evaluate *v, bool (*canceled)(void *ctx), void *ctx);

/* Scores a simulation in a mode of sim_run_new() (not SIM_OBSERVED). Free *score with evaluate_score_fini(). */
int evaluate_score(struct evaluate *v, const struct sim *s, enum sim_mode mode, struct evaluate_score *score, struct err *e);

/* The table of a report: fp32, then each simulation with weights only and with activations. */
enum { EVALUATE_ROWS = 5 };
struct evaluate_row {
	const char *weights; /* "fp32", "minmax", "searched" */
	bool activations;
	struct evaluate_score score;
};
/* minmax may be NULL. Returns the number of rows, or -1. Free each score. */
int evaluate_table(struct evaluate *v, const struct sim *minmax, const struct sim *searched,
                   struct evaluate_row rows[EVALUATE_ROWS], struct err *e);

/* {"weights":"searched","activations":true,"samples":600,"accuracy":0.99,"top_k":null,"k":5,"retrieval":null,"agreement":1.0,
 *  "outputs":[{"name":"logits","sqnr_db":22.9,"cosine":0.99}]} */
void evaluate_row_json(const struct evaluate *v, const struct evaluate_row *row, struct json_out *w, const char *key);

#endif
