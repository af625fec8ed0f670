/* Jobs: submitting, canceling and reading them. */

#include "server/http/backend.h"

#include "core/base/json.h"
#include "core/workflow/fingerprint.h"
#include "server/base/id.h"
#include "server/engine/evaluation.h"
#include "server/engine/loaded.h"
#include "server/engine/partial.h"
#include "server/engine/pool.h"
#include "server/http/watch.h"
#include "server/store/store.h"
#include "server/store/store_job.h"
#include "server/store/store_log.h"
#include "server/store/store_model.h"
#include "server/store/store_object.h"
#include "server/store/store_once.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A job whose parts are known to fit. */
struct fitting {
	struct api_object model, calibration;
	int64_t samples, samples_used;
	char fingerprint[SHA256_HEX + 1];
	char *params; /* JSON */
};

static void fitting_fini(struct fitting *f)
{
	api_object_fini(&f->model);
	api_object_fini(&f->calibration);
	free(f->params);
}

static int write_params(const struct params *p, char **out, struct err *e)
{
	struct buf b = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &b, 0);
	params_to_json(p, &w, NULL);
	if (!buf_failed(&b)) {
		*out = b.data;
		return 0;
	}
	buf_fini(&b);
	return err_nomem(e, "a job");
}

/* The data to evaluate on have to feed the model, too. */
static int fit_evaluation(struct backend *b, const struct api_caller *who, const struct api_job_request *r,
                          const struct api_object *m, struct err *e)
{
	char id[API_ID + 1];
	struct api_object k;
	int64_t samples, used;
	if (evaluation_id(r->params, id, e) < 0)
		return -1;
	if (!id[0])
		return 0;
	if (store_object_get(b->store, who, API_CALIBRATION, id, &k, e) < 0)
		return err_set(e, ERR_BAD_PARAM, "/evaluate/calibration: there is no calibration %.40s", id);
	struct params all = *r->params; /* borrowed */
	all.num_batches = 0;
	int rc = backend_fit(b, m, k.sha256, &all, true, &samples, &used, e);
	api_object_fini(&k);
	return rc < 0 ? err_wrap(e, "the data to evaluate on") : 0;
}

/* Everything that can be said against a job before it is one. *f is to be released in any case. */
static int fit(struct backend *b, const struct api_caller *who, const struct api_job_request *r, struct fitting *f, struct err *e)
{
	int loaded;
	memset(f, 0, sizeof *f);
	if (store_object_get(b->store, who, API_MODEL, r->model, &f->model, e) < 0 ||
	    store_object_get(b->store, who, API_CALIBRATION, r->calibration, &f->calibration, e) < 0)
		return -1;
	if (!f->model.digest[0])
		return err_set(e, ERR_BAD_STATE, "the model is incomplete: external files are missing");
	if (f->model.searchable_count == 0)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model has no layer that can be searched");
	if (backend_fit(b, &f->model, f->calibration.sha256, r->params, false, &f->samples, &f->samples_used, e) < 0 ||
	    fit_evaluation(b, who, r, &f->model, e) < 0 || loaded_open(b->store, who, r->params, &loaded, e) < 0)
		return -1;
	if (loaded >= 0)
		(void)close(loaded); /* it is there, and whoever runs the job reads it */
	return fingerprint_of(b->runtime, f->model.digest, f->calibration.sha256, r->params, f->fingerprint, e) == 0
	               ? write_params(r->params, &f->params, e)
	               : -1;
}

static int insert(struct backend *b, const struct api_caller *who, const struct api_job_request *r, const struct fitting *f,
                  struct api_once *once, char id[API_ID + 1], struct err *e)
{
	char made[ID_MAX + 1];
	const struct store_limits limits = {b->config->max_queued_jobs, b->config->max_queued_jobs_per_owner};
	if (id_new("job_", made, e) < 0)
		return -1;
	const struct store_job_new n = {.id = made,
	                                .name = r->name,
	                                .labels = r->labels,
	                                .params = f->params,
	                                .owner = who->owner,
	                                .visibility = r->visibility,
	                                .priority = r->priority,
	                                .deadline_seconds = r->deadline_seconds,
	                                .fingerprint = f->fingerprint,
	                                .reuse = r->reuse,
	                                .retry_of = r->retry_of,
	                                .model_id = f->model.id,
	                                .model_sha256 = f->model.digest,
	                                .calibration_id = f->calibration.id,
	                                .calibration_sha256 = f->calibration.sha256,
	                                .samples = f->samples,
	                                .samples_used = f->samples_used};
	return store_job_add(b->store, &n, &limits, once, id, e);
}

static int job_add(void *ctx, const struct api_caller *who, const struct api_job_request *r, struct api_once *once,
                   struct api_job *out, struct err *e)
{
	struct backend *b = ctx;
	struct fitting f;
	char id[API_ID + 1] = "";
	if (store_once_made(b->store, who->owner, once, id, e) < 0)
		return -1;
	if (!id[0]) {
		int rc = fit(b, who, r, &f, e) == 0 ? insert(b, who, r, &f, once, id, e) : -1;
		fitting_fini(&f);
		if (rc < 0)
			return -1;
		pool_poke(b->pool);
	}
	return store_job_get(b->store, who, id, out, e);
}

static int64_t count_searchable(const char *layers)
{
	struct err ignored = ERR_INIT;
	struct json *v = json_parse(layers, strlen(layers), &ignored);
	int64_t n = 0;
	for (size_t i = 0; i < json_size(v); i++)
		n += json_bool(json_get(json_at(v, i), "searchable"));
	json_free(v);
	return n;
}

