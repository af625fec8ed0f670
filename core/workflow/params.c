#include "core/workflow/params.h"

#include "core/base/buf.h"
#include "core/data/calib_map.h"
#include "core/run/checkpoints.h"
#include "core/search/layer_load.h"
#include "core/search/layer_settings.h"
#include "core/workflow/params_value.h"
#include "core/data/preprocess.h"
#include "core/workflow/quantize_settings.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMBER(name) offsetof(struct params, name)

const struct params_entry params_table[] = {
	{"param_bw", "weight_bits", PARAMS_INTEGER, 4, 2, 16, MEMBER(param_bw), "bits of a weight", NULL, NULL},
	{"num_candidates", NULL, PARAMS_INTEGER, 20, 1, 100000, MEMBER(num_candidates), "ranges tried for every channel", NULL,
         NULL},
	{"batch_size", NULL, PARAMS_INTEGER, 0, 0, 1000000, MEMBER(batch_size),
         "samples a batch; 0: the model's fixed batch, else 32", NULL, NULL},
	{"num_batches", NULL, PARAMS_INTEGER, 0, 0, 1000000000, MEMBER(num_batches), "batches used; 0: all", NULL, NULL},
	{"inp_symmetry", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(inp_symmetry),
         "input of the float and the quantized side of a layer's search: behind quantized weights for both (symqt), the float "
         "network's for "
         "both (symfp), each its own (asym)",
         "symqt|symfp|asym", NULL},
	{"loss_fn", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(loss_fn), "what a layer's output errors are summed up to", "mse|l1|sqnr",
         NULL},
	{"threads", NULL, PARAMS_INTEGER, 0, 0, 1024, MEMBER(threads), "0: one per processor", NULL, NULL},
	{"max_memory_bytes", "max_memory", PARAMS_BYTES, 0, 0, (int64_t)1 << 60, MEMBER(max_memory_bytes),
         "memory a run should take, activations beyond it go to a file; 0: half of the machine's", NULL, NULL},
	{"include", NULL, PARAMS_GLOBS, 0, 0, 0, MEMBER(include), "only nodes whose names match one of these", NULL, NULL},
	{"exclude", NULL, PARAMS_GLOBS, 0, 0, 0, MEMBER(exclude), "no node whose name matches one of these", NULL, NULL},
	{"granularity", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(granularity), "what has a grid of its own",
         "config|per_channel|per_tensor|block", NULL},
	{"block_size", NULL, PARAMS_INTEGER, 0, 0, 1 << 20, MEMBER(block_size), "input channels of a block", NULL, NULL},
	{"lpbq", NULL, PARAMS_BOOL, 0, 0, 0, MEMBER(lpbq), "export blocks' scales as small integers times a scale per channel",
         NULL, NULL},
	{"symmetric", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(symmetric), "whether weights' grids are symmetric about 0",
         "config|true|false", NULL},
	{"search", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(search), "try every range, fewer, or only the full one",
         "grid|coarse_to_fine|off", NULL},
	{"min_range", NULL, PARAMS_REAL, 0, 0, 1, MEMBER(min_range), "smallest fraction of the full range tried; 0: all", NULL,
         NULL},
	{"guard", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(guard), "what to do where a layer ends up worse than with full ranges",
         "off|warn|fallback", NULL},
	{"dead_channels", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(dead_channels),
         "range of channels whose input is always 0: the smallest, as the reference has it, or the full one",
         "reference|full_range", NULL},
	{"load_encodings", NULL, PARAMS_JSON, 0, 0, 0, MEMBER(load_encodings), "an encodings file whose weights' grids are used",
         NULL, layer_load_check},
	{"load_as", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(load_as),
         "loaded grids are the full ranges that a search starts from, or stay as they are", "start|freeze", NULL},
	{"inputs", NULL, PARAMS_JSON, 0, 0, 0, MEMBER(inputs),
         "how arrays feed the model: a JSON object {input: {array, transpose, scale, offset}}", NULL, calib_map_check},
	{"preprocess", NULL, PARAMS_JSON, 0, 0, 0, MEMBER(preprocess),
         "how images become numbers, such as resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=nchw,color=rgb", NULL,
         preprocess_check},
	{"checkpoints_config", NULL, PARAMS_JSON, 0, 0, 0, MEMBER(checkpoints_config),
         "groups of nodes between which activations are cached: the reference's JSON", NULL, checkpoints_check},
	{"overrides", NULL, PARAMS_JSON, 0, 0, 0, MEMBER(overrides), "other settings for some layers: a JSON list", NULL,
         layer_settings_check_overrides},
	{"config", NULL, PARAMS_JSON, 0, 0, 0, MEMBER(config),
         "what is quantized how: default, per-tensor, htp_v81 and others, or a configuration in JSON", NULL, quantize_check_config},
	{"output_bw", NULL, PARAMS_WIDTH, 8, 2, 16, MEMBER(output_bw), "bits of an activation, or float16", NULL, NULL},
	{"quant_scheme", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(quant_scheme), "how the ranges of activations are found",
         "tf|tf_enhanced|percentile", NULL},
	{"param_quant_scheme", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(param_quant_scheme),
         "the same for parameters that are not searched", "tf|tf_enhanced|percentile", NULL},
	{"percentile", NULL, PARAMS_REAL, 100, 0, 100, MEMBER(percentile), "how much of a tensor the scheme percentile keeps", NULL,
         NULL},
	{"degenerate_ranges", NULL, PARAMS_CHOICE, 0, 0, 0, MEMBER(degenerate_ranges),
         "activations whose range a mask constant ruins: as the reference, not quantized, or clamped", "reference|off|clamp", NULL},
	{"fold_batch_norm", NULL, PARAMS_BOOL, 0, 0, 1, MEMBER(fold_batch_norm),
         "fold BatchNormalization into the layer before it first", NULL, NULL},
	{"evaluate", NULL, PARAMS_JSON, 0, 0, 0, MEMBER(evaluate), "how to evaluate; needs evaluation data", NULL,
         quantize_check_evaluate},
};
const size_t params_table_len = sizeof params_table / sizeof *params_table;

