#ifndef SEQMSE_MACHINE_H
#define SEQMSE_MACHINE_H

/* What the digits of a result depend on besides model, data and settings: the program's build, ONNX Runtime, OpenBLAS, and the type of
 * processor. Two results under the same text may be put together as if one run had made them. */

#include "core/base/err.h"

enum { MACHINE_ID = 512 };

/* Writes one line; loads both libraries. A program that was linked without a build id is ERR_NOT_FOUND. */
int machine_id(char id[MACHINE_ID], struct err *e);

#endif
