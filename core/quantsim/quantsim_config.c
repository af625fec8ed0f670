#include "core/quantsim/quantsim_config.h"

#include "core/base/buf.h"
#include "core/base/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const pass_names[] = {"LayerNormalization", "RMSNormalization", "MatmulAdd", "MaskedSoftmax"};

bool quantsim_pass_of(const char *name, enum quantsim_pass *pass)
{
	for (size_t i = 0; i < sizeof pass_names / sizeof *pass_names; i++)
		if (strcmp(name, pass_names[i]) == 0) {
			*pass = (enum quantsim_pass)i;
			return true;
		}
	return false;
}

const struct quantsim_op_rule *quantsim_config_op(const struct quantsim_config *c, const char *type)
{
	for (size_t i = 0; i < c->nops; i++)
		if (strcmp(c->ops[i].type, type) == 0)
			return &c->ops[i];
	return NULL;
}

struct quantsim_op_rule *quantsim_config_add_op(struct quantsim_config *c, const char *type)
{
	struct quantsim_op_rule *ops = realloc(c->ops, (c->nops + 1) * sizeof *ops);
	if (!ops)
		return NULL;
	c->ops = ops;
	ops[c->nops] = (struct quantsim_op_rule){.type = type,
	                                         .input = QUANTSIM_UNSET,
	                                         .output = QUANTSIM_UNSET,
	                                         .symmetric = QUANTSIM_UNSET,
	                                         .per_channel = QUANTSIM_UNSET};
	return &ops[c->nops++];
}

struct quantsim_param_rule *quantsim_config_add_param(struct quantsim_param_rule **list, size_t *n, const char *type)
{
	struct quantsim_param_rule *params = realloc(*list, (*n + 1) * sizeof *params);
	if (!params)
		return NULL;
	*list = params;
	params[*n] = (struct quantsim_param_rule){type, QUANTSIM_UNSET, QUANTSIM_UNSET};
	return &params[(*n)++];
}

struct quantsim_group *quantsim_config_add_group(struct quantsim_config *c, const char *const *types, size_t n)
{
	struct quantsim_group *groups = realloc(c->groups, (c->ngroups + 1) * sizeof *groups);
	if (!groups)
		return NULL;
	c->groups = groups;
	const char **copy = calloc(n + 1, sizeof *copy);
	if (!copy)
		return NULL;
	for (size_t i = 0; i < n; i++)
		copy[i] = types[i];
	groups[c->ngroups] = (struct quantsim_group){copy, n};
	return &groups[c->ngroups++];
}

void quantsim_config_free(struct quantsim_config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->nops; i++)
		free(c->ops[i].params);
	for (size_t i = 0; i < c->ngroups; i++)
		free((void *)c->groups[i].types);
	for (size_t i = 0; i < c->ntexts; i++)
		free(c->texts[i]);
	free(c->texts);
	free(c->params);
	free(c->ops);
	free(c->groups);
	json_free(c->json);
	free(c);
}

/* ---- the JSON form ---- */

/* Where we are in the text, as a JSON pointer, and where an error goes. */
struct reader {
	struct quantsim_config *c;
	char at[256];
	struct err *e;
};

/* Goes one level down; the caller keeps the returned length and hands it to leave(). */
static size_t enter(struct reader *r, const char *key)
{
	size_t len = strlen(r->at);
	(void)snprintf(r->at + len, sizeof r->at - len, "/%s", key);
	return len;
}

static size_t enter_index(struct reader *r, size_t i)
{
	char key[24];
	(void)snprintf(key, sizeof key, "%zu", i);
	return enter(r, key);
}

static void leave(struct reader *r, size_t len)
{
	r->at[len] = '\0';
}

static int __attribute__((format(printf, 2, 3))) refuse(struct reader *r, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return err_set(r->e, ERR_BAD_PARAM, "%s: %s", r->at, text);
}

static int must_be_object(struct reader *r, const struct json *v)
{
	return json_is_object(v) ? 0 : refuse(r, "an object is expected");
}

/* Booleans are the strings "True" and "False". */
static int read_flag(struct reader *r, const struct json *v, enum quantsim_flag *to)
{
	if (json_is_string(v) && strcmp(json_text(v), "True") == 0)
		*to = QUANTSIM_ON;
	else if (json_is_string(v) && strcmp(json_text(v), "False") == 0)
		*to = QUANTSIM_OFF;
	else
		return refuse(r, "\"True\" or \"False\" is expected, as a string");
	return 0;
}

