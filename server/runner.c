#include "server/runner.h"

#include "core/json.h"
#include "server/call.h"
#include "server/child.h"
#include "server/clock.h"
#include "server/frame.h"
#include "server/intake.h"
#include "server/layer_frame.h"
#include "server/log.h"
#include "server/store.h"
#include "server/store_calibration.h"
#include "server/store_model.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { PROGRESS_MS = 500, BEAT_MS = 10000, RETRY_MS = 1000, RETRIES = 600 };

/* How an attempt ended, as far as the runner knows. */
enum outcome {
	GOING,
	SUCCEEDED,
	FAILED,      /* with a reason that another attempt would meet again */
	DIED,        /* the child ended without a word */
	INTERRUPTED, /* cancel, stop, or the job is somebody else's */
};

struct attempt {
	struct runner *r;
	const struct store_claim *claim;
	struct child child;
	struct intake *files;         /* artifacts as they come in */
	int64_t progress_at, beat_at; /* monotonic: when the store last heard of it */
	int retries;
	struct err why;
};

static int beat(struct attempt *a, const struct store_progress *p, struct err *e)
{
	a->beat_at = clock_steady_ms();
	return store_job_beat(a->r->store, a->claim, RUNNER_LEASE_MS, p, e);
}

static bool interrupted(const struct attempt *a)
{
	return atomic_load(&a->r->cancel) || atomic_load(&a->r->stop);
}

/* Whether a write that failed is worth another try, after a pause: the disk may get space, another program may let go of the
 * database. Meanwhile the child waits at its pipe. */
static bool try_again(struct attempt *a, const struct err *e)
{
	struct pollfd wake = {.fd = a->r->wake, .events = POLLIN};
	if ((e->code != ERR_DISK_FULL && e->code != ERR_BUSY) || interrupted(a) || ++a->retries > RETRIES)
		return false;
	if (a->retries == 1)
		log_line(LOG_WARN, "a job waits for the store", "job", LOG_STR, a->claim->id, "why", LOG_STR, e->msg);
	(void)poll(&wake, 1, RETRY_MS);
	return true;
}

/* A write that only informs may fail, as long as the job is still ours: the next one may work. */
static int tolerate(struct attempt *a, int rc, struct err *e)
{
	if (rc == 0 || e->code == ERR_BAD_STATE)
		return rc;
	log_line(LOG_WARN, "a job's progress was not stored", "job", LOG_STR, a->claim->id, "why", LOG_STR, e->msg);
	return 0;
}

static int on_progress(struct attempt *a, const struct json *v, struct err *e)
{
	struct store_progress p = {json_text(json_get(v, "phase")), json_text(json_get(v, "current")),
	                           json_int(json_get(v, "done")), json_int(json_get(v, "total")),
	                           json_number(json_get(v, "fraction"))};
	int64_t now = clock_steady_ms();
	if (a->progress_at && now - a->progress_at < PROGRESS_MS)
		return 0;
	a->progress_at = now;
	return tolerate(a, beat(a, &p, e), e);
}

static int on_warning(struct attempt *a, const struct json *v, struct err *e)
{
	const char *code = json_text(json_get(v, "code")), *layer = json_text(json_get(v, "layer")),
		   *detail = json_text(json_get(v, "detail"));
	if (!code || !layer || !detail)
		return err_set(e, ERR_INTERNAL, "the engine sent an incomplete warning");
	return tolerate(a, store_job_warn(a->r->store, a->claim, code, layer, detail, e), e);
}

static int on_layer(struct attempt *a, const struct frame *f, struct err *e)
{
	struct store_layer l;
	if (layer_frame_read(f->data, f->len, &l, e) < 0)
		return -1;
	int rc;
	do
		rc = store_job_add_layer(a->r->store, a->claim, &l, e);
	while (rc < 0 && try_again(a, e));
	layer_frame_fini(&l);
	return rc;
}

static int on_error(const struct json *v, struct err *e)
{
	const char *code = json_text(json_get(v, "code")), *detail = json_text(json_get(v, "detail"));
	enum err_code kind = code ? err_code_of(code) : ERR_INTERNAL;
	if (kind == ERR_NONE || kind == ERR_BAD_STATE) /* the second is the store's word here, not the engine's */
		kind = ERR_INTERNAL;
	return err_set(e, kind, "%s", detail ? detail : "the engine sent an error without a reason");
}

