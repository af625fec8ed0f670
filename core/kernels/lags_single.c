#include "core/kernels/lags_single.h"

#include "core/base/simd.h"

#include <stdlib.h>
#include <string.h>

enum { W = LAGS_LANES, B = LAGS_AT_ONCE, V = SIMD_FLOATS, ROOM = 64 * 1024 /* floats that are laid out at a time, about */ };

typedef float lanes __attribute__((vector_size(V * sizeof(float)), aligned(sizeof(float)), may_alias));

/* A number for each tap of a row of the kernel. */
typedef double eight __attribute__((vector_size(LAGS_TAPS * sizeof(double)), aligned(sizeof(double)), may_alias));

/* ---- kernels ---- */

static const float tails[2 * W] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

SIMD_BODY lags_dots_body(const float *a, const float *b, const int64_t *offset, int64_t n, int64_t stride, int64_t length,
                         double *out)
{
	const float *at[B];
	const int64_t whole = length / W * W;
	for (int i = 0; i < B; i++)
		at[i] = b + offset[i];
	for (int part = 0; part < W; part += V) {
		lanes acc[B];
		const lanes mask = *(const lanes *)(tails + W - length % W + part);
		for (int i = 0; i < B; i++)
			acc[i] = (lanes){0};
		for (int64_t s = part; s < n * stride + part; s += stride) {
			for (int64_t t = s; t < s + whole; t += W) {
				lanes u = *(const lanes *)(a + t);
				for (int i = 0; i < B; i++)
					acc[i] += u * *(const lanes *)(at[i] + t);
			}
			if (whole < length) {
				lanes u = *(const lanes *)(a + s + whole) * mask;
				for (int i = 0; i < B; i++)
					acc[i] += u * *(const lanes *)(at[i] + s + whole);
			}
		}
		for (int i = 0; i < B; i++)
			for (int v = 0; v < V; v++)
				out[i] += (double)acc[i][v];
	}
}

SIMD_DISPATCH(lags_dots,
              (const float *a, const float *b, const int64_t *offset, int64_t n, int64_t stride, int64_t length, double *out),
              (a, b, offset, n, stride, length, out))

/* Rows of pictures, and where they are. */
struct column {
	const float *a;
	int64_t n, stride, rows, row;
};

/* Some vectors of acc, each of which is added to in the pictures' order; b[v] is where vector v finds its numbers. */
SIMD_BODY add_column(const struct column *c, const float *const *b, const int vectors, float *const *acc)
{
	lanes sum[5];
	for (int v = 0; v < vectors; v++)
		sum[v] = *(const lanes *)acc[v];
	for (int64_t i = 0; i < c->n * c->stride; i += c->stride)
		for (int64_t r = i; r < i + c->rows * c->row; r += c->row)
			for (int v = 0; v < vectors; v++)
				sum[v] += c->a[r] * *(const lanes *)(b[v] + r);
	for (int v = 0; v < vectors; v++)
		*(lanes *)acc[v] = sum[v];
}

SIMD_BODY lags_column_body(const float *a, const float *b, int64_t n, int64_t stride, int64_t rows, int64_t row, int64_t taps,
                           int64_t step, float *acc)
{
	const struct column c = {a, n, stride, rows, row};
	int64_t all = taps * (W / V);
	for (int64_t y = 0; y < all;) {
		const float *from[5] = {b};
		float *to[5] = {acc};
		int vectors = all - y >= 5 ? 5 : all - y >= 3 ? 3 : 1;
		for (int v = 0; v < vectors; v++) {
			from[v] = b + (y + v) / (W / V) * step * row + (y + v) % (W / V) * V;
			to[v] = acc + (y + v) * V;
		}
		if (vectors == 5)
			add_column(&c, from, 5, to);
		else if (vectors == 3)
			add_column(&c, from, 3, to);
		else
			add_column(&c, from, 1, to);
		y += vectors;
	}
}

SIMD_DISPATCH(lags_column,
              (const float *a, const float *b, int64_t n, int64_t stride, int64_t rows, int64_t row, int64_t taps, int64_t step,
               float *acc),
              (a, b, n, stride, rows, row, taps, step, acc))

