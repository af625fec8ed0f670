#ifndef SEQMSE_ORT_H
#define SEQMSE_ORT_H

/* The one door to ONNX Runtime. The library is loaded at run time, by the first ort_open(), so that a process which never
 * runs a graph never runs any of its code. It is looked for in the file that SEQMSED_ONNXRUNTIME names, where `make deps` put it,
 * and by its soname, in this order.
 *
 * Sessions use the CPU, `threads` threads, no memory arena and no memory pattern: buffers go back to the system as they are
 * freed. Values may outlive the session that made them, not the struct ort. Errors are ERR_ORT with the runtime's message. One thread at
 * a time.
 */

#include "err.h"
#include "onnx_edit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ort;
struct ort_session;
struct ort_value; /* a tensor or a sequence */

struct ort *ort_open(int threads, struct err *e);
void ort_close(struct ort *o);

/* "1.32.0": of the library that would be loaded. NULL on error. */
const char *ort_version(struct err *e);

/* A session over a sub-model; its shared weights are read in place and must outlive the session. */
struct ort_session *ort_session_new(struct ort *o, const struct onnx_submodel *model, struct err *e);
void ort_session_free(struct ort_session *s);

/* Runs: in[i] is fed to the input of that name, out[i] becomes a new value, the caller's to free. */
int ort_run(struct ort_session *s, const char *const *in_names, struct ort_value *const *in, size_t nin, const char *const *out_names,
            struct ort_value **out, size_t nout, struct err *e);

struct ort_info {
	bool sequence;  /* of tensors; then only elem_type is set */
	int elem_type;  /* ONNX TensorProto.DataType */
	int rank;
	int64_t shape[NPZ_MAX_RANK];
	int64_t count;  /* elements */
	size_t bytes;   /* 0 for strings and sequences */
};

/* A new tensor with memory of its own, to be filled through ort_value_data(). */
struct ort_value *ort_tensor_new(struct ort *o, int elem_type, int rank, const int64_t *shape, struct err *e);
int ort_value_info(struct ort *o, const struct ort_value *v, struct ort_info *info, struct err *e);
void *ort_value_data(struct ort *o, struct ort_value *v); /* NULL for strings and sequences */
void ort_value_free(struct ort *o, struct ort_value *v);

#endif