/* Settings that the interface has promised and the engine does not have yet. */
static const char *const not_built[] = {
	"deadline_seconds",
	"reuse",
};

/* ---- life ---- */

void params_init(struct params *p)
{
	*p = (struct params){0};
	for (size_t i = 0; i < params_table_len; i++)
		params_value_default(&params_table[i], p);
}

void params_fini(struct params *p)
{
	for (size_t i = 0; i < params_table_len; i++)
		params_value_fini(&params_table[i], p);
	params_init(p);
}

int params_copy(struct params *to, const struct params *from, struct err *e)
{
	params_init(to);
	for (size_t i = 0; i < params_table_len; i++) {
		if (params_value_copy(&params_table[i], to, from, e) == 0)
			continue;
		params_fini(to);
		return -1;
	}
	return 0;
}

int params_threads(const struct params *p)
{
	long n = p->threads ? (long)p->threads : sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : (int)n;
}

/* ---- names ---- */

const struct params_entry *params_find(const char *name)
{
	for (size_t i = 0; i < params_table_len; i++) {
		const struct params_entry *t = &params_table[i];
		if (strcmp(name, t->name) == 0 || (t->alias && strcmp(name, t->alias) == 0))
			return t;
	}
	return NULL;
}

/* How many letters have to be put in, taken out or changed to get from a to b (Levenshtein); both shorter than 32. */
static size_t distance(const char *a, const char *b)
{
	size_t row[32], n = strlen(b);
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; a[i - 1]; i++) {
		size_t corner = row[0];
		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t best = corner + (a[i - 1] != b[j - 1]);
			corner = row[j];
			best = corner + 1 < best ? corner + 1 : best;
			row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
		}
	}
	return row[n];
}

/* The known name that a mistyped one is nearest to; NULL if it is near none, which is when more than a third would change. */
static const char *nearest(const char *name)
{
	const char *best = NULL;
	size_t len = strlen(name), least = len / 3 + 1;
	if (len >= 32)
		return NULL;
	for (size_t i = 0; i < 2 * params_table_len; i++) {
		const struct params_entry *t = &params_table[i / 2];
		const char *known = i % 2 ? t->alias : t->name;
		size_t d = known ? distance(name, known) : least;
		if (d < least) {
			least = d;
			best = known;
		}
	}
	return best;
}

static int unknown(const char *name, struct err *e)
{
	for (size_t i = 0; i < sizeof not_built / sizeof *not_built; i++)
		if (strcmp(name, not_built[i]) == 0)
			return err_set(e, ERR_UNKNOWN_FIELD, "\"%s\" is not built yet", name);
	const char *meant = nearest(name);
	return err_set(e, ERR_UNKNOWN_FIELD, "\"%.100s\" is unknown%s%s%s", name, meant ? "; did you mean \"" : "",
	               meant ? meant : "", meant ? "\"?" : "");
}

