#ifndef SEQMSE_PARAMS_H
#define SEQMSE_PARAMS_H

/* The settings of one quantization job, and their one table: names, defaults, ranges, meanings. The command line's flags
 * (underscores become hyphens), the `params` object of a request and the help text are all read from it. Names are the
 * reference's where it has them.
 */

#include "core/base/err.h"
#include "core/base/json.h"

#include <stddef.h>
#include <stdint.h>

struct params {
	int64_t param_bw;         /* bits of a weight */
	int64_t num_candidates;   /* ranges tried per channel */
	int64_t batch_size;       /* samples a batch; 0: the model's fixed batch, else 32 */
	int64_t num_batches;      /* batches used; 0: all */
	int64_t inp_symmetry;     /* enum symmetry */
	int64_t loss_fn;          /* enum loss_fn */
	int64_t threads;          /* 0: one per processor */
	int64_t max_memory_bytes; /* activations kept in memory before they spill to a file; 0: half of the machine's memory */
	/* Globs over node names; NULL-terminated, NULL when none. A node is searched if it matches some include, or there are
	 * none, and no exclude. */
	char **include, **exclude;
	/* How the weights are quantized and searched: layer_settings.h says what each means for a layer. */
	int64_t granularity;                  /* enum params_granularity */
	int64_t block_size;                   /* input channels a block; 0: none given */
	int64_t lpbq;                         /* blocks' scales are small integers times a scale a channel */
	int64_t symmetric;                    /* enum params_symmetric */
	int64_t search, guard, dead_channels; /* enum search_kind, search_guard, search_dead */
	double min_range;                     /* smallest fraction of the range tried; 0: all */
	char *checkpoints_config;             /* JSON: checkpoints.h; NULL for none */
	char *inputs;                         /* JSON: calib_map.h; NULL for none */
	char *preprocess;                     /* a JSON string: preprocess.h; NULL for none */
	char *overrides;                      /* a JSON list */
	/* The simulation of the whole quantized model (quantize.h). */
	char *config;               /* a built-in configuration's name, or an object; NULL: "default" */
	int64_t output_bw;          /* bits of an activation, or PARAMS_FLOAT16 */
	int64_t quant_scheme;       /* of activations: enum quant_scheme */
	int64_t param_quant_scheme; /* of parameters that are not searched: enum quant_scheme */
	double percentile;          /* of the scheme of that name */
	int64_t degenerate_ranges;  /* enum degenerate_ranges */
	int64_t fold_batch_norm;
	char *evaluate;       /* how to evaluate; NULL: by what the data hold (evaluate.h) */
	char *load_encodings; /* the content of an encodings file; NULL: none */
	int64_t load_as;      /* enum params_load_as */
};

/* What the configuration of the simulation says, or one for all. */
enum params_granularity { PARAMS_AS_CONFIGURED, PARAMS_PER_CHANNEL, PARAMS_PER_TENSOR, PARAMS_BLOCK };
enum params_load_as { PARAMS_START, PARAMS_FREEZE };
enum params_symmetric { PARAMS_SYMMETRIC_AS_CONFIGURED, PARAMS_TRUE, PARAMS_FALSE };

/* Globs a list may hold, and bytes one may have; bytes of a JSON setting. */
enum { PARAMS_MAX_GLOBS = 1000, PARAMS_MAX_GLOB = 1000, PARAMS_MAX_JSON = 64 << 20 };

/* A width that is not a number of bits. */
enum { PARAMS_FLOAT16 = -16 };

/* Defaults. Free with params_fini(). */
void params_init(struct params *p);
void params_fini(struct params *p);

/* *to is overwritten, not freed; after an error it holds the defaults. */
int params_copy(struct params *to, const struct params *from, struct err *e);

/* Sets one setting by its name or alias (weight_bits is param_bw) from JSON, or from a command line's text. A list from JSON
 * replaces what was there; text appends one glob to it. Text for bytes may end in K, M, G or T (powers of 1024). With text, '-'
 * in a name may stand for '_'. ERR_UNKNOWN_FIELD says that a name is not built yet, or what was perhaps meant; the message of
 * ERR_BAD_PARAM says what is wrong without the setting's name, for the caller to err_wrap() it as its user wrote it (of a JSON
 * list's element it begins with its place, "/2: …"). An error changes nothing. */
int params_set_json(struct params *p, const char *name, const struct json *v, struct err *e);
int params_set_text(struct params *p, const char *name, const char *text, struct err *e);

/* Every member of a JSON object, in order; the error's message begins with the member's JSON pointer ("/param_bw: …"). A
 * setting given twice, by its name and its alias, is an error. After an error some members may be set. */
int params_from_json(struct params *p, const struct json *object, struct err *e);

/* Writes an object with every effective setting, in the table's order. */
void params_to_json(const struct params *p, struct json_out *w, const char *key);

/* How many threads that means on this machine, at least 1. */
int params_threads(const struct params *p);

/* The table, for help texts and documents. */
enum params_kind {
	PARAMS_INTEGER, /* int64_t member */
	PARAMS_BYTES,   /* int64_t; text may end in K, M, G or T */
	PARAMS_REAL,    /* double */
	PARAMS_WIDTH,   /* int64_t: bits, or "float16", which is PARAMS_FLOAT16 */
	PARAMS_BOOL,    /* int64_t: 0 or 1 */
	PARAMS_CHOICE, /* int64_t: the place of the word in choices; JSON's true and false stand for the words "true" and "false" */
	PARAMS_JSON, /* char *: a JSON value as text, malloc'ed; NULL where it was not given, or is null. Text that is no JSON value is a JSON string */
	PARAMS_GLOBS, /* char **: a list as include has it */
};
struct params_entry {
	const char *name, *alias; /* alias may be NULL */
	enum params_kind kind;
	int64_t dflt, min, max; /* of a number */
	size_t offset;          /* of the member in struct params */
	const char *meaning;
	const char *choices; /* "symqt|symfp|asym" */
	/* What a JSON setting must be; NULL for anything. The message of its error begins with the JSON pointer into v where there is one ("/0/match: …"). */
	int (*check)(const struct json *v, struct err *e);
};
extern const struct params_entry params_table[];
extern const size_t params_table_len;

/* Writes the table as a list of {"name","alias","kind","default","min","max","choices","meaning"}: what a form needs to ask for the settings. kind is
 * integer, bytes, real, width, bool, choice, json or globs. */
void params_table_to_json(struct json_out *w, const char *key);

/* The entry of that name or alias, NULL if there is none. */
const struct params_entry *params_find(const char *name);

#endif
