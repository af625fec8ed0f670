#include "server/cli/backup.h"

#include "core/base/io.h"
#include "core/base/sha256.h"
#include "server/cli/cli.h"
#include "server/config.h"
#include "server/store/blob.h"
#include "server/store/db.h"
#include "server/store/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

struct backup {
	int blobs; /* folder, locked */
	int out;
	char *real, *database, *copy,
		*part; /* paths: the folder, its database, the copy of that, the archive while it is written */
	struct db *snapshot;
	struct backup_facts facts;
};

/* The file's path without links in its folders, as SQLite wants it. */
static char *real_path(const char *file)
{
	const char *slash = strrchr(file, '/');
	char *folder = slash ? strndup(file, (size_t)(slash - file) + 1) : strdup("."),
	     *real = folder ? realpath(folder, NULL) : NULL, *path;
	if (!real || asprintf(&path, "%s/%s", real, slash ? slash + 1 : file) < 0)
		path = NULL;
	free(folder);
	free(real);
	return path;
}

static int make_paths(struct backup *b, const char *state_dir, const char *file, struct err *e)
{
	b->real = realpath(state_dir, NULL);
	if (!b->real)
		return err_errno(e, errno, "the state folder %s", state_dir);
	if (asprintf(&b->database, "%s/seqmsed.db", b->real) < 0)
		b->database = NULL;
	char *path = real_path(file);
	if (!path)
		return err_errno(e, errno, "%s", file);
	if (asprintf(&b->copy, "%s.db", path) < 0)
		b->copy = NULL;
	if (asprintf(&b->part, "%s.part", path) < 0)
		b->part = NULL;
	free(path);
	if (!b->database || !b->copy || !b->part)
		return err_nomem(e, "a path");
	return access(b->database, R_OK) == 0 ? 0 : err_errno(e, errno, "%s", b->database);
}

/* From here on the daemon removes no file, so that those of the copy's rows stay. */
static int hold_blobs(struct backup *b, struct err *e)
{
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/blobs", b->real);
	b->blobs = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (b->blobs < 0)
		return err_errno(e, errno, "%s", path);
	return flock(b->blobs, LOCK_SH) < 0 ? err_errno(e, errno, "locking %s", path) : 0;
}

static int copy_database(struct backup *b, struct err *e)
{
	struct db *live = db_open(b->database, DB_READ, e);
	int rc = live ? db_copy(live, b->copy, e) : -1;
	db_close(live);
	if (rc == 0)
		b->snapshot = db_open(b->copy, DB_READ, e);
	return b->snapshot ? 0 : -1;
}

/* Bytes of an open file into the archive; digest gets what they are. */
static int add_bytes(struct backup *b, int fd, const char *name, int64_t size, char digest[SHA256_HEX + 1], struct err *e)
{
	static char chunk[CHUNK];
	struct sha256 *hash = sha256_new(e);
	int rc = hash ? tar_file(b->out, name, size, e) : -1;
	for (int64_t left = size; rc == 0 && left > 0;) {
		ssize_t n = io_pread(fd, chunk, left < CHUNK ? (size_t)left : CHUNK, (off_t)(size - left));
		if (n <= 0)
			rc = err_errno(e, n < 0 ? errno : EIO, "reading %s", name);
		else if (io_write(b->out, chunk, (size_t)n) < 0)
			rc = err_errno(e, errno, "writing the archive");
		else
			rc = sha256_add(hash, chunk, (size_t)n, e);
		left -= n;
	}
	if (rc == 0)
		rc = sha256_end(hash, digest, e);
	sha256_free(hash);
	b->facts.files++;
	b->facts.bytes += size;
	return rc == 0 ? tar_pad(b->out, size, e) : -1;
}

static int add_file(struct backup *b, int at, const char *path, const char *name, char digest[SHA256_HEX + 1], struct err *e)
{
	struct stat s;
	int fd = openat(at, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "%s", name);
	int rc = fstat(fd, &s) < 0 ? err_errno(e, errno, "%s", name) : add_bytes(b, fd, name, s.st_size, digest, e);
	(void)close(fd);
	return rc;
}

