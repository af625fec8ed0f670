#include "core/run/checkpoints.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GROUPS = 10000 };

/* ---- its form ---- */

/* "True", "False", or JSON's own. -1: neither. */
static int truth(const struct json *v)
{
	const char *text = json_text(v);
	if (json_is_bool(v))
		return json_bool(v);
	return !text ? -1 : strcmp(text, "True") == 0 ? 1 : strcmp(text, "False") == 0 ? 0 : -1;
}

static int check_groups(const struct json *groups, struct err *e)
{
	char key[24];
	if (!json_is_object(groups) || json_size(groups) == 0 || json_size(groups) > MAX_GROUPS)
		return err_set(e, ERR_BAD_PARAM, "/grouped_modules: expected an object {\"0\": [names], \"1\": …}");
	for (size_t i = 0; i < json_size(groups); i++) {
		(void)snprintf(key, sizeof key, "%zu", i);
		const struct json *names = json_get(groups, key);
		if (!json_is_array(names) || json_size(names) == 0)
			return err_set(e, ERR_BAD_PARAM,
			               "/grouped_modules/%s: expected a list of names; groups are counted from \"0\"", key);
		for (size_t k = 0; k < json_size(names); k++)
			if (!json_text(json_at(names, k)))
				return err_set(e, ERR_BAD_PARAM, "/grouped_modules/%s/%zu: expected a string", key, k);
	}
	return 0;
}

static int check_statics(const struct json *list, size_t groups, struct err *e)
{
	if (!json_is_array(list) || json_size(list) != groups)
		return err_set(e, ERR_BAD_PARAM,
		               "/include_static_inputs: expected a list with \"True\" or \"False\" for each of the %zu groups",
		               groups);
	for (size_t i = 0; i < groups; i++)
		if (truth(json_at(list, i)) < 0)
			return err_set(e, ERR_BAD_PARAM, "/include_static_inputs/%zu: expected \"True\" or \"False\"", i);
	return 0;
}

int checkpoints_check(const struct json *v, struct err *e)
{
	static const char *const members[] = {"grouped_modules", "include_static_inputs", "cache_on_cpu"};
	if (!json_is_object(v))
		return err_set(e, ERR_BAD_PARAM, "expected an object");
	for (void *it = json_first(v); it; it = json_next(v, it)) {
		const char *key = json_key(it);
		if (strcmp(key, members[0]) != 0 && strcmp(key, members[1]) != 0 && strcmp(key, members[2]) != 0)
			return err_set(e, ERR_UNKNOWN_FIELD,
			               "/%.100s: there are grouped_modules, include_static_inputs and cache_on_cpu", key);
	}
	for (int i = 0; i < 3; i++)
		if (!json_get(v, members[i]))
			return err_set(e, ERR_BAD_PARAM, "\"%s\" is missing", members[i]);
	if (check_groups(json_get(v, members[0]), e) ||
	    check_statics(json_get(v, members[1]), json_size(json_get(v, members[0])), e))
		return -1;
	return truth(json_get(v, members[2])) < 0 ? err_set(e, ERR_BAD_PARAM, "/cache_on_cpu: expected \"True\" or \"False\"") : 0;
}

/* ---- what it means for a model ---- */

static int no_such_node(const struct onnx_model *m, const char *glob, size_t group, size_t at, struct err *e)
{
	const char *best = "";
	size_t most = 0;
	for (int i = 0; i < onnx_model_nodes(m); i++) {
		const char *name = onnx_model_node(m, i)->name;
		size_t n = 0;
		while (glob[n] && glob[n] == name[n])
			n++;
		if (n + 1 > most) {
			most = n + 1;
			best = name;
		}
	}
	return err_set(e, ERR_BAD_PARAM,
	               "/checkpoints_config/grouped_modules/%zu/%zu: no node matches \"%.200s\"; the nearest is \"%.200s\"", group,
	               at, glob, best);
}

/* The first node that matches; -1: none. */
static int first_match(const struct onnx_model *m, const char *glob)
{
	for (int i = 0; i < onnx_model_nodes(m); i++)
		if (fnmatch(glob, onnx_model_node(m, i)->name, 0) == 0)
			return i;
	return -1;
}

/* begins[g] = the first node of group g */
static int find_groups(const struct onnx_model *m, const struct json *groups, int *begins, struct err *e)
{
	char key[24];
	for (size_t g = 0; g < json_size(groups); g++) {
		(void)snprintf(key, sizeof key, "%zu", g);
		const struct json *names = json_get(groups, key);
		begins[g] = onnx_model_nodes(m);
		for (size_t k = 0; k < json_size(names); k++) {
			const char *glob = json_text(json_at(names, k));
			int at = first_match(m, glob);
			if (at < 0)
				return no_such_node(m, glob, g, k, e);
			begins[g] = at < begins[g] ? at : begins[g];
		}
		if (g > 0 && begins[g] <= begins[g - 1])
			return err_set(e, ERR_BAD_PARAM,
			               "/checkpoints_config/grouped_modules/%zu: it begins with %s, before group %zu does", g,
			               onnx_model_node(m, begins[g])->name, g - 1);
	}
	return 0;
}

static size_t group_of(const int *begins, size_t n, int node)
{
	size_t g = 0;
	while (g < n && begins[g] <= node)
		g++;
	return g;
}

static void mark_spilled(const struct onnx_model *m, const int *begins, size_t n, bool *spill)
{
	for (int v = 0; v < onnx_model_values(m); v++) {
		const struct onnx_value *x = onnx_model_value(m, v);
		if (x->is_static || x->producer < 0)
			continue;
		size_t made = group_of(begins, n, x->producer);
		for (int r = 0; r < x->nreaders && !spill[v]; r++)
			spill[v] = group_of(begins, n, x->readers[r]) > made;
	}
}

int checkpoints_resolve(const struct onnx_model *m, const char *text, bool *spill, struct err *e)
{
	memset(spill, 0, (size_t)onnx_model_values(m) * sizeof *spill);
	if (!text)
		return 0;
	struct json *v = json_parse(text, strlen(text), e);
	const struct json *groups = json_get(v, "grouped_modules");
	int *begins = v ? calloc(json_size(groups) + 1, sizeof *begins) : NULL;
	int rc = !v ? -1 : !begins ? err_nomem(e, "checkpoints") : checkpoints_check(v, e);
	if (!rc)
		rc = find_groups(m, groups, begins, e);
	if (!rc && truth(json_get(v, "cache_on_cpu")) == 0)
		mark_spilled(m, begins, json_size(groups), spill);
	free(begins);
	json_free(v);
	return rc;
}
