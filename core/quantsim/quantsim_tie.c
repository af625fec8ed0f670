/* Tensors that hardware keeps on one grid: the inputs and the output of Concat, the input and the output of Relu and pooling, the states of a recurrent
 * op. Their quantizers become one. */

#include "core/quantsim/quantsim_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool in_list(const char *type, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(type, *list) == 0)
			return true;
	return false;
}

static bool joins(const struct quantsim_op *op)
{
	return quantsim_joins_grids(op->type, op->domain);
}

static bool passes_on(const struct quantsim_op *op)
{
	static const char *const types[] = {"AveragePool", "Relu", "Resize", "Upsample", NULL};
	return in_list(op->type, types);
}

static bool same_range(const struct quantsim_quantizer *a, const struct quantsim_quantizer *b)
{
	if (!a->constrained || !b->constrained)
		return a->constrained == b->constrained;
	return a->constraint_min == b->constraint_min && a->constraint_max == b->constraint_max;
}

/* ---- backwards: what flows into a Concat lies on its output's grid ---- */

enum { MAX_PATH = 64 };

struct tie {
	struct quantsim_work *w;
	int *stack, top;
	int *scratch;                    /* [nops] */
	bool *visited;                   /* [nops] */
	int *sources, nsources;          /* values whose quantizer is to become the output's */
	struct quantsim_quantizer range; /* the sources' common range … */
	int nranges;                     /* … if they agree: 1; 2 for any number of different ones */
	bool *marked;                    /* [nops], scratch */
};

static void mark_readers(struct tie *t, int value, int *marked, int *n)
{
	const struct quantsim_work *w = t->w;
	for (int r = w->first_reader[value]; r < w->first_reader[value + 1]; r++)
		if (!t->marked[w->readers[r]]) {
			t->marked[w->readers[r]] = true;
			marked[(*n)++] = w->readers[r];
		}
}

/* How many ops read the source, or anything on the way from it to here. Only 0, 1 and more matter. */
static int count_readers(struct tie *t, int source, const int *path, int npath)
{
	const struct quantsim_work *w = t->w;
	int *marked = t->scratch, n = 0, outside;
	mark_readers(t, source, marked, &n);
	for (int i = 0; i < npath; i++)
		for (int k = 0; k < w->ops[path[i]].noutputs; k++)
			if (w->ops[path[i]].outputs[k] >= 0)
				mark_readers(t, w->ops[path[i]].outputs[k], marked, &n);
	outside = n;
	for (int i = 0; i < npath; i++)
		outside -= t->marked[path[i]];
	for (int i = 0; i < n; i++)
		t->marked[marked[i]] = false;
	return outside;
}

static void note_range(struct tie *t, const struct quantsim_quantizer *q)
{
	if (t->nranges == 0) {
		t->range = *q;
		t->nranges = 1;
	} else if (!same_range(&t->range, q))
		t->nranges = 2;
}

static void collect_input(struct tie *t, int value)
{
	const struct quantsim *qs = t->w->qs;
	int path[MAX_PATH], unused;
	if (value < 0 || !value_types_is_float(qs->types, value))
		return;
	int q = quantsim_effective(qs, value);
	/* A quantizer that was tied before is known by the tensor that it was made for. */
	int source = q < 0 ? value : qs->quantizers[qs->quantizers[q].shares].value;
	if (q >= 0)
		note_range(t, &qs->quantizers[qs->quantizers[q].shares]);
	int npath = quantsim_path(qs, value, path, MAX_PATH, &unused);
	if (unused < 0)
		npath = 0;
	if (count_readers(t, source, path, npath) > 1)
		return;
	if (q >= 0)
		t->sources[t->nsources++] = source;
	int maker = quantsim_maker(qs, value);
	if (maker >= 0 && (joins(&qs->ops[maker]) || quantsim_keeps_grid(qs->ops[maker].type, qs->ops[maker].domain)))
		t->stack[t->top++] = maker;
}

static void collect(struct tie *t, int op)
{
	t->nsources = t->nranges = 0;
	t->stack[0] = op;
	t->top = 1;
	while (t->top) {
		op = t->stack[--t->top];
		if (t->visited[op])
			continue;
		t->visited[op] = true;
		for (int k = 0; k < t->w->ops[op].ninputs; k++)
			collect_input(t, t->w->ops[op].inputs[k]);
	}
}

