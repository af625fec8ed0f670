#ifndef SEQMSE_PARAMS_H
#define SEQMSE_PARAMS_H

/* The settings of one quantization job, and their one table: names, defaults, ranges, meanings. The command line's flags
 * (underscores become hyphens), the `params` object of a request and the help text are all read from it. Names are the
 * reference's where it has them.
 */

#include "err.h"
#include "json.h"

#include <stddef.h>
#include <stdint.h>

struct params {
	int64_t param_bw;         /* bits of a weight */
	int64_t num_candidates;   /* ranges tried per channel */
	int64_t batch_size;       /* samples a batch; 0: the model's fixed batch, else 32 */
	int64_t num_batches;      /* batches used; 0: all */
	int64_t threads;          /* 0: one per processor */
	int64_t max_memory_bytes; /* activations kept in memory before they spill to a file; 0: half of the machine's memory */
	/* Globs over node names; NULL-terminated, NULL when none. A node is searched if it matches some include, or there are
	 * none, and no exclude. */
	char **include, **exclude;
};

/* Globs a list may hold, and bytes one may have. */
enum { PARAMS_MAX_GLOBS = 1000, PARAMS_MAX_GLOB = 1000 };

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

/* The table, for help texts and documents. */
enum params_kind { PARAMS_INTEGER, PARAMS_BYTES, PARAMS_GLOBS };
struct params_entry {
	const char *name, *alias; /* alias may be NULL */
	enum params_kind kind;
	int64_t dflt, min, max; /* of a number */
	size_t offset;          /* of the member in struct params */
	const char *meaning;
};
extern const struct params_entry params_table[];
extern const size_t params_table_len;

/* The entry of that name or alias, NULL if there is none. */
const struct params_entry *params_find(const char *name);

#endif
