#ifndef SEQMSE_ARCHIVE_H
#define SEQMSE_ARCHIVE_H

/* Zip archives that nobody vouches for, stored or deflated, zip64. archive.c is the only file that includes zip.h.
 *
 * Any part of any member can be read at any time; reading forward is fast, going backward in a deflated member unpacks it again from its beginning.
 * Refused: directories larger than any honest one, more than ARCHIVE_MAX_MEMBERS members; and, by archive_size(), members that are encrypted, or compressed
 * otherwise, or declare more bytes than can be in them. Unpacking stops at what was declared, and fails where the checksum does not fit. */

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ARCHIVE_MAX_MEMBERS = 8192 };

struct archive;

/* Of an open file of that size, which must stay open; its position is left alone. */
struct archive *archive_open(int fd, uint64_t size, struct err *e);
void archive_free(struct archive *a);

size_t archive_count(const struct archive *a);
const char *archive_name(const struct archive *a, size_t i);

/* The unpacked size. To be asked, and to succeed, before the member is read. */
int archive_size(struct archive *a, size_t i, uint64_t *size, struct err *e);
/* Bytes at .. at+n-1, which must be there. */
int archive_read(struct archive *a, size_t i, uint64_t at, void *out, uint64_t n, struct err *e);

/* Whether a name ends so, in capitals or not. */
bool archive_ends(const char *name, const char *ending);

#endif
