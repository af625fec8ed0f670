#ifndef SEQMSED_OBJECTS_H
#define SEQMSED_OBJECTS_H

#include "api/backend.h"

/* The answer to an upload: 201 with the place of a new object, 200 for one that was here. */
void objects_reply_added(const struct http_request *q, struct http_response *r, const struct api_object *x, bool existing);

#endif
