#ifndef SEQMSE_QUANTSIM_CONFIG_H
#define SEQMSE_QUANTSIM_CONFIG_H

/* What a quantized model is simulated for: the configuration of the reference's JSON schema, as plain structs. A rule that a configuration
 * does not state is QUANTSIM_UNSET and changes nothing.
 */

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum quantsim_flag { QUANTSIM_UNSET = -1, QUANTSIM_OFF = 0, QUANTSIM_ON = 1 };

/* Of a parameter type: "weight", "bias", … */
struct quantsim_param_rule {
	const char *type;
	enum quantsim_flag quantized, symmetric;
};

struct quantsim_op_rule {
	const char *type; /* "Conv" */
	enum quantsim_flag input, output, symmetric, per_channel;
	bool constrained; /* the range of the op's output */
	double min, max;  /* max is INFINITY where it is open */
	struct quantsim_param_rule *params;
	size_t nparams;
};

/* A chain of op types that hardware runs as one: nothing between them is quantized. */
struct quantsim_group {
	const char **types;
	size_t n;
};

/* Patterns that are fused into one op. */
enum quantsim_pass { QUANTSIM_LAYER_NORM, QUANTSIM_RMS_NORM, QUANTSIM_MATMUL_ADD, QUANTSIM_MASKED_SOFTMAX };

enum { QUANTSIM_MAX_PASSES = 8 };

struct quantsim_config {
	const char *name;       /* "default", …, or "custom" */
	const char *hw_version; /* NULL: none */
	enum quantsim_flag ops_output, ops_symmetric;
	struct quantsim_param_rule params_default;
	enum quantsim_flag strict_symmetric, unsigned_symmetric, per_channel;
	enum quantsim_flag model_input, model_output;
	struct quantsim_param_rule *params;
	struct quantsim_op_rule *ops;
	struct quantsim_group *groups;
	size_t nparams, nops, ngroups;
	enum quantsim_pass passes[QUANTSIM_MAX_PASSES];
	size_t npasses;
	char **texts; /* what the strings above point into */
	size_t ntexts;
	struct json *json; /* likewise */
};

/* A built-in configuration by name (NULL is "default"), or the configuration that a text beginning with '{' spells out. ERR_BAD_PARAM for an unknown name,
 * listing all, and for a text that is not according to the schema, its message beginning with the JSON pointer. */
struct quantsim_config *quantsim_config_new(const char *name_or_text, struct err *e);
void quantsim_config_free(struct quantsim_config *c);

/* The built-in names, NULL-terminated. */
extern const char *const quantsim_config_names[];

const struct quantsim_op_rule *quantsim_config_op(const struct quantsim_config *c, const char *type); /* NULL: none */

/* For those who fill one: a new rule with everything unset. NULL: no memory. */
struct quantsim_op_rule *quantsim_config_add_op(struct quantsim_config *c, const char *type);
struct quantsim_param_rule *quantsim_config_add_param(struct quantsim_param_rule **list, size_t *n, const char *type);
struct quantsim_group *quantsim_config_add_group(struct quantsim_config *c, const char *const *types, size_t n);
bool quantsim_pass_of(const char *name, enum quantsim_pass *pass); /* by the name that configurations give it */

/* Fills c with the built-in configuration of that name; false where there is none. */
int quantsim_builtin(struct quantsim_config *c, const char *name, bool *found, struct err *e);

#endif
