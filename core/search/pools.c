#include "core/search/pools.h"

#include "core/kernels/sweep.h"
#include "core/search/direct.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { FEW = 256, POOL_OF_FEW = 8 };

/* What log10 may be off, in decibels, and much more. */
static const double DECIBELS_OFF = 1e-9;

int64_t pools_size(int64_t positions)
{
	return positions < FEW ? POOL_OF_FEW : SWEEP_POOL;
}

/* How far a batch's sums may be off. */
struct rounding {
	double terms, positions, pool; /* products of an error; positions; of a set */
	double unit, least;
};

/* A sum of products of floats, in whatever order and with or without fused operations, is off by at most
 *     m u / (1 - m u) sum |a b|,   u = 2^-24,
 * where no number went through more than m roundings (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., lemma 3.1 and section 3.1), and each operation
 * with a subnormal result by 2^-149 at most. Here those are at most fan_in of a product's sum, pool - 1 of the vectors' sum, one each of the change, of the
 * difference of two inputs and of the error of both; and the sums in double, up to 2^30 positions, are worth less than another one. */
static struct rounding rounding_of(const struct patches_input *in, int64_t pool)
{
	double k = (double)in->patches.fan_in, m = (k + (double)SWEEP_POOL + 4) * (double)FLT_EPSILON / 2;
	struct rounding r = {.terms = in->x_float ? 2 * k : k, .positions = (double)in->patches.positions, .pool = (double)pool};
	r.unit = m < 1 ? m / (1 - m) : INFINITY;
	r.least = (2 * r.terms + r.pool) * r.positions * (double)FLT_TRUE_MIN;
	return r;
}

/* A lower bound of the sum of |e| (l1) or e^2, from the sum over the sets and the sum `size` of all squared terms of all errors.
 * With t terms, n positions and sets of p, Cauchy-Schwarz makes the sum of all terms at most sqrt(t n size), and those of a set at most
 * sqrt(t p) times the root of its part of size; roots of sums of squares obey the triangle inequality. */
static double least_sum(const struct rounding *r, enum loss_fn loss, double sum, double size)
{
	double together = loss == LOSS_L1 ? r->positions : r->pool;
	double off = r->unit * sqrt(r->terms * together * size) + r->least;
	double least = (loss == LOSS_L1 ? sum : sqrt(sum)) - off;
	if (!isfinite(sum) || !isfinite(size) || !(least > 0))
		return 0;
	return loss == LOSS_L1 ? least : least * least / r->pool;
}

int pools_add(const struct patches_input *in, const struct evidence_ask *ask, enum loss_fn loss, struct tiles *tiles, double *bound,
              struct err *e)
{
	int64_t rows = evidence_first_row(ask, in->patches.groups), pool = pools_size(in->patches.positions);
	double *sum = malloc((size_t)rows * sizeof *sum), *size = malloc((size_t)rows * sizeof *size);
	double scale = loss == LOSS_L1 ? fabs(ask->scale) : ask->scale * ask->scale;
	struct rounding r = rounding_of(in, pool);
	int rc = sum && size ? direct_sums(in, ask, loss, pool, tiles, sum, size, e) : err_nomem(e, "a layer's bounds");
	for (int64_t i = 0; i < rows && !rc; i++) {
		bound[i] += loss_of_batch(loss, least_sum(&r, loss, sum[i], size[i]) * scale, in->patches.positions);
		bound[i] -= loss == LOSS_SQNR ? DECIBELS_OFF : 0;
	}
	free(sum);
	free(size);
	return rc;
}
