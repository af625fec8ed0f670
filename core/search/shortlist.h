#ifndef SEQMSE_SHORTLIST_H
#define SEQMSE_SHORTLIST_H

/* A question's answer without the losses of changes that cannot be their vector's best. First the losses of the change with the least guess and of those that are wanted whatever
 * they are; then of all whose lower bound is not above the best of these. What is left over gets its guess in
 * place of its loss: a number above the best one's, and no more is asked of it. */

#include "core/base/err.h"
#include "core/search/evidence.h"

/* Losses and tolerances of all rows of a question; ctx is evidence. */
typedef int shortlist_fn(void *ctx, const struct evidence_ask *ask, double *loss, double *tol, struct err *e);

/* bound and guess have a number for each row of the question, which has optional(); no guess is less than its bound. fn is asked questions with first
 * (evidence.h); of one group also in the plain form, which is the same. */
int shortlist_losses(const struct evidence_ask *ask, int64_t groups, const double *bound, const double *guess, shortlist_fn *fn,
                     void *ctx, double *loss, double *tol, struct err *e);

#endif
