#ifndef SEQMSE_LAYER_MATCH_H
#define SEQMSE_LAYER_MATCH_H

/* Which layers a caller means by a glob over names, or by a type. Where the simulation makes one op out of several nodes, the name and type of that op are
 * the layer's too; qs may be NULL. */

#include "core/quantsim/quantsim.h"
#include "core/search/layers.h"

bool layer_match_name(const struct onnx_model *m, const struct quantsim *qs, const struct layer *l, const char *glob);
bool layer_match_type(const struct quantsim *qs, const struct layer *l, const char *op_type);

/* ERR_BAD_PARAM, naming the layer whose name begins most like the glob: for a glob that fits none. */
int layer_match_nothing(const struct onnx_model *m, const struct quantsim *qs, const struct layer *layers, int n, const char *glob,
                        struct err *e);

#endif
