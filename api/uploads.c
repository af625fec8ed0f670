/* tus 1.0.0 (https://tus.io/protocols/resumable-upload): uploads that go on where they broke off. */

#include "api/handlers.h"
#include "api/once.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"
#include "core/base/base64.h"
#include "core/base/hex.h"
#include "core/data/preprocess.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TUS "1.0.0"

static void tus_headers(struct http_response *r)
{
	http_set(r, "Tus-Resumable", TUS);
	http_set(r, "Cache-Control", "no-store");
}

static void refuse(struct http_response *r, const struct http_request *q, const struct err *e)
{
	problem_of(r, q, e, NULL);
	tus_headers(r);
}

/* Every request but OPTIONS (and a person's GET) says which version it speaks. */
static bool speaks_tus(const struct http_request *q, struct http_response *r)
{
	const char *version = http_header(q, "Tus-Resumable");
	if (version && strcmp(version, TUS) == 0)
		return true;
	problem_set(r, q, PROBLEM_PRECONDITION, "this speaks tus " TUS ": Tus-Resumable: " TUS);
	tus_headers(r);
	http_set(r, "Tus-Version", TUS);
	return false;
}

static bool number_header(const struct http_request *q, struct http_response *r, const char *name, int64_t *out)
{
	const char *text = http_header(q, name);
	char *end = NULL;
	errno = 0;
	*out = text && text[0] >= '0' && text[0] <= '9' ? strtoll(text, &end, 10) : -1;
	if (*out >= 0 && errno == 0 && !*end)
		return true;
	problem_set(r, q, PROBLEM_BAD_PARAM, "%s must be a number of bytes", name);
	tus_headers(r);
	return false;
}

/* ---- Upload-Metadata: "kind bW9kZWxz,filename Zm9v" ---- */

/* len characters as a text, to be freed; NULL for what is no base64 of UTF-8 text, or without memory. */
static char *decode(const char *text, size_t len, struct err *e)
{
	char *out = malloc(BASE64_BYTES(len) + 1);
	int64_t n = out ? base64_decode(text, len, out) : -1;
	if (!out)
		err_nomem(e, "the upload");
	if (n >= 0)
		out[n] = '\0';
	if (n >= 0 && strlen(out) == (size_t)n && json_is_utf8(out))
		return out;
	free(out);
	return NULL;
}

/* The value of a key, to be freed; NULL: there is none, or *e says that there is no memory. */
static char *metadata(const struct http_request *q, const char *key, struct err *e)
{
	size_t n = strlen(key);
	for (const char *at = http_header(q, "Upload-Metadata"); at && *at;) {
		at += strspn(at, " ,");
		size_t len = strcspn(at, ",");
		if (len > n && memcmp(at, key, n) == 0 && at[n] == ' ')
			return decode(at + n + 1, len - n - 1, e);
		at += len;
	}
	return NULL;
}

/* ---- requests ---- */

HANDLER(uploads_options)
{
	(void)a;
	(void)q;
	reply_empty(r, 204);
	tus_headers(r);
	http_set(r, "Tus-Version", TUS);
	http_set(r, "Tus-Extension", "creation,creation-with-upload,checksum,termination,expiration");
	http_set(r, "Tus-Checksum-Algorithm", "sha1,sha256");
}

static void set_expires(struct http_response *r, const struct api_upload *u)
{
	time_t s = (time_t)(u->expires_at / 1000);
	struct tm t;
	char text[64];
	if (u->expires_at && gmtime_r(&s, &t) && strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &t))
		http_set(r, "Upload-Expires", "%s", text);
}

/* What a client's header says of a new upload. False: *r is the problem. */
static bool read_creation(const struct http_request *q, struct http_response *r, struct api_upload *u)
{
	char *kind = NULL, *visibility = NULL;
	struct preprocess unused;
	struct err e = ERR_INIT;
	bool ok = false;
	memset(u, 0, sizeof *u);
	if (!speaks_tus(q, r) || !number_header(q, r, "Upload-Length", &u->size))
		return false;
	kind = metadata(q, "kind", &e);
	visibility = metadata(q, "visibility", &e);
	u->name = metadata(q, "name", &e);
	if (!u->name)
		u->name = metadata(q, "filename", &e);
	if (!u->name)
		u->name = strdup("");
	u->model = metadata(q, "model", &e);
	u->preprocess = metadata(q, "preprocess", &e);
	u->owner = strdup(q->who.owner);
	if (!u->name || !u->owner)
		err_nomem(&e, "the upload");
	if (e.code != ERR_NONE)
		problem_of(r, q, &e, NULL);
	else if (!kind || (strcmp(kind, "models") != 0 && strcmp(kind, "calibrations") != 0))
		problem_set(r, q, PROBLEM_BAD_PARAM, "Upload-Metadata must have a kind: models or calibrations, in base64");
	else if (visibility && strcmp(visibility, "team") != 0 && strcmp(visibility, "private") != 0)
		problem_set(r, q, PROBLEM_BAD_PARAM, "visibility must be team or private");
	else if (reply_characters(u->name) > 200)
		problem_set(r, q, PROBLEM_BAD_PARAM, "name has more than 200 characters");
	else if (u->preprocess && preprocess_parse(u->preprocess, &unused, &e))
		problem_of(r, q, &e, NULL);
	else
		ok = true;
	if (ok) {
		(void)snprintf(u->kind, sizeof u->kind, "%s", kind);
		(void)snprintf(u->visibility, sizeof u->visibility, "%s", visibility ? visibility : "team");
	} else {
		tus_headers(r);
		api_upload_fini(u);
	}
	free(kind);
	free(visibility);
	return ok;
}

