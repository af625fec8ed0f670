/* Jobs: submitting, canceling and reading them. */

#include "server/backend.h"

#include "core/json.h"
#include "server/id.h"
#include "server/pool.h"
#include "server/store.h"
#include "server/store_calibration.h"
#include "server/store_job.h"
#include "server/store_model.h"
#include "server/watch.h"

#include <stdlib.h>
#include <string.h>

/* A job whose parts are known to fit becomes a row. */
static int insert(struct backend *b, const struct api_job_request *r, struct store_job_new *n, char id[ID_MAX + 1], struct err *e)
{
	struct buf params = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &params, 0);
	params_to_json(r->params, &w, NULL);
	int rc = buf_failed(&params) ? err_nomem(e, "a job") : id_new("job_", id, e);
	if (rc == 0) {
		n->id = id;
		n->name = r->name;
		n->labels = r->labels;
		n->params = params.data;
		rc = store_job_add(b->store, n, b->config->max_queued_jobs, e);
	}
	buf_fini(&params);
	return rc;
}

static int submit(struct backend *b, const struct api_job_request *r, const struct api_model *m, const struct api_calibration *c,
                  char id[ID_MAX + 1], struct err *e)
{
	struct store_job_new n = {
		.model_id = m->id, .model_sha256 = m->digest, .calibration_id = c->id, .calibration_sha256 = c->sha256};
	if (!m->digest[0])
		return err_set(e, ERR_BAD_STATE, "the model is incomplete: external files are missing");
	if (m->searchable_count == 0)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model has no layer that can be searched");
	if (backend_fit(b, m, c->sha256, r->params->batch_size, r->params->num_batches, &n.samples, &n.samples_used, e) < 0)
		return -1;
	return insert(b, r, &n, id, e);
}

static int job_add(void *ctx, const struct api_job_request *r, struct api_job *out, struct err *e)
{
	struct backend *b = ctx;
	struct api_model m;
	struct api_calibration c;
	char id[ID_MAX + 1];
	if (store_model_get(b->store, r->model, &m, e) < 0)
		return -1;
	int rc = store_calibration_get(b->store, r->calibration, &c, e);
	if (rc == 0) {
		rc = submit(b, r, &m, &c, id, e);
		api_calibration_fini(&c);
	}
	api_model_fini(&m);
	if (rc < 0)
		return -1;
	pool_poke(b->pool);
	return store_job_get(b->store, id, out, e);
}

static int job_get(void *ctx, const char *id, struct api_job *out, struct err *e)
{
	struct backend *b = ctx;
	return store_job_get(b->store, id, out, e);
}

static int job_list(void *ctx, const struct api_page *page, const char *status, struct api_job **out, size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_job_list(b->store, page, status, out, n, e);
}

static int job_cancel(void *ctx, const char *id, struct api_job *out, struct err *e)
{
	struct backend *b = ctx;
	enum job_status to;
	if (store_job_cancel(b->store, id, &to, e) < 0)
		return -1;
	if (to == JOB_CANCELING)
		pool_cancel(b->pool, id);
	else
		watch_wake(b->watch, id);
	return store_job_get(b->store, id, out, e);
}

static int job_delete(void *ctx, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_job_delete(b->store, id, e);
}

static int job_layers(void *ctx, const char *id, struct api_layer **out, size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_job_layers(b->store, id, out, n, e);
}

static int job_events(void *ctx, const char *id, int64_t after, int64_t limit, struct api_event **out, size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_job_events(b->store, id, after, limit, out, n, e);
}

static int artifact_open(void *ctx, const char *id, const char *name, struct api_blob *out, struct err *e)
{
	struct backend *b = ctx;
	struct api_artifact x;
	if (store_job_artifact(b->store, id, name, &x, e) < 0)
		return -1;
	memset(out, 0, sizeof *out);
	out->fd = blob_open(store_blobs(b->store), x.sha256, &out->size, e);
	memcpy(out->sha256, x.sha256, sizeof out->sha256);
	out->name = x.name;
	out->media_type = x.media_type;
	if (out->fd >= 0)
		return 0;
	api_blob_fini(out);
	return -1;
}

static int queue(void *ctx, struct api_queue *out, struct err *e)
{
	struct backend *b = ctx;
	int rc = store_job_queue(b->store, out, e);
	out->workers = b->config->workers;
	return rc;
}

void backend_fill_jobs(struct api_backend *out)
{
	out->job_add = job_add;
	out->job_get = job_get;
	out->job_list = job_list;
	out->job_cancel = job_cancel;
	out->job_delete = job_delete;
	out->job_layers = job_layers;
	out->job_events = job_events;
	out->artifact_open = artifact_open;
	out->queue = queue;
}
