/* The built-in configurations, as facts about the hardware they stand for. */

#include "core/quantsim/quantsim_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Chains are written "Conv|Gemm>Relu|Clip": every first with every second. */
#define PLAIN_GROUPS "Conv|ConvTranspose|Add|Gemm>Relu", "Conv>Clip"
#define HTP_GROUPS   "ConvTranspose|Add|Gemm>Relu"
#define HTP_NEW_GROUPS                                                                                               \
	"Add>Relu", "Conv>BatchNormalization>HardSwish|PRelu|LeakyRelu|Relu", "Conv>Transpose>Relu|PRelu|LeakyRelu", \
		"Conv>Clip|PRelu|LeakyRelu|Relu", "ConvTranspose|Gemm>Relu"
#define CURVES "Relu|Clip|Sigmoid|Tanh|HardSwish|Gelu"
#define ENPU_POOLS                                                                                  \
	"AveragePool|MaxPool>" CURVES "|LeakyRelu|PRelu", "AveragePool|MaxPool>BatchNormalization", \
		"AveragePool|MaxPool>BatchNormalization>" CURVES
#define ENPU_SUMS "Gemm|MatMul|Add|Sub|Mul>" CURVES "|LeakyRelu"
#define ENPU_GROUPS                                                                               \
	"Conv|ConvTranspose>" CURVES "|LeakyRelu|PRelu", "Conv|ConvTranspose>BatchNormalization", \
		"Conv|ConvTranspose>BatchNormalization>" CURVES, ENPU_POOLS, ENPU_SUMS

#define NORM_PASSES "LayerNormalization RMSNormalization MatmulAdd"
#define LINEAR      "Conv ConvTranspose Gemm MatMul"

/* Lists are separated by blanks. */
struct builtin {
	const char *name, *hw_version;
	enum quantsim_flag ops_symmetric, params_symmetric, strict, unsigned_symmetric, per_channel, model_output;
	const char *passes;
	const char *per_channel_ops;
	const char *silent;            /* op types whose output is not quantized */
	const char *batch_norm_off;    /* parameters of BatchNormalization that are not quantized */
	const char *asymmetric_scales; /* norms whose weight is asymmetric */
	const char *unit, *sines;      /* output ranges 0 … 1 and -1 … 1 */
	bool relu_from_zero, group_norm_bias;
	const char *groups[12];
};

#define ON    QUANTSIM_ON
#define OFF   QUANTSIM_OFF
#define UNSET QUANTSIM_UNSET
#define STATS "running_mean running_var"
#define PLAIN(name, linear)                                                                                                  \
	{                                                                                                                    \
		name, NULL, UNSET, ON, OFF, UNSET, OFF, UNSET, "MatmulAdd", linear, "Cast", STATS, "", "", "", false, false, \
		{                                                                                                            \
			PLAIN_GROUPS                                                                                         \
		}                                                                                                            \
	}
#define HTP_NEW(version)                                                                                                      \
	{                                                                                                                     \
		"htp_v" version, "V" version, UNSET, ON, OFF, OFF, OFF, UNSET, NORM_PASSES, LINEAR,                           \
			"Cast ChannelShuffle Gather NonMaxSuppression", STATS,                                                \
			"LayerNormalization InstanceNormalization RMSNormalization", "Sigmoid Softmax", "Sin Cos Tanh", true, \
			true,                                                                                                 \
		{                                                                                                             \
			HTP_NEW_GROUPS                                                                                        \
		}                                                                                                             \
	}
#define HTP_OLD(version, linear)                                                                                      \
	{                                                                                                             \
		"htp_v" version, "V" version, UNSET, ON, OFF, OFF, OFF, UNSET, NORM_PASSES, linear,                   \
			"Cast ChannelShuffle Gather NonMaxSuppression", STATS,                                        \
			"LayerNormalization InstanceNormalization RMSNormalization", "", "Sin Cos Tanh", true, false, \
		{                                                                                                     \
			HTP_GROUPS                                                                                    \
		}                                                                                                     \
	}
