#include "api/download.h"
#include "api/handlers.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"

#include <stdio.h>

static void calibration_json(struct json_out *w, const struct api_calibration *c, const bool *deduplicated)
{
	char url[100];
	json_out_object(w, NULL);
	json_out_string(w, "id", c->id);
	json_out_string(w, "name", c->name);
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
	const char *name, *model = http_query(q, "model");
	if (!reply_name(q, r, &name) || !model)
		return;
	if (a->backend.model_get(a->backend.ctx, model, &m, &e) < 0)
		problem_of(r, q, &e, e.code == ERR_NOT_FOUND ? "?model" : NULL);
	else
		api_model_fini(&m);
}

HANDLER(calibrations_add)
{
	struct api_calibration c;
	struct err e = ERR_INIT;
	struct json_out w;
	const char *name;
	bool existing;
	if (!reply_name(q, r, &name))
		return;
	if (a->backend.calibration_add(a->backend.ctx, q->upload, name, http_query(q, "model"), &c, &existing, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	calibration_json(&w, &c, &existing);
	http_set(r, "Location", "/v1/calibrations/%s", c.id);
	reply_end(r, q, existing ? 200 : 201);
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
	if (a->backend.calibration_list(a->backend.ctx, &page, &c, &n, &e) < 0) {
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
	if (a->backend.calibration_get(a->backend.ctx, q->args[0], &c, &e) < 0) {
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
	if (a->backend.calibration_delete(a->backend.ctx, q->args[0], &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_empty(r, 204);
}

HANDLER(calibrations_content)
{
	struct api_blob b;
	struct err e = ERR_INIT;
	if (a->backend.calibration_open(a->backend.ctx, q->args[0], &b, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	download(r, q, &b, "calibration.npz");
	api_blob_fini(&b);
}
