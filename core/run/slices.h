#ifndef SEQMSE_SLICES_H
#define SEQMSE_SLICES_H

/* A batch through a session in slices of samples. What the runtime holds while it works grows with the samples that it is given at once. Where every node treats
 * each sample by itself, a batch can go through in parts, and the results are the same bits: a convolution, of whose kind almost all large tensors
 * are, is computed picture by picture. Some functions (Elu, Softplus, …) have other last digits at a tensor's ends than elsewhere: with them a batch
 * goes through at once.
 */

#include "core/onnx/onnx_model.h"
#include "core/run/ort.h"

struct value_types;

/* What the inputs and outputs of a node may take at once, where slices of a few samples can do that. */
#define SLICES_BYTES ((int64_t)24 << 20)

/* At most how many samples may go through the nodes (ascending; NULL: all that are not static) at once; it follows from the graph alone. 0: any number,
 * because they cannot be sliced: a node mixes samples, or is of a kind that is not known to keep them apart, or shapes are unknown; or with
 * `exact`, multiplies matrices with a row for each sample, whose last digits may depend on how many rows there are. */
int64_t slices_rows(const struct onnx_model *m, const struct value_types *t, const int *nodes, size_t nnodes, bool exact);

/* In how many slices a batch goes, and the samples of the largest. */
int64_t slices_count(int64_t rows, int64_t samples);
int64_t slices_largest(int64_t rows, int64_t samples);

/* Bytes for each sample in the whole graph's inputs and outputs, which are there for all samples at once; 0 where it cannot be sliced. */
int64_t slices_ends(const struct onnx_model *m, const struct value_types *t);

/* As ort_run(); out_names are the outputs of the session's graph, in its order, and rows is slices_rows() of it. Inputs that do not have equally many
 * samples go through at once. */
int slices_run(struct ort *o, struct ort_session *s, int64_t rows, const char *const *in_names, struct ort_value *const *in,
               size_t nin, const char *const *out_names, struct ort_value **out, size_t nout, struct err *e);

#endif
