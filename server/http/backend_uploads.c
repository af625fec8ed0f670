/* Uploads in pieces: from their beginning to the model or calibration set that they become. */

#include "server/http/backend.h"

#include "api/once.h"
#include "core/base/io.h"
#include "server/base/clock.h"
#include "server/base/id.h"
#include "server/base/log.h"
#include "server/http/auth.h"
#include "server/http/upload.h"
#include "server/store/store.h"
#include "server/store/store_once.h"
#include "server/store/store_upload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int check_size(struct backend *b, const struct api_caller *who, const struct api_upload *u, struct err *e)
{
	int64_t most = strcmp(u->kind, "models") == 0 ? b->config->max_model_bytes : b->config->max_calibration_bytes, room, left;
	if (u->size > most)
		return err_set(e, ERR_TOO_LARGE, "the upload may have %lld bytes", (long long)most);
	if (auth_room(b->auth, who, &room, e) < 0 || blobs_free_bytes(store_blobs(b->store), &left, e) < 0)
		return -1;
	if (u->size > room)
		return err_set(e, ERR_DISK_FULL, "of your space %lld bytes are left", (long long)room);
	/* The finished file and its way there are one file, but others fill the disk, too. */
	return left - u->size < b->config->min_free_bytes ? err_set(e, ERR_DISK_FULL, "there is no space left for the file") : 0;
}

static int begin(void *ctx, const struct api_caller *who, const char *id, int64_t offset, struct upload **out, struct err *e)
{
	struct backend *b = ctx;
	struct api_upload u;
	if (store_upload_get(b->store, who, id, &u, e) < 0)
		return -1;
	int fd = store_upload_lock(b->store, id, e);
	int64_t there = fd < 0 ? 0 : (int64_t)lseek(fd, 0, SEEK_END);
	if (there < 0)
		(void)err_errno(e, errno, "an upload's size");
	else if (fd >= 0 && there != offset)
		(void)err_set(e, ERR_OFFSET, "the upload goes on at %lld, not at %lld", (long long)there, (long long)offset);
	else if (fd >= 0)
		*out = upload_append(fd, there, u.size - there, e);
	if (fd >= 0 && !*out)
		store_upload_unlock(fd);
	api_upload_fini(&u);
	return fd >= 0 && *out ? 0 : -1;
}

/* The whole file becomes an object. A file that is none, or did not get to the disk, is dropped: sending the rest again would not make it one. */
static int finish(struct backend *b, const struct api_caller *who, struct api_upload *u, struct upload *whole, struct err *e)
{
	struct api_backend *api = &b->self;
	const struct api_change first = {.name = u->name, .labels = "{}", .visibility = u->visibility};
	struct api_once once = {.key = NULL}; /* a key is the creation's */
	bool existing;
	struct api_object x;
	bool model = strcmp(u->kind, "models") == 0;
	int rc = api->object_add(b, who, model ? API_MODEL : API_CALIBRATION, whole, &first, model ? NULL : u->model,
	                         model ? NULL : u->preprocess, &once, &x, &existing, e);
	if (rc == 0) {
		memcpy(u->result, x.id, sizeof x.id);
		api_object_fini(&x);
	}
	if (rc == 0)
		return store_upload_done(b->store, u->id, u->result, e);
	if (part_is_lost(upload_part(whole)) || e->code == ERR_NOT_ONNX || e->code == ERR_CALIBRATION ||
	    e->code == ERR_UNSUPPORTED_GRAPH || e->code == ERR_NON_FINITE)
		store_upload_give_up(b->store, u->id);
	return -1;
}

static int finish_file(struct backend *b, const struct api_caller *who, struct api_upload *u, struct err *e)
{
	struct part *p = store_upload_part(b->store, u->id, e);
	struct upload *whole = p ? upload_take(p, e) : NULL;
	int rc = whole ? finish(b, who, u, whole, e) : -1;
	upload_free(whole);
	return rc;
}

/* A daemon that ended between the last byte and the object left the rest to its owner's next request. The caller has the file's lock. */
static int finish_left(struct backend *b, const struct api_caller *who, const char *id, struct api_upload *u, struct err *e)
{
	if (u->offset < u->size || strcmp(who->owner, u->owner) != 0)
		return 0;
	api_upload_fini(u);
	if (store_upload_get(b->store, who, id, u, e) < 0) /* somebody may have finished it before we had the lock */
		return -1;
	return u->result[0] ? 0 : finish_file(b, who, u, e);
}

