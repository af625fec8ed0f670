#include "core/run/slices.h"

#include "core/run/value_types.h"

#include <stdlib.h>
#include <string.h>

/* Fewer samples are not worth a run; and one alone is computed by other kernels, in which threads share a picture. */
enum { LEAST = 4 };

/* Of a tensor. Larger ones do not exist; it only keeps products in range. */
#define SAMPLE_BYTES ((int64_t)1 << 40)

/* ---- what keeps samples apart ---- */

struct look {
	const struct onnx_model *m;
	const struct value_types *t;
	bool exact;
};

static bool is_dynamic(const struct look *l, int value)
{
	return value >= 0 && !onnx_model_value(l->m, value)->is_static;
}

/* Bytes of a number; 0 for types that are rare, or not of whole bytes. */
static int64_t number_bytes(int elem_type)
{
	enum { FLOAT = 1, UINT8, INT8, INT32 = 6, INT64, BOOL = 9, DOUBLE = 11 };
	switch (elem_type) {
	case UINT8:
	case INT8:
	case BOOL:
		return 1;
	case FLOAT:
	case INT32:
		return 4;
	case INT64:
	case DOUBLE:
		return 8;
	default:
		return 0;
	}
}

/* Bytes for each sample of a tensor [samples, …]; 0 where it is none, or of unknown size. */
static int64_t sample_bytes(const struct look *l, int value)
{
	const int64_t *shape = l->t->shape[value];
	int64_t bytes = number_bytes(l->t->elem_type[value]);
	if (l->t->rank[value] < 1 || shape[0] >= 0)
		return 0;
	for (int i = 1; i < l->t->rank[value] && bytes; i++)
		bytes = shape[i] > 0 && shape[i] <= SAMPLE_BYTES / bytes ? bytes * shape[i] : 0;
	return bytes;
}

static bool is_among(const char *op, const char *const *names)
{
	while (*names && strcmp(op, *names) != 0)
		names++;
	return *names != NULL;
}

/* Only input 0 varies. */
static bool has_one_input(const struct look *l, const struct onnx_node *n)
{
	for (int i = 1; i < n->ninputs; i++)
		if (is_dynamic(l, n->inputs[i]))
			return false;
	return n->ninputs > 0 && is_dynamic(l, n->inputs[0]);
}

/* Whether a constant says the same to every sample of tensors with so many axes. */
static bool is_for_all(const struct look *l, int value, int rank)
{
	return l->t->rank[value] >= 0 && (l->t->rank[value] < rank || (l->t->rank[value] == rank && l->t->shape[value][0] == 1));
}

/* Element by element: samples stand beside each other. */
static bool are_aligned(const struct look *l, const struct onnx_node *n)
{
	int rank = l->t->rank[n->outputs[0]];
	for (int i = 0; i < n->ninputs; i++) {
		int v = n->inputs[i];
		if (v >= 0 && !(is_dynamic(l, v) ? l->t->rank[v] == rank : is_for_all(l, v, rank)))
			return false;
	}
	return true;
}

/* A matrix with the samples' rows times one that is the same for all of them, and Gemm's summand. */
static bool multiplies_rows(const struct look *l, int node)
{
	const struct onnx_node *n = onnx_model_node(l->m, node);
	if (l->exact || !has_one_input(l, n) || onnx_attr_int(l->m, node, "transA", 0) != 0)
		return false;
	int rank = l->t->rank[n->inputs[0]];
	for (int i = 1; i < n->ninputs; i++) {
		int v = n->inputs[i];
		bool is_matrix = v >= 0 && i == 1 && rank == 2 && l->t->rank[v] == 2;
		if (v >= 0 && !is_matrix && !is_for_all(l, v, rank))
			return false;
	}
	return rank >= 2;
}

/* Statistics of a batch, and chance. */
static bool is_training(const struct look *l, int node)
{
	const struct onnx_node *n = onnx_model_node(l->m, node);
	return (strcmp(n->op_type, "Dropout") == 0 && n->ninputs > 2) || onnx_attr_int(l->m, node, "training_mode", 0) != 0;
}

/* Whether the node treats each sample by itself. Of the functions of one number only those are among them that are rounded the same
 * wherever in a tensor the number is. */
