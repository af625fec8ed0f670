#ifndef SEQMSED_STORE_MODEL_H
#define SEQMSED_STORE_MODEL_H

/* Models and their external files in the store. Any thread. A missing model is ERR_NOT_FOUND. */

#include "api/backend.h"

#include <stdbool.h>

struct store;
struct part;

/* The model of exactly this file, if there is one without external data; id gets its id. */
int store_model_find(struct store *s, const char *owner, const char *sha256, char id[API_ID + 1], bool *found, struct err *e);
/* Notes that a request with a key was answered with it (store_once_equal()). */
int store_model_again(struct store *s, const char *owner, const char *sha256, struct api_once *once, char id[API_ID + 1],
                      struct err *e);

/* Commits a new model: m with id, name, sha256, sizes, inspection and the names of its files; layers is the JSON array; part
 * holds the synced file. When an equal one, or once's, came in between, nothing is added: *existing and its id. */
int store_model_add(struct store *s, struct part *part, const struct api_model *m, const char *layers, struct api_once *once,
                    char id[API_ID + 1], bool *existing, struct err *e);

/* Commits an external file. digest is the model's identity when this was the last missing file, else NULL. ERR_BAD_STATE when
 * the model is complete already. */
int store_model_set_file(struct store *s, struct part *part, const char *id, const char *file, const char *digest, struct err *e);

/* Gives a model whose files are all there its identity. */
int store_model_complete(struct store *s, const char *id, const char *digest, struct err *e);

int store_model_get(struct store *s, const struct api_caller *who, const char *id, struct api_model *out, struct err *e);
int store_model_list(struct store *s, const struct api_caller *who, const struct api_page *page, struct api_model **out, size_t *n,
                     struct err *e);
int store_model_layers(struct store *s, const struct api_caller *who, const char *id, char **json, struct err *e);
/* ERR_IN_USE while a job that is not finished needs it. */
int store_model_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e);
int store_model_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e);

#endif
