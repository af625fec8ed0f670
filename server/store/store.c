#include "server/store/store.h"

#include "api/backend.h"
#include "core/base/io.h"
#include "server/store/migrate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_READERS = 64, WAIT_S = 1 };

struct store {
	char *database; /* path */
	int folder, lock_file, empty, uploads;
	struct blobs *blobs;

	pthread_mutex_t gate; /* guards writing */
	pthread_cond_t freed;
	bool writing; /* somebody has what follows: the writer, and with it the right to name and remove blobs */
	struct db *writer;
	char (*touched)[SHA256_HEX + 1]; /* blobs whose use this transaction changes */
	size_t ntouched;

	pthread_mutex_t read_lock; /* guards the idle readers */
	struct db *idle[MAX_READERS];
	size_t nidle;
};

/* Makes the folder and its parents, as mkdir -p does, and puts their names on the disk. */
static int make_folders(const char *path, struct err *e)
{
	char *copy = strdup(path);
	int rc = 0;
	if (!copy)
		return err_nomem(e, "a path");
	for (char *p = copy + 1; rc == 0; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char end = *p;
		*p = '\0';
		if (io_make_folder(copy, 0700) < 0)
			rc = err_errno(e, errno, "making the folder %s", copy);
		*p = end;
		if (end == '\0')
			break;
	}
	free(copy);
	return rc;
}

static int open_inner(struct store *s, const char *name, int *fd, struct err *e)
{
	if (mkdirat(s->folder, name, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "making the folder %s", name);
	*fd = openat(s->folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *fd < 0 ? err_errno(e, errno, "opening the folder %s", name) : 0;
}

/* A child of a daemon that was killed holds the lock until it has become a program, which takes a moment on a busy machine. */
static int lock_folder(const struct store *s, const char *path, struct err *e)
{
	enum { TRIES = 100, PAUSE_MS = 50 };
	int rc = flock(s->lock_file, LOCK_EX | LOCK_NB);
	for (int i = 1; rc < 0 && errno == EWOULDBLOCK && i < TRIES; i++) {
		(void)poll(NULL, 0, PAUSE_MS);
		rc = flock(s->lock_file, LOCK_EX | LOCK_NB);
	}
	if (rc == 0)
		return 0;
	return errno == EWOULDBLOCK ? err_set(e, ERR_BAD_STATE, "another seqmsed uses %s", path)
	                            : err_errno(e, errno, "locking %s", path);
}

static int open_folder(struct store *s, const char *path, struct err *e)
{
	if (make_folders(path, e) < 0)
		return -1;
	s->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->folder < 0)
		return err_errno(e, errno, "opening the folder %s", path);
	s->lock_file = openat(s->folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->lock_file < 0)
		return err_errno(e, errno, "opening %s/lock", path);
	if (lock_folder(s, path, e))
		return -1;
	if (open_inner(s, "uploads", &s->uploads, e) < 0)
		return -1;
	return open_inner(s, "empty", &s->empty, e);
}

static int open_database(struct store *s, const char *path, struct err *e)
{
	if (asprintf(&s->database, "%s/seqmsed.db", path) < 0) {
		s->database = NULL;
		return err_nomem(e, "a path");
	}
	/* SQLite's NOFOLLOW refuses a link anywhere in the path, so it gets the real one. */
	char *real = realpath(path, NULL);
	if (real) {
		free(s->database);
		int n = asprintf(&s->database, "%s/seqmsed.db", real);
		free(real);
		if (n < 0) {
			s->database = NULL;
			return err_nomem(e, "a path");
		}
	}
	s->writer = db_open(s->database, DB_WRITE, e);
	return s->writer && migrate(s->writer, e) == 0 ? 0 : -1;
}

struct store *store_open(const char *path, struct err *e)
{
	pthread_condattr_t monotonic;
	struct store *s = calloc(1, sizeof *s);
	if (!s) {
		err_nomem(e, "the store");
		return NULL;
	}
	s->folder = s->lock_file = s->empty = s->uploads = -1;
	pthread_mutex_init(&s->gate, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&s->read_lock, NULL);
	if (open_folder(s, path, e) == 0 && (s->blobs = blobs_open(s->folder, e)) && open_database(s, path, e) == 0)
		return s;
	store_close(s);
	return NULL;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->nidle; i++)
		db_close(s->idle[i]);
	db_close(s->writer);
	blobs_close(s->blobs);
	if (s->uploads >= 0)
		(void)close(s->uploads);
	if (s->empty >= 0)
		(void)close(s->empty);
	if (s->lock_file >= 0)
		(void)close(s->lock_file);
	if (s->folder >= 0)
		(void)close(s->folder);
	pthread_cond_destroy(&s->freed);
	pthread_mutex_destroy(&s->gate);
	pthread_mutex_destroy(&s->read_lock);
	free(s->touched);
	free(s->database);
	free(s);
}

struct blobs *store_blobs(struct store *s)
{
	return s->blobs;
}

int store_uploads_folder(const struct store *s)
{
	return s->uploads;
}

int store_empty_folder(const struct store *s)
{
	return s->empty;
}

/* Waits for the writer, for a while: behind somebody who waits for another program, a client should hear of it soon. */
static int take_writer(struct store *s, struct err *e)
{
	struct timespec until;
	int rc = 0;
	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&s->gate);
	while (s->writing && rc == 0)
		rc = pthread_cond_timedwait(&s->freed, &s->gate, &until);
	bool mine = !s->writing;
	if (mine)
		s->writing = true;
	pthread_mutex_unlock(&s->gate);
	return mine ? 0 : err_set(e, ERR_BUSY, "the database is busy");
}