/* A flag that can only be "True": the reference knows no other. */
static int read_on(struct reader *r, const struct json *v, enum quantsim_flag *to)
{
	if (read_flag(r, v, to))
		return -1;
	return *to == QUANTSIM_OFF ? refuse(r, "only \"True\" is supported here") : 0;
}

static int unknown(struct reader *r, const char *known)
{
	return refuse(r, "unknown; known are %s", known);
}

/* What a member of an object is read with; where is what the function fills. */
typedef int read_fn(struct reader *r, const char *key, const struct json *v, void *where);

static int each_member(struct reader *r, const struct json *object, read_fn *f, void *where)
{
	if (must_be_object(r, object))
		return -1;
	for (void *it = json_first(object); it; it = json_next(object, it)) {
		size_t up = enter(r, json_key(it));
		if (f(r, json_key(it), json_value(it), where))
			return -1;
		leave(r, up);
	}
	return 0;
}

static int read_param_member(struct reader *r, const char *key, const struct json *v, void *where)
{
	struct quantsim_param_rule *p = where;
	if (strcmp(key, "is_quantized") == 0)
		return read_flag(r, v, &p->quantized);
	if (strcmp(key, "is_symmetric") == 0)
		return read_flag(r, v, &p->symmetric);
	return unknown(r, "is_quantized and is_symmetric");
}

struct param_list {
	struct quantsim_param_rule **list;
	size_t *n;
};

static int read_param(struct reader *r, const char *key, const struct json *v, void *where)
{
	const struct param_list *to = where;
	struct quantsim_param_rule *p = quantsim_config_add_param(to->list, to->n, key);
	return p ? each_member(r, v, read_param_member, p) : err_nomem(r->e, "the configuration");
}

static int read_kernel_type(struct reader *r, const char *key, const struct json *v, void *where)
{
	int64_t *bits = where;
	if (strcmp(key, "bitwidth") == 0) {
		*bits = json_is_integer(v) ? json_int(v) : 0;
		return *bits == 4 || *bits == 8 || *bits == 16 || *bits == 32 ? 0 : refuse(r, "4, 8, 16 or 32 is expected");
	}
	if (strcmp(key, "dtype") == 0)
		return json_is_string(v) && (strcmp(json_text(v), "int") == 0 || strcmp(json_text(v), "float") == 0)
		               ? 0
		               : refuse(r, "\"int\" or \"float\" is expected");
	return unknown(r, "bitwidth and dtype");
}

static int read_kernel(struct reader *r, const char *key, const struct json *v, void *where)
{
	int64_t bits = 0;
	(void)where;
	if (strcmp(key, "activation") != 0 && strcmp(key, "param") != 0)
		return unknown(r, "activation and param");
	if (each_member(r, v, read_kernel_type, &bits))
		return -1;
	const struct json *dtype = json_get(v, "dtype");
	if (!bits || !dtype)
		return refuse(r, "both bitwidth and dtype are needed");
	return strcmp(json_text(dtype), "float") == 0 && bits < 16 ? refuse(r, "float has 16 or 32 bits") : 0;
}

/* What hardware has kernels for is checked, and has no effect, as in the reference. */
static int read_kernels(struct reader *r, const struct json *v)
{
	if (!json_is_array(v) || json_size(v) == 0)
		return refuse(r, "a list that is not empty is expected");
	for (size_t i = 0; i < json_size(v); i++) {
		size_t up = enter_index(r, i);
		if (each_member(r, json_at(v, i), read_kernel, NULL))
			return -1;
		if (!json_get(json_at(v, i), "activation"))
			return refuse(r, "activation is needed");
		leave(r, up);
	}
	return 0;
}

static int read_default_op(struct reader *r, const char *key, const struct json *v, void *where)
{
	struct quantsim_config *c = where;
	if (strcmp(key, "is_output_quantized") == 0)
		return read_on(r, v, &c->ops_output);
	if (strcmp(key, "is_symmetric") == 0)
		return read_flag(r, v, &c->ops_symmetric);
	if (strcmp(key, "is_input_quantized") == 0)
		return refuse(r, "not supported in the defaults; op_type has it");
	return unknown(r, "is_output_quantized and is_symmetric");
}

