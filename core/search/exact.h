#ifndef SEQMSE_EXACT_H
#define SEQMSE_EXACT_H

/* Losses in double precision, straight from the definition: of a change d of a weight vector w, with the error
 * e = d . x + w . (x - x_float) at every position. Slow and right: what near-ties are decided by, and what the fast ways are tested against. */

#include "core/base/err.h"
#include "core/base/tiles.h"
#include "core/kernels/patches.h"
#include "core/search/loss.h"

#include <stdint.h>

/* One question: the change (fan_in doubles) of a group's weight vector, times the layer's scale; and, for inputs that differ, that vector and the
 * scale. loss is the answer. */
struct exact_ask {
	int64_t group;
	const double *d;
	const float *w;
	double scale;
	double loss;
};

/* Adds a batch to every ask's loss (0 before the first; loss_of_run() makes it that of a run). Asks sorted by group are faster. */
int exact_add(struct exact_ask *asks, int64_t n, enum loss_fn loss, const struct patches_input *in, struct tiles *tiles,
              struct err *e);

/* The same for sqnr by pixels (pixels.h). */
int exact_add_by_pixel(struct exact_ask *asks, int64_t n, const struct patches_input *in, struct tiles *tiles, struct err *e);

#endif
