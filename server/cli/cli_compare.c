#include "server/cli/cli.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_files.h"
#include "server/cli/cli_options.h"

#include "core/base/buf.h"
#include "core/data/arrays.h"
#include "core/encodings/encodings.h"
#include "core/onnx/onnx_model.h"
#include "core/search/seqmse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 10 }; /* names of one kind */

static const double tolerance = 1e-6;

struct file {
	const char *path;
	struct encodings x;
};

/* A file's entries in the order of their names. Which of them are parameters does not matter, for versions 2 do not say it. */
struct list {
	const char *path;
	const struct encoding **order;
	size_t n;
};

struct tally {
	size_t channels, differing;        /* in both files; scales or offsets */
	size_t only_a, only_b, other_kind; /* tensors */
	double most;                       /* relative difference of two scales */
	const struct encoding *first, *most_of;
	size_t first_channel, most_channel;
};

static int by_name(const void *a, const void *b)
{
	return strcmp((*(const struct encoding *const *)a)->name, (*(const struct encoding *const *)b)->name);
}

static int list_init(struct list *l, const struct file *f, struct err *e)
{
	const struct encodings *x = &f->x;
	*l = (struct list){f->path, calloc(x->nparams + x->nactivations + 1, sizeof(const struct encoding *)),
	                   x->nparams + x->nactivations};
	if (!l->order)
		return err_nomem(e, "a list of names");
	for (size_t i = 0; i < l->n; i++)
		l->order[i] = i < x->nparams ? &x->params[i] : &x->activations[i - x->nparams];
	qsort(l->order, l->n, sizeof *l->order, by_name);
	return 0;
}

static const struct encoding *find(const struct list *l, const struct encoding *like)
{
	const struct encoding **hit = bsearch(&like, l->order, l->n, sizeof *l->order, by_name);
	return hit ? *hit : NULL;
}

/* A tensor's name, without what would move a terminal's cursor. */
static void print_name(const char *name)
{
	for (int i = 0; i < 200 && name[i]; i++)
		(void)putchar((unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i]);
}

/* Names that l has and other has not; returns how many. */
static size_t print_only_in(const struct list *l, const struct list *other)
{
	size_t n = 0;
	for (size_t i = 0; i < l->n; i++) {
		if (find(other, l->order[i]))
			continue;
		if (n == 0)
			(void)printf("  only in %s:", l->path);
		if (n++ < SHOWN) {
			(void)putchar(' ');
			print_name(l->order[i]->name);
		}
	}
	if (n > SHOWN)
		(void)printf(" and %zu more", n - SHOWN);
	if (n)
		(void)putchar('\n');
	return n;
}

/* The number of the grids, what they are for, and their levels. Per tensor and one channel are the same grid, and symmetric and not are the same where
 * the offsets are, for versions 2 say it of no activation. */
static bool same_kind(const struct encoding *a, const struct encoding *b)
{
	bool same_for = a->granularity == b->granularity || a->n == 1;
	return a->is_float16 == b->is_float16 && a->mode.bw == b->mode.bw && a->n == b->n && same_for;
}

static void print_kind(const struct encoding *x)
{
	if (x->is_float16) {
		(void)printf("float16");
		return;
	}
	(void)printf("%d bit, %s, ", x->mode.bw, x->mode.symmetric ? "symmetric" : "asymmetric");
	if (x->granularity == QUANT_PER_TENSOR)
		(void)printf("per tensor");
	else if (x->granularity == QUANT_PER_CHANNEL)
		(void)printf("%zu channel%s", x->n, x->n == 1 ? "" : "s");
	else
		(void)printf("%zu blocks of %lld%s", x->n, (long long)x->block_size, x->granularity == QUANT_LPBQ ? ", LPBQ" : "");
}

static void print_other_kind(const struct encoding *a, const struct encoding *b)
{
	(void)printf("  ");
	print_name(a->name);
	(void)printf(": ");
	print_kind(a);
	(void)printf(" against ");
	print_kind(b);
	(void)putchar('\n');
}

static void compare_grids(struct tally *t, const struct encoding *a, const struct encoding *b)
{
	for (size_t i = 0; i < a->n; i++) {
		double x = a->grids[i].delta, y = b->grids[i].delta, relative = fabs(x - y) / fmax(x, y);
		t->channels++;
		if (relative > t->most) {
			t->most = relative;
			t->most_of = a;
			t->most_channel = i;
		}
		if (relative <= tolerance && a->grids[i].offset == b->grids[i].offset)
			continue;
		if (t->differing++ == 0) {
			t->first = a;
			t->first_channel = i;
		}
	}
}

static void print_grids(const struct tally *t, const struct list *b)
{
	(void)printf("  %zu of %zu scales and offsets differ (scales by more than %g relative)\n", t->differing, t->channels,
	             tolerance);
	if (t->first) {
		struct quant_grid x = t->first->grids[t->first_channel], y = find(b, t->first)->grids[t->first_channel];
		(void)printf("  the first is ");
		print_name(t->first->name);
		(void)printf("[%zu]: %.17g (offset %g) against %.17g (offset %g)\n", t->first_channel, x.delta, x.offset, y.delta,
		             y.offset);
	}
	if (t->most_of) {
		(void)printf("  the largest difference of scales is %.3g relative, at ", t->most);
		print_name(t->most_of->name);
		(void)printf("[%zu]\n", t->most_channel);
	}
}

