#ifndef SEQMSED_BLOB_H
#define SEQMSED_BLOB_H

/* Content-addressed files: STATE/blobs/ab/abcd… (named by SHA-256), and STATE/parts/ for those that are still being written.
 *
 * A part is written and hashed piece by piece in constant memory, synced, and then renamed to its digest, with the folder synced
 * too: after part_keep() it survives a power loss. A part that is freed before leaves nothing behind. Rows that use a
 * blob are made and removed by the stores; to keep files and rows from crossing each other, part_keep() and blob_remove() are
 * called only while holding the store's writing connection (server/store/store.h).
 *
 * Reading functions may be called from any thread; a part belongs to one thread at a time.
 */

#include "core/base/err.h"
#include "core/base/sha256.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct blobs;
struct part;

/* state is a descriptor of the state folder, which stays the caller's; the two folders are made when missing. */
struct blobs *blobs_open(int state, struct err *e);
void blobs_close(struct blobs *b);
/* Bytes that may still be written to the file system. */
int blobs_free_bytes(const struct blobs *b, int64_t *out, struct err *e);

struct part *part_new(struct blobs *b, struct err *e);
/* A part that is a file of that folder already, whole; it stays there, too, under its own name. Reads it all. */
struct part *part_link(struct blobs *b, int folder, const char *name, struct err *e);
int part_add(struct part *p, const void *data, size_t len, struct err *e);
/* No more bytes: computes the digest. */
int part_end(struct part *p, struct err *e);
const char *part_sha256(const struct part *p); /* after part_end() */
int64_t part_size(const struct part *p);
/* A new descriptor for reading what was written. */
int part_open(const struct part *p, struct err *e);
/* Puts the bytes on the disk. A failure is for good: the kernel may have dropped what it could not write. */
int part_sync(struct part *p, struct err *e);
bool part_is_lost(const struct part *p); /* part_sync() failed */
/* Gives the synced part its name among the blobs, replacing an equal one. */
int part_keep(struct part *p, struct err *e);
void part_free(struct part *p);

/* A descriptor for reading; a missing one is ERR_NOT_FOUND. *size may be NULL. */
int blob_open(const struct blobs *b, const char *sha256, int64_t *size, struct err *e);
/* Removes a file that no row uses; a missing one is no error. While a backup holds a shared lock on blobs/ (server/cli/backup.h), nothing is
 * removed, neither here nor by blobs_sweep(): it stays until a later start. */
void blob_remove(const struct blobs *b, const char *sha256);

/* Whether the bytes of the file are those of that name, from any position, which stays. go_on is asked now and then; false ends it with
 * ERR_CANCELED. A damaged file is ERR_IO. */
int blob_check(int fd, const char *sha256, bool (*go_on)(void *ctx), void *ctx, struct err *e);

/* Start-up: removes every part, and every blob for which used() says no. used() may say -1 to stop. *removed counts files. */
int blobs_sweep(struct blobs *b, int (*used)(void *ctx, const char *sha256, struct err *e), void *ctx, int *removed, struct err *e);

#endif
