/* What a job would take: an engine child goes through its phases with a few samples. */

#include "server/http/backend.h"

#include "core/base/json.h"
#include "server/engine/call.h"
#include "server/engine/evaluation.h"
#include "server/engine/loaded.h"
#include "server/engine/pool.h"
#include "server/engine/speed.h"
#include "server/store/store.h"
#include "server/store/store_object.h"

#include <stdlib.h>
#include <string.h>

static int add_evaluation(struct backend *b, const struct api_caller *who, const struct params *p, struct call *c, struct err *e)
{
	char id[API_ID + 1];
	struct api_object k;
	if (evaluation_id(p, id, e) < 0)
		return -1;
	if (!id[0])
		return 0;
	if (store_object_get(b->store, who, API_CALIBRATION, id, &k, e) < 0)
		return -1;
	int rc = call_evaluation(c, blob_open(store_blobs(b->store), k.sha256, NULL, e), e);
	api_object_fini(&k);
	return rc;
}

/* As a worker would ask for it (runner.c). */
static int make_call(struct backend *b, const struct api_caller *who, const struct api_object *m, const char *calibration_sha256,
                     const struct params *params, struct call *c, struct err *e)
{
	struct params p = *params; /* borrows */
	int loaded = -1;
	const struct pool_options *o = pool_options(b->pool);
	struct blobs *blobs = store_blobs(b->store);
	pool_share(b->pool, &p);
	if (call_model(c, blob_open(blobs, m->sha256, NULL, e), e) < 0 || call_files(c, blobs, m, NULL, -1, e) < 0 ||
	    call_calibration(c, blob_open(blobs, calibration_sha256, NULL, e), e) < 0 || add_evaluation(b, who, &p, c, e) < 0 ||
	    loaded_open(b->store, who, &p, &loaded, e) < 0 || (loaded >= 0 && call_loaded(c, loaded, e) < 0))
		return -1;
	call_params(c, &p);
	call_rates(c, b->speed);
	call_limits(c, o->job_memory_bytes, b->probe.timeout_ms / 1000 * (p.threads + 1), 4096);
	return call_end(c, e);
}

/* A member of the answer as text, to be freed. */
static int take_member(const struct json *v, const char *key, char **out, struct err *e)
{
	struct buf text = BUF_INIT;
	struct json_out w;
	json_out_init(&w, &text, 0);
	json_out_value(&w, NULL, json_get(v, key));
	if (buf_failed(&text)) {
		buf_fini(&text);
		return err_nomem(e, "an estimate");
	}
	*out = text.data;
	return 0;
}

static int take_answer(struct backend *b, const struct buf *answer, char **estimate, char **layers, struct err *e)
{
	struct json *v = json_parse(answer->data, answer->len, e);
	if (!v)
		return -1;
	speed_learn(b->speed, json_get(v, "rates"));
	int rc = take_member(v, "estimate", estimate, e);
	if (rc == 0 && json_get(v, "layers"))
		rc = take_member(v, "layers", layers, e);
	json_free(v);
	return rc;
}

int backend_estimate(struct backend *b, const struct api_caller *who, const struct api_object *m, const char *calibration_sha256,
                     const struct params *p, char **estimate, char **layers, struct err *e)
{
	struct call call;
	struct buf answer = BUF_INIT;
	call_init(&call, "estimate");
	int rc = make_call(b, who, m, calibration_sha256, p, &call, e);
	if (rc == 0)
		rc = probe_ask(&b->probe, &call, ERR_UNSUPPORTED_GRAPH, &answer, e);
	if (rc == 0)
		rc = take_answer(b, &answer, estimate, layers, e);
	call_fini(&call);
	buf_fini(&answer);
	return rc;
}
