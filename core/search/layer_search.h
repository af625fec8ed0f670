#ifndef SEQMSE_LAYER_SEARCH_H
#define SEQMSE_LAYER_SEARCH_H

/* The search in one layer: losses of the candidates of every unit, near-ties, the choice.
 *
 *     s = layer_search_new(…);  layer_search_losses(s, evidence, e);
 *     n = layer_search_doubts(s, &doubts, e);   … exact losses of these into s->loss …
 *     layer_search_choose(s);
 *
 * A unit is what is decided by itself: the weights of a channel, or of one block of a channel. Candidate i of a unit is the grid
 * quant_candidate(start[unit], i, candidates); its loss is what the evidence says of the layer's output, over all batches (of a block: of what the
 * block's inputs add to the output, without the layer's scale). The first least one is the unit's choice. Where the tensor has one grid, all
 * units start from that, and the grid is the largest of their choices.
 */

#include "core/grid/quant.h"
#include "core/search/evidence.h"
#include "core/search/layers.h"

struct layer_search {
	const struct layer *layer;
	struct layer_settings settings; /* the layer's */
	int64_t units, unit_len;        /* in the order [channels][blocks]; weights of each */
	int candidates;
	float *w;                 /* [units][unit_len] */
	struct quant_grid *start; /* [units] the full range */
	double *loss, *tol;       /* [units][candidates]; INFINITY where a candidate is not tried */
	/* after layer_search_choose() */
	int64_t ngrids;                    /* units, or 1 where the tensor has one grid */
	struct quant_grid *grids;          /* [ngrids] */
	int *chosen;                       /* [ngrids] */
	double *chosen_loss, *minmax_loss; /* [ngrids]; summed (decibels: averaged) over the units that share the grid */
	double *curve; /* [candidates] the layer's loss as an amount (loss.h) if all grids were that candidate, estimated where a unit
	                * could rule it out without its loss (evidence.h); INFINITY where not all units tried
	                * it, NULL where nothing was searched */
	int64_t dead; /* units to which different grids made no difference, because their input is always 0 */
};

struct layer_search *layer_search_new(const struct onnx_model *m, const struct layer *l, struct err *e);
void layer_search_free(struct layer_search *s);
/* Frees what only the search needed: the weights and the candidates' losses. The choice stays. */
void layer_search_slim(struct layer_search *s);

/* The sum of squares of the layer's outputs without bias, over all positions: what a sum of squared errors has to be compared with. Only where the loss is
 * mse and both sides see the same input. */
int layer_search_signal(const struct layer_search *s, struct evidence *v, double *signal, struct err *e);

/* Fills loss and tol. */
int layer_search_losses(struct layer_search *s, struct evidence *v, struct err *e);

/* A candidate whose loss must be known exactly before the unit can be decided. */
struct layer_doubt {
	int64_t unit;
	int candidate;
};

/* All doubts, by unit; *doubts is malloc'ed (NULL when none). Returns how many, -1 on error. */
int64_t layer_search_doubts(const struct layer_search *s, struct layer_doubt **doubts, struct err *e);

struct quant_grid layer_search_candidate(const struct layer_search *s, int64_t unit, int candidate);

/* d = the grid's version of the unit's weights minus the weights, times the scale, [unit_len]. */
void layer_search_change(const struct layer_search *s, int64_t unit, struct quant_grid grid, double *d);
const float *layer_search_weights(const struct layer_search *s, int64_t unit);
double layer_search_scale(const struct layer_search *s);                /* what outputs are products times */
int64_t layer_search_group(const struct layer_search *s, int64_t unit); /* of the evidence */

void layer_search_choose(struct layer_search *s);

/* The chosen grids as encodings files have them (LPBQ's compressed), [ngrids]. */
int layer_search_stored(const struct layer_search *s, struct quant_grid *grids, struct err *e);

/* The guard's question, after the choice: the losses that all units have together, with the chosen grids and with the full ranges, both as they are
 * exported (LPBQ's compressed). */
int layer_search_compare(struct layer_search *s, struct evidence *v, double *chosen, double *full, struct err *e);
/* Takes back all choices: full ranges. */
void layer_search_fall_back(struct layer_search *s);

/* The choice where nothing is searched: full ranges, and losses that are not known (NaN). */
void layer_search_choose_full(struct layer_search *s);

/* The weights on the given grids ([ngrids]), in the constant's own layout. */
int layer_search_apply(const struct layer_search *s, const struct quant_grid *grids, float *constant, struct err *e);

#endif
