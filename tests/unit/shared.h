#ifndef SEQMSED_TEST_SHARED_H
#define SEQMSED_TEST_SHARED_H

/* Files that tests read. The folder of real models and reference results, where there is one: $SEQMSED_SHARED, else ../shared. */

#include "core/base/buf.h"

/* Its path with the given one appended. */
const char *shared_path(const char *relative, char *out, unsigned long size);
/* Reads a file of it; -1 where it is not there. */
int shared_read(const char *relative, struct buf *out);

/* Reads a file, its path from the top folder; -1 where it is not there. */
int whole_file(const char *path, struct buf *out);

#endif
