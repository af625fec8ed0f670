#include "api/routes.h"

#include "api/handlers.h"
#include "api/once.h"
#include "api/problems.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
	GET = 1 << HTTP_GET,
	POST = 1 << HTTP_POST,
	PUT = 1 << HTTP_PUT,
	PATCH = 1 << HTTP_PATCH,
	DELETE = 1 << HTTP_DELETE,
	OPTIONS = 1 << HTTP_OPTIONS,
	WAITS = ROUTE_WAITS,
	ONCE = ROUTE_ONCE,
};

const struct route routes[] = {
	{POST | PUT, "/v1/models", "name visibility", BODY_MODEL, WAITS | ONCE, SCOPE_SUBMIT, objects_check, models_add},
	{GET, "/v1/models", "limit after", BODY_NONE, 0, SCOPE_READ, NULL, models_list},
	{GET, "/v1/models/{}", "", BODY_NONE, 0, SCOPE_READ, NULL, models_get},
	{PATCH, "/v1/models/{}", "", BODY_JSON, WAITS, SCOPE_SUBMIT, NULL, models_change},
	{DELETE, "/v1/models/{}", "", BODY_NONE, WAITS, SCOPE_SUBMIT, NULL, models_delete},
	{GET, "/v1/models/{}/layers", "", BODY_NONE, 0, SCOPE_READ, NULL, models_layers},
	{GET, "/v1/models/{}/content", "ticket", BODY_NONE, 0, SCOPE_READ, NULL, models_content},
	{PUT, "/v1/models/{}/files/{*}", "", BODY_MODEL, WAITS, SCOPE_SUBMIT, models_file_check, models_file_add},

	{POST | PUT, "/v1/calibrations", "name visibility model preprocess", BODY_CALIBRATION, WAITS | ONCE, SCOPE_SUBMIT,
         calibrations_check, calibrations_add},
	{GET, "/v1/calibrations", "limit after", BODY_NONE, 0, SCOPE_READ, NULL, calibrations_list},
	{GET, "/v1/calibrations/{}", "", BODY_NONE, 0, SCOPE_READ, NULL, calibrations_get},
	{PATCH, "/v1/calibrations/{}", "", BODY_JSON, WAITS, SCOPE_SUBMIT, NULL, calibrations_change},
	{DELETE, "/v1/calibrations/{}", "", BODY_NONE, WAITS, SCOPE_SUBMIT, NULL, calibrations_delete},
	{GET, "/v1/calibrations/{}/content", "ticket", BODY_NONE, 0, SCOPE_READ, NULL, calibrations_content},

	{POST | PUT, "/v1/encodings", "name visibility", BODY_ENCODINGS, WAITS | ONCE, SCOPE_SUBMIT, objects_check,
         encodings_files_add},
	{GET, "/v1/encodings", "limit after", BODY_NONE, 0, SCOPE_READ, NULL, encodings_files_list},
	{GET, "/v1/encodings/{}", "", BODY_NONE, 0, SCOPE_READ, NULL, encodings_files_get},
	{PATCH, "/v1/encodings/{}", "", BODY_JSON, WAITS, SCOPE_SUBMIT, NULL, encodings_files_change},
	{DELETE, "/v1/encodings/{}", "", BODY_NONE, WAITS, SCOPE_SUBMIT, NULL, encodings_files_delete},
	{GET, "/v1/encodings/{}/content", "ticket", BODY_NONE, 0, SCOPE_READ, NULL, encodings_files_content},

	{OPTIONS, "/v1/uploads", "", BODY_NONE, 0, SCOPE_PUBLIC, NULL, uploads_options},
	{POST, "/v1/uploads", "", BODY_PIECE, WAITS | ONCE, SCOPE_SUBMIT, uploads_add_check, uploads_add},
	{GET, "/v1/uploads/{}", "", BODY_NONE, WAITS, SCOPE_SUBMIT, NULL, uploads_get},
	{PATCH, "/v1/uploads/{}", "", BODY_PIECE, WAITS, SCOPE_SUBMIT, uploads_patch_check, uploads_patch},
	{DELETE, "/v1/uploads/{}", "", BODY_NONE, WAITS, SCOPE_SUBMIT, NULL, uploads_delete},

	{POST, "/v1/jobs", "dry_run", BODY_JSON, WAITS | ONCE, SCOPE_SUBMIT, NULL, jobs_add},
	{GET, "/v1/jobs", "limit after status label model name", BODY_NONE, 0, SCOPE_READ, NULL, jobs_list},
	{GET, "/v1/jobs/{}", "wait", BODY_NONE, 0, SCOPE_READ, NULL, jobs_get},
	{PATCH, "/v1/jobs/{}", "", BODY_JSON, WAITS, SCOPE_SUBMIT, NULL, jobs_change},
	{DELETE, "/v1/jobs/{}", "", BODY_NONE, WAITS, SCOPE_SUBMIT, NULL, jobs_delete},
	{POST, "/v1/jobs/{}/cancel", "", BODY_NONE, WAITS | ONCE, SCOPE_SUBMIT, NULL, jobs_cancel},
	{POST, "/v1/jobs/{}/pause", "", BODY_NONE, WAITS | ONCE, SCOPE_SUBMIT, NULL, jobs_pause},
	{POST, "/v1/jobs/{}/resume", "", BODY_NONE, WAITS | ONCE, SCOPE_SUBMIT, NULL, jobs_resume},
	{POST, "/v1/jobs/{}/retry", "", BODY_OPTIONAL, WAITS | ONCE, SCOPE_SUBMIT, NULL, jobs_retry},
	{GET, "/v1/jobs/{}/layers", "", BODY_NONE, 0, SCOPE_READ, NULL, results_layers},
	{GET, "/v1/jobs/{}/layers/{}/curve", "", BODY_NONE, 0, SCOPE_READ, NULL, results_curve},
	{GET, "/v1/jobs/{}/events", "limit after", BODY_NONE, 0, SCOPE_READ, NULL, results_events},
	{GET, "/v1/jobs/{}/logs", "limit after", BODY_NONE, 0, SCOPE_READ, NULL, results_logs},
	{GET, "/v1/jobs/{}/encodings", "version partial ticket", BODY_NONE, 0, SCOPE_READ, NULL, results_encodings},
	{GET, "/v1/jobs/{}/artifacts", "", BODY_NONE, 0, SCOPE_READ, NULL, results_artifacts},
	{GET, "/v1/jobs/{}/artifacts/{}", "ticket", BODY_NONE, 0, SCOPE_READ, NULL, results_artifact},

	{POST, "/v1/tickets", "", BODY_JSON, WAITS, SCOPE_READ, NULL, tickets_add},

	{GET, "/v1/queue", "", BODY_NONE, 0, SCOPE_READ, NULL, meta_queue},
	{GET, "/v1/server", "", BODY_NONE, 0, SCOPE_READ, NULL, meta_server},
	{GET, "/metrics", "", BODY_NONE, WAITS, SCOPE_READ, NULL, meta_metrics},
	{GET, "/healthz", "", BODY_NONE, WAITS, SCOPE_PUBLIC, NULL, meta_health},
	{GET, "/openapi.json", "", BODY_NONE, 0, SCOPE_PUBLIC, NULL, openapi_get},
	{GET, "/livez", "", BODY_NONE, 0, SCOPE_PUBLIC, NULL, meta_live},
	{GET, "/readyz", "verbose", BODY_NONE, WAITS, SCOPE_PUBLIC, NULL, meta_ready},

	{GET, "/", "", BODY_NONE, 0, SCOPE_PUBLIC, NULL, web_index},
	{GET, "/web/{}", "", BODY_NONE, 0, SCOPE_PUBLIC, NULL, web_file},
};
const size_t routes_len = sizeof routes / sizeof *routes;

