/* Calibration sets: from an upload to a row, and whether one feeds a model. */

#include "server/http/backend.h"

#include "api/once.h"
#include "core/base/json.h"
#include "server/base/clock.h"
#include "server/base/id.h"
#include "server/base/log.h"
#include "server/engine/call.h"
#include "server/http/upload.h"
#include "server/store/store.h"
#include "server/store/store_calibration.h"
#include "server/store/store_model.h"
#include "server/store/store_once.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 10 };

/* A set on its way in. */
struct adding {
	const struct api_caller *who;
	struct part *part;
	const struct api_change *first;
	struct api_once *once;
	const struct api_model *model; /* to check the fit with, by params; or NULL */
	struct params params;
};

/* Asks a child about a set, and about its fit to m (NULL: no model); as data to calibrate with, or to evaluate on. fd becomes the call's. */
static struct json *inspect(struct backend *b, const struct api_model *m, int fd, const struct params *p, bool evaluation,
                            struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	struct json *v = NULL;
	call_init(&call, "calibration");
	if ((evaluation ? call_evaluation : call_calibration)(&call, fd, e) < 0)
		goto out;
	if (m && call_model(&call, blob_open(store_blobs(b->store), m->sha256, NULL, e), e) < 0)
		goto out;
	call_params(&call, p);
	if (call_end(&call, e) == 0 && probe_ask(&b->probe, &call, ERR_CALIBRATION, &answer, e) == 0)
		v = json_parse(answer.data, answer.len, e);
out:
	buf_fini(&answer);
	call_fini(&call);
	return v;
}

/* Remembers a fit; the answer is good without that. */
static void remember(struct backend *b, const struct store_fit *f)
{
	struct err e = ERR_INIT;
	if (store_fit_put(b->store, f, &e) < 0)
		log_line(LOG_WARN, "an inspection was not cached", "why", LOG_STR, e.msg);
}

/* What a child finds; 0 with the samples. */
static int look(struct backend *b, const struct api_model *m, const char *sha256, const struct params *p, bool evaluation,
                int64_t *samples, int64_t *samples_used, struct err *e)
{
	struct json *v = inspect(b, m, blob_open(store_blobs(b->store), sha256, NULL, e), p, evaluation, e);
	if (!v)
		return -1;
	*samples = json_int(json_get(v, "fit_samples"));
	*samples_used = json_int(json_get(v, "fit_samples_used"));
	json_free(v);
	return 0;
}

int backend_fit(struct backend *b, const struct api_model *m, const char *sha256, const struct params *p, bool evaluation,
                int64_t *samples, int64_t *samples_used, struct err *e)
{
	struct store_fit f = {m->sha256, sha256, p->batch_size, p->num_batches, 0, 0};
	bool found;
	if (p->inputs || p->preprocess) /* these are not among the cache's keys */
		return look(b, m, sha256, p, evaluation, samples, samples_used, e);
	if (store_fit_find(b->store, &f, &found, e) < 0)
		return -1;
	if (!found) {
		if (look(b, m, sha256, p, evaluation, &f.samples, &f.samples_used, e) < 0)
			return -1;
		remember(b, &f);
	}
	*samples = f.samples;
	*samples_used = f.samples_used;
	return 0;
}

static int describe(struct api_calibration *c, const struct api_caller *who, const struct json *v, struct part *part,
                    const struct api_change *first, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	const struct json *samples = json_get(v, "samples");
	json_out_init(&w, &b, 0);
	json_out_value(&w, NULL, json_get(v, "arrays"));
	if (buf_failed(&b)) {
		buf_fini(&b);
		return err_nomem(e, "a list of arrays");
	}
	c->arrays = b.data;
	c->samples = json_is_integer(samples) ? json_int(samples) : -1;
	c->size = part_size(part);
	c->created_at = clock_ms();
	memcpy(c->sha256, part_sha256(part), sizeof c->sha256);
	c->name = strdup(first->name);
	c->labels = strdup(first->labels);
	c->owner = strdup(who->owner);
	(void)snprintf(c->visibility, sizeof c->visibility, "%s", first->visibility);
	return c->name && c->labels && c->owner ? id_new("cal_", c->id, e) : err_nomem(e, "a name");
}

/* Inspects and keeps a file that is not there yet. */
static int take_in(struct backend *b, const struct adding *a, struct api_calibration *c, char id[API_ID + 1], bool *existing,
                   struct err *e)
{
	int rc = -1;
	int fd = part_open(a->part, e);
	struct json *v = fd < 0 ? NULL : inspect(b, a->model, fd, &a->params, false, e);
	if (v && describe(c, a->who, v, a->part, a->first, e) == 0 && part_sync(a->part, e) == 0)
		rc = store_calibration_add(b->store, a->part, c, a->once, id, existing, e);
	if (rc == 0 && a->model && !a->params.preprocess)
		remember(b, &(struct store_fit){a->model->sha256, c->sha256, 0, 0, json_int(json_get(v, "fit_samples")),
		                                json_int(json_get(v, "fit_samples_used"))});
	json_free(v);
	return rc;
}

