#ifndef SEQMSED_STORE_OBJECT_H
#define SEQMSED_STORE_OBJECT_H

/* Uploaded objects in the store: models, calibration sets, encodings files. Any thread. A missing one is ERR_NOT_FOUND. */

#include "api/backend.h"

#include <stdbool.h>

struct store;
struct part;

/* The owner's object of exactly this file, if there is one (a model: one without external data); id gets its id. */
int store_object_find(struct store *s, enum api_kind kind, const char *owner, const char *sha256, char id[API_ID + 1], bool *found,
                      struct err *e);
/* Notes that a request with a key was answered with it; id gets its id, or that of what the key's first request made meanwhile.
 * ERR_NOT_FOUND: it is gone. */
int store_object_again(struct store *s, enum api_kind kind, const char *owner, const char *sha256, struct api_once *once,
                       char id[API_ID + 1], struct err *e);

/* Commits a new one; part holds its synced file, and of a model's other files *x has the names. *out is what is there then: this one, or
 * when *existing, an equal one or once's, which came in between. */
int store_object_add(struct store *s, struct part *part, const struct api_object *x, struct api_once *once, struct api_object *out,
                     bool *existing, struct err *e);

int store_object_get(struct store *s, const struct api_caller *who, enum api_kind kind, const char *id, struct api_object *out,
                     struct err *e);
int store_object_list(struct store *s, const struct api_caller *who, enum api_kind kind, const struct api_page *page,
                      struct api_object **out, size_t *n, struct err *e);
int store_object_change(struct store *s, const struct api_caller *who, enum api_kind kind, const char *id,
                        const struct api_change *c, struct err *e);
/* ERR_IN_USE while a job that is not finished needs it. */
int store_object_delete(struct store *s, const struct api_caller *who, enum api_kind kind, const char *id, struct err *e);

#endif
