#include "core/search/rates.h"

#include "core/base/io.h"
#include "core/base/now.h"
#include "core/kernels/gemm.h"
#include "core/kernels/gram.h"
#include "core/search/trial.h"
#include "core/workflow/machine.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REPEATS = 2, COPIED = 16 << 20 };

/* What is measured: a layer, and of one group so many channels' candidates. Copying comes first: the others are measured less what they copy. */
static const struct sample {
	enum rates_kind kind;
	struct trial_shape shape;
	int64_t vectors;
} samples[RATES] = {
	{RATES_COPY, {0}, 0},
	{RATES_LAGS, {8, 16, 28, 1, 3, 1}, 0},
	{RATES_LAGS, {4, 64, 28, 1, 3, 1}, 0},
	{RATES_LAGS, {4, 256, 14, 1, 3, 1}, 0},
	{RATES_LAGS_SINGLE, {4, 64, 56, 64, 3, 1}, 0},
	{RATES_LAGS_SINGLE, {4, 64, 28, 64, 5, 1}, 0},
	{RATES_SHIFTED, {4, 32, 56, 32, 3, 2}, 0},
	{RATES_SHIFTED, {4, 3, 112, 1, 3, 2}, 0},
	{RATES_VECTORS, {8, 16, 56, 1, 1, 1}, 0},
	{RATES_VECTORS, {8, 48, 28, 1, 1, 1}, 0},
	{RATES_PANELS, {8, 64, 28, 1, 1, 1}, 0},
	{RATES_PANELS, {8, 160, 28, 1, 1, 1}, 0},
	{RATES_LARGE, {8, 192, 14, 1, TRIAL_ROWS, 1}, 0},
	{RATES_LARGE, {8, 576, 14, 1, TRIAL_ROWS, 1}, 0},
	{RATES_ASK, {1, 64, 14, 64, 3, 1}, 1},
	{RATES_ASK, {1, 32, 14, 1, 1, 1}, 64},
	{RATES_ASK, {1, 64, 14, 1, 1, 1}, 64},
	{RATES_ASK, {1, 192, 14, 1, 1, 1}, 64},
	{RATES_ASK, {1, 1152, 7, 1, 1, 1}, 32},
	{RATES_DIRECT, {2, 64, 14, 1, 3, 1}, 32},
	{RATES_DIRECT, {2, 256, 7, 1, 3, 1}, 32},
	{RATES_L1, {2, 16, 56, 1, 1, 1}, 32},
	{RATES_L1, {2, 64, 14, 1, 3, 1}, 32},
	{RATES_CHANGE, {1, 576, 1, 1, 1, 1}, 64},
};

const struct rates rates_typical = {{1.1e10, 1.4e10, 7.6e10, 5.0e10, 5.0e10, 9.4e10, 1.1e10, 2.4e10, 2.8e10, 3.3e10, 4.2e10, 5.4e10,
                                     4.7e10, 5.8e10, 7.6e8,  2.0e9,  1.4e10, 2.6e10, 5.0e10, 6.0e10, 4.1e10, 3.0e10, 6.1e10, 1.3e9}};

/* ---- asking for a rate ---- */

static double size_of(const struct sample *s)
{
	const struct trial_shape *x = &s->shape;
	int64_t taps = x->kernel == TRIAL_ROWS ? 1 : x->kernel * x->kernel, fan_in = x->channels / (x->groups ? x->groups : 1) * taps;
	return (double)(s->kind == RATES_LAGS ? x->channels : fan_in);
}

double rates_at(const struct rates *r, enum rates_kind kind, double size)
{
	int below = -1, above = -1;
	for (int i = 0; i < RATES; i++) {
		if (samples[i].kind != kind)
			continue;
		if (size_of(&samples[i]) <= size)
			below = i;
		else if (above < 0)
			above = i;
	}
	if (below < 0 || above < 0)
		return r->of[below < 0 ? above : below];
	double a = log(size_of(&samples[below])), b = log(size_of(&samples[above])), t = (log(size) - a) / (b - a);
	return r->of[below] * pow(r->of[above] / r->of[below], t);
}

