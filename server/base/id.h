#ifndef SEQMSED_ID_H
#define SEQMSED_ID_H

/* Names of objects: a prefix and a UUID version 7 in 32 hexadecimal digits, "job_0190f3…". They sort by the time of their making,
 * also within a millisecond as far as one process makes them. May be called from any thread. */

#include "core/base/err.h"

#include <stdbool.h>

enum { ID_MAX = 36 }; /* "mdl_" and 32 digits, without the NUL */

int id_new(const char *prefix, char id[ID_MAX + 1], struct err *e);

/* Random text of 32 digits for names of files and requests, where order does not matter. */
int id_random(char text[33], struct err *e);

#endif
