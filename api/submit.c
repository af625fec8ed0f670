/* POST /v1/jobs: from a JSON body to a job. Every fault is answered with a pointer to the member that has it. */

#include "api/handlers.h"
#include "api/job_json.h"
#include "api/problems.h"
#include "api/replies.h"

#include <stdio.h>
#include <string.h>

enum { MAX_NAME = 200, MAX_LABELS = 32, MAX_LABEL = 200 };

struct submission {
	struct json *root; /* owns the texts */
	struct api_job_request job;
	struct params params;
	struct buf labels;
};

/* One member of the body goes to one of these; false: *r is the problem. */
typedef bool (*reader)(struct submission *s, const struct json *v, const struct http_request *q, struct http_response *r);

static bool text(const char **to, const char *pointer, size_t max, const struct json *v, const struct http_request *q,
                 struct http_response *r)
{
	*to = json_text(v);
	if (*to && strlen(*to) <= max)
		return true;
	problem_at(r, q, PROBLEM_BAD_PARAM, pointer, "%s must be a string of at most %zu bytes", pointer + 1, max);
	return false;
}

static bool read_model(struct submission *s, const struct json *v, const struct http_request *q, struct http_response *r)
{
	return text(&s->job.model, "/model", MAX_NAME, v, q, r);
}

static bool read_calibration(struct submission *s, const struct json *v, const struct http_request *q, struct http_response *r)
{
	return text(&s->job.calibration, "/calibration", MAX_NAME, v, q, r);
}

static bool read_name(struct submission *s, const struct json *v, const struct http_request *q, struct http_response *r)
{
	return text(&s->job.name, "/name", MAX_NAME, v, q, r);
}

static bool labels_fit(const struct json *v)
{
	if (!json_is_object(v) || json_size(v) > MAX_LABELS)
		return false;
	for (void *it = json_first(v); it; it = json_next(v, it)) {
		const char *value = json_text(json_value(it));
		if (!value || strlen(value) > MAX_LABEL || strlen(json_key(it)) > MAX_LABEL)
			return false;
	}
	return true;
}

static bool read_labels(struct submission *s, const struct json *v, const struct http_request *q, struct http_response *r)
{
	struct json_out w;
	if (!labels_fit(v)) {
		problem_at(r, q, PROBLEM_BAD_PARAM, "/labels", "labels must be an object of at most %d strings of at most %d bytes",
		           MAX_LABELS, MAX_LABEL);
		return false;
	}
	json_out_init(&w, &s->labels, 0);
	json_out_value(&w, NULL, v);
	return true;
}

static bool read_params(struct submission *s, const struct json *v, const struct http_request *q, struct http_response *r)
{
	struct err e = ERR_INIT;
	if (!json_is_object(v)) {
		problem_at(r, q, PROBLEM_BAD_PARAM, "/params", "params must be an object");
		return false;
	}
	if (params_from_json(&s->params, v, &e) == 0)
		return true;
	problem_of(r, q, &e, "/params");
	return false;
}

static const struct {
	const char *name;
	reader read;
} members[] = {{"model", read_model},
               {"calibration", read_calibration},
               {"params", read_params},
               {"name", read_name},
               {"labels", read_labels}};

static bool read_member(struct submission *s, const char *key, const struct json *v, const struct http_request *q,
                        struct http_response *r)
{
	char pointer[120];
	for (size_t i = 0; i < sizeof members / sizeof *members; i++)
		if (strcmp(members[i].name, key) == 0)
			return members[i].read(s, v, q, r);
	(void)snprintf(pointer, sizeof pointer, "/%.100s", key);
	problem_at(r, q, PROBLEM_UNKNOWN_FIELD, pointer, "the member %.100s is not known", key);
	return false;
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
	struct err e = ERR_INIT;
	s->root = json_parse(q->body ? q->body : "", q->body_len, &e);
	if (!s->root) {
		problem_at(r, q, PROBLEM_BAD_PARAM, "", "the body is not JSON: %s", e.msg);
		return false;
	}
	if (!json_is_object(s->root)) {
		problem_at(r, q, PROBLEM_BAD_PARAM, "", "the body must be a JSON object");
		return false;
	}
	for (void *it = json_first(s->root); it; it = json_next(s->root, it))
		if (!read_member(s, json_key(it), json_value(it), q, r))
			return false;
	return require(s->job.model, "/model", q, r) && require(s->job.calibration, "/calibration", q, r);
}

/* Which member an error of the backend speaks of. */
static const char *blamed(const struct api *a, const struct submission *s, const struct err *e)
{
	struct api_model m;
	struct err missing = ERR_INIT;
	if (e->code == ERR_BAD_PARAM)
		return "/params";
	if (e->code != ERR_NOT_FOUND)
		return NULL;
	if (a->backend.model_get(a->backend.ctx, s->job.model, &m, &missing) < 0)
		return "/model";
	api_model_fini(&m);
	return "/calibration";
}

static void submit(const struct api *a, struct submission *s, const struct http_request *q, struct http_response *r)
{
	struct api_job j;
	struct err e = ERR_INIT;
	struct json_out w;
	s->job.params = &s->params;
	s->job.name = s->job.name ? s->job.name : "";
	s->job.labels = s->labels.data ? s->labels.data : "{}";
	if (a->backend.job_add(a->backend.ctx, &s->job, &j, &e) < 0) {
		problem_of(r, q, &e, blamed(a, s, &e));
		return;
	}
	reply_begin(r, &w);
	job_json(&w, &j);
	http_set(r, "Location", "/v1/jobs/%s", j.id);
	http_set(r, "Retry-After", "1");
	reply_end(r, q, 202);
	api_job_fini(&j);
}

HANDLER(jobs_add)
{
	struct submission s = {.root = NULL, .labels = BUF_INIT};
	params_init(&s.params);
	if (read_body(&s, q, r))
		submit(a, &s, q, r);
	params_fini(&s.params);
	buf_fini(&s.labels);
	json_free(s.root);
}
