/* A request as text: "GET /v1/jobs?limit=3 HTTP/1.1", header fields, an empty line, a body. It goes the way of the server
 * (server/http/httpd.c), from the guard to the handlers, without a socket. Behind the handlers is a backend that only looks at
 * what they understood. */

#include "api/download.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/routes.h"
#include "api/tickets.h"
#include "core/data/preprocess.h"
#include "server/http/digest.h"
#include "server/http/guard.h"
#include "server/http/key.h"
#include "server/http/trace.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_WAIT_SECONDS = 300, FILE_BYTES = 1000 };

static const char TAG[] = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
static const char ID[] = "mdl_0190f3b0000070008000000000000001";

static const struct http_request *asked;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static char *copy(const char *text)
{
	char *s = strdup(text);
	must(s != NULL);
	return s;
}

static bool is_hex(const char *text, size_t n)
{
	return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

/* base64 has the bytes of hex, except that the bits that the last character has too many may be anything. */
static void must_be_bytes(const char *hex, const char *base64)
{
	unsigned char raw[32] = {0}, again[64];
	size_t n = strlen(hex) / 2;
	for (size_t i = 0; i < n; i++) {
		unsigned v;
		must(sscanf(hex + 2 * i, "%2x", &v) == 1);
		raw[i] = (unsigned char)v;
	}
	must(EVP_EncodeBlock(again, raw, (int)n) > 0);
	must(strncmp((const char *)again, base64, n * 8 / 6) == 0);
}

static void must_be_name(const char *name)
{
	must(json_is_utf8(name) && reply_characters(name) <= 200);
}

static void must_be_visibility(const char *text)
{
	must(strcmp(text, "team") == 0 || strcmp(text, "private") == 0);
}

static void must_be_labels(const char *text)
{
	struct err e = ERR_INIT;
	struct json *v = json_parse(text, strlen(text), &e);
	must(json_is_object(v));
	for (void *it = json_first(v); it; it = json_next(v, it))
		must(json_is_string(json_value(it)));
	json_free(v);
}

/* A list of entity tags that let something pass had the tag, or "*". */
static void must_have(const char *list, const char *tag)
{
	char quoted[80];
	(void)snprintf(quoted, sizeof quoted, "\"%s\"", tag);
	must(strchr(list, '*') || strstr(list, quoted));
}

/* ---- settings ---- */

static struct buf written(const struct params *p)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	params_to_json(p, &w, NULL);
	return b;
}

static void must_read_back(const struct params *p)
{
	struct params again;
	struct err e = ERR_INIT;
	struct buf once = written(p);
	struct json *v = json_parse(once.data, once.len, &e);
	params_init(&again);
	must(v && params_from_json(&again, v, &e) == 0);
	struct buf twice = written(&again);
	must(strcmp(once.data, twice.data) == 0);
	params_fini(&again);
	json_free(v);
	buf_fini(&once);
	buf_fini(&twice);
}

/* ---- the backend ---- */

#define WHO    void *ctx, const struct api_caller *who
#define UNUSED ((void)ctx, (void)who, (void)e)

static void fill_object(struct api_object *x, enum api_kind kind)
{
	memset(x, 0, sizeof *x);
	x->kind = kind;
	(void)snprintf(x->id, sizeof x->id, "%s", ID);
	x->name = copy("m");
	if (kind != API_MODEL)
		return;
	x->nfiles = 1;
	x->files = calloc(1, sizeof *x->files);
	must(x->files != NULL);
	x->files[0].name = copy("sub/w.data");
}

static void fill_job(struct api_job *j, const char *id)
{
	memset(j, 0, sizeof *j);
	(void)snprintf(j->id, sizeof j->id, "%s", ID);
	(void)snprintf(j->status, sizeof j->status, "%s",
	               strcmp(id, "running") == 0 || strcmp(id, "failed") == 0 ? id : "succeeded");
	(void)snprintf(j->visibility, sizeof j->visibility, "team");
	j->name = copy("j");
	j->labels = copy("{}");
	j->params = copy("{}");
}

static int blob_open(struct api_blob *out, int64_t size)
{
	memset(out, 0, sizeof *out);
	out->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	out->size = size;
	out->name = copy("a \"file\".html");
	out->media_type = copy("text/html");
	memcpy(out->sha256, TAG, sizeof TAG);
	return 0;
}

