#include "api/download.h"
#include "api/handlers.h"
#include "api/members.h"
#include "api/once.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"
#include "core/data/preprocess.h"

#include <stdio.h>

static void calibration_json(struct json_out *w, const struct api_calibration *c, const bool *deduplicated)
{
	char url[100];
	json_out_object(w, NULL);
	json_out_string(w, "id", c->id);
	json_out_string(w, "name", c->name);
	reply_stored(w, "labels", c->labels);
	json_out_string(w, "owner", c->owner);
	json_out_string(w, "visibility", c->visibility);
	json_out_string(w, "sha256", c->sha256);
	json_out_integer(w, "size", c->size);
	if (c->samples < 0)
		json_out_null(w, "samples");
	else
		json_out_integer(w, "samples", c->samples);
	reply_stored(w, "arrays", c->arrays);
	if (deduplicated)
		json_out_bool(w, "deduplicated", *deduplicated);
	when_json(w, "created_at", c->created_at);
	json_out_object(w, "urls");
	(void)snprintf(url, sizeof url, "/v1/calibrations/%s", c->id);
	json_out_string(w, "self", url);
	(void)snprintf(url, sizeof url, "/v1/calibrations/%s/content", c->id);
	json_out_string(w, "content", url);
	json_out_end_object(w);
	json_out_end_object(w);
}

HANDLER(calibrations_check)
{
	struct api_model m;
	struct err e = ERR_INIT;
	struct api_change first;
	const char *model = http_query(q, "model"), *line = http_query(q, "preprocess");
	struct preprocess unused;
	if (!members_query(&first, q, r))
		return;
	if (line && preprocess_parse(line, &unused, &e)) {
		problem_of(r, q, &e, "?preprocess");
		return;
	}
	if (!model || http_header(q, "Idempotency-Key")) /* the model may be gone since the key's first request */
		return;
	if (a->backend.model_get(a->backend.ctx, &q->who, model, &m, &e) < 0)
		problem_of(r, q, &e, e.code == ERR_NOT_FOUND ? "?model" : NULL);
	else
		api_model_fini(&m);
}

HANDLER(calibrations_add)
{
	struct api_calibration c;
	struct err e = ERR_INIT;
	struct json_out w;
	struct api_change first;
	struct api_once once;
	bool existing;
	if (!members_query(&first, q, r) || !once_read(&once, q, r))
		return;
	if (a->backend.calibration_add(a->backend.ctx, &q->who, q->upload, &first, http_query(q, "model"),
	                               http_query(q, "preprocess"), &once, &c, &existing, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	calibration_json(&w, &c, &existing);
	http_set(r, "Location", "/v1/calibrations/%s", c.id);
	reply_end(r, q, existing ? 200 : 201);
	once_mark(&once, r);
	api_calibration_fini(&c);
}

HANDLER(calibrations_list)
{
	struct api_page page;
	struct api_calibration *c;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	if (!reply_page(q, r, &page))
		return;
	if (a->backend.calibration_list(a->backend.ctx, &q->who, &page, &c, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	size_t shown = reply_page_count(&page, n);
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		calibration_json(&w, &c[i], NULL);
	reply_page_end(r, q, &w, &page, n, shown ? c[shown - 1].id : "");
	api_calibrations_free(c, n);
}

HANDLER(calibrations_get)
{
	struct api_calibration c;
	struct err e = ERR_INIT;
	struct json_out w;
	if (a->backend.calibration_get(a->backend.ctx, &q->who, q->args[0], &c, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	calibration_json(&w, &c, NULL);
	reply_end(r, q, 200);
	download_tag(r, q);
	api_calibration_fini(&c);
}

HANDLER(calibrations_delete)
{
	struct err e = ERR_INIT;
	if (a->backend.calibration_delete(a->backend.ctx, &q->who, q->args[0], &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_empty(r, 204);
}

HANDLER(calibrations_content)
{
	struct api_blob b;
	struct err e = ERR_INIT;
	if (a->backend.calibration_open(a->backend.ctx, &q->who, q->args[0], &b, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	download(r, q, &b, "calibration.npz");
	api_blob_fini(&b);
}

/* What GET answers. */
static void write_object(struct json_out *w, const void *object)
{
	calibration_json(w, object, NULL);
}

HANDLER(calibrations_change)
{
	struct members m = {.labels = BUF_INIT};
	struct api_change change;
	struct api_calibration x;
	struct err e = ERR_INIT;
	struct json *v = members_change(&m, &change, false, q, r);
	if (!v)
		return;
	change.kind = "calibration";
	change.write = write_object;
	if (a->backend.calibration_change(a->backend.ctx, &q->who, q->args[0], &change, &x, &e) < 0) {
		problem_of(r, q, &e, NULL);
	} else {
		struct json_out w;
		reply_begin(r, &w);
		calibration_json(&w, &x, NULL);
		reply_end(r, q, 200);
		download_mark(r);
		api_calibration_fini(&x);
	}
	members_fini(&m);
	json_free(v);
}
