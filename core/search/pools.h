#ifndef SEQMSE_POOLS_H
#define SEQMSE_POOLS_H

/* Lower bounds of losses for a small part of their price, out of sums of neighbouring inputs: for any set S of positions
 *
 *     sum over S of |e| >= |sum over S of e|        sum over S of e^2 >= (sum over S of e)^2 / |S|
 *
 * (triangle inequality; Cauchy-Schwarz), and errors are linear in the inputs, so that the sum over S of e is the error at the sum of S's vectors. Neighbours in a picture look
 * alike, so that little is lost (DESIGN.md has what it saves). */

#include "core/search/evidence.h"

/* How many positions of so many make a set. */
int64_t pools_size(int64_t positions);

/* Adds a lower bound of a batch's loss to every row's; what rounding errors can make of it is taken off. */
int pools_add(const struct patches_input *in, const struct evidence_ask *ask, enum loss_fn loss, struct tiles *tiles, double *bound,
              struct err *e);

#endif
