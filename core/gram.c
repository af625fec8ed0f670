#include "gram.h"

#include "gemm.h"
#include "gram_small.h"
#include "shifts.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Three ways to share the work, chosen by shape:
 *   many groups: a tile of work is a group; small matrices, each summed by one thread.
 *   one small matrix: LANES sums over every LANES-th run of positions, added up at the end.
 *   one large matrix: run by run, a tile of work is a block of its rows. */
enum { LANES = 8, LARGE = 192, ROW_BLOCK = 96, POSITIONS = 1024, SMALL = GRAM_SMALL_MAX };

struct gram {
	int64_t groups, k;
	struct tiles *tiles;
	int64_t sums;       /* matrices in sum: groups, lanes, or 1 */
	double *sum;        /* [sums][k][k], upper triangle */
	float *part;        /* [k][k], the current run's sum where there is one large matrix, then H */
	float **room;       /* [threads], vectors */
	float **scratch;    /* [threads], k*k */
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
	g->groups = groups;
	g->k = fan_in;
	g->tiles = tiles;
	g->large = groups == 1 && fan_in >= LARGE;
	g->sums = groups > 1 ? groups : g->large ? 1 : LANES;
	g->sum = calloc((size_t)g->sums * square, sizeof *g->sum);
	g->room = calloc((size_t)tiles_threads(tiles), sizeof *g->room);
	g->scratch = calloc((size_t)tiles_threads(tiles), sizeof *g->scratch);
	bool ok = g->sum && g->room && g->scratch;
	if (ok && g->large)
		ok = (g->part = malloc(square * sizeof *g->part)) != NULL;
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
		g->room[i] = malloc((size_t)need * sizeof(float));
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
		gemm(false, true, r1 - r0, k - r0, t->count, t->data + r0 * t->ld, t->ld, t->data + r0 * t->ld, t->ld, beta, out + r0 * k + r0, k);
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
	int64_t first, count; /* of the current tile of vectors, where all threads work on one */
	bool start;           /* of a run */
	struct patch_tile tile;
};

static int64_t min64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Adds images first .. first+count-1 of a group to a sum. */
static void add_images(const struct adding *a, int64_t group, int64_t first, int64_t count, double *sum, int thread)
{
	const float *rows[SMALL];
	shifts_fill(a->shifts, a->p, a->x, group, first, count, a->g->room[thread], rows);
	gram_small(rows, a->shifts->mask, a->g->k, count, a->shifts->plane, a->shifts->length, sum);
}

/* Adds vectors first .. first+count-1 of a group to a sum, with this thread's room. */
static void add_positions(const struct adding *a, int64_t group, int64_t first, int64_t count, double *sum, int thread)
{
	struct gram *g = a->g;
	struct patch_tile t = patches_tile(a->p, a->x, group, first, count, 0, g->k, g->room[thread]);
	for (int64_t r = 0; r < g->k; r += ROW_BLOCK)
		product(&t, g->k, r, min64(r + ROW_BLOCK, g->k), 0, g->scratch[thread]);
	add_upper(g->scratch[thread], g->k, 0, g->k, sum);
}

/* Adds every step-th part of the batch from the begin-th on: parts are runs of images where shifts fit, else of vectors. */
static void add_parts(const struct adding *a, int64_t group, int64_t begin, int64_t step, double *sum, int thread)
{
	int64_t all = a->shifts ? a->p->positions / (a->p->out[1] * a->p->out[2]) : a->p->positions;
	int64_t part = a->shifts ? a->shifts->images : POSITIONS;
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
		a->count = min64(POSITIONS, a->p->positions - a->first);
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
	int64_t need = a->shifts ? shifts_room(a->shifts) : patches_copies(a->p) ? g->k * POSITIONS : 0;
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

int gram_add(struct gram *g, const struct patches *p, const float *x, struct err *e)
{
	struct adding a = {.g = g, .p = p, .x = x};
	if (!g->large)
		return g->k <= SMALL && shifts_fit(p) ? add_shifted(&a, e) : add_small(&a, e);
	if (reserve(g, patches_copies(p) ? g->k * POSITIONS : 0, e))
		return -1;
	add_large(&a);
	return 0;
}

/* ---- the end ---- */

void gram_finish(struct gram *g)
{
	int64_t square = g->k * g->k;
	for (int64_t lane = 1; g->groups == 1 && lane < g->sums; lane++)
		for (int64_t i = 0; i < square; i++)
			g->sum[i] += g->sum[lane * square + i];
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

const float *gram_group_halved(struct gram *g, int64_t group, struct err *e)
{
	if (!g->part && !(g->part = malloc((size_t)(g->k * g->k) * sizeof *g->part))) {
		err_nomem(e, "a Gram matrix");
		return NULL;
	}
	for (int64_t i = 0; i < g->k; i++)
		halved_row(gram_group(g, group), g->k, i, g->part);
	return g->part;
}