/* "sha1 BASE64" or "sha256 BASE64", into q->checksum. False: *r is the problem. */
static bool read_checksum(struct http_request *q, struct http_response *r)
{
	const char *text = http_header(q, "Upload-Checksum");
	unsigned char raw[BASE64_BYTES(63)];
	if (!text)
		return true;
	bool sha1 = strncmp(text, "sha1 ", 5) == 0, known = sha1 || strncmp(text, "sha256 ", 7) == 0;
	const char *digest = known ? strchr(text, ' ') + 1 : "";
	int64_t n = known && strlen(digest) < 64 ? base64_decode(digest, strlen(digest), raw) : -1;
	if (n == (sha1 ? 20 : 32)) {
		hex_encode(raw, (size_t)n, q->checksum);
		return true;
	}
	problem_set(r, q, PROBLEM_BAD_REQUEST, "Upload-Checksum must be sha1 or sha256, a space, and the digest in base64");
	tus_headers(r);
	return false;
}

static bool is_piece(const struct http_request *q, struct http_response *r)
{
	const char *type = http_header(q, "Content-Type");
	if (type && strcmp(type, "application/offset+octet-stream") == 0)
		return true;
	problem_set(r, q, PROBLEM_MEDIA, "the body must be application/offset+octet-stream");
	tus_headers(r);
	return false;
}

/* The creation may bring the first bytes, or all of them. */
HANDLER(uploads_add_check)
{
	struct api_upload u;
	(void)a;
	if (!read_creation(q, r, &u))
		return;
	if (!http_has_body(q) || (is_piece(q, r) && read_checksum(q, r)))
		q->most = u.size;
	api_upload_fini(&u);
}

/* The place where the upload's bytes go; for a result, the object. */
static void reply_upload(struct http_response *r, const struct api_upload *u, int status)
{
	reply_empty(r, status);
	tus_headers(r);
	http_set(r, "Upload-Offset", "%lld", (long long)(u->result[0] ? u->size : u->offset));
	set_expires(r, u);
	if (status == 201)
		http_set(r, "Location", "/v1/uploads/%s", u->id);
	if (u->result[0])
		http_set(r, "Content-Location", "/v1/%s/%s", u->kind, u->result);
}

HANDLER(uploads_add)
{
	struct api_upload u;
	struct api_once once;
	struct err e = ERR_INIT;
	if (!once_read(&once, q, r) || !read_creation(q, r, &u))
		return;
	if (a->backend.upload_add(a->backend.ctx, &q->who, &u, q->upload, &once, &e) < 0)
		refuse(r, q, &e);
	else
		reply_upload(r, &u, 201);
	once_mark(&once, r);
	api_upload_fini(&u);
}

HANDLER(uploads_patch_check)
{
	struct err e = ERR_INIT;
	int64_t offset;
	if (!speaks_tus(q, r) || !number_header(q, r, "Upload-Offset", &offset))
		return;
	if (!is_piece(q, r) || !read_checksum(q, r))
		return;
	if (a->backend.upload_begin(a->backend.ctx, &q->who, q->args[0], offset, &q->upload, &e) < 0) {
		refuse(r, q, &e);
	}
}

HANDLER(uploads_patch)
{
	struct api_upload u;
	struct err e = ERR_INIT;
	if (a->backend.upload_commit(a->backend.ctx, &q->who, q->args[0], q->upload, &u, &e) < 0) {
		refuse(r, q, &e);
		return;
	}
	reply_upload(r, &u, 204);
	api_upload_fini(&u);
}

HANDLER(uploads_get)
{
	struct api_upload u;
	struct err e = ERR_INIT;
	struct json_out w;
	char url[80];
	if (q->method == HTTP_HEAD && !speaks_tus(q, r))
		return;
	if (a->backend.upload_get(a->backend.ctx, &q->who, q->args[0], &u, &e) < 0) {
		refuse(r, q, &e);
		return;
	}
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_string(&w, "id", u.id);
	json_out_string(&w, "kind", u.kind);
	json_out_string(&w, "name", u.name);
	json_out_integer(&w, "size", u.size);
	json_out_integer(&w, "offset", u.result[0] ? u.size : u.offset);
	(void)snprintf(url, sizeof url, "/v1/%s/%s", u.kind, u.result);
	json_out_string(&w, "result", u.result[0] ? url : NULL);
	when_json(&w, "expires_at", u.expires_at);
	json_out_end_object(&w);
	reply_end(r, q, 200);
	tus_headers(r);
	http_set(r, "Upload-Offset", "%lld", (long long)(u.result[0] ? u.size : u.offset));
	http_set(r, "Upload-Length", "%lld", (long long)u.size);
	set_expires(r, &u);
	api_upload_fini(&u);
}

HANDLER(uploads_delete)
{
	struct err e = ERR_INIT;
	if (!speaks_tus(q, r))
		return;
	if (a->backend.upload_delete(a->backend.ctx, &q->who, q->args[0], &e) < 0) {
		refuse(r, q, &e);
		return;
	}
	reply_empty(r, 204);
	tus_headers(r);
}
