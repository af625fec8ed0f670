#ifndef SEQMSE_RUN_H
#define SEQMSE_RUN_H

/* A run in progress, shared by seqmse.c (the walk), seqmse_stage.c (a stage of it) and seqmse_settle.c (what has to be known
 * exactly). Nobody else includes it. */

#include "feed.h"
#include "layer_search.h"
#include "patches.h"
#include "plan.h"
#include "seqmse.h"
#include "tiles.h"

/* What outlives the run. */
struct seqmse_result {
	const struct onnx_model *m;
	struct layer *layers;                  /* all Conv, Gemm, MatMul */
	int nlayers;
	struct seqmse_layer_result *searched;  /* [nsearched], in the order of the graph */
	struct layer_search **searches;        /* [nsearched], NULL before */
	size_t nsearched;
	float **replaced;                      /* [values] */
	struct encodings encodings;
	struct seqmse_stats stats;
};

struct run {
	const struct onnx_model *m;
	const struct params *params;
	struct seqmse_hooks hooks;
	const struct encodings *expected; /* of seqmse_check(), else NULL */
	struct seqmse_check *check;
	struct seqmse_result *r;
	struct calib_input *inputs;
	struct plan plan;
	struct feed feed;
	struct tiles *tiles;
	int done; /* layers */
	double started;
};

double run_now(void); /* seconds */
/* ERR_CANCELED where the caller wants to stop. */
int run_canceled(const struct run *x, struct err *e);
/* part: how much of the stage is done, 0..1; stage NULL: still loading. */
void run_progress(const struct run *x, double part, const struct plan_stage *stage, const char *current);
const char *run_node_name(const struct run *x, const struct layer *l);
struct quant_mode run_mode(const struct run *x);

/* A layer's input for a batch as vectors, from run_look() to run_looked() (to be called also when the former fails). */
struct run_seen {
	struct patches patches;
	struct ort_info info;
	const float *x;
	struct ort_value *held;
	float *copy;
};
int run_look(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen, struct err *e);
void run_looked(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen);

/* seqmse_stage.c: runs a stage's piece of the graph and searches its layers. */
int stage_run(struct run *x, const struct plan_stage *stage, struct err *e);

/* seqmse_settle.c: gives the candidates in doubt their exact losses; *rechecked counts them. */
int settle_doubts(const struct run *x, struct layer_search *s, int *rechecked, struct err *e);
/* The expected encoding of a layer, NULL where there is none; checked to fit. */
int settle_expected(const struct run *x, const struct layer_search *s, const struct encoding **want, struct err *e);
/* Compares a layer's choice with the expected encoding, channel by channel. */
int settle_compare(struct run *x, const struct layer_search *s, const struct encoding *want, struct err *e);

#endif
