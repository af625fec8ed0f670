/* POST /v1/jobs and /retry: from a JSON body to a job. Every fault is answered with a pointer to the member that has it. */

#include "api/handlers.h"
#include "api/job_json.h"
#include "api/members.h"
#include "api/once.h"
#include "api/problems.h"
#include "api/replies.h"
#include "core/search/layer_settings.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEADLINE = 365 * 86400 };

struct submission {
	struct json *root; /* owns the texts */
	struct members common;
	struct api_job_request job;
	struct params params;
};

/* Settings of the job that are none of the engine's: they are not in core's table. False: *r is the problem. */
static bool read_own_param(struct submission *s, const char *key, const struct json *v, const struct http_request *q,
                           struct http_response *r, bool *known)
{
	*known = true;
	if (strcmp(key, "reuse") == 0) {
		s->job.reuse = json_bool(v);
		if (json_is_bool(v))
			return true;
		problem_at(r, q, PROBLEM_BAD_PARAM, "/params/reuse", "reuse must be true or false");
		return false;
	}
	if (strcmp(key, "deadline_seconds") == 0) {
		s->job.deadline_seconds = json_int(v);
		if (json_is_integer(v) && json_int(v) >= 0 && json_int(v) <= MAX_DEADLINE)
			return true;
		problem_at(r, q, PROBLEM_BAD_PARAM, "/params/deadline_seconds",
		           "deadline_seconds must be an integer from 0 (none) to %d", MAX_DEADLINE);
		return false;
	}
	*known = false;
	return true;
}

/* The engine's settings are read as one object, which finds those that are given twice. */
static bool read_engine_params(struct submission *s, const struct buf *text, const struct http_request *q, struct http_response *r)
{
	struct err e = ERR_INIT;
	struct json *v = buf_failed(text) ? NULL : json_parse(text->data, text->len, &e);
	if (buf_failed(text))
		err_nomem(&e, "the settings");
	int rc = v && params_from_json(&s->params, v, &e) == 0 ? layer_settings_check(&s->params, &e) : -1;
	json_free(v);
	if (rc < 0)
		problem_of(r, q, &e, "/params");
	return rc == 0;
}

static bool read_params(struct submission *s, const struct json *v, const struct http_request *q, struct http_response *r)
{
	struct buf rest = BUF_INIT;
	struct json_out w;
	bool ok = json_is_object(v);
	if (!ok)
		problem_at(r, q, PROBLEM_BAD_PARAM, "/params", "params must be an object");
	json_out_init(&w, &rest, 0);
	json_out_object(&w, NULL);
	for (void *it = ok ? json_first(v) : NULL; ok && it; it = json_next(v, it)) {
		bool known;
		ok = read_own_param(s, json_key(it), json_value(it), q, r, &known);
		if (ok && !known)
			json_out_value(&w, json_key(it), json_value(it));
	}
	json_out_end_object(&w);
	ok = ok && read_engine_params(s, &rest, q, r);
	buf_fini(&rest);
	return ok;
}

static bool read_member(struct submission *s, const char *key, const struct json *v, const struct http_request *q,
                        struct http_response *r)
{
	bool known, retry = s->job.retry_of != NULL;
	if (strcmp(key, "params") == 0)
		return read_params(s, v, q, r);
	if (!retry && strcmp(key, "model") == 0)
		return members_text(&s->job.model, key, v, q, r);
	if (!retry && strcmp(key, "calibration") == 0)
		return members_text(&s->job.calibration, key, v, q, r);
	if (!members_read(&s->common, key, v, q, r, &known))
		return false;
	if (!known)
		members_unknown(key, q, r);
	return known;
}

static bool require(const char *value, const char *pointer, const struct http_request *q, struct http_response *r)
{
	if (value)
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, pointer, "%s is missing", pointer + 1);
	return false;
}

static bool read_body(struct submission *s, const struct http_request *q, struct http_response *r)
{
	s->root = members_body(q, r);
	if (!s->root)
		return false;
	for (void *it = json_first(s->root); it; it = json_next(s->root, it))
		if (!read_member(s, json_key(it), json_value(it), q, r))
			return false;
	return true;
}

static void fill_request(struct submission *s)
{
	struct api_job_request *j = &s->job;
	if (s->common.name)
		j->name = s->common.name;
	if (s->common.visibility)
		j->visibility = s->common.visibility;
	if (s->common.labels.data)
		j->labels = s->common.labels.data;
	if (s->common.has_priority)
		j->priority = s->common.priority;
	j->params = &s->params;
}

/* Which member an error of the backend speaks of. */
static const char *blamed(const struct api *a, const struct submission *s, const struct http_request *q, const struct err *e)
{
	struct api_object m;
	struct err missing = ERR_INIT;
	if (e->code == ERR_BAD_PARAM)
		return "/params";
	if (e->code != ERR_NOT_FOUND || s->job.retry_of)
		return NULL;
	if (a->backend.object_get(a->backend.ctx, &q->who, API_MODEL, s->job.model, &m, &missing) < 0)
		return "/model";
	api_object_fini(&m);
	return "/calibration";
}

