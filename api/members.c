#include "api/members.h"

#include "api/problems.h"
#include "api/replies.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LABELS = 32 };

struct json *members_body(const struct http_request *q, struct http_response *r)
{
	struct err e = ERR_INIT;
	struct json *v = json_parse(q->body ? q->body : "", q->body_len, &e);
	if (!v && e.code == ERR_MEMORY)
		problem_set(r, q, PROBLEM_MEMORY, "%s", e.msg);
	else if (!v)
		problem_at(r, q, PROBLEM_BAD_PARAM, "", "the body is not JSON: %s", e.msg);
	else if (!json_is_object(v))
		problem_at(r, q, PROBLEM_BAD_PARAM, "", "the body must be a JSON object");
	if (json_is_object(v))
		return v;
	json_free(v);
	return NULL;
}

bool members_text(const char **to, const char *key, const struct json *v, const struct http_request *q, struct http_response *r)
{
	char pointer[80];
	*to = json_text(v);
	if (*to && reply_characters(*to) <= MEMBER_MAX_TEXT)
		return true;
	(void)snprintf(pointer, sizeof pointer, "/%s", key);
	problem_at(r, q, PROBLEM_BAD_PARAM, pointer, "%s must be a string of at most %d characters", key, MEMBER_MAX_TEXT);
	return false;
}

static bool labels_fit(const struct json *v)
{
	if (!json_is_object(v) || json_size(v) > MAX_LABELS)
		return false;
	for (void *it = json_first(v); it; it = json_next(v, it)) {
		const char *value = json_text(json_value(it));
		if (!value || reply_characters(value) > MEMBER_MAX_TEXT || reply_characters(json_key(it)) > MEMBER_MAX_TEXT)
			return false;
	}
	return true;
}

static bool read_labels(struct members *m, const struct json *v, const struct http_request *q, struct http_response *r)
{
	struct json_out w;
	if (!labels_fit(v)) {
		problem_at(r, q, PROBLEM_BAD_PARAM, "/labels",
		           "labels must be an object of at most %d strings of at most %d characters", MAX_LABELS, MEMBER_MAX_TEXT);
		return false;
	}
	json_out_init(&w, &m->labels, 0);
	json_out_value(&w, NULL, v);
	if (buf_failed(&m->labels))
		problem_set(r, q, PROBLEM_MEMORY, "there is no memory for the labels");
	return !buf_failed(&m->labels);
}

static bool read_priority(struct members *m, const struct json *v, const struct http_request *q, struct http_response *r)
{
	m->priority = json_int(v);
	m->has_priority = json_is_integer(v) && m->priority >= -MEMBER_MAX_PRIORITY && m->priority <= MEMBER_MAX_PRIORITY;
	if (!m->has_priority)
		problem_at(r, q, PROBLEM_BAD_PARAM, "/priority", "priority must be an integer from %d to %d", -MEMBER_MAX_PRIORITY,
		           MEMBER_MAX_PRIORITY);
	return m->has_priority;
}

static bool is_visibility(const char *text)
{
	return text && (strcmp(text, "team") == 0 || strcmp(text, "private") == 0);
}

static bool read_visibility(struct members *m, const struct json *v, const struct http_request *q, struct http_response *r)
{
	m->visibility = json_text(v);
	if (is_visibility(m->visibility))
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, "/visibility", "visibility must be team or private");
	return false;
}

bool members_read(struct members *m, const char *key, const struct json *v, const struct http_request *q, struct http_response *r,
                  bool *known)
{
	*known = true;
	if (strcmp(key, "name") == 0)
		return members_text(&m->name, key, v, q, r);
	if (strcmp(key, "labels") == 0)
		return read_labels(m, v, q, r);
	if (strcmp(key, "priority") == 0)
		return read_priority(m, v, q, r);
	if (strcmp(key, "visibility") == 0)
		return read_visibility(m, v, q, r);
	*known = false;
	return true;
}

void members_unknown(const char *key, const struct http_request *q, struct http_response *r)
{
	char pointer[120];
	(void)snprintf(pointer, sizeof pointer, "/%.100s", key);
	problem_at(r, q, PROBLEM_UNKNOWN_FIELD, pointer, "the member %.100s is not known", key);
}

bool members_query(struct api_change *c, const struct http_request *q, struct http_response *r)
{
	const char *visibility = http_query(q, "visibility");
	memset(c, 0, sizeof *c);
	if (!reply_name(q, r, &c->name))
		return false;
	c->visibility = visibility ? visibility : "team";
	c->labels = "{}";
	if (is_visibility(c->visibility))
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, "?visibility", "visibility must be team or private");
	return false;
}

struct json *members_change(struct members *m, struct api_change *c, bool job, const struct http_request *q,
                            struct http_response *r)
{
	struct json *root = members_body(q, r);
	bool ok = root != NULL;
	for (void *it = ok ? json_first(root) : NULL; ok && it; it = json_next(root, it)) {
		bool known;
		ok = members_read(m, json_key(it), json_value(it), q, r, &known);
		if (ok && (!known || (m->has_priority && !job))) {
			members_unknown(json_key(it), q, r);
			ok = false;
		}
	}
	if (ok) {
		*c = (struct api_change){.name = m->name,
		                         .labels = m->labels.data,
		                         .visibility = m->visibility,
		                         .priority = m->has_priority ? &m->priority : NULL,
		                         .must = http_header(q, "If-Match")};
		return root;
	}
	members_fini(m);
	json_free(root);
	return NULL;
}

void members_fini(struct members *m)
{
	buf_fini(&m->labels);
}