SIMD_BODY lags_classes_body(const struct lags_visited *v, const double *const *at, const int64_t *step, double *pairs)
{
	for (int64_t y = 0; y < v->taps; y++)
		*(eight *)(pairs + y * LAGS_TAPS) = (eight){0};
	for (int64_t r = 0; r < v->rows; r++) {
		eight line = {0};
		for (int64_t c = 0; c < v->columns; c++)
			line += *(const eight *)(v->x + c * LAGS_TAPS) * at[c][r * step[c]];
		for (int64_t y = 0; y < v->taps; y++)
			*(eight *)(pairs + y * LAGS_TAPS) += v->y[r * v->taps + y] * line;
	}
}

SIMD_DISPATCH(lags_classes, (const struct lags_visited *v, const double *const *at, const int64_t *step, double *pairs),
              (v, at, step, pairs))

/* ---- one channel ---- */

/* Some images of a channel, laid out in rows of a common length: the picture, then zeros as wide as the kernel, so that a shift that leaves a
 * row meets zeros; below the last row as well. inner is the same without the columns that have a class of their own. */
struct adding {
	const struct patches *p;
	const float *x;
	double *sum;
	const struct lags *l;
	int64_t *offset;             /* [lags], rounded up to B with repetitions */
	int64_t reach_x, row, plane; /* how far the kernel reaches; floats of a row, of an image */
	int64_t images;              /* laid out at a time, at most */
	int64_t long_class;          /* of the x axis; -1: all columns are alone */
	int64_t columns;             /* classes of the x axis that are single columns */
	struct lags_visited visits;
	double *visit_y, *visit_x; /* visits' */
	int64_t *step;             /* [x classes] from a class of rows to the next, in the sums of lags_classes() */
	/* [threads] */
	float **picture, **inner; /* picture starts W places into its room */
	float **column;           /* [y classes][columns][y taps][W], of the images that are laid out */
	double **dots;            /* [y classes][lags rounded up] */
	double **column_sum;      /* as column */
	double **pairs;           /* [y taps][LAGS_TAPS] */
	const double ***at;       /* [x classes] */
};

static int64_t round_up(int64_t n, int64_t to)
{
	return (n + to - 1) / to * to;
}

bool lags_single_fit(const struct patches *p)
{
	return lags_fit(p) && p->in_channels == p->groups && 2 * (p->kernel[2] - 1) * p->dilation[2] < W;
}

static void lay_out(const struct adding *a, int64_t channel, int64_t first, int64_t n, float *picture, float *inner)
{
	const struct lags_axis *ax = &a->l->x;
	int64_t h = a->l->y.size, w = ax->size, begin = 0, end = 0;
	if (a->long_class >= 0) {
		begin = ax->begin[a->long_class];
		end = ax->end[a->long_class];
	}
	for (int64_t i = 0; i < n; i++)
		for (int64_t y = 0; y < h; y++) {
			const float *from = a->x + ((first + i) * a->p->in_channels + channel) * h * w + y * w;
			float *to = picture + i * a->plane + y * a->row, *in = inner + i * a->plane + y * a->row;
			memcpy(to, from, (size_t)w * sizeof *to);
			memcpy(in + begin, from + begin, (size_t)(end - begin) * sizeof *in);
		}
}

/* The products of all columns but the single ones, by classes of rows. */
static void add_dots(const struct adding *a, int64_t n, const float *picture, const float *inner, double *dots)
{
	const struct lags_axis *ay = &a->l->y;
	int64_t lags = round_up(a->l->count, B);
	for (int64_t cy = 0; a->long_class >= 0 && cy < ay->classes; cy++) {
		int64_t start = ay->begin[cy] * a->row, length = (ay->end[cy] - ay->begin[cy]) * a->row - a->reach_x;
		for (int64_t i = 0; i < lags; i += B)
			lags_dots(inner + start, picture + start, a->offset + i, n, a->plane, length, dots + cy * lags + i);
	}
}

