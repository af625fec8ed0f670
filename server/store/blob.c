#include "server/store/blob.h"

#include "core/base/io.h"
#include "server/base/id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct blobs {
	int blobs, parts; /* folders */
};

struct part {
	struct blobs *b;
	int fd;
	char name[33];
	bool kept, synced, lost;
	struct sha256 *hash;
	char digest[SHA256_HEX + 1];
	int64_t size;
};

enum { BLOB_PATH = 3 + SHA256_HEX + 1 }; /* "ab/abcd…" */

static int open_folder(int at, const char *name, struct err *e)
{
	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return err_errno(e, errno, "making the folder %s", name);
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_errno(e, errno, "opening the folder %s", name) : fd;
}

static int sync_folder(int fd, struct err *e)
{
	return fsync(fd) < 0 ? err_errno(e, errno, "syncing a folder") : 0;
}

struct blobs *blobs_open(int state, struct err *e)
{
	struct blobs *b = malloc(sizeof *b);
	if (!b) {
		err_nomem(e, "the blobs");
		return NULL;
	}
	b->blobs = open_folder(state, "blobs", e);
	b->parts = b->blobs < 0 ? -1 : open_folder(state, "parts", e);
	if (b->parts >= 0 && sync_folder(state, e) == 0 &&
	    sync_folder(b->blobs, e) == 0) /* a daemon may have died before its syncs */
		return b;
	blobs_close(b);
	return NULL;
}

void blobs_close(struct blobs *b)
{
	if (!b)
		return;
	if (b->blobs >= 0)
		(void)close(b->blobs);
	if (b->parts >= 0)
		(void)close(b->parts);
	free(b);
}

int blobs_free_bytes(const struct blobs *b, int64_t *out, struct err *e)
{
	struct statvfs s;
	if (fstatvfs(b->blobs, &s) < 0)
		return err_errno(e, errno, "asking for free disk space");
	*out = (int64_t)s.f_bavail * (int64_t)s.f_frsize;
	return 0;
}

/* With a name and a digest, and no file yet. */
static struct part *part_begin(struct blobs *b, struct err *e)
{
	struct part *p = calloc(1, sizeof *p);
	if (!p) {
		err_nomem(e, "an upload");
		return NULL;
	}
	p->b = b;
	p->fd = -1;
	p->hash = sha256_new(e);
	if (p->hash && id_random(p->name, e) == 0)
		return p;
	part_free(p);
	return NULL;
}

