#ifndef SEQMSED_STORE_ENCODINGS_H
#define SEQMSED_STORE_ENCODINGS_H

/* Uploaded encodings files in the store. Any thread. A missing one is ERR_NOT_FOUND. */

#include "api/backend.h"

#include <stdbool.h>

struct store;
struct part;

/* Commits a new one; part holds the synced file. *out is what is there then: when *existing, an equal one, or once's. */
int store_encodings_add(struct store *s, struct part *part, const struct api_encodings *x, struct api_once *once,
                        struct api_encodings *out, bool *existing, struct err *e);
int store_encodings_get(struct store *s, const struct api_caller *who, const char *id, struct api_encodings *out, struct err *e);
int store_encodings_list(struct store *s, const struct api_caller *who, const struct api_page *page, struct api_encodings **out,
                         size_t *n, struct err *e);
int store_encodings_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c,
                           struct err *e);
/* ERR_IN_USE while a job that is not finished starts from it. */
int store_encodings_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e);

#endif
