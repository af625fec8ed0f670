#include "core/kernels/sweep.h"

#include "core/base/numbers.h"

#include <stdlib.h>
#include <string.h>

enum { TILE_NUMBERS = 1 << 22, MOST = 1024, LEAST = 32, ENTRIES = 96, LANES = 8 };

int64_t sweep_most(int64_t fan_in)
{
	int64_t most = TILE_NUMBERS / fan_in;
	return most < LEAST ? LEAST : most > MOST ? MOST : most;
}

/* Memory for a tile. */
struct room {
	float *q, *diff;
	double *energy;
};

struct sweep {
	const struct patches_input *in;
	int blocks;
	sweep_fn *fn;
	void *ctx;
	struct room *rooms; /* one for each thread, or one for all where all work on the same tile */
	int64_t first, count;
	struct sweep_tile tile;
};

/* energy[k] = sum of the tile's x_k^2 */
static void add_energy(const struct patch_tile *t, int64_t k0, int64_t k1, double *energy)
{
	memset(energy + k0, 0, (size_t)(k1 - k0) * sizeof *energy);
	for (int64_t k = k0; k < k1 && t->by_k; k++)
		energy[k] = sum_squares(t->data + k * t->ld, t->count);
	if (t->by_k)
		return;
	for (int64_t p = 0; p < t->count; p++)
		for (int64_t k = k0; k < k1; k++)
			energy[k] += (double)t->data[p * t->ld + k] * (double)t->data[p * t->ld + k];
}

/* The float side's vectors, then in their place q less them. */
static struct patch_tile difference(const struct patches_input *in, int64_t group, int64_t first, const struct patch_tile *q,
                                    int64_t k0, int64_t k1, float *room)
{
	struct patch_tile f = patches_tile(&in->patches, in->x_float, group, first, q->count, k0, k1, room), d = f;
	d.data = room;
	d.ld = q->by_k ? q->count : in->patches.fan_in;
	int64_t r0 = q->by_k ? k0 : 0, r1 = q->by_k ? k1 : q->count, c0 = q->by_k ? 0 : k0, c1 = q->by_k ? q->count : k1;
	for (int64_t r = r0; r < r1; r++)
		for (int64_t c = c0; c < c1; c++)
			room[r * d.ld + c] = q->data[r * q->ld + c] - f.data[r * f.ld + c];
	return d;
}

/* Entries k0 .. k1-1 of a tile's vectors. */
static struct sweep_tile make_tile(const struct sweep *s, int64_t group, int64_t first, int64_t count, int64_t k0, int64_t k1,
                                   const struct room *room)
{
	const struct patches_input *in = s->in;
	struct sweep_tile t = {.group = group, .energy = room->energy};
	t.q = patches_tile(&in->patches, in->x, group, first, count, k0, k1, room->q);
	add_energy(&t.q, k0, k1, room->energy);
	if (in->x_float) {
		t.diff = difference(in, group, first, &t.q, k0, k1, room->diff);
		add_energy(&t.diff, k0, k1, room->energy + in->patches.fan_in);
	}
	return t;
}

/* ---- many groups: each is one thread's ---- */

static void run_group(void *ctx, int group, int thread)
{
	const struct sweep *s = ctx;
	int64_t k = s->in->patches.fan_in, most = sweep_most(k), all = s->in->patches.positions;
	for (int64_t first = 0; first < all; first += most) {
		struct sweep_tile t = make_tile(s, group, first, min64(most, all - first), 0, k, &s->rooms[thread]);
		for (int b = 0; b < s->blocks; b++)
			s->fn(s->ctx, &t, b, thread);
	}
}

/* ---- one group: all threads make a tile, then share the blocks ---- */

static void make_entries(void *ctx, int part, int thread)
{
	const struct sweep *s = ctx;
	int64_t k0 = (int64_t)part * ENTRIES, k1 = min64(k0 + ENTRIES, s->in->patches.fan_in);
	(void)thread;
	(void)make_tile(s, 0, s->first, s->count, k0, k1, s->rooms);
}

static void run_block(void *ctx, int block, int thread)
{
	const struct sweep *s = ctx;
	s->fn(s->ctx, &s->tile, block, thread);
}

static void run_whole(struct sweep *s, struct tiles *tiles)
{
	int64_t k = s->in->patches.fan_in, most = sweep_most(k), all = s->in->patches.positions;
	for (s->first = 0; s->first < all; s->first += most) {
		s->count = min64(most, all - s->first);
		tiles_run(tiles, (int)((k + ENTRIES - 1) / ENTRIES), make_entries, s);
		s->tile = make_tile(s, 0, s->first, s->count, 0, 0, s->rooms);
		tiles_run(tiles, s->blocks, run_block, s);
	}
}

int sweep_run(const struct patches_input *in, int blocks, struct tiles *tiles, sweep_fn *fn, void *ctx, struct err *e)
{
	struct sweep s = {.in = in, .blocks = blocks, .fn = fn, .ctx = ctx};
	int n = in->patches.groups > 1 ? tiles_threads(tiles) : 1;
	size_t k = (size_t)in->patches.fan_in,
	       numbers = k * (size_t)min64(sweep_most(in->patches.fan_in), in->patches.positions) + 1;
	s.rooms = calloc((size_t)n, sizeof *s.rooms);
	bool ok = s.rooms != NULL;
	for (int i = 0; ok && i < n; i++) {
		struct room *r = &s.rooms[i];
		r->energy = calloc(2 * k, sizeof *r->energy);
		r->q = patches_copies(&in->patches) ? malloc(numbers * sizeof *r->q) : NULL;
		r->diff = in->x_float ? malloc(numbers * sizeof *r->diff) : NULL;
		ok = r->energy && (r->q || !patches_copies(&in->patches)) && (r->diff || !in->x_float);
	}
	if (!ok)
		err_nomem(e, "a layer's inputs");
	else if (in->patches.groups > 1)
		tiles_run(tiles, (int)in->patches.groups, run_group, &s);
	else
		run_whole(&s, tiles);
	for (int i = 0; s.rooms && i < n; i++) {
		free(s.rooms[i].energy);
		free(s.rooms[i].q);
		free(s.rooms[i].diff);
	}
	free(s.rooms);
	return ok ? 0 : -1;
}
