#ifndef SEQMSE_QUANTSIM_JSON_H
#define SEQMSE_QUANTSIM_JSON_H

#include "core/base/json.h"
#include "core/quantsim/quantsim.h"

/* One JSON object that lists a simulation's ops and quantizers, for people and tests:
 *  {"ops":[{"name","type","nodes":["/fc/MatMul","/fc/Add"]}, …],
 *   "quantizers":[{"name","enabled","param","param_type","op","bitwidth","dtype":"int"|"float","symmetric","strict","unsigned",
 *                  "type":"PER_TENSOR"|"PER_CHANNEL"|"PER_BLOCK"|"LPBQ","channel_axis","block":[axis, size]|null,
 *                  "constraint":[min, max]|null,"shared_with":[…]}, …]}
 * in their orders; channel_axis is null per tensor, max null where open; shared_with is sorted by bytes. */
int quantsim_to_json(const struct quantsim *qs, struct json_out *w, const char *key, struct err *e);

#endif
