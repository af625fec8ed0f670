#ifndef SEQMSE_PIECE_H
#define SEQMSE_PIECE_H

/* A part of the graph, ready to be run batch by batch: what it reads comes from the feed, what it makes goes to the activations. */

#include "core/run/feed.h"
#include "core/search/plan.h"

struct piece;

/* replaced[value] is NULL or the float data that stands for a constant; it must outlive the piece. replaced may be NULL. */
struct piece *piece_new(const struct feed *f, const struct plan_part *part, const float *const *replaced, struct err *e);
void piece_free(struct piece *p);
/* The most samples of a batch of so many that the runtime is given at once (slices.h). */
int64_t piece_at_once(const struct piece *p, int64_t samples);
int piece_run(struct piece *p, int64_t batch, struct err *e);

#endif
