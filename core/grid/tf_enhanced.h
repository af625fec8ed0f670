#ifndef SEQMSE_TF_ENHANCED_H
#define SEQMSE_TF_ENHANCED_H

/* The tf_enhanced scheme: of some hundred grids, the one whose expected squared error over the histogram is smallest, where values beyond the grid's ends
 * weigh three times. Candidates, costs and ties as the reference has them, bit for bit. */

#include "core/grid/quant.h"

struct histogram;

struct quant_grid tf_enhanced(const struct histogram *h, struct quant_mode mode);

/* What the scheme gives a tensor that was 0 throughout, symmetric, strict or not: about -1 .. 1. */
struct quant_grid tf_enhanced_of_zeros(struct quant_mode mode);

#endif