static bool keeps_apart(const struct look *l, int node)
{
	static const char *const of_one[] = {"Abs",
	                                     "AveragePool",
	                                     "BatchNormalization",
	                                     "Cast",
	                                     "Clip",
	                                     "Conv",
	                                     "Dropout",
	                                     "GlobalAveragePool",
	                                     "GlobalMaxPool",
	                                     "HardSigmoid",
	                                     "HardSwish",
	                                     "Identity",
	                                     "LeakyRelu",
	                                     "MaxPool",
	                                     "Neg",
	                                     "Relu",
	                                     "Sigmoid",
	                                     "Tanh",
	                                     NULL};
	static const char *const of_all[] = {"Add", "Div", "Max", "Min", "Mul", "PRelu", "Sub", NULL};
	static const char *const of_rows[] = {"Gemm", "MatMul", NULL};
	const struct onnx_node *n = onnx_model_node(l->m, node);
	if (*n->domain || n->noutputs != 1 || n->outputs[0] < 0 || n->ncaptured || is_training(l, node))
		return false;
	if (is_among(n->op_type, of_one))
		return has_one_input(l, n);
	if (is_among(n->op_type, of_all))
		return are_aligned(l, n);
	if (is_among(n->op_type, of_rows))
		return multiplies_rows(l, node);
	if (strcmp(n->op_type, "Concat") == 0)
		return onnx_attr_int(l->m, node, "axis", 0) > 0 && are_aligned(l, n);
	return strcmp(n->op_type, "Flatten") == 0 && onnx_attr_int(l->m, node, "axis", 1) == 1;
}

/* Bytes of a sample in all that the node reads and makes; 0: unknown. */
static int64_t node_bytes(const struct look *l, const struct onnx_node *n)
{
	int64_t all = 0;
	for (int i = 0; i < n->ninputs + n->noutputs; i++) {
		int v = i < n->ninputs ? n->inputs[i] : n->outputs[i - n->ninputs];
		int64_t bytes = is_dynamic(l, v) ? sample_bytes(l, v) : 0;
		if (is_dynamic(l, v) && !bytes)
			return 0;
		all += bytes;
	}
	return all;
}

/* The runtime does not write an input that is an output, too. */
int64_t slices_ends(const struct onnx_model *m, const struct value_types *t)
{
	struct look l = {m, t, false};
	size_t nin = onnx_model_inputs(m), n = nin + onnx_model_outputs(m);
	int64_t all = 0;
	for (size_t i = 0; i < n; i++) {
		int v = onnx_model_find(m, (i < nin ? onnx_model_input(m, i) : onnx_model_output(m, i - nin))->name);
		bool is_end = is_dynamic(&l, v) && onnx_model_value(m, v)->is_input == (i < nin);
		int64_t bytes = is_end ? sample_bytes(&l, v) : 0;
		if (!bytes)
			return 0;
		all += bytes;
	}
	return all;
}

int64_t slices_rows(const struct onnx_model *m, const struct value_types *t, const int *nodes, size_t nnodes, bool exact)
{
	struct look l = {m, t, exact};
	size_t n = nodes ? nnodes : (size_t)onnx_model_nodes(m);
	int64_t most = 0;
	if (!t || (!nodes && !slices_ends(m, t)))
		return 0;
	for (size_t i = 0; i < n; i++) {
		int node = nodes ? nodes[i] : (int)i;
		if (onnx_model_node(m, node)->is_static)
			continue;
		int64_t bytes = keeps_apart(&l, node) ? node_bytes(&l, onnx_model_node(m, node)) : 0;
		if (!bytes)
			return 0;
		most = bytes > most ? bytes : most;
	}
	int64_t rows = most ? SLICES_BYTES / most : 0;
	return most && rows < LEAST ? LEAST : rows;
}

/* ---- running ---- */

int64_t slices_count(int64_t rows, int64_t samples)
{
	return rows && samples > rows ? (samples + rows - 1) / rows : 1;
}

int64_t slices_largest(int64_t rows, int64_t samples)
{
	int64_t n = slices_count(rows, samples);
	return (samples + n - 1) / n;
}

static int64_t samples_of(struct ort *o, const struct ort_value *v)
{
	struct ort_info info;
	struct err ignored = ERR_INIT;
	return ort_value_info(o, v, &info, &ignored) || info.rank < 1 ? 0 : info.shape[0];
}

/* The samples of a batch; 0 where inputs do not have equally many. */
static int64_t samples_of_all(struct ort *o, struct ort_value *const *in, size_t nin)
{
	int64_t samples = nin ? samples_of(o, in[0]) : 0;
	for (size_t i = 1; i < nin; i++)
		samples = samples_of(o, in[i]) == samples ? samples : 0;
	return samples;
}

