#ifndef SEQMSED_INTAKE_H
#define SEQMSED_INTAKE_H

/* The files that an engine child delivers, one after the other in pieces, into parts of the blob store. What the child says is
 * checked: names, order, number. Used by one thread. */

#include "core/base/err.h"
#include "server/store/store_job.h"

#include <stddef.h>

struct blobs;
struct intake;

enum { INTAKE_MAX_FILES = 16 };

struct intake *intake_new(struct blobs *b, struct err *e);
int intake_begin(struct intake *i, const char *name, const char *media_type, struct err *e);
int intake_add(struct intake *i, const void *data, size_t len, struct err *e);
int intake_end(struct intake *i, struct err *e);
/* Syncs the files and lists them; they stay the intake's. A file that was not ended is an error. */
int intake_files(struct intake *i, struct store_artifact files[INTAKE_MAX_FILES], size_t *n, struct err *e);
void intake_free(struct intake *i); /* files that the store did not keep are gone with it */

#endif
