#include "api/http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum http_method http_method_of(const char *name)
{
	static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0)
			return (enum http_method)i;
	return HTTP_OTHER;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Length of the UTF-8 sequence at s, 0 when it is none (overlong, surrogate, above U+10FFFF, cut off). */
static size_t utf8_length(const unsigned char *s)
{
	if (s[0] < 0x80)
		return 1;
	size_t n = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static bool is_clean(const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s;) {
		size_t n = utf8_length(s);
		if (n == 0 || *s < 0x20 || *s == 0x7f)
			return false;
		s += n;
	}
	return true;
}

/* Decodes from .. end into a new text; plus says whether "+" is a space. */
static char *decode(const char *from, const char *end, bool plus, struct err *e)
{
	char *out = malloc((size_t)(end - from) + 1), *to = out;
	if (!out) {
		err_nomem(e, "a request target");
		return NULL;
	}
	for (; from < end; from++) {
		if (*from != '%') {
			*to++ = plus && *from == '+' ? ' ' : *from;
			continue;
		}
		int high = end - from > 2 ? digit(from[1]) : -1, low = high < 0 ? -1 : digit(from[2]);
		if (low < 0 || high * 16 + low == 0)
			goto bad;
		*to++ = (char)(high * 16 + low);
		from += 2;
	}
	*to = '\0';
	if (is_clean(out))
		return out;
bad:
	free(out);
	err_set(e, ERR_BAD_PARAM, "the request target has wrong percent-encoding, control characters or text that is not UTF-8");
	return NULL;
}

static int parse_path(struct http_request *q, const char *at, const char *end, struct err *e)
{
	if (at == end || *at != '/')
		return err_set(e, ERR_BAD_PARAM, "the request target does not begin with /");
	if (at + 1 == end)
		return 0; /* "/" has no segments */
	while (at < end) {
		const char *next = memchr(at + 1, '/', (size_t)(end - at - 1));
		if (!next)
			next = end;
		if (q->nsegments == HTTP_MAX_SEGMENTS)
			return err_set(e, ERR_BAD_PARAM, "the path has more than %d parts", HTTP_MAX_SEGMENTS);
		char *s = decode(at + 1, next, false, e);
		if (!s)
			return -1;
		q->segments[q->nsegments++] = s;
		at = next;
	}
	return 0;
}

static int add_query(struct http_request *q, const char *at, const char *end, struct err *e)
{
	const char *equals = memchr(at, '=', (size_t)(end - at));
	if (q->nquery == HTTP_MAX_QUERY)
		return err_set(e, ERR_BAD_PARAM, "there are more than %d query parameters", HTTP_MAX_QUERY);
	struct http_field *f = &q->query[q->nquery];
	f->name = decode(at, equals ? equals : end, true, e);
	f->value = f->name ? decode(equals ? equals + 1 : end, end, true, e) : NULL;
	if (!f->value) {
		free(f->name);
		return -1;
	}
	bool twice = http_query(q, f->name) != NULL;
	q->nquery++;
	return twice ? err_set(e, ERR_BAD_PARAM, "the query parameter %.60s is given twice", f->name) : 0;
}

int http_parse_target(struct http_request *q, const char *target, struct err *e)
{
	const char *end = target + strlen(target), *mark = strchr(target, '?');
	if (parse_path(q, target, mark ? mark : end, e) < 0)
		return -1;
	for (const char *at = mark ? mark + 1 : end; at < end;) {
		const char *next = memchr(at, '&', (size_t)(end - at));
		if (!next)
			next = end;
		if (next > at && add_query(q, at, next, e) < 0)
			return -1;
		at = next < end ? next + 1 : end;
	}
	return 0;
}

int http_add_header(struct http_request *q, const char *name, const char *value, struct err *e)
{
	struct http_field *more = realloc(q->headers, (q->nheaders + 1) * sizeof *more);
	if (!more)
		return err_nomem(e, "a request's headers");
	q->headers = more;
	struct http_field f = {strdup(name), strdup(value)};
	if (!f.name || !f.value) {
		free(f.name);
		free(f.value);
		return err_nomem(e, "a request's headers");
	}
	more[q->nheaders++] = f;
	return 0;
}

static void free_fields(struct http_field *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(f[i].name);
		free(f[i].value);
	}
}

void http_request_fini(struct http_request *q)
{
	for (size_t i = 0; i < q->nsegments; i++)
		free(q->segments[i]);
	free_fields(q->query, q->nquery);
	free_fields(q->headers, q->nheaders);
	free(q->headers);
	free(q->rest);
	memset(q, 0, sizeof *q);
}

const char *http_header(const struct http_request *q, const char *name)
{
	for (size_t i = 0; i < q->nheaders; i++)
		if (strcasecmp(q->headers[i].name, name) == 0)
			return q->headers[i].value;
	return NULL;
}

const char *http_query(const struct http_request *q, const char *name)
{
	for (size_t i = 0; i < q->nquery; i++)
		if (strcmp(q->query[i].name, name) == 0)
			return q->query[i].value;
	return NULL;
}

void http_response_init(struct http_response *r)
{
	memset(r, 0, sizeof *r);
	r->status = 500;
	r->fd = -1;
}

void http_response_fini(struct http_response *r)
{
	free_fields(r->headers, r->nheaders);
	buf_fini(&r->body);
	if (r->fd >= 0)
		(void)close(r->fd);
	http_response_init(r);
}

void http_response_settle(struct http_response *r)
{
	if (r->failed || buf_failed(&r->body))
		http_response_fini(r);
}

void http_set(struct http_response *r, const char *name, const char *fmt, ...)
{
	struct http_field f = {strdup(name), NULL};
	va_list ap;
	va_start(ap, fmt);
	if (!f.name || vasprintf(&f.value, fmt, ap) < 0)
		f.value = NULL;
	va_end(ap);
	size_t i = 0;
	while (i < r->nheaders && strcasecmp(r->headers[i].name, name) != 0)
		i++;
	if (!f.value || i == HTTP_MAX_HEADERS) {
		free(f.name);
		free(f.value);
		r->failed = true;
		return;
	}
	if (i == r->nheaders)
		r->nheaders++;
	else
		free_fields(&r->headers[i], 1);
	r->headers[i] = f;
}

const char *http_get(const struct http_response *r, const char *name)
{
	for (size_t i = 0; i < r->nheaders; i++)
		if (strcasecmp(r->headers[i].name, name) == 0)
			return r->headers[i].value;
	return NULL;
}

bool http_has_body(const struct http_request *q)
{
	const char *length = http_header(q, "Content-Length");
	return length ? strspn(length, "0") != strlen(length) : http_header(q, "Transfer-Encoding") != NULL;
}
