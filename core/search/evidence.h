#ifndef SEQMSE_EVIDENCE_H
#define SEQMSE_EVIDENCE_H

/* What is known of a layer's input, to tell what any change of its weights does to its output. Who asks need not know which loss is wanted, nor whether
 * the float side and the quantized side see the same input.
 *
 * A change d of a weight vector w makes the output error e = d . x at a position with input vector x. Where the two sides see different inputs,
 * x is the quantized side's and e = d . x + w . (x - x_float). Losses of errors: loss.h.
 *
 * Two strategies with the same answer:
 *   gram:   the Gram matrix sum x x^T; its size and the price of a change do not depend on the number of positions. Of all batches together, gathered while
 *           the batches go by; for a loss that is taken batch by batch, made anew for each batch when asked.
 *   direct: the errors themselves, out of the inputs read again when asked; cheaper where there are fewer positions than weights
 *           in a vector, and the only way to sums of |e|.
 * Layers that see the same vectors share one. */

#include "core/base/err.h"
#include "core/base/tiles.h"
#include "core/kernels/patches.h"
#include "core/search/loss.h"

#include <stdbool.h>
#include <stdint.h>

enum evidence_strategy { EVIDENCE_AUTO, EVIDENCE_GRAM, EVIDENCE_DIRECT };

struct evidence;

/* Where the layer's input can be read, again and again. */
struct evidence_source {
	void *ctx;
	int64_t batches;
	/* A batch's input, valid until looked(), which is called after a failed look() too. One at a time, from the thread that asks. */
	int (*look)(void *ctx, int64_t batch, struct patches_input *in, struct err *e);
	void (*looked)(void *ctx, int64_t batch);
};

struct evidence_setup {
	enum evidence_strategy
		strategy; /* gram is not to be had for l1, nor direct where it makes no sense: then the other is taken */
	enum loss_fn loss;
	bool by_pixel; /* sqnr is taken at every output pixel (pixels.h) */
	int64_t groups, fan_in;
	int64_t positions; /* how many will come, about, in all batches */
	double gram_work;  /* gram_work() of the input, for EVIDENCE_AUTO */
	int64_t rows;      /* how many changes will be asked for, about, in all groups, by all layers */
	struct evidence_source source;
};

struct evidence *evidence_new(const struct evidence_setup *setup, struct tiles *tiles, struct err *e);
void evidence_free(struct evidence *v);
const char *evidence_strategy_name(const struct evidence *v);

/* Each batch once, as it goes by; afterwards the end of it. ERR_NON_FINITE where the input held NaN or infinity and this
 * was seen (evidence_losses() sees it at the latest). */
int evidence_add(struct evidence *v, const struct patches_input *in, struct err *e);
int evidence_finish(struct evidence *v, struct err *e);

/* A layer's question: what `changes` changes of each of `vectors` weight vectors of each group do. Row
 * (group * vectors + vector) * changes + i is change i of that vector. */
struct evidence_ask {
	int64_t vectors, changes;
	double scale; /* the layer's outputs, and so its errors, are products times this */
	void *ctx;
	/* Writes a row's change, [fan_in]; weights() gives the vector that it changes, and is asked only where the sides see different inputs. Both from
	 * any thread. */
	void (*change)(void *ctx, int64_t row, float *d);
	const float *(*weights)(void *ctx, int64_t group, int64_t vector);
	/* Whether a row's loss is of no interest unless it is its vector's least. NULL: no row is like this. */
	bool (*optional)(void *ctx, int64_t row);
	/* NULL, or [groups + 1] where groups have different numbers of vectors: the rows of group g are first[g] .. first[g + 1] - 1, with one change each. */
	const int64_t *first;
};

/* A group's first row; of the number of groups: how many rows there are. */
static inline int64_t evidence_first_row(const struct evidence_ask *ask, int64_t group)
{
	return ask->first ? ask->first[group] : group * ask->vectors * ask->changes;
}

/* How many directions bounds are made of, where a loss costs so many multiply-adds for each entry of the change (sketch.h); 0: bounds would not pay. */
int64_t evidence_bound_rank(double work);

/* Whether losses of the direct strategy are bounded by sums of neighbours (pools.h), for questions with optional changes, so many of each vector of a group. */
bool evidence_pools_pay(enum loss_fn loss, bool by_pixel, int64_t vectors, double changes);

/* The loss of every row over all batches; tol bounds its rounding error (statistically, with a wide margin). Both have room for all rows. An
 * optional row that cannot be its vector's least may get an estimate or a lower bound, above the least loss by more than tolerances, and the tolerance 0. */
int evidence_losses(struct evidence *v, const struct evidence_ask *ask, double *loss, double *tol, struct err *e);

#endif
