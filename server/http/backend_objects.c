/* Uploaded objects of every kind: from an upload to a row, and what is asked about them. */

#include "server/http/backend_objects.h"

#include "api/once.h"
#include "server/base/clock.h"
#include "server/base/id.h"
#include "server/http/upload.h"
#include "server/store/store.h"
#include "server/store/store_object.h"
#include "server/store/store_once.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 10 };

static const struct backend_kind *const kinds[] = {
	[API_MODEL] = &backend_model,
	[API_CALIBRATION] = &backend_calibration,
	[API_ENCODINGS] = &backend_encodings,
};

static int name(struct api_object *x, const struct incoming *in, struct err *e)
{
	memcpy(x->sha256, part_sha256(in->part), sizeof x->sha256);
	x->size = part_size(in->part);
	x->created_at = clock_ms();
	x->name = strdup(in->first->name);
	x->labels = strdup(in->first->labels);
	x->owner = strdup(in->who->owner);
	(void)snprintf(x->visibility, sizeof x->visibility, "%s", in->first->visibility);
	return x->name && x->labels && x->owner ? id_new(kinds[x->kind]->prefix, x->id, e) : err_nomem(e, "a name");
}

/* Inspects and keeps a file that is not there yet. */
static int take_in(struct backend *b, enum api_kind kind, struct incoming *in, struct api_object *out, bool *existing,
                   struct err *e)
{
	struct api_object x;
	memset(&x, 0, sizeof x);
	x.kind = kind;
	int rc = kinds[kind]->inspect(b, in, &x, e) == 0 && name(&x, in, e) == 0 && part_sync(in->part, e) == 0
	                 ? store_object_add(b->store, in->part, &x, in->once, out, existing, e)
	                 : -1;
	if (rc == 0 && kinds[kind]->added)
		kinds[kind]->added(b, in);
	api_object_fini(&x);
	return rc;
}

/* An equal file is here: its object is the answer. */
static int take_found(struct backend *b, enum api_kind kind, struct incoming *in, char id[API_ID + 1], struct api_object *out,
                      struct err *e)
{
	if (kinds[kind]->check_found && kinds[kind]->check_found(b, in, e) < 0)
		return -1;
	if (in->once->key && store_object_again(b->store, kind, in->who->owner, part_sha256(in->part), in->once, id, e) < 0)
		return -1;
	return store_object_get(b->store, in->who, kind, id, out, e);
}

/* One attempt: 0, 1 (the equal object that was found is gone), or -1. */
static int try_add(struct backend *b, enum api_kind kind, struct incoming *in, struct api_object *out, bool *existing,
                   struct err *e)
{
	char id[API_ID + 1];
	if (store_object_find(b->store, kind, in->who->owner, part_sha256(in->part), id, existing, e) < 0)
		return -1;
	if (!*existing)
		return take_in(b, kind, in, out, existing, e);
	if (take_found(b, kind, in, id, out, e) < 0)
		return e->code == ERR_NOT_FOUND ? 1 : -1;
	return 0;
}

static int add(struct backend *b, enum api_kind kind, struct incoming *in, struct api_object *out, bool *existing, struct err *e)
{
	int rc = 1;
	/* An equal object that is deleted between finding and reading it leaves this one to be the first. */
	for (int i = 0; i < TRIES && rc == 1; i++)
		rc = try_add(b, kind, in, out, existing, e);
	if (rc == 0 && in->once->replayed)
		*existing = in->once->existing;
	return rc == 0 ? 0 : -1;
}

/* The same for an upload that its key did not bring here before. */
static int add_new(struct backend *b, enum api_kind kind, struct incoming *in, const char *model, const char *preprocess,
                   struct api_object *out, bool *existing, struct err *e)
{
	struct api_object m;
	if (model && store_object_get(b->store, in->who, API_MODEL, model, &m, e) < 0)
		return -1;
	in->model = model ? &m : NULL;
	params_init(&in->params);
	int rc = preprocess ? params_set_text(&in->params, "preprocess", preprocess, e) : 0;
	if (rc == 0)
		rc = add(b, kind, in, out, existing, e);
	params_fini(&in->params);
	if (model)
		api_object_fini(&m);
	return rc;
}

static int object_add(void *ctx, const struct api_caller *who, enum api_kind kind, struct upload *u, const struct api_change *first,
                      const char *model, const char *preprocess, struct api_once *once, struct api_object *out, bool *existing,
                      struct err *e)
{
	struct backend *b = ctx;
	struct incoming in = {.who = who, .part = upload_part(u), .first = first, .once = once};
	char id[API_ID + 1];
	once_add_file(once, part_sha256(in.part));
	/* Before the model is looked for: it may be gone since the key's first request. */
	if (store_once_made(b->store, who->owner, once, id, e) < 0)
		return -1;
	if (!id[0])
		return add_new(b, kind, &in, model, preprocess, out, existing, e);
	*existing = once->existing;
	if (store_object_get(b->store, who, kind, id, out, e) == 0)
		return 0;
	return e->code == ERR_NOT_FOUND ? err_set(e, ERR_GONE, "what the request made was deleted") : -1;
}

static int object_get(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, struct api_object *out,
                      struct err *e)
{
	struct backend *b = ctx;
	return store_object_get(b->store, who, kind, id, out, e);
}

static int object_list(void *ctx, const struct api_caller *who, enum api_kind kind, const struct api_page *page,
                       struct api_object **out, size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_object_list(b->store, who, kind, page, out, n, e);
}

static int object_open(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, struct api_blob *out,
                       struct err *e)
{
	struct backend *b = ctx;
	struct api_object x;
	if (store_object_get(b->store, who, kind, id, &x, e) < 0)
		return -1;
	int rc = backend_open_blob(b, x.sha256, x.name, NULL, out, e);
	x.name = NULL;
	api_object_fini(&x);
	return rc;
}

static int object_change(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, const struct api_change *c,
                         struct api_object *out, struct err *e)
{
	struct backend *b = ctx;
	return store_object_change(b->store, who, kind, id, c, e) == 0 ? store_object_get(b->store, who, kind, id, out, e) : -1;
}

static int object_delete(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_object_delete(b->store, who, kind, id, e);
}

void backend_fill_objects(struct api_backend *out)
{
	out->object_add = object_add;
	out->object_get = object_get;
	out->object_list = object_list;
	out->object_open = object_open;
	out->object_change = object_change;
	out->object_delete = object_delete;
}
