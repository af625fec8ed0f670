#ifndef SEQMSED_WHEN_H
#define SEQMSED_WHEN_H

/* Times on the wire: RFC 3339 in UTC with milliseconds, "2025-03-01T12:00:00.123Z". */

#include "core/base/json.h"

#include <stdint.h>

enum { WHEN_TEXT = 40 };

/* ms counts milliseconds since 1970. */
void when_text(int64_t ms, char out[WHEN_TEXT]);
/* Writes the time, or null where ms is 0. */
void when_json(struct json_out *w, const char *key, int64_t ms);

#endif
