#include "core/onnx/onnx_prescan_parts.h"

#include "core/base/names.h"
#include "onnx.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef const ProtobufCMessageDescriptor kind;

/* Operators of these are the runtime's; a model's own functions may have domains of their own. */
static const char *const domains[] = {"",
                                      "ai.onnx",
                                      "ai.onnx.ml",
                                      "ai.onnx.training",
                                      "ai.onnx.preview",
                                      "ai.onnx.preview.training",
                                      "com.microsoft",
                                      "com.microsoft.nchwc",
                                      "com.microsoft.experimental",
                                      "com.ms.internal.nhwc"};

/* A model-local function, and what it comes to. */
struct function {
	int64_t nodes; /* its own */
	int depth;
	double expanded; /* with the functions that it calls in place */
};

struct call {
	int from, to; /* functions; from -1: the main graph */
};

struct scan {
	int64_t parts, nodes, tensors;
	int depth, graphs, graph; /* graph: which one, for names */
	int ngraphs;
	int function; /* that is being scanned, or -1 */
	struct made *made;
	struct names *names; /* "graph tensor", "domain name" of functions, domains */
	char **texts;        /* the names' own */
	size_t ntexts;
	int *function_of; /* by name number; -1: no function */
	size_t nnamed;    /* room in function_of */
	struct function *functions;
	int nfunctions;
	struct call *calls;
	size_t ncalls;
	int64_t main_nodes;
	struct err *e;
};

static int refuse(const struct scan *s, const char *what, int64_t most)
{
	return err_set(s->e, ERR_UNSUPPORTED_GRAPH, "the model has %s than %lld", what, (long long)most);
}

static int damaged(const struct scan *s, const char *what)
{
	return err_set(s->e, ERR_NOT_ONNX, "not an ONNX model, or a damaged one: %s", what);
}

static void *grow(void *list, size_t n, size_t size)
{
	return n & (n - 1) ? list : realloc(list, (n ? 2 * n : 1) * size);
}

/* ---- names ---- */

/* The number of "head tail"; *old says whether it was there. -1 without memory. */
static int number_of(struct scan *s, const char *head, const struct wire *tail, bool *old)
{
	char *text, **texts = grow(s->texts, s->ntexts, sizeof *texts);
	if (texts)
		s->texts = texts;
	if (!texts || asprintf(&text, "%s %.*s", head, (int)wire_left(tail), wire_left(tail) ? (const char *)tail->at : "") < 0)
		return err_nomem(s->e, "a model");
	texts[s->ntexts++] = text;
	int before = names_count(s->names), number = names_add(s->names, text);
	*old = number >= 0 && number < before;
	return number < 0 ? err_nomem(s->e, "a model") : number;
}

/* A tensor's name in the graph at hand; two of a kind are one too many. */
static int add_tensor_name(struct scan *s, const struct wire *name)
{
	char graph[16], shown[SHOWN];
	bool old;
	if (name->at == name->end)
		return 0;
	(void)snprintf(graph, sizeof graph, "%d", s->graph);
	if (number_of(s, graph, name, &old) < 0)
		return -1;
	return old ? err_set(s->e, ERR_NOT_ONNX, "two tensors are called %s", prescan_show(name, shown)) : 0;
}

/* ---- functions ---- */

static void read_function(struct wire w, struct wire *name, struct wire *domain)
{
	struct wire_field f;
	*name = *domain = (struct wire){NULL, NULL};
	while (wire_next(&w, &f) == 1) {
		if (f.number == 1)
			*name = f.bytes;
		else if (f.number == 10)
			*domain = f.bytes;
	}
}

/* That of an old one; -1: it is new. */
static int find_key(const struct scan *s, const char *head, const struct wire *tail)
{
	char *text;
	if (asprintf(&text, "%s %.*s", head, (int)wire_left(tail), wire_left(tail) ? (const char *)tail->at : "") < 0)
		return -1;
	int number = names_find(s->names, text);
	free(text);
	return number;
}

