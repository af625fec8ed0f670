#ifndef SEQMSE_PARAMS_VALUE_H
#define SEQMSE_PARAMS_VALUE_H

/* One setting of any kind: what params.c does for each row of its table. Nobody else includes it. Errors as in params.h; they
 * change nothing. */

#include "core/workflow/params.h"

void params_value_default(const struct params_entry *t, struct params *p);
void params_value_fini(const struct params_entry *t, struct params *p);
int params_value_copy(const struct params_entry *t, struct params *to, const struct params *from,
                      struct err *e); /* *to has the default */
int params_value_from_json(const struct params_entry *t, struct params *p, const struct json *v, struct err *e);
int params_value_from_text(const struct params_entry *t, struct params *p, const char *text, struct err *e);
void params_value_to_json(const struct params_entry *t, const struct params *p, struct json_out *w, const char *key);

/* The words of a PARAMS_CHOICE: how many, and one of them. */
int64_t params_value_words(const struct params_entry *t);
void params_value_word(const struct params_entry *t, int64_t i, char out[64]);

#endif
