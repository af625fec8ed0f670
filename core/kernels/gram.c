#include "core/kernels/gram.h"

#include "core/base/numbers.h"
#include "core/kernels/gemm.h"
#include "core/kernels/gram_small.h"
#include "core/kernels/lags_blas.h"
#include "core/kernels/lags_many.h"
#include "core/kernels/lags_single.h"
#include "core/kernels/outer.h"
#include "core/kernels/shifts.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Ways to the sums, chosen by shape:
 *   shifted pictures: a convolution of many channels, or one without stride and with a channel in each group, by lags (lags_many.h, lags_single.h).
 *   many groups: a tile of work is a group; small matrices, each summed by one thread.
 *     One whose vectors lie in the input as they are (pointwise), or that is copied entry by entry, needs no BLAS.
 *   one small matrix: LANES sums over every LANES-th run of positions, added up at the end; of not so few entries by outer products of pixels (outer.h).
 *   one large matrix: run by run, a tile of work is a block of its rows. */
enum {
	LANES = 8,
	LARGE = GRAM_SMALL_MAX + 1,
	ROW_BLOCK = 96,
	POSITIONS = 1024,
	PLAIN = 128,
	MIDDLE = 1024,
	SMALL = 49,
	MANY_CHANNELS = 8,
	PANELS = 64, /* entries from which on outer products are faster */
	SPREAD = 8, /* channels whose rows are filled together */
	W = GRAM_SMALL_LANES
};

/* 1 for as many places as a tile of vectors has, then 0. */
static float masks[POSITIONS + W];
static pthread_once_t masks_once = PTHREAD_ONCE_INIT;

static void set_masks(void)
{
	for (int i = 0; i < POSITIONS; i++)
		masks[i] = 1;
}

struct gram {
	int64_t groups, k;
	struct tiles *tiles;
	int64_t sums;    /* matrices in sum: groups, lanes, or 1 */
	double *sum;     /* [sums][k][k], upper triangle; NULL before it is needed */
	double *pairs;   /* of lags_many_add(); NULL where that is not used */
	int64_t taps;    /* of the kernel that the pairs are of */
	float *part;     /* [k][k], the current run's sum where there is one large matrix, then H; NULL before it is needed */
	int64_t halved;  /* the group that H is of, or -1 */
	float **room;    /* [threads], vectors */
	float **scratch; /* [threads], k*k */
	int64_t room_len;
	bool large;
};

struct gram *gram_new(int64_t groups, int64_t fan_in, struct tiles *tiles, struct err *e)
{
	struct gram *g = calloc(1, sizeof *g);
	if (!g) {
		err_nomem(e, "a Gram matrix");
		return NULL;
	}
	size_t square = (size_t)fan_in * (size_t)fan_in;
	(void)pthread_once(&masks_once, set_masks);
	g->groups = groups;
	g->k = fan_in;
	g->halved = -1;
	g->tiles = tiles;
	g->large = groups == 1 && fan_in >= LARGE;
	g->sums = groups > 1 ? groups : g->large ? 1 : LANES;
	g->room = calloc((size_t)tiles_threads(tiles), sizeof *g->room);
	g->scratch = calloc((size_t)tiles_threads(tiles), sizeof *g->scratch);
	bool ok = g->room && g->scratch;
	for (int i = 0; ok && !g->large && i < tiles_threads(tiles); i++)
		ok = (g->scratch[i] = malloc(square * sizeof(float))) != NULL;
	if (!ok) {
		err_nomem(e, "a Gram matrix");
		gram_free(g);
		return NULL;
	}
	return g;
}

void gram_free(struct gram *g)
{
	if (!g)
		return;
	for (int i = 0; i < tiles_threads(g->tiles); i++) {
		if (g->room)
			free(g->room[i]);
		if (g->scratch)
			free(g->scratch[i]);
	}
	free(g->room);
	free(g->scratch);
	free(g->sum);
	free(g->pairs);
	free(g->part);
	free(g);
}

/* Room for `need` floats: one for each thread, or one for all where all work on the same tile. */
static int reserve(struct gram *g, int64_t need, struct err *e)
{
	if (need < 1 || g->room_len >= need)
		return 0;
	for (int i = 0; i < (g->large ? 1 : tiles_threads(g->tiles)); i++) {
		free(g->room[i]);
		g->room[i] = calloc((size_t)need, sizeof(float));
		if (!g->room[i])
			return err_nomem(e, "a Gram matrix");
	}
	g->room_len = need;
	return 0;
}

