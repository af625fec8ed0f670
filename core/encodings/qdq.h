#ifndef SEQMSE_QDQ_H
#define SEQMSE_QDQ_H

/* A quantized model as plain ONNX: QuantizeLinear and DequantizeLinear behind every tensor that has an encoding, which any runtime can run and
 * a compiler for integer hardware can read.
 *
 * Constants stand on their grids: as floats before QuantizeLinear, or, prequantized, as the integers themselves, INT4 packed. Nothing is quantized twice: an LPBQ
 * weight is put on its compressed grid, straight from the model's numbers. Types are ONNX's of 4, 8 and 16 bits; what is narrower is kept in the
 * next wider one, after a Clip where it is no constant. Symmetric parameters are signed, all else is unsigned. float16 tensors stay as they are.
 * A block's scale is repeated over the kernel, as ONNX wants it.
 *
 * The results differ from the simulation's where a number lies halfway between two integers: ONNX rounds to even.
 */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/encodings/encodings.h"
#include "core/onnx/onnx_model.h"

struct value_types;

struct qdq_options {
	bool prequantized;
	bool int32_biases; /* biases that have an int32 encoding become such integers */
};

/* Appends the model to *out, serialized. types are those of m's values. Entries need their axes (encodings_place()). The default operator set is raised to 13, or to 21
 * for anything but 8-bit grids of tensors and channels of float32; ERR_UNSUPPORTED_GRAPH where that cannot be (onnx_opset.h). ERR_BAD_PARAM for an encoding that does not fit
 * the model. */
int qdq_write(const struct onnx_model *m, const struct value_types *types, const struct encodings *x, struct qdq_options options,
              struct buf *out, struct err *e);

#endif
