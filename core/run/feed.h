#ifndef SEQMSE_FEED_H
#define SEQMSE_FEED_H

/* Where a batch's values come from: graph inputs out of the calibration set, all others out of the
 * activations; which also keep the graph inputs that will be read again, as long as there is room. Values may be twins (plan.h): numbers from
 * onnx_model_values() on, for the same value in the float network. */

#include "core/data/calib.h"
#include "core/onnx/onnx_edit.h"
#include "core/onnx/onnx_model.h"
#include "core/run/activations.h"
#include "core/run/ort.h"

struct value_types;

struct feed {
	const struct onnx_model *m;
	const struct value_types *types; /* NULL: unknown */
	struct ort *ort;
	struct calib *calib; /* its inputs are the model's, in the model's order */
	struct activations *acts;
};

/* The value of the model that a number stands for, and its name. */
int feed_value(const struct feed *f, int value);
const char *feed_name(const struct feed *f, int value);

/* The value for a batch, given back with feed_done(). NULL on error. */
struct ort_value *feed_get(const struct feed *f, int value, int64_t batch, struct err *e);
void feed_done(const struct feed *f, int value, int64_t batch, struct ort_value *v);

/* What a sub-model must be told of the value: dimensions that differ between batches are unknown. */
int feed_describe(const struct feed *f, int value, struct onnx_feed *out, struct err *e);

/* The numbers of a float or float16 tensor: its own memory, or *copy (malloc'ed, the caller's to free; else NULL). */
const float *feed_floats(const struct feed *f, struct ort_value *v, struct ort_info *info, float **copy, struct err *e);

#endif