/* The number of a function's key, "f:domain name", which nobody else's name can be; a new one where add says so. */
static int function_key(struct scan *s, const struct wire *domain, const struct wire *name, bool add)
{
	static const struct wire none = {NULL, NULL};
	const struct wire *d = wire_is(domain, "ai.onnx") ? &none : domain;
	char *head;
	int number;
	bool old;
	if (asprintf(&head, "f:%.*s", (int)wire_left(d), wire_left(d) ? (const char *)d->at : "") < 0)
		return err_nomem(s->e, "a model");
	number = add ? number_of(s, head, name, &old) : find_key(s, head, name);
	free(head);
	return number;
}

static int add_function(struct scan *s, struct wire bytes)
{
	struct wire name, domain;
	bool old;
	read_function(bytes, &name, &domain);
	int number = number_of(s, "domain", &domain, &old);
	if (number >= 0)
		number = function_key(s, &domain, &name, true);
	if (number < 0)
		return -1;
	if (s->nfunctions >= PRESCAN_MAX_NODES)
		return refuse(s, "more functions", PRESCAN_MAX_NODES);
	struct function *more = grow(s->functions, (size_t)s->nfunctions, sizeof *more);
	size_t named = (size_t)number + 1 > s->nnamed ? (size_t)number + 1 : s->nnamed; /* an overload has its namesake's number */
	int *of = realloc(s->function_of, named * sizeof *of);
	if (of)
		s->function_of = of;
	if (more)
		s->functions = more;
	if (!of || !more)
		return err_nomem(s->e, "a model");
	s->nnamed = named;
	more[s->nfunctions] = (struct function){0, 1, 0};
	of[number] = s->nfunctions++; /* numbers between two functions' are domains' */
	return 0;
}

/* Before anything else is scanned: functions may be called before they are there. Their names are the first in the table. */
static int add_functions(struct scan *s, struct wire model)
{
	struct wire_field f;
	int rc;
	while ((rc = wire_next(&model, &f)) == 1)
		if (f.number == 25 && f.type == WIRE_BYTES && add_function(s, f.bytes) < 0)
			return -1;
	return rc < 0 ? damaged(s, "its outermost message") : 0;
}

static int add_call(struct scan *s, int to)
{
	struct call *more = grow(s->calls, s->ncalls, sizeof *more);
	if (!more)
		return err_nomem(s->e, "a model");
	s->calls = more;
	more[s->ncalls++] = (struct call){s->function, to};
	return 0;
}

/* Longest chains and sizes, by as many rounds as a chain may be long; what still grows then is a circle, or too deep. */
static int check_functions(struct scan *s)
{
	for (int round = 0; round <= PRESCAN_MAX_FUNCTION_DEPTH; round++) {
		for (int i = 0; i < s->nfunctions; i++)
			s->functions[i].expanded = (double)s->functions[i].nodes;
		for (size_t i = 0; i < s->ncalls; i++) {
			const struct call *c = &s->calls[i];
			if (c->from >= 0 && s->functions[c->from].depth <= s->functions[c->to].depth)
				s->functions[c->from].depth = s->functions[c->to].depth + 1;
		}
	}
	for (int i = 0; i < s->nfunctions; i++)
		if (s->functions[i].depth > PRESCAN_MAX_FUNCTION_DEPTH)
			return err_set(s->e, ERR_UNSUPPORTED_GRAPH, "functions call each other in a circle, or deeper than %d",
			               PRESCAN_MAX_FUNCTION_DEPTH);
	double all = (double)s->main_nodes;
	for (int depth = 2; depth <= PRESCAN_MAX_FUNCTION_DEPTH; depth++) /* those that call less deep ones are whole after them */
		for (size_t i = 0; i < s->ncalls; i++) {
			const struct call *c = &s->calls[i];
			if (c->from >= 0 && s->functions[c->from].depth == depth)
				s->functions[c->from].expanded += s->functions[c->to].expanded;
		}
	for (size_t i = 0; i < s->ncalls; i++)
		if (s->calls[i].from < 0)
			all += s->functions[s->calls[i].to].expanded;
	return all > PRESCAN_MAX_EXPANDED ? refuse(s, "more nodes, with its functions put in place,", PRESCAN_MAX_EXPANDED) : 0;
}

/* ---- nodes ---- */

static bool known_domain(const struct scan *s, const struct wire *domain)
{
	for (size_t i = 0; i < sizeof domains / sizeof *domains; i++)
		if (wire_is(domain, domains[i]))
			return true;
	return find_key(s, "domain", domain) >= 0;
}