/* ---- one setting ---- */

int params_set_json(struct params *p, const char *name, const struct json *v, struct err *e)
{
	const struct params_entry *t = params_find(name);
	return t ? params_value_from_json(t, p, v, e) : unknown(name, e);
}

/* The name with '_' for every '-'; what does not fit into out is no known name anyway. */
static void underscores(const char *name, char out[64])
{
	size_t i = 0;
	for (; i < 63 && name[i]; i++)
		out[i] = name[i] == '-' ? '_' : name[i];
	out[i] = '\0';
}

int params_set_text(struct params *p, const char *name, const char *text, struct err *e)
{
	char plain[64];
	underscores(name, plain);
	const struct params_entry *t = params_find(plain);
	return t ? params_value_from_text(t, p, text, e) : unknown(plain, e);
}

/* ---- whole objects ---- */

/* Puts "/key" before the message, as a JSON pointer spells it: "~0" for '~', "~1" for '/'. A message that begins with a
 * pointer already, into a list, is the rest of this one. */
static int wrap_pointer(struct err *e, const char *key)
{
	struct buf b = BUF_INIT;
	struct err inner = *e;
	for (; *key && b.len < 100; key++)
		buf_printf(&b, *key == '~' ? "~0" : *key == '/' ? "~1" : "%c", *key);
	const char *name = b.data ? b.data : "";
	(void)err_set(e, inner.code, "/%s%s%.800s", name, inner.msg[0] == '/' ? "" : ": ", inner.msg);
	buf_fini(&b);
	return -1;
}

int params_from_json(struct params *p, const struct json *object, struct err *e)
{
	uint64_t seen = 0;
	if (!json_is_object(object))
		return err_set(e, ERR_BAD_PARAM, "expected an object");
	for (void *it = json_first(object); it; it = json_next(object, it)) {
		const struct params_entry *t = params_find(json_key(it));
		uint64_t bit = t ? (uint64_t)1 << (t - params_table) : 0;
		if (seen & bit) {
			err_set(e, ERR_BAD_PARAM, "%s and %s are the same setting", t->name, t->alias);
			return wrap_pointer(e, json_key(it));
		}
		seen |= bit;
		if (params_set_json(p, json_key(it), json_value(it), e) != 0)
			return wrap_pointer(e, json_key(it));
	}
	return 0;
}

void params_to_json(const struct params *p, struct json_out *w, const char *key)
{
	json_out_object(w, key);
	for (size_t i = 0; i < params_table_len; i++)
		params_value_to_json(&params_table[i], p, w, params_table[i].name);
	json_out_end_object(w);
}

/* ---- the table itself ---- */

static void choices_to_json(const struct params_entry *t, struct json_out *w)
{
	json_out_array(w, "choices");
	for (int64_t i = 0; i < params_value_words(t); i++) {
		char word[64];
		params_value_word(t, i, word);
		json_out_string(w, NULL, word);
	}
	json_out_end_array(w);
}

static void entry_to_json(const struct params_entry *t, const struct params *defaults, struct json_out *w)
{
	static const char *const kinds[] = {
		[PARAMS_INTEGER] = "integer", [PARAMS_BYTES] = "bytes",   [PARAMS_REAL] = "real", [PARAMS_WIDTH] = "width",
		[PARAMS_BOOL] = "bool",       [PARAMS_CHOICE] = "choice", [PARAMS_JSON] = "json", [PARAMS_GLOBS] = "globs"};
	json_out_object(w, NULL);
	json_out_string(w, "name", t->name);
	json_out_string(w, "alias", t->alias);
	json_out_string(w, "kind", kinds[t->kind]);
	params_value_to_json(t, defaults, w, "default");
	if (t->max) {
		json_out_integer(w, "min", t->min);
		json_out_integer(w, "max", t->max);
	}
	if (t->kind == PARAMS_CHOICE)
		choices_to_json(t, w);
	json_out_string(w, "meaning", t->meaning);
	json_out_end_object(w);
}

void params_table_to_json(struct json_out *w, const char *key)
{
	struct params defaults;
	params_init(&defaults);
	json_out_array(w, key);
	for (size_t i = 0; i < params_table_len; i++)
		entry_to_json(&params_table[i], &defaults, w);
	json_out_end_array(w);
}
