#ifndef SEQMSE_IO_H
#define SEQMSE_IO_H

/* Reading and writing all of it: interrupted calls are repeated, short ones go on. Errors are left in errno, for the caller knows what was read. */

#include "core/base/buf.h"

#include <dirent.h>
#include <stddef.h>
#include <sys/types.h>

int io_write(int fd, const void *data, size_t len);            /* 0, or -1 */
int io_pwrite(int fd, const void *data, size_t len, off_t at); /* 0, or -1 */
ssize_t io_pread(int fd, void *out, size_t len, off_t at);     /* bytes, fewer than len only at the end of the file; -1 */
int io_copy(int from, int to);                                 /* the whole file to the beginning of the other; 0, or -1 */
int io_read_rest(int fd, struct buf *out); /* everything up to the end; 0, or -1 (buf_failed() tells of memory) */

/* Puts the name of a file or folder on the disk: syncs the folder that it is in. 0, or -1; a file system that knows no such thing (EINVAL) is
 * no failure. */
int io_sync_name(const char *path);
/* Makes a folder, where there is none, and puts its name on the disk. 0, or -1: then it was not made. */
int io_make_folder(const char *path, mode_t mode);
/* The next name in a folder but "." and "..", good until the next call: 1, 0 at the end, or -1. */
int io_next_name(DIR *folder, const char **name);

#endif
