#ifndef SEQMSED_LOADED_H
#define SEQMSED_LOADED_H

/* Encodings that a job starts from and that are not in its settings: its setting `load_encodings` is the id of an uploaded file, or of the job
 * that found them. */

#include "api/backend.h"
#include "core/workflow/params.h"

struct store;

/* Opens the file; *fd is -1 where the setting names none. ERR_BAD_PARAM where who sees no such file or job, or the job has no encodings. */
int loaded_open(struct store *s, const struct api_caller *who, const struct params *p, int *fd, struct err *e);

#endif
