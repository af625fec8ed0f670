#include "api/download.h"
#include "api/handlers.h"
#include "api/job_json.h"
#include "api/problems.h"
#include "api/replies.h"

#include <string.h>

static bool is_status(const char *text)
{
	static const char *const known[] = {"queued", "running", "canceling", "succeeded", "failed", "canceled"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(text, known[i]) == 0)
			return true;
	return false;
}

HANDLER(jobs_list)
{
	struct api_page page;
	struct api_job *j;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	const char *status = http_query(q, "status");
	if (!reply_page(q, r, &page))
		return;
	if (status && !is_status(status)) {
		problem_at(r, q, PROBLEM_BAD_PARAM, "?status",
		           "status must be queued, running, canceling, succeeded, failed or canceled");
		return;
	}
	if (a->backend.job_list(a->backend.ctx, &page, status, &j, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	size_t shown = reply_page_count(&page, n);
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		job_json(&w, &j[i]);
	reply_page_end(r, q, &w, &page, n, shown ? j[shown - 1].id : "");
	api_jobs_free(j, n);
}

static void reply_job(const struct http_request *q, struct http_response *r, const struct api_job *j, int status)
{
	struct json_out w;
	reply_begin(r, &w);
	job_json(&w, j);
	reply_end(r, q, status);
}

/* With ?wait the answer comes when the job has ended, and at the latest after that many seconds. */
HANDLER(jobs_get)
{
	struct api_job j;
	struct err e = ERR_INIT;
	int64_t wait;
	if (!reply_integer(q, r, "wait", 0, 86400, 0, &wait))
		return;
	if (wait > a->max_wait_seconds)
		wait = a->max_wait_seconds;
	if (a->backend.job_get(a->backend.ctx, q->args[0], &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	int64_t left = wait * 1000 - q->waited_ms;
	if (left > 0 && q->may_wait && !job_is_finished(&j)) {
		memcpy(r->wait_for, j.id, sizeof j.id);
		r->wait_ms = left;
	} else {
		reply_job(q, r, &j, 200);
		download_tag(r, q);
	}
	api_job_fini(&j);
}

HANDLER(jobs_cancel)
{
	struct api_job j;
	struct err e = ERR_INIT;
	if (a->backend.job_cancel(a->backend.ctx, q->args[0], &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_job(q, r, &j, 202);
	http_set(r, "Location", "/v1/jobs/%s", j.id);
	api_job_fini(&j);
}

HANDLER(jobs_delete)
{
	struct err e = ERR_INIT;
	if (a->backend.job_delete(a->backend.ctx, q->args[0], &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_empty(r, 204);
}
