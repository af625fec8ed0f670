#ifndef SEQMSE_CHECKPOINTS_H
#define SEQMSE_CHECKPOINTS_H

/* The setting `checkpoints_config`, in the reference's form:
 *     {"grouped_modules": {"0": ["/stem/Conv"], "1": ["/layer1/Conv", …], …}, "include_static_inputs": ["True", …], "cache_on_cpu": "False"}
 * Groups of nodes in the order of the graph, by names or globs. A group begins with the first of its nodes and ends where the next begins.
 * What one group makes and a later one reads is a checkpoint: with cache_on_cpu it stays in memory as far as the budget goes, without it goes to the file at once, so that memory is left
 * for what is read soon. No result depends on it.
 *
 * All three members are required. include_static_inputs has one text for each group; what a group reads is in the graph, so it decides nothing here. "False" is false (the
 * reference takes every text for cache_on_cpu as true). */

#include "core/base/json.h"
#include "core/onnx/onnx_model.h"

/* For the table of settings: its form. The message begins with the JSON pointer into it. */
int checkpoints_check(const struct json *v, struct err *e);

/* Marks which values are not to stay in memory: spill[onnx_model_values(m)]. NULL text marks none. A name that no node has is ERR_BAD_PARAM and names the
 * nearest; so are groups that are not in order. */
int checkpoints_resolve(const struct onnx_model *m, const char *text, bool *spill, struct err *e);

#endif
