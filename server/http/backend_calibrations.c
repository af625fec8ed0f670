/* Calibration sets: what an inspection finds, and whether one feeds a model. */

#include "server/http/backend_objects.h"

#include "core/base/json.h"
#include "server/base/log.h"
#include "server/engine/call.h"
#include "server/http/upload.h"
#include "server/store/store.h"
#include "server/store/store_fit.h"

#include <stdlib.h>
#include <string.h>

/* Asks a child about a set, and about its fit to m (NULL: no model); as data to calibrate with, or to evaluate on. fd becomes the call's. */
static struct json *ask(struct backend *b, const struct api_object *m, int fd, const struct params *p, bool evaluation,
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
static int look(struct backend *b, const struct api_object *m, const char *sha256, const struct params *p, bool evaluation,
                int64_t *samples, int64_t *samples_used, struct err *e)
{
	struct json *v = ask(b, m, blob_open(store_blobs(b->store), sha256, NULL, e), p, evaluation, e);
	if (!v)
		return -1;
	*samples = json_int(json_get(v, "fit_samples"));
	*samples_used = json_int(json_get(v, "fit_samples_used"));
	json_free(v);
	return 0;
}

int backend_fit(struct backend *b, const struct api_object *m, const char *sha256, const struct params *p, bool evaluation,
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

static int unpack(struct api_object *c, const struct json *v, struct err *e)
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
	return 0;
}

static int inspect(struct backend *b, struct incoming *in, struct api_object *c, struct err *e)
{
	int fd = part_open(in->part, e);
	struct json *v = fd < 0 ? NULL : ask(b, in->model, fd, &in->params, false, e);
	if (!v)
		return -1;
	int rc = unpack(c, v, e);
	in->samples = json_int(json_get(v, "fit_samples"));
	in->samples_used = json_int(json_get(v, "fit_samples_used"));
	json_free(v);
	return rc;
}

static int check_found(struct backend *b, struct incoming *in, struct err *e)
{
	return in->model ? backend_fit(b, in->model, part_sha256(in->part), &in->params, false, &in->samples, &in->samples_used, e)
	                 : 0;
}

static void added(struct backend *b, const struct incoming *in)
{
	if (in->model && !in->params.preprocess)
		remember(b, &(struct store_fit){in->model->sha256, part_sha256(in->part), 0, 0, in->samples, in->samples_used});
}

const struct backend_kind backend_calibration = {.prefix = "cal_", .inspect = inspect, .check_found = check_found, .added = added};
