#ifndef SEQMSE_QUANTSIM_PARTS_H
#define SEQMSE_QUANTSIM_PARTS_H

/* What the files quantsim*.c share while a simulation's rules are built, in this order: fuse, graph, place, apply, supergroups, passes,
 * exceptions, tie.
 *
 * While building, quantizers[i].shares says which entry of the array holds the facts of quantizer i; rules go through quantsim_at(), which follows it. At the end all
 * entries get the facts of the one they share.
 */

#include "core/quantsim/quantsim.h"
#include "core/quantsim/quantsim_config.h"
#include "core/run/value_types.h"

struct quantsim_param_use {
	int op, value;
	const char *type;
	bool transposed;
};

struct quantsim_work {
	struct quantsim *qs;
	struct quantsim_op *ops; /* qs->ops */
	int *of_value;           /* qs->of_value */
	const struct quantsim_config *config;
	/* Who reads a value: one entry an input, so that x * x counts twice; reads by the bodies of If, Loop and Scan count once. readers[first_reader[v] ..
	 * first_reader[v + 1]) are ops. */
	int *first_reader, *readers;
	int *order; /* the ops depth first, as the reference walks them; without Constant */
	int norder;
	struct quantsim_param_use *params; /* op by op */
	int nparams;
	int *first_param; /* [nops + 1] into params */
};

/* The names of fused ops. */
struct quantsim_names {
	char **v;
	int n;
};

/* The memory behind a struct quantsim. */
struct quantsim_own {
	int *node_numbers, *op_of_node, *producer_op, *of_value;
	struct quantsim_op *ops;
	struct quantsim_names names;
	int **lists; /* of values, changed from the model's */
	int nlists;
	struct quantsim_param_use *params; /* op by op: */
	int *first_param;                  /* [nops + 1] */
};

/* A copy of a list of n values that lives as long as own; NULL: no memory. */
int *quantsim_own_list(struct quantsim_own *own, const int *list, int n);

/* quantsim_fuse.c: rewrites ops, [nops] as one a node, in place: the last op of a match becomes the fused one, the others get type NULL. op_of_node
 * follows. The names of fused ops are made and owned by *names. */
int quantsim_fuse(const struct onnx_model *m, const struct value_types *types, const enum quantsim_pass *passes, size_t npasses,
                  struct quantsim_op *ops, int nops, int *op_of_node, bool *any, struct quantsim_names *names, struct err *e);

/* quantsim_graph.c: makes qs->ops out of the nodes, and who reads what. */
int quantsim_graph(struct quantsim_work *w, struct err *e);

/* quantsim_place.c: the quantizers themselves. */
int quantsim_place(struct quantsim_work *w, struct err *e);

/* quantsim_apply.c: the configuration's settings from the general to the special. */
int quantsim_apply(struct quantsim_work *w, const struct quantsim_settings *s, struct err *e);
void quantsim_supergroups(struct quantsim_work *w, const bool *may_not_begin,
                          bool *in_group);                       /* quantsim_supergroups.c; both [nops] */
void quantsim_find_passes(struct quantsim_work *w, bool *found); /* quantsim_passes.c: ops of patterns that no fusion took */
void quantsim_apply_passes(struct quantsim_work *w);             /* … and their settings */
void quantsim_exceptions(struct quantsim_work *w);
int quantsim_tie(struct quantsim_work *w, struct err *e);

/* The quantizer that stands for a value's, or NULL. */
static inline struct quantsim_quantizer *quantsim_at(const struct quantsim *qs, int value)
{
	int q = value < 0 ? -1 : qs->of_value[value];
	return q < 0 ? NULL : &qs->quantizers[qs->quantizers[q].shares];
}

/* The op that makes a value and counts as one: not a Constant. -1: none. */
static inline int quantsim_maker(const struct quantsim *qs, int value)
{
	return value < 0 ? -1 : qs->producer_op[value];
}

bool quantsim_op_is(const struct quantsim_op *op, const char *type); /* of the default domain, or fused */

/* The way from a value's producer up to the enabled quantizer whose grid it lies on, not counting a quantizer of the value's own. Fills path (NULL: nothing) with at most max ops,
 * the nearest first, and returns how many there are; *quantizer is its index, -1 where there is none. */
int quantsim_path(const struct quantsim *qs, int value, int *path, int max, int *quantizer);

#endif
