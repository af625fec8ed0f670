#include "core/kernels/sketch.h"

#include "core/base/numbers.h"
#include "core/kernels/gemm.h"
#include "core/kernels/weigh.h"
#include "core/kernels/sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 32 /* directions of a tile of work */ };

/* What is added to a diagonal, in relation to its sum: far above the rounding errors of products in double, and in float. */
static const double TINY = 1e-13, SMALL = 3e-5;

int sketch_init(struct sketch *s, int64_t k, int64_t rank, struct err *e)
{
	size_t all = (size_t)(rank * k);
	*s = (struct sketch){.k = k, .rank = rank};
	s->direction = malloc(all * sizeof *s->direction);
	s->product = calloc(all, sizeof *s->product);
	s->narrow = malloc(all * sizeof *s->narrow);
	s->energy = calloc((size_t)k, sizeof *s->energy);
	s->rest = malloc((size_t)k * sizeof *s->rest);
	s->square = malloc((size_t)(rank * rank) * sizeof *s->square);
	s->inverse = malloc((size_t)(rank * rank) * sizeof *s->inverse);
	if (!s->direction || !s->product || !s->narrow || !s->energy || !s->rest || !s->square || !s->inverse) {
		sketch_fini(s);
		return err_nomem(e, "a layer's sketch");
	}
	uint32_t random = 2463534242u; /* Marsaglia's xorshift */
	for (size_t i = 0; i < all; i++) {
		random ^= random << 13;
		random ^= random >> 17;
		random ^= random << 5;
		s->direction[i] = random & 0x10000 ? 1 : -1;
		s->narrow[i] = (float)s->direction[i];
	}
	return 0;
}

void sketch_fini(struct sketch *s)
{
	free(s->direction);
	free(s->product);
	free(s->narrow);
	free(s->energy);
	free(s->rest);
	free(s->square);
	free(s->inverse);
	*s = (struct sketch){0};
}

/* ---- products of the directions with G ---- */

struct multiplying {
	struct sketch *s;
	const double *gram;
	float **seen, **part; /* [threads] of a tile of vectors: [BLOCK][count], [BLOCK][k] */
};

static void multiply_gram(void *ctx, int block, int thread)
{
	const struct multiplying *m = ctx;
	int64_t first = (int64_t)block * BLOCK, n = min64(BLOCK, m->s->rank - first), k = m->s->k;
	(void)thread;
	gemm_symmetric(n, k, m->s->direction + first * k, m->gram, m->s->product + first * k);
}

void sketch_of_gram(struct sketch *s, const struct gram *g, struct tiles *tiles)
{
	struct multiplying m = {.s = s, .gram = gram_group(g, 0)};
	tiles_run(tiles, (int)((s->rank + BLOCK - 1) / BLOCK), multiply_gram, &m);
	for (int64_t k = 0; k < s->k; k++)
		s->energy[k] = m.gram[k * s->k + k];
}

static void multiply_tile(void *ctx, const struct sweep_tile *t, int block, int thread)
{
	const struct multiplying *m = ctx;
	const struct sketch *s = m->s;
	const struct patch_tile *x = &t->q;
	int64_t first = (int64_t)block * BLOCK, n = min64(BLOCK, s->rank - first), k = s->k;
	float *seen = m->seen[thread], *part = m->part[thread];
	gemm(false, !x->by_k, n, x->count, k, s->narrow + first * k, k, x->data, x->ld, 0, seen, x->count);
	gemm(false, x->by_k, n, k, x->count, seen, x->count, x->data, x->ld, 0, part, k);
	for (int64_t i = 0; i < n * k; i++)
		s->product[first * k + i] += (double)part[i];
	for (int64_t i = 0; i < k && block == 0; i++)
		s->energy[i] += t->energy[i];
}