struct part *part_new(struct blobs *b, struct err *e)
{
	struct part *p = part_begin(b, e);
	if (!p)
		return NULL;
	p->fd = openat(b->parts, p->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (p->fd >= 0)
		return p;
	err_errno(e, errno, "making a file for the upload");
	part_free(p);
	return NULL;
}

static int hash_file(struct part *p, struct err *e)
{
	enum { PIECE = 1 << 18 };
	char *piece = malloc(PIECE);
	int rc = piece ? 0 : err_nomem(e, "an upload");
	while (rc == 0) {
		ssize_t n = io_pread(p->fd, piece, PIECE, (off_t)p->size);
		if (n < 0)
			rc = err_errno(e, errno, "reading the upload");
		if (n <= 0)
			break;
		rc = sha256_add(p->hash, piece, (size_t)n, e);
		p->size += n;
	}
	free(piece);
	return rc;
}

struct part *part_link(struct blobs *b, int folder, const char *name, struct err *e)
{
	struct part *p = part_begin(b, e);
	if (!p)
		return NULL;
	bool linked = linkat(folder, name, b->parts, p->name, 0) == 0;
	if (linked)
		p->fd = openat(b->parts, p->name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (p->fd < 0)
		err_errno(e, errno, "taking the upload over");
	else if (hash_file(p, e) == 0 && part_end(p, e) == 0)
		return p;
	if (linked && p->fd < 0)
		(void)unlinkat(b->parts, p->name, 0);
	part_free(p);
	return NULL;
}

int part_add(struct part *p, const void *data, size_t len, struct err *e)
{
	if (sha256_add(p->hash, data, len, e) < 0)
		return -1;
	if (io_write(p->fd, data, len) < 0)
		return err_errno(e, errno, "writing the upload");
	p->size += (int64_t)len;
	return 0;
}

int part_end(struct part *p, struct err *e)
{
	return sha256_end(p->hash, p->digest, e);
}

const char *part_sha256(const struct part *p)
{
	return p->digest;
}

int64_t part_size(const struct part *p)
{
	return p->size;
}

int part_open(const struct part *p, struct err *e)
{
	int fd = openat(p->b->parts, p->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? err_errno(e, errno, "opening the upload") : fd;
}

int part_sync(struct part *p, struct err *e)
{
	p->synced = fsync(p->fd) == 0;
	p->lost = !p->synced;
	return p->synced ? 0 : err_errno(e, errno, "syncing the upload");
}

bool part_is_lost(const struct part *p)
{
	return p->lost;
}

static void blob_path(const char *sha256, char path[BLOB_PATH])
{
	(void)snprintf(path, BLOB_PATH, "%.2s/%s", sha256, sha256);
}

/* The folder of a digest's first two digits. Whoever finds one may rely on its being on the disk. */
static int open_shelf(const struct blobs *b, const char *sha256, struct err *e)
{
	char name[3] = {sha256[0], sha256[1], '\0'};
	if (mkdirat(b->blobs, name, 0700) == 0 && sync_folder(b->blobs, e) < 0) {
		(void)unlinkat(b->blobs, name, AT_REMOVEDIR);
		return -1;
	}
	return open_folder(b->blobs, name, e);
}

int part_keep(struct part *p, struct err *e)
{
	if (!p->synced)
		return err_set(e, ERR_INTERNAL, "a part must be synced before it is kept");
	int shelf = open_shelf(p->b, p->digest, e), rc = -1;
	if (shelf < 0)
		return -1;
	if (renameat(p->b->parts, p->name, shelf, p->digest) < 0) {
		err_errno(e, errno, "naming a blob");
	} else {
		p->kept = true;
		rc = sync_folder(shelf, e);
	}
	(void)close(shelf);
	return rc;
}

void part_free(struct part *p)
{
	if (!p)
		return;
	if (p->fd >= 0) {
		if (!p->kept)
			(void)unlinkat(p->b->parts, p->name, 0);
		(void)close(p->fd);
	}
	sha256_free(p->hash);
	free(p);
}

int blob_open(const struct blobs *b, const char *sha256, int64_t *size, struct err *e)
{
	char path[BLOB_PATH];
	struct stat s;
	blob_path(sha256, path);
	int fd = openat(b->blobs, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT) /* as after a deletion between a look at the row and this one */
		return err_set(e, ERR_NOT_FOUND, "the object's file, %.12s…, is gone", sha256);
	if (fd < 0)
		return err_errno(e, errno, "opening the blob %.12s", sha256);
	if (size) {
		if (fstat(fd, &s) < 0) {
			(void)close(fd);
			return err_errno(e, errno, "reading the blob %.12s", sha256);
		}
		*size = s.st_size;
	}
	return fd;
}

/* False while a backup reads; else the caller unlocks. */
static bool may_remove(const struct blobs *b)
{
	return flock(b->blobs, LOCK_EX | LOCK_NB) == 0;
}

void blob_remove(const struct blobs *b, const char *sha256)
{
	char path[BLOB_PATH];
	blob_path(sha256, path);
	if (!may_remove(b))
		return;
	(void)unlinkat(b->blobs, path, 0); /* what stays behind is swept at the next start */
	(void)flock(b->blobs, LOCK_UN);
}

int blob_check(int fd, const char *sha256, bool (*go_on)(void *ctx), void *ctx, struct err *e)
{
	enum { CHUNK = 1 << 18 };
	char digest[SHA256_HEX + 1];
	struct sha256 *hash = sha256_new(e);
	char *chunk = malloc(CHUNK);
	int rc = !hash ? -1 : !chunk ? err_nomem(e, "a file's check") : 0;
	ssize_t n = 1;
	for (off_t at = 0; rc == 0 && n > 0; at += n) {
		n = io_pread(fd, chunk, CHUNK, at);
		if (n < 0)
			rc = err_errno(e, errno, "reading the blob %.12s", sha256);
		else if (!go_on(ctx))
			rc = err_set(e, ERR_CANCELED, "canceled");
		else
			rc = sha256_add(hash, chunk, (size_t)n, e);
	}
	if (rc == 0)
		rc = sha256_end(hash, digest, e);
	if (rc == 0 && strcmp(digest, sha256) != 0)
		rc = err_set(e, ERR_IO, "the file %.12s… is damaged on the server's disk: its digest is now %.12s…", sha256,
		             digest);
	free(chunk);
	sha256_free(hash);
	return rc;
}

/* Calls each() for every entry of a folder. */
static int each_entry(int folder, const char *name, int (*each)(void *ctx, int dir, const char *entry, struct err *e), void *ctx,
                      struct err *e)
{
	const char *entry;
	int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0, more = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		err_errno(e, errno, "listing %s", name);
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	while (rc == 0 && (more = io_next_name(d, &entry)) == 1)
		rc = each(ctx, dirfd(d), entry, e);
	if (more < 0)
		rc = err_errno(e, errno, "listing %s", name);
	(void)closedir(d);
	return rc;
}

struct sweep {
	int (*used)(void *ctx, const char *sha256, struct err *e);
	void *ctx;
	int removed;
};

static int sweep_part(void *ctx, int dir, const char *entry, struct err *e)
{
	struct sweep *s = ctx;
	(void)e;
	s->removed += unlinkat(dir, entry, 0) == 0;
	return 0;
}

static int sweep_blob(void *ctx, int dir, const char *entry, struct err *e)
{
	struct sweep *s = ctx;
	int used = s->used(s->ctx, entry, e);
	if (used == 0)
		s->removed += unlinkat(dir, entry, 0) == 0;
	return used < 0 ? -1 : 0;
}

static int sweep_shelf(void *ctx, int dir, const char *entry, struct err *e)
{
	return strlen(entry) == 2 ? each_entry(dir, entry, sweep_blob, ctx, e) : 0;
}

int blobs_sweep(struct blobs *b, int (*used)(void *ctx, const char *sha256, struct err *e), void *ctx, int *removed, struct err *e)
{
	struct sweep s = {used, ctx, 0};
	int rc = each_entry(b->parts, ".", sweep_part, &s, e);
	if (rc == 0 && may_remove(b)) {
		rc = each_entry(b->blobs, ".", sweep_shelf, &s, e);
		(void)flock(b->blobs, LOCK_UN);
	}
	*removed = s.removed;
	return rc;
}
