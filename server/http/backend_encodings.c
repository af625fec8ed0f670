/* Encodings files: from an upload to a row. */

#include "server/http/backend.h"

#include "api/once.h"
#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/base/id.h"
#include "server/engine/call.h"
#include "server/http/upload.h"
#include "server/store/store.h"
#include "server/store/store_encodings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Has a child read the file. */
static int inspect(struct backend *b, int fd, struct api_encodings *out, struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	struct json *v = NULL;
	call_init(&call, "encodings");
	if (call_loaded(&call, fd, e) == 0 && call_end(&call, e) == 0 &&
	    probe_ask(&b->probe, &call, ERR_BAD_PARAM, &answer, e) == 0)
		v = json_parse(answer.data, answer.len, e);
	if (v) {
		out->parameters = json_int(json_get(v, "parameters"));
		out->activations = json_int(json_get(v, "activations"));
	}
	json_free(v);
	buf_fini(&answer);
	call_fini(&call);
	return v ? 0 : -1;
}

static int describe(struct backend *b, const struct api_caller *who, struct part *part, const struct api_change *first,
                    struct api_encodings *out, struct err *e)
{
	if (inspect(b, part_open(part, e), out, e) < 0)
		return -1;
	out->size = part_size(part);
	out->created_at = clock_ms();
	memcpy(out->sha256, part_sha256(part), sizeof out->sha256);
	out->name = strdup(first->name);
	out->labels = strdup(first->labels);
	out->owner = strdup(who->owner);
	(void)snprintf(out->visibility, sizeof out->visibility, "%s", first->visibility);
	return out->name && out->labels && out->owner ? id_new("enc_", out->id, e) : err_nomem(e, "a name");
}

static int add(void *ctx, const struct api_caller *who, struct upload *u, const struct api_change *first, struct api_once *once,
               struct api_encodings *out, bool *existing, struct err *e)
{
	struct backend *b = ctx;
	struct part *part = upload_part(u);
	struct api_encodings x;
	int rc = -1;
	memset(&x, 0, sizeof x);
	once_add_file(once, part_sha256(part));
	if (describe(b, who, part, first, &x, e) == 0 && part_sync(part, e) == 0)
		rc = store_encodings_add(b->store, part, &x, once, out, existing, e);
	if (rc == 0 && once->replayed)
		*existing = once->existing;
	api_encodings_fini(&x);
	return rc;
}

static int get(void *ctx, const struct api_caller *who, const char *id, struct api_encodings *out, struct err *e)
{
	struct backend *b = ctx;
	return store_encodings_get(b->store, who, id, out, e);
}

static int list(void *ctx, const struct api_caller *who, const struct api_page *page, struct api_encodings **out, size_t *n,
                struct err *e)
{
	struct backend *b = ctx;
	return store_encodings_list(b->store, who, page, out, n, e);
}

static int open_content(void *ctx, const struct api_caller *who, const char *id, struct api_blob *out, struct err *e)
{
	struct backend *b = ctx;
	struct api_encodings x;
	if (store_encodings_get(b->store, who, id, &x, e) < 0)
		return -1;
	memset(out, 0, sizeof *out);
	out->fd = blob_open(store_blobs(b->store), x.sha256, &out->size, e);
	memcpy(out->sha256, x.sha256, sizeof out->sha256);
	out->name = x.name; /* moves over */
	x.name = NULL;
	api_encodings_fini(&x);
	if (out->fd >= 0)
		return 0;
	api_blob_fini(out);
	return -1;
}

static int drop(void *ctx, const struct api_caller *who, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_encodings_delete(b->store, who, id, e);
}

static int change(void *ctx, const struct api_caller *who, const char *id, const struct api_change *c, struct api_encodings *out,
                  struct err *e)
{
	struct backend *b = ctx;
	return store_encodings_change(b->store, who, id, c, e) == 0 ? store_encodings_get(b->store, who, id, out, e) : -1;
}

void backend_fill_encodings(struct api_backend *out)
{
	out->encodings_add = add;
	out->encodings_get = get;
	out->encodings_list = list;
	out->encodings_open = open_content;
	out->encodings_change = change;
	out->encodings_delete = drop;
}
