#include "core/data/resample.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FRACTION = 22 }; /* bits; leaves room for a sum of 8-bit values, and for weights beyond 1 */

/* The weights of one axis: pixel i of the result is made of n[i] pixels from first[i] on. */
struct axis {
	int *first, *n;
	int32_t *weights; /* [out][most] */
	int most;
};

static double bilinear(double x)
{
	x = fabs(x);
	return x < 1 ? 1 - x : 0;
}

static double bicubic(double x)
{
	const double a = -0.5;
	x = fabs(x);
	return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static void axis_fini(struct axis *a)
{
	free(a->first);
	free(a->n);
	free(a->weights);
}

static void fill_pixel(struct axis *a, int i, int in, double scale, enum resample_filter filter, double *exact)
{
	double spread = scale > 1 ? scale : 1, reach = (filter == RESAMPLE_BICUBIC ? 2 : 1) * spread;
	double center = (i + 0.5) * scale, sum = 0, inverse = 1 / spread;
	int first = (int)(center - reach + 0.5), end = (int)(center + reach + 0.5);
	first = first < 0 ? 0 : first;
	end = end > in ? in : end;
	const int n = end - first;
	for (int k = 0; k < n; k++) {
		double x = (first + k - center + 0.5) * inverse;
		sum += exact[k] = filter == RESAMPLE_BICUBIC ? bicubic(x) : bilinear(x);
	}
	a->first[i] = first;
	a->n[i] = n;
	for (int k = 0; k < n; k++) {
		double w = (sum != 0 ? exact[k] / sum : exact[k]) * (1 << FRACTION);
		a->weights[(size_t)i * (size_t)a->most + (size_t)k] = (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
	}
}

static int axis_init(struct axis *a, int in, int out, enum resample_filter filter, struct err *e)
{
	double scale = (double)in / out, spread = scale > 1 ? scale : 1;
	*a = (struct axis){.most = (int)ceil((filter == RESAMPLE_BICUBIC ? 2 : 1) * spread) * 2 + 1};
	a->first = malloc((size_t)out * sizeof *a->first);
	a->n = malloc((size_t)out * sizeof *a->n);
	a->weights = malloc((size_t)out * (size_t)a->most * sizeof *a->weights);
	double *exact = malloc((size_t)a->most * sizeof *exact);
	int rc = a->first && a->n && a->weights && exact ? 0 : err_nomem(e, "an image");
	for (int i = 0; !rc && i < out; i++)
		fill_pixel(a, i, in, scale, filter, exact);
	free(exact);
	return rc;
}

static unsigned char rounded(int64_t sum)
{
	int64_t v = (sum + (1 << (FRACTION - 1))) >> FRACTION;
	return (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* out[out_n][ch] = one line of in, whose pixels stand step bytes apart, as those of out do. */
static void resample_line(unsigned char *out, int out_n, size_t out_step, const unsigned char *in, size_t step, int channels,
                          const struct axis *a)
{
	for (int i = 0; i < out_n; i++) {
		const int32_t *w = a->weights + (size_t)i * (size_t)a->most;
		const unsigned char *from = in + (size_t)a->first[i] * step;
		for (int c = 0; c < channels; c++) {
			int64_t sum = 0;
			for (int k = 0; k < a->n[i]; k++)
				sum += (int64_t)from[(size_t)k * step + (size_t)c] * w[k];
			out[(size_t)i * out_step + (size_t)c] = rounded(sum);
		}
	}
}

int resample(unsigned char *out, int oh, int ow, const unsigned char *in, int ih, int iw, int channels, enum resample_filter filter,
             struct err *e)
{
	struct axis across = {0}, down = {0};
	size_t ch = (size_t)channels, in_row = (size_t)iw * ch, row = (size_t)ow * ch;
	unsigned char *wide = malloc((size_t)ih * row);
	int rc = wide ? 0 : err_nomem(e, "an image");
	if (!rc)
		rc = axis_init(&across, iw, ow, filter, e) || axis_init(&down, ih, oh, filter, e) ? -1 : 0;
	for (int y = 0; !rc && y < ih; y++)
		resample_line(wide + (size_t)y * row, ow, ch, in + (size_t)y * in_row, ch, channels, &across);
	for (int x = 0; !rc && x < ow; x++)
		resample_line(out + (size_t)x * ch, oh, row, wide + (size_t)x * ch, row, channels, &down);
	axis_fini(&across);
	axis_fini(&down);
	free(wide);
	return rc;
}