/* The next step of a pattern that begins at *at (behind a "/"); its length, and *at moves behind it. */
static size_t next_step(const char **at, const char **step)
{
	*step = *at;
	size_t n = strcspn(*at, "/");
	*at += n + ((*at)[n] == '/');
	return n;
}

/* Whether the path has the pattern's shape; args get what stands for {…}, *rest the index of the first segment of {*}. */
static bool match(const struct route *t, struct http_request *q, const char *args[HTTP_MAX_ARGS], size_t *rest)
{
	const char *at = t->pattern + 1, *step;
	size_t i = 0, nargs = 0;
	*rest = SIZE_MAX;
	while (*at) {
		size_t n = next_step(&at, &step);
		if (i >= q->nsegments)
			return false;
		if (n == 3 && memcmp(step, "{*}", 3) == 0) {
			*rest = i;
			return true;
		}
		if (n == 2 && memcmp(step, "{}", 2) == 0)
			args[nargs++] = q->segments[i];
		else if (strlen(q->segments[i]) != n || memcmp(q->segments[i], step, n) != 0)
			return false;
		i++;
	}
	return i == q->nsegments;
}

/* The last segments, joined. */
static char *join(const struct http_request *q, size_t from)
{
	struct buf b = BUF_INIT;
	for (size_t i = from; i < q->nsegments; i++) {
		buf_str(&b, i > from ? "/" : "");
		buf_str(&b, q->segments[i]);
	}
	if (!buf_failed(&b))
		return b.data;
	buf_fini(&b);
	return NULL;
}

