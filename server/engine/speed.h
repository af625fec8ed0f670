#ifndef SEQMSED_SPEED_H
#define SEQMSED_SPEED_H

/* What engine children measured of the machine (core/search/rates.h), as JSON: a child that is given none for its machine and threads measures and says so,
 * and the next ones get it, too. Kept in STATE/rates.json, over restarts. Any thread may call. */

#include "core/base/buf.h"
#include "core/base/err.h"

struct json;
struct speed;

struct speed *speed_open(const char *state, struct err *e);
void speed_close(struct speed *s);

/* Appends an array of sets, or "null" where nothing is known. */
void speed_text(struct speed *s, struct buf *out);

/* Takes the set that a child measured; anything but an object is left out. A file that cannot be written is logged. */
void speed_learn(struct speed *s, const struct json *v);

#endif