#define ENPU(name, linear, scales, ...)                                                                                          \
	{                                                                                                                        \
		name, NULL, ON, ON, OFF, OFF, OFF, ON, NORM_PASSES, linear, "", "weight bias " STATS, scales, "Sigmoid Softmax", \
			"Sin Cos Tanh", false, false,                                                                            \
		{                                                                                                                \
			__VA_ARGS__                                                                                              \
		}                                                                                                                \
	}
#define AFTER_NORM  "BatchNormalization>" CURVES
#define ENPU_SCALES "LayerNormalization RMSNormalization"

static const struct builtin builtins[] = {
	PLAIN("default", LINEAR),
	PLAIN("per-channel", LINEAR),
	PLAIN("per-tensor", ""),
	{"dsp",
         NULL,
         UNSET,
         UNSET,
         UNSET,
         UNSET,
         UNSET,
         UNSET,
         "",
         "",
         "Mean",
         "",
         "",
         "",
         "",
         false,
         false,
         {"Conv|Add|Gemm>Relu", "Conv>Clip", "Conv>BatchNormalization>Relu"}},
	{"htp_v66",
         "V66",
         UNSET,
         ON,
         OFF,
         OFF,
         OFF,
         UNSET,
         "",
         "",
         "Cast ChannelShuffle Gather NonMaxSuppression Flatten",
         STATS,
         "LayerNormalization",
         "",
         "Sin Cos Tanh",
         true,
         false,
         {HTP_GROUPS}},
	HTP_OLD("68", "Conv ConvTranspose"),
	HTP_OLD("69", LINEAR),
	HTP_NEW("73"),
	HTP_NEW("75"),
	HTP_NEW("79"),
	HTP_NEW("81"),
	HTP_NEW("85"),
	ENPU("enpu_v6", "", "", ENPU_GROUPS),
	ENPU("enpu_v7", "", ENPU_SCALES, ENPU_GROUPS, AFTER_NORM),
	ENPU("enpu_v7_per_channel", LINEAR, ENPU_SCALES, "Conv|ConvTranspose>" CURVES "|LeakyRelu", ENPU_POOLS, ENPU_SUMS,
             AFTER_NORM),
};

const char *const quantsim_config_names[] = {"default", "per-channel", "per-tensor", "dsp",     "htp_v66",
                                             "htp_v68", "htp_v69",     "htp_v73",    "htp_v75", "htp_v79",
                                             "htp_v81", "htp_v85",     "enpu_v6",    "enpu_v7", "enpu_v7_per_channel",
                                             NULL};

/* ---- filling a configuration ---- */

/* The next word of a list, cut off *list; NULL at its end. text is a copy that the configuration keeps. */
static const char *next_word(char **list, const char *separators)
{
	char *word = strsep(list, separators);
	while (word && !*word)
		word = strsep(list, separators);
	return word;
}

/* A copy of text that lives as long as c. */
static char *keep(struct quantsim_config *c, const char *text)
{
	char **texts = realloc(c->texts, (c->ntexts + 1) * sizeof *texts);
	char *copy = texts ? strdup(text) : NULL;
	if (texts)
		c->texts = texts;
	if (copy)
		c->texts[c->ntexts++] = copy;
	return copy;
}

/* The rule for an op type, made where there is none yet. */
static struct quantsim_op_rule *rule(struct quantsim_config *c, const char *type)
{
	const struct quantsim_op_rule *r = quantsim_config_op(c, type);
	return r ? &c->ops[r - c->ops] : quantsim_config_add_op(c, type);
}

static int turn_off(struct quantsim_config *c, const char *list)
{
	char *rest = keep(c, list);
	for (const char *type; rest && (type = next_word(&rest, " "));) {
		struct quantsim_op_rule *r = rule(c, type);
		if (!r)
			return -1;
		r->output = QUANTSIM_OFF;
	}
	return 0;
}

static int per_channel(struct quantsim_config *c, const char *list)
{
	char *rest = keep(c, list);
	for (const char *type; rest && (type = next_word(&rest, " "));) {
		struct quantsim_op_rule *r = rule(c, type);
		if (!r)
			return -1;
		r->per_channel = QUANTSIM_ON;
	}
	return 0;
}

static int constrain(struct quantsim_config *c, const char *list, double min, double max)
{
	char *rest = keep(c, list);
	for (const char *type; rest && (type = next_word(&rest, " "));) {
		struct quantsim_op_rule *r = rule(c, type);
		if (!r)
			return -1;
		r->constrained = true;
		r->min = min;
		r->max = max;
	}
	return 0;
}

