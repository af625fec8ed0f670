#include "cli.h"
#include "cli_args.h"
#include "cli_files.h"

#include "core/buf.h"
#include "core/encodings.h"
#include "core/npz.h"
#include "core/onnx_model.h"
#include "core/seqmse.h"

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

/* One list of a file, and its entries in the order of their names. */
struct list {
	const char *path;
	const struct encoding *entries, **order;
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

static int list_init(struct list *l, const char *path, const struct encoding *entries, size_t n, struct err *e)
{
	*l = (struct list){path, entries, calloc(n + 1, sizeof(const struct encoding *)), n};
	if (!l->order)
		return err_nomem(e, "a list of names");
	for (size_t i = 0; i < n; i++)
		l->order[i] = &entries[i];
	qsort(l->order, n, sizeof *l->order, by_name);
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
		if (find(other, &l->entries[i]))
			continue;
		if (n == 0)
			(void)printf("  only in %s:", l->path);
		if (n++ < SHOWN) {
			(void)putchar(' ');
			print_name(l->entries[i].name);
		}
	}
	if (n > SHOWN)
		(void)printf(" and %zu more", n - SHOWN);
	if (n)
		(void)putchar('\n');
	return n;
}

/* Bit width, symmetry, count. Per tensor and one channel are the same grid. */
static bool same_kind(const struct encoding *a, const struct encoding *b)
{
	return a->mode.bw == b->mode.bw && a->mode.symmetric == b->mode.symmetric && a->n == b->n;
}

static void print_kind(const struct encoding *x)
{
	(void)printf("%d bit, %s, ", x->mode.bw, x->mode.symmetric ? "symmetric" : "asymmetric");
	if (x->type == ENCODING_PER_TENSOR)
		(void)printf("per tensor");
	else
		(void)printf("%zu channel%s", x->n, x->n == 1 ? "" : "s");
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

/* Reports one list; returns whether it is equal in both files. */
static bool compare_lists(const char *title, const struct list *a, const struct list *b)
{
	struct tally t = {0};
	(void)printf("%s: %zu and %zu tensors\n", title, a->n, b->n);
	t.only_a = print_only_in(a, b);
	t.only_b = print_only_in(b, a);
	for (size_t i = 0; i < a->n; i++) {
		const struct encoding *x = &a->entries[i], *y = find(b, x);
		if (y && same_kind(x, y))
			compare_grids(&t, x, y);
		else if (y && t.other_kind++ < SHOWN)
			print_other_kind(x, y);
	}
	if (t.other_kind > SHOWN)
		(void)printf("  and %zu more of another kind\n", t.other_kind - SHOWN);
	if (t.channels)
		print_grids(&t, b);
	return t.only_a + t.only_b + t.other_kind + t.differing == 0;
}

static int compare(const struct file *a, const struct file *b, bool *equal, struct err *e)
{
	struct list wa = {0}, wb = {0}, aa = {0}, ab = {0};
	int rc = -1;
	if (list_init(&wa, a->path, a->x.params, a->x.nparams, e) != 0 ||
	    list_init(&wb, b->path, b->x.params, b->x.nparams, e) != 0 ||
	    list_init(&aa, a->path, a->x.activations, a->x.nactivations, e) != 0 ||
	    list_init(&ab, b->path, b->x.activations, b->x.nactivations, e) != 0)
		goto out;
	*equal = compare_lists("weights", &wa, &wb);
	*equal = compare_lists("activations", &aa, &ab) && *equal;
	rc = 0;
out:
	free(wa.order);
	free(wb.order);
	free(aa.order);
	free(ab.order);
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
static int check(const struct job *j, const struct file *f, const struct onnx_model *m, struct npz *data, bool *sound, struct err *e)
{
	struct seqmse_check c;
	if (seqmse_check(m, data, &j->params, &f->x, NULL, &c, e) != 0)
		return -1;
	(void)printf("%s: of %lld channels %lld are the search's own choice, %lld near-ties, %lld neither\n", f->path, (long long)c.channels,
	             (long long)c.equal, (long long)c.near_ties, (long long)c.wrong);
	if (c.wrong)
		(void)printf("  first: %s\n", c.first_wrong);
	*sound = *sound && c.wrong == 0 && c.channels > 0;
	return 0;
}

static int check_both(struct job *j, bool *sound, struct err *e)
{
	struct onnx_model *m = onnx_model_open(j->model, e);
	struct npz *data = m ? npz_open(j->calib, e) : NULL;
	int rc = data ? 0 : -1;
	if (j->a.x.nparams)
		j->params.param_bw = j->a.x.params[0].mode.bw;
	*sound = true;
	if (rc == 0)
		rc = check(j, &j->a, m, data, sound, e);
	if (rc == 0)
		rc = check(j, &j->b, m, data, sound, e);
	npz_free(data);
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

static void help(void)
{
	(void)printf("usage: seqmsed compare A.encodings B.encodings [--model MODEL.onnx --calib CALIB.npz [options]]\n"
	             "\n"
	             "Says how two encodings files, of whatever version, differ: in names, bit widths, symmetry, counts, offsets, and\n"
	             "scales (by more than %g relative). Exit status 0: equal, 1: they differ or one cannot be read, 2: usage.\n"
	             "\n"
	             "With a model and the calibration data, each file's weights are also held against a search that follows them:\n"
	             "a channel's scale must be the one the search chooses, or tie with it (losses, in double precision, within 1e-5).\n"
	             "Then the exit status says whether that holds for both files. Options are those of the search:\n\n",
	             tolerance);
	cli_args_print_params();
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
		help();
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
