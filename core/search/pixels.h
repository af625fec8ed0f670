#ifndef SEQMSE_PIXELS_H
#define SEQMSE_PIXELS_H

/* The other reading of sqnr, which the reference has for blocks of a convolution: the mean of e^2 is taken at every output pixel over
 * the images of a batch, and the pixels' decibels are summed. No Gram matrix knows pixels: errors are made tile by tile. */

#include "core/search/evidence.h"

/* Adds a batch to the losses of every row of the question, and to their tolerances; rounding is what a float sum of fan_in terms may be off, relative to
 * the terms. */
int pixels_add(const struct patches_input *in, const struct evidence_ask *ask, double rounding, struct tiles *tiles, double *loss,
               double *tol, struct err *e);

#endif
