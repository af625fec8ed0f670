#ifndef SEQMSED_BACKEND_OBJECTS_H
#define SEQMSED_BACKEND_OBJECTS_H

/* What differs between the kinds on their way from an upload to a row. */

#include "core/workflow/params.h"
#include "server/http/backend.h"

struct part;

/* An object on its way in. */
struct incoming {
	const struct api_caller *who;
	struct part *part;
	const struct api_change *first;
	struct api_once *once;
	/* Of a calibration set: a model to check the fit with (or NULL), by params; and the samples, when a new set does. */
	const struct api_object *model;
	struct params params;
	int64_t samples, samples_used;
};

struct backend_kind {
	const char *prefix; /* of ids */
	/* Fills in what a child finds in the file; an object that has nothing but zeros and its kind. */
	int (*inspect)(struct backend *b, struct incoming *in, struct api_object *x, struct err *e);
	/* Whether an equal file that is here already will do; NULL: always. */
	int (*check_found)(struct backend *b, struct incoming *in, struct err *e);
	void (*added)(struct backend *b, const struct incoming *in); /* the object is there; or NULL */
};

/* backend_models.c, backend_calibrations.c, backend_encodings.c */
extern const struct backend_kind backend_model, backend_calibration, backend_encodings;

#endif