static void tally(struct tally *t, const struct list *a, const struct list *b)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct encoding *x = a->order[i], *y = find(b, x);
		if (y && same_kind(x, y))
			compare_grids(t, x, y);
		else if (y && t->other_kind++ < SHOWN)
			print_other_kind(x, y);
	}
	if (t->other_kind > SHOWN)
		(void)printf("  and %zu more of another kind\n", t->other_kind - SHOWN);
}

static int compare(const struct file *a, const struct file *b, bool *equal, struct err *e)
{
	struct list la = {0}, lb = {0};
	struct tally t = {0};
	int rc = -1;
	if (list_init(&la, a, e) != 0 || list_init(&lb, b, e) != 0)
		goto out;
	(void)printf("%zu and %zu weights, %zu and %zu activations\n", a->x.nparams, b->x.nparams, a->x.nactivations,
	             b->x.nactivations);
	t.only_a = print_only_in(&la, &lb);
	t.only_b = print_only_in(&lb, &la);
	tally(&t, &la, &lb);
	if (t.channels)
		print_grids(&t, &lb);
	*equal = t.only_a + t.only_b + t.other_kind + t.differing == 0;
	rc = 0;
out:
	free(la.order);
	free(lb.order);
	return rc;
}

static int read_file(struct file *f, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = cli_read_file(f->path, &text, e);
	if (rc == 0 && encodings_read(text.data ? text.data : "", text.len, &f->x, e) != 0)
		rc = err_wrap(e, "%s", f->path);
	buf_fini(&text);
	return rc;
}

/* ---- with a model: are the differences near-ties? ---- */

struct job {
	struct file a, b;
	const char *model, *calib;
	struct params params;
};

/* Searches again along one file's weights and says how its choices stand. */
static int check(const struct job *j, struct file *f, const struct onnx_model *m, struct arrays *data, bool *sound, struct err *e)
{
	struct seqmse_check c;
	if (seqmse_check(m, data, &j->params, &f->x, NULL, &c, e) != 0)
		return -1;
	(void)printf("%s: of %lld channels %lld are the search's own choice, %lld near-ties, %lld neither\n", f->path,
	             (long long)c.channels, (long long)c.equal, (long long)c.near_ties, (long long)c.wrong);
	if (c.wrong)
		(void)printf("  first: %s\n", c.first_wrong);
	*sound = *sound && c.wrong == 0 && c.channels > 0;
	return 0;
}

static int check_both(struct job *j, bool *sound, struct err *e)
{
	struct onnx_model *m = onnx_model_open(j->model, e);
	struct arrays *data = m ? arrays_open(j->calib, e) : NULL;
	int rc = data ? arrays_preprocess(data, j->params.preprocess, e) : -1;
	for (size_t i = j->a.x.nparams; i-- > 0;)
		if (!j->a.x.params[i].derived && !j->a.x.params[i].is_float16) /* no bias */
			j->params.param_bw = j->a.x.params[i].mode.bw;
	*sound = true;
	if (rc == 0)
		rc = check(j, &j->a, m, data, sound, e);
	if (rc == 0)
		rc = check(j, &j->b, m, data, sound, e);
	arrays_free(data);
	onnx_model_free(m);
	return rc;
}

static int take(struct job *j, struct cli_args *a, struct err *e)
{
	if (!a->flag[0] && j->b.path)
		return err_set(e, ERR_USAGE, "one word too many: %s; see seqmsed compare --help", a->word);
	if (!a->flag[0])
		*(j->a.path ? &j->b.path : &j->a.path) = a->word;
	else if (strcmp(a->flag, "model") == 0)
		return cli_args_value(a, &j->model, e);
	else if (strcmp(a->flag, "calib") == 0)
		return cli_args_value(a, &j->calib, e);
	else
		return cli_args_param(a, &j->params, e);
	return 0;
}

static int parse(struct job *j, int argc, char **argv, struct err *e)
{
	struct cli_args a;
	cli_args_init(&a, argc, argv);
	while (cli_args_next(&a))
		if (take(j, &a, e) != 0)
			return -1;
	if (!j->b.path)
		return err_set(e, ERR_USAGE, "two encodings files are needed; see seqmsed compare --help");
	if (!j->model != !j->calib)
		return err_set(e, ERR_USAGE, "--model and --calib go together; see seqmsed compare --help");
	return 0;
}

static int run(struct job *j, bool *equal, bool *ties, struct err *e)
{
	*ties = false;
	if (read_file(&j->a, e) != 0 || read_file(&j->b, e) != 0 || compare(&j->a, &j->b, equal, e) != 0)
		return -1;
	return j->model ? check_both(j, ties, e) : 0;
}

int cli_compare(int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct job j = {0};
	bool equal = false, ties = false;
	if (cli_args_want_help(argc, argv)) {
		cli_options_help("compare");
		return 0;
	}
	params_init(&j.params);
	int rc = parse(&j, argc, argv, &e);
	if (rc == 0)
		rc = run(&j, &equal, &ties, &e);
	encodings_fini(&j.a.x);
	encodings_fini(&j.b.x);
	params_fini(&j.params);
	if (rc != 0)
		return cli_fail(&e);
	(void)puts(equal ? "equal" : ties ? "both are results of this search" : "different");
	return equal || ties ? 0 : 1;
}
