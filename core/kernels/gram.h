#ifndef SEQMSE_GRAM_H
#define SEQMSE_GRAM_H

/* The Gram matrix of a layer's input vectors: for each group, G = sum over all positions of x x^T, fan_in x fan_in. With it the squared error that a
 * change d of a weight vector makes in the output, summed over all positions, is d^T G d, whatever the number of positions.
 *
 * Products are summed in float over at most GRAM_RUN positions, those sums in double; each in an order that the shapes fix. So an entry's relative rounding error is about
 * that of a float sum of GRAM_RUN numbers.
 */

#include "core/base/err.h"
#include "core/base/tiles.h"
#include "core/kernels/patches.h"

#include <stdint.h>

enum { GRAM_RUN = 4096 };

struct gram;

struct gram *gram_new(int64_t groups, int64_t fan_in, struct tiles *tiles, struct err *e);
void gram_free(struct gram *g);

/* The ways to the sums, which differ in speed: by the products of shifted pictures, of many channels or of one at a time; over shifted planes; over vectors,
 * into a small matrix, a middling one (of pixels in panels), or a large one. */
enum gram_way { GRAM_LAGS, GRAM_LAGS_SINGLE, GRAM_SHIFTED, GRAM_VECTORS, GRAM_PANELS, GRAM_LARGE };
enum gram_way gram_way(const struct patches *p);

/* About how many multiply-adds gram_add() makes of a position, for one group. */
double gram_work(const struct patches *p);

/* About how many bytes of sums it reads and writes back for a batch, however small that is. */
double gram_moved(const struct patches *p);

/* Adds a batch. p is the same layer's in every batch (sizes may differ). */
int gram_add(struct gram *g, const struct patches *p, const float *x, struct err *e);

/* Ends adding. After it: */
int gram_finish(struct gram *g, struct err *e);
const double *gram_group(const struct gram *g, int64_t group); /* [fan_in][fan_in]; only entries (i, j) with j >= i are set */

/* The matrix of one group as floats in a form that needs half the products: H[fan_in][fan_in] with d^T H d = d^T G d, in square blocks of
 * GRAM_BLOCK: G on the diagonal, twice G right of it, nothing (unset) left of it. Overwritten by a call for another group, kept for the same one. NULL: no memory. */
enum { GRAM_BLOCK = 128 };
const float *gram_group_halved(struct gram *g, int64_t group, struct err *e);

#endif
