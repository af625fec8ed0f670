#ifndef SEQMSE_CALIB_H
#define SEQMSE_CALIB_H

/* A calibration set: one array per model input, axis 0 counts samples, read batch by batch.
 *
 * Row k of batch b is row b*batch_size + k of every array; the last batch may be shorter. Arrays whose name is no input's are
 * ignored. A bare .npy, or a file with one array, feeds a model with one input whatever the array's name is; numbered arrays
 * (arrays.h) feed the inputs by their places.
 *
 * Element types are converted where nothing is lost or the field expects it: any float to any float; any integer to float32,
 * float64 or any integer type, when every value that is read is held exactly. Anything else, and bool as anything but bool, is
 * an error that names input, array type and wanted type. NaN and infinity in an array that feeds a floating point input, and
 * values that would become infinite, are ERR_NON_FINITE, naming the array, the sample and the position.
 *
 * A calib may be used by one thread at a time.
 */

#include "core/base/err.h"
#include "core/data/arrays.h"

#include <stddef.h>
#include <stdint.h>

/* What feeds a model input, where that is not the array of its name as it is. */
struct calib_source {
	const char *array;      /* NULL: that of the input's name */
	int rank;               /* 0: axes stay */
	int axes[ARRAY_MAX_RANK]; /* axis i of the input is this one of the array; axis 0 stays */
	double *scale, *offset; /* what is fed is value * scale + offset; [1], or one for every place on the input's axis 1 */
	size_t nscale, noffset; /* 0: none */
};

/* What a model input wants. Element types are numpy's (bfloat16 and strings are not fed). */
struct calib_input {
	const char *name;
	enum array_type type;
	int rank;                          /* -1: any */
	int64_t shape[ARRAY_MAX_RANK];       /* -1: any; shape[0] is the batch: -1, or the only batch size the model takes */
	const struct calib_source *source; /* NULL: the array of its name */
};

struct calib;

/* Matches the arrays of z to the inputs: names, ranks, fixed dimensions, types, equal sample counts, at least one sample.
 * Every input that does not fit is named in the message, with what was expected and what was found. Keeps z and inputs borrowed:
 * they must outlive the calib. batch_size 0 means 32, or the model's fixed batch; a fixed batch that contradicts batch_size is
 * ERR_BAD_PARAM, and a sample count that is not a multiple of a fixed batch leaves the rest unused. num_batches 0 means all. */
struct calib *calib_new(struct arrays *z, const struct calib_input *inputs, size_t ninputs, int64_t batch_size, int64_t num_batches,
                        struct err *e);
void calib_free(struct calib *c);

int64_t calib_samples(const struct calib *c);      /* in the file */
int64_t calib_samples_used(const struct calib *c); /* in the batches */
int64_t calib_batch_size(const struct calib *c);
int64_t calib_batches(const struct calib *c);
int64_t calib_rows(const struct calib *c, int64_t batch); /* samples in that batch */

/* Bytes of input i's tensor for that batch, and its full shape (rank and dims with the batch's row count). */
size_t calib_bytes(const struct calib *c, size_t i, int64_t batch);
int calib_shape(const struct calib *c, size_t i, int64_t batch, int64_t shape[ARRAY_MAX_RANK]); /* returns the rank */

/* Reads input i of the batch into out, converted to the input's type. */
int calib_read(struct calib *c, size_t i, int64_t batch, void *out, struct err *e);

#endif
