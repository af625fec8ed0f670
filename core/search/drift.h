#ifndef SEQMSE_DRIFT_H
#define SEQMSE_DRIFT_H

/* What different inputs of the two sides do by themselves. With x the quantized side's input vector at a position and r = w . (x - x_float) the error of an
 * unchanged weight vector w, a change d has the squared error
 *     sum (d . x + r)^2 = d^T G d + 2 d . h + square,    G = sum x x^T,  h = sum r x,  square = sum r^2
 * so next to the Gram matrix two products of a forward pass's size are enough. Products are summed in float over a tile, tiles in double. */

#include "core/search/evidence.h"

struct drift {
	int64_t groups, vectors, fan_in;
	double *h;      /* [groups][vectors][fan_in] */
	double *square; /* [groups][vectors] */
	double *size;   /* [groups][vectors] sum of the squared terms that r is a sum of */
};

int drift_init(struct drift *t, int64_t groups, int64_t vectors, int64_t fan_in, struct err *e);
void drift_fini(struct drift *t);

/* Adds a batch, whose two sides see different inputs, for the weights of the question. */
int drift_add(struct drift *t, const struct patches_input *in, const struct evidence_ask *ask, struct tiles *tiles, struct err *e);

#endif
