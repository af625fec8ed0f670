#include "core/search/shortlist.h"

#include <stdlib.h>

/* Some rows of a question, as a question of its own. */
struct list {
	const struct evidence_ask *ask;
	int64_t n, groups;
	int64_t *row;   /* ascending */
	int64_t *first; /* [groups + 1] */
	double *loss, *tol;
};

static void change(void *ctx, int64_t row, float *d)
{
	const struct list *l = ctx;
	l->ask->change(l->ask->ctx, l->row[row], d);
}

static const float *weights(void *ctx, int64_t group, int64_t vector)
{
	const struct list *l = ctx;
	int64_t row = l->row[l->first[group] + vector];
	return l->ask->weights(l->ask->ctx, group, row / l->ask->changes - group * l->ask->vectors);
}

/* Where each group's rows begin. */
static void count_groups(struct list *l)
{
	int64_t at = 0;
	for (int64_t g = 0; g <= l->groups; g++) {
		while (at < l->n && l->row[at] < evidence_first_row(l->ask, g))
			at++;
		l->first[g] = at;
	}
}

/* Asks for the listed rows, and puts the answers where they belong. */
static int ask_listed(struct list *l, shortlist_fn *fn, void *ctx, double *loss, double *tol, struct err *e)
{
	const struct evidence_ask some = {.vectors = l->n,
	                                  .changes = 1,
	                                  .scale = l->ask->scale,
	                                  .ctx = l,
	                                  .change = change,
	                                  .weights = weights,
	                                  .first = l->first};
	if (!l->n)
		return 0;
	count_groups(l);
	int rc = fn(ctx, &some, l->loss, l->tol, e);
	for (int64_t i = 0; i < l->n && !rc; i++) {
		loss[l->row[i]] = l->loss[i];
		tol[l->row[i]] = l->tol[i];
	}
	return rc;
}

static int64_t first_least(const double *a, int64_t n)
{
	int64_t best = 0;
	for (int64_t i = 1; i < n; i++)
		best = a[i] < a[best] ? i : best;
	return best;
}

/* The most promising change of every vector, and what is wanted anyway. */
static void list_first(struct list *l, const double *guess)
{
	const struct evidence_ask *ask = l->ask;
	for (int64_t v = 0; v < l->groups * ask->vectors; v++) {
		int64_t first = v * ask->changes, best = first + first_least(guess + first, ask->changes);
		for (int64_t row = first; row < first + ask->changes; row++)
			if (row == best || !ask->optional(ask->ctx, row))
				l->row[l->n++] = row;
	}
}

/* The most that a vector's least loss can be, among its listed rows; those are l->row[*at] and on, and *at moves behind them. */
static double best_known(const struct list *l, int64_t v, int64_t *at)
{
	double best = l->loss[*at] + l->tol[*at];
	for (; *at < l->n && l->row[*at] / l->ask->changes == v; ++*at) {
		double most = l->loss[*at] + l->tol[*at];
		best = most < best ? most : best;
	}
	return best;
}

/* All others that can be better than these, into `more`; the rest gets its guesses. */
static void list_rest(const struct list *l, const double *bound, const double *guess, struct list *more, double *loss, double *tol)
{
	int64_t at = 0, listed = 0;
	for (int64_t v = 0; v < l->groups * l->ask->vectors; v++) {
		double best = best_known(l, v, &at);
		for (int64_t row = v * l->ask->changes; row < (v + 1) * l->ask->changes; row++) {
			if (listed < l->n && l->row[listed] == row) {
				listed++;
			} else if (bound[row] > best) {
				loss[row] = guess[row];
				tol[row] = 0;
			} else {
				more->row[more->n++] = row;
			}
		}
	}
}

static int list_init(struct list *l, const struct evidence_ask *ask, int64_t groups, struct err *e)
{
	size_t rows = (size_t)evidence_first_row(ask, groups);
	*l = (struct list){.ask = ask,
	                   .groups = groups,
	                   .first = calloc((size_t)groups + 1, sizeof *l->first),
	                   .row = calloc(rows, sizeof *l->row),
	                   .loss = calloc(rows, sizeof *l->loss),
	                   .tol = calloc(rows, sizeof *l->tol)};
	return l->row && l->first && l->loss && l->tol ? 0 : err_nomem(e, "a layer's losses");
}

static void list_fini(struct list *l)
{
	free(l->row);
	free(l->first);
	free(l->loss);
	free(l->tol);
}

int shortlist_losses(const struct evidence_ask *ask, int64_t groups, const double *bound, const double *guess, shortlist_fn *fn,
                     void *ctx, double *loss, double *tol, struct err *e)
{
	struct list first = {0}, more = {0};
	int rc = list_init(&first, ask, groups, e) || list_init(&more, ask, groups, e) ? -1 : 0;
	if (rc)
		goto out;
	list_first(&first, guess);
	rc = ask_listed(&first, fn, ctx, loss, tol, e);
	if (rc)
		goto out;
	list_rest(&first, bound, guess, &more, loss, tol);
	rc = ask_listed(&more, fn, ctx, loss, tol, e);
out:
	list_fini(&first);
	list_fini(&more);
	return rc;
}
