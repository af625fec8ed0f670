#ifndef SEQMSE_REPORT_H
#define SEQMSE_REPORT_H

/* report.json: what a run did, layer by layer. */

#include "seqmse.h"

/* Appends the report's text:
 *  {"version", "params":{…}, "samples", "samples_used", "batches", "pieces", "seconds":{"load","graph","gram","search","recheck","total"},
 *   "spilled_bytes", "layers":[{"index","node","op_type","weight","channels","fan_in","strategy","rechecked","seconds",
 *   "chosen":[…],"loss":[…],"minmax_loss":[…]}]} */
int report_json(const struct seqmse_result *r, const struct params *p, struct buf *out, struct err *e);

#endif