static int read_default(struct reader *r, const char *key, const struct json *v, void *where)
{
	struct quantsim_config *c = where;
	if (strcmp(key, "ops") == 0)
		return each_member(r, v, read_default_op, c);
	if (strcmp(key, "params") == 0)
		return each_member(r, v, read_param_member, &c->params_default);
	if (strcmp(key, "strict_symmetric") == 0)
		return read_flag(r, v, &c->strict_symmetric);
	if (strcmp(key, "unsigned_symmetric") == 0)
		return read_flag(r, v, &c->unsigned_symmetric);
	if (strcmp(key, "per_channel_quantization") == 0)
		return read_flag(r, v, &c->per_channel);
	if (strcmp(key, "supported_kernels") == 0)
		return read_kernels(r, v);
	if (strcmp(key, "hw_version") == 0) {
		c->hw_version = json_text(v);
		return json_is_string(v) ? 0 : refuse(r, "a string is expected");
	}
	return unknown(
		r, "ops, params, strict_symmetric, unsigned_symmetric, per_channel_quantization, supported_kernels and hw_version");
}

static int read_bound(struct reader *r, const char *key, const struct json *v, void *where)
{
	struct quantsim_op_rule *op = where;
	bool min = strcmp(key, "min") == 0;
	if (!min && strcmp(key, "max") != 0)
		return unknown(r, "min and max");
	if (!json_is_number(v))
		return refuse(r, "a number is expected");
	*(min ? &op->min : &op->max) = json_number(v);
	return 0;
}

static int read_constraints(struct reader *r, const struct json *v, struct quantsim_op_rule *op)
{
	op->constrained = true;
	op->max = INFINITY;
	if (each_member(r, v, read_bound, op))
		return -1;
	if (!json_get(v, "min"))
		return refuse(r, "min is needed");
	return op->min > op->max ? refuse(r, "min is above max") : 0;
}

static int read_op_member(struct reader *r, const char *key, const struct json *v, void *where)
{
	struct quantsim_op_rule *op = where;
	struct param_list params = {&op->params, &op->nparams};
	if (strcmp(key, "is_input_quantized") == 0)
		return read_on(r, v, &op->input);
	if (strcmp(key, "is_output_quantized") == 0)
		return read_flag(r, v, &op->output);
	if (strcmp(key, "is_symmetric") == 0)
		return read_flag(r, v, &op->symmetric);
	if (strcmp(key, "per_channel_quantization") == 0)
		return read_flag(r, v, &op->per_channel);
	if (strcmp(key, "params") == 0)
		return each_member(r, v, read_param, &params);
	if (strcmp(key, "encoding_constraints") == 0)
		return read_constraints(r, v, op);
	if (strcmp(key, "supported_kernels") == 0)
		return read_kernels(r, v);
	return unknown(
		r, "is_input_quantized, is_output_quantized, is_symmetric, params, per_channel_quantization, supported_kernels and "
		   "encoding_constraints");
}

static int read_op(struct reader *r, const char *key, const struct json *v, void *where)
{
	struct quantsim_op_rule *op = quantsim_config_add_op(where, key);
	return op ? each_member(r, v, read_op_member, op) : err_nomem(r->e, "the configuration");
}

static int read_group(struct reader *r, const struct json *group)
{
	enum { MAX_CHAIN = 16 };
	const char *types[MAX_CHAIN] = {NULL};
	const struct json *list = json_get(group, "op_list");
	if (must_be_object(r, group))
		return -1;
	if (json_size(group) != 1 || !json_is_array(list))
		return refuse(r, "an object with nothing but op_list is expected");
	if (json_size(list) < 2 || json_size(list) > MAX_CHAIN)
		return refuse(r, "op_list has %zu op types; 2 to %d are expected", json_size(list), MAX_CHAIN);
	for (size_t i = 0; i < json_size(list); i++) {
		types[i] = json_text(json_at(list, i));
		if (!types[i])
			return refuse(r, "op_list holds something that is no string");
	}
	return quantsim_config_add_group(r->c, types, json_size(list)) ? 0 : err_nomem(r->e, "the configuration");
}

static int read_groups(struct reader *r, const struct json *v)
{
	if (!json_is_array(v))
		return refuse(r, "a list is expected");
	for (size_t i = 0; i < json_size(v); i++) {
		size_t up = enter_index(r, i);
		if (read_group(r, json_at(v, i)))
			return -1;
		leave(r, up);
	}
	return 0;
}

