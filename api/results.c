#include "api/download.h"
#include "api/handlers.h"
#include "api/job_json.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"
#include "core/encodings/encodings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void event_json(struct json_out *w, const struct api_event *v)
{
	json_out_object(w, NULL);
	json_out_integer(w, "id", v->seq);
	when_json(w, "at", v->at);
	json_out_string(w, "event", v->event);
	reply_stored(w, "data", v->data);
	json_out_end_object(w);
}

/* ---- live events (the EventSource of browsers, https://html.spec.whatwg.org/multipage/server-sent-events.html) ---- */

enum { STREAM_PAGE = 100, HEARTBEAT_MS = 15000 };

static void write_events(struct http_response *r, const struct api_event *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_printf(&r->body, "id: %lld\nevent: %s\ndata: %s\n\n", (long long)v[i].seq, v[i].event, v[i].data);
		r->stream_after = v[i].seq;
	}
}

/* Progress is no event: it has no number, and who comes later has not missed it. */
static void write_progress(struct http_response *r, const struct api_job *j)
{
	struct json_out w;
	if (strcmp(j->status, "running") != 0 || j->heartbeat_at == 0 || j->heartbeat_at == r->stream_seen)
		return;
	r->stream_seen = j->heartbeat_at;
	buf_str(&r->body, "event: progress\ndata: ");
	json_out_init(&w, &r->body, 0);
	job_progress_json(&w, NULL, j);
	buf_str(&r->body, "\n\n");
}

/* The job is read before its events: when it has ended, they are all there. */
static int write_news(const struct api *a, struct http_request *q, struct http_response *r, bool *ended, struct err *e)
{
	struct api_job j;
	struct api_event *v;
	size_t n;
	if (a->backend.job_get(a->backend.ctx, &q->who, q->args[0], &j, e) < 0)
		return -1;
	int rc = a->backend.job_events(a->backend.ctx, &q->who, q->args[0], r->stream_after, STREAM_PAGE, &v, &n, e);
	if (rc == 0) {
		write_events(r, v, n);
		api_events_free(v, n);
		if (n < STREAM_PAGE)
			write_progress(r, &j);
		*ended = n < STREAM_PAGE && job_is_finished(&j);
	}
	api_job_fini(&j);
	return rc;
}

static bool stream_events(const struct api *a, struct http_request *q, struct http_response *r)
{
	bool ended = false;
	size_t before = r->body.len;
	struct err ignored = ERR_INIT; /* the client comes again and hears of it then */
	if (!q->may_wait || write_news(a, q, r, &ended, &ignored) < 0 || buf_failed(&r->body))
		return false;
	if (r->body.len == before && !ended && q->waited_ms - r->stream_spoke >= HEARTBEAT_MS)
		buf_str(&r->body, ": still here\n\n");
	if (r->body.len > before) {
		r->stream_spoke = q->waited_ms;
	} else if (!ended) {
		(void)snprintf(r->wait_for, sizeof r->wait_for, "%s", q->args[0]);
		r->wait_ms = HEARTBEAT_MS - (q->waited_ms - r->stream_spoke);
	}
	return !ended;
}

/* Where the client stopped reading: Last-Event-ID from one that comes back, else ?after. What is no number is none. */
static int64_t read_on_from(const struct http_request *q, int64_t after)
{
	const char *text = http_header(q, "Last-Event-ID");
	char *end;
	long long n = text ? strtoll(text, &end, 10) : -1;
	return text && end != text && !*end && n >= 0 ? n : after;
}

