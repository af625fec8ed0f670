#ifndef SEQMSED_STORE_UPLOAD_H
#define SEQMSED_STORE_UPLOAD_H

/* Uploads that come in pieces: a row each, and a file in STATE/uploads that grows. Any thread; a file's writer holds its lock. Uploads are
 * their owner's alone: for everybody else they are ERR_NOT_FOUND. One whose time is over is ERR_GONE. */

#include "api/backend.h"

struct store;
struct part;

/* Commits a new upload with an empty file, and drops those whose time is over. With a key that was used before (store_once.h) nothing is added,
 * and u->id is what that request made. */
int store_upload_add(struct store *s, struct api_upload *u, struct api_once *once, struct err *e);
/* The row; offset is what is on the disk for certain, so far as the last store_upload_sync() saw. */
int store_upload_get(struct store *s, const struct api_caller *who, const char *id, struct api_upload *out, struct err *e);
/* Opens the file for its only writer. ERR_LOCKED: there is one already. The descriptor is the caller's. */
int store_upload_lock(struct store *s, const char *id, struct err *e);
/* Closes it. The lock is let go first: a child that is just being started may have the descriptor for a moment longer. */
void store_upload_unlock(int fd);
/* Puts everything that was written on the disk, and says so in the row. A failure ends the upload: a second try could succeed without the bytes
 * that the kernel has dropped. */
int store_upload_sync(struct store *s, const char *id, int fd, int64_t *offset, struct err *e);
/* The finished file as a part, hashed. */
struct part *store_upload_part(struct store *s, const char *id, struct err *e);
/* It became that object: the file goes, the row stays until its time is over. */
int store_upload_done(struct store *s, const char *id, const char *result, struct err *e);
/* who is NULL where the daemon takes it back: then its idempotency key goes with it. */
int store_upload_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e);
/* Deletes it, whatever else fails: nobody can go on with it. */
void store_upload_give_up(struct store *s, const char *id);

/* Start-up: files without rows go, rows without files go, and what was never synced is cut off. */
int store_upload_recover(struct store *s, struct err *e);

#endif