struct work {
	struct ort *o;
	struct ort_session *s;
	const char *const *in_names, *const *out_names;
	struct ort_value *const *in, **out;
	size_t nin, nout;
	struct ort_value **in_part, **out_part;
	int64_t samples;
};

/* Windows on the samples from `first` on; what could not be had is NULL. */
static int open_windows(const struct work *w, struct ort_value *const *all, size_t n, int64_t first, int64_t count,
                        struct ort_value **parts, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < n; i++) {
		parts[i] = rc ? NULL : ort_tensor_part(w->o, all[i], first, count, e);
		rc = parts[i] ? rc : -1;
	}
	return rc;
}

static void close_values(const struct work *w, struct ort_value **values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		ort_value_free(w->o, values[i]);
	memset(values, 0, n * sizeof *values);
}

/* Tensors for the outputs of all samples, which every slice writes its part of; *known: whether the runtime knows their shapes. */
static int make_outputs(const struct work *w, bool *known, struct err *e)
{
	int rc = 0;
	*known = true;
	for (size_t i = 0; i < w->nout && *known && !rc; i++) {
		struct ort_info info;
		rc = ort_output_info(w->s, i, &info, e);
		*known = !rc && info.rank > 0;
		info.shape[0] = w->samples;
		for (int d = 1; d < info.rank; d++)
			*known = *known && info.shape[d] > 0;
		if (*known)
			w->out[i] = ort_tensor_new(w->o, info.elem_type, info.rank, info.shape, e);
		rc = rc || (*known && !w->out[i]) ? -1 : 0;
	}
	if (rc || !*known)
		close_values(w, w->out, w->nout);
	return rc;
}

/* Where they are not known (behind operators of our own, for one), the first slice tells; its outputs are copied. */
static int take_first(const struct work *w, int64_t count, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < w->nout && !rc; i++) {
		struct ort_info info;
		rc = ort_value_info(w->o, w->out_part[i], &info, e);
		if (!rc && (info.rank < 1 || info.shape[0] != count || !info.bytes))
			rc = err_set(e, ERR_INTERNAL, "%s is not made sample by sample", w->out_names[i]);
		if (rc)
			break;
		info.shape[0] = w->samples;
		w->out[i] = ort_tensor_new(w->o, info.elem_type, info.rank, info.shape, e);
		rc = w->out[i] ? 0 : -1;
		if (!rc)
			memcpy(ort_value_data(w->o, w->out[i]), ort_value_data(w->o, w->out_part[i]), info.bytes);
	}
	return rc;
}

static int run_slice(const struct work *w, int64_t first, int64_t count, bool made, struct err *e)
{
	int rc = open_windows(w, w->in, w->nin, first, count, w->in_part, e);
	if (!rc && !made)
		rc = ort_run(w->s, w->in_names, w->in_part, w->nin, w->out_names, w->out_part, w->nout, e) || take_first(w, count, e);
	if (!rc && made)
		rc = open_windows(w, w->out, w->nout, first, count, w->out_part, e) ||
		     ort_run_into(w->s, w->in_names, w->in_part, w->nin, w->out_names, w->out_part, w->nout, e);
	close_values(w, w->in_part, w->nin);
	close_values(w, w->out_part, w->nout);
	return rc ? -1 : 0;
}

static int run_slices(const struct work *w, int64_t n, struct err *e)
{
	bool made = false;
	int rc = w->in_part && w->out_part ? make_outputs(w, &made, e) : err_nomem(e, "a slice of a batch");
	for (int64_t i = 0; i < n && !rc; i++)
		rc = run_slice(w, i * w->samples / n, (i + 1) * w->samples / n - i * w->samples / n, made || i > 0, e);
	return rc;
}

int slices_run(struct ort *o, struct ort_session *s, int64_t rows, const char *const *in_names, struct ort_value *const *in,
               size_t nin, const char *const *out_names, struct ort_value **out, size_t nout, struct err *e)
{
	struct work w = {o, s, in_names, out_names, in, out, nin, nout, NULL, NULL, rows ? samples_of_all(o, in, nin) : 0};
	int64_t n = slices_count(rows, w.samples);
	if (n < 2)
		return ort_run(s, in_names, in, nin, out_names, out, nout, e);
	memset(out, 0, nout * sizeof *out);
	w.in_part = calloc(nin, sizeof *w.in_part);
	w.out_part = calloc(nout + 1, sizeof *w.out_part);
	int rc = run_slices(&w, n, e);
	if (rc)
		close_values(&w, out, nout);
	free(w.in_part);
	free(w.out_part);
	return rc;
}
