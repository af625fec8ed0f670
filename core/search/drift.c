#include "core/search/drift.h"

#include "core/kernels/gemm.h"
#include "core/kernels/sweep.h"

#include <stdlib.h>
#include <string.h>

enum { VECTORS = 64 };

int drift_init(struct drift *t, int64_t groups, int64_t vectors, int64_t fan_in, struct err *e)
{
	size_t all = (size_t)(groups * vectors);
	*t = (struct drift){.groups = groups, .vectors = vectors, .fan_in = fan_in};
	t->h = calloc(all * (size_t)fan_in, sizeof *t->h);
	t->square = calloc(all, sizeof *t->square);
	t->size = calloc(all, sizeof *t->size);
	if (t->h && t->square && t->size)
		return 0;
	drift_fini(t);
	return err_nomem(e, "a layer's two inputs");
}

void drift_fini(struct drift *t)
{
	free(t->h);
	free(t->square);
	free(t->size);
	*t = (struct drift){0};
}

/* A thread's memory: weight vectors, their errors, and the tile's part of h. */
struct scratch {
	float *w, *r, *h;
};

struct adding {
	struct drift *t;
	const struct evidence_ask *ask;
	struct scratch *scratch; /* [threads] */
};

static void add_block(void *ctx, const struct sweep_tile *s, int block, int thread)
{
	const struct adding *a = ctx;
	const struct scratch *room = &a->scratch[thread];
	const struct patch_tile *q = &s->q, *diff = &s->diff;
	struct drift *t = a->t;
	int64_t first = (int64_t)block * VECTORS, k = t->fan_in, n = t->vectors - first, at = s->group * t->vectors + first;
	n = n < VECTORS ? n : VECTORS;
	for (int64_t v = 0; v < n; v++)
		memcpy(room->w + v * k, a->ask->weights(a->ask->ctx, s->group, first + v), (size_t)k * sizeof(float));
	gemm(false, !diff->by_k, n, diff->count, k, room->w, k, diff->data, diff->ld, 0, room->r, diff->count);
	gemm(false, q->by_k, n, k, q->count, room->r, q->count, q->data, q->ld, 0, room->h, k);
	for (int64_t v = 0; v < n; v++) {
		for (int64_t p = 0; p < q->count; p++)
			t->square[at + v] += (double)room->r[v * q->count + p] * (double)room->r[v * q->count + p];
		for (int64_t i = 0; i < k; i++) {
			double w = (double)room->w[v * k + i];
			t->h[(at + v) * k + i] += (double)room->h[v * k + i];
			t->size[at + v] += w * w * s->energy[k + i];
		}
	}
}

int drift_add(struct drift *t, const struct patches_input *in, const struct evidence_ask *ask, struct tiles *tiles, struct err *e)
{
	struct adding a = {.t = t, .ask = ask};
	const struct sweep_work work = {add_block, &a, .blocks = (int)((t->vectors + VECTORS - 1) / VECTORS)};
	int threads = tiles_threads(tiles), rc = -1;
	size_t weights = (size_t)(VECTORS * t->fan_in), errors = (size_t)(VECTORS * sweep_most(t->fan_in));
	a.scratch = calloc((size_t)threads, sizeof *a.scratch);
	bool ok = a.scratch != NULL;
	for (int i = 0; ok && i < threads; i++) {
		a.scratch[i] = (struct scratch){malloc(weights * sizeof(float)), malloc(errors * sizeof(float)),
		                                malloc(weights * sizeof(float))};
		ok = a.scratch[i].w && a.scratch[i].r && a.scratch[i].h;
	}
	if (ok)
		rc = sweep_run(in, &work, tiles, e);
	else
		err_nomem(e, "a layer's two inputs");
	for (int i = 0; a.scratch && i < threads; i++) {
		free(a.scratch[i].w);
		free(a.scratch[i].r);
		free(a.scratch[i].h);
	}
	free(a.scratch);
	return rc;
}
