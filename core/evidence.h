#ifndef SEQMSE_EVIDENCE_H
#define SEQMSE_EVIDENCE_H

/* What is kept of a layer's input while the batches go by, to tell afterwards what any change of its weights does to its
 * output. Two strategies with the same answer:
 *   gram:   the Gram matrix; its size and the price of a candidate do not depend on the number of positions.
 *   direct: the vectors themselves; cheaper where there are fewer positions than weights in a vector.
 * Layers that see the same vectors share one. */

#include "err.h"
#include "patches.h"
#include "tiles.h"

#include <stdbool.h>
#include <stdint.h>

enum evidence_strategy { EVIDENCE_AUTO, EVIDENCE_GRAM, EVIDENCE_DIRECT };

struct evidence;

/* positions: how many will come, about; rows: how many candidates will be asked for, channels times candidates of all layers. Direct needs one
 * group. */
struct evidence *evidence_new(enum evidence_strategy strategy, int64_t groups, int64_t fan_in, int64_t positions, int64_t rows,
                              struct tiles *tiles, struct err *e);
void evidence_free(struct evidence *v);
const char *evidence_strategy_name(const struct evidence *v);

int evidence_add(struct evidence *v, const struct patches *p, const float *x, struct err *e);
/* Ends adding. ERR_NON_FINITE where the input held NaN or infinity. */
int evidence_finish(struct evidence *v, struct err *e);

/* Losses of n changes: loss[i] = sum over the positions of (d_i . x)^2, d_i = row i of d, for the vectors of a group; tol[i] bounds its rounding
 * error (statistically, with a wide margin). To be asked group by group: evidence_group() comes before the group's first call, which then may come
 * from any thread. scratch has room for evidence_scratch() floats. */
int evidence_group(struct evidence *v, int64_t group, struct err *e);
enum { EVIDENCE_ROWS = 128 }; /* most rows a call */
int64_t evidence_scratch(const struct evidence *v);
void evidence_losses(const struct evidence *v, const float *d, int n, float *scratch, double *loss, double *tol);

#endif