/* A rule for one parameter type of an op type. */
static int param_rule(struct quantsim_config *c, const char *op, const char *param, enum quantsim_flag quantized,
                      enum quantsim_flag symmetric)
{
	struct quantsim_op_rule *r = rule(c, op);
	struct quantsim_param_rule *p = r ? quantsim_config_add_param(&r->params, &r->nparams, param) : NULL;
	if (!p)
		return -1;
	p->quantized = quantized;
	p->symmetric = symmetric;
	return 0;
}

static int norms(struct quantsim_config *c, const struct builtin *b)
{
	char *rest = keep(c, b->batch_norm_off);
	for (const char *param; rest && (param = next_word(&rest, " "));)
		if (param_rule(c, "BatchNormalization", param, QUANTSIM_OFF, QUANTSIM_UNSET))
			return -1;
	rest = keep(c, b->asymmetric_scales);
	for (const char *type; rest && (type = next_word(&rest, " "));)
		if (param_rule(c, type, "weight", QUANTSIM_UNSET, QUANTSIM_OFF))
			return -1;
	return b->group_norm_bias ? param_rule(c, "GroupNormalization", "bias", QUANTSIM_ON, QUANTSIM_UNSET) : 0;
}

/* Adds every chain that one of the alternatives at each place makes. */
static int add_chains(struct quantsim_config *c, const char *alternatives[][16], int places, int place, const char **chain)
{
	if (place == places)
		return quantsim_config_add_group(c, chain, (size_t)places) ? 0 : -1;
	for (int i = 0; alternatives[place][i]; i++) {
		chain[place] = alternatives[place][i];
		if (add_chains(c, alternatives, places, place + 1, chain))
			return -1;
	}
	return 0;
}

static int groups(struct quantsim_config *c, const char *text)
{
	const char *alternatives[4][16] = {{NULL}}, *chain[4] = {NULL};
	char *rest = keep(c, text), *list;
	int places = 0;
	while (rest && places < 4 && (list = strsep(&rest, ">"))) {
		for (int i = 0; i < 15 && list; i++)
			alternatives[places][i] = next_word(&list, "|");
		places++;
	}
	return add_chains(c, alternatives, places, 0, chain);
}

static int fill(struct quantsim_config *c, const struct builtin *b)
{
	c->name = b->name;
	c->hw_version = b->hw_version;
	c->ops_output = c->model_input = QUANTSIM_ON;
	c->ops_symmetric = b->ops_symmetric;
	c->params_default.quantized = QUANTSIM_ON;
	c->params_default.symmetric = b->params_symmetric;
	c->strict_symmetric = b->strict;
	c->unsigned_symmetric = b->unsigned_symmetric;
	c->per_channel = b->per_channel;
	c->model_output = b->model_output;
	char *rest = keep(c, b->passes);
	for (const char *name; rest && (name = next_word(&rest, " "));)
		(void)quantsim_pass_of(name, &c->passes[c->npasses++]);
	struct quantsim_param_rule *bias = quantsim_config_add_param(&c->params, &c->nparams, "bias");
	if (!bias)
		return -1;
	bias->quantized = QUANTSIM_OFF;
	for (size_t i = 0; i < sizeof b->groups / sizeof *b->groups && b->groups[i]; i++)
		if (groups(c, b->groups[i]))
			return -1;
	if (b->relu_from_zero && constrain(c, "Relu", 0.0, INFINITY))
		return -1;
	return turn_off(c, b->silent) || per_channel(c, b->per_channel_ops) || norms(c, b) || constrain(c, b->unit, 0.0, 1.0) ||
	                       constrain(c, b->sines, -1.0, 1.0)
	               ? -1
	               : 0;
}

int quantsim_builtin(struct quantsim_config *c, const char *name, bool *found, struct err *e)
{
	*found = false;
	for (size_t i = 0; i < sizeof builtins / sizeof *builtins && !*found; i++) {
		*found = strcmp(builtins[i].name, name) == 0;
		if (*found && fill(c, &builtins[i]))
			return err_nomem(e, "the configuration");
	}
	return 0;
}
