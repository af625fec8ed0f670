#include "core/kernels/lags_many.h"

#include "core/base/numbers.h"
#include "core/base/simd.h"
#include "core/kernels/outer.h"

#include <stdlib.h>
#include <string.h>

enum {
	PANEL = OUTER_PANEL,
	TILE = OUTER_ROWS * OUTER_COLUMNS,
	TOGETHER = 64 /* rows that a tile of work has: columns are read once for all of them */
};
#define GROUP ((int64_t)8 << 20) /* floats of input that are put in panels at a time, about */

/* Some images of a batch. Tile t of the work is lag t / parts, for the rows of part t % parts. */
struct adding {
	const struct lags *l;
	const float *x;
	int64_t channels, images, pixels; /* images of these; pixels of one */
	int64_t panel;                    /* floats of a panel, which is [images][pixels][PANEL] */
	int64_t parts;
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

/* Some rows and columns of a lag. */
struct block {
	struct lag lag;
	int64_t row, column;
	bool first; /* nothing has been added yet */
};

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t panels_of(int64_t channels)
{
	return (channels + PANEL - 1) / PANEL;
}

/* ---- the input in panels ---- */

static void fill_panel(void *ctx, int panel, int thread)
{
	const struct adding *a = ctx;
	int64_t channels = min64(PANEL, a->channels - panel * PANEL);
	(void)thread;
	for (int64_t i = 0; i < a->images; i++) {
		const float *from = a->x + (i * a->channels + panel * PANEL) * a->pixels;
		float *to = a->panels + panel * a->panel + i * a->pixels * PANEL;
		for (int64_t u0 = 0; u0 < a->pixels; u0 += PANEL)
			for (int64_t c = 0; c < PANEL; c++)
				for (int64_t u = u0; u < min64(u0 + PANEL, a->pixels); u++)
					to[u * PANEL + c] = c < channels ? from[c * a->pixels + u] : 0;
	}
}

/* ---- products ---- */

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

/* The pixels of a class that are in a run and have their partner at a lag: the first one's place; false where there is none. */
static bool find_pixels(const struct adding *a, const struct run *run, struct lag lag, int64_t cy, int64_t cx, struct outer_span *s,
                        int64_t *first)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	int64_t dy = lag.y * ay->dilation, dx = lag.x * ax->dilation;
	int64_t y0 = max64(ay->begin[cy], run->y0), y1 = min64(min64(ay->end[cy], run->y1), ay->size - dy);
	int64_t x0 = max64(max64(ax->begin[cx], run->x0), -dx), x1 = min64(min64(ax->end[cx], run->x1), ax->size - dx);
	*first = (run->image * a->pixels + y0 * ax->size + x0) * PANEL;
	*s = (struct outer_span){{run->images, y1 - y0, x1 - x0}, {a->pixels * PANEL, ax->size * PANEL, PANEL}};
	for (int i = 0; i < 2 && s->n[2] == 1; i++) /* the innermost loop is a long one */
		*s = (struct outer_span){{1, s->n[0], s->n[1]}, {0, s->step[0], s->step[1]}};
	return y0 < y1 && x0 < x1;
}

/* Adds a block to the pair of taps p and q: the sums of the classes that p visits. */
static void add_pair(const struct adding *a, const struct block *b, int64_t p, int64_t q, int thread)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	const float **visited = a->visited[thread], **sums = a->sums[thread];
	int64_t n = 0, c = a->channels, pair = lags_pair(a->l->taps, p, q);
	for (int64_t cy = 0; cy < ay->classes; cy++)
		for (int64_t cx = 0; cx < ax->classes; cx++)
			if (sums[cy * ax->classes + cx] && lags_visits(ay, p / ax->taps, cy) && lags_visits(ax, p % ax->taps, cx))
				visited[n++] = sums[cy * ax->classes + cx];
	lags_fold(visited, n, min64(OUTER_ROWS, c - b->row), min64(OUTER_COLUMNS, c - b->column), b->first,
	          a->sum + (pair * c + b->row) * c + b->column, c);
}