/* The products of the single columns, by classes of rows: place w is the pixel w - reach_x to the right. */
static void add_columns(const struct adding *a, int64_t n, const float *picture, float *column, double *sum)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	int64_t block = ay->taps * W, all = ay->classes * a->columns * block;
	float *to = column;
	memset(column, 0, (size_t)all * sizeof *column);
	for (int64_t cy = 0; cy < ay->classes; cy++) {
		const float *rows = picture + ay->begin[cy] * a->row;
		for (int64_t cx = 0; cx < ax->classes; cx++) {
			if (cx == a->long_class)
				continue;
			lags_column(rows + ax->begin[cx], rows + ax->begin[cx] - a->reach_x, n, a->plane, ay->end[cy] - ay->begin[cy],
			            a->row, ay->taps, ay->dilation, to);
			to += block;
		}
	}
	for (int64_t i = 0; i < all; i++)
		sum[i] += (double)column[i];
}

/* Of a lag. */
static void sum_classes(const struct adding *a, int64_t lag, int thread)
{
	struct lag at = lags_at(a->l, lag);
	const double *column = a->column_sum[thread] + at.y * W + a->reach_x + at.x * a->l->x.dilation;
	for (int64_t cx = 0; cx < a->l->x.classes; cx++) {
		a->at[thread][cx] = cx == a->long_class ? a->dots[thread] + lag : column;
		column += cx == a->long_class ? 0 : a->l->y.taps * W;
	}
	lags_classes(&a->visits, a->at[thread], a->step, a->pairs[thread]);
}

static void add_pairs(const struct adding *a, int thread, double *sum)
{
	const struct lags *l = a->l;
	const double *pairs = a->pairs[thread];
	for (int64_t lag = 0; lag < l->count; lag++) {
		struct lag at = lags_at(l, lag);
		sum_classes(a, lag, thread);
		for (int64_t y = 0; y + at.y < l->y.taps; y++)
			for (int64_t x = at.x < 0 ? -at.x : 0; x < l->x.taps && x + at.x < l->x.taps; x++)
				sum[(y * l->x.taps + x) * l->taps + (y + at.y) * l->x.taps + x + at.x] += pairs[y * LAGS_TAPS + x];
	}
}

static void add_channel(void *ctx, int channel, int thread)
{
	const struct adding *a = ctx;
	int64_t images = a->p->positions / (a->p->out[1] * a->p->out[2]);
	int64_t dots = a->l->y.classes * round_up(a->l->count, B), columns = a->l->y.classes * a->columns * a->l->y.taps * W;
	memset(a->dots[thread], 0, (size_t)dots * sizeof(double));
	memset(a->column_sum[thread], 0, (size_t)columns * sizeof(double));
	for (int64_t first = 0; first < images; first += a->images) {
		int64_t n = a->images < images - first ? a->images : images - first;
		lay_out(a, channel, first, n, a->picture[thread] + W, a->inner[thread]);
		add_dots(a, n, a->picture[thread] + W, a->inner[thread], a->dots[thread]);
		add_columns(a, n, a->picture[thread] + W, a->column[thread], a->column_sum[thread]);
	}
	add_pairs(a, thread, a->sum + channel * a->l->taps * a->l->taps);
}

/* ---- all channels ---- */

static void set_geometry(struct adding *a, const struct lags *l)
{
	const struct patches *p = a->p;
	int64_t images = p->positions / (p->out[1] * p->out[2]);
	a->l = l;
	a->reach_x = (l->x.taps - 1) * l->x.dilation;
	a->row = l->x.size + a->reach_x;
	a->plane = (l->y.size + (l->y.taps - 1) * l->y.dilation) * a->row;
	a->images = a->plane < ROOM ? ROOM / a->plane : 1;
	a->images = a->images < images ? a->images : images;
	a->long_class = -1;
	for (int64_t c = 0; c < l->x.classes; c++)
		if (l->x.end[c] - l->x.begin[c] > 1)
			a->long_class = c;
	a->columns = l->x.classes - (a->long_class >= 0);
}

static void set_visits(struct adding *a)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	for (int64_t c = 0; c < ax->classes; c++) {
		a->step[c] = c == a->long_class ? round_up(a->l->count, B) : a->columns * ay->taps * W;
		for (int64_t tap = 0; tap < ax->taps; tap++)
			a->visit_x[c * LAGS_TAPS + tap] = lags_visits(ax, tap, c);
	}
	for (int64_t c = 0; c < ay->classes; c++)
		for (int64_t tap = 0; tap < ay->taps; tap++)
			a->visit_y[c * ay->taps + tap] = lags_visits(ay, tap, c);
	a->visits = (struct lags_visited){ay->taps, ay->classes, ax->classes, a->visit_y, a->visit_x};
}

