#include "core/kernels/lags.h"

#include "core/base/numbers.h"

#include <stdlib.h>

bool lags_fit(const struct patches *p)
{
	return !p->linear && p->in[0] == 1 && p->out[0] == 1 && p->kernel[0] == 1 && p->pad[0] == 0 && p->stride[1] == 1 &&
	       p->stride[2] == 1 && p->kernel[1] * p->kernel[2] > 1 && p->positions > 0;
}

int64_t lags_count(const struct patches *p)
{
	return p->kernel[2] + (p->kernel[1] - 1) * (2 * p->kernel[2] - 1);
}

static int64_t max64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* The pixels that a tap visits. */
static int64_t visit_begin(const struct lags_axis *a, int64_t tap)
{
	return max64(0, tap * a->dilation - a->pad);
}

static int64_t visit_end(const struct lags_axis *a, int64_t tap)
{
	return min64(a->size, tap * a->dilation - a->pad + a->out);
}

static int axis_init(struct lags_axis *a, const struct patches *p, int i)
{
	*a = (struct lags_axis){
		.taps = p->kernel[i], .dilation = p->dilation[i], .size = p->in[i], .pad = p->pad[i], .out = p->out[i]};
	int64_t all_begin = min64(visit_begin(a, a->taps - 1), a->size), all_end = max64(visit_end(a, 0), all_begin);
	a->begin = calloc((size_t)a->size + 1, sizeof *a->begin);
	a->end = calloc((size_t)a->size + 1, sizeof *a->end);
	if (!a->begin || !a->end)
		return -1;
	for (int64_t at = 0; at < a->size; at = a->end[a->classes++]) {
		a->begin[a->classes] = at;
		a->end[a->classes] = at == all_begin && all_end > at ? all_end : at + 1;
	}
	return 0;
}

int lags_init(struct lags *l, const struct patches *p, struct err *e)
{
	*l = (struct lags){.taps = p->kernel[1] * p->kernel[2], .count = lags_count(p)};
	int rc = axis_init(&l->y, p, 1) || axis_init(&l->x, p, 2);
	if (rc) {
		lags_fini(l);
		return err_nomem(e, "a Gram matrix");
	}
	return 0;
}

void lags_fini(struct lags *l)
{
	free(l->y.begin);
	free(l->y.end);
	free(l->x.begin);
	free(l->x.end);
	*l = (struct lags){0};
}

struct lag lags_at(const struct lags *l, int64_t i)
{
	if (i < l->x.taps)
		return (struct lag){0, i};
	int64_t width = 2 * l->x.taps - 1, rest = i - l->x.taps;
	return (struct lag){1 + rest / width, rest % width - (l->x.taps - 1)};
}

bool lags_visits(const struct lags_axis *a, int64_t tap, int64_t c)
{
	return a->begin[c] >= visit_begin(a, tap) && a->end[c] <= visit_end(a, tap);
}

static bool visited_alike(const struct lags_axis *a, int64_t c, int64_t d)
{
	for (int64_t tap = 0; tap < a->taps; tap++)
		if (lags_visits(a, tap, c) != lags_visits(a, tap, d))
			return false;
	return true;
}

static void merge_axis(struct lags_axis *a)
{
	int64_t n = 0;
	for (int64_t c = 0; c < a->classes; c++) {
		if (n > 0 && visited_alike(a, n - 1, c)) {
			a->end[n - 1] = a->end[c];
			continue;
		}
		a->begin[n] = a->begin[c];
		a->end[n++] = a->end[c];
	}
	a->classes = n;
}

void lags_merge(struct lags *l)
{
	merge_axis(&l->y);
	merge_axis(&l->x);
}

int64_t lags_pairs(int64_t taps)
{
	return taps * (taps + 1) / 2;
}

int64_t lags_pair(int64_t taps, int64_t p, int64_t q)
{
	return p * taps - p * (p - 1) / 2 + q - p;
}
