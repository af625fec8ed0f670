#ifndef SEQMSED_LAYER_FRAME_H
#define SEQMSED_LAYER_FRAME_H

/* A finished layer on the wire between engine and supervisor, JSON with every digit:
 *  {"index","node","op_type","weight","channels","fan_in","param_bw","symmetric","strict_symmetric","unsigned_symmetric","rank","channel_axis","granularity","block_size","candidates",
 *   "fell_back","loss_fn","strategy","signal","rechecked","seconds","grids":[min,max,delta,offset, …],"chosen":[…],"loss":[…],"minmax_loss":[…],
 *   "curve":[…],"machine"}
 * machine is core/workflow/machine.h's; missing where nobody knows it. curve is missing where nothing was searched. A loss that is not finite is null.
 */

#include "core/search/seqmse.h"
#include "server/store/store_job.h"

int layer_frame_write(const struct seqmse_layer_result *l, const char *machine, struct buf *out, struct err *e);

/* For the supervisor. Checks and unpacks it: texts, lengths that agree, finite grids. Release with layer_frame_fini(). */
int layer_frame_read(const char *text, size_t len, struct store_layer *out, struct err *e);
void layer_frame_fini(struct store_layer *l);

/* For the next engine: the layer itself again, with memory of its own. */
struct layer_result {
	struct seqmse_layer_result r;
	struct json *text; /* owns r's texts */
	struct quant_grid *grids;
	int *chosen;
	double *loss, *minmax_loss, *curve;
};

/* ERR_BAD_STATE for a frame of another machine, also of an unknown one; machine NULL: any will do. */
int layer_frame_result(const char *text, size_t len, const char *machine, struct layer_result *out, struct err *e);
void layer_result_fini(struct layer_result *l);

#endif
