#include "core/kernels/lags_many.h"

#include "core/base/numbers.h"
#include "core/base/simd.h"
#include "core/kernels/outer.h"

#include <stdlib.h>
#include <string.h>

enum {
	PANEL = OUTER_PANEL,
	TILE = OUTER_ROWS * OUTER_COLUMNS,
	TOGETHER = 64, /* rows that a tile of work has: columns are read once for all of them */
	ALONE = 32     /* the same where there is but one product, so that threads have equal parts of it */
};
#define GROUP ((int64_t)8 << 20) /* floats of input that are put in panels at a time, about */
#define NEAR  ((int64_t)512 << 10) /* the same of a pointwise convolution, which has but one product: they stay near the processor */

/* Some images of a batch. Tile t of the work is product t / parts, for the rows of part t % parts. */
struct adding {
	const struct lags *l;
	const struct patches *p;
	bool strided;
	const float *x;
	int64_t channels, images, pixels; /* images of these; pixels of one */
	int64_t height, width;            /* of a phase; every one has the same */
	int64_t places;                   /* of an image's pixels in a panel */
	int64_t panel;                    /* floats of a panel, which is [images][places][PANEL] */
	int64_t together, parts;
	float *panels; /* [panels], 0 where there is no channel */
	bool first;    /* nothing has been added yet */
	double *sum;
	/* [threads] */
	float **room;           /* [y classes][x classes][TILE] sums of a block */
	const float ***sums;    /* [y classes][x classes] where they are; NULL where there is no pixel */
	const float ***visited; /* [y classes * x classes] those of a tap */
};

/* A part of the images whose products are summed in float: whole images, or rows or columns of one. */
struct run {
	int64_t image, images, y0, y1, x0, x1;
};

/* A lag; where there is a stride, a pair, which starts at `tap`. */
struct product {
	struct lag lag;
	int64_t tap;
};

/* Some rows and columns of a product. */
struct block {
	struct product of;
	int64_t row, column;
	bool first; /* nothing has been added yet */
};

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* ---- the input in panels ---- */

/* Where a pixel is in its image: pixels that a stride takes together, a phase, lie side by side. */
static int64_t place_of(const struct adding *a, int64_t y, int64_t x)
{
	int64_t sy = a->p->stride[1], sx = a->p->stride[2], phase = y % sy * sx + x % sx;
	return (phase * a->height + y / sy) * a->width + x / sx;
}

static void fill_panel(void *ctx, int panel, int thread)
{
	const struct adding *a = ctx;
	int64_t channels = min64(PANEL, a->channels - panel * PANEL), w = a->l->x.size, step = a->p->stride[2];
	(void)thread;
	for (int64_t i = 0; i < a->images; i++) {
		const float *from = a->x + (i * a->channels + panel * PANEL) * a->pixels;
		float *to = a->panels + panel * a->panel + i * a->places * PANEL;
		if (!a->strided)
			outer_panel(from, a->pixels, 1, a->pixels, channels, to);
		for (int64_t y = 0; a->strided && y < a->l->y.size; y++)
			for (int64_t x = 0; x < min64(step, w); x++)
				outer_panel(from + y * w + x, a->pixels, step, (w - x + step - 1) / step, channels,
				            to + place_of(a, y, x) * PANEL);
	}
}

/* ---- products ---- */

bool lags_many_fit(const struct patches *p)
{
	return !p->linear && p->in[0] == 1 && p->out[0] == 1 && p->kernel[0] == 1 && p->pad[0] == 0 && p->positions > 0;
}

static bool has_stride(const struct patches *p)
{
	return p->stride[1] > 1 || p->stride[2] > 1;
}

int64_t lags_many_products(const struct patches *p)
{
	return has_stride(p) ? lags_pairs(p->kernel[1] * p->kernel[2]) : lags_count(p);
}

static struct product product_at(const struct adding *a, int64_t i)
{
	int64_t taps = a->l->taps, width = a->l->x.taps, p = 0;
	if (!a->strided)
		return (struct product){lags_at(a->l, i), 0};
	while (p + 1 < taps && lags_pair(taps, p + 1, p + 1) <= i)
		p++;
	int64_t q = p + i - lags_pair(taps, p, p);
	return (struct product){{q / width - p / width, q % width - p % width}, p};
}

SIMD_BODY lags_fold_body(const float *const *tile, int64_t tiles, int64_t rows, int64_t columns, bool first, double *pair,
                         int64_t ld)
{
	for (int64_t i = 0; i < rows; i++) {
		float line[OUTER_COLUMNS] = {0};
		for (int64_t t = 0; t < tiles; t++)
			for (int64_t j = 0; j < OUTER_COLUMNS; j++)
				line[j] += tile[t][i * OUTER_COLUMNS + j];
		for (int64_t j = 0; j < columns; j++)
			pair[i * ld + j] = (first ? 0 : pair[i * ld + j]) + (double)line[j];
	}
}

