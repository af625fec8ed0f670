#ifndef SEQMSED_STORE_CALIBRATION_H
#define SEQMSED_STORE_CALIBRATION_H

/* Calibration sets in the store, and the cache of which set fits which model. Any thread. A missing set is ERR_NOT_FOUND. */

#include "api/backend.h"

#include <stdbool.h>

struct store;
struct part;

/* The set of exactly this file, if there is one; id gets its id. */
int store_calibration_find(struct store *s, const char *owner, const char *sha256, char id[API_ID + 1], bool *found, struct err *e);
/* Notes that a request with a key was answered with it (store_once_equal()). */
int store_calibration_again(struct store *s, const char *owner, const char *sha256, struct api_once *once, char id[API_ID + 1],
                            struct err *e);
/* Commits a new set; part holds the synced file. When an equal one, or once's, came in between, *existing and its id. */
int store_calibration_add(struct store *s, struct part *part, const struct api_calibration *c, struct api_once *once,
                          char id[API_ID + 1], bool *existing, struct err *e);
int store_calibration_get(struct store *s, const struct api_caller *who, const char *id, struct api_calibration *out,
                          struct err *e);
int store_calibration_list(struct store *s, const struct api_caller *who, const struct api_page *page, struct api_calibration **out,
                           size_t *n, struct err *e);
/* ERR_IN_USE while a job that is not finished needs it. */
int store_calibration_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c,
                             struct err *e);
int store_calibration_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e);

/* A calibration file that feeds a model file, as an inspection found; equal batches give equal answers. */
struct store_fit {
	const char *model_sha256, *calibration_sha256;
	int64_t batch_size, num_batches;
	int64_t samples, samples_used;
};

/* Looks the four keys up and fills the rest. */
int store_fit_find(struct store *s, struct store_fit *f, bool *found, struct err *e);
int store_fit_put(struct store *s, const struct store_fit *f, struct err *e);

#endif