bool route_takes(const struct route *t, const char *name)
{
	size_t n = strlen(name);
	for (const char *at = t->query; n && (at = strstr(at, name)); at += n)
		if ((at == t->query || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
			return true;
	return false;
}

static bool check_query(const struct route *t, struct http_request *q, struct http_response *r)
{
	for (size_t i = 0; i < q->nquery; i++) {
		char pointer[80];
		if (route_takes(t, q->query[i].name))
			continue;
		(void)snprintf(pointer, sizeof pointer, "?%.60s", q->query[i].name);
		problem_at(r, q, PROBLEM_UNKNOWN_FIELD, pointer, "the query parameter %.60s is not known here", q->query[i].name);
		return false;
	}
	return true;
}

static void allow(struct http_response *r, unsigned methods)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {{GET, "GET, HEAD"}, {POST, "POST"}, {PUT, "PUT"}, {PATCH, "PATCH"}, {DELETE, "DELETE"}, {OPTIONS, "OPTIONS"}};
	char text[64] = "";
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!(methods & names[i].bit))
			continue;
		if (text[0])
			(void)strcat(text, ", ");
		(void)strcat(text, names[i].name);
	}
	http_set(r, "Allow", "%s", text);
}

const struct route *route_find(struct http_request *q, struct http_response *r)
{
	enum http_method method = q->method == HTTP_HEAD ? HTTP_GET : q->method;
	unsigned others = 0;
	for (size_t i = 0; i < routes_len; i++) {
		const struct route *t = &routes[i];
		const char *args[HTTP_MAX_ARGS] = {NULL};
		size_t rest;
		if (!match(t, q, args, &rest))
			continue;
		others |= t->methods;
		if (!(t->methods & 1u << method))
			continue;
		memcpy(q->args, args, sizeof args);
		if (rest != SIZE_MAX && !(q->rest = join(q, rest))) {
			problem_set(r, q, PROBLEM_INTERNAL, "there is no memory for the request");
			return NULL;
		}
		return check_query(t, q, r) ? t : NULL;
	}
	if (others) {
		problem_set(r, q, PROBLEM_METHOD, "the method is not one of this resource's");
		allow(r, others);
	} else {
		problem_set(r, q, PROBLEM_NOT_FOUND, "there is nothing at this path");
	}
	return NULL;
}

/* Promises that we could not keep are refused instead of being overlooked. */
static bool check_promises(const struct route *t, struct http_request *q, struct http_response *r)
{
	if (http_header(q, "If-Match") && q->method != HTTP_GET && q->method != HTTP_HEAD &&
	    !(q->method == HTTP_PATCH && t->body == BODY_JSON)) {
		problem_set(r, q, PROBLEM_PRECONDITION, "If-Match is known where an object is changed or downloaded, not here");
		return false;
	}
	if (t->flags & ROUTE_ONCE)
		return once_check(q, r);
	if (!http_header(q, "Idempotency-Key"))
		return true;
	problem_set(r, q, PROBLEM_UNKNOWN_FIELD, "Idempotency-Key is not known here");
	return false;
}

static bool is_json(const char *type)
{
	static const char json[] = "application/json";
	return type && strncasecmp(type, json, sizeof json - 1) == 0 && strchr(" ;\t", type[sizeof json - 1]);
}

static bool check_type(const struct route *t, struct http_request *q, struct http_response *r)
{
	const char *type = http_header(q, "Content-Type"), *coding = http_header(q, "Content-Encoding");
	if (t->body == BODY_NONE)
		return true;
	if (coding && strcasecmp(coding, "identity") != 0) {
		problem_set(r, q, PROBLEM_MEDIA, "the body is %.40s encoded; send it as it is", coding);
		return false;
	}
	bool json = t->body == BODY_JSON || (t->body == BODY_OPTIONAL && http_has_body(q));
	if (json && !is_json(type)) {
		problem_set(r, q, PROBLEM_MEDIA, "the body must be application/json");
		return false;
	}
	if (t->body != BODY_JSON && t->body != BODY_OPTIONAL && type && strncasecmp(type, "multipart/", 10) == 0) {
		problem_set(r, q, PROBLEM_MEDIA, "the body must be the file itself, not a form (curl -T FILE)");
		return false;
	}
	return true;
}

bool route_check(const struct api *a, const struct route *t, struct http_request *q, struct http_response *r)
{
	if (!check_promises(t, q, r) || !check_type(t, q, r))
		return false;
	r->status = 0;
	if (t->check)
		t->check(a, q, r);
	return r->status == 0;
}

void route_answer(const struct api *a, const struct route *t, struct http_request *q, struct http_response *r)
{
	http_response_fini(r);
	if (t->body == BODY_NONE && q->body_len > 0) {
		problem_set(r, q, PROBLEM_UNKNOWN_FIELD, "this request takes no body");
		return;
	}
	t->answer(a, q, r);
}
