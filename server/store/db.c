#include "server/store/db.h"

#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { BUSY_MS = 1000 };

struct db {
	sqlite3 *h;
};

struct db_rows {
	struct db *d;
	sqlite3_stmt *s;
};

static enum err_code code_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return ERR_DISK_FULL;
	case SQLITE_NOMEM:
		return ERR_MEMORY;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return ERR_BUSY;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return ERR_IO;
	default:
		return ERR_INTERNAL;
	}
}

static int fail(struct db *d, int rc, struct err *e)
{
	return err_set(e, code_of(rc), "database: %s (%d)", d->h ? sqlite3_errmsg(d->h) : sqlite3_errstr(rc), rc);
}

int db_script(struct db *d, const char *sql, struct err *e)
{
	int rc = sqlite3_exec(d->h, sql, NULL, NULL, NULL);
	return rc == SQLITE_OK ? 0 : fail(d, rc, e);
}

struct db *db_open(const char *path, enum db_mode mode, struct err *e)
{
	struct db *d = calloc(1, sizeof *d);
	if (!d) {
		err_nomem(e, "a database connection");
		return NULL;
	}
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE |
	            (mode == DB_WRITE ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
	int rc = sqlite3_open_v2(path, &d->h, flags, NULL);
	if (rc != SQLITE_OK) {
		fail(d, rc, e);
		goto out;
	}
	(void)sqlite3_busy_timeout(d->h, BUSY_MS);
	/* trusted_schema=off: a database file put there by somebody else runs no functions of its own. */
	if (db_script(d, "PRAGMA trusted_schema=off; PRAGMA foreign_keys=on;", e) < 0)
		goto out;
	if (mode == DB_WRITE && db_script(d,
	                                  "PRAGMA journal_mode=wal; PRAGMA synchronous=full; PRAGMA wal_autocheckpoint=1000;"
	                                  "PRAGMA journal_size_limit=67108864;",
	                                  e) < 0)
		goto out;
	if (mode == DB_READ && db_script(d, "PRAGMA query_only=on; PRAGMA wal_autocheckpoint=0;", e) < 0)
		goto out;
	return d;
out:
	db_close(d);
	return NULL;
}

int db_copy(struct db *d, const char *path, struct err *e)
{
	/* It writes another file, for which a reading connection, too, needs the right. */
	return db_script(d, "PRAGMA query_only=off", e) == 0 ? db_run(d, e, "VACUUM INTO ?", "s", path) : -1;
}

void db_close(struct db *d)
{
	if (!d)
		return;
	(void)sqlite3_close(d->h);
	free(d);
}

static int bind(sqlite3_stmt *s, const char *format, va_list ap)
{
	int rc = SQLITE_OK;
	for (int i = 1; rc == SQLITE_OK && *format; format++, i++) {
		switch (*format) {
		case 's':
			rc = sqlite3_bind_text(s, i, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
			break;
		case 'i':
			rc = sqlite3_bind_int64(s, i, va_arg(ap, int64_t));
			break;
		case 'd':
			rc = sqlite3_bind_double(s, i, va_arg(ap, double));
			break;
		case 'b': {
			const void *p = va_arg(ap, const void *);
			rc = sqlite3_bind_blob64(s, i, p, va_arg(ap, size_t), SQLITE_TRANSIENT);
			break;
		}
		default:
			rc = SQLITE_MISUSE;
		}
	}
	return rc;
}

static struct db_rows *vquery(struct db *d, struct err *e, const char *sql, const char *format, va_list ap)
{
	struct db_rows *r = calloc(1, sizeof *r);
	if (!r) {
		err_nomem(e, "a query");
		return NULL;
	}
	r->d = d;
	int rc = sqlite3_prepare_v2(d->h, sql, -1, &r->s, NULL);
	if (rc == SQLITE_OK)
		rc = bind(r->s, format, ap);
	if (rc == SQLITE_OK)
		return r;
	fail(d, rc, e);
	db_done(r);
	return NULL;
}

struct db_rows *db_query(struct db *d, struct err *e, const char *sql, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	struct db_rows *r = vquery(d, e, sql, format, ap);
	va_end(ap);
	return r;
}

int db_again(struct db_rows *r, struct err *e, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	(void)sqlite3_reset(r->s); /* says again what the last step said */
	int rc = bind(r->s, format, ap);
	va_end(ap);
	return rc == SQLITE_OK ? 0 : fail(r->d, rc, e);
}

int db_next(struct db_rows *r, struct err *e)
{
	int rc = sqlite3_step(r->s);
	if (rc == SQLITE_ROW)
		return 1;
	return rc == SQLITE_DONE ? 0 : fail(r->d, rc, e);
}

void db_done(struct db_rows *r)
{
	if (!r)
		return;
	(void)sqlite3_finalize(r->s);
	free(r);
}

int db_run(struct db *d, struct err *e, const char *sql, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	struct db_rows *r = vquery(d, e, sql, format, ap);
	va_end(ap);
	int rc = r ? db_next(r, e) : -1;
	db_done(r);
	return rc < 0 ? -1 : 0;
}

int64_t db_changes(struct db *d)
{
	return sqlite3_changes64(d->h);
}

int db_begin(struct db *d, struct err *e)
{
	db_rollback(d); /* of an earlier one, where that failed */
	return db_script(d, "BEGIN IMMEDIATE", e);
}

int db_commit(struct db *d, struct err *e)
{
	if (db_script(d, "COMMIT", e) == 0)
		return 0;
	db_rollback(d);
	return -1;
}

void db_rollback(struct db *d)
{
	struct err ignored = ERR_INIT;
	if (!sqlite3_get_autocommit(d->h)) /* some failures have rolled back already */
		(void)db_script(d, "ROLLBACK", &ignored);
}

int db_hold(struct db *d, struct err *e)
{
	return db_script(d, "BEGIN", e);
}

bool db_release(struct db *d)
{
	db_rollback(d);
	return sqlite3_get_autocommit(d->h) != 0;
}

bool db_is_null(struct db_rows *r, int column)
{
	return sqlite3_column_type(r->s, column) == SQLITE_NULL;
}

int64_t db_int(struct db_rows *r, int column)
{
	return sqlite3_column_int64(r->s, column);
}

double db_real(struct db_rows *r, int column)
{
	return sqlite3_column_double(r->s, column);
}

const char *db_text(struct db_rows *r, int column)
{
	return (const char *)sqlite3_column_text(r->s, column);
}

int db_text_dup(struct db_rows *r, int column, char **out, struct err *e)
{
	const char *s = db_text(r, column);
	*out = NULL;
	if (!s && db_is_null(r, column))
		return 0;
	*out = s ? strdup(s) : NULL;
	return *out ? 0 : err_nomem(e, "a text of the database");
}

void db_text_into(struct db_rows *r, int column, char *out, size_t size)
{
	const char *s = db_text(r, column);
	size_t n = s ? strnlen(s, size - 1) : 0;
	if (n)
		memcpy(out, s, n);
	out[n] = '\0';
}

/* The first row of a query, which is the caller's to end: 1 and *found, or 0, where it is missing. */
static int first_row(struct db_rows *r, bool *found, struct err *e)
{
	int rc = r ? db_next(r, e) : -1;
	if (rc == 0 && !found)
		return err_set(e, ERR_NOT_FOUND, "there is no such row");
	if (found)
		*found = rc == 1;
	return rc;
}

int db_get_int(struct db *d, struct err *e, int64_t *out, bool *found, const char *sql, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	struct db_rows *r = vquery(d, e, sql, format, ap);
	va_end(ap);
	int rc = first_row(r, found, e);
	if (rc == 1)
		*out = db_int(r, 0);
	db_done(r);
	return rc < 0 ? -1 : 0;
}

int db_get_text(struct db *d, struct err *e, char *out, size_t size, bool *found, const char *sql, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	struct db_rows *r = vquery(d, e, sql, format, ap);
	va_end(ap);
	int rc = first_row(r, found, e);
	if (rc == 1)
		db_text_into(r, 0, out, size);
	db_done(r);
	return rc < 0 ? -1 : 0;
}

const char *db_version(void)
{
	return sqlite3_libversion();
}
