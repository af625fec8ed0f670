#include "api/handlers.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"
#include "core/workflow/params.h"

#include <string.h>

HANDLER(meta_queue)
{
	struct api_queue x;
	struct err e = ERR_INIT;
	struct json_out w;
	if (a->backend.queue(a->backend.ctx, &q->who, &x, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_integer(&w, "queued", x.queued);
	json_out_integer(&w, "running", x.running);
	json_out_integer(&w, "workers", x.workers);
	json_out_array(&w, "jobs");
	for (size_t i = 0; i < x.njobs; i++) {
		json_out_object(&w, NULL);
		json_out_string(&w, "id", x.jobs[i].id);
		json_out_string(&w, "status", x.jobs[i].status);
		if (x.jobs[i].position)
			json_out_integer(&w, "position", x.jobs[i].position);
		else
			json_out_null(&w, "position");
		when_json(&w, "created_at", x.jobs[i].created_at);
		json_out_end_object(&w);
	}
	json_out_end_array(&w);
	json_out_end_object(&w);
	reply_end(r, q, 200);
	api_queue_fini(&x);
}

HANDLER(meta_server)
{
	struct api_server s;
	struct json_out w;
	memset(&s, 0, sizeof s);
	a->backend.server(a->backend.ctx, &s);
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_string(&w, "version", s.version);
	json_out_string(&w, "onnxruntime", s.onnxruntime);
	json_out_integer(&w, "cpus", s.cpus);
	json_out_integer(&w, "workers", s.workers);
	json_out_integer(&w, "threads_per_job", s.threads_per_job);
	json_out_integer(&w, "uptime_seconds", s.uptime_seconds);
	json_out_object(&w, "limits");
	for (size_t i = 0; i < s.nlimits; i++)
		json_out_integer(&w, s.limits[i].name, s.limits[i].value);
	json_out_end_object(&w);
	params_table_to_json(&w, "params");
	json_out_end_object(&w);
	reply_end(r, q, 200);
}

HANDLER(meta_metrics)
{
	struct err e = ERR_INIT;
	if (a->backend.metrics(a->backend.ctx, &r->body, &e) < 0 || buf_failed(&r->body)) {
		problem_of(r, q, &e, NULL);
		return;
	}
	r->status = 200;
	http_set(r, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
	http_set(r, "Cache-Control", "no-store");
}

HANDLER(meta_live)
{
	struct json_out w;
	(void)a;
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_string(&w, "status", "ok");
	json_out_end_object(&w);
	reply_end(r, q, 200);
}

HANDLER(meta_ready)
{
	struct api_check checks[API_MAX_CHECKS];
	struct json_out w;
	size_t n = a->backend.ready(a->backend.ctx, checks);
	bool ok = true;
	for (size_t i = 0; i < n; i++)
		ok = ok && checks[i].ok;
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_string(&w, "status", ok ? "ok" : "unavailable");
	if (http_query(q, "verbose")) {
		json_out_array(&w, "checks");
		for (size_t i = 0; i < n; i++) {
			json_out_object(&w, NULL);
			json_out_string(&w, "name", checks[i].name);
			json_out_bool(&w, "ok", checks[i].ok);
			json_out_string(&w, "detail", checks[i].detail);
			json_out_end_object(&w);
		}
		json_out_end_array(&w);
	}
	json_out_end_object(&w);
	reply_end(r, q, ok ? 200 : 503);
}

HANDLER(meta_health)
{
	meta_ready(a, q, r);
}
