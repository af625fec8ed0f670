/* The model's graph as ops: who reads what, in which order the reference walks them. */

#include "core/base/names.h"
#include "core/quantsim/quantsim_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool quantsim_op_is(const struct quantsim_op *op, const char *type)
{
	return !*op->domain && strcmp(op->type, type) == 0;
}

/* ---- ops ---- */

/* One op a node. */
static int nodes_as_ops(const struct onnx_model *m, struct quantsim_op *ops, int *op_of_node, int *numbers)
{
	int n = onnx_model_nodes(m);
	for (int i = 0; i < n; i++) {
		const struct onnx_node *node = onnx_model_node(m, i);
		numbers[i] = op_of_node[i] = i;
		ops[i] = (struct quantsim_op){.name = node->name,
		                              .type = node->op_type,
		                              .domain = node->domain,
		                              .nodes = &numbers[i],
		                              .nnodes = 1,
		                              .inputs = node->inputs,
		                              .ninputs = node->ninputs,
		                              .outputs = node->outputs,
		                              .noutputs = node->noutputs};
	}
	return n;
}

/* Counts, for each value, the inputs of living ops that read it and the outputs of the graph that it is. */
static int *count_uses(const struct onnx_model *m, const struct quantsim_op *ops, int nops)
{
	int *uses = calloc((size_t)onnx_model_values(m) + 1, sizeof *uses);
	for (int i = 0; uses && i < nops; i++) {
		const struct onnx_node *node = onnx_model_node(m, i);
		for (int k = 0; k < ops[i].ninputs && ops[i].type; k++)
			if (ops[i].inputs[k] >= 0)
				uses[ops[i].inputs[k]]++;
		for (int k = 0; k < node->ncaptured && ops[i].type && !ops[i].fused; k++)
			uses[node->captured[k]]++;
	}
	for (int v = 0; uses && v < onnx_model_values(m); v++)
		uses[v] += onnx_model_value(m, v)->is_output;
	return uses;
}

/* Outputs that may be left out, by type: from this one on. */
static int first_optional_output(const struct onnx_model *m, const struct quantsim_op *op)
{
	static const struct {
		const char *type;
		int first;
	} table[] = {{"MaxPool", 1}, {"Dropout", 1}, {"LayerNormalization", 1}, {"Unique", 1}, {"Attention", 1}, {"RNN", 0},
	             {"GRU", 0},     {"LSTM", 0}};
	bool inference_norm = quantsim_op_is(op, "BatchNormalization") && onnx_model_opset(m) >= 14 &&
	                      onnx_attr_int(m, op->nodes[0], "training_mode", 0) == 0;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (!op->fused && quantsim_op_is(op, table[i].type))
			return table[i].first;
	return inference_norm ? 1 : op->noutputs;
}

/* Leaves out the outputs that nothing reads and that may be left out. */
static int drop_outputs(const struct onnx_model *m, struct quantsim_own *own, struct quantsim_op *op, const int *uses,
                        struct err *e)
{
	int first = first_optional_output(m, op);
	bool drops = false;
	for (int k = first; k < op->noutputs; k++)
		drops = drops || (op->outputs[k] >= 0 && uses[op->outputs[k]] == 0);
	if (!drops)
		return 0;
	int *left = quantsim_own_list(own, op->outputs, op->noutputs);
	if (!left)
		return err_nomem(e, "the graph");
	for (int k = first; k < op->noutputs; k++)
		left[k] = left[k] >= 0 && uses[left[k]] == 0 ? -1 : left[k];
	while (op->noutputs && left[op->noutputs - 1] < 0)
		op->noutputs--;
	op->outputs = left;
	return 0;
}

static bool is_needed(const struct quantsim_op *op, const int *uses)
{
	for (int k = 0; k < op->noutputs; k++)
		if (op->outputs[k] >= 0 && uses[op->outputs[k]] > 0)
			return true;
	return false;
}

static void drop_op(const struct onnx_model *m, struct quantsim_op *op, int *uses)
{
	const struct onnx_node *node = onnx_model_node(m, op->nodes[0]);
	for (int k = 0; k < op->ninputs; k++)
		if (op->inputs[k] >= 0)
			uses[op->inputs[k]]--;
	for (int k = 0; k < node->ncaptured && !op->fused; k++)
		uses[node->captured[k]]--;
	op->type = NULL;
}

/* Fusion leaves constants that nothing reads any more. The reference then drops whatever leads nowhere (and only then). */
static int prune(const struct onnx_model *m, struct quantsim_own *own, struct quantsim_op *ops, int nops, struct err *e)
{
	int *uses = count_uses(m, ops, nops), rc = 0;
	if (!uses)
		return err_nomem(e, "the graph");
	for (int i = nops - 1; i >= 0 && !rc; i--)
		if (ops[i].type && !is_needed(&ops[i], uses))
			drop_op(m, &ops[i], uses);
		else if (ops[i].type)
			rc = drop_outputs(m, own, &ops[i], uses, e);
	free(uses);
	return rc;
}

