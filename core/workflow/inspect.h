#ifndef SEQMSE_INSPECT_H
#define SEQMSE_INSPECT_H

/* What a model is, without running it: inputs, outputs, and every Conv, Gemm and MatMul with whether it can be searched and,
 * if not, why. Works on a model whose external data is not attached. */

#include "core/base/json.h"
#include "core/data/calib.h"
#include "core/onnx/onnx_model.h"
#include "core/workflow/params.h"

struct quantsim;

/* One JSON object:
 *  {"ir_version":8,"opset":17,"inputs":[{"name","type","shape":[-1 or "N",3,…]}],"outputs":[…],
 *   "nodes":N,"searchable":N,"external_files":["weights.data"],
 *   "layers":[{"index":0,"node":"/conv","op_type":"Conv","weight":"w","weight_shape":[16,1,3,3],"channels":16,"fan_in":9,
 *              "groups":1,"searchable":true,"reason":null,"level":0}, …]}
 * layers are in the order of the graph; index counts all of them; level is null where not searchable. */
int inspect_json(const struct onnx_model *m, struct json_out *w, const char *key, struct err *e);

/* Such a list of layers for a job: what include and exclude leave out is not searchable, and those that are searched have "settings": {"param_bw",
 * "symmetric","granularity","block_size","candidates","loss_fn"}, which overrides may change. */
int inspect_layers_json(const struct onnx_model *m, struct quantsim *qs, const struct params *p, struct json_out *w,
                        const char *key, struct err *e);

/* The model's inputs as a calibration set must feed them; *inputs is calloc'ed, to be freed by the caller. An input of a type that no array can feed is
 * ERR_UNSUPPORTED_GRAPH. */
int inspect_calib_inputs(const struct onnx_model *m, struct calib_input **inputs, size_t *n, struct err *e);

#endif
