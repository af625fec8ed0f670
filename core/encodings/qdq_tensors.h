#ifndef SEQMSE_QDQ_TENSORS_H
#define SEQMSE_QDQ_TENSORS_H

/* The numbers of a QDQ model: scales, zero points and integers of one encoding as ONNX tensors. For qdq.c. */

#include "core/encodings/encodings.h"
#include "core/onnx/onnx_insert.h"

struct qdq_tensor {
	const struct encoding *x;
	const struct quant_grid *grids; /* x's, those of LPBQ after compressing */
	int float_type;                 /* ONNX's, of the tensor: that of its scales too */
	int bits, int_type;             /* as stored; int_type is ONNX's */
	bool is_signed;
	int rank; /* of the tensor; 0 where it has one grid */
	int64_t shape[ARRAY_MAX_RANK];
};

/* Says how an encoding of a tensor is stored; rank and shape are the constant's, or rank is -1: no constant. grids are borrowed. */
int qdq_tensor_init(struct qdq_tensor *t, const struct encoding *x, const struct quant_grid *grids, int float_type, int rank,
                    const int64_t *shape, struct err *e);

/* Whether the stored type has more levels than the grid. */
bool qdq_tensor_is_wider(const struct qdq_tensor *t);

/* Adds the tensors to the model under these names. */
int qdq_add_scales(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, struct err *e);
int qdq_add_zero_points(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, struct err *e);
int qdq_add_scalar(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, double v, struct err *e);
/* LPBQ: the blocks' factors and the channels' scales. *factor_type is ONNX's. */
int qdq_add_factors(struct onnx_insert *in, const struct qdq_tensor *t, const char *factors, const char *scales, struct err *e);
/* The constant's numbers, in[count], as integers. */
int qdq_add_integers(struct onnx_insert *in, const struct qdq_tensor *t, const char *name, const float *numbers, size_t count,
                     struct err *e);
/* The same as floats on the grid, in place. */
void qdq_put_on_grid(const struct qdq_tensor *t, float *numbers, size_t count);

#endif
