#ifndef SEQMSED_STORE_MODEL_H
#define SEQMSED_STORE_MODEL_H

/* External files and layers of models in the store (server/store/store_object.h has the rest). Any thread. A missing model is
 * ERR_NOT_FOUND. */

#include "core/base/err.h"

struct store;
struct part;
struct api_caller;

/* Commits an external file. digest is the model's identity when this was the last missing file, else NULL. ERR_BAD_STATE when
 * the model is complete already. */
int store_model_set_file(struct store *s, struct part *part, const char *id, const char *file, const char *digest, struct err *e);

/* Gives a model whose files are all there its identity. */
int store_model_complete(struct store *s, const char *id, const char *digest, struct err *e);

/* The layers, a JSON array, to be freed. */
int store_model_layers(struct store *s, const struct api_caller *who, const char *id, char **json, struct err *e);

#endif