static int change(const struct api_change *c, const void *object, struct err *e)
{
	if (c->name)
		must_be_name(c->name);
	if (c->labels)
		must_be_labels(c->labels);
	if (c->visibility)
		must_be_visibility(c->visibility);
	must(!c->priority || (*c->priority >= -100 && *c->priority <= 100));
	if (!c->must)
		return 0;
	int rc = download_check(c, object, e);
	must(rc == 0 ? strpbrk(c->must, "*\"") != NULL : e->code == ERR_PRECONDITION);
	return rc;
}

static void check_once(const struct api_once *o)
{
	must(!o->key || (strlen(o->key) > 0 && strlen(o->key) <= 200 && is_hex(o->fingerprint, API_SHA256)));
}

static int object_add(WHO, enum api_kind kind, struct upload *u, const struct api_change *first, const char *model,
                      const char *preprocess, struct api_once *once, struct api_object *out, bool *existing, struct err *e)
{
	struct preprocess p;
	(void)u;
	UNUSED;
	(void)change(first, NULL, e);
	must(kind == API_CALIBRATION || (!model && !preprocess));
	must(!preprocess || preprocess_parse(preprocess, &p, e) == 0);
	check_once(once);
	fill_object(out, kind);
	*existing = kind == API_CALIBRATION;
	return 0;
}

static int object_get(WHO, enum api_kind kind, const char *id, struct api_object *out, struct err *e)
{
	(void)id;
	UNUSED;
	fill_object(out, kind);
	return 0;
}

static int model_file_add(WHO, const char *id, const char *file, struct upload *u, struct api_object *out, bool *existing,
                          struct err *e)
{
	(void)u;
	must(api_is_plain_path(file) && file[0] != '/');
	*existing = true;
	return object_get(ctx, who, API_MODEL, id, out, e);
}

static void check_page(const struct api_page *page)
{
	const char *after = http_query(asked, "after"), *limit = http_query(asked, "limit");
	must(page->limit >= 2 && page->limit <= 1001);
	must(!limit || page->limit == strtoll(limit, NULL, 10) + 1);
	must(strcmp(page->after, after ? after : "") == 0);
}

/* As many as are asked for, up to three. */
static int object_list(WHO, enum api_kind kind, const struct api_page *page, struct api_object **out, size_t *n, struct err *e)
{
	UNUSED;
	check_page(page);
	*n = page->limit < 3 ? (size_t)page->limit : 3;
	*out = calloc(*n, sizeof **out);
	must(*out != NULL);
	for (size_t i = 0; i < *n; i++)
		fill_object(&(*out)[i], kind);
	return 0;
}

static int model_layers(WHO, const char *id, char **json, struct err *e)
{
	(void)id;
	UNUSED;
	*json = copy("[]");
	return 0;
}

static int object_open(WHO, enum api_kind kind, const char *id, struct api_blob *out, struct err *e)
{
	(void)kind;
	UNUSED;
	return blob_open(out, strcmp(id, "empty") == 0 ? 0 : FILE_BYTES);
}

static int object_change(WHO, enum api_kind kind, const char *id, const struct api_change *c, struct api_object *out, struct err *e)
{
	(void)object_get(ctx, who, kind, id, out, e);
	int rc = change(c, out, e);
	if (rc < 0)
		api_object_fini(out);
	return rc;
}

static int upload_add(WHO, struct api_upload *u, struct upload *first, struct api_once *once, struct err *e)
{
	struct preprocess p;
	(void)first;
	UNUSED;
	must(strcmp(u->kind, "models") == 0 || strcmp(u->kind, "calibrations") == 0);
	must_be_visibility(u->visibility);
	must_be_name(u->name);
	must(!u->model || json_is_utf8(u->model));
	must(!u->preprocess || preprocess_parse(u->preprocess, &p, e) == 0);
	must(u->size >= 0 && u->size == asked->most + (asked->most == 0 ? u->size : 0));
	check_once(once);
	(void)snprintf(u->id, sizeof u->id, "%s", ID);
	return 0;
}

static int upload_get(WHO, const char *id, struct api_upload *out, struct err *e)
{
	(void)id;
	UNUSED;
	memset(out, 0, sizeof *out);
	(void)snprintf(out->kind, sizeof out->kind, "models");
	out->size = FILE_BYTES;
	return 0;
}

static int upload_begin(WHO, const char *id, int64_t offset, struct upload **out, struct err *e)
{
	(void)id;
	(void)out;
	UNUSED;
	must(offset >= 0 && offset == strtoll(http_header(asked, "Upload-Offset"), NULL, 10));
	return 0;
}

static int upload_commit(WHO, const char *id, struct upload *part, struct api_upload *out, struct err *e)
{
	(void)part;
	return upload_get(ctx, who, id, out, e);
}

