/* How fast the engine's kernels are against the machine's matrix product: CPU seconds of one thread, best of some, as one JSON object a line.
 *
 *     kernels     {"kernel", "shape", "seconds", "gflops", "share"}
 *
 * gflops counts what the plain way would have to do (two operations a multiply-add, half of the products of a symmetric matrix), so a kernel that finds
 * a shorter way may have a share of more than 1 of sgemm's rate. */

#include "core/base/now.h"
#include "core/base/tiles.h"
#include "core/kernels/gemm.h"
#include "core/search/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { REPEATS = 5 };

static float *numbers(int64_t n)
{
	float *x = malloc((size_t)n * sizeof *x);
	for (int64_t i = 0; x && i < n; i++)
		x[i] = (float)((i * 2654435761u) >> 7 & 1023) / 1024.0f - 0.3f;
	if (!x)
		exit(1);
	return x;
}

static double sgemm_rate; /* operations a second */

static void report(const char *kernel, const char *shape, double seconds, double operations)
{
	double rate = operations / seconds;
	printf("{\"kernel\": \"%s\", \"shape\": \"%s\", \"seconds\": %.6f, \"gflops\": %.2f, \"share\": %.3f}\n", kernel, shape,
	       seconds, rate * 1e-9, rate / sgemm_rate);
}

static void measure_sgemm(void)
{
	enum { N = 1024 };
	float *a = numbers(N * N), *b = numbers(N * N), *c = numbers(N * N);
	double best = 1e9;
	for (int i = 0; i < REPEATS; i++) {
		double t = run_cpu_now();
		gemm(false, false, N, N, N, a, N, b, N, 0, c, N);
		t = run_cpu_now() - t;
		best = t < best ? t : best;
	}
	sgemm_rate = 2.0 * N * N * N / best;
	report("sgemm", "1024 x 1024 x 1024", best, 2.0 * N * N * N);
	free(a);
	free(b);
	free(c);
}

struct shape {
	const char *name;
	struct trial_shape trial;
};

static const struct shape shapes[] = {
	{"Conv 1x1, 96 channels, 56x56", {16, 96, 56, 1, 1, 1}},
	{"Conv 1x1, 144 channels, 56x56", {16, 144, 56, 1, 1, 1}},
	{"Conv 1x1, 192 channels, 28x28", {16, 192, 28, 1, 1, 1}},
	{"Conv 1x1, 576 channels, 14x14", {16, 576, 14, 1, 1, 1}},
	{"Conv 3x3, 64 channels, 56x56", {8, 64, 56, 1, 3, 1}},
	{"Conv 3x3, 256 channels, 14x14", {16, 256, 14, 1, 3, 1}},
	{"Conv 3x3, stride 2, 64 channels, 56x56", {8, 64, 56, 1, 3, 2}},
	{"depthwise 3x3, 144 channels, 56x56", {16, 144, 56, 144, 3, 1}},
	{"depthwise 5x5, 672 channels, 14x14", {16, 672, 14, 672, 5, 1}},
	{"depthwise 3x3, stride 2, 96 channels, 112x112", {4, 96, 112, 96, 3, 2}},
};

static void measure(const struct shape *s, struct tiles *tiles)
{
	struct err e = ERR_INIT;
	struct trial t;
	struct trial_seconds seconds;
	struct trial_work work = {.strategy = EVIDENCE_GRAM, .vectors = s->trial.groups > 1 ? 1 : 128};
	double gram = 1e9, ask = 1e9;
	int rc = trial_open(&t, &s->trial, &e);
	for (int i = 0; i < REPEATS && !rc; i++) {
		rc = trial_run(&t, &work, tiles, &seconds, &e);
		gram = fmin(gram, seconds.add + seconds.finish);
		ask = fmin(ask, seconds.ask);
	}
	if (rc) {
		fprintf(stderr, "kernels: %s\n", e.msg);
		exit(1);
	}
	const struct patches *p = &t.in.patches;
	double k = (double)p->fan_in, rows = (double)(p->groups * work.vectors * TRIAL_CANDIDATES);
	report("gram", s->name, gram, (double)(p->positions * p->groups) * k * (k + 1));
	report("candidates", s->name, ask, rows * k * (k + 1));
	trial_close(&t);
}

int main(void)
{
	struct err e = ERR_INIT;
	struct tiles *tiles = tiles_new(1);
	if (!tiles || gemm_open(&e)) {
		fprintf(stderr, "kernels: %s\n", e.msg);
		return 1;
	}
	measure_sgemm();
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		measure(&shapes[i], tiles);
	tiles_free(tiles);
	return 0;
}