/* Rows r0 .. r1-1 of the upper triangle of G: out[r][j] = beta * out + sum_t x_r x_j, j >= r0. */
static void product(const struct patch_tile *t, int64_t k, int64_t r0, int64_t r1, float beta, float *out)
{
	if (t->by_k)
		gemm(false, true, r1 - r0, k - r0, t->count, t->data + r0 * t->ld, t->ld, t->data + r0 * t->ld, t->ld, beta,
		     out + r0 * k + r0, k);
	else
		gemm(true, false, r1 - r0, k - r0, t->count, t->data + r0, t->ld, t->data + r0, t->ld, beta, out + r0 * k + r0, k);
}

static void add_upper(const float *part, int64_t k, int64_t r0, int64_t r1, double *sum)
{
	for (int64_t i = r0; i < r1; i++)
		for (int64_t j = i; j < k; j++)
			sum[i * k + j] += (double)part[i * k + j];
}

/* ---- many groups, and one small matrix ---- */

struct adding {
	struct gram *g;
	const struct patches *p;
	const float *x;
	const struct shifts *shifts; /* NULL where they do not fit */
	int64_t first, count;        /* of the current tile of vectors, where all threads work on one */
	bool start;                  /* of a run */
	struct patch_tile tile;
};

/* Adds images first .. first+count-1 of a group to a sum. */
static void add_images(const struct adding *a, int64_t group, int64_t first, int64_t count, double *sum, int thread)
{
	const float *rows[SMALL];
	shifts_fill(a->shifts, a->p, a->x, group, first, count, a->g->room[thread], rows);
	gram_small(rows, a->shifts->mask, a->g->k, count, a->shifts->plane, a->shifts->length, sum);
}

/* Vectors of a part that lies within one image, where such parts fill the lanes; else 0. */
static int64_t within_image(const struct patches *p)
{
	int64_t all = patches_plain(p, 0), parts = (all + POSITIONS - 1) / POSITIONS;
	return all % W == 0 && all >= PLAIN ? (all / parts + W - 1) / W * W : 0;
}

/* Whether these parts' rows are so many that outer products are faster. */
static bool by_panels(const struct patches *p)
{
	return p->fan_in >= PANELS && within_image(p);
}

/* Adds some vectors of a group whose entries lie in rows, of which as much as fills the lanes may be read. */
static void add_entries(const struct gram *g, const struct patch_tile *t, double *sum)
{
	const float *rows[GRAM_SMALL_MAX];
	for (int64_t k = 0; k < g->k; k++)
		rows[k] = t->data + k * t->ld;
	gram_small(rows, masks + POSITIONS - t->count, g->k, 1, 0, (t->count + W - 1) / W * W, sum);
}

/* The same by outer products. */
static void add_panels(const struct gram *g, const struct patch_tile *t, float *room, double *sum)
{
	float tile[OUTER_ROWS * OUTER_COLUMNS] = {0};
	const float *only = tile;
	int64_t panel = t->count * OUTER_PANEL, wide = outer_panels(g->k) * OUTER_PANEL;
	const struct outer_span all = {{1, 1, t->count}, {0, 0, OUTER_PANEL}};
	for (int64_t k = 0; k < g->k; k += OUTER_PANEL)
		outer_panel(t->data + k * t->ld, t->ld, 1, t->count, min64(OUTER_PANEL, g->k - k), room + k / OUTER_PANEL * panel);
	for (int64_t j = 0; j < g->k; j += OUTER_COLUMNS)
		for (int64_t i = 0; i < min64(j + OUTER_COLUMNS, g->k); i += OUTER_ROWS) {
			outer(room + i / OUTER_PANEL * panel + i % OUTER_PANEL, room + j / OUTER_PANEL * panel, panel,
			      min64(OUTER_COLUMNS, wide - j), &all, tile);
			lags_fold(&only, 1, min64(OUTER_ROWS, g->k - i), min64(OUTER_COLUMNS, g->k - j), false, sum + i * g->k + j, g->k);
		}
}

