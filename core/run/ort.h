#ifndef SEQMSE_ORT_H
#define SEQMSE_ORT_H

/* The one door to ONNX Runtime. The library is loaded at run time, by the first ort_open(), so that a process which never
 * runs a graph never runs any of its code. It is looked for in the file that SEQMSED_ONNXRUNTIME names, where `make deps` put it,
 * and by its soname, in this order.
 *
 * Sessions use the CPU, `threads` threads, no memory arena and no memory pattern: all tensors of the process live in blocks of ours (blocks.h).
 * Values may outlive the session that made them, not the struct ort. Errors are ERR_ORT with the runtime's message, ERR_MEMORY where that says so. One thread at
 * a time.
 */

#include "core/base/err.h"
#include "core/grid/quant.h"
#include "core/onnx/onnx_edit.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ort;
struct ort_session;
struct ort_value; /* a tensor or a sequence */

struct ort *ort_open(int threads, struct err *e);
void ort_close(struct ort *o);

/* Loads the library and lets it look at the machine, before a process gives up its right to open files. */
int ort_prepare(struct err *e);

/* How much of the memory that tensors leave behind stays for the next ones of this process; 256 MiB before the first call. ort_close() lets go of all of it. */
void ort_keep(struct ort *o, int64_t bytes);

/* Bytes of the process's tensors now, and the most that there were since the last call of ort_peak(). */
int64_t ort_used(const struct ort *o);
int64_t ort_peak(const struct ort *o);

/* "1.32.0": of the library that would be loaded. NULL on error. */
const char *ort_version(struct err *e);

/* A session over a sub-model; its shared weights are read in place and must outlive the session. */
struct ort_session *ort_session_new(struct ort *o, const struct onnx_submodel *model, struct err *e);

/* Operators of our own, for nodes that onnx_insert.h puts into a model: domain ORT_OPS_DOMAIN, version 1, one input and one output of its
 * type (float, float16, bfloat16) and shape. The attribute ORT_OPS_SLOT, an integer, says which of the session's slots a node is.
 *   FakeQuantize: the output is the input on the slot's grid (quant_fake(); 16-bit floats are computed in float32 and rounded back), or
 *                 rounded to float16 and back, or the input. The result does not depend on the number of threads.
 *   Observe:      the output is the input, in the same memory wherever possible; observe() is shown it, once a run, in the order in which the runtime gets
 *                 there, on the thread that called ort_run(). What it fails with is what ort_run() fails with. */
#define ORT_OPS_DOMAIN        "seqmsed"
#define ORT_OPS_FAKE_QUANTIZE "FakeQuantize"
#define ORT_OPS_OBSERVE       "Observe"
#define ORT_OPS_SLOT          "slot"

struct ort_fake {
	enum { ORT_FAKE_NOT, ORT_FAKE_GRID, ORT_FAKE_HALF } kind;
	struct quant_grid grid;
};

/* A tensor as it passes by. */
struct ort_tensor {
	int elem_type; /* ONNX TensorProto.DataType */
	size_t rank, count;
	int64_t shape[ARRAY_MAX_RANK];
	const void *data;
};

struct ort_ops {
	const struct ort_fake *fakes; /* [nfakes]; may change between runs */
	size_t nfakes;
	int (*observe)(void *ctx, int64_t slot, const struct ort_tensor *t, struct err *e); /* NULL: no Observe in the model */
	void *ctx;
};

/* How much the runtime may change about a graph: nothing, so that every node computes exactly what it says; fuse and fold nodes; or also lay pictures
 * out in blocks of channels around each Conv. Blocks make a Conv that looks at several pixels faster; one that looks at single pixels is
 * a plain matrix product, and loses twice the time that it takes by moving to blocks and back. */
enum ort_level { ORT_AS_IT_IS, ORT_FUSED, ORT_BLOCKED };

/* The same with these operators (NULL: none), which must outlive the session. ort_session_new() has ORT_BLOCKED. */
struct ort_session *ort_session_new_with(struct ort *o, const struct onnx_submodel *model, const struct ort_ops *ops,
                                         enum ort_level level, struct err *e);
void ort_session_free(struct ort_session *s);

struct ort_info {
	bool sequence; /* of tensors; then only elem_type is set */
	int elem_type; /* ONNX TensorProto.DataType */
	int rank;
	int64_t shape[ARRAY_MAX_RANK];
	int64_t count; /* elements */
	size_t bytes;  /* 0 for strings and sequences */
};

/* What the runtime infers, before any run, about output i, in the order of the model's outputs; unknown dimensions are -1, and count and bytes are 0. What is no
 * tensor has elem_type 0. */
int ort_output_info(struct ort_session *s, size_t i, struct ort_info *info, struct err *e);

/* Runs: in[i] is fed to the input of that name, out[i] becomes a new value, the caller's to free. */
int ort_run(struct ort_session *s, const char *const *in_names, struct ort_value *const *in, size_t nin,
            const char *const *out_names, struct ort_value **out, size_t nout, struct err *e);
/* The same into tensors that are there. */
int ort_run_into(struct ort_session *s, const char *const *in_names, struct ort_value *const *in, size_t nin,
                 const char *const *out_names, struct ort_value *const *out, size_t nout, struct err *e);

/* A new tensor with memory of its own, to be filled through ort_value_data(). */
struct ort_value *ort_tensor_new(struct ort *o, int elem_type, int rank, const int64_t *shape, struct err *e);
/* A window on `count` of a tensor's places on axis 0, from `first` on: in the same memory, which must outlive it. NULL on error. */
struct ort_value *ort_tensor_part(struct ort *o, struct ort_value *v, int64_t first, int64_t count, struct err *e);
int ort_value_info(struct ort *o, const struct ort_value *v, struct ort_info *info, struct err *e);
void *ort_value_data(struct ort *o, struct ort_value *v); /* NULL for strings and sequences */
void ort_value_free(struct ort *o, struct ort_value *v);

#endif
