/* Models: from an upload to a row, by way of an inspection. */

#include "server/http/backend.h"

#include "api/once.h"
#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/base/id.h"
#include "server/engine/call.h"
#include "server/http/upload.h"
#include "server/store/store.h"
#include "server/store/store_model.h"
#include "server/store/store_once.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 10 };

/* What the model's inspection is kept as. */
struct found {
	struct api_model model;
	char *layers;
};

static char *written(const struct json *v, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	if (v)
		json_out_value(&w, NULL, v);
	if (v && !buf_failed(&b))
		return b.data;
	buf_fini(&b);
	err_set(e, v ? ERR_MEMORY : ERR_INTERNAL, "the inspection's answer could not be kept");
	return NULL;
}

static int add_files(struct api_model *m, const struct json *names, struct err *e)
{
	m->files = calloc(json_size(names) + 1, sizeof *m->files);
	if (!m->files)
		return err_nomem(e, "a list of files");
	for (size_t i = 0; i < json_size(names); i++) {
		const char *name = json_text(json_at(names, i));
		if (!name || !api_is_plain_path(name))
			return err_set(e, ERR_UNSUPPORTED_GRAPH,
			               "external data must lie in files with plain relative names, not in \"%.200s\"",
			               name ? name : "");
		m->files[i].name = strdup(name);
		if (!m->files[i].name)
			return err_nomem(e, "a list of files");
		m->nfiles++;
	}
	return 0;
}

static int unpack(struct found *f, const struct json *v, struct err *e)
{
	struct api_model *m = &f->model;
	m->ir_version = json_int(json_get(v, "ir_version"));
	m->opset = json_int(json_get(v, "opset"));
	m->nodes = json_int(json_get(v, "nodes"));
	m->layer_count = (int64_t)json_size(json_get(v, "layers"));
	m->searchable_count = json_int(json_get(v, "searchable"));
	m->inputs = written(json_get(v, "inputs"), e);
	m->outputs = written(json_get(v, "outputs"), e);
	f->layers = written(json_get(v, "layers"), e);
	return m->inputs && m->outputs && f->layers ? add_files(m, json_get(v, "external_files"), e) : -1;
}

static void found_fini(struct found *f)
{
	api_model_fini(&f->model);
	free(f->layers);
}

static int ask(struct backend *b, struct call *call, struct buf *answer, struct err *e)
{
	return call_end(call, e) == 0 ? probe_ask(&b->probe, call, ERR_NOT_ONNX, answer, e) : -1;
}

static int inspect(struct backend *b, struct part *part, struct found *f, struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	call_init(&call, "model");
	int rc = call_model(&call, part_open(part, e), e) == 0 ? ask(b, &call, &answer, e) : -1;
	struct json *v = rc == 0 ? json_parse(answer.data, answer.len, e) : NULL;
	rc = v ? unpack(f, v, e) : -1;
	json_free(v);
	buf_fini(&answer);
	call_fini(&call);
	return rc;
}

static int describe(struct found *f, const struct api_caller *who, struct part *part, const struct api_change *first, struct err *e)
{
	struct api_model *m = &f->model;
	memcpy(m->sha256, part_sha256(part), sizeof m->sha256);
	if (m->nfiles == 0)
		memcpy(m->digest, m->sha256, sizeof m->digest);
	m->size = part_size(part);
	m->created_at = clock_ms();
	m->name = strdup(first->name);
	m->labels = strdup(first->labels);
	m->owner = strdup(who->owner);
	(void)snprintf(m->visibility, sizeof m->visibility, "%s", first->visibility);
	return m->name && m->labels && m->owner ? id_new("mdl_", m->id, e) : err_nomem(e, "a name");
}

/* Inspects and keeps a file that is not there yet; *f is what was found in it, to be freed in any case. */
static int take_in(struct backend *b, const struct api_caller *who, struct part *part, const struct api_change *first,
                   struct api_once *once, struct found *f, char id[API_ID + 1], bool *existing, struct err *e)
{
	return inspect(b, part, f, e) == 0 && describe(f, who, part, first, e) == 0 && part_sync(part, e) == 0
	               ? store_model_add(b->store, part, &f->model, f->layers, once, id, existing, e)
	               : -1;
}