static int read_passes(struct reader *r, const struct json *v)
{
	if (!json_is_array(v) || json_size(v) > QUANTSIM_MAX_PASSES)
		return refuse(r, "a list of at most %d names is expected", QUANTSIM_MAX_PASSES);
	for (size_t i = 0; i < json_size(v); i++) {
		const char *name = json_text(json_at(v, i));
		size_t up = enter_index(r, i);
		if (!name || !quantsim_pass_of(name, &r->c->passes[r->c->npasses++]))
			return unknown(r, "LayerNormalization, RMSNormalization, MatmulAdd and MaskedSoftmax");
		leave(r, up);
	}
	return 0;
}

static int read_model_end(struct reader *r, const char *key, const struct json *v, void *where)
{
	enum quantsim_flag *to = where;
	const char *known = to == &r->c->model_input ? "is_input_quantized" : "is_output_quantized";
	return strcmp(key, known) == 0 ? read_on(r, v, to) : unknown(r, known);
}

static int read_top(struct reader *r, const char *key, const struct json *v, void *where)
{
	struct quantsim_config *c = where;
	struct param_list params = {&c->params, &c->nparams};
	if (strcmp(key, "defaults") == 0)
		return each_member(r, v, read_default, c);
	if (strcmp(key, "params") == 0)
		return each_member(r, v, read_param, &params);
	if (strcmp(key, "op_type") == 0)
		return each_member(r, v, read_op, c);
	if (strcmp(key, "supergroups") == 0)
		return read_groups(r, v);
	if (strcmp(key, "supergroup_pass_list") == 0)
		return read_passes(r, v);
	if (strcmp(key, "model_input") == 0)
		return each_member(r, v, read_model_end, &c->model_input);
	if (strcmp(key, "model_output") == 0)
		return each_member(r, v, read_model_end, &c->model_output);
	return unknown(r, "defaults, params, op_type, supergroups, supergroup_pass_list, model_input and model_output");
}

static int read_all(struct reader *r, const struct json *root)
{
	static const char *const needed[] = {"defaults", "params", "op_type", "supergroups", "model_input", "model_output"};
	if (!json_is_object(root))
		return err_set(r->e, ERR_BAD_PARAM, "the configuration is no JSON object");
	if (each_member(r, root, read_top, r->c))
		return -1;
	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
		(void)enter(r, needed[i]);
		if (!json_get(root, needed[i]))
			return refuse(r, "is needed");
		leave(r, 0);
	}
	const struct json *defaults = json_get(root, "defaults");
	(void)enter(r, "defaults");
	return json_get(defaults, "ops") && json_get(defaults, "params") ? 0 : refuse(r, "ops and params are needed");
}

/* ---- both forms ---- */

static int no_such_name(const char *name, struct err *e)
{
	struct buf all = BUF_INIT;
	for (size_t i = 0; quantsim_config_names[i]; i++)
		buf_printf(&all, "%s%s", i ? ", " : "", quantsim_config_names[i]);
	err_set(e, ERR_BAD_PARAM, "no built-in configuration is called \"%.100s\"; there are %s", name, all.data ? all.data : "");
	buf_fini(&all);
	return -1;
}

static int fill(struct quantsim_config *c, const char *text, struct err *e)
{
	struct reader r = {.c = c, .e = e};
	bool found;
	if (text[strspn(text, " \t\r\n")] == '{') {
		c->name = "custom";
		c->json = json_parse(text, strlen(text), e);
		return c->json ? read_all(&r, c->json) : -1;
	}
	if (quantsim_builtin(c, text, &found, e))
		return -1;
	return found ? 0 : no_such_name(text, e);
}

struct quantsim_config *quantsim_config_new(const char *name_or_text, struct err *e)
{
	struct quantsim_config *c = calloc(1, sizeof *c);
	if (!c) {
		err_nomem(e, "the configuration");
		return NULL;
	}
	c->ops_output = c->ops_symmetric = c->strict_symmetric = c->unsigned_symmetric = c->per_channel = QUANTSIM_UNSET;
	c->model_input = c->model_output = QUANTSIM_UNSET;
	c->params_default = (struct quantsim_param_rule){NULL, QUANTSIM_UNSET, QUANTSIM_UNSET};
	if (fill(c, name_or_text ? name_or_text : "default", e)) {
		quantsim_config_free(c);
		return NULL;
	}
	return c;
}