int sketch_add(struct sketch *s, const struct patches_input *in, struct tiles *tiles, struct err *e)
{
	int threads = tiles_threads(tiles), rc = -1;
	struct multiplying m = {.s = s};
	const struct sweep_work work = {multiply_tile, &m, .blocks = (int)((s->rank + BLOCK - 1) / BLOCK)};
	const struct patches_input one = {.patches = in->patches, .x = in->x};
	size_t most = (size_t)min64(sweep_most(s->k), in->patches.positions) + 1;
	m.seen = calloc((size_t)threads, sizeof *m.seen);
	m.part = calloc((size_t)threads, sizeof *m.part);
	bool ok = m.seen && m.part;
	for (int i = 0; ok && i < threads; i++) {
		m.seen[i] = malloc(BLOCK * most * sizeof(float));
		m.part[i] = malloc((size_t)(BLOCK * s->k) * sizeof(float));
		ok = m.seen[i] && m.part[i];
	}
	if (ok)
		rc = sweep_run(&one, &work, tiles, e);
	else
		err_nomem(e, "a layer's sketch");
	for (int i = 0; i < threads; i++) {
		free(m.seen ? m.seen[i] : NULL);
		free(m.part ? m.part[i] : NULL);
	}
	free(m.seen);
	free(m.part);
	return rc;
}

/* ---- a step ---- */

/* inverse = L^-1 of square + tiny * its trace = L L^T; square's lower triangle becomes L. What is lost in rounding errors gets a row of zeros. */
static void factorize(double *square, double tiny, int64_t n, double *inverse)
{
	double ridge = 0;
	for (int64_t i = 0; i < n; i++)
		ridge += tiny * square[i * n + i];
	memset(inverse, 0, (size_t)(n * n) * sizeof *inverse);
	for (int64_t i = 0; i < n; i++) {
		for (int64_t j = 0; j <= i; j++) {
			double sum = square[i * n + j] + (i == j ? ridge : 0);
			for (int64_t l = 0; l < j; l++)
				sum -= square[i * n + l] * square[j * n + l];
			double pivot = i == j ? (sum > ridge / 2 ? sqrt(sum) : 0) : square[j * n + j];
			square[i * n + j] = i == j ? pivot : pivot > 0 ? sum / pivot : 0;
		}
		double pivot = square[i * n + i];
		if (!(pivot > 0))
			continue;
		inverse[i * n + i] = 1 / pivot;
		for (int64_t j = 0; j < i; j++) {
			double sum = 0;
			for (int64_t l = j; l < i; l++)
				sum -= square[i * n + l] * inverse[l * n + j];
			inverse[i * n + j] = sum / pivot;
		}
	}
}

void sketch_turn(struct sketch *s)
{
	size_t all = (size_t)(s->rank * s->k);
	gemm_double(true, s->rank, s->rank, s->k, s->product, s->product, s->square);
	factorize(s->square, TINY, s->rank, s->inverse);
	gemm_double(false, s->rank, s->k, s->rank, s->inverse, s->product, s->direction);
	for (size_t i = 0; i < all; i++)
		s->narrow[i] = (float)s->direction[i];
	memset(s->product, 0, all * sizeof *s->product);
	memset(s->energy, 0, (size_t)s->k * sizeof *s->energy);
}

void sketch_finish(struct sketch *s)
{
	double *b = s->direction;
	gemm_double(true, s->rank, s->rank, s->k, s->product, s->direction, s->square);
	factorize(s->square, SMALL, s->rank, s->inverse);
	gemm_double(false, s->rank, s->k, s->rank, s->inverse, s->product, b);
	for (int64_t k = 0; k < s->k; k++)
		s->rest[k] = s->energy[k];
	for (int64_t r = 0; r < s->rank; r++)
		for (int64_t k = 0; k < s->k; k++) {
			s->rest[k] -= b[r * s->k + k] * b[r * s->k + k];
			s->narrow[r * s->k + k] = (float)b[r * s->k + k];
		}
	for (int64_t k = 0; k < s->k; k++)
		s->rest[k] = s->rest[k] > 0 ? s->rest[k] : 0;
}

/* ---- bounds ---- */

void sketch_bounds(const struct sketch *s, const float *d, int64_t n, float *room, double *bound, double *guess, double *size)
{
	gemm(false, true, n, s->rank, s->k, d, s->k, s->narrow, s->k, 0, room, s->rank);
	for (int64_t i = 0; i < n; i++) {
		const float *seen = room + i * s->rank;
		double sum = 0, weighed[2];
		for (int64_t r = 0; r < s->rank; r++)
			sum += (double)seen[r] * (double)seen[r];
		weigh_squares(d + i * s->k, s->energy, s->rest, s->k, weighed);
		size[i] = weighed[0];
		bound[i] = sum;
		guess[i] = sum + weighed[1];
	}
}
