#include "server/store/store_upload.h"

#include "core/base/io.h"
#include "server/base/clock.h"
#include "server/store/store.h"
#include "server/store/store_once.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files ---- */

static void drop_file(struct store *s, const char *id)
{
	(void)unlinkat(store_uploads_folder(s), id, 0); /* one that stays goes at the next start */
}

static int make_file(struct store *s, const char *id, struct err *e)
{
	int folder = store_uploads_folder(s), fd = openat(folder, id, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(e, errno, "making a file for the upload");
	int rc = fsync(fd) < 0 || fsync(folder) < 0 ? err_errno(e, errno, "syncing the upload") : 0;
	(void)close(fd);
	if (rc < 0)
		drop_file(s, id);
	return rc;
}

int store_upload_lock(struct store *s, const char *id, struct err *e)
{
	int fd = openat(store_uploads_folder(s), id, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? err_set(e, ERR_GONE, "the upload is finished, or gone")
		                       : err_errno(e, errno, "opening the upload");
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	int why = errno;
	(void)close(fd);
	return why == EWOULDBLOCK ? err_set(e, ERR_LOCKED, "another request is sending to this upload")
	                          : err_errno(e, why, "locking the upload");
}

void store_upload_unlock(int fd)
{
	(void)flock(fd, LOCK_UN);
	(void)close(fd);
}

struct part *store_upload_part(struct store *s, const char *id, struct err *e)
{
	return part_link(store_blobs(s), store_uploads_folder(s), id, e);
}

/* ---- rows ---- */

static int drop_expired(struct store *s, struct db *d, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT id FROM uploads WHERE expires_at <= ?", "i", clock_ms());
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1)
		drop_file(s, db_text(r, 0));
	db_done(r);
	return rc < 0 ? -1 : db_run(d, e, "DELETE FROM uploads WHERE expires_at <= ?", "i", clock_ms());
}

static int insert(struct db *d, const struct api_upload *u, struct err *e)
{
	return db_run(d, e,
	              "INSERT INTO uploads(id, owner, kind, name, visibility, model, preprocess, size, created_at, expires_at) "
	              "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	              "sssssssiii", u->id, u->owner, u->kind, u->name, u->visibility, u->model, u->preprocess, u->size, clock_ms(),
	              u->expires_at);
}

int store_upload_add(struct store *s, struct api_upload *u, struct api_once *once, struct err *e)
{
	char earlier[API_ID + 1] = "";
	if (make_file(s, u->id, e) < 0)
		return -1;
	struct db *d = store_begin(s, e);
	int rc = d && drop_expired(s, d, e) == 0 ? store_once_find(d, u->owner, once, earlier, e) : -1;
	if (rc == 0 && !earlier[0])
		rc = insert(d, u, e) == 0 ? store_once_keep(d, u->owner, once, u->id, e) : -1;
	if (d)
		rc = store_end(s, rc, e);
	if (rc < 0 || earlier[0])
		drop_file(s, u->id);
	if (rc == 0 && earlier[0])
		memcpy(u->id, earlier, sizeof u->id);
	return rc;
}

static int read_row(struct db_rows *r, struct api_upload *u, struct err *e)
{
	db_text_into(r, 0, u->id, sizeof u->id);
	db_text_into(r, 1, u->kind, sizeof u->kind);
	db_text_into(r, 3, u->visibility, sizeof u->visibility);
	u->size = db_int(r, 5);
	u->offset = db_int(r, 6);
	u->expires_at = db_int(r, 7);
	db_text_into(r, 8, u->result, sizeof u->result);
	return db_text_dup(r, 2, &u->name, e) == 0 && db_text_dup(r, 4, &u->model, e) == 0 &&
	                       db_text_dup(r, 9, &u->owner, e) == 0 && db_text_dup(r, 10, &u->preprocess, e) == 0
	               ? 0
	               : -1;
}

int store_upload_get(struct store *s, const struct api_caller *who, const char *id, struct api_upload *out, struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	struct db_rows *r =
		d ? db_query(
			    d, e,
			    "SELECT id, kind, name, visibility, model, size, offset, expires_at, result_id, owner, preprocess FROM "
			    "uploads "
			    "WHERE id = ?1 AND " STORE_OWNS,
			    "sis", id, store_sees_all(who), store_owner(who))
		  : NULL;
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_row(r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no upload %.40s", id);
	db_done(r);
	store_read_end(s, d);
	if (rc == 0 && out->expires_at <= clock_ms())
		rc = err_set(e, ERR_GONE, "the upload's time is over");
	if (rc < 0)
		api_upload_fini(out);
	return rc;
}

int store_upload_sync(struct store *s, const char *id, int fd, int64_t *offset, struct err *e)
{
	struct stat x;
	if (fsync(fd) < 0 || fstat(fd, &x) < 0) {
		err_errno(e, errno, "syncing the upload");
		store_upload_give_up(s, id);
		return -1;
	}
	*offset = (int64_t)x.st_size;
	struct db *d = store_begin(s, e);
	return d ? store_end(s, db_run(d, e, "UPDATE uploads SET offset = ? WHERE id = ?", "is", *offset, id), e) : -1;
}

int store_upload_done(struct store *s, const char *id, const char *result, struct err *e)
{
	struct db *d = store_begin(s, e);
	int rc = d ? store_end(s, db_run(d, e, "UPDATE uploads SET result_id = ? WHERE id = ?", "ss", result, id), e) : -1;
	if (rc == 0)
		drop_file(s, id);
	return rc;
}

int store_upload_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	int rc =
		db_run(d, e, "DELETE FROM uploads WHERE id = ?1 AND " STORE_OWNS, "sis", id, store_sees_all(who), store_owner(who));
	if (rc == 0 && db_changes(d) == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no upload %.40s", id);
	if (rc == 0 && !who)
		rc = store_once_drop(d, id, e);
	rc = store_end(s, rc, e);
	if (rc == 0)
		drop_file(s, id);
	return rc;
}

void store_upload_give_up(struct store *s, const char *id)
{
	struct err ignored = ERR_INIT; /* without its file the row is worth nothing */
	drop_file(s, id);
	(void)store_upload_delete(s, NULL, id, &ignored);
}

/* ---- start-up ---- */

/* Whether the file belongs to an upload that goes on; then it is cut to what was synced. */
static int check_file(struct store *s, struct db *d, const char *name, struct err *e)
{
	int64_t offset;
	bool found;
	if (db_get_int(d, e, &offset, &found, "SELECT offset FROM uploads WHERE id = ? AND result_id IS NULL", "s", name) < 0)
		return -1;
	if (!found) {
		drop_file(s, name);
		return 0;
	}
	int fd = openat(store_uploads_folder(s), name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, errno, "opening an upload");
	struct stat x;
	int rc = fstat(fd, &x) < 0 || (x.st_size > offset && ftruncate(fd, (off_t)offset) < 0)
	                 ? err_errno(e, errno, "cutting an upload")
	                 : 0;
	if (rc == 0 && x.st_size < offset)
		rc = db_run(d, e, "UPDATE uploads SET offset = ? WHERE id = ?", "is", (int64_t)x.st_size, name);
	(void)close(fd);
	return rc;
}

static int check_files(struct store *s, struct db *d, struct err *e)
{
	const char *name;
	int fd = openat(store_uploads_folder(s), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0, more = 0;
	DIR *folder = fd < 0 ? NULL : fdopendir(fd);
	if (!folder) {
		if (fd >= 0)
			(void)close(fd);
		return err_errno(e, errno, "the folder of uploads");
	}
	while (rc == 0 && (more = io_next_name(folder, &name)) == 1)
		if (name[0] != '.')
			rc = check_file(s, d, name, e);
	if (more < 0)
		rc = err_errno(e, errno, "the folder of uploads");
	(void)closedir(folder);
	return rc;
}

int store_upload_recover(struct store *s, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, drop_expired(s, d, e) == 0 ? check_files(s, d, e) : -1, e) : -1;
}