static void check_job(const struct api_job_request *r)
{
	must_read_back(r->params);
	must_be_name(r->name);
	must_be_labels(r->labels);
	must_be_visibility(r->visibility);
	must(r->priority >= -100 && r->priority <= 100 && r->deadline_seconds >= 0 && r->model && r->calibration);
}

static int job_add(WHO, const struct api_job_request *r, struct api_once *once, struct api_job *out, struct err *e)
{
	UNUSED;
	check_job(r);
	check_once(once);
	fill_job(out, "running");
	return 0;
}

static int job_preview(WHO, const struct api_job_request *r, struct api_preview *out, struct err *e)
{
	UNUSED;
	check_job(r);
	struct buf b = written(r->params);
	out->params = b.data;
	return 0;
}

static int job_get(WHO, const char *id, struct api_job *out, struct err *e)
{
	UNUSED;
	fill_job(out, strcmp(id, ID) == 0 ? "running" : id);
	return 0;
}

static int job_list(WHO, const struct api_page *page, const struct api_job_filter *f, struct api_job **out, size_t *n,
                    struct err *e)
{
	UNUSED;
	check_page(page);
	must(!f->label || f->label[0]);
	*n = page->limit < 3 ? (size_t)page->limit : 3;
	*out = calloc(*n, sizeof **out);
	must(*out != NULL);
	for (size_t i = 0; i < *n; i++)
		fill_job(&(*out)[i], "running");
	return 0;
}

static int job_act(WHO, const char *id, enum api_action what, struct api_once *once, struct api_job *out, struct err *e)
{
	(void)what;
	check_once(once);
	return job_get(ctx, who, id, out, e);
}

static int job_change(WHO, const char *id, const struct api_change *c, struct api_job *out, struct err *e)
{
	(void)job_get(ctx, who, id, out, e);
	int rc = change(c, out, e);
	if (rc < 0)
		api_job_fini(out);
	return rc;
}

static int job_layers(WHO, const char *id, struct api_layer **out, size_t *n, struct err *e)
{
	(void)id;
	UNUSED;
	*out = NULL;
	*n = 0;
	return 0;
}

static int job_layer(WHO, const char *id, int64_t index, struct api_layer *out, struct err *e)
{
	(void)id;
	(void)ctx;
	(void)who;
	must(index >= -1 && index < 1000000000);
	memset(out, 0, sizeof *out);
	return index < 0 ? err_set(e, ERR_NOT_FOUND, "there is no such layer") : 0;
}

/* Three of them. */
static int job_events(WHO, const char *id, int64_t after, int64_t limit, struct api_event **out, size_t *n, struct err *e)
{
	(void)id;
	UNUSED;
	must(after >= 0 && limit >= 2 && limit <= 1001);
	*n = after < 3 ? (size_t)(3 - after < limit ? 3 - after : limit) : 0;
	*out = calloc(*n + 1, sizeof **out);
	must(*out != NULL);
	for (size_t i = 0; i < *n; i++)
		(*out)[i] =
			(struct api_event){.seq = after + (int64_t)i + 1, .at = 1, .event = copy("started"), .data = copy("{}")};
	return 0;
}

static int job_logs(WHO, const char *id, int64_t after, int64_t limit, struct api_log **out, size_t *n, struct err *e)
{
	(void)id;
	UNUSED;
	must(after >= 0 && limit >= 2 && limit <= 1001);
	*out = NULL;
	*n = 0;
	return 0;
}

static int job_partial(WHO, const char *id, enum encodings_version v, struct buf *out, struct err *e)
{
	(void)id;
	UNUSED;
	must((int)v >= 0 && (int)v < ENCODINGS_VERSIONS);
	buf_str(out, "{}");
	return 0;
}

static int artifact_open(WHO, const char *id, const char *name, struct api_blob *out, struct err *e)
{
	(void)id;
	UNUSED;
	return blob_open(out, strcmp(name, "empty") == 0 ? 0 : FILE_BYTES);
}

static int ticket_add(WHO, struct api_ticket *t, struct err *e)
{
	UNUSED;
	must(is_hex(t->target, API_SHA256));
	(void)snprintf(t->text, sizeof t->text, "tkt");
	t->expires_at = 1;
	return 0;
}

static int forget(WHO, const char *id, struct err *e)
{
	(void)id;
	UNUSED;
	return 0;
}

static int object_delete(WHO, enum api_kind kind, const char *id, struct err *e)
{
	(void)kind;
	return forget(ctx, who, id, e);
}

