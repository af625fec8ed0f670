#include "core/encodings/moved_encodings.h"

#include "core/quantsim/quantsim.h"

#include <stdlib.h>
#include <string.h>

/* Where an encoding stands in the list; lists grow while one is added, so there are no pointers to keep. */
struct place {
	bool known, activation;
	size_t at;
};

struct moves {
	struct encodings *x;
	const struct quantsim *qs;
	struct place *of; /* [values] */
	int *readers;     /* [values]: inputs of ops that it is */
};

static const struct encoding *entry(const struct moves *m, int value)
{
	const struct place *p = &m->of[value];
	return !p->known ? NULL : p->activation ? &m->x->activations[p->at] : &m->x->params[p->at];
}

static bool same(const struct encoding *a, const struct encoding *b)
{
	if (!a || !b || a->mode.bw != b->mode.bw || a->mode.symmetric != b->mode.symmetric || a->is_param != b->is_param)
		return false;
	if (a->granularity != b->granularity || a->channel_axis != b->channel_axis || a->block_size != b->block_size ||
	    a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->grids[i].delta != b->grids[i].delta || a->grids[i].offset != b->grids[i].offset)
			return false;
	return true;
}

/* ---- ops ---- */

/* Which inputs of an op that moves data are data, as a set of bits; 0: it is none. The last bit stands for all that follow. Outputs other than the
 * first are indices or masks, but for Split. */
static unsigned data_inputs(const struct quantsim_op *op)
{
	static const struct {
		const char *type;
		unsigned inputs;
	} more[] = {{"Concat", ~0u},  {"Max", ~0u},           {"Min", ~0u},   {"Clip", ~0u},     {"Where", 6},  {"Pad", 5},
	            {"ScatterND", 5}, {"ScatterElements", 5}, {"Scatter", 5}, {"MaxRoiPool", 3}, {"Dropout", 3}};
	if (*op->domain)
		return 0;
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		if (strcmp(op->type, more[i].type) == 0)
			return more[i].inputs;
	return quantsim_keeps_grid(op->type, op->domain);
}

static bool is_data(unsigned inputs, int i)
{
	return inputs >> (i < 31 ? i : 31) & 1;
}

static int data_outputs(const struct quantsim_op *op)
{
	if (strcmp(op->type, "NonZero") == 0 || strcmp(op->type, "SplitToSequence") == 0)
		return 0;
	return strcmp(op->type, "Split") == 0 || op->noutputs == 0 ? op->noutputs : 1;
}

/* ---- moving ---- */

static bool moves_forward(const struct moves *m, const struct quantsim_op *op, unsigned inputs)
{
	int first = -1;
	for (int i = 0; i < op->ninputs; i++) {
		if (!is_data(inputs, i))
			continue;
		if (first < 0)
			first = i;
		else if (strcmp(op->type, "Pad") != 0 && (op->inputs[i] < 0 || op->inputs[first] < 0 ||
		                                          !same(entry(m, op->inputs[first]), entry(m, op->inputs[i]))))
			return false;
	}
	return first >= 0;
}

static bool moves_backward(const struct moves *m, const struct quantsim_op *op, int outputs)
{
	for (int i = 1; i < outputs; i++)
		if (op->outputs[i] < 0 || op->outputs[0] < 0 || !same(entry(m, op->outputs[0]), entry(m, op->outputs[i])))
			return false;
	return true;
}

static int add(struct moves *m, int to, int from, struct err *e)
{
	struct encoding copy = *entry(m, from);
	copy.derived = true;
	if (encodings_add(m->x, true, onnx_model_value(m->qs->model, to)->name, &copy, e) != 0)
		return -1;
	m->of[to] = (struct place){true, true, m->x->nactivations - 1};
	return 0;
}

static bool can_move(const struct moves *m, int value)
{
	const struct encoding *x = value < 0 ? NULL : entry(m, value);
	return x && x->granularity == QUANT_PER_TENSOR;
}

static int move_back(struct moves *m, const struct quantsim_op *op, unsigned inputs, int outputs, struct err *e)
{
	for (int i = 0; i < op->ninputs; i++) {
		int in = op->inputs[i];
		for (int k = 0; k < outputs && in >= 0 && is_data(inputs, i); k++)
			if (!entry(m, in) && can_move(m, op->outputs[k]) && m->readers[in] <= 1 &&
			    add(m, in, op->outputs[k], e) != 0)
				return -1;
	}
	return 0;
}

/* Both directions judge by what is known before. */
static int move(struct moves *m, const struct quantsim_op *op, struct err *e)
{
	unsigned inputs = data_inputs(op);
	int outputs = data_outputs(op), first = 0;
	if (!inputs || op->ninputs == 0)
		return 0;
	while (first < op->ninputs - 1 && !is_data(inputs, first))
		first++;
	bool forward = can_move(m, op->inputs[first]) && moves_forward(m, op, inputs);
	if (moves_backward(m, op, outputs) && move_back(m, op, inputs, outputs, e) != 0)
		return -1;
	for (int k = 0; k < outputs && forward; k++)
		if (op->outputs[k] >= 0 && !entry(m, op->outputs[k]) && add(m, op->outputs[k], op->inputs[first], e) != 0)
			return -1;
	return 0;
}

/* ---- all ---- */

static void place_list(struct moves *m, const struct encoding *list, size_t n, bool activation)
{
	for (size_t i = 0; i < n; i++) {
		int value = onnx_model_find(m->qs->model, list[i].name);
		if (value >= 0 && !list[i].is_float16)
			m->of[value] = (struct place){true, activation, i};
	}
}

static void count_readers(struct moves *m)
{
	for (int i = 0; i < m->qs->nops; i++)
		for (int k = 0; k < m->qs->ops[i].ninputs; k++)
			if (m->qs->ops[i].inputs[k] >= 0)
				m->readers[m->qs->ops[i].inputs[k]]++;
	for (int i = 0; i < onnx_model_nodes(m->qs->model); i++) {
		const struct onnx_node *n = onnx_model_node(m->qs->model, i);
		for (int k = 0; k < n->ncaptured; k++)
			m->readers[n->captured[k]]++;
	}
}

int moved_encodings_add(struct encodings *x, const struct quantsim *qs, struct err *e)
{
	size_t n = (size_t)onnx_model_values(qs->model) + 1;
	struct moves m = {x, qs, calloc(n, sizeof *m.of), calloc(n, sizeof *m.readers)};
	int rc = 0;
	if (!m.of || !m.readers) {
		rc = err_nomem(e, "encodings");
		goto out;
	}
	place_list(&m, x->params, x->nparams, false);
	place_list(&m, x->activations, x->nactivations, true);
	count_readers(&m);
	for (int i = 0; i < qs->nops && rc == 0; i++)
		rc = move(&m, &qs->ops[i], e);
	for (int i = qs->nops; i-- > 0 && rc == 0;)
		rc = move(&m, &qs->ops[i], e);
out:
	free(m.of);
	free(m.readers);
	return rc;
}
