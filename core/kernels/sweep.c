#include "core/kernels/sweep.h"

#include "core/base/numbers.h"

#include <stdlib.h>
#include <string.h>

enum { TILE_NUMBERS = 1 << 22, MOST = 1024, LEAST = 32, ENTRIES = 96, SUMS = 16 /* pools at a time */ };

int64_t sweep_most(int64_t fan_in)
{
	int64_t most = TILE_NUMBERS / fan_in;
	return most < LEAST ? LEAST : most > MOST ? MOST : most;
}

/* Memory for a tile, and for the sums of its vectors. */
struct room {
	float *q, *diff, *q_sums, *diff_sums;
	double *energy;
};

struct sweep {
	const struct patches_input *in;
	const struct sweep_work *work;
	int64_t pool, most; /* vectors in a sum; vectors of a tile before they are summed */
	struct room *rooms; /* one for each thread, or one for all where all work on the same tile */
	int64_t first, count;
	struct sweep_tile tile;
};

/* energy[k] += sum of the tile's x_k^2 */
static void add_energy(const struct patch_tile *t, int64_t k0, int64_t k1, double *energy)
{
	for (int64_t k = k0; k < k1 && t->by_k; k++)
		energy[k] += sum_squares(t->data + k * t->ld, t->count);
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

/* Entries k0 .. k1-1 of some vectors; adds their energy. */
static struct sweep_tile make_vectors(const struct sweep *s, int64_t group, int64_t first, int64_t count, int64_t k0, int64_t k1,
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

/* out[j] = the sum of `pool` numbers from in[j * pool] on, n numbers in all: in pairs, then pairs of these, and so on */
static void pool_run(const float *in, int64_t n, int64_t pool, float *out)
{
	float half[SUMS * SWEEP_POOL / 2], next[SUMS * SWEEP_POOL / 4];
	for (; n >= pool * SUMS; n -= pool * SUMS, in += pool * SUMS, out += SUMS) {
		int64_t m = pool * SUMS / 2;
		for (int64_t j = 0; j < m; j++)
			half[j] = in[2 * j] + in[2 * j + 1];
		for (; m > SUMS; m /= 2) {
			for (int64_t j = 0; j < m / 2; j++)
				next[j] = half[2 * j] + half[2 * j + 1];
			memcpy(half, next, (size_t)(m / 2) * sizeof *half);
		}
		memcpy(out, half, SUMS * sizeof *out);
	}
	for (; n > 0; n -= pool, in += pool) {
		float sum = 0;
		for (int64_t j = 0; j < pool && j < n; j++)
			sum += in[j];
		*out++ = sum;
	}
}

/* A tile's sums into columns (by_k; else rows) from `at` on of out. */
static void pool_tile(const struct patch_tile *t, int64_t pool, int64_t at, int64_t k0, int64_t k1, const struct patch_tile *sums,
                      float *out)
{
	for (int64_t k = k0; k < k1 && t->by_k; k++)
		pool_run(t->data + k * t->ld, t->count, pool, out + k * sums->ld + at);
	for (int64_t p = 0; p < t->count && !t->by_k; p++) {
		const float *x = t->data + p * t->ld;
		float *sum = out + (at + p / pool) * sums->ld;
		for (int64_t k = k0; k < k1; k++)
			sum[k] = p % pool ? sum[k] + x[k] : x[k];
	}
}

/* Where so many numbers further on in the room begin; NULL where there is none. */
static float *further(float *room, int64_t numbers)
{
	return room ? room + numbers : NULL;
}

static struct sweep_tile make_sums(const struct sweep *s, int64_t group, int64_t first, int64_t count, int64_t k0, int64_t k1,
                                   const struct room *room)
{
	const struct patches *p = &s->in->patches;
	struct sweep_tile t = {.group = group, .energy = room->energy};
	int64_t sums = (count + s->pool - 1) / s->pool;
	bool by_k = !p->linear || p->transposed;
	t.q = (struct patch_tile){room->q_sums, by_k ? sums : p->fan_in, sums, by_k};
	t.diff = s->in->x_float ? (struct patch_tile){room->diff_sums, t.q.ld, sums, by_k} : t.diff;
	for (int64_t done = 0, most = min64(s->most, count); done < count; done += most) {
		/* The last vectors are fewer, and so entries lie closer together; but the first of these begins where it always did, as other threads may
		 * still be at their entries of the vectors before. */
		int64_t n = min64(most, count - done), skip = by_k ? k0 * (most - n) : 0;
		const struct room own = {.q = further(room->q, skip), .diff = further(room->diff, skip), .energy = room->energy};
		struct sweep_tile v = make_vectors(s, group, first + done, n, k0, k1, &own);
		pool_tile(&v.q, s->pool, done / s->pool, k0, k1, &t.q, room->q_sums);
		if (s->in->x_float)
			pool_tile(&v.diff, s->pool, done / s->pool, k0, k1, &t.diff, room->diff_sums);
	}
	return t;
}

/* Entries k0 .. k1-1 of a tile. */
static struct sweep_tile make_tile(const struct sweep *s, int64_t group, int64_t first, int64_t count, int64_t k0, int64_t k1,
                                   const struct room *room)
{
	int64_t k = s->in->patches.fan_in;
	for (int64_t i = k0; i < k1; i++)
		room->energy[i] = room->energy[k + i] = 0;
	return s->pool > 1 ? make_sums(s, group, first, count, k0, k1, room) : make_vectors(s, group, first, count, k0, k1, room);
}

static int blocks_of(const struct sweep *s, int64_t group)
{
	return s->work->blocks_of ? s->work->blocks_of[group] : s->work->blocks;
}

/* ---- many groups: each is one thread's ---- */

static void run_group(void *ctx, int group, int thread)
{
	const struct sweep *s = ctx;
	int64_t k = s->in->patches.fan_in, step = s->most * s->pool, all = s->in->patches.positions;
	int blocks = blocks_of(s, group);
	for (int64_t first = 0; first < all && blocks; first += step) {
		struct sweep_tile t = make_tile(s, group, first, min64(step, all - first), 0, k, &s->rooms[thread]);
		for (int b = 0; b < blocks; b++)
			s->work->fn(s->work->ctx, &t, b, thread);
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
	s->work->fn(s->work->ctx, &s->tile, block, thread);
}

static void run_whole(struct sweep *s, struct tiles *tiles)
{
	int64_t k = s->in->patches.fan_in, step = s->most * s->pool, all = s->in->patches.positions;
	int blocks = blocks_of(s, 0);
	for (s->first = 0; s->first < all && blocks; s->first += step) {
		s->count = min64(step, all - s->first);
		tiles_run(tiles, (int)((k + ENTRIES - 1) / ENTRIES), make_entries, s);
		s->tile = make_tile(s, 0, s->first, s->count, 0, 0, s->rooms);
		tiles_run(tiles, blocks, run_block, s);
	}
}

static bool room_init(struct room *r, const struct sweep *s)
{
	const struct patches_input *in = s->in;
	bool copies = patches_copies(&in->patches), pools = s->pool > 1, differs = in->x_float != NULL;
	size_t k = (size_t)in->patches.fan_in, numbers = k * (size_t)min64(s->most, in->patches.positions) + 1,
	       sums = k * (size_t)min64(s->most, in->patches.positions / s->pool + 1) + 1;
	r->energy = calloc(2 * k, sizeof *r->energy);
	r->q = copies ? malloc(numbers * sizeof *r->q) : NULL;
	r->diff = differs ? malloc(numbers * sizeof *r->diff) : NULL;
	r->q_sums = pools ? malloc(sums * sizeof *r->q_sums) : NULL;
	r->diff_sums = pools && differs ? malloc(sums * sizeof *r->diff_sums) : NULL;
	return r->energy && (r->q || !copies) && (r->diff || !differs) && (r->q_sums || !pools) &&
	       (r->diff_sums || !pools || !differs);
}

static void room_fini(struct room *r)
{
	free(r->energy);
	free(r->q);
	free(r->diff);
	free(r->q_sums);
	free(r->diff_sums);
}

int sweep_run(const struct patches_input *in, const struct sweep_work *work, struct tiles *tiles, struct err *e)
{
	struct sweep s = {.in = in, .work = work, .pool = work->pool > 1 ? work->pool : 1};
	int n = in->patches.groups > 1 ? tiles_threads(tiles) : 1;
	s.most = sweep_most(in->patches.fan_in) / s.pool * s.pool;
	s.rooms = calloc((size_t)n, sizeof *s.rooms);
	bool ok = s.rooms != NULL;
	for (int i = 0; ok && i < n; i++)
		ok = room_init(&s.rooms[i], &s);
	if (!ok)
		err_nomem(e, "a layer's inputs");
	else if (in->patches.groups > 1)
		tiles_run(tiles, (int)in->patches.groups, run_group, &s);
	else
		run_whole(&s, tiles);
	for (int i = 0; s.rooms && i < n; i++)
		room_fini(&s.rooms[i]);
	free(s.rooms);
	return ok ? 0 : -1;
}
