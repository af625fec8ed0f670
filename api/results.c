#include "api/download.h"
#include "api/handlers.h"
#include "api/job_json.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"
#include "core/encodings.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void layer_json(struct json_out *w, const struct api_layer *l)
{
	json_out_object(w, NULL);
	json_out_integer(w, "index", l->index);
	json_out_string(w, "node", l->node);
	json_out_string(w, "op_type", l->op_type);
	json_out_string(w, "weight", l->weight);
	json_out_integer(w, "channels", l->channels);
	json_out_integer(w, "fan_in", l->fan_in);
	json_out_string(w, "strategy", l->strategy);
	json_out_integer(w, "rechecked", l->rechecked);
	json_out_real(w, "ms", l->seconds * 1000);
	json_out_real(w, "loss", l->loss);
	json_out_real(w, "minmax_loss", l->minmax_loss);
	/* What the search won against the full range, as a part of that loss; nothing can be won where there is no loss. */
	json_out_real(w, "gain", l->minmax_loss > 0 ? 1 - l->loss / l->minmax_loss : l->loss == 0 ? 0 : (double)NAN);
	reply_stored(w, "chosen", l->chosen);
	json_out_end_object(w);
}

HANDLER(results_layers)
{
	struct api_layer *l;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	if (a->backend.job_layers(a->backend.ctx, q->args[0], &l, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < n; i++)
		layer_json(&w, &l[i]);
	json_out_end_array(&w);
	json_out_end_object(&w);
	reply_end(r, q, 200);
	api_layers_free(l, n);
}

static void event_json(struct json_out *w, const struct api_event *v)
{
	json_out_object(w, NULL);
	json_out_integer(w, "id", v->seq);
	when_json(w, "at", v->at);
	json_out_string(w, "event", v->event);
	reply_stored(w, "data", v->data);
	json_out_end_object(w);
}

/* Oldest first: a client reads on from the last number it has. */
HANDLER(results_events)
{
	struct api_event *v;
	struct err e = ERR_INIT;
	struct json_out w;
	int64_t limit, after;
	size_t n;
	if (!reply_integer(q, r, "limit", 1, 1000, 100, &limit) || !reply_integer(q, r, "after", 0, INT64_MAX, 0, &after))
		return;
	if (a->backend.job_events(a->backend.ctx, q->args[0], after, limit + 1, &v, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	bool more = n > (size_t)limit;
	size_t shown = more ? (size_t)limit : n;
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		event_json(&w, &v[i]);
	json_out_end_array(&w);
	json_out_bool(&w, "has_more", more);
	if (more)
		json_out_integer(&w, "next", v[shown - 1].seq);
	else
		json_out_null(&w, "next");
	json_out_end_object(&w);
	reply_end(r, q, 200);
	api_events_free(v, n);
}

/* False: there is no result, and *r says why. */
static bool check_succeeded(const struct api *a, struct http_request *q, struct http_response *r)
{
	struct api_job j;
	struct err e = ERR_INIT;
	if (a->backend.job_get(a->backend.ctx, q->args[0], &j, &e) < 0) {
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
	if (a->backend.artifact_open(a->backend.ctx, q->args[0], name, &b, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	download(r, q, &b, name);
	api_blob_fini(&b);
}

HANDLER(results_encodings)
{
	static const char *const files[] = {
		[ENCODINGS_0_6_1] = "model_0_6_1.encodings", [ENCODINGS_1_0_0] = "model_1_0_0.encodings"};
	const char *text = http_query(q, "version");
	enum encodings_version v = ENCODINGS_1_0_0;
	struct err e = ERR_INIT;
	if (text && encodings_version_parse(text, &v, &e) < 0)
		problem_at(r, q, PROBLEM_BAD_PARAM, "?version", "%s", e.msg);
	else if (check_succeeded(a, q, r))
		send_artifact(a, q, r, files[v]);
}

HANDLER(results_artifacts)
{
	struct api_job j;
	struct err e = ERR_INIT;
	struct json_out w;
	if (a->backend.job_get(a->backend.ctx, q->args[0], &j, &e) < 0) {
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
