#include "core/grid/observer.h"

#include "core/base/extremes.h"
#include "core/grid/histogram.h"
#include "core/grid/tf_enhanced.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

void observer_init(struct observer *o, enum quant_scheme scheme)
{
	*o = (struct observer){.scheme = scheme, .min = INFINITY, .max = -INFINITY};
}

void observer_fini(struct observer *o)
{
	free(o->h);
	*o = (struct observer){0};
}

/* Histograms begin with the first batch that is not all 0; range is this batch's. */
static int begin_histogram(struct observer *o, const float range[2], struct err *e)
{
	if (!(range[0] < 0 || range[1] > 0))
		return 0;
	if (!(o->h = malloc(sizeof *o->h)))
		return err_nomem(e, "a histogram");
	histogram_init(o->h, fmaxf(range[0], -FLT_MAX), fminf(range[1], FLT_MAX));
	return 0;
}

int observer_update(struct observer *o, size_t n, const float *x, struct err *e)
{
	float range[2];
	if (n == 0)
		return 0;
	extremes(n, x, range);
	if (o->scheme != SCHEME_TF && !o->h && begin_histogram(o, range, e) != 0)
		return -1;
	if (o->h)
		histogram_add(o->h, n, x);
	o->min = fminf(o->min, range[0]);
	o->max = fmaxf(o->max, range[1]);
	o->seen = true;
	return 0;
}

struct quant_grid observer_grid(const struct observer *o, struct quant_mode mode, double percentile)
{
	if (o->scheme == SCHEME_TF)
		return quant_minmax(o->min, o->max, mode);
	if (!o->h)
		return tf_enhanced_of_zeros(mode);
	if (o->scheme == SCHEME_TF_ENHANCED)
		return tf_enhanced(o->h, mode);
	float lo, hi;
	histogram_percentile(o->h, percentile, &lo, &hi);
	return quant_minmax(lo, hi, mode);
}