static const struct api api = {.backend = {.object_add = object_add,
                                           .object_get = object_get,
                                           .object_list = object_list,
                                           .object_open = object_open,
                                           .object_change = object_change,
                                           .object_delete = object_delete,
                                           .model_file_add = model_file_add,
                                           .model_layers = model_layers,
                                           .upload_add = upload_add,
                                           .upload_get = upload_get,
                                           .upload_begin = upload_begin,
                                           .upload_commit = upload_commit,
                                           .upload_delete = forget,
                                           .job_add = job_add,
                                           .job_preview = job_preview,
                                           .job_get = job_get,
                                           .job_list = job_list,
                                           .job_act = job_act,
                                           .job_change = job_change,
                                           .job_delete = forget,
                                           .job_layers = job_layers,
                                           .job_layer = job_layer,
                                           .job_events = job_events,
                                           .job_logs = job_logs,
                                           .job_partial = job_partial,
                                           .artifact_open = artifact_open,
                                           .ticket_add = ticket_add},
                               .max_wait_seconds = MAX_WAIT_SECONDS};

/* The others read nothing, or what they read is read as for models. */
static bool is_asked(const struct route *t)
{
	static const char *const reads[] = {"/v1/models", "/v1/uploads", "/v1/jobs", "/v1/tickets", "/web/"};
	for (size_t i = 0; i < sizeof reads / sizeof *reads; i++)
		if (strncmp(t->pattern, reads[i], strlen(reads[i])) == 0)
			return true;
	return t->body == BODY_CALIBRATION;
}

/* ---- the answer ---- */

static void check_range(const struct http_request *q, const struct http_response *r)
{
	long long first, last, size;
	const char *if_match = http_header(q, "If-Match");
	if (if_match)
		must_have(if_match, TAG);
	must(r->offset >= 0 && r->length >= 0 && r->offset + r->length <= FILE_BYTES);
	if (r->status != 206)
		return;
	must(http_header(q, "Range") && r->length > 0);
	must(sscanf(http_get(r, "Content-Range"), "bytes %lld-%lld/%lld", &first, &last, &size) == 3);
	must(first == r->offset && last == r->offset + r->length - 1 && size == FILE_BYTES);
}

/* The target of the next page finds the same list, and asks for the same as this one, but behind the last object. */
static void check_link(const struct route *t, const struct http_request *q, const char *link)
{
	struct http_request next = {.method = HTTP_GET, .id = "rq"};
	struct http_response unused;
	struct err e = ERR_INIT;
	char *target = copy(link + 1);
	must(link[0] == '<' && strchr(target, '>'));
	*strchr(target, '>') = '\0';
	http_response_init(&unused);
	must(http_parse_target(&next, target, &e) == 0 && route_find(&next, &unused) == t);
	must(http_query(&next, "limit") && strcmp(http_query(&next, "after"), ID) == 0);
	for (size_t i = 0; i < q->nquery; i++) {
		const char *name = q->query[i].name, *value = http_query(&next, name);
		if (strcmp(name, "limit") != 0 && strcmp(name, "after") != 0)
			must(value && strcmp(value, q->query[i].value) == 0);
	}
	http_response_fini(&unused);
	http_request_fini(&next);
	free(target);
}

static void check_headers(const struct http_response *r)
{
	for (size_t i = 0; i < r->nheaders; i++)
		for (const unsigned char *s = (const unsigned char *)r->headers[i].value; *s; s++)
			must(*s >= 0x20 && *s != 0x7f);
}

static void check_answer(const struct route *t, const struct http_request *q, const struct http_response *r)
{
	const char *type = http_get(r, "Content-Type"), *link = http_get(r, "Link");
	must(r->status >= 200 && r->status < 600 && !r->failed && !buf_failed(&r->body));
	check_headers(r);
	if (r->status == 304)
		must(strpbrk(http_header(q, "If-None-Match"), "*\"") != NULL);
	if (r->fd >= 0)
		check_range(q, r);
	if (link)
		check_link(t, q, link);
	if (!type || r->fd >= 0 || (strcmp(type, "application/json") != 0 && strcmp(type, "application/problem+json") != 0))
		return;
	struct err e = ERR_INIT;
	struct json *v = json_parse(r->body.data, r->body.len, &e);
	must(json_is_object(v) && (r->status < 400 || json_int(json_get(v, "status")) == r->status));
	json_free(v);
}

