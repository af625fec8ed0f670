#include "exact.h"

#include <stdlib.h>
#include <string.h>

enum { LANES = 16, POSITIONS = 512 };

struct exact {
	const struct exact_ask *asks;
	int64_t n;
	const struct patches *p;
	const float *x;
	float **room;  /* [threads] */
	double *sums;  /* [LANES][n] */
};

/* out[t] = d . x_t */
static void products(const struct patch_tile *t, const double *d, int64_t k, double *out)
{
	memset(out, 0, (size_t)t->count * sizeof *out);
	if (!t->by_k) {
		for (int64_t p = 0; p < t->count; p++)
			for (int64_t i = 0; i < k; i++)
				out[p] += d[i] * (double)t->data[p * t->ld + i];
		return;
	}
	for (int64_t i = 0; i < k; i++) {
		const float *row = t->data + i * t->ld;
		for (int64_t p = 0; p < t->count; p++)
			out[p] += d[i] * (double)row[p];
	}
}

static double squares(const double *v, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += v[i] * v[i];
	return sum;
}

/* Asks are sorted by group, so that a tile of vectors is made once for all of a group's. */
static void add_lane(void *ctx, int lane, int thread)
{
	const struct exact *x = ctx;
	double out[POSITIONS] = {0};
	for (int64_t first = lane * POSITIONS; first < x->p->positions; first += LANES * POSITIONS) {
		int64_t left = x->p->positions - first, count = left < POSITIONS ? left : POSITIONS, group = -1;
		struct patch_tile t = {0};
		for (int64_t i = 0; i < x->n; i++) {
			if (x->asks[i].group != group) {
				group = x->asks[i].group;
				t = patches_tile(x->p, x->x, group, first, count, 0, x->p->fan_in, x->room[thread]);
			}
			products(&t, x->asks[i].d, x->p->fan_in, out);
			x->sums[lane * x->n + i] += squares(out, count);
		}
	}
}

int exact_add(struct exact_ask *asks, int64_t n, const struct patches *p, const float *x, struct tiles *tiles, struct err *e)
{
	int threads = tiles_threads(tiles), rc = -1;
	struct exact job = {.asks = asks, .n = n, .p = p, .x = x};
	job.room = calloc((size_t)threads, sizeof *job.room);
	job.sums = calloc((size_t)(LANES * n), sizeof *job.sums);
	bool ok = job.room && job.sums;
	for (int i = 0; ok && patches_copies(p) && i < threads; i++)
		ok = (job.room[i] = malloc((size_t)(p->fan_in * POSITIONS) * sizeof(float))) != NULL;
	if (!ok) {
		err_nomem(e, "exact losses");
		goto out;
	}
	tiles_run(tiles, LANES, add_lane, &job);
	for (int64_t lane = 0; lane < LANES; lane++)
		for (int64_t i = 0; i < n; i++)
			asks[i].loss += job.sums[lane * n + i];
	rc = 0;
out:
	for (int i = 0; job.room && i < threads; i++)
		free(job.room[i]);
	free(job.room);
	free(job.sums);
	return rc;
}