/* Closes the gaps that fused and dropped ops left. */
static int compact(struct quantsim_op *ops, int nops, int *op_of_node, int nnodes, struct err *e)
{
	int *moved = malloc(((size_t)nops + 1) * sizeof *moved), n = 0;
	if (!moved) {
		err_nomem(e, "the graph");
		return -1;
	}
	for (int i = 0; i < nops; i++) {
		moved[i] = ops[i].type ? n : -1;
		if (ops[i].type)
			ops[n++] = ops[i];
	}
	for (int i = 0; i < nnodes; i++)
		op_of_node[i] = op_of_node[i] < 0 ? -1 : moved[op_of_node[i]];
	free(moved);
	return n;
}

/* ---- names of fused ops ---- */

/* The part of its nodes' names before the last "/" that all share (those without "/" are not asked); its length, 0 where there is none. */
static size_t common_root(const struct onnx_model *m, const struct quantsim_op *op, const char **root)
{
	size_t len = 0;
	*root = NULL;
	for (int i = 0; i < op->nnodes; i++) {
		const struct onnx_node *node = onnx_model_node(m, op->nodes[i]);
		const char *slash = strrchr(node->name, '/');
		if (!slash)
			continue;
		size_t n = (size_t)(slash - node->name);
		if (*root && (n != len || memcmp(*root, node->name, n) != 0))
			return 0;
		*root = node->name;
		len = n;
	}
	return len;
}

static bool taken(const struct quantsim_op *ops, int nops, const char *name)
{
	for (int i = 0; i < nops; i++)
		if (strcmp(ops[i].name, name) == 0)
			return true;
	return false;
}

/* base, or base_1, base_2, …: the first that no op has. */
static char *free_name(const struct quantsim_op *ops, int nops, const char *base)
{
	size_t room = strlen(base) + 16;
	char *name = malloc(room);
	if (!name)
		return NULL;
	(void)snprintf(name, room, "%s", base);
	for (int k = 1; taken(ops, nops, name); k++)
		(void)snprintf(name, room, "%s_%d", base, k);
	return name;
}

/* Gives a fused op the name of the module that its nodes come from: "/encoder/fc" for "/encoder/fc/MatMul" and "/encoder/fc/Add". Where
 * several share it, the type is added. roots[i] is NULL where an op has none. */
static int name_fused(const struct onnx_model *m, struct quantsim_op *ops, int nops, struct quantsim_names *names, char **roots,
                      struct err *e)
{
	for (int i = 0; i < nops; i++) {
		const char *root;
		size_t len = ops[i].fused ? common_root(m, &ops[i], &root) : 0;
		if (len && !(roots[i] = strndup(root, len)))
			return err_nomem(e, "names of fused ops");
		if (roots[i] && taken(ops, nops, roots[i])) {
			free(roots[i]);
			roots[i] = NULL;
		}
	}
	for (int i = 0; i < nops; i++) {
		int sharers = 0;
		for (int k = 0; k < nops && roots[i]; k++)
			sharers += roots[k] && strcmp(roots[k], roots[i]) == 0;
		if (!sharers)
			continue;
		char base[1024];
		(void)snprintf(base, sizeof base, sharers > 1 ? "%s/%s" : "%s", roots[i], ops[i].type);
		char **v = realloc(names->v, (size_t)(names->n + 1) * sizeof *v);
		if (v)
			names->v = v;
		if (!v || !(v[names->n] = free_name(ops, nops, base)))
			return err_nomem(e, "names of fused ops");
		ops[i].name = names->v[names->n++];
	}
	return 0;
}

static int rename_fused(const struct onnx_model *m, struct quantsim_op *ops, int nops, struct quantsim_names *names, struct err *e)
{
	char **roots = calloc((size_t)nops + 1, sizeof *roots);
	int rc = roots ? name_fused(m, ops, nops, names, roots, e) : err_nomem(e, "names of fused ops");
	for (int i = 0; roots && i < nops; i++)
		free(roots[i]);
	free(roots);
	return rc;
}

/* ---- readers and order ---- */

static int list_readers(struct quantsim_work *w, struct err *e)
{
	const struct onnx_model *m = w->qs->model;
	int nvalues = onnx_model_values(m);
	w->first_reader = calloc((size_t)nvalues + 2, sizeof *w->first_reader);
	if (!w->first_reader)
		return err_nomem(e, "the graph");
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < w->qs->nops; i++) {
			const struct quantsim_op *op = &w->ops[i];
			const struct onnx_node *node = onnx_model_node(m, op->nodes[0]);
			int ncaptured = op->fused ? 0 : node->ncaptured;
			for (int k = 0; k < op->ninputs + ncaptured; k++) {
				int v = k < op->ninputs ? op->inputs[k] : node->captured[k - op->ninputs];
				if (v >= 0 && pass)
					w->readers[w->first_reader[v + 1]++] = i;
				else if (v >= 0)
					w->first_reader[v + 2]++;
			}
		}
		for (int v = 0; v < nvalues && !pass; v++)
			w->first_reader[v + 2] += w->first_reader[v + 1];
		if (!pass && !(w->readers = calloc((size_t)w->first_reader[nvalues + 1] + 1, sizeof *w->readers)))
			return err_nomem(e, "the graph");
	}
	return 0;
}

