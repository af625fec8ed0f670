#include "core/search/trial.h"

#include "core/base/now.h"
#include "core/grid/quant.h"

#include <stdlib.h>

static float *numbers(int64_t n)
{
	float *x = malloc((size_t)n * sizeof *x);
	for (int64_t i = 0; x && i < n; i++)
		x[i] = (float)((uint32_t)i * 2654435761u >> 22) / 1024 - 0.3f;
	return x;
}

int trial_open(struct trial *t, const struct trial_shape *s, struct err *e)
{
	struct layer l = {.op = LAYER_CONV,
	                  .channels = s->channels,
	                  .groups = s->groups,
	                  .fan_in = s->channels / s->groups * s->kernel * s->kernel,
	                  .blocks = 1,
	                  .spatial = 2,
	                  .scale = 1};
	struct ort_info x = {.elem_type = 1, .rank = 4, .shape = {s->images, s->channels, s->size, s->size}};
	if (s->kernel == TRIAL_ROWS) {
		l.op = LAYER_MATMUL;
		l.fan_in = s->channels;
		x.rank = 2;
		x.shape[0] = s->images * s->size * s->size;
	}
	for (int i = 0; i < 3; i++) {
		l.kernel[i] = i ? s->kernel : 1;
		l.stride[i] = i ? s->stride : 1;
		l.dilation[i] = 1;
		l.pad_begin[i] = l.pad_end[i] = i ? s->kernel / 2 : 0;
	}
	x.count = s->images * s->channels * s->size * s->size;
	*t = (struct trial){.x = numbers(x.count), .weights = numbers(l.fan_in)};
	t->in.x = t->x;
	return t->x && t->weights ? patches_init(&t->in.patches, &l, &x, e) : err_nomem(e, "a kernel's trial");
}

void trial_close(struct trial *t)
{
	free(t->x);
	free(t->weights);
	*t = (struct trial){0};
}

/* A candidate's change, as a search makes it. */
static void change(void *ctx, int64_t row, float *d)
{
	const struct trial *t = ctx;
	int64_t n = t->in.patches.fan_in;
	float wide = (float)(row % TRIAL_CANDIDATES + 1);
	const struct quant_mode mode = {.bw = 4, .symmetric = true};
	quant_fake(quant_minmax(-0.05f * wide, 0.03f * wide, mode), (size_t)n, t->weights, d);
	for (int64_t k = 0; k < n; k++)
		d[k] -= t->weights[k];
}

static int look(void *ctx, int64_t batch, struct patches_input *in, struct err *e)
{
	(void)batch;
	(void)e;
	*in = ((const struct trial *)ctx)->in;
	return 0;
}

static void looked(void *ctx, int64_t batch)
{
	(void)ctx;
	(void)batch;
}

static int ask(struct trial *t, int64_t vectors, struct evidence *v, struct err *e)
{
	const struct evidence_ask question = {
		.vectors = vectors, .changes = TRIAL_CANDIDATES, .scale = 1, .ctx = t, .change = change};
	size_t rows = (size_t)(t->in.patches.groups * vectors * TRIAL_CANDIDATES);
	double *loss = malloc(rows * sizeof *loss), *tol = malloc(rows * sizeof *tol);
	int rc = loss && tol ? evidence_losses(v, &question, loss, tol, e) : err_nomem(e, "a kernel's trial");
	free(loss);
	free(tol);
	return rc;
}

/* Where each thread has its share of the work. */
static double used(const struct tiles *tiles)
{
	return run_cpu_now() / tiles_threads(tiles);
}

int trial_run(struct trial *t, const struct trial_work *work, struct tiles *tiles, struct trial_seconds *out, struct err *e)
{
	const struct patches *p = &t->in.patches;
	const struct evidence_setup setup = {.strategy = work->strategy,
	                                     .loss = work->loss,
	                                     .groups = p->groups,
	                                     .fan_in = p->fan_in,
	                                     .positions = p->positions,
	                                     .source = {.ctx = t, .batches = 1, .look = look, .looked = looked}};
	struct evidence *v = evidence_new(&setup, tiles, e);
	double start = 0;
	int rc = v ? 0 : -1;
	for (int i = 0; i < 2 && !rc; i++) {
		start = used(tiles);
		rc = evidence_add(v, &t->in, e);
	}
	double added = used(tiles);
	rc = rc ? rc : evidence_finish(v, e);
	double finished = used(tiles);
	double asked = finished;
	for (int i = 0; i < 2 && !rc && work->vectors; i++) {
		asked = used(tiles);
		rc = ask(t, work->vectors, v, e);
	}
	*out = (struct trial_seconds){added - start, finished - added, used(tiles) - asked};
	evidence_free(v);
	return rc;
}
