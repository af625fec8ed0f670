#ifndef SEQMSE_ENCODINGS_H
#define SEQMSE_ENCODINGS_H

/* Encodings files: what the search produces and an inference toolchain reads. Versions 0.6.1, 1.0.0, 2.0.0 and 2.1.0 of the field's JSON formats,
 * written and read; keys sorted, four spaces of indentation, numbers as Python's repr, text in ASCII, no newline at the end, as the reference's
 * export does. 0.6.1 sorts by name, the others keep the order of the lists.
 *
 *     struct encodings x = {.param_bw = 4, …};
 *     … encodings_add(&x, false, "w1", &(struct encoding){.mode = …, .granularity = QUANT_PER_CHANNEL, .n = 16, .grids = …}, &e) …
 *     … encodings_write(&x, ENCODINGS_1_0_0, &text, &e) …
 *     encodings_fini(&x);
 */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/grid/quant.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One tensor's encoding. Blocks run along block_axis; all other axes but the channel's have one block. */
struct encoding {
	const char *name; /* the tensor's name in the model; encodings_add() makes a copy of its own */
	bool is_float16;  /* rounded to float16: no grids, and nothing below counts. Versions 2 leave such tensors out */
	bool derived; /* follows from other entries: int32 biases, tensors whose numbers are only moved. Versions 2 have them, 2.1.0 the biases only */
	bool is_param; /* symmetric parameters are signed integers in versions 2, activations are always unsigned; encodings_add() sets it, but for derived entries */
	struct quant_mode mode;
	enum quant_granularity granularity;
	int channel_axis,
		block_axis; /* of the tensor, from 0; read where the granularity has such an axis; -1: not known (read from a file) */
	int rank;           /* the tensor's dimensions; blocks and LPBQ only; 0: not known */
	int64_t block_size;
	int lpbq_bits;   /* LPBQ: bits of a block's factor; 0 stands for mode.bw */
	size_t channels; /* blocks and LPBQ: n / channels blocks a channel; 0: not known, the grids are then in the file's order */
	size_t n;
	/* n, [channels][blocks]. Minimum and maximum are recomputed from scale and offset on writing. An LPBQ tensor's are those before its scales are
	 * compressed (encoding_lpbq_grids() gives those after); writing compresses. */
	const struct quant_grid *grids;
};

struct encodings {
	struct encoding *params, *activations;
	size_t nparams, nactivations;
	/* quantizer_args; all 0 where a file that was read has none */
	int param_bw, activation_bw;
	bool per_channel, symmetric_params;
	char *quant_scheme; /* malloc'ed; NULL is written as "min_max" */
};

enum encodings_version { ENCODINGS_0_6_1, ENCODINGS_1_0_0, ENCODINGS_2_0_0, ENCODINGS_2_1_0 };
enum { ENCODINGS_VERSIONS = 4 };

void encodings_fini(struct encodings *x); /* x is as zeroed afterwards */

/* Appends a copy of *like, grids included, under that name; activation chooses the list. A name may be in a list once. */
int encodings_add(struct encodings *x, bool activation, const char *name, const struct encoding *like, struct err *e);

/* The entry of that name, a parameter's or an activation's; NULL where there is none. */
const struct encoding *encodings_find(const struct encodings *x, const char *name);

/* Tells an entry of blocks that was read what its file did not say. The list is x->params or x->activations, i an index into it; what the file did say is
 * checked (ERR_BAD_PARAM). Entries of other granularities take the channel axis. */
int encodings_place(struct encoding *entry, int rank, int channel_axis, int block_axis, size_t channels, struct err *e);

/* LPBQ: the grids that the files describe, out[x->n]: scales are channel scale times integer, rounded to float as the reference's are when it quantizes. */
int encoding_lpbq_grids(const struct encoding *x, struct quant_grid *out, struct err *e);

/* "1.0.0" -> ENCODINGS_1_0_0; an unknown version is ERR_BAD_PARAM. */
int encodings_version_parse(const char *text, enum encodings_version *v, struct err *e);
const char *encodings_version_name(enum encodings_version v);
const char *encodings_file_name(enum encodings_version v); /* "model_1_0_0.encodings" */

/* Appends the whole file's text to *out. ERR_BAD_PARAM where the version cannot say what there is (LPBQ in 0.6.1; axes that are not known, in versions 2): *out is
 * as it was then. */
int encodings_write(const struct encodings *x, enum encodings_version v, struct buf *out, struct err *e);

/* Reads a file's text of any version into *x, which is zeroed before and after an error. What is not understood (missing fields, a name twice, another
 * version) is ERR_BAD_PARAM naming the entry. Strict and unsigned symmetric grids are recognized by their offsets. What files leave out: 0.6.1 and 1.0.0
 * the axes, and all of 0.6.1's tensors with several grids are read as per channel; versions 2 which entries are parameters (signed ones and those with an
 * axis are taken for them), which are derived, and that an activation's grid was symmetric. */
int encodings_read(const char *text, size_t len, struct encodings *x, struct err *e);

#endif
