#ifndef SEQMSE_FORWARD_H
#define SEQMSE_FORWARD_H

/* A whole model, run batch by batch over a calibration set.
 *
 *     f = forward_new(ort, m, NULL, &serialized, NULL, false, &e);
 *     for (int64_t b = 0; b < calib_batches(c); b++) {
 *             forward_run(f, c, b, out, &e);      … out[i] is graph output i …
 *             forward_done(f, out);
 *     }
 *     forward_free(f);
 */

#include "core/data/calib.h"
#include "core/onnx/onnx_edit.h"
#include "core/run/ort.h"

struct forward;
struct value_types;

/* A session for `serialized`, which has m's inputs and outputs under their names and whose memory is taken over (also on error); ops and plain are
 * ort_session_new_with()'s. m and ort must outlive it. With m's types a batch goes through in slices (slices.h), so that ops are shown its tensors in parts;
 * what `serialized` does beyond m must keep samples apart. NULL: always at once. */
struct forward *forward_new(struct ort *ort, const struct onnx_model *m, const struct value_types *types,
                            struct onnx_submodel *serialized, const struct ort_ops *ops, bool plain, struct err *e);
void forward_free(struct forward *f);

/* Runs a batch; c's inputs are m's, in m's order. out has room for all of m's outputs; they are given back with forward_done(). */
int forward_run(struct forward *f, struct calib *c, int64_t batch, struct ort_value **out, struct err *e);
void forward_done(struct forward *f, struct ort_value **out);

#endif