static bool alloc(struct adding *a, int threads)
{
	int64_t room = a->images * a->plane + 2 * W, lags = round_up(a->l->count, B), ys = a->l->y.classes, xs = a->l->x.classes;
	int64_t columns = ys * a->columns * a->l->y.taps * W;
	a->offset = calloc((size_t)lags, sizeof *a->offset);
	a->picture = calloc((size_t)threads, sizeof *a->picture);
	a->inner = calloc((size_t)threads, sizeof *a->inner);
	a->column = calloc((size_t)threads, sizeof *a->column);
	a->dots = calloc((size_t)threads, sizeof *a->dots);
	a->column_sum = calloc((size_t)threads, sizeof *a->column_sum);
	a->pairs = calloc((size_t)threads, sizeof *a->pairs);
	a->at = calloc((size_t)threads, sizeof *a->at);
	a->visit_x = calloc((size_t)xs * LAGS_TAPS + 1, sizeof *a->visit_x);
	a->visit_y = calloc((size_t)(ys * a->l->y.taps) + 1, sizeof *a->visit_y);
	a->step = calloc((size_t)xs + 1, sizeof *a->step);
	bool ok = a->offset && a->picture && a->inner && a->column && a->dots && a->column_sum && a->pairs && a->at && a->visit_x &&
	          a->visit_y && a->step;
	for (int i = 0; ok && i < threads; i++) { /* what is not laid out stays zero */
		a->picture[i] = calloc((size_t)room, sizeof(float));
		a->inner[i] = calloc((size_t)room, sizeof(float));
		a->column[i] = calloc((size_t)columns + 1, sizeof(float));
		a->dots[i] = calloc((size_t)(ys * lags), sizeof(double));
		a->column_sum[i] = calloc((size_t)columns + 1, sizeof(double));
		a->pairs[i] = calloc((size_t)(a->l->y.taps * LAGS_TAPS), sizeof(double));
		a->at[i] = calloc((size_t)xs + 1, sizeof(double *));
		ok = a->picture[i] && a->inner[i] && a->column[i] && a->dots[i] && a->column_sum[i] && a->pairs[i] && a->at[i];
	}
	if (ok)
		set_visits(a);
	for (int64_t i = 0; ok && i < lags; i++) {
		struct lag at = lags_at(a->l, i < a->l->count ? i : 0);
		a->offset[i] = at.y * a->l->y.dilation * a->row + at.x * a->l->x.dilation;
	}
	return ok;
}

static void dealloc(struct adding *a, int threads)
{
	for (int i = 0; i < threads; i++) {
		free(a->picture ? a->picture[i] : NULL);
		free(a->inner ? a->inner[i] : NULL);
		free(a->column ? a->column[i] : NULL);
		free(a->dots ? a->dots[i] : NULL);
		free(a->column_sum ? a->column_sum[i] : NULL);
		free(a->pairs ? a->pairs[i] : NULL);
		free(a->at ? a->at[i] : NULL);
	}
	free(a->offset);
	free(a->picture);
	free(a->inner);
	free(a->column);
	free(a->dots);
	free(a->column_sum);
	free(a->pairs);
	free(a->at);
	free(a->visit_x);
	free(a->visit_y);
	free(a->step);
}

int lags_single_add(const struct patches *p, const float *x, struct tiles *tiles, double *sum, struct err *e)
{
	struct lags l;
	struct adding a = {.p = p, .x = x, .sum = sum};
	int threads = tiles_threads(tiles);
	if (lags_init(&l, p, e))
		return -1;
	set_geometry(&a, &l);
	bool ok = alloc(&a, threads);
	if (ok)
		tiles_run(tiles, (int)p->groups, add_channel, &a);
	dealloc(&a, threads);
	lags_fini(&l);
	return ok ? 0 : err_nomem(e, "a Gram matrix");
}
