#ifndef SEQMSED_OPENAPI_H
#define SEQMSED_OPENAPI_H

/* The OpenAPI document: api/openapi.c and api/schemas.json, which the build puts into the program. */

#include "api/routes.h"

extern const char openapi_schemas[]; /* the JSON text of schemas.json */

/* Whether the route is described. */
bool openapi_knows(const struct route *t);

#endif
