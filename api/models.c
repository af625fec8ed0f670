#include "api/download.h"
#include "api/handlers.h"
#include "api/members.h"
#include "api/once.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void files_json(struct json_out *w, const struct api_model *m)
{
	json_out_array(w, "files");
	for (size_t i = 0; i < m->nfiles; i++) {
		const struct api_file *f = &m->files[i];
		json_out_object(w, NULL);
		json_out_string(w, "name", f->name);
		json_out_bool(w, "present", f->present);
		json_out_string(w, "sha256", f->present ? f->sha256 : NULL);
		if (f->present)
			json_out_integer(w, "size", f->size);
		else
			json_out_null(w, "size");
		json_out_end_object(w);
	}
	json_out_end_array(w);
	json_out_array(w, "missing_files");
	for (size_t i = 0; i < m->nfiles; i++)
		if (!m->files[i].present)
			json_out_string(w, NULL, m->files[i].name);
	json_out_end_array(w);
}

static void urls_json(struct json_out *w, const char *id)
{
	char url[100];
	json_out_object(w, "urls");
	static const char *const names[] = {"self", "layers", "content"};
	static const char *const formats[] = {"", "/layers", "/content"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		(void)snprintf(url, sizeof url, "/v1/models/%s%s", id, formats[i]);
		json_out_string(w, names[i], url);
	}
	json_out_end_object(w);
}

static void model_json(struct json_out *w, const struct api_model *m, const bool *deduplicated)
{
	json_out_object(w, NULL);
	json_out_string(w, "id", m->id);
	json_out_string(w, "name", m->name);
	reply_stored(w, "labels", m->labels);
	json_out_string(w, "owner", m->owner);
	json_out_string(w, "visibility", m->visibility);
	json_out_string(w, "status", m->digest[0] ? "complete" : "incomplete");
	json_out_string(w, "sha256", m->sha256);
	json_out_string(w, "digest", m->digest[0] ? m->digest : NULL);
	json_out_integer(w, "size", m->size);
	json_out_integer(w, "ir_version", m->ir_version);
	json_out_integer(w, "opset", m->opset);
	json_out_integer(w, "nodes", m->nodes);
	reply_stored(w, "inputs", m->inputs);
	reply_stored(w, "outputs", m->outputs);
	json_out_object(w, "layers");
	json_out_integer(w, "total", m->layer_count);
	json_out_integer(w, "searchable", m->searchable_count);
	json_out_end_object(w);
	files_json(w, m);
	if (deduplicated)
		json_out_bool(w, "deduplicated", *deduplicated);
	when_json(w, "created_at", m->created_at);
	urls_json(w, m->id);
	json_out_end_object(w);
}

/* The answer to an upload: 201 for a new object, 200 for one that was here. */
static void reply_stored_model(struct http_request *q, struct http_response *r, const struct api_model *m, bool existing)
{
	struct json_out w;
	reply_begin(r, &w);
	model_json(&w, m, &existing);
	http_set(r, "Location", "/v1/models/%s", m->id);
	reply_end(r, q, existing ? 200 : 201);
}

HANDLER(models_check)
{
	struct api_change first;
	(void)a;
	(void)members_query(&first, q, r);
}

HANDLER(models_add)
{
	struct api_model m;
	struct err e = ERR_INIT;
	struct api_change first;
	struct api_once once;
	bool existing;
	if (!members_query(&first, q, r) || !once_read(&once, q, r))
		return;
	if (a->backend.model_add(a->backend.ctx, &q->who, q->upload, &first, &once, &m, &existing, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_stored_model(q, r, &m, existing);
	once_mark(&once, r);
	api_model_fini(&m);
}

static const struct api_file *file_named(const struct api_model *m, const char *name)
{
	for (size_t i = 0; i < m->nfiles; i++)
		if (strcmp(m->files[i].name, name) == 0)
			return &m->files[i];
	return NULL;
}

HANDLER(models_file_check)
{
	struct api_model m;
	struct err e = ERR_INIT;
	if (!api_is_plain_path(q->rest)) {
		problem_set(r, q, PROBLEM_BAD_PARAM, "the file's name must be a plain relative one");
		return;
	}
	if (a->backend.model_get(a->backend.ctx, &q->who, q->args[0], &m, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	if (!file_named(&m, q->rest))
		problem_set(r, q, PROBLEM_BAD_PARAM, "the model names no external file %.200s", q->rest);
	api_model_fini(&m);
}

HANDLER(models_file_add)
{
	struct api_model m;
	struct err e = ERR_INIT;
	bool existing;
	if (a->backend.model_file_add(a->backend.ctx, &q->who, q->args[0], q->rest, q->upload, &m, &existing, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_stored_model(q, r, &m, existing);
	api_model_fini(&m);
}

HANDLER(models_list)
{
	struct api_page page;
	struct api_model *m;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	if (!reply_page(q, r, &page))
		return;
	if (a->backend.model_list(a->backend.ctx, &q->who, &page, &m, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	size_t shown = reply_page_count(&page, n);
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		model_json(&w, &m[i], NULL);
	reply_page_end(r, q, &w, &page, n, shown ? m[shown - 1].id : "");
	api_models_free(m, n);
}

HANDLER(models_get)
{
	struct api_model m;
	struct err e = ERR_INIT;
	struct json_out w;
	if (a->backend.model_get(a->backend.ctx, &q->who, q->args[0], &m, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	model_json(&w, &m, NULL);
	reply_end(r, q, 200);
	download_tag(r, q);
	api_model_fini(&m);
}

HANDLER(models_delete)
{
	struct err e = ERR_INIT;
	if (a->backend.model_delete(a->backend.ctx, &q->who, q->args[0], &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_empty(r, 204);
}

HANDLER(models_layers)
{
	struct err e = ERR_INIT;
	struct json_out w;
	char *layers;
	if (a->backend.model_layers(a->backend.ctx, &q->who, q->args[0], &layers, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	reply_stored(&w, "data", layers);
	json_out_end_object(&w);
	reply_end(r, q, 200);
	free(layers);
}

HANDLER(models_content)
{
	struct api_blob b;
	struct err e = ERR_INIT;
	if (a->backend.model_open(a->backend.ctx, &q->who, q->args[0], &b, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	download(r, q, &b, "model.onnx");
	api_blob_fini(&b);
}

/* What GET answers. */
static void write_object(struct json_out *w, const void *object)
{
	model_json(w, object, NULL);
}

HANDLER(models_change)
{
	struct members m = {.labels = BUF_INIT};
	struct api_change change;
	struct api_model x;
	struct err e = ERR_INIT;
	struct json *v = members_change(&m, &change, false, q, r);
	if (!v)
		return;
	change.kind = "model";
	change.write = write_object;
	if (a->backend.model_change(a->backend.ctx, &q->who, q->args[0], &change, &x, &e) < 0) {
		problem_of(r, q, &e, NULL);
	} else {
		struct json_out w;
		reply_begin(r, &w);
		model_json(&w, &x, NULL);
		reply_end(r, q, 200);
		download_mark(r);
		api_model_fini(&x);
	}
	members_fini(&m);
	json_free(v);
}
