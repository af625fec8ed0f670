#ifndef SEQMSE_DIRECT_H
#define SEQMSE_DIRECT_H

/* A batch's errors, made tile by tile and summed up at once; never more than a tile of them is kept. */

#include "core/search/evidence.h"

/* Of every row of the question: sum, of e^2 or (l1) |e| over the batch's positions, and size, the sum over positions and weights of the squared
 * terms that the errors are sums of. With pool > 1 (sweep.h) sum is of the errors of so many neighbours together, and size as without. */
int direct_sums(const struct patches_input *in, const struct evidence_ask *ask, enum loss_fn loss, int64_t pool,
                struct tiles *tiles, double *sum, double *size, struct err *e);

#endif
