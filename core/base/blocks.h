#ifndef SEQMSE_BLOCKS_H
#define SEQMSE_BLOCKS_H

/* Memory for tensors. The same few sizes come and go with every batch, and are so large that malloc would get each from the system and
 * give it back: clearing and mapping their pages took a fifth of a run. Here blocks of BLOCKS_LARGE bytes and more are cut from a few mappings,
 * joined again when they are given back, and stay mapped; of what nobody uses at most `keep` bytes stay resident. Smaller ones are malloc's.
 * Blocks are aligned to BLOCKS_ALIGN bytes; any thread may call.
 */

#include "core/base/err.h"

#include <stddef.h>

enum { BLOCKS_ALIGN = 64, BLOCKS_LARGE = 256 << 10 };

struct blocks;

struct blocks *blocks_new(size_t keep, struct err *e);
void blocks_free(struct blocks *b); /* with every block that is still out */

/* Another limit; what is beyond it goes at once. */
void blocks_keep(struct blocks *b, size_t keep);
void blocks_trim(struct blocks *b); /* all that nobody uses goes at once, the limit stays */

/* Bytes of large blocks that are out, and the most that were at once since the last call of blocks_peak(). */
size_t blocks_used(struct blocks *b);
size_t blocks_peak(struct blocks *b);

void *blocks_take(struct blocks *b, size_t bytes); /* NULL: no memory */
void blocks_give(struct blocks *b, void *block);   /* NULL is fine */

#endif