static int get(void *ctx, const struct api_caller *who, const char *id, struct api_upload *out, struct err *e)
{
	struct backend *b = ctx;
	struct err busy = ERR_INIT;
	if (store_upload_get(b->store, who, id, out, e) < 0)
		return -1;
	/* What a request that was cut off left is as good as any, once it is on the disk. */
	int fd = out->result[0] ? -1 : store_upload_lock(b->store, id, &busy);
	int rc = fd < 0 ? 0 : store_upload_sync(b->store, id, fd, &out->offset, e);
	if (fd >= 0 && rc == 0)
		rc = finish_left(b, who, id, out, e);
	if (fd >= 0)
		store_upload_unlock(fd);
	if (rc < 0)
		api_upload_fini(out);
	return rc;
}

/* What came with the creation goes to the upload's file, unless it is all there is to come. */
static int take_first(struct backend *b, const struct api_caller *who, struct api_upload *u, struct upload *first, struct err *e)
{
	if (part_size(upload_part(first)) > u->size)
		return err_set(e, ERR_TOO_LARGE, "the upload has %lld bytes to come", (long long)u->size);
	if (part_size(upload_part(first)) == u->size) {
		u->offset = u->size;
		return finish(b, who, u, first, e);
	}
	int from = part_open(upload_part(first), e), to = from < 0 ? -1 : store_upload_lock(b->store, u->id, e);
	int rc = to < 0 ? -1 : 0;
	if (rc == 0 && io_copy(from, to) < 0)
		rc = err_errno(e, errno, "writing the upload");
	if (rc == 0)
		rc = store_upload_sync(b->store, u->id, to, &u->offset, e);
	if (from >= 0)
		(void)close(from);
	if (to >= 0)
		store_upload_unlock(to);
	return rc;
}

/* Commits a new upload, or gives *u the id of the one that the request's key made. */
static int begin_new(struct backend *b, const struct api_caller *who, struct api_upload *u, struct api_once *once, struct err *e)
{
	if (store_once_made(b->store, who->owner, once, u->id, e) < 0)
		return -1;
	if (u->id[0])
		return 0;
	if (check_size(b, who, u, e) < 0 || id_new("upl_", u->id, e) < 0)
		return -1;
	u->expires_at = clock_ms() + b->config->upload_seconds * 1000;
	return store_upload_add(b->store, u, once, e);
}

/* A client that hears of a failure has no upload that it could go on with. */
static int add(void *ctx, const struct api_caller *who, struct api_upload *u, struct upload *first, struct api_once *once,
               struct err *e)
{
	struct backend *b = ctx;
	struct err ignored = ERR_INIT;
	char id[API_ID + 1];
	if (first && upload_end(first, e) < 0)
		return -1;
	if (first)
		once_add_file(once, part_sha256(upload_part(first)));
	if (begin_new(b, who, u, once, e) < 0)
		return -1;
	if (once->replayed) {
		memcpy(id, u->id, sizeof id);
		api_upload_fini(u);
		if (store_upload_get(b->store, who, id, u, e) < 0)
			return -1;
		if (u->result[0] || u->offset < u->size)
			return 0; /* without the file's lock: its maker may be about to take it */
		api_upload_fini(u);
		return get(ctx, who, id, u, e);
	}
	if (!first || take_first(b, who, u, first, e) == 0)
		return 0;
	if (e->code != ERR_LOCKED && e->code != ERR_GONE) /* else somebody with the same key goes on with it already */
		(void)store_upload_delete(b->store, NULL, u->id, &ignored);
	return -1;
}

static int commit(void *ctx, const struct api_caller *who, const char *id, struct upload *part, struct api_upload *out,
                  struct err *e)
{
	struct backend *b = ctx;
	if (upload_end(part, e) < 0 || store_upload_get(b->store, who, id, out, e) < 0)
		return -1;
	int rc = store_upload_sync(b->store, id, upload_fd(part), &out->offset, e);
	if (rc == 0 && out->offset == out->size)
		rc = finish_file(b, who, out, e);
	if (rc < 0)
		api_upload_fini(out);
	return rc;
}

static int drop(void *ctx, const struct api_caller *who, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_upload_delete(b->store, who, id, e);
}

void backend_fill_uploads(struct api_backend *out)
{
	out->upload_add = add;
	out->upload_get = get;
	out->upload_begin = begin;
	out->upload_commit = commit;
	out->upload_delete = drop;
}
