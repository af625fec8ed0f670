#ifndef SEQMSE_LAYER_SEARCH_H
#define SEQMSE_LAYER_SEARCH_H

/* The search in one layer: losses of every candidate of every channel, near-ties, the choice.
 *
 *     s = layer_search_new(…);  layer_search_losses(s, evidence, tiles, e);
 *     n = layer_search_doubts(s, &doubts, e);   … exact losses of these into s->loss …
 *     layer_search_choose(s);
 *
 * Candidate i of channel c is the grid quant_candidate(start[c], i, candidates); its loss is the squared error of the layer's output, summed
 * over all positions of all batches. The first least one is chosen.
 */

#include "evidence.h"
#include "layers.h"
#include "quant.h"

struct layer_search {
	const struct layer *layer;
	int64_t channels, fan_in;
	int candidates;
	struct quant_mode mode;
	float *w;                  /* [channels][fan_in] */
	struct quant_grid *start;  /* [channels] the full range */
	double *loss, *tol;        /* [channels][candidates] */
	/* after layer_search_choose() */
	struct quant_grid *grids;  /* [channels] */
	int *chosen;               /* [channels] */
	double *chosen_loss, *minmax_loss; /* [channels] */
};

struct layer_search *layer_search_new(const struct onnx_model *m, const struct layer *l, struct quant_mode mode, int candidates,
                                      struct err *e);
void layer_search_free(struct layer_search *s);

/* Fills loss and tol. */
int layer_search_losses(struct layer_search *s, struct evidence *v, struct tiles *tiles, struct err *e);

/* A candidate whose loss must be known exactly before the channel can be decided. */
struct layer_doubt {
	int64_t channel;
	int candidate;
};

/* All doubts, by channel; *doubts is malloc'ed (NULL when none). Returns how many, -1 on error. */
int64_t layer_search_doubts(const struct layer_search *s, struct layer_doubt **doubts, struct err *e);

/* d = the grid's version of the channel's weights minus the weights, [fan_in]. */
void layer_search_change(const struct layer_search *s, int64_t channel, struct quant_grid grid, double *d);
int64_t layer_search_group(const struct layer_search *s, int64_t channel);

void layer_search_choose(struct layer_search *s);

/* The weights on the given grids (one a channel), in the constant's own layout. */
int layer_search_apply(const struct layer_search *s, const struct quant_grid *grids, float *constant, struct err *e);

#endif
