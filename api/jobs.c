#include "api/download.h"
#include "api/handlers.h"
#include "api/job_json.h"
#include "api/members.h"
#include "api/once.h"
#include "api/problems.h"
#include "api/replies.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_WAIT = 86400 };

static bool is_status(const char *text)
{
	static const char *const known[] = {"queued",    "running",   "pausing", "paused",
	                                    "canceling", "succeeded", "failed",  "canceled"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(text, known[i]) == 0)
			return true;
	return false;
}

/* ?label=key or ?label=key:value; *copy holds the texts. False: *r is the problem. */
static bool read_label(const struct http_request *q, struct http_response *r, struct api_job_filter *f, char **copy)
{
	const char *text = http_query(q, "label");
	*copy = text ? strdup(text) : NULL;
	if (!text)
		return true;
	if (!*copy) {
		problem_set(r, q, PROBLEM_MEMORY, "there is no memory for the request");
		return false;
	}
	char *colon = strchr(*copy, ':');
	if (colon)
		*colon = '\0';
	f->label = *copy;
	f->label_value = colon ? colon + 1 : NULL;
	if (f->label[0])
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, "?label", "label must be KEY or KEY:VALUE");
	return false;
}

static bool read_filter(const struct http_request *q, struct http_response *r, struct api_job_filter *f, char **copy)
{
	*f = (struct api_job_filter){
		.status = http_query(q, "status"), .model = http_query(q, "model"), .name = http_query(q, "name")};
	if (!read_label(q, r, f, copy))
		return false;
	if (!f->status || is_status(f->status))
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, "?status",
	           "status must be queued, running, pausing, paused, canceling, succeeded, failed or canceled");
	return false;
}

static void reply_list(const struct api *a, const struct http_request *q, struct http_response *r, const struct api_page *page,
                       const struct api_job_filter *f)
{
	struct api_job *j;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	if (a->backend.job_list(a->backend.ctx, &q->who, page, f, &j, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	size_t shown = reply_page_count(page, n);
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		job_json(&w, &j[i]);
	reply_page_end(r, q, &w, page, n, shown ? j[shown - 1].id : "");
	api_jobs_free(j, n);
}

HANDLER(jobs_list)
{
	struct api_page page;
	struct api_job_filter f;
	char *copy = NULL;
	if (reply_page(q, r, &page) && read_filter(q, r, &f, &copy))
		reply_list(a, q, r, &page, &f);
	free(copy);
}

static void reply_job(const struct http_request *q, struct http_response *r, const struct api_job *j, int status)
{
	struct json_out w;
	reply_begin(r, &w);
	job_json(&w, j);
	reply_end(r, q, status);
}

/* "Prefer: respond-async, wait=10" (RFC 7240): the seconds, or 0. What cannot be read is no preference. */
static int64_t preferred_wait(const struct http_request *q)
{
	const char *at = http_header(q, "Prefer");
	while (at) {
		at += strspn(at, " \t,");
		if (strncasecmp(at, "wait=", 5) == 0 && at[5] >= '0' && at[5] <= '9') {
			long long n = strtoll(at + 5, NULL, 10);
			return n < MAX_WAIT ? n : MAX_WAIT;
		}
		at = strchr(at, ',');
	}
	return 0;
}

/* True: the request goes on waiting for the job. */
static bool goes_on(const struct api *a, const struct http_request *q, struct http_response *r, const struct api_job *j,
                    int64_t wait)
{
	int64_t left = (wait < a->max_wait_seconds ? wait : a->max_wait_seconds) * 1000 - q->waited_ms;
	if (left <= 0 || !q->may_wait || job_is_finished(j))
		return false;
	memcpy(r->wait_for, j->id, sizeof j->id);
	r->wait_ms = left;
	return true;
}

void job_reply_made(const struct api *a, struct http_request *q, struct http_response *r, const struct api_job *j)
{
	int64_t wait = preferred_wait(q);
	if (goes_on(a, q, r, j, wait))
		return;
	reply_job(q, r, j, 202);
	http_set(r, "Location", "/v1/jobs/%s", j->id);
	if (!job_is_finished(j))
		http_set(r, "Retry-After", "1");
	if (wait > 0)
		http_set(r, "Preference-Applied", "wait=%lld", (long long)wait);
	if (q->replayed)
		http_set(r, "Idempotency-Replayed", "true");
}

HANDLER(jobs_made)
{
	struct api_job j;
	struct err e = ERR_INIT;
	if (a->backend.job_get(a->backend.ctx, &q->who, q->made, &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	job_reply_made(a, q, r, &j);
	api_job_fini(&j);
}

/* With ?wait the answer comes when the job has ended, and at the latest after that many seconds. */
HANDLER(jobs_get)
{
	struct api_job j;
	struct err e = ERR_INIT;
	int64_t wait;
	if (!reply_integer(q, r, "wait", 0, MAX_WAIT, preferred_wait(q), &wait))
		return;
	if (a->backend.job_get(a->backend.ctx, &q->who, q->args[0], &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	if (!goes_on(a, q, r, &j, wait)) {
		reply_job(q, r, &j, 200);
		download_tag(r, q);
	}
	api_job_fini(&j);
}

static void act(const struct api *a, struct http_request *q, struct http_response *r, enum api_action what)
{
	struct api_job j;
	struct api_once once;
	struct err e = ERR_INIT;
	if (!once_read(&once, q, r))
		return;
	if (a->backend.job_act(a->backend.ctx, &q->who, q->args[0], what, &once, &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_job(q, r, &j, 202);
	http_set(r, "Location", "/v1/jobs/%s", j.id);
	once_mark(&once, r);
	api_job_fini(&j);
}

HANDLER(jobs_cancel)
{
	act(a, q, r, API_CANCEL);
}

HANDLER(jobs_pause)
{
	act(a, q, r, API_PAUSE);
}

HANDLER(jobs_resume)
{
	act(a, q, r, API_RESUME);
}

/* What GET answers. */
static void write_object(struct json_out *w, const void *object)
{
	job_json(w, object);
}

HANDLER(jobs_change)
{
	struct members m = {.labels = BUF_INIT};
	struct api_change c;
	struct api_job j;
	struct err e = ERR_INIT;
	struct json *v = members_change(&m, &c, true, q, r);
	if (!v)
		return;
	c.kind = "job";
	c.write = write_object;
	if (a->backend.job_change(a->backend.ctx, &q->who, q->args[0], &c, &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
	} else {
		reply_job(q, r, &j, 200);
		download_mark(r);
		api_job_fini(&j);
	}
	members_fini(&m);
	json_free(v);
}

HANDLER(jobs_delete)
{
	struct err e = ERR_INIT;
	if (a->backend.job_delete(a->backend.ctx, &q->who, q->args[0], &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_empty(r, 204);
}
