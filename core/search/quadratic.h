#ifndef SEQMSE_QUADRATIC_H
#define SEQMSE_QUADRATIC_H

/* Sums of squared errors out of Gram matrices: d^T G d, and with two inputs 2 d . h + square (drift.h) on top. */

#include "core/kernels/gram.h"
#include "core/search/drift.h"
#include "core/search/evidence.h"

/* Of every row of the question: sum, of e^2, and size, the sum of the squared terms that the errors are sums of. drift may be NULL. */
int quadratic_sums(struct gram *g, int64_t groups, int64_t fan_in, const struct drift *drift, const struct evidence_ask *ask,
                   struct tiles *tiles, double *sum, double *size, struct err *e);

#endif
