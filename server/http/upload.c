#include "server/http/upload.h"

#include "core/base/io.h"
#include "core/base/sha256.h"
#include "server/http/digest.h"
#include "server/store/store_upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct upload {
	struct part *part;
	int fd; /* of what is appended to a file; -1: it is a part */
	int64_t at, limit, seen;
	char want[SHA256_HEX + 1]; /* "": the client announced nothing */
	struct err why;            /* the first failure */
	struct sha256 *check;      /* of what is to be compared; NULL: nothing, or it was equal */
	char checksum[SHA256_HEX + 1];
};

struct upload *upload_new(struct blobs *b, int64_t limit, const char *digest, struct err *e)
{
	struct upload *u = calloc(1, sizeof *u);
	if (!u) {
		err_nomem(e, "an upload");
		return NULL;
	}
	u->limit = limit;
	u->fd = -1;
	if (digest_read(digest, u->want, e) == 0 && (u->part = part_new(b, e)))
		return u;
	upload_free(u);
	return NULL;
}

struct upload *upload_append(int fd, int64_t at, int64_t limit, struct err *e)
{
	struct upload *u = calloc(1, sizeof *u);
	if (!u) {
		err_nomem(e, "an upload");
		return NULL;
	}
	u->fd = fd;
	u->at = at;
	u->limit = limit;
	return u;
}

struct upload *upload_take(struct part *p, struct err *e)
{
	struct upload *u = calloc(1, sizeof *u);
	if (!u) {
		part_free(p);
		err_nomem(e, "an upload");
		return NULL;
	}
	u->part = p;
	u->fd = -1;
	return u;
}

int upload_fd(const struct upload *u)
{
	return u->fd;
}

int64_t upload_limit(const struct upload *u)
{
	return u->limit;
}

static void append(struct upload *u, const void *data, size_t len)
{
	if (u->why.code != ERR_NONE)
		return;
	if (u->seen > u->limit) {
		(void)err_set(&u->why, ERR_TOO_LARGE, "the upload has %lld bytes left to come", (long long)u->limit);
		(void)!ftruncate(u->fd, (off_t)u->at);
	} else if (io_pwrite(u->fd, data, len, (off_t)(u->at + u->seen - (int64_t)len)) < 0) {
		(void)err_errno(&u->why, errno, "writing the upload");
	}
}

int upload_expect(struct upload *u, const char *checksum, struct err *e)
{
	(void)snprintf(u->checksum, sizeof u->checksum, "%s", checksum);
	u->check = strlen(checksum) == SHA256_HEX ? sha256_new(e) : sha256_new_sha1(e);
	return u->check ? 0 : -1;
}

/* Of an upload that is appended to the bytes are taken back, unless they are what they should be. */
static int compare(struct upload *u, struct err *e)
{
	char found[SHA256_HEX + 1];
	if (!u->check)
		return 0;
	if (sha256_end(u->check, found, e) < 0)
		return -1;
	if (strcmp(found, u->checksum) != 0)
		return err_set(e, ERR_CHECKSUM, "the bytes hash to %s, not to %s", found, u->checksum);
	sha256_free(u->check);
	u->check = NULL;
	return 0;
}

/* Room is made at once: what was written of a body that nobody will keep. */
static void give_up(struct upload *u)
{
	part_free(u->part);
	u->part = NULL;
}

void upload_add(struct upload *u, const void *data, size_t len)
{
	u->seen += (int64_t)len;
	if (u->check && u->why.code == ERR_NONE)
		(void)sha256_add(u->check, data, len, &u->why);
	if (u->fd >= 0)
		append(u, data, len);
	else if (u->seen > u->limit || (u->part && part_add(u->part, data, len, &u->why) < 0))
		give_up(u);
}

bool upload_too_large(const struct upload *u)
{
	return u->seen > u->limit;
}

int upload_end(struct upload *u, struct err *e)
{
	if (u->fd >= 0) {
		*e = u->why;
		return e->code == ERR_NONE ? compare(u, e) : -1;
	}
	if (!u->part) {
		*e = u->why;
		return e->code != ERR_NONE ? -1
		                           : err_set(e, ERR_BAD_PARAM, "the body has more than %lld bytes", (long long)u->limit);
	}
	if (part_end(u->part, e) < 0 || compare(u, e) < 0)
		return -1;
	if (u->want[0] && strcmp(u->want, part_sha256(u->part)) != 0)
		return err_set(e, ERR_BAD_PARAM, "the body's SHA-256 is %s, not the announced %s", part_sha256(u->part), u->want);
	return 0;
}

struct part *upload_part(struct upload *u)
{
	return u->part;
}

void upload_free(struct upload *u)
{
	if (!u)
		return;
	part_free(u->part);
	if (u->fd >= 0 && u->check)
		(void)!ftruncate(u->fd, (off_t)u->at);
	sha256_free(u->check);
	if (u->fd >= 0)
		store_upload_unlock(u->fd);
	free(u);
}