/* The model of the request's key, or one of the same file, or this one. */
static int find_or_take_in(struct backend *b, const struct api_caller *who, struct part *part, const struct api_change *first,
                           struct api_once *once, struct found *f, char id[API_ID + 1], bool *found, struct err *e)
{
	if (store_once_made(b->store, who->owner, once, id, e) < 0)
		return -1;
	*found = id[0] != '\0';
	if (*found)
		return 0;
	if (store_model_find(b->store, who->owner, part_sha256(part), id, found, e) < 0)
		return -1;
	if (!*found)
		return take_in(b, who, part, first, once, f, id, found, e);
	return once->key ? store_model_again(b->store, who->owner, part_sha256(part), once, id, e) : 0;
}

/* One attempt: 0, 1 (the equal model that was found is gone), or -1. */
static int try_add(struct backend *b, const struct api_caller *who, struct part *part, const struct api_change *first,
                   struct api_once *once, struct found *f, struct api_model *out, bool *existing, struct err *e)
{
	char id[API_ID + 1];
	bool found = false;
	if (find_or_take_in(b, who, part, first, once, f, id, &found, e) < 0)
		return found && e->code == ERR_NOT_FOUND ? 1 : -1;
	*existing = once->replayed ? once->existing : found;
	if (store_model_get(b->store, who, id, out, e) == 0)
		return 0;
	if (e->code != ERR_NOT_FOUND || found)
		return e->code == ERR_NOT_FOUND ? 1 : -1;
	*out = f->model; /* it was kept, and somebody deleted it before we could look: this is what it was */
	memset(&f->model, 0, sizeof f->model);
	return 0;
}

static int model_add(void *ctx, const struct api_caller *who, struct upload *u, const struct api_change *first,
                     struct api_once *once, struct api_model *out, bool *existing, struct err *e)
{
	int rc = 1;
	once_add_file(once, part_sha256(upload_part(u)));
	/* An equal model that is deleted between finding and reading it leaves this one to be the first. */
	for (int i = 0; i < TRIES && rc == 1; i++) {
		struct found f;
		memset(&f, 0, sizeof f);
		rc = try_add(ctx, who, upload_part(u), first, once, &f, out, existing, e);
		found_fini(&f);
	}
	return rc == 0 ? 0 : -1;
}

static struct api_file *file_named(const struct api_model *m, const char *name)
{
	for (size_t i = 0; i < m->nfiles; i++)
		if (strcmp(m->files[i].name, name) == 0)
			return &m->files[i];
	return NULL;
}

static bool all_present(const struct api_model *m)
{
	for (size_t i = 0; i < m->nfiles; i++)
		if (!m->files[i].present)
			return false;
	return true;
}

/* The identity of a model with external files: the digest of a list of digests, in the order of the names (as the store gives
 * them). */
static int identity(const struct api_model *m, char digest[API_SHA256 + 1], struct err *e)
{
	struct buf b = BUF_INIT;
	buf_printf(&b, "%s\n", m->sha256);
	for (size_t i = 0; i < m->nfiles; i++)
		buf_printf(&b, "%s %s\n", m->files[i].sha256, m->files[i].name);
	int rc = buf_failed(&b) ? err_nomem(e, "a digest") : sha256_of(b.data, b.len, digest, e);
	buf_fini(&b);
	return rc;
}

/* Lets a child attach all files: are they as long as the model says? fd (or -1) stands for the named one. */
static int verify(struct backend *b, const struct api_model *m, const char *name, int fd, struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	const struct blobs *blobs = store_blobs(b->store);
	call_init(&call, "model");
	int rc = call_files(&call, blobs, m, name, fd, e) == 0 && call_model(&call, blob_open(blobs, m->sha256, NULL, e), e) == 0
	                 ? ask(b, &call, &answer, e)
	                 : -1;
	buf_fini(&answer);
	call_fini(&call);
	return rc;
}

