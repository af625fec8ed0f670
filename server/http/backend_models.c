/* Models: what an inspection finds, and external files. */

#include "server/http/backend_objects.h"

#include "core/base/json.h"
#include "core/base/sha256.h"
#include "server/engine/call.h"
#include "server/http/upload.h"
#include "server/store/store.h"
#include "server/store/store_model.h"
#include "server/store/store_object.h"

#include <stdlib.h>
#include <string.h>

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

static int add_files(struct api_object *m, const struct json *names, struct err *e)
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

static int unpack(struct api_object *m, const struct json *v, struct err *e)
{
	m->ir_version = json_int(json_get(v, "ir_version"));
	m->opset = json_int(json_get(v, "opset"));
	m->nodes = json_int(json_get(v, "nodes"));
	m->layer_count = (int64_t)json_size(json_get(v, "layers"));
	m->searchable_count = json_int(json_get(v, "searchable"));
	m->inputs = written(json_get(v, "inputs"), e);
	m->outputs = written(json_get(v, "outputs"), e);
	m->layers = written(json_get(v, "layers"), e);
	return m->inputs && m->outputs && m->layers ? add_files(m, json_get(v, "external_files"), e) : -1;
}

static int ask(struct backend *b, struct call *call, struct buf *answer, struct err *e)
{
	return call_end(call, e) == 0 ? probe_ask(&b->probe, call, ERR_NOT_ONNX, answer, e) : -1;
}

static int inspect(struct backend *b, struct incoming *in, struct api_object *m, struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	call_init(&call, "model");
	int rc = call_model(&call, part_open(in->part, e), e) == 0 ? ask(b, &call, &answer, e) : -1;
	struct json *v = rc == 0 ? json_parse(answer.data, answer.len, e) : NULL;
	rc = v ? unpack(m, v, e) : -1;
	if (rc == 0 && m->nfiles == 0)
		memcpy(m->digest, part_sha256(in->part), sizeof m->digest);
	json_free(v);
	buf_fini(&answer);
	call_fini(&call);
	return rc;
}

const struct backend_kind backend_model = {.prefix = "mdl_", .inspect = inspect};

/* ---- external files ---- */

static struct api_file *file_named(const struct api_object *m, const char *name)
{
	for (size_t i = 0; i < m->nfiles; i++)
		if (strcmp(m->files[i].name, name) == 0)
			return &m->files[i];
	return NULL;
}

static bool all_present(const struct api_object *m)
{
	for (size_t i = 0; i < m->nfiles; i++)
		if (!m->files[i].present)
			return false;
	return true;
}

/* The identity of a model with external files: the digest of a list of digests, in the order of the names (as the store gives
 * them). */
static int identity(const struct api_object *m, char digest[API_SHA256 + 1], struct err *e)
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
static int verify(struct backend *b, const struct api_object *m, const char *name, int fd, struct err *e)
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
static int keep_file(struct backend *b, struct api_object *m, struct api_file *f, struct part *part, struct err *e)
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
static int complete(struct backend *b, const struct api_caller *who, const char *id, struct api_object *out, struct err *e)
{
	char digest[API_SHA256 + 1];
	if (store_object_get(b->store, who, API_MODEL, id, out, e) < 0)
		return -1;
	if (out->digest[0] || !all_present(out))
		return 0;
	if (verify(b, out, NULL, -1, e) == 0 && identity(out, digest, e) == 0 &&
	    store_model_complete(b->store, id, digest, e) == 0) {
		memcpy(out->digest, digest, sizeof out->digest);
		return 0;
	}
	api_object_fini(out);
	return -1;
}

static int model_file_add(void *ctx, const struct api_caller *who, const char *id, const char *file, struct upload *u,
                          struct api_object *out, bool *existing, struct err *e)
{
	struct backend *b = ctx;
	struct part *part = upload_part(u);
	struct api_object m;
	int rc = 0;
	if (store_object_get(b->store, who, API_MODEL, id, &m, e) < 0)
		return -1;
	if (!who->all && strcmp(m.owner, who->owner) != 0) {
		api_object_fini(&m);
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
	api_object_fini(&m);
	return rc == 0 ? complete(b, who, id, out, e) : -1;
}

static int model_layers(void *ctx, const struct api_caller *who, const char *id, char **json, struct err *e)
{
	struct backend *b = ctx;
	return store_model_layers(b->store, who, id, json, e);
}

void backend_fill_models(struct api_backend *out)
{
	out->model_file_add = model_file_add;
	out->model_layers = model_layers;
}