static void tie_joined(struct tie *t, int op)
{
	struct quantsim *qs = t->w->qs;
	int value = t->w->ops[op].noutputs ? t->w->ops[op].outputs[0] : -1;
	struct quantsim_quantizer *out = quantsim_at(qs, value);
	if (!out)
		return;
	collect(t, op);
	if (t->nranges == 1) {
		out->constrained = t->range.constrained;
		out->constraint_min = t->range.constraint_min;
		out->constraint_max = t->range.constraint_max;
	}
	int shared = qs->quantizers[qs->of_value[value]].shares;
	bool keep = t->nranges != 1; /* where ranges differ, those that are given stay as they are */
	for (int i = 0; i < t->nsources; i++) {
		struct quantsim_quantizer *slot = &qs->quantizers[qs->of_value[t->sources[i]]];
		if (!(keep && qs->quantizers[slot->shares].constrained))
			slot->shares = shared;
	}
}

static int tie_backwards(struct quantsim_work *w, struct err *e)
{
	struct tie t = {.w = w};
	int nops = w->qs->nops, edges = w->first_reader[onnx_model_values(w->qs->model)];
	t.stack = calloc((size_t)edges + 2, sizeof *t.stack);
	t.scratch = calloc((size_t)nops + 1, sizeof *t.scratch);
	t.sources = calloc((size_t)edges + 1, sizeof *t.sources);
	t.visited = calloc((size_t)nops + 1, sizeof *t.visited);
	t.marked = calloc((size_t)nops + 1, sizeof *t.marked);
	int rc = -1;
	if (!t.stack || !t.scratch || !t.sources || !t.visited || !t.marked) {
		err_nomem(e, "shared quantizers");
		goto out;
	}
	for (int i = w->norder - 1; i >= 0; i--)
		if (joins(&w->ops[w->order[i]]))
			tie_joined(&t, w->order[i]);
	rc = 0;
out:
	free(t.stack);
	free(t.scratch);
	free(t.sources);
	free(t.visited);
	free(t.marked);
	return rc;
}

/* ---- forwards: what comes out of a Relu lies on its input's grid ---- */

/* Whether something besides this op reads the tensors between the input and the quantizer whose grid it lies on. */
static bool has_side_readers(const struct quantsim_work *w, int value)
{
	const struct quantsim *qs = w->qs;
	int path[MAX_PATH], q = qs->of_value[value], npath = 0;
	if (q < 0 || !qs->quantizers[qs->quantizers[q].shares].enabled)
		npath = quantsim_path(qs, value, path, MAX_PATH, &q);
	for (int i = 0; i < npath; i++) {
		int v = qs->ops[path[i]].outputs[0];
		if (v >= 0 && qs->of_value[v] < 0 && w->first_reader[v + 1] - w->first_reader[v] != 1)
			return true;
	}
	return q >= 0 && w->first_reader[qs->quantizers[q].value + 1] - w->first_reader[qs->quantizers[q].value] != 1;
}

static int different_ranges(const struct quantsim_work *w, int op, const struct quantsim_quantizer *a,
                            const struct quantsim_quantizer *b, struct err *e)
{
	return err_set(e, ERR_UNSUPPORTED_GRAPH,
	               "%s has one grid for its input and its output, but the configuration fixes different ranges for them: %g to "
	               "%g and %g to %g",
	               w->ops[op].name, a->constraint_min, a->constraint_max, b->constraint_min, b->constraint_max);
}

/* Makes in satisfy what out asked for, too. */
static void merge(struct quantsim_quantizer *in, const struct quantsim_quantizer *out)
{
	in->mode.bw = out->mode.bw < in->mode.bw ? out->mode.bw : in->mode.bw;
	in->mode.symmetric = in->mode.symmetric || out->mode.symmetric;
	in->mode.unsigned_symmetric = in->mode.unsigned_symmetric || out->mode.unsigned_symmetric;
	if (!in->constrained && out->constrained) {
		in->constrained = true;
		in->constraint_min = out->constraint_min;
		in->constraint_max = out->constraint_max;
	}
	if (!in->constrained || !in->mode.symmetric)
		return;
	/* A symmetric range that is open at one end is open at both. */
	in->constrained = !isinf(in->constraint_max);
	double largest = fmax(fabs(in->constraint_min), fabs(in->constraint_max));
	in->constraint_min = -largest;
	in->constraint_max = largest;
}

