#ifndef SEQMSE_MOVED_ENCODINGS_H
#define SEQMSE_MOVED_ENCODINGS_H

/* Encodings of tensors that have no quantizer, but whose numbers are only moved, selected or cut from those of tensors that have one: the
 * output of a Reshape, the input of a Clip. Versions 2 of the files list them, and so do models with QuantizeLinear.
 *
 * Only grids of a whole tensor move. Forward, where all of an op's float inputs have the same encoding (Pad: where its data have one);
 * backward, to an input that nobody else reads. Ops inside fused ones, and in bodies of If, Loop and Scan, are not looked at.
 */

#include "core/encodings/encodings.h"

struct quantsim;

/* Appends them to x's activations, marked as derived. */
int moved_encodings_add(struct encodings *x, const struct quantsim *qs, struct err *e);

#endif