/* Puts the readers of an op's outputs that are not done on the stack, the first on top; returns how many. */
static int push_readers(const struct quantsim_work *w, int op, const bool *done, int *stack)
{
	int n = 0;
	for (int k = w->ops[op].noutputs - 1; k >= 0; k--) {
		int v = w->ops[op].outputs[k];
		for (int r = v < 0 ? -1 : w->first_reader[v + 1] - 1; v >= 0 && r >= w->first_reader[v]; r--)
			if (!done[w->readers[r]])
				stack[n++] = w->readers[r];
	}
	return n;
}

static bool starts_here(const struct quantsim_work *w, int op)
{
	for (int k = 0; k < w->ops[op].ninputs; k++)
		if (quantsim_maker(w->qs, w->ops[op].inputs[k]) >= 0)
			return false;
	return true;
}

/* Depth first from the ops that read nothing made by an op; an op stands before all that read it, and the branch that is met first comes first. */
static int order_ops(struct quantsim_work *w, struct err *e)
{
	int nops = w->qs->nops, top = 0, edges = w->first_reader[onnx_model_values(w->qs->model)];
	int *stack = calloc((size_t)nops + (size_t)edges + 1, sizeof *stack);
	bool *done = calloc((size_t)nops + 1, sizeof *done);
	w->order = calloc((size_t)nops + 1, sizeof *w->order);
	if (!stack || !done || !w->order) {
		free(stack);
		free(done);
		return err_nomem(e, "the graph");
	}
	for (int i = nops - 1; i >= 0; i--)
		if (!quantsim_op_is(&w->ops[i], "Constant") && starts_here(w, i))
			stack[top++] = i;
	while (top) {
		int op = stack[top - 1], n = push_readers(w, op, done, stack + top);
		top += n;
		if (n)
			continue;
		top--;
		if (!done[op])
			w->order[w->norder++] = op;
		done[op] = true;
	}
	for (int i = 0; i < w->norder / 2; i++) {
		int other = w->order[w->norder - 1 - i];
		w->order[w->norder - 1 - i] = w->order[i];
		w->order[i] = other;
	}
	free(stack);
	free(done);
	return 0;
}

static void note_producers(struct quantsim_work *w, int *producer_op)
{
	for (int v = 0; v < onnx_model_values(w->qs->model); v++)
		producer_op[v] = -1;
	for (int i = 0; i < w->qs->nops; i++)
		for (int k = 0; k < w->ops[i].noutputs && !quantsim_op_is(&w->ops[i], "Constant"); k++)
			if (w->ops[i].outputs[k] >= 0)
				producer_op[w->ops[i].outputs[k]] = i;
}

int quantsim_graph(struct quantsim_work *w, struct err *e)
{
	struct quantsim *qs = w->qs;
	const struct onnx_model *m = qs->model;
	int nnodes = onnx_model_nodes(m);
	bool any = false;
	struct quantsim_own *own = qs->own;
	own->node_numbers = malloc(((size_t)nnodes + 1) * sizeof *own->node_numbers);
	own->ops = w->ops = calloc((size_t)nnodes + 1, sizeof *w->ops);
	own->op_of_node = malloc(((size_t)nnodes + 1) * sizeof *own->op_of_node);
	own->producer_op = malloc(((size_t)onnx_model_values(m) + 1) * sizeof *own->producer_op);
	if (!own->node_numbers || !w->ops || !own->op_of_node || !own->producer_op)
		return err_nomem(e, "the graph");
	qs->ops = w->ops;
	qs->op_of_node = own->op_of_node;
	qs->producer_op = own->producer_op;
	qs->nops = nodes_as_ops(m, w->ops, own->op_of_node, own->node_numbers);
	if (quantsim_fuse(m, qs->types, w->config->passes, w->config->npasses, w->ops, qs->nops, own->op_of_node, &any, &own->names,
	                  e) < 0)
		return -1;
	if (any && prune(m, own, w->ops, qs->nops, e))
		return -1;
	qs->nops = compact(w->ops, qs->nops, own->op_of_node, nnodes, e);
	if (qs->nops < 0 || rename_fused(m, w->ops, qs->nops, &own->names, e))
		return -1;
	note_producers(w, own->producer_op);
	return list_readers(w, e) || order_ops(w, e) ? -1 : 0;
}