static int tie_through(struct quantsim_work *w, int op, struct err *e)
{
	struct quantsim *qs = w->qs;
	int x = w->ops[op].ninputs ? w->ops[op].inputs[0] : -1, q = x < 0 ? -1 : quantsim_effective(qs, x);
	for (int k = 0; k < w->ops[op].noutputs && q >= 0; k++) {
		int in = qs->quantizers[q].shares;
		struct quantsim_quantizer *from = &qs->quantizers[in], *out = quantsim_at(qs, w->ops[op].outputs[k]);
		if (!out || !out->enabled || out == from || from->granularity != out->granularity)
			continue;
		if (out->constrained && !same_range(out, from) && has_side_readers(w, x))
			continue;
		if (out->constrained && from->constrained && !same_range(out, from))
			return different_ranges(w, op, from, out, e);
		merge(from, out);
		qs->quantizers[qs->of_value[w->ops[op].outputs[k]]].shares = in;
	}
	return 0;
}

/* ---- the states of recurrent ops ---- */

static void add_pair(int (*pairs)[2], int *n, int old, int new)
{
	int at = 0;
	while (at < *n && pairs[at][0] != old)
		at++;
	pairs[at][0] = old;
	pairs[at][1] = new;
	*n += at == *n;
}

static int shares_of(const struct quantsim *qs, int value)
{
	int q = value < 0 ? -1 : qs->of_value[value];
	return q < 0 ? -1 : qs->quantizers[q].shares;
}

/* Notes that what the tensor at that input lies on becomes what `with` is. */
static void pair_input(struct quantsim_work *w, const struct quantsim_op *op, int input, int with, int (*pairs)[2], int *n)
{
	int value = input < op->ninputs ? op->inputs[input] : -1, q = value < 0 ? -1 : quantsim_effective(w->qs, value);
	if (q >= 0 && with >= 0)
		add_pair(pairs, n, w->qs->quantizers[q].shares, with);
}

static void pair_states(struct quantsim_work *w, const struct quantsim_op *op, int (*pairs)[2], int *n)
{
	enum { X = 0, INITIAL_H = 5, INITIAL_C = 6 };
	int y = op->noutputs > 0 ? shares_of(w->qs, op->outputs[0]) : -1;
	int y_h = op->noutputs > 1 ? shares_of(w->qs, op->outputs[1]) : -1;
	int y_c = op->noutputs > 2 ? shares_of(w->qs, op->outputs[2]) : -1;
	pair_input(w, op, X, y, pairs, n);
	if (y >= 0 && y_h >= 0)
		add_pair(pairs, n, y_h, y);
	pair_input(w, op, INITIAL_H, y, pairs, n);
	if (quantsim_op_is(op, "LSTM"))
		pair_input(w, op, INITIAL_C, y_c, pairs, n);
}

static int tie_states(struct quantsim_work *w, struct err *e)
{
	static const char *const types[] = {"LSTM", "GRU", "RNN", NULL};
	struct quantsim *qs = w->qs;
	int(*pairs)[2] = calloc((size_t)qs->nops * 4 + 1, sizeof *pairs), n = 0;
	if (!pairs)
		return err_nomem(e, "shared quantizers");
	for (int i = 0; i < qs->nops; i++)
		if (in_list(w->ops[i].type, types))
			pair_states(w, &w->ops[i], pairs, &n);
	for (int p = 0; p < n; p++)
		for (int i = 0; i < qs->nquantizers; i++)
			if (qs->quantizers[i].shares == pairs[p][0])
				qs->quantizers[i].shares = pairs[p][1];
	free(pairs);
	return 0;
}

int quantsim_tie(struct quantsim_work *w, struct err *e)
{
	if (tie_backwards(w, e))
		return -1;
	for (int i = 0; i < w->norder; i++)
		if (passes_on(&w->ops[w->order[i]]) && tie_through(w, w->order[i], e))
			return -1;
	return tie_states(w, e);
}
