#ifndef SEQMSE_ONNX_OPSET_H
#define SEQMSE_ONNX_OPSET_H

/* Raising a model's default operator set: nodes whose meaning a newer set writes down differently are rewritten (attributes that became inputs, defaults that
 * changed, ops that got another name), in bodies of If, Loop and Scan too; all others are taken over. */

#include "core/base/buf.h"
#include "core/base/err.h"
#include "core/onnx/onnx_model.h"

struct value_types;

enum { ONNX_OPSET_MIN = 7, ONNX_OPSET_MAX = 21 };

/* Appends the model in set `version` (at most ONNX_OPSET_MAX) to *out, serialized, the IR version raised with it. types, of m's values, may be NULL: all ranks are then
 * unknown and all types float. ERR_UNSUPPORTED_GRAPH naming the node where there is no such rewriting, or the model's set is older than ONNX_OPSET_MIN.
 * A model whose set is not older than version keeps it. */
int onnx_opset_raise(const struct onnx_model *m, int64_t version, const struct value_types *types, struct buf *out, struct err *e);

#endif
