#ifndef SEQMSED_TAR_H
#define SEQMSED_TAR_H

/* Writes a tar archive that tar(1) unpacks: plain files, mode 0600, in folders that tar makes by itself. */

#include "core/base/err.h"

#include <stdint.h>

/* Begins a file of that many bytes; the caller writes exactly those to out, and then calls tar_pad(). name has at most 99 bytes. */
int tar_file(int out, const char *name, int64_t size, struct err *e);
int tar_pad(int out, int64_t size, struct err *e);
int tar_end(int out, struct err *e);

#endif
