#ifndef SEQMSED_STORE_H
#define SEQMSED_STORE_H

/* The daemon's state folder: the database, the blobs, and who may write when.
 *
 *     STATE/lock        held while a daemon runs, so that a second one refuses to start
 *     STATE/seqmsed.db  the catalogue and the queue (with -wal and -shm beside it)
 *     STATE/blobs/, STATE/parts/   files (server/store/blob.h)
 *     STATE/uploads/    what came of uploads in pieces (server/store/store_upload.h)
 *     STATE/empty/      the working directory of engine children; nothing is ever written there
 *
 * All writes go through one connection, taken by store_begin() and given back by store_end(), which also decides about the
 * transaction. Files get and lose their names inside such a transaction, so that a row and its blob never cross. Readers have
 * connections of their own, as many as there are threads reading at once. Any thread.
 */

#include "core/base/err.h"
#include "server/store/blob.h"
#include "server/store/db.h"

struct store;
struct api_caller;

/* Conditions on a row of an object or a job: may the caller see it, or change it? ?2 and ?3 are store_sees_all(who) and
 * store_owner(who); NULL is the daemon itself. */
#define STORE_SEES "(?2 OR owner = ?3 OR visibility = 'team')"
#define STORE_OWNS "(?2 OR owner = ?3)"
int64_t store_sees_all(const struct api_caller *who);
const char *store_owner(const struct api_caller *who);

/* Opens or makes the folder and brings the database to this program's schema. ERR_BAD_STATE: another daemon has it. */
struct store *store_open(const char *path, struct err *e);
void store_close(struct store *s);

struct blobs *store_blobs(struct store *s);
int store_uploads_folder(const struct store *s); /* descriptor of STATE/uploads, the store's */
int store_empty_folder(const struct store *s);   /* descriptor of STATE/empty, the store's */

/* Waits for the writing connection and begins a transaction. NULL when that failed; ERR_BUSY after a few seconds. */
struct db *store_begin(struct store *s, struct err *e);
/* Commits when rc is 0, rolls back when not; gives the connection back. Returns 0 only when everything is on the disk. */
int store_end(struct store *s, int rc, struct err *e);

struct db *store_read(struct store *s, struct err *e);
struct db *store_view(struct store *s, struct err *e); /* the same for several queries, which all see one moment */
void store_read_end(struct store *s, struct db *d);    /* accepts NULL */

/* Inside a transaction: gives a finished part its name among the blobs. When the transaction then fails, or its rows do not
 * use the blob, store_end() removes it again. */
int store_keep(struct store *s, struct part *p, struct err *e);
/* Inside a transaction, where a row that used the blob goes: store_end() removes the file when no row uses it any more, after
 * the commit and before anybody else can write. */
void store_let_go(struct store *s, const char *sha256);

/* Whether a row with that id is there for the caller (to change it: own). ERR_NOT_FOUND when not. table and what are ours. */
int store_check(struct db *d, const struct api_caller *who, const char *table, const char *what, const char *id, bool own,
                struct err *e);
/* ERR_IN_USE while a job that is not finished starts from the encodings of that id. */
int store_check_loaded(struct db *d, const char *id, struct err *e);
/* Writes what a client changed into a row of that table. */
struct api_change;
int store_change(struct db *d, const char *table, const char *id, const struct api_change *c, struct err *e);

/* Start-up: removes parts and blobs that nothing uses. */
int store_sweep(struct store *s, int *removed, struct err *e);
/* Gives the database's free pages back to the file system; nobody else may use the store meanwhile. */
int store_compact(struct store *s, struct err *e);

/* Takes the writing connection for a moment: can the database be written now? */
int store_probe(struct store *s, struct err *e);

#endif