/* Adds vectors first .. first+count-1 of a group to a sum, with this thread's room. */
static void add_positions(const struct adding *a, int64_t group, int64_t first, int64_t count, double *sum, int thread)
{
	struct gram *g = a->g;
	bool plain = within_image(a->p) > 0;
	struct patch_tile t = plain ? patches_view(a->p, a->x, group, first, count)
	                            : patches_tile(a->p, a->x, group, first, count, 0, g->k, g->room[thread]);
	if (by_panels(a->p)) {
		add_panels(g, &t, g->room[thread], sum);
		return;
	}
	if (g->k <= GRAM_SMALL_MAX && (plain || patches_copies(a->p))) {
		add_entries(g, &t, sum);
		return;
	}
	for (int64_t r = 0; r < g->k; r += ROW_BLOCK)
		product(&t, g->k, r, min64(r + ROW_BLOCK, g->k), 0, g->scratch[thread]);
	add_upper(g->scratch[thread], g->k, 0, g->k, sum);
}

/* Adds every step-th part of the batch from the begin-th on: parts are runs of images where shifts fit, else of vectors. */
static void add_parts(const struct adding *a, int64_t group, int64_t begin, int64_t step, double *sum, int thread)
{
	int64_t images = a->p->positions / patches_pixels(a->p), some = within_image(a->p), all = a->p->positions, part = POSITIONS;
	if (a->shifts) {
		all = images;
		part = a->shifts->images;
	} else if (some) {
		int64_t pixels = patches_pixels(a->p), parts = (pixels + some - 1) / some;
		for (int64_t i = begin; i < images * parts; i += step) {
			int64_t at = i % parts * some;
			add_positions(a, group, i / parts * pixels + at, min64(some, pixels - at), sum, thread);
		}
		return;
	}
	for (int64_t first = begin * part; first < all; first += step * part) {
		if (a->shifts)
			add_images(a, group, first, min64(part, all - first), sum, thread);
		else
			add_positions(a, group, first, min64(part, all - first), sum, thread);
	}
}

static void add_group(void *ctx, int group, int thread)
{
	const struct adding *a = ctx;
	add_parts(a, group, 0, 1, a->g->sum + group * a->g->k * a->g->k, thread);
}

static void add_lane(void *ctx, int lane, int thread)
{
	const struct adding *a = ctx;
	add_parts(a, 0, lane, LANES, a->g->sum + lane * a->g->k * a->g->k, thread);
}

/* ---- one large matrix ---- */

static void gather_rows(void *ctx, int block, int thread)
{
	struct adding *a = ctx;
	(void)thread;
	int64_t k0 = block * ROW_BLOCK, k1 = min64(k0 + ROW_BLOCK, a->g->k);
	(void)patches_tile(a->p, a->x, 0, a->first, a->count, k0, k1, a->g->room[0]);
}

static void add_rows(void *ctx, int block, int thread)
{
	const struct adding *a = ctx;
	(void)thread;
	int64_t r0 = block * ROW_BLOCK, r1 = min64(r0 + ROW_BLOCK, a->g->k);
	product(&a->tile, a->g->k, r0, r1, a->start ? 0 : 1, a->g->part);
}

static void flush_rows(void *ctx, int block, int thread)
{
	const struct adding *a = ctx;
	(void)thread;
	int64_t r0 = block * ROW_BLOCK, r1 = min64(r0 + ROW_BLOCK, a->g->k);
	add_upper(a->g->part, a->g->k, r0, r1, a->g->sum);
}

static void add_large(struct adding *a)
{
	struct gram *g = a->g;
	int blocks = (int)((g->k + ROW_BLOCK - 1) / ROW_BLOCK);
	int64_t run = 0;
	for (a->first = 0; a->first < a->p->positions; a->first += a->count) {
		a->count = min64(g->k <= MIDDLE ? 384 : POSITIONS, a->p->positions - a->first);
		if (patches_copies(a->p))
			tiles_run(g->tiles, blocks, gather_rows, a);
		a->tile = patches_tile(a->p, a->x, 0, a->first, a->count, 0, 0, g->room[0]);
		a->start = run == 0;
		tiles_run(g->tiles, blocks, add_rows, a);
		run += a->count;
		if (run >= GRAM_RUN) {
			tiles_run(g->tiles, blocks, flush_rows, a);
			run = 0;
		}
	}
	if (run)
		tiles_run(g->tiles, blocks, flush_rows, a);
}

