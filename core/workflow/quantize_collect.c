#include "core/workflow/quantize_result.h"

#include "core/encodings/bias_encodings.h"
#include "core/encodings/moved_encodings.h"
#include "core/grid/observer.h"

/* The scheme's name in the field's files. */
static const char *scheme_name(int64_t scheme)
{
	static const char *const names[] = {[SCHEME_TF] = "min_max",
	                                    [SCHEME_TF_ENHANCED] = "post_training_tf_enhanced",
	                                    [SCHEME_PERCENTILE] = "post_training_percentile"};
	return names[scheme];
}

int quantize_collect(struct quantize *q, struct err *e)
{
	struct encodings *x = &q->encodings;
	if (sim_encodings(q->sim, scheme_name(q->params->quant_scheme), x, e))
		return -1;
	return bias_encodings_add(x, q->qs, e) || moved_encodings_add(x, q->qs, e) ? -1 : 0;
}
