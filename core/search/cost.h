#ifndef SEQMSE_COST_H
#define SEQMSE_COST_H

/* What a layer's search costs in seconds and bytes, by either strategy of evidence.h, and which of them to take. Multiply-adds, for N positions, K weights a
 * vector, R candidates of all vectors (core/DESIGN.md, "What a search costs", has where they come from):
 *
 *     gram      gathering N gram_work(), and gram_moved() bytes for each batch; asking R K^2 / 2, once the matrix is halved; of a loss that is taken batch by
 *               batch both, for every batch, while asking
 *     direct    asking N K R, after N K numbers were read again and copied, and R K of changes made, for every batch
 *     bounds    (shortlist.h) of rank r leave about three of a vector's candidates to be asked for: R K changes and R K r more, instead of the rest, and 4 r K^2 or
 *               4 r N K for the sketch, of which 32 directions are one thread's
 *     signal    of mse one more row for each vector: the layer's output itself
 *     pools     (pools.h) cost a 16th of asking, or an 8th, and leave the full range, the most promising candidate and 15 % of all
 *     asym      on top, for V vectors: 2 N K V, an output and a gradient of the weights; both sides' inputs and their differences are read
 *
 * divided by the rates of the machine's kernels. The answers do not depend on the choice.
 */

#include "core/kernels/patches.h"
#include "core/search/evidence.h"
#include "core/search/rates.h"

struct cost_layer {
	struct patches patches; /* of some batch */
	enum loss_fn loss;
	bool by_pixel;     /* evidence.h */
	bool two_inputs;   /* the sides see different ones */
	int64_t batches;   /* in all */
	int64_t positions; /* in all batches */
	int64_t vectors;   /* weight vectors of all groups, of all layers that share the evidence */
	double candidates; /* of each, on average */
	bool alone;        /* each vector has a grid of its own: bounds can be used */
	int64_t memory;    /* bytes that the evidence may take, if it can; 0: any */
	int threads;
};

struct cost {
	enum evidence_strategy strategy; /* never AUTO */
	double gather, ask;              /* seconds */
	int64_t bytes;                   /* of the evidence and its scratch memory, about, where they are largest */
};

/* The most bytes that a layer's evidence takes, whatever its input is. */
int64_t cost_bytes_at_most(const struct layer *l, int threads);

/* Of the given strategy; for AUTO of the cheapest that fits into the memory. Where only one can be had, of that. */
struct cost cost_of(const struct rates *r, const struct cost_layer *l, enum evidence_strategy s);

#endif
