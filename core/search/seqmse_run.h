#ifndef SEQMSE_RUN_H
#define SEQMSE_RUN_H

/* A run in progress, shared by seqmse.c (the walk), seqmse_stage.c (a stage of it), seqmse_settle.c (what has to be known
 * exactly), seqmse_estimate.c (what it will cost) and seqmse_known.c (what an earlier run found). Nobody else includes it. */

#include "core/base/now.h"
#include "core/base/tiles.h"
#include "core/kernels/patches.h"
#include "core/run/feed.h"
#include "core/search/cost.h"
#include "core/search/layer_search.h"
#include "core/search/plan.h"
#include "core/search/seqmse.h"
#include "core/workflow/model_data.h"

/* What outlives the run. */
struct seqmse_result {
	const struct onnx_model *m;
	struct layer *layers; /* all Conv, Gemm, MatMul */
	int nlayers;
	struct seqmse_layer_result *searched; /* [nsearched], in the order of the graph */
	struct layer_search **searches;       /* [nsearched], NULL before */
	size_t nsearched;
	float **replaced; /* [values] */
	struct encodings encodings, loaded;
	struct seqmse_stats stats;
};

struct run {
	const struct onnx_model *m;
	struct quantsim *qs; /* NULL where there is none */
	const struct params *params;
	struct seqmse_hooks hooks;
	struct encodings *expected; /* of seqmse_check(), else NULL */
	struct seqmse_check *check;
	struct seqmse_result *r;
	struct model_data data;
	struct plan plan;
	struct feed feed;
	struct tiles *tiles;
	int done;         /* layers */
	int64_t budget;   /* bytes of activations that may be kept in memory */
	int64_t evidence; /* bytes that a layer's evidence may take, if it can */
	double started;
};

/* ERR_CANCELED where the caller wants to stop. */
int run_canceled(const struct run *x, struct err *e);
/* part: how much of the stage is done beside the layers that count as done, 0..1; stage NULL: still loading. */
void run_progress(const struct run *x, double part, const struct plan_stage *stage, const char *current);
const char *run_node_name(const struct run *x, const struct layer *l);
enum symmetry run_symmetry(const struct run *x);

/* A layer's input for a batch as vectors, from run_look() to run_looked() (to be called also when the former fails). */
struct run_seen {
	struct patches_input in;
	struct ort_info info;
	/* [1] is the float side's, where the sides see different inputs */
	struct ort_value *held[2];
	float *copy[2];
};
int run_look(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen, struct err *e);
void run_looked(const struct run *x, const struct layer *l, int64_t batch, struct run_seen *seen);

/* Puts what the search says of its layer into the layer's place among the results; texts are borrowed. */
struct seqmse_layer_result *run_result(const struct run *x, size_t at, const struct layer_search *s, const char *strategy);

/* The weight of a searched layer for everything that runs after it: on these grids. */
int run_replace_weight(struct run *x, const struct layer_search *s, const struct quant_grid *grids, struct err *e);

/* seqmse.c: everything before the first stage; and the end of a run, whatever became of it. */
int run_prepare(struct run *x, struct arrays *data, struct err *e);
void run_fini(struct run *x);

/* seqmse_estimate.c: what the search of layers that share their evidence is made of, where a batch has these patches. */
struct cost_layer run_cost_layer(const struct run *x, const struct layer *first, const struct patches *p, int64_t batches,
                                 int64_t positions);
/* Adds another layer to it. */
void run_cost_add(struct cost_layer *c, const struct layer *l);
/* Whether two layers of a stage share their evidence. */
bool run_same_evidence(const struct layer *a, const struct layer *b);

/* seqmse_known.c: what the caller knows of a layer from an earlier run, at being its place among the results; NULL where it must be searched. */
const struct seqmse_layer_result *known_layer(const struct run *x, const struct layer *l, size_t at);
/* Takes that as the layer's result. */
int known_apply(struct run *x, const struct layer *l, size_t at, const struct seqmse_layer_result *known, struct err *e);

/* seqmse_stage.c: runs a stage's piece of the graph and searches its layers. */
int stage_run(struct run *x, const struct plan_stage *stage, struct err *e);

/* seqmse_settle.c: gives the candidates in doubt their exact losses; *rechecked counts them. */
int settle_doubts(const struct run *x, struct layer_search *s, int *rechecked, struct err *e);
/* The expected encoding of a layer, NULL where there is none. */
const struct encoding *settle_expected(const struct run *x, const struct layer_search *s);
/* Compares a layer's choice with the expected encoding, grid by grid. Where any differs, *live becomes the expected grids: those that what comes after the layer
 * is to see. */
int settle_compare(struct run *x, const struct layer_search *s, const struct encoding *want, const struct quant_grid **live,
                   struct err *e);

#endif