/* Frames whose payload is a small JSON object. */
static int on_json(struct attempt *a, const struct frame *f, struct err *e)
{
	struct json *v = json_parse(f->data, f->len, e);
	int rc = -1;
	if (v && f->type == FRAME_PROGRESS)
		rc = on_progress(a, v, e);
	else if (v && f->type == FRAME_WARNING)
		rc = on_warning(a, v, e);
	else if (v && f->type == FRAME_FILE)
		rc = intake_begin(a->files, json_text(json_get(v, "name")), json_text(json_get(v, "media_type")), e);
	else if (v)
		rc = on_error(v, e);
	json_free(v);
	return rc;
}

/* 0: go on; 1: that was the last frame, all is well. */
static int on_frame(struct attempt *a, const struct frame *f, struct err *e)
{
	switch (f->type) {
	case FRAME_PROGRESS:
	case FRAME_WARNING:
	case FRAME_FILE:
	case FRAME_ERROR:
		return on_json(a, f, e);
	case FRAME_LAYER:
		return on_layer(a, f, e);
	case FRAME_BYTES:
		return intake_add(a->files, f->data, f->len, e);
	case FRAME_FILE_END:
		return intake_end(a->files, e);
	case FRAME_DONE:
		return 1;
	default:
		return err_set(e, ERR_INTERNAL, "the engine sent a frame of type %d", (int)f->type);
	}
}

/* Everything that lies ready in the pipe. */
static enum outcome read_frames(struct attempt *a, struct frame_reader *in)
{
	for (;;) {
		struct frame f;
		int rc = frame_read(in, &f, &a->why);
		if (rc < 0)
			return a->why.code == ERR_IO ? DIED : FAILED;
		if (rc == 0)
			return GOING;
		rc = on_frame(a, &f, &a->why);
		if (rc < 0)
			return a->why.code == ERR_BAD_STATE ? INTERRUPTED : FAILED;
		if (rc > 0)
			return SUCCEEDED;
		if (interrupted(a))
			return INTERRUPTED;
	}
}

static void wait_for_news(struct attempt *a)
{
	struct pollfd p[3] = {{.fd = a->child.frames, .events = POLLIN},
	                      {.fd = a->child.words, .events = POLLIN},
	                      {.fd = a->r->wake, .events = POLLIN}};
	(void)poll(p, 3, BEAT_MS / 2);
	child_listen(&a->child);
}

static enum outcome supervise(struct attempt *a, struct frame_reader *in)
{
	enum outcome o = GOING;
	while (o == GOING) {
		if (interrupted(a))
			return INTERRUPTED;
		o = read_frames(a, in);
		if (o == GOING && clock_steady_ms() - a->beat_at >= BEAT_MS && tolerate(a, beat(a, NULL, &a->why), &a->why) < 0)
			o = INTERRUPTED;
		if (o == GOING)
			wait_for_news(a);
	}
	return o;
}

/* The job's settings with the daemon's share of the machine put in; neither changes the result. */
static int add_params(struct call *call, const struct attempt *a, struct err *e)
{
	struct params p;
	const struct runner *r = a->r;
	params_init(&p);
	struct json *v = json_parse(a->claim->params, strlen(a->claim->params), e);
	int rc = v ? params_from_json(&p, v, e) : -1;
	if (p.threads == 0 || p.threads > r->threads)
		p.threads = r->threads;
	if (p.max_memory_bytes == 0 || p.max_memory_bytes > r->max_memory_bytes)
		p.max_memory_bytes = r->max_memory_bytes;
	if (rc == 0)
		call_params(call, &p);
	json_free(v);
	params_fini(&p);
	return rc;
}

static int make_call(struct call *call, const struct attempt *a, struct err *e)
{
	struct api_model m;
	struct api_calibration k;
	struct store *s = a->r->store;
	if (store_model_get(s, a->claim->model_id, &m, e) < 0)
		return -1;
	int rc = store_calibration_get(s, a->claim->calibration_id, &k, e);
	if (rc == 0) {
		rc = call_model(call, blob_open(store_blobs(s), m.sha256, NULL, e), e) == 0 &&
		                     call_files(call, store_blobs(s), &m, NULL, -1, e) == 0 &&
		                     call_calibration(call, blob_open(store_blobs(s), k.sha256, NULL, e), e) == 0 &&
		                     add_params(call, a, e) == 0
		             ? call_end(call, e)
		             : -1;
		api_calibration_fini(&k);
	}
	api_model_fini(&m);
	return rc;
}

static int start(struct attempt *a, struct err *e)
{
	struct call call;
	call_init(&call, "search");
	int rc = make_call(&call, a, e);
	if (rc == 0)
		rc = child_start(&a->child, store_empty_folder(a->r->store), call.text.data, call.text.len, call.fds, call.nfds, e);
	call_fini(&call);
	return rc;
}

