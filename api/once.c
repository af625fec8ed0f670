#include "api/once.h"

#include "api/problems.h"
#include "core/base/sha256.h"

#include <stdio.h>
#include <string.h>

enum { MAX_KEY = 200 };

static bool is_key(const char *text)
{
	size_t n = strlen(text);
	for (size_t i = 0; i < n; i++)
		if (text[i] <= 0x20 || text[i] >= 0x7f)
			return false;
	return n > 0 && n <= MAX_KEY;
}

static void put(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text) + 1); /* with its NUL: parts cannot run into each other */
}

static int fingerprint(const struct http_request *q, char out[API_SHA256 + 1], struct err *e)
{
	static const char *const headers[] = {"Upload-Length", "Upload-Metadata"};
	struct buf b = BUF_INIT;
	for (size_t i = 0; i < q->nsegments; i++)
		put(&b, q->segments[i]);
	put(&b, "");
	for (size_t i = 0; i < q->nquery; i++) {
		put(&b, q->query[i].name);
		put(&b, q->query[i].value);
	}
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		if (http_header(q, headers[i])) {
			put(&b, headers[i]);
			put(&b, http_header(q, headers[i]));
		}
	put(&b, "");
	if (q->body_len)
		buf_add(&b, q->body, q->body_len);
	int rc = buf_failed(&b) ? err_nomem(e, "a request's fingerprint") : sha256_of(b.data, b.len, out, e);
	buf_fini(&b);
	return rc;
}

bool once_check(const struct http_request *q, struct http_response *r)
{
	const char *key = http_header(q, "Idempotency-Key");
	if (!key || is_key(key))
		return true;
	problem_set(r, q, PROBLEM_BAD_PARAM, "an Idempotency-Key has 1 to %d visible ASCII characters", MAX_KEY);
	return false;
}

bool once_read(struct api_once *o, const struct http_request *q, struct http_response *r)
{
	struct err e = ERR_INIT;
	memset(o, 0, sizeof *o);
	o->key = http_header(q, "Idempotency-Key");
	if (!o->key || fingerprint(q, o->fingerprint, &e) == 0)
		return true;
	problem_of(r, q, &e, NULL);
	return false;
}

void once_add_file(struct api_once *o, const char *sha256)
{
	(void)snprintf(o->fingerprint + strlen(o->fingerprint), API_SHA256 + 1, "%s", sha256);
}

void once_mark(const struct api_once *o, struct http_response *r)
{
	if (o->replayed)
		http_set(r, "Idempotency-Replayed", "true");
}
