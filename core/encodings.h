#ifndef SEQMSE_ENCODINGS_H
#define SEQMSE_ENCODINGS_H

/* Encodings files: what the search produces and an inference toolchain reads. Versions 0.6.1 and 1.0.0 of the field's JSON
 * formats, written and read; keys sorted, four spaces of indentation, numbers as Python's repr, text in ASCII, no newline at the
 * end, as the reference's export does. 1.0.0 keeps the order of the lists, 0.6.1 sorts by name.
 */

#include "buf.h"
#include "err.h"
#include "quant.h"

#include <stdbool.h>
#include <stddef.h>

enum encoding_type { ENCODING_PER_TENSOR, ENCODING_PER_CHANNEL };

/* One tensor's encoding: a grid per channel, or one for the tensor. */
struct encoding {
	char *name; /* the tensor's name in the model */
	struct quant_mode mode;
	enum encoding_type type;
	size_t n;
	struct quant_grid *grids; /* n; the minimum and maximum are recomputed from scale and offset on writing */
};

struct encodings {
	struct encoding *params, *activations;
	size_t nparams, nactivations;
	/* quantizer_args; all 0 where a file that was read has none */
	int param_bw, activation_bw;
	bool per_channel, symmetric_params;
	char *quant_scheme; /* malloc'ed; NULL is written as "min_max" */
};

enum encodings_version { ENCODINGS_0_6_1, ENCODINGS_1_0_0 };

void encodings_fini(struct encodings *x); /* x is as zeroed afterwards */

/* Appends an encoding for the named tensor, n grids copied; activation chooses the list. A name may be in a list once. */
int encodings_add(struct encodings *x, bool activation, const char *name, struct quant_mode mode, enum encoding_type type, size_t n,
                  const struct quant_grid *grids, struct err *e);

/* "1.0.0" -> ENCODINGS_1_0_0; an unknown or not yet built version is ERR_BAD_PARAM. */
int encodings_version_parse(const char *text, enum encodings_version *v, struct err *e);
const char *encodings_version_name(enum encodings_version v);

/* Appends the whole file's text to *out. A failure can only be ERR_MEMORY. */
int encodings_write(const struct encodings *x, enum encodings_version v, struct buf *out, struct err *e);

/* Reads a file's text of either version into *x, which is zeroed before and after an error. Entries of float16 tensors are
 * skipped; what is not understood (block encodings, missing fields, a name twice, another version) is ERR_BAD_PARAM naming the
 * entry. Strict and unsigned symmetric grids are recognized by their offsets. In 0.6.1 a tensor with one grid is read as per tensor. */
int encodings_read(const char *text, size_t len, struct encodings *x, struct err *e);

#endif
