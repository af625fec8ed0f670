#ifndef SEQMSED_LAYER_FRAME_H
#define SEQMSED_LAYER_FRAME_H

/* A finished layer on the wire between engine and supervisor, JSON with every digit:
 *  {"index","node","op_type","weight","channels","fan_in","strategy","rechecked","seconds",
 *   "grids":[min,max,delta,offset, …],"chosen":[…],"loss":[…],"minmax_loss":[…]}
 */

#include "core/seqmse.h"
#include "server/store_job.h"

int layer_frame_write(const struct seqmse_layer_result *l, struct buf *out, struct err *e);

/* Checks and unpacks it: texts, lengths that agree, finite grids. Release with layer_frame_fini(). */
int layer_frame_read(const char *text, size_t len, struct store_layer *out, struct err *e);
void layer_frame_fini(struct store_layer *l);

#endif
