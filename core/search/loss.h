#ifndef SEQMSE_LOSS_H
#define SEQMSE_LOSS_H

/* What a layer's output errors e (one a position, for one output channel) are summed up to; less is better. Over the positions of all batches
 *   mse:  the sum of e^2
 *   l1:   the sum of |e|
 *   sqnr: 10 log10(mean of e^2 + 1e-10) of each batch, decibels, and the mean of these. The signal-to-noise ratio itself also holds the signal's power, which no change of the
 *         weights' grid touches: it is left out. */

#include <stdbool.h>
#include <stdint.h>

enum loss_fn { LOSS_MSE, LOSS_L1, LOSS_SQNR };

/* Which inputs the errors come from: what the float side and the quantized side of a search see. Both the input behind quantized weights, both the float
 * network's, or each its own. */
enum symmetry { SYMQT, SYMFP, ASYM };

/* The loss of a batch. sum is that of e^2 (for l1: of |e|) over its positions. */
double loss_of_batch(enum loss_fn f, double sum, int64_t positions);

/* How far loss_of_batch() may be off when sum is by as much as tol. */
double loss_tolerance(enum loss_fn f, double sum, double tol, int64_t positions);

/* Whether two losses are so close (1e-5 of the summed errors) that single precision could not tell them apart. */
bool loss_near(enum loss_fn f, double a, double b);

/* The loss of a run out of the sum of the losses of so many batches (or of pixels, where each has decibels of its own). */
double loss_of_run(enum loss_fn f, double sum, int64_t terms);

/* A loss as an amount, which can be added over channels and compared by ratios: decibels become squared errors. */
double loss_amount(enum loss_fn f, double loss);

/* What a search won against the full range, as a part of that range's loss; 0 where both are 0, NaN where only the full range's is. */
double loss_gain(double loss, double full);

const char *loss_name(enum loss_fn f);
/* -1: no such loss. */
int loss_find(const char *name);

#endif
