/* Losses that are left out because a bound shows that they cannot be the best: the best stays what plain sums in double say, and what is
 * left out is worse and estimated well, whatever the inputs look like; much is left out where inputs are as those of networks. */

#include "core/kernels/gemm.h"
#include "core/search/evidence.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { K = 400, BATCHES = 2, POSITIONS = 320, VECTORS = 48, CHANGES = 20, ROWS = VECTORS * CHANGES };
static const double SCALE = -1.7;

/* Inputs: what all share (a mean and a few patterns), what is each one's own, and how both differ from entry to entry. */
struct kind {
	const char *name;
	float shared, own, decades; /* entries are times 10^0 .. 10^decades */
	bool skips;                 /* every third entry is always 0 */
	double least_left_out;      /* share of the rows */
};

static const struct kind kinds[] = {
	{"like activations", 1, 0.5f, 0, false, 0.6},
	{"with dead entries", 1, 0.5f, 0, true, 0.6},
	{"of all sizes", 1, 0.5f, 4, false, 0},
	{"white", 0, 1, 0, false, 0},
	{"of rank 1", 1, 0, 0, false, 0},
	{"zero", 0, 0, 0, false, 0},
	{"almost the same everywhere", 1, 1e-4f, 0, false, 0},
};

struct question {
	float *x;      /* [BATCHES][POSITIONS][K] */
	float *d;      /* [ROWS][K] */
	double *plain; /* [ROWS] */
};

static float uniform(void)
{
	return (float)rand() / (float)RAND_MAX - 0.5f;
}

static float *inputs(const struct kind *kind)
{
	float *x = malloc((size_t)(BATCHES * POSITIONS * K) * sizeof *x), mean[K], pattern[K];
	for (int k = 0; k < K; k++) {
		mean[k] = uniform() + 0.5f;
		pattern[k] = uniform();
	}
	for (int p = 0; p < BATCHES * POSITIONS; p++) {
		float more = uniform();
		for (int k = 0; k < K; k++)
			x[p * K + k] = kind->skips && k % 3 == 0
			                       ? 0
			                       : (kind->shared * (mean[k] + (kind->own > 0 ? more * pattern[k] : 0)) +
			                          kind->own * uniform()) *
			                                 powf(10, kind->decades * (float)k / K);
	}
	return x;
}

/* Rounding errors of weights on grids of 16 steps that cover more and more of their range; in every other vector they also add up to nothing, so
 * that the mean of the inputs is not seen. */
static float *rounding(void)
{
	float *d = malloc((size_t)(ROWS * K) * sizeof *d), w[K];
	for (int v = 0; v < VECTORS; v++) {
		for (int k = 0; k < K; k++)
			w[k] = (uniform() + uniform() + uniform()) * (k % 50 ? 1 : 3);
		for (int i = 0; i < CHANGES; i++) {
			float *row = d + (v * CHANGES + i) * K, step = 4.5f * (float)(i + 1) / CHANGES / 8, sum = 0;
			for (int k = 0; k < K; k++) {
				row[k] = step * fminf(fmaxf(roundf(w[k] / step), -8), 7) - w[k];
				sum += row[k];
			}
			for (int k = 0; k < K && v % 2; k++)
				row[k] -= sum / K;
		}
	}
	return d;
}

static double *plain_losses(const struct question *q)
{
	double *loss = calloc(ROWS, sizeof *loss);
	for (int r = 0; r < ROWS; r++)
		for (int p = 0; p < BATCHES * POSITIONS; p++) {
			double e = 0;
			for (int k = 0; k < K; k++)
				e += (double)q->d[r * K + k] * (double)q->x[p * K + k];
			loss[r] += SCALE * SCALE * e * e;
		}
	return loss;
}

static int look(void *ctx, int64_t batch, struct patches_input *in, struct err *e)
{
	const struct question *q = ctx;
	(void)e;
	*in = (struct patches_input){.patches = {.groups = 1, .fan_in = K, .positions = POSITIONS, .linear = true},
	                             .x = q->x + batch * POSITIONS * K};
	return 0;
}

