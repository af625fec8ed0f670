#include "core/onnx/onnx_prescan_parts.h"

#include "core/base/names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct constant {
	int64_t count;
	int nfew;
	double few[FEW];
};

/* A node that makes a tensor as large as its inputs say. */
struct maker {
	struct wire node;
	struct wire inputs[INPUTS];
	const struct rule *rule;
};

struct made {
	struct names *names;
	char **texts; /* the names' own */
	size_t ntexts;
	struct constant *constants; /* by number */
	size_t nconstants;
	struct maker *makers;
	size_t nmakers;
};

struct made *made_new(void)
{
	struct made *m = calloc(1, sizeof *m);
	if (m && !(m->names = names_new())) {
		free(m);
		m = NULL;
	}
	return m;
}

void made_free(struct made *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->ntexts; i++)
		free(m->texts[i]);
	free(m->texts);
	free(m->constants);
	free(m->makers);
	names_free(m->names);
	free(m);
}

/* Room for one more, doubling as it grows. */
static void *grow(void *list, size_t n, size_t size)
{
	return n & (n - 1) ? list : realloc(list, (n ? 2 * n : 1) * size);
}

int made_add_constant(struct made *m, struct wire name, const struct tensor_facts *t, struct err *e)
{
	char **texts = grow(m->texts, m->ntexts, sizeof *texts);
	if (!texts)
		return err_nomem(e, "a model");
	m->texts = texts;
	char *text = strndup(name.at ? (const char *)name.at : "", wire_left(&name));
	if (!text)
		return err_nomem(e, "a model");
	texts[m->ntexts++] = text;
	int number = names_add(m->names, text);
	if (number < 0)
		return err_nomem(e, "a model");
	if ((size_t)number < m->nconstants)
		return 0; /* of another graph; the first stands for both */
	struct constant *constants = grow(m->constants, m->nconstants, sizeof *constants);
	if (!constants)
		return err_nomem(e, "a model");
	m->constants = constants;
	struct constant *c = &constants[m->nconstants++];
	c->count = t->count;
	c->nfew = t->count <= FEW ? t->nfew : 0;
	memcpy(c->few, t->few, sizeof c->few);
	return 0;
}

static const struct constant *find(const struct made *m, const struct wire *name)
{
	char text[256];
	size_t n = wire_left(name);
	if (n == 0 || n >= sizeof text)
		return NULL;
	memcpy(text, name->at, n);
	text[n] = '\0';
	int number = names_find(m->names, text);
	return number < 0 ? NULL : &m->constants[number];
}

/* ---- how much each kind makes ---- */

static double product(const struct constant *c)
{
	double p = 1;
	for (int i = 0; c && i < c->nfew; i++)
		p *= fabs(c->few[i]) > 1 ? fabs(c->few[i]) : 1;
	return c && c->nfew ? p : 0;
}

static double by_product(const struct made *m, const struct maker *k, int input)
{
	return product(find(m, &k->inputs[input]));
}

/* Repeats of something: times its own elements where these are known. */
static double by_repeats(const struct made *m, const struct maker *k, int input)
{
	const struct constant *data = find(m, &k->inputs[0]);
	return by_product(m, k, input) * (data && data->count > 1 ? (double)data->count : 1);
}

static double by_largest(const struct made *m, const struct maker *k, int input)
{
	const struct constant *c = find(m, &k->inputs[input]);
	double most = 0;
	for (int i = 0; c && i < c->nfew; i++)
		most = fmax(most, fabs(c->few[i]));
	return most;
}

static double by_range(const struct made *m, const struct maker *k, int input)
{
	const struct constant *from = find(m, &k->inputs[0]), *to = find(m, &k->inputs[1]), *step = find(m, &k->inputs[2]);
	(void)input;
	if (!from || !to || !step || from->nfew != 1 || to->nfew != 1 || step->nfew != 1)
		return 0;
	return (to->few[0] - from->few[0]) / step->few[0];
}

/* The attribute `shape`, a list of integers. */
static double by_shape_attribute(const struct made *m, const struct maker *k, int input)
{
	struct wire node = k->node;
	struct wire_field f, a;
	double p = 1;
	(void)m;
	(void)input;
	while (wire_next(&node, &f) == 1) {
		struct wire w = f.bytes, name = {NULL, NULL}, list = {NULL, NULL};
		double here = 1;
		uint64_t v;
		if (f.number != 5)
			continue;
		while (wire_next(&w, &a) == 1) {
			if (a.number == 1)
				name = a.bytes;
			else if (a.number == 8 && a.type == WIRE_VARINT)
				here *= fabs((double)(int64_t)a.value);
			else if (a.number == 8)
				list = a.bytes;
			while (list.at < list.end && wire_varint(&list, &v) == 0)
				here *= fabs((double)(int64_t)v);
		}
		if (wire_is(&name, "shape"))
			p *= here;
	}
	return p;
}

static const struct rule {
	const char *op;
	double (*elements)(const struct made *m, const struct maker *k, int input);
	int input; /* the one that tells the size; 1 to 4: of an earlier version of the operator, an attribute */
} rules[] = {
	{"ConstantOfShape", by_product, 0},
	{"Expand", by_product, 1},
	{"Tile", by_repeats, 1},
	{"Pad", by_largest, 1},
	{"Range", by_range, 0},
	{"Resize", by_product, 3},
	{"Resize", by_product, 2},
	{"Upsample", by_product, 1},
	{"OneHot", by_largest, 1},
	{"MaxUnpool", by_product, 2},
	{"RandomNormal", by_shape_attribute, 0},
	{"RandomUniform", by_shape_attribute, 0},
};

int made_add_node(struct made *m, struct wire node, struct err *e)
{
	struct maker k = {.node = node};
	struct wire w = node, op = {NULL, NULL};
	struct wire_field f;
	int n = 0;
	while (wire_next(&w, &f) == 1) {
		if (f.number == 1 && n < INPUTS)
			k.inputs[n++] = f.bytes;
		else if (f.number == 4)
			op = f.bytes;
	}
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		if (!wire_is(&op, rules[i].op))
			continue;
		struct maker *makers = grow(m->makers, m->nmakers, sizeof *makers);
		if (!makers)
			return err_nomem(e, "a model");
		m->makers = makers;
		k.rule = &rules[i];
		makers[m->nmakers++] = k;
	}
	return 0;
}

int made_check(const struct made *m, struct err *e)
{
	for (size_t i = 0; i < m->nmakers; i++) {
		const struct maker *k = &m->makers[i];
		double n = k->rule->elements(m, k, k->rule->input);
		if (!(n <= PRESCAN_MAX_MADE)) /* nor NaN */
			return err_set(e, ERR_UNSUPPORTED_GRAPH,
			               "a %s makes a tensor of %.0f elements out of constants; at most %d may be", k->rule->op, n,
			               PRESCAN_MAX_MADE);
	}
	return 0;
}
