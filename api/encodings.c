/* Uploaded encodings files: the setting load_encodings takes their ids. */

#include "api/download.h"
#include "api/handlers.h"
#include "api/members.h"
#include "api/once.h"
#include "api/problems.h"
#include "api/replies.h"
#include "api/when.h"

#include <stdio.h>

static void encodings_json(struct json_out *w, const struct api_encodings *x, const bool *deduplicated)
{
	char url[100];
	json_out_object(w, NULL);
	json_out_string(w, "id", x->id);
	json_out_string(w, "name", x->name);
	reply_stored(w, "labels", x->labels);
	json_out_string(w, "owner", x->owner);
	json_out_string(w, "visibility", x->visibility);
	json_out_string(w, "sha256", x->sha256);
	json_out_integer(w, "size", x->size);
	json_out_integer(w, "parameters", x->parameters);
	json_out_integer(w, "activations", x->activations);
	if (deduplicated)
		json_out_bool(w, "deduplicated", *deduplicated);
	when_json(w, "created_at", x->created_at);
	json_out_object(w, "urls");
	(void)snprintf(url, sizeof url, "/v1/encodings/%s", x->id);
	json_out_string(w, "self", url);
	(void)snprintf(url, sizeof url, "/v1/encodings/%s/content", x->id);
	json_out_string(w, "content", url);
	json_out_end_object(w);
	json_out_end_object(w);
}

HANDLER(encodings_files_check)
{
	struct api_change first;
	(void)a;
	(void)members_query(&first, q, r);
}

HANDLER(encodings_files_add)
{
	struct api_encodings c;
	struct err e = ERR_INIT;
	struct json_out w;
	struct api_change first;
	struct api_once once;
	bool existing;
	if (!members_query(&first, q, r) || !once_read(&once, q, r))
		return;
	if (a->backend.encodings_add(a->backend.ctx, &q->who, q->upload, &first, &once, &c, &existing, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	encodings_json(&w, &c, &existing);
	http_set(r, "Location", "/v1/encodings/%s", c.id);
	reply_end(r, q, existing ? 200 : 201);
	once_mark(&once, r);
	api_encodings_fini(&c);
}

HANDLER(encodings_files_list)
{
	struct api_page page;
	struct api_encodings *c;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	if (!reply_page(q, r, &page))
		return;
	if (a->backend.encodings_list(a->backend.ctx, &q->who, &page, &c, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	size_t shown = reply_page_count(&page, n);
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		encodings_json(&w, &c[i], NULL);
	reply_page_end(r, q, &w, &page, n, shown ? c[shown - 1].id : "");
	api_encodings_free(c, n);
}

HANDLER(encodings_files_get)
{
	struct api_encodings c;
	struct err e = ERR_INIT;
	struct json_out w;
	if (a->backend.encodings_get(a->backend.ctx, &q->who, q->args[0], &c, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_begin(r, &w);
	encodings_json(&w, &c, NULL);
	reply_end(r, q, 200);
	download_tag(r, q);
	api_encodings_fini(&c);
}

HANDLER(encodings_files_delete)
{
	struct err e = ERR_INIT;
	if (a->backend.encodings_delete(a->backend.ctx, &q->who, q->args[0], &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_empty(r, 204);
}

HANDLER(encodings_files_content)
{
	struct api_blob b;
	struct err e = ERR_INIT;
	if (a->backend.encodings_open(a->backend.ctx, &q->who, q->args[0], &b, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	download(r, q, &b, "model.encodings");
	api_blob_fini(&b);
}

/* What GET answers. */
static void write_object(struct json_out *w, const void *object)
{
	encodings_json(w, object, NULL);
}

HANDLER(encodings_files_change)
{
	struct members m = {.labels = BUF_INIT};
	struct api_change change;
	struct api_encodings x;
	struct err e = ERR_INIT;
	struct json *v = members_change(&m, &change, false, q, r);
	if (!v)
		return;
	change.kind = "encodings file";
	change.write = write_object;
	if (a->backend.encodings_change(a->backend.ctx, &q->who, q->args[0], &change, &x, &e) < 0) {
		problem_of(r, q, &e, NULL);
	} else {
		struct json_out w;
		reply_begin(r, &w);
		encodings_json(&w, &x, NULL);
		reply_end(r, q, 200);
		download_mark(r);
		api_encodings_fini(&x);
	}
	members_fini(&m);
	json_free(v);
}
