#ifndef SEQMSED_TEST_SHARED_H
#define SEQMSED_TEST_SHARED_H

/* The folder of real models and reference results, where there is one: $SEQMSED_SHARED, else ../shared. */

#include "core/buf.h"

/* Its path with the given one appended. */
const char *shared_path(const char *relative, char *out, unsigned long size);
/* Reads a file of it; -1 where it is not there. */
int shared_read(const char *relative, struct buf *out);

#endif
