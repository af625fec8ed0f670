#ifndef SEQMSED_LOADED_H
#define SEQMSED_LOADED_H

/* Encodings that a job starts from and that another job found: its setting `load_encodings` is that job's id. */

#include "api/backend.h"
#include "core/workflow/params.h"

struct store;

/* The file's text, to be freed; NULL where the setting names no job. ERR_BAD_PARAM where who sees no such job, or it has no encodings. */
int loaded_read(struct store *s, const struct api_caller *who, const struct params *p, char **text, struct err *e);

#endif