static int add_small(struct adding *a, struct err *e)
{
	struct gram *g = a->g;
	int64_t need = a->shifts ? shifts_room(a->shifts) : by_panels(a->p) ? outer_panels(g->k) * OUTER_PANEL * POSITIONS
	               : patches_copies(a->p) ? g->k * POSITIONS : 0;
	if (reserve(g, need, e))
		return -1;
	if (g->groups > 1)
		tiles_run(g->tiles, (int)g->groups, add_group, a);
	else
		tiles_run(g->tiles, LANES, add_lane, a);
	return 0;
}

static int add_shifted(struct adding *a, struct err *e)
{
	struct shifts shifts;
	if (shifts_init(&shifts, a->p))
		return err_nomem(e, "a Gram matrix");
	struct adding shifted = *a;
	shifted.shifts = &shifts;
	int rc = add_small(&shifted, e);
	shifts_fini(&shifts);
	return rc;
}

static int need_sum(struct gram *g, struct err *e)
{
	if (!g->sum)
		g->sum = calloc((size_t)(g->sums * g->k * g->k), sizeof *g->sum);
	return g->sum ? 0 : err_nomem(e, "a Gram matrix");
}

static int need_part(struct gram *g, struct err *e)
{
	if (!g->part)
		g->part = malloc((size_t)(g->k * g->k) * sizeof *g->part);
	return g->part ? 0 : err_nomem(e, "a Gram matrix");
}

/* Whether products of pixels are worth more than the adding up of classes, of which there are at most so many. */
static bool by_pixels(const struct patches *p)
{
	return (2 * p->kernel[1] - 1) * (2 * p->kernel[2] - 1) <= p->in_channels && lags_many_fit(p);
}

static bool by_lags(const struct patches *p)
{
	int64_t least = p->kernel[1] * p->kernel[2] > 1 ? SMALL + 1 : LARGE;
	return p->groups == 1 && p->fan_in >= least && p->in_channels >= MANY_CHANNELS && (by_pixels(p) || lags_fit(p));
}

static int add_lags(struct gram *g, const struct patches *p, const float *x, struct err *e)
{
	bool first = !g->pairs, pixels = by_pixels(p);
	size_t n = (size_t)(lags_pairs(p->kernel[1] * p->kernel[2]) * p->in_channels * p->in_channels);
	g->taps = p->kernel[1] * p->kernel[2];
	if (first) /* lags_many_add() writes it */
		g->pairs = pixels ? malloc(n * sizeof *g->pairs) : calloc(n, sizeof *g->pairs);
	if (!g->pairs)
		return err_nomem(e, "a Gram matrix");
	return pixels ? lags_many_add(p, x, first, g->tiles, g->pairs, e) : lags_blas_add(p, x, g->tiles, g->pairs, e);
}

static bool by_shifts(const struct patches *p)
{
	return p->fan_in <= SMALL && shifts_fit(p) && !within_image(p);
}

enum gram_way gram_way(const struct patches *p)
{
	if (by_lags(p))
		return GRAM_LAGS;
	if (lags_single_fit(p))
		return GRAM_LAGS_SINGLE;
	if (p->groups == 1 && p->fan_in >= LARGE)
		return GRAM_LARGE;
	return by_shifts(p) ? GRAM_SHIFTED : by_panels(p) ? GRAM_PANELS : GRAM_VECTORS;
}

/* What lags_single_add() makes for each position: rows are filled up to whole lanes, and a picture by itself costs as much as OWN of them (measured). */
static double single_fill(const struct patches *p)
{
	enum { OWN = 15 * LAGS_LANES };
	int64_t wide = (p->out[2] + LAGS_LANES - 1) / LAGS_LANES * LAGS_LANES, pixels = p->out[1] * p->out[2];
	return pixels ? (double)(p->out[1] * wide + OWN) / (double)pixels : 1;
}

double gram_work(const struct patches *p)
{
	double k = (double)p->fan_in, channels = (double)p->in_channels;
	if (by_lags(p) && lags_many_products(p) > 1)
		return (double)lags_many_products(p) * channels * channels;
	return k * k / 2 * (lags_single_fit(p) ? single_fill(p) : 1);
}

