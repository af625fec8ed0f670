#ifndef SEQMSED_DB_H
#define SEQMSED_DB_H

/* SQLite, as much of it as the stores need. db.c is the only file that includes sqlite3.h.
 *
 * A connection is used by one thread at a time. The writing connection runs in WAL mode with synchronous=FULL and makes the
 * checkpoints; reading ones cannot write at all. Statements are whole SQL texts with ? for values, bound by a format string with
 * a letter for each value:
 *
 *     s  const char * (NULL binds null)      i  int64_t      d  double      b  const void *, size_t
 *
 * Values are copied, so the caller's memory may go at once. Errors: ERR_DISK_FULL, ERR_MEMORY, ERR_BUSY when another program
 * holds the database for longer than a second, otherwise ERR_IO or ERR_INTERNAL.
 */

#include "core/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct db;
struct db_rows; /* a running query */

enum db_mode { DB_WRITE, DB_READ };

struct db *db_open(const char *path, enum db_mode mode, struct err *e);
void db_close(struct db *d);

/* Runs one statement that gives no rows. */
int db_run(struct db *d, struct err *e, const char *sql, const char *format, ...);
/* Runs any number of statements without values (a migration). */
int db_script(struct db *d, const char *sql, struct err *e);
/* Rows that the last db_run() changed. */
int64_t db_changes(struct db *d);

/* Writes the database as one moment's readers see it to a new file. */
int db_copy(struct db *d, const char *path, struct err *e);

int db_begin(struct db *d, struct err *e);  /* BEGIN IMMEDIATE */
int db_commit(struct db *d, struct err *e); /* rolls back by itself when it fails */
void db_rollback(struct db *d);

/* From its next query until the release, a reading connection sees the database as it was at that query. */
int db_hold(struct db *d, struct err *e);
/* Does nothing where nothing is held. False: what is held stays so, and the connection is to be closed. */
bool db_release(struct db *d);

/* Starts a query; every db_query() that gave rows needs a db_done(), which accepts NULL. */
struct db_rows *db_query(struct db *d, struct err *e, const char *sql, const char *format, ...);
/* Starts the same query over, with other values. */
int db_again(struct db_rows *r, struct err *e, const char *format, ...);
/* 1: there is a row, and the columns below may be read; 0: no more rows; -1: failed. */
int db_next(struct db_rows *r, struct err *e);
void db_done(struct db_rows *r);

bool db_is_null(struct db_rows *r, int column);
int64_t db_int(struct db_rows *r, int column);
double db_real(struct db_rows *r, int column);
const char *db_text(struct db_rows *r, int column); /* NULL for null; lives until the next db_next() */
/* A copy of a text, to be freed; null gives NULL and 0. */
int db_text_dup(struct db_rows *r, int column, char **out, struct err *e);
/* Copies a text of at most size-1 bytes into out; null gives "". */
void db_text_into(struct db_rows *r, int column, char *out, size_t size);

/* The first column of the first row; *found says whether there was one (NULL: a missing row is ERR_NOT_FOUND). */
int db_get_int(struct db *d, struct err *e, int64_t *out, bool *found, const char *sql, const char *format, ...);

/* As db_get_int(), a text of at most size-1 bytes. */
int db_get_text(struct db *d, struct err *e, char *out, size_t size, bool *found, const char *sql, const char *format, ...);

const char *db_version(void); /* the library's */

#endif
