#include "server/engine/partial.h"

#include "server/engine/layer_frame.h"

#include <string.h>

/* A frame of a daemon that did not tell of axes yet has rank 0, and its layer is left out. */
static int add_layer(struct encodings *x, const char *line, size_t len, struct err *e)
{
	struct layer_result l;
	if (layer_frame_result(line, len, NULL, &l, e) < 0)
		return -1;
	struct encoding w = seqmse_encoding(&l.r);
	int rc = l.r.rank ? encodings_add(x, false, l.r.weight, &w, e) : 0;
	x->per_channel = x->per_channel || l.r.granularity != QUANT_PER_TENSOR;
	x->symmetric_params = x->symmetric_params || l.r.mode.symmetric;
	layer_result_fini(&l);
	return rc;
}

int partial_encodings(const struct buf *frames, const struct params *p, enum encodings_version v, struct buf *out, struct err *e)
{
	struct encodings x = {.param_bw = (int)p->param_bw,
	                      .activation_bw = p->output_bw == PARAMS_FLOAT16 ? 16 : (int)p->output_bw};
	int rc = 0;
	for (const char *at = frames->data; at && *at && rc == 0;) {
		size_t n = strcspn(at, "\n");
		rc = add_layer(&x, at, n, e);
		at += n + (at[n] == '\n');
	}
	if (rc == 0 && x.nparams == 0)
		rc = err_set(e, ERR_BAD_STATE, "no layer is finished");
	if (rc == 0)
		rc = encodings_write(&x, v, out, e);
	encodings_fini(&x);
	return rc;
}
