#include "api/replies.h"

#include "api/problems.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PAGE = 1000, DEFAULT_PAGE = 100, MAX_NAME = 200 };

void reply_begin(struct http_response *r, struct json_out *w)
{
	http_response_fini(r);
	json_out_init(w, &r->body, 0);
}

void reply_end(struct http_response *r, const struct http_request *q, int status)
{
	buf_str(&r->body, "\n");
	if (buf_failed(&r->body)) {
		problem_set(r, q, PROBLEM_MEMORY, "there is no memory for the answer");
		return;
	}
	r->status = status;
	http_set(r, "Content-Type", "application/json");
	if (!http_get(r, "Cache-Control"))
		http_set(r, "Cache-Control", "no-store");
}

void reply_empty(struct http_response *r, int status)
{
	http_response_fini(r);
	r->status = status;
}

bool reply_integer(const struct http_request *q, struct http_response *r, const char *name, int64_t min, int64_t max, int64_t dflt,
                   int64_t *out)
{
	const char *text = http_query(q, name);
	char *end, pointer[80];
	*out = dflt;
	if (!text)
		return true;
	errno = 0;
	long long v = strtoll(text, &end, 10);
	bool plain = text[0] != '\0' && strspn(text, "0123456789") == strlen(text);
	if (plain && *end == '\0' && errno == 0 && v >= min && v <= max) {
		*out = v;
		return true;
	}
	(void)snprintf(pointer, sizeof pointer, "?%s", name);
	problem_at(r, q, PROBLEM_BAD_PARAM, pointer, "%s must be an integer from %lld to %lld", name, (long long)min,
	           (long long)max);
	return false;
}

/* "mdl_", "cal_", "enc_" or "job_", and 32 hexadecimal digits. */
static bool is_id(const char *text)
{
	bool prefix = strncmp(text, "mdl_", 4) == 0 || strncmp(text, "cal_", 4) == 0 || strncmp(text, "enc_", 4) == 0 || strncmp(text, "job_", 4) == 0;
	return prefix && strlen(text) == API_ID && strspn(text + 4, "0123456789abcdef") == API_ID - 4;
}

bool reply_page(const struct http_request *q, struct http_response *r, struct api_page *page)
{
	const char *after = http_query(q, "after");
	memset(page, 0, sizeof *page);
	if (!reply_integer(q, r, "limit", 1, MAX_PAGE, DEFAULT_PAGE, &page->limit))
		return false;
	page->limit++;
	if (after && !is_id(after)) {
		problem_at(r, q, PROBLEM_BAD_PARAM, "?after", "after must be an id, as next gives it");
		return false;
	}
	if (after)
		memcpy(page->after, after, strlen(after) + 1);
	return true;
}

size_t reply_page_count(const struct api_page *page, size_t n)
{
	return n < (size_t)page->limit ? n : (size_t)page->limit - 1;
}

/* A text as a part of a target. */
static void put_escaped(struct buf *b, const char *text)
{
	for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
		bool plain = (*s >= '0' && *s <= '9') || (*s >= 'A' && *s <= 'Z') || (*s >= 'a' && *s <= 'z') || strchr("._-~", *s);
		buf_printf(b, plain ? "%c" : "%%%02X", *s);
	}
}

/* The path and the other parameters of the request again, with another ?after. */
static void link_next(struct http_response *r, const struct http_request *q, const struct api_page *page, const char *last)
{
	struct buf b = BUF_INIT;
	for (size_t i = 0; i < q->nsegments; i++)
		buf_printf(&b, "/%s", q->segments[i]);
	buf_printf(&b, "?limit=%lld&after=%s", (long long)page->limit - 1, last);
	for (size_t i = 0; i < q->nquery; i++) {
		if (strcmp(q->query[i].name, "limit") == 0 || strcmp(q->query[i].name, "after") == 0)
			continue;
		buf_printf(&b, "&%s=", q->query[i].name);
		put_escaped(&b, q->query[i].value);
	}
	if (buf_failed(&b))
		r->failed = true;
	else
		http_set(r, "Link", "<%s>; rel=\"next\"", b.data);
	buf_fini(&b);
}

void reply_page_end(struct http_response *r, const struct http_request *q, struct json_out *w, const struct api_page *page,
                    size_t n, const char *last)
{
	bool more = n >= (size_t)page->limit;
	json_out_end_array(w);
	json_out_bool(w, "has_more", more);
	json_out_string(w, "next", more ? last : NULL);
	json_out_end_object(w);
	if (more)
		link_next(r, q, page, last);
	reply_end(r, q, 200);
}

size_t reply_characters(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

bool reply_name(const struct http_request *q, struct http_response *r, const char **name)
{
	*name = http_query(q, "name");
	if (!*name)
		*name = "";
	if (reply_characters(*name) <= MAX_NAME)
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, "?name", "name has more than %d characters", MAX_NAME);
	return false;
}

void reply_stored(struct json_out *w, const char *key, const char *text)
{
	struct err e = ERR_INIT;
	struct json *v = text ? json_parse(text, strlen(text), &e) : NULL;
	if (e.code == ERR_MEMORY)
		buf_fail(w->to);
	else if (v)
		json_out_value(w, key, v);
	else
		json_out_null(w, key);
	json_free(v);
}