/* A few turns of an answer that goes on. */
static void go_on(struct http_request *q, struct http_response *r)
{
	for (int i = 0; r->stream && i < 5; i++) {
		buf_fini(&r->body);
		r->wait_for[0] = '\0';
		if (!r->stream(&api, q, r))
			return;
		must(r->body.len > 0 || (r->wait_for[0] && r->wait_ms > 0));
		q->waited_ms += r->wait_for[0] ? r->wait_ms : 0;
	}
}

static void answer(const struct route *t, struct http_request *q, struct http_response *r)
{
	route_answer(&api, t, q, r);
	if (r->wait_for[0]) {
		must(r->wait_ms > 0 && r->wait_ms <= MAX_WAIT_SECONDS * 1000);
		q->waited_ms += r->wait_ms;
		route_answer(&api, t, q, r);
		must(!r->wait_for[0]);
	}
	check_answer(t, q, r);
	go_on(q, r);
}

/* ---- the request ---- */

/* What the server reads of any head. */
static void check_head(const struct http_request *q)
{
	char trace[TRACE_TEXT + 1], next[TRACE_TEXT + 1], hex[SHA256_HEX + 1], id[KEY_ID + 1], target[TICKET_DIGEST + 1];
	const char *digest = http_header(q, "Repr-Digest"), *key = http_header(q, "Authorization");
	struct err e = ERR_INIT;
	trace_name(http_header(q, "traceparent"), trace);
	trace_name(trace, next);
	must(strlen(trace) == TRACE_TEXT && strncmp(trace, next, 36) == 0 && strcmp(trace + 52, next + 52) == 0);
	if (digest_read(digest, hex, &e) == 0 && hex[0]) {
		const char *at = strstr(digest, "sha-256=:");
		must(at && is_hex(hex, SHA256_HEX));
		while (at > digest && !strchr(" \t,", at[-1]))
			must((at = strstr(at + 1, "sha-256=:")) != NULL);
		must_be_bytes(hex, at + strlen("sha-256=:"));
	}
	must(!key || !key_parse(key, id) || key_is_id(id));
	must(ticket_target(q, target, &e) == 0 && is_hex(target, TICKET_DIGEST));
}

static void check_checksum(const struct http_request *q)
{
	const char *text = http_header(q, "Upload-Checksum");
	if (!q->checksum[0])
		return;
	must(is_hex(q->checksum, strncmp(text, "sha1 ", 5) == 0 ? 40 : 64));
	must_be_bytes(q->checksum, strchr(text, ' ') + 1);
}

static void ask(struct http_request *q, const char *target, bool http_1_1)
{
	static char hosts[] = "example.org, other.example";
	static const struct config config = {.max_header_fields = 50, .max_header_bytes = 16 << 10, .allowed_hosts = hosts};
	struct http_response r;
	struct err e = ERR_INIT;
	const struct route *t = NULL;
	http_response_init(&r);
	bool ok = guard_head(&config, q, http_1_1, &r) && http_parse_target(q, target, &e) == 0;
	if (ok) {
		must(guard_body_length(q) >= -2);
		check_head(q);
		t = route_find(q, &r);
	}
	if (t && !is_asked(t))
		goto out;
	if (t && route_check(&api, t, q, &r)) {
		check_checksum(q);
		answer(t, q, &r);
	} else if (!e.code) {
		check_answer(t, q, &r);
	}
out:
	http_response_fini(&r);
}

/* The next line, without its end; NULL behind the last one. */
static char *next_line(char **at)
{
	char *line = *at, *end = line ? strchr(line, '\n') : NULL;
	*at = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	return line;
}

static void read_fields(struct http_request *q, char **at)
{
	struct err e = ERR_INIT;
	for (char *line = next_line(at); line && *line; line = next_line(at)) {
		char *colon = strchr(line, ':');
		if (!colon)
			continue;
		*colon = '\0';
		must(http_add_header(q, line, colon + 1 + strspn(colon + 1, " "), &e) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_request q = {.id = "rq", .may_wait = true};
	char *text = strndup((const char *)data, size), *at = text;
	must(text != NULL);
	char *method = next_line(&at), *target = strchr(method, ' ');
	char *version = target ? strrchr(target + 1, ' ') : NULL;
	if (target) {
		*target++ = '\0';
		if (version)
			*version++ = '\0';
		q.method = http_method_of(method);
		read_fields(&q, &at);
		q.body = at;
		q.body_len = at ? strlen(at) : 0;
		asked = &q;
		ask(&q, target, version && strcmp(version, "HTTP/1.1") == 0);
	}
	http_request_fini(&q);
	free(text);
	return 0;
}