/* ---- a dry run ---- */

static void preview_json(struct json_out *w, const struct api_preview *p)
{
	json_out_object(w, NULL);
	reply_stored(w, "params", p->params);
	json_out_integer(w, "samples", p->samples);
	json_out_integer(w, "samples_used", p->samples_used);
	json_out_integer(w, "searchable", p->searchable);
	reply_stored(w, "layers", p->layers);
	json_out_string(w, "reuse", p->reuse[0] ? p->reuse : NULL);
	if (p->estimate)
		reply_stored(w, "estimate", p->estimate);
	else
		json_out_null(w, "estimate");
	json_out_array(w, "warnings");
	if (!p->estimate) {
		json_out_object(w, NULL);
		json_out_string(w, "code", "no-estimate");
		json_out_string(w, "detail", p->no_estimate.msg);
		json_out_end_object(w);
	}
	if (p->samples_used < p->samples) {
		json_out_object(w, NULL);
		json_out_string(w, "code", "samples-unused");
		json_out_string(w, "detail", "num_batches leaves some of the samples unused");
		json_out_end_object(w);
	}
	json_out_end_array(w);
	json_out_end_object(w);
}

static void preview(const struct api *a, struct submission *s, const struct http_request *q, struct http_response *r)
{
	struct api_preview p;
	struct err e = ERR_INIT;
	struct json_out w;
	memset(&p, 0, sizeof p);
	if (a->backend.job_preview(a->backend.ctx, &q->who, &s->job, &p, &e) < 0) {
		problem_of(r, q, &e, blamed(a, s, q, &e));
		return;
	}
	reply_begin(r, &w);
	preview_json(&w, &p);
	reply_end(r, q, 200);
	api_preview_fini(&p);
}

/* ---- a job ---- */

static void submit(const struct api *a, struct submission *s, struct http_request *q, struct http_response *r)
{
	struct api_job j;
	struct api_once once;
	struct err e = ERR_INIT;
	if (!once_read(&once, q, r))
		return;
	if (a->backend.job_add(a->backend.ctx, &q->who, &s->job, &once, &j, &e) < 0) {
		problem_of(r, q, &e, blamed(a, s, q, &e));
		return;
	}
	memcpy(q->made, j.id, sizeof j.id);
	q->replayed = once.replayed;
	job_reply_made(a, q, r, &j);
	api_job_fini(&j);
}

static void submission_fini(struct submission *s)
{
	params_fini(&s->params);
	members_fini(&s->common);
	json_free(s->root);
}

static bool wants_preview(const struct http_request *q, struct http_response *r, bool *dry)
{
	const char *text = http_query(q, "dry_run");
	*dry = text && strcmp(text, "true") == 0;
	if (!text || *dry || strcmp(text, "false") == 0)
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, "?dry_run", "dry_run must be true or false");
	return false;
}

HANDLER(jobs_add)
{
	struct submission s = {.job = {.name = "", .labels = "{}", .visibility = "team", .reuse = true}};
	bool dry;
	if (q->made[0]) {
		jobs_made(a, q, r);
		return;
	}
	params_init(&s.params);
	if (wants_preview(q, r, &dry) && read_body(&s, q, r) && require(s.job.model, "/model", q, r) &&
	    require(s.job.calibration, "/calibration", q, r)) {
		fill_request(&s);
		if (dry)
			preview(a, &s, q, r);
		else
			submit(a, &s, q, r);
	}
	submission_fini(&s);
}

/* The older job's settings are the ones to begin with. */
static bool begin_retry(struct submission *s, const struct api_job *j, const struct http_request *q, struct http_response *r)
{
	struct err e = ERR_INIT;
	struct json *v = j->params ? json_parse(j->params, strlen(j->params), &e) : NULL;
	int rc = v ? params_from_json(&s->params, v, &e) : -1;
	json_free(v);
	s->job = (struct api_job_request){.model = j->model_id,
	                                  .calibration = j->calibration_id,
	                                  .name = j->name,
	                                  .labels = j->labels,
	                                  .visibility = j->visibility,
	                                  .priority = j->priority,
	                                  .deadline_seconds = j->deadline_seconds,
	                                  .retry_of = j->id};
	if (rc < 0)
		problem_of(r, q, &e, NULL);
	else if (!job_is_finished(j))
		problem_set(r, q, PROBLEM_BAD_STATE, "the job is %s; only one that has ended can be tried again", j->status);
	else
		return true;
	return false;
}

HANDLER(jobs_retry)
{
	struct submission s = {.root = NULL};
	struct api_job j;
	struct err e = ERR_INIT;
	if (q->made[0]) {
		jobs_made(a, q, r);
		return;
	}
	if (a->backend.job_get(a->backend.ctx, &q->who, q->args[0], &j, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	params_init(&s.params);
	if (begin_retry(&s, &j, q, r) && (q->body_len == 0 || read_body(&s, q, r))) {
		fill_request(&s);
		submit(a, &s, q, r);
	}
	submission_fini(&s);
	api_job_fini(&j);
}