static int add_blobs(struct backup *b, struct err *e)
{
	struct db_rows *r = db_query(b->snapshot, e, "SELECT DISTINCT sha256 FROM blob_uses ORDER BY sha256", "");
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		char sha256[SHA256_HEX + 1], found[SHA256_HEX + 1], name[SHA256_HEX + 16];
		db_text_into(r, 0, sha256, sizeof sha256);
		(void)snprintf(name, sizeof name, "blobs/%.2s/%s", sha256, sha256);
		if (add_file(b, b->blobs, name + strlen("blobs/"), name, found, e) < 0)
			rc = -1;
		else if (strcmp(found, sha256) != 0)
			rc = err_set(e, ERR_IO, "%s is damaged: its digest is %s", name, found);
	}
	db_done(r);
	return rc;
}

/* The keys, of which files hold no more than digests: a state that comes back without them would let everybody in. */
static int add_keys(struct backup *b, struct err *e)
{
	char path[PATH_MAX], ignored[SHA256_HEX + 1], name[300];
	(void)snprintf(path, sizeof path, "%s/keys", b->real);
	DIR *d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : err_errno(e, errno, "%s", path);
	int rc = 0, more = 0;
	for (const char *f; rc == 0 && (more = io_next_name(d, &f)) == 1;) {
		(void)snprintf(name, sizeof name, "keys/%s", f);
		if (f[0] != '.')
			rc = add_file(b, dirfd(d), f, name, ignored, e);
	}
	if (more < 0)
		rc = err_errno(e, errno, "%s", path);
	(void)closedir(d);
	return rc;
}

static int write_archive(struct backup *b, struct err *e)
{
	char ignored[SHA256_HEX + 1];
	b->out = open(b->part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (b->out < 0)
		return err_errno(e, errno, "%s", b->part);
	if (add_file(b, AT_FDCWD, b->copy, "seqmsed.db", ignored, e) < 0 || add_blobs(b, e) < 0 || add_keys(b, e) < 0 ||
	    tar_end(b->out, e) < 0)
		return -1;
	return fsync(b->out) < 0 ? err_errno(e, errno, "syncing the archive") : 0;
}

static void backup_fini(struct backup *b)
{
	db_close(b->snapshot);
	if (b->copy)
		(void)unlink(b->copy);
	if (b->part)
		(void)unlink(b->part);
	if (b->out >= 0)
		(void)close(b->out);
	if (b->blobs >= 0)
		(void)close(b->blobs);
	free(b->real);
	free(b->database);
	free(b->copy);
	free(b->part);
}

int backup_write(const char *state_dir, const char *file, struct backup_facts *facts, struct err *e)
{
	struct backup b = {.blobs = -1, .out = -1};
	int rc = make_paths(&b, state_dir, file, e);
	if (rc == 0 && b.copy && unlink(b.copy) < 0 && errno != ENOENT) /* of one that was killed */
		rc = err_errno(e, errno, "%s", b.copy);
	if (rc == 0 && (hold_blobs(&b, e) < 0 || copy_database(&b, e) < 0 || write_archive(&b, e) < 0))
		rc = -1;
	if (rc == 0 && rename(b.part, file) < 0)
		rc = err_errno(e, errno, "%s", file);
	if (rc == 0 && io_sync_name(file) < 0)
		rc = err_errno(e, errno, "%s is whole, but syncing its folder failed", file);
	*facts = b.facts;
	backup_fini(&b);
	return rc;
}

static const char usage[] =
	"seqmsed backup FILE [--state-dir DIR]: writes the state of a daemon, also of one that works, to a tar archive.\n"
	"To go back: tar xf FILE -C NEW_DIR, and seqmsed serve --state-dir NEW_DIR";

int cmd_backup(int argc, char **argv)
{
	struct config c;
	struct err e = ERR_INIT;
	struct backup_facts facts;
	bool help;
	const char *file = argc > 1 && argv[1][0] != '-' ? argv[1] : NULL;
	if (file) {
		argv++;
		argc--;
	}
	int rc = config_read(&c, argc, argv, &help, &e);
	if (rc == 0 && help)
		(void)puts(usage);
	else if (rc == 0 && !file)
		rc = err_set(&e, ERR_USAGE, "backup needs the name of a file to write; seqmsed backup --help tells more");
	else if (rc == 0 && (rc = backup_write(c.state_dir, file, &facts, &e)) == 0)
		(void)printf("%lld files, %lld bytes\n", (long long)facts.files, (long long)facts.bytes);
	config_fini(&c);
	return rc == 0 ? 0 : cli_fail(&e);
}
