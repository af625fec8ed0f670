#ifndef SEQMSE_SWEEP_H
#define SEQMSE_SWEEP_H

/* Goes over all vectors of a batch's input, tile by tile, with the engine's threads, for those who have to multiply them with many rows
 * (rows come in blocks, so that the threads can share them). Or over sums of neighbours, which are fewer and tell a part of it. */

#include "core/base/err.h"
#include "core/base/tiles.h"
#include "core/kernels/patches.h"

#include <stdint.h>

/* Some vectors of a group, or of sums of vectors. */
struct sweep_tile {
	int64_t group;
	struct patch_tile q;    /* what the quantized side sees */
	struct patch_tile diff; /* that less what the float side sees; data is NULL where both see the same */
	const double *energy;   /* [fan_in] sum of x_k^2 over the vectors themselves, and [fan_in] the same of diff */
};

/* Work of one block of rows on one tile, with the thread's scratch memory. */
typedef void sweep_fn(void *ctx, const struct sweep_tile *t, int block, int thread);

struct sweep_work {
	sweep_fn *fn;
	void *ctx;
	int blocks;           /* of every group */
	const int *blocks_of; /* [groups] instead, or NULL; the vectors of a group without blocks are not made */
	int64_t pool; /* tiles of sums of so many vectors that follow each other, the last one of fewer; 0 or 1: of themselves */
};

enum { SWEEP_POOL = 16 }; /* the largest pool; pools are powers of two */

/* Calls fn for all blocks of every tile of every group. The tiles of a group come in order; a block of a group is one thread's at a time. */
int sweep_run(const struct patches_input *in, const struct sweep_work *work, struct tiles *tiles, struct err *e);

/* Most vectors (or sums) of a tile. */
int64_t sweep_most(int64_t fan_in);

#endif
