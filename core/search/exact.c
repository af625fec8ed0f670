#include "core/search/exact.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16, POSITIONS = 512 };

struct exact {
	const struct exact_ask *asks;
	int64_t n;
	enum loss_fn loss;
	const struct patches_input *in;
	float **room; /* [threads] */
	double *sums; /* [LANES][n] */
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

/* out[t] += scale * w . (x_t - f_t) */
static void add_differences(const struct patch_tile *x, const struct patch_tile *f, const float *w, double scale, int64_t k,
                            double *out)
{
	for (int64_t p = 0; p < x->count; p++) {
		double sum = 0;
		for (int64_t i = 0; i < k; i++) {
			int64_t at = x->by_k ? i * x->ld + p : p * x->ld + i, at_f = f->by_k ? i * f->ld + p : p * f->ld + i;
			sum += (double)w[i] * ((double)x->data[at] - (double)f->data[at_f]);
		}
		out[p] += scale * sum;
	}
}

static double summed(enum loss_fn loss, const double *v, int64_t n)
{
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += loss == LOSS_L1 ? fabs(v[i]) : v[i] * v[i];
	return sum;
}

/* What goes with an ask's group: some of its vectors, of both sides. */
struct two_tiles {
	int64_t group;
	struct patch_tile x, f;
};

/* Errors of an ask at `count` positions; tiles are made once for all asks of a group that come one after the other. */
static void errors(const struct exact *x, const struct exact_ask *ask, int64_t first, int64_t count, struct two_tiles *t,
                   float *room, double *out)
{
	const struct patches *p = &x->in->patches;
	const float *other = x->in->x_float;
	if (ask->group != t->group) {
		t->group = ask->group;
		t->x = patches_tile(p, x->in->x, ask->group, first, count, 0, p->fan_in, room);
		if (other)
			t->f = patches_tile(p, other, ask->group, first, count, 0, p->fan_in,
			                    room ? room + p->fan_in * POSITIONS : NULL);
	}
	products(&t->x, ask->d, p->fan_in, out);
	if (other)
		add_differences(&t->x, &t->f, ask->w, ask->scale, p->fan_in, out);
}

static void add_lane(void *ctx, int lane, int thread)
{
	const struct exact *x = ctx;
	const struct patches *p = &x->in->patches;
	double out[POSITIONS] = {0};
	for (int64_t first = lane * POSITIONS; first < p->positions; first += LANES * POSITIONS) {
		int64_t left = p->positions - first, count = left < POSITIONS ? left : POSITIONS;
		struct two_tiles t = {.group = -1};
		for (int64_t i = 0; i < x->n; i++) {
			errors(x, &x->asks[i], first, count, &t, x->room[thread], out);
			x->sums[lane * x->n + i] += summed(x->loss, out, count);
		}
	}
}

/* Decibels of one ask at some pixels, summed. */
static double decibels(const struct exact *x, const struct exact_ask *ask, int64_t first, int64_t count, float *room)
{
	int64_t pixels = patches_pixels(&x->in->patches), images = x->in->patches.positions / pixels;
	double out[POSITIONS] = {0}, squares[POSITIONS] = {0}, sum = 0;
	for (int64_t image = 0; image < images; image++) {
		struct two_tiles t = {.group = -1};
		errors(x, ask, image * pixels + first, count, &t, room, out);
		for (int64_t i = 0; i < count; i++)
			squares[i] += out[i] * out[i];
	}
	for (int64_t i = 0; i < count; i++)
		sum += loss_of_batch(LOSS_SQNR, squares[i], images);
	return sum;
}

static void add_lane_by_pixel(void *ctx, int lane, int thread)
{
	const struct exact *x = ctx;
	int64_t pixels = patches_pixels(&x->in->patches);
	for (int64_t first = lane * POSITIONS; first < pixels; first += LANES * POSITIONS) {
		int64_t left = pixels - first, count = left < POSITIONS ? left : POSITIONS;
		for (int64_t i = 0; i < x->n; i++)
			x->sums[lane * x->n + i] += decibels(x, &x->asks[i], first, count, x->room[thread]);
	}
}

/* Runs the lanes and adds their sums. */
static int add(struct exact_ask *asks, int64_t n, enum loss_fn loss, bool by_pixel, const struct patches_input *in,
               struct tiles *tiles, struct err *e)
{
	const struct patches *p = &in->patches;
	int threads = tiles_threads(tiles), rc = -1;
	struct exact job = {.asks = asks, .n = n, .loss = loss, .in = in};
	size_t room = (size_t)(p->fan_in * POSITIONS) * (in->x_float ? 2 : 1);
	job.room = calloc((size_t)threads, sizeof *job.room);
	job.sums = calloc((size_t)(LANES * n), sizeof *job.sums);
	bool ok = job.room && job.sums;
	for (int i = 0; ok && patches_copies(p) && i < threads; i++)
		ok = (job.room[i] = malloc(room * sizeof(float))) != NULL;
	if (!ok) {
		err_nomem(e, "exact losses");
		goto out;
	}
	tiles_run(tiles, LANES, by_pixel ? add_lane_by_pixel : add_lane, &job);
	for (int64_t i = 0; i < n; i++) {
		double sum = 0;
		for (int64_t lane = 0; lane < LANES; lane++)
			sum += job.sums[lane * n + i];
		asks[i].loss += by_pixel ? sum : loss_of_batch(loss, sum, p->positions);
	}
	rc = 0;
out:
	for (int i = 0; job.room && i < threads; i++)
		free(job.room[i]);
	free(job.room);
	free(job.sums);
	return rc;
}

int exact_add(struct exact_ask *asks, int64_t n, enum loss_fn loss, const struct patches_input *in, struct tiles *tiles,
              struct err *e)
{
	return add(asks, n, loss, false, in, tiles, e);
}

int exact_add_by_pixel(struct exact_ask *asks, int64_t n, const struct patches_input *in, struct tiles *tiles, struct err *e)
{
	return add(asks, n, LOSS_SQNR, true, in, tiles, e);
}
