#ifndef SEQMSED_FLOORS_H
#define SEQMSED_FLOORS_H

/* The oldest versions of libraries that have no known fault of the kind that this daemon has to fear. An older one is used, with a warning at
 * every start, since the system's packages may have the mend without the number. */

#include <stdbool.h>
#include <stddef.h>

struct floor {
	const char *library;
	const char *versions; /* "3.51.3 3.50.7 3.44.6": the first, or one of these releases' later patches */
	const char *why;
};

/* Whether the version ("3.40.1", more parts count, what is no number ends it) is one that the list allows. "" is not. */
bool floor_holds(const struct floor *f, const char *version);

/* Writes a warning to the log for each of the libraries that is too old; versions are as the libraries say. */
void floors_check(const char *sqlite, const char *libmicrohttpd, const char *onnxruntime);

/* What floors_check() looks at. */
extern const struct floor floors[3]; /* SQLite, libmicrohttpd, ONNX Runtime */

#endif