/* ---- measuring ---- */

static struct trial_work work_of(const struct sample *s)
{
	return (struct trial_work){.strategy = s->kind == RATES_DIRECT || s->kind == RATES_CHANGE ? EVIDENCE_DIRECT : EVIDENCE_GRAM,
	                           .loss = s->kind == RATES_L1 ? LOSS_L1 : LOSS_MSE,
	                           .vectors = s->vectors};
}

/* Of the sample's kind. */
static double multiply_adds(const struct sample *s, const struct patches *p)
{
	double k = (double)p->fan_in, rows = (double)(p->groups * s->vectors * TRIAL_CANDIDATES);
	switch (s->kind) {
	case RATES_ASK:
		return rows * k * k / 2;
	case RATES_DIRECT:
	case RATES_L1:
	case RATES_CHANGE: /* at one position */
		return rows * k * (double)p->positions;
	default:
		return gram_work(p) * (double)(p->positions * p->groups);
	}
}

static int measure(const struct sample *s, struct tiles *tiles, double copy, double *rate, struct err *e)
{
	const struct trial_work work = work_of(s);
	struct trial t;
	struct trial_seconds seconds;
	double best = INFINITY;
	int rc = trial_open(&t, &s->shape, e);
	assert(rc || s->kind > RATES_LARGE || (int)gram_way(&t.in.patches) == (int)s->kind);
	for (int i = 0; i < REPEATS && !rc; i++) {
		rc = trial_run(&t, &work, tiles, &seconds, e);
		best = fmin(best, s->vectors ? seconds.ask : seconds.add);
	}
	if (!rc) {
		double moved = s->vectors ? 0 : gram_moved(&t.in.patches) / copy;
		*rate = multiply_adds(s, &t.in.patches) / fmax(best - moved, best / 4);
	}
	trial_close(&t);
	return rc;
}

/* From and to memory that no cache holds. */
static int measure_copy(double *rate, struct err *e)
{
	char *from = malloc(COPIED), *to = malloc(COPIED);
	double best = INFINITY;
	int rc = from && to ? 0 : err_nomem(e, "the measuring of rates");
	for (int i = 0; i <= REPEATS && !rc; i++) { /* the first one only touches the memory */
		memset(from, i, COPIED);
		double start = run_cpu_now();
		memcpy(to, from, COPIED);
		best = i ? fmin(best, run_cpu_now() - start) : best;
	}
	*rate = COPIED / fmax(best, 1e-9);
	free(from);
	free(to);
	return rc;
}

int rates_measure(int threads, struct rates *r, struct err *e)
{
	struct tiles *tiles = gemm_open(e) ? NULL : tiles_new(threads);
	int rc = tiles ? 0 : e->code ? -1 : err_set(e, ERR_MEMORY, "the system gives no %d threads", threads);
	for (int i = 0; i < RATES && !rc; i++)
		rc = samples[i].kind == RATES_COPY ? measure_copy(&r->of[i], e)
		                                   : measure(&samples[i], tiles, rates_at(r, RATES_COPY, 0), &r->of[i], e);
	tiles_free(tiles);
	return rc;
}

/* ---- keeping ---- */

void rates_to_json(const struct rates *r, const char *machine, int threads, struct json_out *w, const char *key)
{
	json_out_object(w, key);
	json_out_string(w, "machine", machine);
	json_out_integer(w, "threads", threads);
	json_out_array(w, "rates");
	for (int i = 0; i < RATES; i++)
		json_out_real(w, NULL, r->of[i]);
	json_out_end_array(w);
	json_out_end_object(w);
}

static bool is_of(const struct json *set, const char *machine, int64_t threads)
{
	const char *of = json_text(json_get(set, "machine"));
	return of && strcmp(of, machine) == 0 && json_int(json_get(set, "threads")) == threads;
}

static bool read_set(const struct json *set, struct rates *r)
{
	const struct json *list = json_get(set, "rates");
	bool good = json_size(list) == RATES;
	for (int i = 0; i < RATES && good; i++) {
		r->of[i] = json_number(json_at(list, (size_t)i));
		good = r->of[i] > 0;
	}
	return good;
}

