#include "core/kernels/lags_blas.h"

#include "core/base/numbers.h"
#include "core/kernels/gemm.h"

#include <stdlib.h>
#include <string.h>

enum {
	RUN = 4096, /* most products in a float sum */
	WIDE = 64   /* lags share a product until it has so many columns: narrower ones do not pay */
};
#define GROUP ((int64_t)8 << 20) /* floats of input that are put in the order of the classes at a time */

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Some images of a batch. Tile t of the work is the lags t * per_tile and on. */
struct adding {
	const struct lags *l;
	const float *x;
	int64_t channels, images, pixels; /* images of these; pixels of one */
	int64_t per_tile;
	float *own; /* [channels][images * pixels] the input in the order of the classes */
	double *sum;
	/* [threads] */
	float **shifted;   /* [per_tile][channels][RUN] */
	float **product;   /* [channels][per_tile * channels] */
	double **by_class; /* [y classes][x classes][channels][per_tile * channels] */
};

/* out[i] = row[first + i], 0 outside of 0 .. width-1, for i < n */
static void copy_row(const float *row, int64_t width, int64_t first, int64_t n, float *out)
{
	int64_t i = 0, inside = min64(n, width - first);
	for (; i < n && first + i < 0; i++)
		out[i] = 0;
	for (; i < inside; i++)
		out[i] = row[first + i];
	for (; i < n; i++)
		out[i] = 0;
}

/* Pixels of one class of all images of one channel, displaced by (y, x): numbers first .. first+n-1 of them. */
static void copy_class(const struct adding *a, int64_t channel, int64_t cy, int64_t cx, int64_t y, int64_t x, int64_t first,
                       int64_t n, float *out)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	int64_t rows = ay->end[cy] - ay->begin[cy], width = ax->end[cx] - ax->begin[cx];
	int64_t line = first / width, skip = first % width;
	while (n > 0) {
		int64_t image = line / rows, row = ay->begin[cy] + line % rows + y, run = min64(width - skip, n);
		const float *plane = a->x + (image * a->channels + channel) * a->pixels;
		if (row < 0 || row >= ay->size)
			memset(out, 0, (size_t)run * sizeof *out);
		else
			copy_row(plane + row * ax->size, ax->size, ax->begin[cx] + skip + x, run, out);
		out += run;
		n -= run;
		skip = 0;
		line++;
	}
}

static int64_t class_pixels(const struct adding *a, int64_t cy, int64_t cx)
{
	return (a->l->y.end[cy] - a->l->y.begin[cy]) * (a->l->x.end[cx] - a->l->x.begin[cx]) * a->images;
}

static void order_channel(void *ctx, int channel, int thread)
{
	const struct adding *a = ctx;
	(void)thread;
	float *out = a->own + channel * a->images * a->pixels;
	for (int64_t cy = 0; cy < a->l->y.classes; cy++)
		for (int64_t cx = 0; cx < a->l->x.classes; cx++) {
			int64_t n = class_pixels(a, cy, cx);
			copy_class(a, channel, cy, cx, 0, 0, 0, n, out);
			out += n;
		}
}

/* One class's products for `lags` lags from `lag` on; own points at the class's first pixel. */
static void multiply_class(const struct adding *a, int64_t lag, int64_t lags, int64_t cy, int64_t cx, const float *own, int thread,
                           double *out)
{
	int64_t c = a->channels, columns = lags * c, n = class_pixels(a, cy, cx), ld = a->images * a->pixels;
	float *shifted = a->shifted[thread], *product = a->product[thread];
	memset(out, 0, (size_t)(c * columns) * sizeof *out);
	for (int64_t first = 0, run; first < n; first += run) {
		run = min64(RUN, n - first);
		for (int64_t j = 0; j < columns; j++) {
			struct lag at = lags_at(a->l, lag + j / c);
			copy_class(a, j % c, cy, cx, at.y * a->l->y.dilation, at.x * a->l->x.dilation, first, run,
			           shifted + j * run);
		}
		gemm(false, true, c, columns, run, own + first, ld, shifted, run, 0, product, columns);
		for (int64_t i = 0; i < c * columns; i++)
			out[i] += (double)product[i];
	}
}