/* What a Constant holds becomes known by the name of its output. */
static int note_constant(struct scan *s, struct wire attribute, const struct wire *output)
{
	struct tensor_facts t;
	struct wire_field f;
	memset(&t, 0, sizeof t);
	t.count = 1;
	while (wire_next(&attribute, &f) == 1) {
		struct wire list = f.bytes;
		uint64_t v;
		if (f.number == 5 && prescan_tensor(f.bytes, &t, s->e) < 0) /* t */
			return -1;
		if (f.number == 3 || (f.number == 8 && f.type == WIRE_VARINT)) { /* i, ints */
			if (t.nfew < FEW)
				t.few[t.nfew++] = (double)(int64_t)f.value;
		} else if (f.number == 8) {
			while (list.at < list.end && t.nfew < FEW && wire_varint(&list, &v) == 0)
				t.few[t.nfew++] = (double)(int64_t)v;
		}
	}
	return made_add_constant(s->made, *output, &t, s->e);
}

static int add_node(struct scan *s, struct wire bytes)
{
	struct wire w = bytes, op = {NULL, NULL}, domain = {NULL, NULL}, output = {NULL, NULL};
	struct wire_field f;
	char shown[2][SHOWN];
	if (++s->nodes > PRESCAN_MAX_NODES)
		return refuse(s, "more nodes", PRESCAN_MAX_NODES);
	++*(s->function < 0 ? &s->main_nodes : &s->functions[s->function].nodes);
	while (wire_next(&w, &f) == 1) {
		if (f.number == 4)
			op = f.bytes;
		else if (f.number == 7)
			domain = f.bytes;
		else if (f.number == 2 && !output.at)
			output = f.bytes;
	}
	if (wire_is(&op, "EPContext"))
		return err_set(s->e, ERR_UNSUPPORTED_GRAPH, "the model holds compiled parts (EPContext)");
	if (!known_domain(s, &domain))
		return err_set(s->e, ERR_UNSUPPORTED_GRAPH, "operator %s of the domain %s is not one that ONNX Runtime knows",
		               prescan_show(&op, shown[0]), prescan_show(&domain, shown[1]));
	int callee = function_key(s, &domain, &op, false);
	if (callee >= 0 && add_call(s, s->function_of[callee]) < 0)
		return -1;
	for (w = bytes; wire_is(&op, "Constant") && wire_next(&w, &f) == 1;)
		if (f.number == 5 && note_constant(s, f.bytes, &output) < 0)
			return -1;
	return made_add_node(s->made, bytes, s->e);
}

/* ---- messages ---- */

static int walk(struct scan *s, struct wire w, kind *d);

static int add_tensor(struct scan *s, struct wire bytes, bool initializer)
{
	struct tensor_facts t;
	if (++s->tensors > PRESCAN_MAX_TENSORS)
		return refuse(s, "more tensors", PRESCAN_MAX_TENSORS);
	if (prescan_tensor(bytes, &t, s->e) < 0)
		return -1;
	if (!initializer)
		return 0;
	return add_tensor_name(s, &t.name) < 0 ? -1 : made_add_constant(s->made, t.name, &t, s->e);
}

static int add_sparse(struct scan *s, struct wire bytes, bool initializer)
{
	struct tensor_facts values;
	if (prescan_sparse(bytes, &values, s->e) < 0)
		return -1;
	return initializer ? add_tensor_name(s, &values.name) : 0;
}

static int enter_graph(struct scan *s, struct wire bytes)
{
	int outer = s->graph, rc;
	if (++s->graphs > PRESCAN_MAX_GRAPHS + 1)
		return err_set(s->e, ERR_UNSUPPORTED_GRAPH, "graphs are nested deeper than %d", PRESCAN_MAX_GRAPHS);
	s->graph = ++s->ngraphs;
	rc = walk(s, bytes, &onnx__graph_proto__descriptor);
	s->graph = outer;
	s->graphs--;
	return rc;
}

static int enter_function(struct scan *s, struct wire bytes)
{
	struct wire name, domain;
	read_function(bytes, &name, &domain);
	int number = function_key(s, &domain, &name, false);
	if (number < 0)
		return -1;
	s->function = s->function_of[number];
	int rc = walk(s, bytes, &onnx__function_proto__descriptor);
	s->function = -1;
	return rc;
}