bool rates_from_json(const struct json *kept, const char *machine, int threads, struct rates *r)
{
	for (size_t i = 0; json_is_array(kept) && i < json_size(kept); i++)
		if (is_of(json_at(kept, i), machine, threads))
			return read_set(json_at(kept, i), r);
	return false;
}

void rates_keep(const struct json *kept, const struct json *set, struct json_out *w)
{
	const char *machine = json_text(json_get(set, "machine"));
	int64_t threads = json_int(json_get(set, "threads"));
	size_t most = json_is_array(kept) ? json_size(kept) : 0, n = 1;
	json_out_array(w, NULL);
	json_out_value(w, NULL, set);
	for (size_t i = 0; i < most && n < RATES_SETS; i++) {
		const struct json *other = json_at(kept, i);
		if (!json_text(json_get(other, "machine")) || is_of(other, machine ? machine : "", threads))
			continue;
		json_out_value(w, NULL, other);
		n++;
	}
	json_out_end_array(w);
}

bool rates_path(char out[4096])
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n = -1;
	if (cache && cache[0] == '/')
		n = snprintf(out, 4096, "%s/seqmsed/rates.json", cache);
	else if (home && home[0] == '/')
		n = snprintf(out, 4096, "%s/.cache/seqmsed/rates.json", home);
	return n > 0 && n < 4096;
}

/* NULL where there is no file, or one that is no JSON. */
static struct json *read_file(const char *path)
{
	struct buf text = BUF_INIT;
	struct err ignored = ERR_INIT;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct json *v = NULL;
	if (fd >= 0 && io_read_rest(fd, &text) == 0 && !buf_failed(&text) && text.len)
		v = json_parse(text.data, text.len, &ignored);
	buf_fini(&text);
	if (fd >= 0)
		(void)close(fd);
	return v;
}

/* The folder of the path, and the one above it. */
static void make_folders(const char *path)
{
	char copy[4096];
	(void)snprintf(copy, sizeof copy, "%s", path);
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(copy, '/');
		if (!slash || slash == copy)
			return;
		*slash = '\0';
		if (i == 1)
			(void)mkdir(copy, 0700);
	}
	(void)snprintf(copy, sizeof copy, "%s", path);
	*strrchr(copy, '/') = '\0';
	(void)mkdir(copy, 0700);
}

static struct json *as_json(const struct rates *r, const char *machine, int threads)
{
	struct buf text = BUF_INIT;
	struct err ignored = ERR_INIT;
	struct json_out w;
	json_out_init(&w, &text, 0);
	rates_to_json(r, machine, threads, &w, NULL);
	struct json *v = buf_failed(&text) ? NULL : json_parse(text.data, text.len, &ignored);
	buf_fini(&text);
	return v;
}

/* Whole or not at all; another process may be doing the same. */
static void write_file(const char *path, const struct json *kept, const struct json *set)
{
	char part[4200];
	struct buf text = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &text, 0);
	rates_keep(kept, set, &w);
	make_folders(path);
	(void)snprintf(part, sizeof part, "%s.%ld", path, (long)getpid());
	int fd = buf_failed(&text) ? -1 : open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0) {
		bool whole = io_write(fd, text.data, text.len) == 0;
		whole = close(fd) == 0 && whole;
		if (!whole || rename(part, path) < 0)
			(void)unlink(part);
	}
	buf_fini(&text);
}

int rates_get(const char *path, int threads, struct rates *r, struct err *e)
{
	char machine[MACHINE_ID];
	struct err why = ERR_INIT;
	bool keep = path && !machine_id(machine, &why);
	struct json *kept = keep ? read_file(path) : NULL;
	int rc = 0;
	if (!keep || !rates_from_json(kept, machine, threads, r)) {
		rc = rates_measure(threads, r, e);
		struct json *set = keep && !rc ? as_json(r, machine, threads) : NULL;
		if (set)
			write_file(path, kept, set);
		json_free(set);
	}
	json_free(kept);
	return rc;
}