static void looked(void *ctx, int64_t batch)
{
	(void)ctx;
	(void)batch;
}

static void change(void *ctx, int64_t row, float *d)
{
	memcpy(d, ((const struct question *)ctx)->d + row * K, K * sizeof *d);
}

/* The last change of a vector is wanted. */
static bool optional(void *ctx, int64_t row)
{
	(void)ctx;
	return row % CHANGES != CHANGES - 1;
}

static void ask(struct question *q, enum evidence_strategy strategy, int threads, double *loss, double *tol)
{
	struct err e = ERR_INIT;
	struct tiles *tiles = tiles_new(threads);
	struct evidence_setup setup = {.strategy = strategy,
	                               .groups = 1,
	                               .fan_in = K,
	                               .positions = BATCHES * POSITIONS,
	                               .source = {.ctx = q, .batches = BATCHES, .look = look, .looked = looked}};
	struct evidence_ask question = {
		.vectors = VECTORS, .changes = CHANGES, .scale = SCALE, .ctx = q, .change = change, .optional = optional};
	struct evidence *v = evidence_new(&setup, tiles, &e);
	assert_non_null(v);
	for (int64_t b = 0; b < BATCHES; b++) {
		struct patches_input in;
		assert_int_equal(look(q, b, &in, &e), 0);
		assert_int_equal(evidence_add(v, &in, &e), 0);
	}
	assert_int_equal(evidence_finish(v, &e), 0);
	assert_int_equal(evidence_losses(v, &question, loss, tol, &e), 0);
	evidence_free(v);
	tiles_free(tiles);
}

static int first_least(const double *a)
{
	int best = 0;
	for (int i = 1; i < CHANGES; i++)
		best = a[i] < a[best] ? i : best;
	return best;
}

/* The least loss has to be found up to tolerances, which is where exact losses take over. */
static void check_vector(const struct kind *kind, const double *plain, const double *loss, const double *tol)
{
	int best = first_least(plain), found = first_least(loss), last = CHANGES - 1;
	if (loss[best] - tol[best] > loss[found] + tol[found] || !(fabs(loss[last] - plain[last]) <= tol[last]))
		fail_msg("%s: the best is %d, not %d; the last: %g, plainly %g", kind->name, best, found, loss[last], plain[last]);
	for (int i = 0; i < CHANGES; i++)
		if (tol[i] > 0 ? !(fabs(loss[i] - plain[i]) <= tol[i])
		               : plain[i] > 0 && (plain[i] <= plain[best] || loss[i] <= loss[found] || loss[i] > 2 * plain[i]))
			fail_msg("%s: change %d: %g, plainly %g", kind->name, i, loss[i], plain[i]);
}

static void the_best_is_always_found(void **state)
{
	double loss[ROWS], tol[ROWS], again[ROWS], tol_again[ROWS];
	(void)state;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct question q;
		srand((unsigned)i + 1);
		q.x = inputs(&kinds[i]);
		q.d = rounding();
		q.plain = plain_losses(&q);
		for (int strategy = EVIDENCE_GRAM; strategy <= EVIDENCE_DIRECT; strategy++) {
			int left_out = 0;
			ask(&q, (enum evidence_strategy)strategy, 1, loss, tol);
			for (int v = 0; v < VECTORS; v++)
				check_vector(&kinds[i], q.plain + v * CHANGES, loss + v * CHANGES, tol + v * CHANGES);
			for (int r = 0; r < ROWS; r++)
				left_out += tol[r] == 0 && loss[r] > 0;
			if (left_out < kinds[i].least_left_out * ROWS)
				fail_msg("%s, strategy %d: %d of %d rows are left out", kinds[i].name, strategy, left_out, ROWS);
			ask(&q, (enum evidence_strategy)strategy, 3, again, tol_again);
			assert_memory_equal(loss, again, sizeof loss);
		}
		free(q.x);
		free(q.d);
		free(q.plain);
	}
}

int main(void)
{
	struct err e = ERR_INIT;
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_best_is_always_found)};
	if (gemm_open(&e))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