double gram_moved(const struct patches *p)
{
	double channels = (double)p->in_channels;
	return by_lags(p) ? (double)lags_pairs(p->kernel[1] * p->kernel[2]) * channels * channels * (double)sizeof(double) : 0;
}

int gram_add(struct gram *g, const struct patches *p, const float *x, struct err *e)
{
	struct adding a = {.g = g, .p = p, .x = x};
	g->halved = -1;
	if (by_lags(p))
		return add_lags(g, p, x, e);
	if (need_sum(g, e))
		return -1;
	if (lags_single_fit(p))
		return lags_single_add(p, x, g->tiles, g->sum, e);
	if (!g->large)
		return by_shifts(p) ? add_shifted(&a, e) : add_small(&a, e);
	if (need_part(g, e) || reserve(g, patches_copies(p) ? g->k * POSITIONS : 0, e))
		return -1;
	add_large(&a);
	return 0;
}

/* ---- the end ---- */

/* The rows of some channels out of the pairs, which are read column by column as well: of a run of channels. */
static void spread_rows(void *ctx, int block, int thread)
{
	const struct gram *g = ctx;
	int64_t taps = g->taps, channels = g->k / taps, square = channels * channels;
	int64_t first = block * SPREAD, end = min64(first + SPREAD, channels);
	(void)thread;
	for (int64_t d = first; d < channels; d++)
		for (int64_t c = first; c < end && c <= d; c++)
			for (int64_t p = 0; p < taps; p++) {
				double *row = g->sum + (c * taps + p) * g->k + d * taps;
				for (int64_t q = c == d ? p : 0; q < taps; q++)
					row[q] = p <= q ? g->pairs[lags_pair(taps, p, q) * square + c * channels + d]
					                : g->pairs[lags_pair(taps, q, p) * square + d * channels + c];
			}
}

static int finish_lags(struct gram *g, struct err *e)
{
	int64_t channels = g->k / g->taps;
	free(g->sum); /* of batches without positions */
	g->sum = g->taps == 1 ? g->pairs : NULL;
	if (g->sum) {
		g->pairs = NULL;
		return 0;
	}
	g->sum = malloc((size_t)(g->k * g->k) * sizeof *g->sum); /* written before anything reads it */
	if (!g->sum)
		return err_nomem(e, "a Gram matrix");
	tiles_run(g->tiles, (int)((channels + SPREAD - 1) / SPREAD), spread_rows, g);
	free(g->pairs);
	g->pairs = NULL;
	return 0;
}

int gram_finish(struct gram *g, struct err *e)
{
	int64_t square = g->k * g->k;
	if (g->pairs)
		return finish_lags(g, e);
	if (need_sum(g, e))
		return -1;
	for (int64_t lane = 1; g->groups == 1 && lane < g->sums; lane++)
		for (int64_t i = 0; i < square; i++)
			g->sum[i] += g->sum[lane * square + i];
	return 0;
}

const double *gram_group(const struct gram *g, int64_t group)
{
	return g->sum + group * g->k * g->k;
}

/* Row i of H from row i of G's upper triangle, and its mirror image inside the diagonal block. */
static void halved_row(const double *sum, int64_t k, int64_t i, float *h)
{
	int64_t start = i / GRAM_BLOCK * GRAM_BLOCK, end = min64(start + GRAM_BLOCK, k);
	for (int64_t j = i; j < end; j++)
		h[i * k + j] = h[j * k + i] = (float)sum[i * k + j];
	for (int64_t j = end; j < k; j++)
		h[i * k + j] = (float)(2 * sum[i * k + j]);
}

/* The rows of a block, which fill nothing outside of them. */
static void halve_block(void *ctx, int block, int thread)
{
	const struct gram *g = ctx;
	int64_t first = (int64_t)block * GRAM_BLOCK, end = min64(first + GRAM_BLOCK, g->k);
	(void)thread;
	for (int64_t i = first; i < end; i++)
		halved_row(gram_group(g, g->halved), g->k, i, g->part);
}

const float *gram_group_halved(struct gram *g, int64_t group, struct err *e)
{
	if (need_part(g, e))
		return NULL;
	if (g->halved != group) {
		g->halved = group;
		tiles_run(g->tiles, (int)((g->k + GRAM_BLOCK - 1) / GRAM_BLOCK), halve_block, g);
	}
	return g->part;
}
