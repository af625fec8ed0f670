#ifndef SEQMSE_TILES_H
#define SEQMSE_TILES_H

/* The engine's threads. Work is cut into tiles by the problem's shape alone, never by the number of threads; each tile writes to a place of
 * its own, and who adds tiles up does so in their order. So results do not depend on how many threads there are. */

struct tiles;

/* threads includes the caller's. NULL: no memory, or the system gave no thread. */
struct tiles *tiles_new(int threads);
void tiles_free(struct tiles *t);
int tiles_threads(const struct tiles *t);

/* Calls fn(ctx, tile, thread) once for every tile 0 .. n-1, and returns when all are done. thread is 0 .. tiles_threads()-1, for scratch memory. */
typedef void tile_fn(void *ctx, int tile, int thread);
void tiles_run(struct tiles *t, int n, tile_fn *fn, void *ctx);

#endif