/* Keeps one file of m. With the last one, the model is verified and becomes complete. */
static int keep_file(struct backend *b, struct api_model *m, struct api_file *f, struct part *part, struct err *e)
{
	char digest[API_SHA256 + 1] = "";
	memcpy(f->sha256, part_sha256(part), sizeof f->sha256);
	f->present = true;
	if (all_present(m)) {
		int fd = part_open(part, e);
		if (fd < 0 || verify(b, m, f->name, fd, e) < 0 || identity(m, digest, e) < 0)
			return -1;
	}
	if (part_sync(part, e) < 0)
		return -1;
	return store_model_set_file(b->store, part, m->id, f->name, digest[0] ? digest : NULL, e);
}

/* Two last files that came at once each saw the other one missing: whoever finds all of them there completes the model. */
static int complete(struct backend *b, const struct api_caller *who, const char *id, struct api_model *out, struct err *e)
{
	char digest[API_SHA256 + 1];
	if (store_model_get(b->store, who, id, out, e) < 0)
		return -1;
	if (out->digest[0] || !all_present(out))
		return 0;
	if (verify(b, out, NULL, -1, e) == 0 && identity(out, digest, e) == 0 &&
	    store_model_complete(b->store, id, digest, e) == 0) {
		memcpy(out->digest, digest, sizeof out->digest);
		return 0;
	}
	api_model_fini(out);
	return -1;
}

static int model_file_add(void *ctx, const struct api_caller *who, const char *id, const char *file, struct upload *u,
                          struct api_model *out, bool *existing, struct err *e)
{
	struct backend *b = ctx;
	struct part *part = upload_part(u);
	struct api_model m;
	int rc = 0;
	if (store_model_get(b->store, who, id, &m, e) < 0)
		return -1;
	if (!who->all && strcmp(m.owner, who->owner) != 0) {
		api_model_fini(&m);
		return err_set(e, ERR_NOT_FOUND, "there is no model %.40s of yours", id);
	}
	struct api_file *f = file_named(&m, file);
	*existing = f && f->present && strcmp(f->sha256, part_sha256(part)) == 0;
	if (!f)
		rc = err_set(e, ERR_BAD_PARAM, "the model names no external file %.200s", file);
	else if (!*existing && m.digest[0])
		rc = err_set(e, ERR_BAD_STATE, "the model is complete; its files do not change any more");
	else if (!*existing)
		rc = keep_file(b, &m, f, part, e);
	api_model_fini(&m);
	return rc == 0 ? complete(b, who, id, out, e) : -1;
}

static int model_get(void *ctx, const struct api_caller *who, const char *id, struct api_model *out, struct err *e)
{
	struct backend *b = ctx;
	return store_model_get(b->store, who, id, out, e);
}

static int model_list(void *ctx, const struct api_caller *who, const struct api_page *page, struct api_model **out, size_t *n,
                      struct err *e)
{
	struct backend *b = ctx;
	return store_model_list(b->store, who, page, out, n, e);
}

static int model_layers(void *ctx, const struct api_caller *who, const char *id, char **json, struct err *e)
{
	struct backend *b = ctx;
	return store_model_layers(b->store, who, id, json, e);
}

static int model_open(void *ctx, const struct api_caller *who, const char *id, struct api_blob *out, struct err *e)
{
	struct backend *b = ctx;
	struct api_model m;
	if (store_model_get(b->store, who, id, &m, e) < 0)
		return -1;
	memset(out, 0, sizeof *out);
	out->fd = blob_open(store_blobs(b->store), m.sha256, &out->size, e);
	memcpy(out->sha256, m.sha256, sizeof out->sha256);
	out->name = m.name; /* moves over */
	m.name = NULL;
	api_model_fini(&m);
	if (out->fd >= 0)
		return 0;
	api_blob_fini(out);
	return -1;
}

static int model_delete(void *ctx, const struct api_caller *who, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_model_delete(b->store, who, id, e);
}

static int model_change(void *ctx, const struct api_caller *who, const char *id, const struct api_change *c, struct api_model *out,
                        struct err *e)
{
	struct backend *b = ctx;
	return store_model_change(b->store, who, id, c, e) == 0 ? store_model_get(b->store, who, id, out, e) : -1;
}

void backend_fill_models(struct api_backend *out)
{
	out->model_add = model_add;
	out->model_file_add = model_file_add;
	out->model_get = model_get;
	out->model_list = model_list;
	out->model_layers = model_layers;
	out->model_open = model_open;
	out->model_change = model_change;
	out->model_delete = model_delete;
}
