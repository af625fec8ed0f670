#include "core/search/cost.h"

#include "core/kernels/gram.h"
#include "core/kernels/lags.h"
#include "core/kernels/sweep.h"
#include "core/search/pools.h"

#include <math.h>

/* Entries that the kernels keep: sums over runs of positions, and of candidates at a time. */
enum { SUMS = 8, ROWS = 128, FEW = 256 };

/* Candidates that bounds leave, and times that the inputs are read then; directions of a sketch that one thread has. */
static const double LEFT = 3, READS = 4, DIRECTIONS = 32;

/* The same of bounds by neighbours: the full range, the most promising one, and a share of all. */
static const double POOLS_LEFT = 2, POOLS_LEFT_OF = 0.15, POOLS_READS = 3;

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static double gathering(const struct rates *r, const struct cost_layer *l)
{
	const struct patches *p = &l->patches;
	enum gram_way way = gram_way(p);
	double size = way == GRAM_LAGS ? (double)p->in_channels : (double)p->fan_in;
	double added = (double)l->batches * gram_moved(p) / rates_at(r, RATES_COPY, 0);
	return added + (double)l->positions * (double)p->groups * gram_work(p) / rates_at(r, (enum rates_kind)way, size);
}

/* Seconds of putting the input's vectors together once; of both sides' and their differences, where these see different ones. */
static double reading(const struct rates *r, const struct cost_layer *l)
{
	double numbers = (double)l->positions * (double)l->patches.groups * (double)l->patches.fan_in;
	return numbers * (l->two_inputs ? 3 : 1) * (double)sizeof(float) * 2 / rates_at(r, RATES_COPY, 0);
}

static double drifting(const struct rates *r, const struct cost_layer *l)
{
	double k = (double)l->patches.fan_in, n = (double)l->positions, v = (double)l->vectors;
	return l->two_inputs ? 2 * n * k * v / rates_at(r, RATES_DIRECT, k) : 0;
}

static int64_t gram_bytes(const struct cost_layer *l)
{
	const struct patches *p = &l->patches;
	int64_t square = p->fan_in * p->fan_in, numbers = (int64_t)sizeof(double), scratch = (int64_t)sizeof(float) * square;
	enum gram_way way = gram_way(p);
	if (p->groups > 1)
		return p->groups * square * numbers + scratch * (1 + l->threads);
	if (way == GRAM_LAGS) {
		int64_t taps = p->kernel[1] * p->kernel[2];
		int64_t pairs = taps > 1 ? lags_pairs(taps) * p->in_channels * p->in_channels * numbers : 0;
		return square * numbers + max64(pairs, scratch);
	}
	return way == GRAM_LARGE ? square * numbers + scratch : SUMS * square * numbers + scratch * (1 + l->threads);
}

/* As gram_bytes(); one large matrix of many channels and taps is the greediest. */
int64_t cost_bytes_at_most(const struct layer *l, int threads)
{
	int64_t groups = l->groups * l->blocks, k = l->fan_in / l->blocks, square = k * k * (int64_t)sizeof(float);
	int64_t few = 2 * SUMS * square + square * (1 + threads), many = 2 * groups * square + square * (1 + threads);
	return groups > 1 ? many : k < FEW ? few : 4 * square;
}

static int64_t direct_bytes(const struct cost_layer *l)
{
	int64_t k = l->patches.fan_in, tile = sweep_most(k), floats = k * tile + l->threads * ROWS * (k + tile);
	return (int64_t)sizeof(float) * floats * (l->two_inputs ? 2 : 1);
}

/* How many directions bounds are made of, where a loss costs so many multiply-adds for each entry. */
static double rank_of(const struct cost_layer *l, double work)
{
	bool can = l->alone && l->loss == LOSS_MSE && !l->two_inputs && l->patches.groups == 1 && l->candidates > LEFT;
	return can ? (double)evidence_bound_rank(work) : 0;
}

/* Seconds of the bounds of all rows. */
static double bounding(const struct rates *r, const struct cost_layer *l, double rank, double work)
{
	double k = (double)l->patches.fan_in, numbers = (double)l->vectors * l->candidates * k,
	       busy = fmin((double)l->threads, ceil(rank / DIRECTIONS)),
	       sketch = 4 * rank * k * work * (double)l->threads / fmax(busy, 1);
	return rank > 0 ? numbers / rates_at(r, RATES_CHANGE, 0) + (numbers * rank + sketch) / rates_at(r, RATES_DIRECT, k) : 0;
}

/* Rows that are asked for, where bounds leave so many candidates of a vector. */
static double asked(const struct cost_layer *l, double candidates)
{
	bool signal = l->loss == LOSS_MSE && !l->two_inputs;
	return (double)l->vectors * (candidates + signal);
}

static struct cost by_gram(const struct rates *r, const struct cost_layer *l)
{
	double k = (double)l->patches.fan_in, rank = rank_of(l, k / 2), gather = gathering(r, l),
	       halved = (double)l->patches.groups * k * k * (sizeof(double) + sizeof(float)) / 2 / rates_at(r, RATES_COPY, 0),
	       ask = halved + asked(l, rank > 0 ? LEFT : l->candidates) * k * k / 2 / rates_at(r, RATES_ASK, k) +
	             bounding(r, l, rank, k);
	double drift = drifting(r, l) + (l->two_inputs ? reading(r, l) : 0);
	struct cost c = {EVIDENCE_GRAM, gather, ask + drift, gram_bytes(l)};
	if (l->loss == LOSS_SQNR) { /* both a batch, when asked */
		c.gather = 0;
		c.ask = gather + (double)l->batches * ask + drift;
	}
	return c;
}

/* Whether there are bounds by neighbours, and what is left of the multiply-adds then. */
static bool pooled(const struct cost_layer *l, double *left)
{
	int64_t groups = l->patches.groups, batch = l->positions / (l->batches ? l->batches : 1);
	*left = 1 / (double)pools_size(batch) + POOLS_LEFT / l->candidates + POOLS_LEFT_OF;
	return l->alone && evidence_pools_pay(l->loss, l->by_pixel, l->vectors / groups, l->candidates);
}

static struct cost by_errors(const struct rates *r, const struct cost_layer *l)
{
	double k = (double)l->patches.fan_in, n = (double)l->positions, rank = rank_of(l, n), reads = rank > 0 ? READS : 1,
	       rows = asked(l, rank > 0 ? LEFT : l->candidates), sums, bounds = bounding(r, l, rank, n);
	if (pooled(l, &sums)) {
		rows *= sums;
		reads = POOLS_READS;
	}
	double changes = rows * k * (double)l->batches / rates_at(r, RATES_CHANGE, 0);
	double ask = rows * k * n / rates_at(r, l->loss == LOSS_L1 ? RATES_L1 : RATES_DIRECT, k);
	return (struct cost){EVIDENCE_DIRECT, 0, ask + changes + bounds + reads * reading(r, l) + drifting(r, l) / 2,
	                     direct_bytes(l)};
}

struct cost cost_of(const struct rates *r, const struct cost_layer *l, enum evidence_strategy s)
{
	struct cost gram = by_gram(r, l), direct = by_errors(r, l);
	if (l->loss == LOSS_L1 || l->by_pixel || s == EVIDENCE_DIRECT)
		return direct;
	if (s == EVIDENCE_GRAM || l->patches.groups > 1)
		return gram;
	if (l->memory && gram.bytes > l->memory && direct.bytes < gram.bytes)
		return direct;
	return direct.ask < gram.gather + gram.ask ? direct : gram;
}
