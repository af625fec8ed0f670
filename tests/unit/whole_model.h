#ifndef SEQMSED_TEST_WHOLE_MODEL_H
#define SEQMSED_TEST_WHOLE_MODEL_H

/* A model and its data, opened for a test, and float runs of it. Failures end the test. */

#include "core/data/calib.h"
#include "core/onnx/onnx_model.h"
#include "core/run/ort.h"

struct whole {
	struct ort *ort;
	struct onnx_model *m;
	struct arrays *z;
	struct calib_input *inputs;
	size_t ninputs;
	struct calib *c;
};

/* batch as calib_new()'s; where the model has a batch size of its own, that is taken. */
void whole_open(struct whole *w, const char *model, const char *data, int64_t batch, int64_t num_batches, int threads);
void whole_close(struct whole *w);

/* The float outputs of a batch, end to end, malloc'ed; *n counts. Outputs of other types are left out. */
float *whole_floats(struct ort *ort, struct ort_value *const *out, size_t nout, size_t *n);

/* Runs m (w's model, or one that has the same inputs) without graph optimizations. */
float *whole_run(struct whole *w, const struct onnx_model *m, int64_t batch, size_t *n);

#endif
