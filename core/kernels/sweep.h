#ifndef SEQMSE_SWEEP_H
#define SEQMSE_SWEEP_H

/* Goes over all vectors of a batch's input, tile by tile, with the engine's threads, for those who have to multiply them with many rows
 * (rows come in blocks, so that the threads can share them). */

#include "core/base/err.h"
#include "core/base/tiles.h"
#include "core/kernels/patches.h"

#include <stdint.h>

/* Some vectors of a group. */
struct sweep_tile {
	int64_t group;
	struct patch_tile q;    /* what the quantized side sees */
	struct patch_tile diff; /* that less what the float side sees; data is NULL where both see the same */
	const double *energy;   /* [fan_in] sum of x_k^2 over the tile, and [fan_in] the same of diff */
};

/* Work of one block of rows on one tile, with the thread's scratch memory. */
typedef void sweep_fn(void *ctx, const struct sweep_tile *t, int block, int thread);

/* Calls fn for blocks 0 .. blocks-1 of every tile of every group. The tiles of a group come in order; a block of a group is one thread's at a time. */
int sweep_run(const struct patches_input *in, int blocks, struct tiles *tiles, sweep_fn *fn, void *ctx, struct err *e);

/* Most vectors of a tile. */
int64_t sweep_most(int64_t fan_in);

#endif