static void give_writer(struct store *s)
{
	pthread_mutex_lock(&s->gate);
	s->writing = false;
	pthread_cond_signal(&s->freed);
	pthread_mutex_unlock(&s->gate);
}

struct db *store_begin(struct store *s, struct err *e)
{
	if (take_writer(s, e) < 0)
		return NULL;
	if (db_begin(s->writer, e) == 0)
		return s->writer;
	give_writer(s);
	return NULL;
}

/* 1: some row uses the blob; 0: none does; -1: nobody knows. */
static int is_used(void *ctx, const char *sha256, struct err *e)
{
	bool found = false;
	int64_t one;
	if (db_get_int(ctx, e, &one, &found, "SELECT 1 FROM blob_uses WHERE sha256 = ? LIMIT 1", "s", sha256) < 0)
		return -1;
	return found;
}

/* Files stay where the rows cannot be trusted: in a transaction that could not be rolled back. */
static void remove_unused(struct store *s, bool settled)
{
	struct err ignored = ERR_INIT; /* a file that stays is swept at the next start */
	for (size_t i = 0; i < s->ntouched && settled; i++)
		if (is_used(s->writer, s->touched[i], &ignored) == 0)
			blob_remove(s->blobs, s->touched[i]);
	free(s->touched);
	s->touched = NULL;
	s->ntouched = 0;
}

int store_end(struct store *s, int rc, struct err *e)
{
	if (rc == 0)
		rc = db_commit(s->writer, e);
	remove_unused(s, db_release(s->writer));
	give_writer(s);
	return rc;
}

void store_let_go(struct store *s, const char *sha256)
{
	char(*more)[SHA256_HEX + 1] = realloc(s->touched, (s->ntouched + 1) * sizeof *more);
	if (!more)
		return; /* swept at the next start */
	s->touched = more;
	(void)snprintf(more[s->ntouched++], sizeof *more, "%s", sha256);
}

int store_keep(struct store *s, struct part *p, struct err *e)
{
	store_let_go(s, part_sha256(p));
	return part_keep(p, e);
}

struct db *store_read(struct store *s, struct err *e)
{
	struct db *d = NULL;
	pthread_mutex_lock(&s->read_lock);
	if (s->nidle > 0)
		d = s->idle[--s->nidle];
	pthread_mutex_unlock(&s->read_lock);
	return d ? d : db_open(s->database, DB_READ, e);
}

struct db *store_view(struct store *s, struct err *e)
{
	struct db *d = store_read(s, e);
	if (!d || db_hold(d, e) == 0)
		return d;
	store_read_end(s, d);
	return NULL;
}

void store_read_end(struct store *s, struct db *d)
{
	if (!d)
		return;
	if (!db_release(d)) {
		db_close(d);
		return;
	}
	pthread_mutex_lock(&s->read_lock);
	if (s->nidle < MAX_READERS) {
		s->idle[s->nidle++] = d;
		d = NULL;
	}
	pthread_mutex_unlock(&s->read_lock);
	db_close(d);
}

int store_sweep(struct store *s, int *removed, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, blobs_sweep(s->blobs, is_used, d, removed, e), e) : -1;
}

int store_compact(struct store *s, struct err *e)
{
	if (take_writer(s, e) < 0)
		return -1;
	int rc = db_script(s->writer, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);", e);
	give_writer(s);
	return rc;
}

int store_probe(struct store *s, struct err *e)
{
	struct db *d = store_begin(s, e);
	/* The transaction is rolled back: it only asks for the lock and for a page. */
	int rc = d ? db_run(d, e, "UPDATE schema_migrations SET name = name WHERE number = 1", "") : -1;
	if (d)
		(void)store_end(s, -1, e);
	return rc;
}

int64_t store_sees_all(const struct api_caller *who)
{
	return !who || who->all;
}

const char *store_owner(const struct api_caller *who)
{
	return who ? who->owner : "";
}

int store_check(struct db *d, const struct api_caller *who, const char *table, const char *what, const char *id, bool own,
                struct err *e)
{
	char sql[160];
	bool found;
	int64_t one;
	(void)snprintf(sql, sizeof sql, "SELECT 1 FROM %s WHERE id = ?1 AND %s", table, own ? STORE_OWNS : STORE_SEES);
	if (db_get_int(d, e, &one, &found, sql, "sis", id, store_sees_all(who), store_owner(who)) < 0)
		return -1;
	return found ? 0
	             : err_set(e, ERR_NOT_FOUND, "there is no %s %.40s%s", what, id,
	                       own && who && !who->all && who->owner[0] ? " of yours" : "");
}

int store_check_loaded(struct db *d, const char *id, struct err *e)
{
	int64_t live;
	if (db_get_int(d, e, &live, NULL,
	               "SELECT count(*) FROM jobs WHERE status NOT IN ('succeeded', 'failed', 'canceled') AND "
	               "json_extract(params, '$.load_encodings') = ?",
	               "s", id) < 0)
		return -1;
	return live > 0 ? err_set(e, ERR_IN_USE, "%lld jobs that are not finished start from these encodings", (long long)live) : 0;
}

int store_change(struct db *d, const char *table, const char *id, const struct api_change *c, struct err *e)
{
	char sql[200];
	(void)snprintf(sql, sizeof sql,
	               "UPDATE %s SET name = coalesce(?, name), labels = coalesce(?, labels), visibility = coalesce(?, visibility) "
	               "WHERE id = ?",
	               table);
	return db_run(d, e, sql, "ssss", c->name, c->labels, c->visibility, id);
}
