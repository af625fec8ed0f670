#ifndef SEQMSED_OBJECT_JSON_H
#define SEQMSED_OBJECT_JSON_H

/* Uploaded objects as the API shows them, and what it calls them. */

#include "api/backend.h"
#include "core/base/json.h"

struct object_kind {
	const char *path;         /* in URLs */
	const char *name;         /* in problems */
	const char *file;         /* what the file is offered as where the object has no name */
	const char *const *parts; /* that have URLs of their own, up to NULL */
	void (*describe)(struct json_out *w, const struct api_object *x); /* the members that others do not have, and the file's */
};

/* By enum api_kind. */
extern const struct object_kind object_kinds[];

/* deduplicated is a member of the answer to an upload only; NULL leaves it out. */
void object_json(struct json_out *w, const struct api_object *x, const bool *deduplicated);

#endif
