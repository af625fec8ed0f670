#include "api/download.h"

#include "api/problems.h"
#include "core/base/sha256.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Whether an entity-tag list ("*", or quoted tags, weak or strong) has the tag; weak ones count only when weak is set. */
static bool list_has(const char *list, const char *tag, bool weak)
{
	size_t n = strlen(tag);
	while (*list) {
		list += strspn(list, " \t,");
		if (*list == '*')
			return true;
		bool is_weak = strncmp(list, "W/", 2) == 0;
		if (is_weak)
			list += 2;
		if (*list != '"')
			return false;
		const char *end = strchr(list + 1, '"');
		if (!end)
			return false;
		if ((weak || !is_weak) && (size_t)(end - list) == n + 1 && memcmp(list + 1, tag, n) == 0)
			return true;
		list = end + 1;
	}
	return false;
}

static bool not_modified(const struct http_request *q, const char *tag)
{
	const char *list = http_header(q, "If-None-Match");
	return list && list_has(list, tag, true);
}

/* filename for old clients in plain ASCII, filename* for all others (RFC 6266). */
static void set_disposition(struct http_response *r, const char *how, const char *name)
{
	struct buf plain = BUF_INIT, encoded = BUF_INIT;
	for (const unsigned char *s = (const unsigned char *)name; *s; s++) {
		bool safe = (*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || strchr("._-", *s);
		buf_printf(&plain, "%c", safe ? *s : '_');
		buf_printf(&encoded, safe ? "%c" : "%%%02X", *s);
	}
	if (buf_failed(&plain) || buf_failed(&encoded))
		r->failed = true;
	else if (plain.data)
		http_set(r, "Content-Disposition", "%s; filename=\"%s\"; filename*=UTF-8''%s", how, plain.data, encoded.data);
	buf_fini(&plain);
	buf_fini(&encoded);
}

static const char *number(const char *s, int64_t *out)
{
	char *end;
	if (*s < '0' || *s > '9')
		return NULL;
	errno = 0;
	*out = strtoll(s, &end, 10);
	return errno ? NULL : end;
}

enum range { RANGE_NONE, RANGE_OK, RANGE_BAD };

/* "bytes=a-b", "bytes=a-", "bytes=-n". Anything else, several ranges too, is as if it were not there. */
static enum range parse_range(const char *text, int64_t size, int64_t *first, int64_t *last)
{
	if (strncasecmp(text, "bytes=", 6) != 0)
		return RANGE_NONE;
	const char *s = text + 6;
	int64_t a = -1, b = -1;
	if (*s != '-' && !(s = number(s, &a)))
		return RANGE_NONE;
	if (*s++ != '-')
		return RANGE_NONE;
	if (*s && !(s = number(s, &b)))
		return RANGE_NONE;
	if (*s || (a < 0 && b < 0) || (a >= 0 && b >= 0 && b < a))
		return RANGE_NONE;
	if (a < 0) { /* the last b bytes */
		if (b == 0 || size == 0)
			return RANGE_BAD;
		*first = b < size ? size - b : 0;
		*last = size - 1;
		return RANGE_OK;
	}
	if (a >= size)
		return RANGE_BAD;
	*first = a;
	*last = b < 0 || b >= size ? size - 1 : b;
	return RANGE_OK;
}

static enum range wanted_range(const struct http_request *q, const char *tag, int64_t size, int64_t *first, int64_t *last)
{
	const char *text = http_header(q, "Range"), *only_if = http_header(q, "If-Range");
	if (!text || (only_if && !list_has(only_if, tag, false)))
		return RANGE_NONE;
	return parse_range(text, size, first, last);
}

static void set_tags(struct http_response *r, const char *sha256)
{
	http_set(r, "ETag", "\"%s\"", sha256);
	http_set(r, "Cache-Control", "private, no-cache");
}

/* A page of ours (a report) may be looked at where it is; but names out of models are in it, and whoever finds a way to make them
 * markup shall find nothing that it could do: no script, no request, and an origin of its own. */
static void set_page_policy(struct http_response *r)
{
	http_set(r, "Content-Security-Policy", "%s",
	         "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
	         "sandbox");
	http_set(r, "Referrer-Policy", "no-referrer");
	http_set(r, "Cross-Origin-Resource-Policy", "same-origin");
}

static void set_headers(struct http_response *r, const struct api_blob *b, const char *fallback)
{
	bool page = b->media_type && strcmp(b->media_type, "text/html") == 0;
	char digest[SHA256_BASE64 + 1];
	sha256_base64(b->sha256, digest);
	set_tags(r, b->sha256);
	http_set(r, "Repr-Digest", "sha-256=:%s:", digest);
	http_set(r, "Accept-Ranges", "bytes");
	http_set(r, "Content-Type", "%s", b->media_type ? b->media_type : "application/octet-stream");
	http_set(r, "X-Content-Type-Options", "nosniff");
	if (page)
		set_page_policy(r);
	set_disposition(r, page ? "inline" : "attachment", b->name && b->name[0] ? b->name : fallback);
}

void download(struct http_response *r, const struct http_request *q, struct api_blob *b, const char *fallback)
{
	const char *must = http_header(q, "If-Match");
	int64_t first = 0, last = b->size - 1;
	http_response_fini(r);
	if (must && !list_has(must, b->sha256, false)) {
		problem_set(r, q, PROBLEM_PRECONDITION, "the file's ETag is \"%s\"", b->sha256);
		return;
	}
	if (not_modified(q, b->sha256)) {
		set_tags(r, b->sha256);
		r->status = 304;
		return;
	}
	enum range range = wanted_range(q, b->sha256, b->size, &first, &last);
	if (range == RANGE_BAD) {
		problem_set(r, q, PROBLEM_RANGE, "the file has %lld bytes", (long long)b->size);
		http_set(r, "Content-Range", "bytes */%lld", (long long)b->size);
		return;
	}
	set_headers(r, b, fallback);
	r->status = range == RANGE_OK ? 206 : 200;
	if (range == RANGE_OK)
		http_set(r, "Content-Range", "bytes %lld-%lld/%lld", (long long)first, (long long)last, (long long)b->size);
	r->offset = first;
	r->length = last - first + 1;
	r->fd = b->fd;
	b->fd = -1;
}

void download_mark(struct http_response *r)
{
	char tag[SHA256_HEX + 1];
	struct err ignored = ERR_INIT;
	if (r->status != 200)
		return;
	if (sha256_of(r->body.data, r->body.len, tag, &ignored) == 0)
		set_tags(r, tag);
	else
		r->failed = true;
}

static int has_tag(const char *list, const struct buf *body, bool *has, struct err *e)
{
	char tag[SHA256_HEX + 1];
	if (buf_failed(body))
		return err_nomem(e, "an object's ETag");
	if (sha256_of(body->data, body->len, tag, e) < 0)
		return -1;
	*has = list_has(list, tag, false);
	return 0;
}

int download_check(const struct api_change *c, const void *object, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	bool has = false;
	json_out_init(&w, &b, 0);
	c->write(&w, object);
	buf_str(&b, "\n");
	int rc = has_tag(c->must, &b, &has, e);
	buf_fini(&b);
	return rc == 0 && !has ? err_set(e, ERR_PRECONDITION, "the %s has changed: its ETag is not one of If-Match", c->kind) : rc;
}

void download_tag(struct http_response *r, const struct http_request *q)
{
	char tag[SHA256_HEX + 1];
	struct err ignored = ERR_INIT;
	if (r->status != 200)
		return;
	bool failed = sha256_of(r->body.data, r->body.len, tag, &ignored) < 0, same = !failed && not_modified(q, tag);
	if (same)
		http_response_fini(r);
	if (!failed)
		set_tags(r, tag);
	r->failed |= failed;
	r->status = same ? 304 : 200;
}
