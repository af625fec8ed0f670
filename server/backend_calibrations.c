/* Calibration sets: from an upload to a row, and whether one feeds a model. */

#include "server/backend.h"

#include "core/json.h"
#include "server/call.h"
#include "server/clock.h"
#include "server/id.h"
#include "server/log.h"
#include "server/store.h"
#include "server/store_calibration.h"
#include "server/store_model.h"
#include "server/upload.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 10 };

/* Asks a child about a set, and about its fit to m (NULL: no model). fd becomes the call's. */
static struct json *inspect(struct backend *b, const struct api_model *m, int fd, const struct params *p, struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	struct json *v = NULL;
	call_init(&call, "calibration");
	if (call_calibration(&call, fd, e) < 0)
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

int backend_fit(struct backend *b, const struct api_model *m, const char *calibration_sha256, int64_t batch_size,
                int64_t num_batches, int64_t *samples, int64_t *samples_used, struct err *e)
{
	struct store_fit f = {m->sha256, calibration_sha256, batch_size, num_batches, 0, 0};
	struct params p;
	bool found;
	if (store_fit_find(b->store, &f, &found, e) < 0)
		return -1;
	if (!found) {
		params_init(&p);
		p.batch_size = batch_size;
		p.num_batches = num_batches;
		struct json *v = inspect(b, m, blob_open(store_blobs(b->store), calibration_sha256, NULL, e), &p, e);
		params_fini(&p);
		if (!v)
			return -1;
		f.samples = json_int(json_get(v, "fit_samples"));
		f.samples_used = json_int(json_get(v, "fit_samples_used"));
		json_free(v);
		remember(b, &f);
	}
	*samples = f.samples;
	*samples_used = f.samples_used;
	return 0;
}

static int describe(struct api_calibration *c, const struct json *v, struct part *part, const char *name, struct err *e)
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
	c->name = strdup(name);
	return c->name ? id_new("cal_", c->id, e) : err_nomem(e, "a name");
}

/* Inspects and keeps a file that is not there yet. */
static int take_in(struct backend *b, struct part *part, const char *name, const struct api_model *m, struct api_calibration *c,
                   char id[API_ID + 1], bool *existing, struct err *e)
{
	struct params p;
	int rc = -1;
	params_init(&p);
	int fd = part_open(part, e);
	struct json *v = fd < 0 ? NULL : inspect(b, m, fd, &p, e);
	params_fini(&p);
	if (v && describe(c, v, part, name, e) == 0 && part_sync(part, e) == 0)
		rc = store_calibration_add(b->store, part, c, id, existing, e);
	if (rc == 0 && m)
		remember(b, &(struct store_fit){m->sha256, c->sha256, 0, 0, json_int(json_get(v, "fit_samples")),
		                                json_int(json_get(v, "fit_samples_used"))});
	json_free(v);
	return rc;
}

static int find_or_take_in(struct backend *b, struct part *part, const char *name, const struct api_model *m, struct api_calibration *c,
                           char id[API_ID + 1], bool *existing, struct err *e)
{
	int64_t samples, used;
	*existing = false;
	if (store_calibration_find(b->store, part_sha256(part), id, existing, e) < 0)
		return -1;
	if (!*existing)
		return take_in(b, part, name, m, c, id, existing, e);
	return m ? backend_fit(b, m, part_sha256(part), 0, 0, &samples, &used, e) : 0;
}

/* One attempt: 0, 1 (the equal set that was found is gone), or -1. *c is what was found in a new file, to be freed in any case. */
static int try_add(struct backend *b, struct part *part, const char *name, const struct api_model *m, struct api_calibration *c,
                   struct api_calibration *out, bool *existing, struct err *e)
{
	char id[API_ID + 1];
	if (find_or_take_in(b, part, name, m, c, id, existing, e) < 0)
		return *existing && e->code == ERR_NOT_FOUND ? 1 : -1;
	if (store_calibration_get(b->store, id, out, e) == 0)
		return 0;
	if (e->code != ERR_NOT_FOUND || *existing)
		return e->code == ERR_NOT_FOUND ? 1 : -1;
	*out = *c; /* it was kept, and somebody deleted it before we could look: this is what it was */
	memset(c, 0, sizeof *c);
	return 0;
}

static int add(struct backend *b, struct part *part, const char *name, const struct api_model *m, struct api_calibration *out,
               bool *existing, struct err *e)
{
	int rc = 1;
	/* An equal set that is deleted between finding and reading it leaves this one to be the first. */
	for (int i = 0; i < TRIES && rc == 1; i++) {
		struct api_calibration c;
		memset(&c, 0, sizeof c);
		rc = try_add(b, part, name, m, &c, out, existing, e);
		api_calibration_fini(&c);
	}
	return rc == 0 ? 0 : -1;
}

static int calibration_add(void *ctx, struct upload *u, const char *name, const char *model, struct api_calibration *out,
                           bool *existing, struct err *e)
{
	struct backend *b = ctx;
	struct api_model m;
	if (!model)
		return add(b, upload_part(u), name, NULL, out, existing, e);
	if (store_model_get(b->store, model, &m, e) < 0)
		return -1;
	int rc = add(b, upload_part(u), name, &m, out, existing, e);
	api_model_fini(&m);
	return rc;
}

static int calibration_get(void *ctx, const char *id, struct api_calibration *out, struct err *e)
{
	struct backend *b = ctx;
	return store_calibration_get(b->store, id, out, e);
}

static int calibration_list(void *ctx, const struct api_page *page, struct api_calibration **out, size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_calibration_list(b->store, page, out, n, e);
}

static int calibration_open(void *ctx, const char *id, struct api_blob *out, struct err *e)
{
	struct backend *b = ctx;
	struct api_calibration c;
	if (store_calibration_get(b->store, id, &c, e) < 0)
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

static int calibration_delete(void *ctx, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_calibration_delete(b->store, id, e);
}

void backend_fill_calibrations(struct api_backend *out)
{
	out->calibration_add = calibration_add;
	out->calibration_get = calibration_get;
	out->calibration_list = calibration_list;
	out->calibration_open = calibration_open;
	out->calibration_delete = calibration_delete;
}