static void begin_stream(const struct api *a, struct http_request *q, struct http_response *r, int64_t after)
{
	bool ended = false;
	struct err e = ERR_INIT;
	r->stream_after = read_on_from(q, after);
	if (write_news(a, q, r, &ended, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	if (ended && r->body.len == 0 && !buf_failed(&r->body)) { /* 204 tells a browser not to come back */
		reply_empty(r, 204);
		return;
	}
	r->status = 200;
	r->stream_spoke = q->waited_ms;
	if (!ended)
		r->stream = stream_events;
	http_set(r, "Content-Type", "text/event-stream");
	http_set(r, "Cache-Control", "no-store");
	http_set(r, "X-Accel-Buffering", "no"); /* nginx would collect it */
}

static bool wants_stream(const struct http_request *q)
{
	const char *accept = http_header(q, "Accept");
	return accept && strstr(accept, "text/event-stream");
}

/* ?limit and ?after of a list whose items are numbered. False: *r is the problem. */
static bool numbered_query(const struct http_request *q, struct http_response *r, int64_t *limit, int64_t *after)
{
	return reply_integer(q, r, "limit", 1, 1000, 100, limit) && reply_integer(q, r, "after", 0, INT64_MAX, 0, after);
}

/* Writes the i-th item and returns its number. */
typedef int64_t numbered_item(struct json_out *w, const void *items, size_t i);

/* The first `limit` of n items, whether there are more, and the number to read on from. */
static void numbered_reply(const struct http_request *q, struct http_response *r, numbered_item *item, const void *items, size_t n,
                           int64_t limit)
{
	struct json_out w;
	bool more = n > (size_t)limit;
	int64_t last = 0;
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < (more ? (size_t)limit : n); i++)
		last = item(&w, items, i);
	json_out_end_array(&w);
	json_out_bool(&w, "has_more", more);
	if (more)
		json_out_integer(&w, "next", last);
	else
		json_out_null(&w, "next");
	json_out_end_object(&w);
	reply_end(r, q, 200);
}

static int64_t event_item(struct json_out *w, const void *items, size_t i)
{
	const struct api_event *v = items;
	event_json(w, &v[i]);
	return v[i].seq;
}

/* Oldest first: a client reads on from the last number it has. */
HANDLER(results_events)
{
	struct api_event *v;
	struct err e = ERR_INIT;
	int64_t limit, after;
	size_t n;
	if (!numbered_query(q, r, &limit, &after))
		return;
	if (wants_stream(q)) {
		begin_stream(a, q, r, after);
		return;
	}
	if (a->backend.job_events(a->backend.ctx, &q->who, q->args[0], after, limit + 1, &v, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	numbered_reply(q, r, event_item, v, n, limit);
	api_events_free(v, n);
}

static int64_t log_item(struct json_out *w, const void *items, size_t i)
{
	const struct api_log *l = (const struct api_log *)items + i;
	json_out_object(w, NULL);
	json_out_integer(w, "id", l->seq);
	when_json(w, "at", l->at);
	json_out_integer(w, "attempt", l->attempt);
	json_out_string(w, "level", l->level);
	json_out_string(w, "text", l->text);
	json_out_end_object(w);
	return l->seq;
}

HANDLER(results_logs)
{
	struct api_log *l;
	struct err e = ERR_INIT;
	int64_t limit, after;
	size_t n;
	if (!numbered_query(q, r, &limit, &after))
		return;
	if (a->backend.job_logs(a->backend.ctx, &q->who, q->args[0], after, limit + 1, &l, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	numbered_reply(q, r, log_item, l, n, limit);
	api_logs_free(l, n);
}

/* False: there is no result, and *r says why. */
static bool check_succeeded(const struct api *a, struct http_request *q, struct http_response *r)
{
	struct api_job j;
	struct err e = ERR_INIT;
	if (a->backend.job_get(a->backend.ctx, &q->who, q->args[0], &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return false;
	}
	bool ok = strcmp(j.status, "succeeded") == 0;
	if (!ok && job_is_finished(&j))
		problem_set(r, q, PROBLEM_BAD_STATE, "the job %s and has no result",
		            strcmp(j.status, "failed") == 0 ? "failed" : "was canceled");
	else if (!ok)
		problem_set(r, q, PROBLEM_NOT_FINISHED, "the job is %s", j.status);
	api_job_fini(&j);
	return ok;
}

static void send_artifact(const struct api *a, struct http_request *q, struct http_response *r, const char *name)
{
	struct api_blob b;
	struct err e = ERR_INIT;
	if (a->backend.artifact_open(a->backend.ctx, &q->who, q->args[0], name, &b, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	download(r, q, &b, name);
	api_blob_fini(&b);
}

/* Of the layers that are finished; when all are, the whole file. */
static void send_partial(const struct api *a, struct http_request *q, struct http_response *r, enum encodings_version v)
{
	struct api_job j;
	struct err e = ERR_INIT;
	if (a->backend.job_get(a->backend.ctx, &q->who, q->args[0], &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	bool whole = strcmp(j.status, "succeeded") == 0, ended = job_is_finished(&j);
	api_job_fini(&j);
	if (whole) {
		send_artifact(a, q, r, encodings_file_name(v));
		return;
	}
	http_response_fini(r);
	if (a->backend.job_partial(a->backend.ctx, &q->who, q->args[0], v, &r->body, &e) < 0) {
		if (e.code == ERR_BAD_STATE && !ended)
			problem_set(r, q, PROBLEM_NOT_FINISHED, "no layer is finished yet");
		else
			problem_of(r, q, &e, NULL);
		return;
	}
	r->status = 200;
	http_set(r, "Content-Type", "application/json");
	http_set(r, "Cache-Control", "no-store");
	http_set(r, "X-Content-Type-Options", "nosniff");
	http_set(r, "Content-Disposition", "attachment; filename=\"partial_%s\"", encodings_file_name(v));
}

HANDLER(results_encodings)
{
	const char *text = http_query(q, "version"), *partial = http_query(q, "partial");
	enum encodings_version v = ENCODINGS_1_0_0;
	struct err e = ERR_INIT;
	if (text && encodings_version_parse(text, &v, &e) < 0)
		problem_at(r, q, PROBLEM_BAD_PARAM, "?version", "%s", e.msg);
	else if (partial && strcmp(partial, "0") != 0 && strcmp(partial, "1") != 0)
		problem_at(r, q, PROBLEM_BAD_PARAM, "?partial", "partial must be 0 or 1");
	else if (partial && partial[0] == '1')
		send_partial(a, q, r, v);
	else if (check_succeeded(a, q, r))
		send_artifact(a, q, r, encodings_file_name(v));
}

HANDLER(results_artifacts)
{
	struct api_job j;
	struct err e = ERR_INIT;
	struct json_out w;
	if (a->backend.job_get(a->backend.ctx, &q->who, q->args[0], &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < j.nartifacts; i++) {
		char url[200];
		json_out_object(&w, NULL);
		json_out_string(&w, "name", j.artifacts[i].name);
		json_out_string(&w, "media_type", j.artifacts[i].media_type);
		json_out_integer(&w, "size", j.artifacts[i].size);
		json_out_string(&w, "sha256", j.artifacts[i].sha256);
		(void)snprintf(url, sizeof url, "/v1/jobs/%s/artifacts/%s", j.id, j.artifacts[i].name);
		json_out_string(&w, "url", url);
		json_out_end_object(&w);
	}
	json_out_end_array(&w);
	json_out_end_object(&w);
	reply_end(r, q, 200);
	api_job_fini(&j);
}

HANDLER(results_artifact)
{
	if (check_succeeded(a, q, r))
		send_artifact(a, q, r, q->args[1]);
}
