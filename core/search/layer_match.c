#include "core/search/layer_match.h"

#include <fnmatch.h>
#include <string.h>

static const struct quantsim_op *op_of(const struct quantsim *qs, const struct layer *l)
{
	return qs ? &qs->ops[qs->op_of_node[l->node]] : NULL;
}

bool layer_match_name(const struct onnx_model *m, const struct quantsim *qs, const struct layer *l, const char *glob)
{
	const struct quantsim_op *op = op_of(qs, l);
	return fnmatch(glob, onnx_model_node(m, l->node)->name, 0) == 0 || (op && fnmatch(glob, op->name, 0) == 0);
}

bool layer_match_type(const struct quantsim *qs, const struct layer *l, const char *op_type)
{
	const struct quantsim_op *op = op_of(qs, l);
	return strcmp(op_type, layer_op_name(l->op)) == 0 || (op && strcmp(op_type, op->type) == 0);
}

static size_t common_prefix(const char *a, const char *b)
{
	size_t n = 0;
	while (a[n] && a[n] == b[n])
		n++;
	return n;
}

struct nearest {
	const char *name;
	size_t len;
};

static void offer(struct nearest *best, const char *glob, const char *name)
{
	size_t len = common_prefix(glob, name) + 1;
	if (len > best->len)
		*best = (struct nearest){name, len};
}

int layer_match_nothing(const struct onnx_model *m, const struct quantsim *qs, const struct layer *layers, int n, const char *glob,
                        struct err *e)
{
	struct nearest best = {"", 0};
	for (int i = 0; i < n; i++) {
		const struct quantsim_op *op = op_of(qs, &layers[i]);
		offer(&best, glob, onnx_model_node(m, layers[i].node)->name);
		if (op)
			offer(&best, glob, op->name);
	}
	return err_set(e, ERR_BAD_PARAM,
	               "no Conv, Gemm or MatMul matches \"%s\"; the nearest is \"%s\" (seqmsed inspect lists all)", glob,
	               best.name);
}