static int find_or_take_in(struct backend *b, const struct adding *a, struct api_calibration *c, char id[API_ID + 1], bool *found,
                           struct err *e)
{
	const char *owner = a->who->owner, *sha256 = part_sha256(a->part);
	int64_t samples, used;
	if (store_calibration_find(b->store, owner, sha256, id, found, e) < 0)
		return -1;
	if (!*found)
		return take_in(b, a, c, id, found, e);
	if (a->model && backend_fit(b, a->model, sha256, &a->params, false, &samples, &used, e) < 0)
		return -1;
	return a->once->key ? store_calibration_again(b->store, owner, sha256, a->once, id, e) : 0;
}

/* One attempt: 0, 1 (the equal set that was found is gone), or -1. *c is what was found in a new file, to be freed in any case. */
static int try_add(struct backend *b, const struct adding *a, struct api_calibration *c, struct api_calibration *out,
                   bool *existing, struct err *e)
{
	char id[API_ID + 1];
	bool found = false;
	if (find_or_take_in(b, a, c, id, &found, e) < 0)
		return found && e->code == ERR_NOT_FOUND ? 1 : -1;
	*existing = a->once->replayed ? a->once->existing : found;
	if (store_calibration_get(b->store, a->who, id, out, e) == 0)
		return 0;
	if (e->code != ERR_NOT_FOUND || found)
		return e->code == ERR_NOT_FOUND ? 1 : -1;
	*out = *c; /* it was kept, and somebody deleted it before we could look: this is what it was */
	memset(c, 0, sizeof *c);
	return 0;
}

static int add(struct backend *b, const struct adding *a, struct api_calibration *out, bool *existing, struct err *e)
{
	int rc = 1;
	/* An equal set that is deleted between finding and reading it leaves this one to be the first. */
	for (int i = 0; i < TRIES && rc == 1; i++) {
		struct api_calibration c;
		memset(&c, 0, sizeof c);
		rc = try_add(b, a, &c, out, existing, e);
		api_calibration_fini(&c);
	}
	return rc == 0 ? 0 : -1;
}

static int calibration_add(void *ctx, const struct api_caller *who, struct upload *u, const struct api_change *first,
                           const char *model, const char *preprocess, struct api_once *once, struct api_calibration *out,
                           bool *existing, struct err *e)
{
	struct backend *b = ctx;
	struct api_model m;
	struct adding a = {.who = who, .part = upload_part(u), .first = first, .once = once};
	char id[API_ID + 1];
	once_add_file(once, part_sha256(a.part));
	/* Before the model is looked for: it may be gone since the key's first request. */
	if (store_once_made(b->store, who->owner, once, id, e) < 0)
		return -1;
	*existing = once->existing;
	if (id[0] && store_calibration_get(b->store, who, id, out, e) == 0)
		return 0;
	if (id[0])
		return e->code == ERR_NOT_FOUND ? err_set(e, ERR_GONE, "what the request made was deleted") : -1;
	if (model && store_model_get(b->store, who, model, &m, e) < 0)
		return -1;
	a.model = model ? &m : NULL;
	params_init(&a.params);
	int rc = preprocess ? params_set_text(&a.params, "preprocess", preprocess, e) : 0;
	if (rc == 0)
		rc = add(b, &a, out, existing, e);
	params_fini(&a.params);
	if (model)
		api_model_fini(&m);
	return rc;
}

static int calibration_get(void *ctx, const struct api_caller *who, const char *id, struct api_calibration *out, struct err *e)
{
	struct backend *b = ctx;
	return store_calibration_get(b->store, who, id, out, e);
}

static int calibration_list(void *ctx, const struct api_caller *who, const struct api_page *page, struct api_calibration **out,
                            size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_calibration_list(b->store, who, page, out, n, e);
}

static int calibration_open(void *ctx, const struct api_caller *who, const char *id, struct api_blob *out, struct err *e)
{
	struct backend *b = ctx;
	struct api_calibration c;
	if (store_calibration_get(b->store, who, id, &c, e) < 0)
		return -1;
	memset(out, 0, sizeof *out);
	out->fd = blob_open(store_blobs(b->store), c.sha256, &out->size, e);
	memcpy(out->sha256, c.sha256, sizeof out->sha256);
	out->name = c.name; /* moves over */
	c.name = NULL;
	api_calibration_fini(&c);
	if (out->fd >= 0)
		return 0;
	api_blob_fini(out);
	return -1;
}

static int calibration_delete(void *ctx, const struct api_caller *who, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_calibration_delete(b->store, who, id, e);
}

static int calibration_change(void *ctx, const struct api_caller *who, const char *id, const struct api_change *c,
                              struct api_calibration *out, struct err *e)
{
	struct backend *b = ctx;
	return store_calibration_change(b->store, who, id, c, e) == 0 ? store_calibration_get(b->store, who, id, out, e) : -1;
}

void backend_fill_calibrations(struct api_backend *out)
{
	out->calibration_add = calibration_add;
	out->calibration_get = calibration_get;
	out->calibration_list = calibration_list;
	out->calibration_open = calibration_open;
	out->calibration_change = calibration_change;
	out->calibration_delete = calibration_delete;
}