/* Adds lag number j of the tile's to the pair of p and q: the classes that p visits. */
static void add_pair(const struct adding *a, const double *by_class, int64_t j, int64_t columns, int64_t p, double *pair)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	int64_t c = a->channels;
	for (int64_t cy = 0; cy < ay->classes; cy++)
		for (int64_t cx = 0; cx < ax->classes; cx++) {
			if (!lags_visits(ay, p / ax->taps, cy) || !lags_visits(ax, p % ax->taps, cx))
				continue;
			const double *from = by_class + (cy * ax->classes + cx) * c * columns + j * c;
			for (int64_t row = 0; row < c; row++)
				for (int64_t col = 0; col < c; col++)
					pair[row * c + col] += from[row * columns + col];
		}
}

static void multiply_lags(void *ctx, int tile, int thread)
{
	const struct adding *a = ctx;
	const struct lags *l = a->l;
	int64_t lag = tile * a->per_tile, lags = min64(a->per_tile, l->count - lag), c = a->channels, square = c * c;
	double *by_class = a->by_class[thread], *to = by_class;
	const float *own = a->own;
	for (int64_t cy = 0; cy < l->y.classes; cy++)
		for (int64_t cx = 0; cx < l->x.classes; cx++) {
			multiply_class(a, lag, lags, cy, cx, own, thread, to);
			own += class_pixels(a, cy, cx);
			to += lags * square;
		}
	for (int64_t j = 0; j < lags; j++) {
		struct lag at = lags_at(l, lag + j);
		for (int64_t y = 0; y + at.y < l->y.taps; y++)
			for (int64_t x = max64(0, -at.x); x < l->x.taps && x + at.x < l->x.taps; x++) {
				int64_t p = y * l->x.taps + x, q = (y + at.y) * l->x.taps + x + at.x;
				add_pair(a, by_class, j, lags * c, p, a->sum + lags_pair(l->taps, p, q) * square);
			}
	}
}

static bool alloc(struct adding *a, int threads)
{
	int64_t columns = a->per_tile * a->channels, classes = a->l->y.classes * a->l->x.classes;
	a->own = malloc((size_t)(a->channels * a->images * a->pixels) * sizeof *a->own);
	a->shifted = calloc((size_t)threads, sizeof *a->shifted);
	a->product = calloc((size_t)threads, sizeof *a->product);
	a->by_class = calloc((size_t)threads, sizeof *a->by_class);
	bool ok = a->own && a->shifted && a->product && a->by_class;
	for (int i = 0; ok && i < threads; i++) {
		a->shifted[i] = malloc((size_t)(columns * min64(RUN, a->images * a->pixels)) * sizeof(float) + 1);
		a->product[i] = malloc((size_t)(a->channels * columns) * sizeof(float) + 1);
		a->by_class[i] = malloc((size_t)(classes * a->channels * columns) * sizeof(double) + 1);
		ok = a->shifted[i] && a->product[i] && a->by_class[i];
	}
	return ok;
}

static void dealloc(struct adding *a, int threads)
{
	for (int i = 0; i < threads; i++) {
		free(a->shifted ? a->shifted[i] : NULL);
		free(a->product ? a->product[i] : NULL);
		free(a->by_class ? a->by_class[i] : NULL);
	}
	free(a->own);
	free(a->shifted);
	free(a->product);
	free(a->by_class);
}

int lags_blas_add(const struct patches *p, const float *x, struct tiles *tiles, double *sum, struct err *e)
{
	struct lags l;
	int threads = tiles_threads(tiles);
	if (lags_init(&l, p, e))
		return -1;
	struct adding a = {.l = &l, .channels = p->in_channels, .pixels = p->in[1] * p->in[2], .sum = sum};
	int64_t images = p->positions / (p->out[1] * p->out[2]), at_once = max64(1, GROUP / (a.channels * a.pixels));
	a.images = min64(images, at_once);
	a.per_tile = min64(l.count, (WIDE + a.channels - 1) / a.channels);
	bool ok = alloc(&a, threads);
	for (int64_t first = 0; ok && first < images; first += at_once) {
		a.x = x + first * a.channels * a.pixels;
		a.images = min64(at_once, images - first);
		tiles_run(tiles, (int)a.channels, order_channel, &a);
		tiles_run(tiles, (int)((l.count + a.per_tile - 1) / a.per_tile), multiply_lags, &a);
	}
	dealloc(&a, threads);
	lags_fini(&l);
	return ok ? 0 : err_nomem(e, "a Gram matrix");
}