SIMD_DISPATCH(lags_fold,
              (const float *const *tile, int64_t tiles, int64_t rows, int64_t columns, bool first, double *pair, int64_t ld),
              (tile, tiles, rows, columns, first, pair, ld))

/* Some pixels of one axis, from the first on; with a stride, every stride-th. */
struct pixels {
	int64_t first, n;
};

/* Pixels begin .. end-1, of a class or, with a stride, those that a tap visits, whose partner `lag` pixels further is in the picture, too. */
static struct pixels axis_pixels(const struct adding *a, int i, int64_t class, int64_t tap, int64_t lag, int64_t begin, int64_t end)
{
	const struct lags_axis *axis = i == 1 ? &a->l->y : &a->l->x;
	int64_t stride = a->p->stride[i], start = tap * axis->dilation - axis->pad;
	begin = max64(max64(begin, axis->begin[class]), -lag);
	end = min64(min64(end, axis->end[class]), axis->size - lag);
	if (!a->strided)
		return (struct pixels){begin, max64(0, end - begin)};
	int64_t from = begin > start ? (begin - start + stride - 1) / stride : 0;
	int64_t to = end > start ? min64((end - start + stride - 1) / stride, axis->out) : 0;
	return (struct pixels){start + from * stride, max64(0, to - from)};
}

/* The pixels of a class that are in a run and have their partner: the floats before the first one, and before its partner; false where there is none. */
static bool find_pixels(const struct adding *a, const struct run *run, const struct product *of, int64_t class,
                        struct outer_span *s, int64_t *own, int64_t *partner)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	int64_t dy = of->lag.y * ay->dilation, dx = of->lag.x * ax->dilation, image = run->image * a->places;
	struct pixels y = axis_pixels(a, 1, class / ax->classes, of->tap / ax->taps, dy, run->y0, run->y1);
	struct pixels x = axis_pixels(a, 2, class % ax->classes, of->tap % ax->taps, dx, run->x0, run->x1);
	if (y.n <= 0 || x.n <= 0)
		return false;
	*own = (image + place_of(a, y.first, x.first)) * PANEL;
	*partner = (image + place_of(a, y.first + dy, x.first + dx)) * PANEL;
	*s = (struct outer_span){{run->images, y.n, x.n}, {a->places * PANEL, a->width * PANEL, PANEL}};
	for (int i = 0; i < 2 && s->n[2] == 1; i++) /* the innermost loop is a long one */
		*s = (struct outer_span){{1, s->n[0], s->n[1]}, {0, s->step[0], s->step[1]}};
	return true;
}

/* Adds a block to the pair of taps p and q: the sums of the classes that p visits. */
static void add_pair(const struct adding *a, const struct block *b, int64_t p, int64_t q, int thread)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	const float **visited = a->visited[thread], **sums = a->sums[thread];
	int64_t n = 0, c = a->channels, pair = lags_pair(a->l->taps, p, q);
	for (int64_t cy = 0; cy < ay->classes; cy++)
		for (int64_t cx = 0; cx < ax->classes; cx++)
			if (sums[cy * ax->classes + cx] &&
			    (a->strided || (lags_visits(ay, p / ax->taps, cy) && lags_visits(ax, p % ax->taps, cx))))
				visited[n++] = sums[cy * ax->classes + cx];
	lags_fold(visited, n, min64(OUTER_ROWS, c - b->row), min64(OUTER_COLUMNS, c - b->column), b->first,
	          a->sum + (pair * c + b->row) * c + b->column, c);
}

static void multiply_block(const struct adding *a, const struct run *run, const struct block *b, int thread)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	int64_t columns = min64(OUTER_COLUMNS, outer_panels(a->channels) * PANEL - b->column);
	const float *own = a->panels + b->row / PANEL * a->panel + b->row % PANEL,
		    *other = a->panels + b->column / PANEL * a->panel;
	for (int64_t i = 0; i < ay->classes * ax->classes; i++) {
		struct outer_span s;
		int64_t from, to;
		float *out = a->room[thread] + i * TILE;
		bool any = find_pixels(a, run, &b->of, i, &s, &from, &to);
		if (any)
			outer(own + from, other + to, a->panel, columns, &s, out);
		a->sums[thread][i] = any ? out : NULL;
	}
	struct lag lag = b->of.lag;
	if (a->strided)
		add_pair(a, b, b->of.tap, b->of.tap + lag.y * ax->taps + lag.x, thread);
	for (int64_t y = 0; !a->strided && y + lag.y < ay->taps; y++)
		for (int64_t x = max64(0, -lag.x); x < ax->taps && x + lag.x < ax->taps; x++)
			add_pair(a, b, y * ax->taps + x, (y + lag.y) * ax->taps + x + lag.x, thread);
}