static void multiply_block(const struct adding *a, const struct run *run, const struct block *b, int thread)
{
	const struct lags_axis *ay = &a->l->y, *ax = &a->l->x;
	int64_t columns = min64(OUTER_COLUMNS, panels_of(a->channels) * PANEL - b->column);
	const float *own = a->panels + b->row / PANEL * a->panel + b->row % PANEL,
		    *other = a->panels + b->column / PANEL * a->panel;
	other += (b->lag.y * ay->dilation * ax->size + b->lag.x * ax->dilation) * PANEL;
	for (int64_t i = 0; i < ay->classes * ax->classes; i++) {
		struct outer_span s;
		int64_t first;
		float *out = a->room[thread] + i * TILE;
		bool any = find_pixels(a, run, b->lag, i / ax->classes, i % ax->classes, &s, &first);
		if (any)
			outer(own + first, other + first, a->panel, columns, &s, out);
		a->sums[thread][i] = any ? out : NULL;
	}
	for (int64_t y = 0; y + b->lag.y < ay->taps; y++)
		for (int64_t x = max64(0, -b->lag.x); x < ax->taps && x + b->lag.x < ax->taps; x++)
			add_pair(a, b, y * ax->taps + x, (y + b->lag.y) * ax->taps + x + b->lag.x, thread);
}

static void multiply_run(const struct adding *a, const struct run *run, struct lag lag, int64_t part, int thread)
{
	bool start = a->first && run->image == 0 && run->y0 == 0 && run->x0 == 0;
	int64_t first = part * TOGETHER, end = min64(first + TOGETHER, a->channels);
	bool symmetric = lag.y == 0 && lag.x == 0;
	for (int64_t column = 0; column < a->channels; column += OUTER_COLUMNS)
		for (int64_t row = first; row < end; row += OUTER_ROWS)
			if (!symmetric || column + OUTER_COLUMNS > row)
				multiply_block(a, run, &(struct block){lag, row, column, start}, thread);
}

/* The length of even parts of n, none longer than most. */
static int64_t even_part(int64_t n, int64_t most)
{
	int64_t parts = (n + most - 1) / most;
	return (n + parts - 1) / parts;
}

static void multiply_lag(void *ctx, int tile, int thread)
{
	const struct adding *a = ctx;
	struct lag lag = lags_at(a->l, tile / a->parts);
	int64_t h = a->l->y.size, w = a->l->x.size, images = max64(1, LAGS_RUN / a->pixels);
	int64_t columns = even_part(w, LAGS_RUN), rows = even_part(h, max64(1, LAGS_RUN / columns));
	for (int64_t i = 0; i < a->images; i += images)
		for (int64_t y = 0; y < h; y += rows)
			for (int64_t x = 0; x < w; x += columns) {
				struct run run = {i, min64(images, a->images - i), y, min64(y + rows, h), x, min64(x + columns, w)};
				multiply_run(a, &run, lag, tile % a->parts, thread);
			}
}

/* ---- a batch ---- */

static bool alloc(struct adding *a, int threads)
{
	int64_t classes = a->l->y.classes * a->l->x.classes;
	a->panel = a->images * a->pixels * PANEL;
	a->panels = malloc((size_t)(panels_of(a->channels) * a->panel) * sizeof *a->panels);
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

int lags_many_add(const struct patches *p, const float *x, bool first, struct tiles *tiles, double *sum, struct err *e)
{
	struct lags l;
	int threads = tiles_threads(tiles);
	if (lags_init(&l, p, e))
		return -1;
	lags_merge(&l);
	struct adding a = {.l = &l, .channels = p->in_channels, .pixels = p->in[1] * p->in[2], .first = first, .sum = sum};
	int64_t images = p->positions / (p->out[1] * p->out[2]), at_once = max64(1, GROUP / (a.channels * a.pixels));
	a.images = min64(images, at_once);
	a.parts = (a.channels + TOGETHER - 1) / TOGETHER;
	bool ok = alloc(&a, threads);
	for (int64_t i = 0; ok && i < images; i += at_once) {
		a.x = x + i * a.channels * a.pixels;
		a.images = min64(at_once, images - i);
		tiles_run(tiles, (int)panels_of(a.channels), fill_panel, &a);
		tiles_run(tiles, (int)(l.count * a.parts), multiply_lag, &a);
		a.first = false;
	}
	dealloc(&a, threads);
	lags_fini(&l);
	return ok ? 0 : err_nomem(e, "a Gram matrix");
}
