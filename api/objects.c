/* Uploaded objects of every kind: models, calibration sets, encodings files. */

#include "api/objects.h"

#include "api/download.h"
#include "api/handlers.h"
#include "api/members.h"
#include "api/object_json.h"
#include "api/once.h"
#include "api/problems.h"
#include "api/replies.h"

/* What GET answers. */
static void write_object(struct json_out *w, const void *object)
{
	object_json(w, object, NULL);
}

static void reply_object(struct http_request *q, struct http_response *r, const struct api_object *x)
{
	struct json_out w;
	reply_begin(r, &w);
	write_object(&w, x);
	reply_end(r, q, 200);
}

void objects_reply_added(const struct http_request *q, struct http_response *r, const struct api_object *x, bool existing)
{
	struct json_out w;
	reply_begin(r, &w);
	object_json(&w, x, &existing);
	http_set(r, "Location", "/v1/%s/%s", object_kinds[x->kind].path, x->id);
	reply_end(r, q, existing ? 200 : 201);
}

HANDLER(objects_check)
{
	struct api_change first;
	(void)a;
	(void)members_query(&first, q, r);
}

static void add(const struct api *a, struct http_request *q, struct http_response *r, enum api_kind kind)
{
	struct api_object x;
	struct err e = ERR_INIT;
	struct api_change first;
	struct api_once once;
	bool existing;
	if (!members_query(&first, q, r) || !once_read(&once, q, r))
		return;
	if (a->backend.object_add(a->backend.ctx, &q->who, kind, q->upload, &first, http_query(q, "model"),
	                          http_query(q, "preprocess"), &once, &x, &existing, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	objects_reply_added(q, r, &x, existing);
	once_mark(&once, r);
	api_object_fini(&x);
}

static void list(const struct api *a, struct http_request *q, struct http_response *r, enum api_kind kind)
{
	struct api_page page;
	struct api_object *x;
	struct err e = ERR_INIT;
	struct json_out w;
	size_t n;
	if (!reply_page(q, r, &page))
		return;
	if (a->backend.object_list(a->backend.ctx, &q->who, kind, &page, &x, &n, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	size_t shown = reply_page_count(&page, n);
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_array(&w, "data");
	for (size_t i = 0; i < shown; i++)
		write_object(&w, &x[i]);
	reply_page_end(r, q, &w, &page, n, shown ? x[shown - 1].id : "");
	api_objects_free(x, n);
}

static void get(const struct api *a, struct http_request *q, struct http_response *r, enum api_kind kind)
{
	struct api_object x;
	struct err e = ERR_INIT;
	if (a->backend.object_get(a->backend.ctx, &q->who, kind, q->args[0], &x, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	reply_object(q, r, &x);
	download_tag(r, q);
	api_object_fini(&x);
}

static void change(const struct api *a, struct http_request *q, struct http_response *r, enum api_kind kind)
{
	struct members m = {.labels = BUF_INIT};
	struct api_change change;
	struct api_object x;
	struct err e = ERR_INIT;
	struct json *v = members_change(&m, &change, false, q, r);
	if (!v)
		return;
	change.kind = object_kinds[kind].name;
	change.write = write_object;
	if (a->backend.object_change(a->backend.ctx, &q->who, kind, q->args[0], &change, &x, &e) < 0) {
		problem_of(r, q, &e, NULL);
	} else {
		reply_object(q, r, &x);
		download_mark(r);
		api_object_fini(&x);
	}
	members_fini(&m);
	json_free(v);
}

static void drop(const struct api *a, struct http_request *q, struct http_response *r, enum api_kind kind)
{
	struct err e = ERR_INIT;
	if (a->backend.object_delete(a->backend.ctx, &q->who, kind, q->args[0], &e) < 0)
		problem_of(r, q, &e, NULL);
	else
		reply_empty(r, 204);
}

static void content(const struct api *a, struct http_request *q, struct http_response *r, enum api_kind kind)
{
	struct api_blob b;
	struct err e = ERR_INIT;
	if (a->backend.object_open(a->backend.ctx, &q->who, kind, q->args[0], &b, &e) < 0) {
		problem_of(r, q, &e, NULL);
		return;
	}
	download(r, q, &b, object_kinds[kind].file);
	api_blob_fini(&b);
}

/* ---- a handler for each kind and request, as the route table has them ---- */

#define HANDLE(handler, does, kind)  \
	HANDLER(handler)             \
	{                            \
		does(a, q, r, kind); \
	}
#define HANDLE_ALL(prefix, kind)              \
	HANDLE(prefix##_add, add, kind)       \
	HANDLE(prefix##_list, list, kind)     \
	HANDLE(prefix##_get, get, kind)       \
	HANDLE(prefix##_change, change, kind) \
	HANDLE(prefix##_delete, drop, kind)   \
	HANDLE(prefix##_content, content, kind)

HANDLE_ALL(models, API_MODEL)
HANDLE_ALL(calibrations, API_CALIBRATION)
HANDLE_ALL(encodings_files, API_ENCODINGS)
