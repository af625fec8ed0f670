#ifndef SEQMSE_LAYER_LOAD_H
#define SEQMSE_LAYER_LOAD_H

/* Encodings from a file as what layers start from, end with, or are compared with. */

#include "core/encodings/encodings.h"
#include "core/search/layers.h"

struct json;

/* What the setting `load_encodings` has to be: the content of an encodings file, or a daemon's id of one, or of a job, which the daemon replaces by the content before
 * the engine sees it. For the table in params.c. */
int layer_load_check(const struct json *v, struct err *e);

/* The file that the setting holds; *x is empty where there is none. */
int layer_load_read(const struct params *p, struct encodings *x, struct err *e);

/* Gives every layer whose weight has an entry the entry's width, symmetry and granularity in place of its own, and tells qs (may be NULL) so. The entries
 * learn what the file did not say of their blocks. What does not fit the weight is ERR_BAD_PARAM naming it. */
int layer_load_adopt(const struct onnx_model *m, struct quantsim *qs, struct encodings *x, struct layer *layers, int n,
                     struct err *e);

/* After it: the entries' grids become the layers' full ranges, which the search shrinks; with freeze they are not searched but stay as they are.
 * ERR_BAD_PARAM where x has a parameter that the model lacks. *x must live as long as the layers. */
int layer_load_start(const struct onnx_model *m, const struct encodings *x, bool freeze, struct layer *layers, int n,
                     struct err *e);

#endif