static int job_preview(void *ctx, const struct api_caller *who, const struct api_job_request *r, struct api_preview *out,
                       struct err *e)
{
	struct backend *b = ctx;
	struct fitting f;
	struct err *why = &out->no_estimate;
	int rc = fit(b, who, r, &f, e);
	if (rc == 0 && r->reuse)
		rc = store_job_equal(b->store, f.fingerprint, who->owner, out->reuse, e);
	if (rc == 0 && backend_estimate(b, who, &f.model, f.calibration.sha256, r->params, &out->estimate, &out->layers, why) < 0 &&
	    why->code == ERR_BAD_PARAM) { /* the job would fail with it */
		*e = *why;
		rc = -1;
	}
	if (rc == 0 && !out->layers)
		rc = store_model_layers(b->store, who, f.model.id, &out->layers, e);
	if (rc == 0) {
		out->samples = f.samples;
		out->samples_used = f.samples_used;
		out->searchable = count_searchable(out->layers);
		out->params = f.params;
		f.params = NULL;
	}
	fitting_fini(&f);
	return rc;
}

static int job_get(void *ctx, const struct api_caller *who, const char *id, struct api_job *out, struct err *e)
{
	struct backend *b = ctx;
	return store_job_get(b->store, who, id, out, e);
}

static int job_list(void *ctx, const struct api_caller *who, const struct api_page *page, const struct api_job_filter *f,
                    struct api_job **out, size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_job_list(b->store, who, page, f, out, n, e);
}

static int job_act(void *ctx, const struct api_caller *who, const char *id, enum api_action what, struct api_once *once,
                   struct api_job *out, struct err *e)
{
	struct backend *b = ctx;
	enum job_status to;
	if (store_job_act(b->store, who, id, what, once, &to, e) < 0)
		return -1;
	if (to == JOB_CANCELING || to == JOB_PAUSING)
		pool_interrupt(b->pool, id);
	else if (what == API_RESUME)
		pool_poke(b->pool);
	watch_wake(b->watch, id);
	return store_job_get(b->store, who, id, out, e);
}

static int job_change(void *ctx, const struct api_caller *who, const char *id, const struct api_change *c, struct api_job *out,
                      struct err *e)
{
	struct backend *b = ctx;
	return store_job_change(b->store, who, id, c, e) == 0 ? store_job_get(b->store, who, id, out, e) : -1;
}

static int job_delete(void *ctx, const struct api_caller *who, const char *id, struct err *e)
{
	struct backend *b = ctx;
	return store_job_delete(b->store, who, id, e);
}

static int job_layers(void *ctx, const struct api_caller *who, const char *id, struct api_layer **out, size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_job_layers(b->store, who, id, out, n, e);
}

static int job_layer(void *ctx, const struct api_caller *who, const char *id, int64_t index, struct api_layer *out, struct err *e)
{
	struct backend *b = ctx;
	return store_job_layer(b->store, who, id, index, out, e);
}

static int job_events(void *ctx, const struct api_caller *who, const char *id, int64_t after, int64_t limit, struct api_event **out,
                      size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_job_events(b->store, who, id, after, limit, out, n, e);
}

/* Encodings of the finished layers. */
static int job_partial(void *ctx, const struct api_caller *who, const char *id, enum encodings_version v, struct buf *out,
                       struct err *e)
{
	struct backend *b = ctx;
	struct buf frames = BUF_INIT;
	struct params p;
	char *text;
	params_init(&p);
	int rc = store_job_frames(b->store, who, id, &frames, &text, e);
	struct json *params = rc == 0 ? json_parse(text ? text : "{}", text ? strlen(text) : 2, e) : NULL;
	rc = params && params_from_json(&p, params, e) == 0 ? partial_encodings(&frames, &p, v, out, e) : -1;
	json_free(params);
	params_fini(&p);
	buf_fini(&frames);
	free(text);
	return rc;
}

static int job_logs(void *ctx, const struct api_caller *who, const char *id, int64_t after, int64_t limit, struct api_log **out,
                    size_t *n, struct err *e)
{
	struct backend *b = ctx;
	return store_log_list(b->store, who, id, after, limit, out, n, e);
}

static int artifact_open(void *ctx, const struct api_caller *who, const char *id, const char *name, struct api_blob *out,
                         struct err *e)
{
	struct backend *b = ctx;
	struct api_artifact x;
	if (store_job_artifact(b->store, who, id, name, &x, e) < 0)
		return -1;
	return backend_open_blob(b, x.sha256, x.name, x.media_type, out, e);
}

static int queue(void *ctx, const struct api_caller *who, struct api_queue *out, struct err *e)
{
	struct backend *b = ctx;
	int rc = store_job_queue(b->store, who, out, e);
	out->workers = b->config->workers;
	return rc;
}

void backend_fill_jobs(struct api_backend *out)
{
	out->job_add = job_add;
	out->job_get = job_get;
	out->job_list = job_list;
	out->job_act = job_act;
	out->job_preview = job_preview;
	out->job_change = job_change;
	out->job_delete = job_delete;
	out->job_layers = job_layers;
	out->job_layer = job_layer;
	out->job_events = job_events;
	out->job_logs = job_logs;
	out->job_partial = job_partial;
	out->artifact_open = artifact_open;
	out->queue = queue;
}
