#ifndef SEQMSE_VALUE_TYPES_H
#define SEQMSE_VALUE_TYPES_H

/* What is known of a model's values before it is run on data: element types, ranks, dimensions. They are ONNX Runtime's own
 * inference, read off a session over the whole graph with every value as an output; where that tells nothing, what the model declares. The insides of If, Loop and
 * Scan bodies are not looked at: their values are not values of the graph.
 */

#include "core/base/err.h"
#include "core/onnx/onnx_model.h"

#include <stdbool.h>
#include <stdint.h>

struct ort;

struct value_types {
	int n;
	int *elem_type;                 /* [n] ONNX TensorProto.DataType; 0: no tensor, or unknown */
	int *rank;                      /* [n] -1: unknown */
	int64_t (*shape)[ARRAY_MAX_RANK]; /* [n] -1: unknown or variable */
};

/* Free with value_types_free(). */
struct value_types *value_types_new(const struct onnx_model *m, struct ort *o, struct err *e);
void value_types_free(struct value_types *t);

/* Whether the value is float, float16 or bfloat16: what can be quantized. */
bool value_types_is_float(const struct value_types *t, int value);

#endif