/* Runs the child to its end. */
static enum outcome run(struct attempt *a, struct store_usage *usage)
{
	struct child_usage u;
	enum outcome o = FAILED;
	if (tolerate(a, beat(a, NULL, &a->why), &a->why) < 0) /* a cancel between claim and here left its mark in the store only */
		return INTERRUPTED;
	a->files = intake_new(store_blobs(a->r->store), &a->why);
	if (!a->files || start(a, &a->why) < 0)
		return FAILED;
	log_line(LOG_INFO, "engine started", "job", LOG_STR, a->claim->id, "attempt", LOG_INT, a->claim->attempt, "pid", LOG_INT,
	         (int64_t)a->child.pid);
	struct frame_reader *in = frame_reader_new(a->child.frames, &a->why);
	if (in)
		o = supervise(a, in);
	frame_reader_free(in);
	child_reap(&a->child, o == SUCCEEDED ? CHILD_GRACE_MS : 0, &u);
	*usage = (struct store_usage){u.cpu_seconds, u.wall_seconds, u.peak_rss_bytes};
	if (o == DIED)
		err_set(&a->why, ERR_INTERNAL, "the engine ended with %s", u.how);
	return o;
}

/* What the store is told about a job that was interrupted: the store knows best why. */
static int settle_interrupted(struct attempt *a, const struct store_usage *u, struct err *e)
{
	if (store_job_stopped(a->r->store, a->claim, u, e) == 0)
		return 0; /* it was being canceled */
	if (e->code == ERR_BAD_STATE && atomic_load(&a->r->stop))
		return store_job_requeue(a->r->store, a->claim, u, false, e);
	return -1;
}

static int settle_death(struct attempt *a, const struct store_usage *u, struct err *e)
{
	log_line(LOG_WARN, "engine died", "job", LOG_STR, a->claim->id, "how", LOG_STR, a->why.msg, "said", LOG_STR, a->child.last);
	if (a->claim->deaths + 1 < RUNNER_MAX_DEATHS)
		return store_job_requeue(a->r->store, a->claim, u, true, e);
	char detail[256];
	(void)snprintf(detail, sizeof detail, "the job's engine died %d times; the last time, %.150s", RUNNER_MAX_DEATHS,
	               a->why.msg);
	return store_job_fail(a->r->store, a->claim, u, "worker-crashed", detail, e);
}

/* Commits the files and the state. On failure the files are gone, and a->why is why. */
static enum outcome settle_success(struct attempt *a, const struct store_usage *u)
{
	struct store_artifact files[INTAKE_MAX_FILES];
	size_t n = 0;
	if (intake_files(a->files, files, &n, &a->why) == 0 && store_job_succeed(a->r->store, a->claim, u, files, n, &a->why) == 0)
		return SUCCEEDED;
	return a->why.code == ERR_BAD_STATE ? INTERRUPTED : FAILED;
}

/* Brings a job that did not succeed to its next state. May be tried again. */
static int settle(struct attempt *a, enum outcome o, const struct store_usage *u, struct err *e)
{
	int rc = -1;
	if (o == DIED)
		rc = settle_death(a, u, e);
	else if (o == FAILED)
		rc = store_job_fail(a->r->store, a->claim, u, err_name(a->why.code), a->why.msg, e);
	return rc < 0 && (o == INTERRUPTED || e->code == ERR_BAD_STATE) ? settle_interrupted(a, u, e) : rc;
}

void runner_run(struct runner *r, const struct store_claim *c)
{
	static const char *const names[] = {"going on", "succeeded", "failed", "died", "interrupted"};
	struct attempt a = {.r = r, .claim = c, .child = {.frames = -1, .words = -1}, .why = ERR_INIT};
	struct store_usage u = {0, 0, 0};
	struct err e = ERR_INIT;
	enum outcome o = run(&a, &u);
	int rc = 0;
	if (o == SUCCEEDED)
		o = settle_success(&a, &u);
	while (o != SUCCEEDED && (rc = settle(&a, o, &u, &e)) < 0 && try_again(&a, &e))
		;
	if (rc < 0)
		log_line(LOG_ERROR, "a job's end was not stored", "job", LOG_STR, c->id, "why", LOG_STR, e.msg);
	log_line(o == FAILED ? LOG_WARN : LOG_INFO, "attempt ended", "job", LOG_STR, c->id, "attempt", LOG_INT, c->attempt,
	         "outcome", LOG_STR, names[o], "seconds", LOG_REAL, u.wall_seconds, "why", LOG_STR,
	         o == SUCCEEDED ? NULL : a.why.msg);
	intake_free(a.files);
}