static void multiply_run(const struct adding *a, const struct run *run, const struct product *of, int64_t part, int thread)
{
	bool start = a->first && run->image == 0 && run->y0 == 0 && run->x0 == 0;
	int64_t first = part * a->together, end = min64(first + a->together, a->channels);
	bool symmetric = of->lag.y == 0 && of->lag.x == 0;
	for (int64_t column = 0; column < a->channels; column += OUTER_COLUMNS)
		for (int64_t row = first; row < end; row += OUTER_ROWS)
			if (!symmetric || column + OUTER_COLUMNS > row)
				multiply_block(a, run, &(struct block){*of, row, column, start}, thread);
}

/* The length of even parts of n, none longer than most. */
static int64_t even_part(int64_t n, int64_t most)
{
	int64_t parts = (n + most - 1) / most;
	return (n + parts - 1) / parts;
}

static void multiply_product(void *ctx, int tile, int thread)
{
	const struct adding *a = ctx;
	struct product of = product_at(a, tile / a->parts);
	int64_t h = a->l->y.size, w = a->l->x.size, most = LAGS_RUN * a->p->stride[1] * a->p->stride[2],
		images = even_part(a->images, max64(1, most / a->pixels));
	int64_t columns = even_part(w, most), rows = even_part(h, max64(1, most / columns));
	for (int64_t i = 0; i < a->images; i += images)
		for (int64_t y = 0; y < h; y += rows)
			for (int64_t x = 0; x < w; x += columns) {
				struct run run = {i, min64(images, a->images - i), y, min64(y + rows, h), x, min64(x + columns, w)};
				multiply_run(a, &run, &of, tile % a->parts, thread);
			}
}

/* ---- a batch ---- */

static bool alloc(struct adding *a, int threads)
{
	int64_t classes = a->l->y.classes * a->l->x.classes;
	a->height = (a->l->y.size + a->p->stride[1] - 1) / a->p->stride[1];
	a->width = (a->l->x.size + a->p->stride[2] - 1) / a->p->stride[2];
	a->places = a->p->stride[1] * a->p->stride[2] * a->height * a->width;
	a->panel = a->images * a->places * PANEL;
	a->panels = malloc((size_t)(outer_panels(a->channels) * a->panel) * sizeof *a->panels);
	a->room = calloc((size_t)threads, sizeof *a->room);
	a->sums = calloc((size_t)threads, sizeof *a->sums);
	a->visited = calloc((size_t)threads, sizeof *a->visited);
	bool ok = a->panels && a->room && a->sums && a->visited;
	for (int i = 0; ok && i < threads; i++) {
		a->room[i] = calloc((size_t)(classes * TILE) + 1, sizeof(float));
		a->sums[i] = calloc((size_t)classes + 1, sizeof(float *));
		a->visited[i] = calloc((size_t)classes + 1, sizeof(float *));
		ok = a->room[i] && a->sums[i] && a->visited[i];
	}
	return ok;
}

static void dealloc(struct adding *a, int threads)
{
	for (int i = 0; i < threads; i++) {
		free(a->room ? a->room[i] : NULL);
		free(a->sums ? a->sums[i] : NULL);
		free(a->visited ? a->visited[i] : NULL);
	}
	free(a->panels);
	free(a->room);
	free(a->sums);
	free(a->visited);
}

/* With a stride pairs have little in common: each is a product of its own. */
static void one_class(struct lags_axis *a)
{
	a->classes = 1;
	a->begin[0] = 0;
	a->end[0] = a->size;
}

int lags_many_add(const struct patches *p, const float *x, bool first, struct tiles *tiles, double *sum, struct err *e)
{
	struct lags l;
	int threads = tiles_threads(tiles);
	if (lags_init(&l, p, e))
		return -1;
	lags_merge(&l);
	struct adding a = {.l = &l,
	                   .p = p,
	                   .strided = has_stride(p),
	                   .channels = p->in_channels,
	                   .pixels = p->in[1] * p->in[2],
	                   .first = first,
	                   .sum = sum};
	bool one = lags_many_products(p) == 1;
	int64_t images = p->positions / (p->out[1] * p->out[2]), at_once = max64(1, (one ? NEAR : GROUP) / (a.channels * a.pixels));
	a.images = min64(images, at_once);
	if (a.strided) {
		one_class(&l.y);
		one_class(&l.x);
	}
	a.together = one ? ALONE : TOGETHER;
	a.parts = (a.channels + a.together - 1) / a.together;
	bool ok = alloc(&a, threads);
	for (int64_t i = 0; ok && i < images; i += at_once) {
		a.x = x + i * a.channels * a.pixels;
		a.images = min64(at_once, images - i);
		tiles_run(tiles, (int)outer_panels(a.channels), fill_panel, &a);
		tiles_run(tiles, (int)(lags_many_products(p) * a.parts), multiply_product, &a);
		a.first = false;
	}
	dealloc(&a, threads);
	lags_fini(&l);
	return ok ? 0 : err_nomem(e, "a Gram matrix");
}