static int enter(struct scan *s, struct wire bytes, kind *parent, kind *child)
{
	bool in_graph = parent == &onnx__graph_proto__descriptor;
	if (child == &onnx__graph_proto__descriptor)
		return enter_graph(s, bytes);
	if (child == &onnx__function_proto__descriptor)
		return enter_function(s, bytes);
	if (child == &onnx__node_proto__descriptor && add_node(s, bytes) < 0)
		return -1;
	if (child == &onnx__tensor_proto__descriptor && parent != &onnx__sparse_tensor_proto__descriptor &&
	    add_tensor(s, bytes, in_graph) < 0)
		return -1;
	if (child == &onnx__sparse_tensor_proto__descriptor && add_sparse(s, bytes, in_graph) < 0)
		return -1;
	return walk(s, bytes, child);
}

static int check_text(const struct scan *s, const struct wire *text, kind *d, const char *field)
{
	bool prose = strcmp(field, "doc_string") == 0 ||
	             (d == &onnx__string_string_entry_proto__descriptor && strcmp(field, "value") == 0);
	if (!prose && wire_left(text) > PRESCAN_MAX_TEXT)
		return refuse(s, "a name of more bytes", PRESCAN_MAX_TEXT);
	if (!prose && wire_left(text) && memchr(text->at, '\0', wire_left(text)))
		return damaged(s, "a name with a zero byte");
	return 0;
}

/* What newer versions of the format have and protobuf-c hands on unseen, as far as it may hold tensors. */
static kind *newer_part(kind *d, uint32_t number)
{
	if (d != &onnx__function_proto__descriptor)
		return NULL;
	return number == 11 ? &onnx__attribute_proto__descriptor : number == 12 ? &onnx__value_info_proto__descriptor : NULL;
}

static int walk_field(struct scan *s, const struct wire_field *f, kind *d, uint64_t *seen)
{
	const ProtobufCFieldDescriptor *fd = protobuf_c_message_descriptor_get_field(d, f->number);
	kind *newer = fd ? NULL : newer_part(d, f->number);
	bool message = newer || (fd && fd->type == PROTOBUF_C_TYPE_MESSAGE), text = fd && fd->type == PROTOBUF_C_TYPE_STRING;
	if (!message && !text)
		return 0;
	if (f->type != WIRE_BYTES)
		return damaged(s, "a field of the wrong kind");
	if (++s->parts > PRESCAN_MAX_PARTS)
		return refuse(s, "more parts", PRESCAN_MAX_PARTS);
	if (text)
		return check_text(s, &f->bytes, d, fd->name);
	if (fd && fd->label != PROTOBUF_C_LABEL_REPEATED) {
		uint64_t bit = (uint64_t)1 << (fd - d->fields);
		if (*seen & bit)
			return damaged(s, "a part that is there twice");
		*seen |= bit;
	}
	return enter(s, f->bytes, d, newer ? newer : fd->descriptor);
}

static int walk(struct scan *s, struct wire w, kind *d)
{
	struct wire_field f;
	uint64_t seen = 0;
	int rc;
	if (++s->depth > PRESCAN_MAX_DEPTH)
		return err_set(s->e, ERR_UNSUPPORTED_GRAPH, "messages are nested deeper than %d", PRESCAN_MAX_DEPTH);
	while ((rc = wire_next(&w, &f)) == 1)
		if (walk_field(s, &f, d, &seen) < 0)
			return -1;
	s->depth--;
	return rc < 0 ? damaged(s, d->short_name) : 0;
}

int onnx_prescan(const uint8_t *bytes, size_t len, struct err *e)
{
	struct scan s = {.function = -1, .made = made_new(), .names = names_new(), .e = e};
	const struct wire model = {bytes, bytes + len};
	int rc = s.made && s.names ? 0 : err_nomem(e, "a model");
	if (rc == 0)
		rc = add_functions(&s, model);
	if (rc == 0)
		rc = walk(&s, model, &onnx__model_proto__descriptor);
	if (rc == 0)
		rc = check_functions(&s);
	if (rc == 0)
		rc = made_check(s.made, e);
	for (size_t i = 0; i < s.ntexts; i++)
		free(s.texts[i]);
	free(s.texts);
	free(s.function_of);
	free(s.functions);
	free(s.calls);
	names_free(s.names);
	made_free(s.made);
	return rc;
}
