#include "api/job_json.h"

#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"

#include <stdio.h>
#include <string.h>

bool job_is_finished(const struct api_job *j)
{
	return strcmp(j->status, "succeeded") == 0 || strcmp(j->status, "failed") == 0 || strcmp(j->status, "canceled") == 0;
}

static void inputs_json(struct json_out *w, const struct api_job *j)
{
	json_out_object(w, "model");
	json_out_string(w, "id", j->model_id);
	json_out_string(w, "sha256", j->model_sha256);
	json_out_end_object(w);
	json_out_object(w, "calibration");
	json_out_string(w, "id", j->calibration_id);
	json_out_string(w, "sha256", j->calibration_sha256);
	json_out_integer(w, "samples", j->samples);
	json_out_integer(w, "samples_used", j->samples_used);
	json_out_end_object(w);
}

/* The engine's settings, and the job's own. */
static void params_json(struct json_out *w, const struct api_job *j)
{
	json_out_object(w, "params");
	json_out_members(w, j->params);
	json_out_integer(w, "deadline_seconds", j->deadline_seconds);
	json_out_end_object(w);
}

/* What is left at the pace of this attempt so far; nothing in its first moments. */
static void eta_json(struct json_out *w, const struct api_job *j)
{
	double elapsed = (double)(j->heartbeat_at - j->started_at) / 1000;
	if (strcmp(j->status, "running") != 0 || j->attempt != 1 || j->fraction < 0.01 || elapsed <= 0)
		json_out_null(w, "eta_seconds");
	else
		json_out_integer(w, "eta_seconds", (int64_t)(elapsed * (1 - j->fraction) / j->fraction + 0.5));
}

void job_progress_json(struct json_out *w, const char *key, const struct api_job *j)
{
	json_out_object(w, key);
	json_out_string(w, "phase", j->phase);
	json_out_integer(w, "layers_done", j->layers_done);
	json_out_integer(w, "layers_total", j->layers_total);
	json_out_real(w, "fraction", j->fraction);
	eta_json(w, j);
	json_out_string(w, "current", j->current);
	when_json(w, "heartbeat_at", j->heartbeat_at);
	json_out_end_object(w);
}

static void usage_json(struct json_out *w, const struct api_job *j)
{
	json_out_object(w, "usage");
	json_out_real(w, "cpu_seconds", j->cpu_seconds);
	json_out_integer(w, "peak_rss_bytes", j->peak_rss_bytes);
	json_out_real(w, "wall_seconds", j->wall_seconds);
	json_out_end_object(w);
}

static void warnings_json(struct json_out *w, const struct api_job *j)
{
	json_out_array(w, "warnings");
	for (size_t i = 0; i < j->nwarnings; i++) {
		json_out_object(w, NULL);
		json_out_string(w, "code", j->warnings[i].code);
		json_out_string(w, "layer", j->warnings[i].layer);
		json_out_string(w, "detail", j->warnings[i].detail);
		json_out_end_object(w);
	}
	json_out_end_array(w);
}

static void result_json(struct json_out *w, const struct api_job *j)
{
	if (strcmp(j->status, "succeeded") != 0) {
		json_out_null(w, "result");
		return;
	}
	json_out_object(w, "result");
	json_out_array(w, "artifacts");
	for (size_t i = 0; i < j->nartifacts; i++) {
		json_out_object(w, NULL);
		json_out_string(w, "name", j->artifacts[i].name);
		json_out_integer(w, "size", j->artifacts[i].size);
		json_out_string(w, "sha256", j->artifacts[i].sha256);
		json_out_end_object(w);
	}
	json_out_end_array(w);
	json_out_end_object(w);
}

static void urls_json(struct json_out *w, const char *id)
{
	static const char *const names[] = {"self", "layers", "events", "encodings", "artifacts"};
	char url[120];
	json_out_object(w, "urls");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		(void)snprintf(url, sizeof url, "/v1/jobs/%s%s%s", id, i ? "/" : "", i ? names[i] : "");
		json_out_string(w, names[i], url);
	}
	json_out_end_object(w);
}

void job_json(struct json_out *w, const struct api_job *j)
{
	json_out_object(w, NULL);
	json_out_string(w, "id", j->id);
	json_out_string(w, "name", j->name);
	reply_stored(w, "labels", j->labels);
	json_out_string(w, "owner", j->owner);
	json_out_string(w, "visibility", j->visibility);
	json_out_string(w, "status", j->status);
	json_out_integer(w, "attempt", j->attempt);
	json_out_integer(w, "priority", j->priority);
	if (j->queue_position)
		json_out_integer(w, "queue_position", j->queue_position);
	else
		json_out_null(w, "queue_position");
	inputs_json(w, j);
	params_json(w, j);
	job_progress_json(w, "progress", j);
	usage_json(w, j);
	warnings_json(w, j);
	problem_of_job(w, "error", j->error_code, j->error_detail);
	result_json(w, j);
	json_out_string(w, "reused_from", j->reused_from[0] ? j->reused_from : NULL);
	json_out_string(w, "retry_of", j->retry_of[0] ? j->retry_of : NULL);
	when_json(w, "created_at", j->created_at);
	when_json(w, "started_at", j->started_at);
	when_json(w, "finished_at", j->finished_at);
	urls_json(w, j->id);
	json_out_end_object(w);
}
