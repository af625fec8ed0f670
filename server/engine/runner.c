#include "server/engine/runner.h"
#include "server/engine/evaluation.h"

#include "core/base/json.h"
#include "core/run/activations.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/engine/beat.h"
#include "server/engine/call.h"
#include "server/engine/child.h"
#include "server/engine/frame.h"
#include "server/engine/layer_frame.h"
#include "server/engine/loaded.h"
#include "server/store/blob.h"
#include "server/store/intake.h"
#include "server/store/store.h"
#include "server/store/store_log.h"
#include "server/store/store_object.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROGRESS_MS = 500, RENEW_MS = 10000, LOOK_MS = 1000, RETRY_MS = 1000, RETRIES = 600 };

/* How an attempt ended, as far as the runner knows. */
enum outcome {
	GOING,
	SUCCEEDED,
	FAILED,      /* with a reason that another attempt would meet again */
	DIED,        /* the child ended without a word */
	HUNG,        /* the child gave no sign of life */
	INTERRUPTED, /* cancel, stop, or the job is somebody else's */
};

struct attempt {
	struct runner *r;
	const struct store_claim *claim;
	struct child child;
	struct intake *files;            /* artifacts as they come in */
	int64_t known;                   /* layers that earlier attempts finished */
	int64_t progress_at, renewed_at; /* monotonic: when the store last heard of it */
	int64_t deadline;
	int64_t beat_at, worked_at; /* when the child last gave a sign of life, and had done something since the one before */
	double cpu_seconds;         /* that it had used by then */
	int retries;
	struct err why;
};

static int renew(struct attempt *a, const struct store_progress *p, struct err *e)
{
	a->renewed_at = clock_steady_ms();
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
	a->beat_at = a->worked_at = clock_steady_ms(); /* it was not asked meanwhile */
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

/* Whoever follows the job may look again. */
static void tell(const struct attempt *a)
{
	if (a->r->news)
		a->r->news(a->r->ctx, a->claim->id);
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
	int rc = tolerate(a, renew(a, &p, e), e);
	tell(a);
	return rc;
}

static void on_beat(struct attempt *a, const struct json *v)
{
	double used = json_number(json_get(v, "cpu_seconds"));
	a->beat_at = clock_steady_ms();
	if (used > a->cpu_seconds)
		a->worked_at = a->beat_at;
	a->cpu_seconds = used;
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
	char *text = strndup(f->data, f->len); /* the frame has no end of its own */
	if (!text)
		return err_nomem(e, "a layer");
	int rc = layer_frame_read(f->data, f->len, &l, e);
	if (rc < 0)
		goto out;
	l.frame = text;
	do
		rc = store_job_add_layer(a->r->store, a->claim, &l, e);
	while (rc < 0 && try_again(a, e));
	tell(a);
	layer_frame_fini(&l);
out:
	free(text);
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
	if (v && f->type == FRAME_BEAT)
		on_beat(a, v), rc = 0;
	else if (v && f->type == FRAME_PROGRESS)
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
	case FRAME_BEAT:
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
	int64_t left = a->deadline - clock_steady_ms();
	(void)poll(p, 3, (int)(left < 0 ? 0 : left < LOOK_MS ? left : LOOK_MS));
	child_listen(&a->child);
}

/* The time that this attempt may take: the daemon's limit, and what earlier attempts left of the job's own deadline. */
static int64_t allowed_ms(const struct attempt *a)
{
	const struct store_claim *c = a->claim;
	double own = c->deadline_seconds ? (double)c->deadline_seconds - c->wall_seconds : INFINITY;
	double most = fmin(own, (double)a->r->job_seconds);
	return most > 0 ? (int64_t)(most * 1000) : 0;
}

/* Whether the child has had its time, or is not heard of any more. */
static enum outcome check_clock(struct attempt *a)
{
	int64_t now = clock_steady_ms();
	if (now >= a->deadline) {
		err_set(&a->why, ERR_DEADLINE,
		        "the job took longer than it may: its deadline is %lld s (0: none), an attempt may take %lld s",
		        (long long)a->claim->deadline_seconds, (long long)a->r->job_seconds);
		return FAILED;
	}
	bool silent = now - a->beat_at > BEAT_PATIENCE_MS;
	if (!silent && now - a->worked_at <= BEAT_PATIENCE_MS)
		return GOING;
	err_set(&a->why, ERR_INTERNAL, "the engine %s for %d s", silent ? "gave no sign of life" : "did nothing",
	        BEAT_PATIENCE_MS / 1000);
	return HUNG;
}

static enum outcome supervise(struct attempt *a, struct frame_reader *in)
{
	enum outcome o = GOING;
	a->beat_at = a->worked_at = clock_steady_ms();
	a->deadline = a->beat_at + allowed_ms(a);
	while (o == GOING) {
		if (interrupted(a))
			return INTERRUPTED;
		o = read_frames(a, in);
		if (o == GOING)
			o = check_clock(a);
		if (o == GOING && clock_steady_ms() - a->renewed_at >= RENEW_MS &&
		    tolerate(a, renew(a, NULL, &a->why), &a->why) < 0)
			o = INTERRUPTED;
		if (o == GOING)
			wait_for_news(a);
	}
	return o;
}

void runner_share(struct params *p, int64_t threads, int64_t max_memory_bytes)
{
	if (p->threads == 0 || p->threads > threads)
		p->threads = threads;
	if (p->max_memory_bytes == 0 || p->max_memory_bytes > max_memory_bytes)
		p->max_memory_bytes = max_memory_bytes;
}

static int add_evaluation(struct call *call, const struct attempt *a, const struct params *p, struct err *e)
{
	char id[API_ID + 1];
	struct api_object k;
	struct store *s = a->r->store;
	if (evaluation_id(p, id, e) < 0)
		return -1;
	if (!id[0])
		return 0;
	if (store_object_get(s, NULL, API_CALIBRATION, id, &k, e) < 0)
		return err_wrap(e, "evaluation data");
	int rc = call_evaluation(call, blob_open(store_blobs(s), k.sha256, NULL, e), e);
	api_object_fini(&k);
	return rc;
}

/* The job's settings with the daemon's share of the machine put in; neither changes the result. */
static int add_params(struct call *call, const struct attempt *a, struct err *e)
{
	struct params p;
	int loaded = -1;
	const struct runner *r = a->r;
	params_init(&p);
	struct json *v = json_parse(a->claim->params, strlen(a->claim->params), e);
	int rc = v ? params_from_json(&p, v, e) : -1;
	runner_share(&p, r->threads, r->max_memory_bytes);
	if (rc == 0)
		rc = add_evaluation(call, a, &p, e);
	if (rc == 0)
		rc = loaded_open(r->store, NULL, &p, &loaded, e);
	if (loaded >= 0)
		rc = call_loaded(call, loaded, e);
	if (rc == 0) {
		call_fingerprint(call, a->claim->fingerprint);
		call_params(call, &p);
		call_rates(call, r->speed);
		call_limits(call, r->job_memory_bytes, r->job_seconds * (p.threads + 1), r->job_spill_bytes);
	}
	json_free(v);
	params_fini(&p);
	return rc;
}

/* What earlier attempts found goes back to the engine. */
static int add_known(struct call *call, struct attempt *a, struct err *e)
{
	struct buf lines = BUF_INIT;
	int rc = store_job_known(a->r->store, a->claim, &lines, &a->known, e);
	if (rc == 0 && a->known > 0)
		rc = call_known(call, &lines, e);
	buf_fini(&lines);
	return rc;
}

static bool still_ours(void *ctx)
{
	struct attempt *a = ctx;
	struct err ignored = ERR_INIT;
	if (clock_steady_ms() - a->renewed_at >= RENEW_MS && renew(a, NULL, &ignored) < 0 && ignored.code == ERR_BAD_STATE)
		return false;
	return !interrupted(a);
}

/* A blob whose bytes are still what was uploaded: disks forget, too. */
static int open_checked(struct attempt *a, const char *sha256, struct err *e)
{
	int fd = blob_open(store_blobs(a->r->store), sha256, NULL, e);
	if (fd < 0 || blob_check(fd, sha256, still_ours, a, e) == 0)
		return fd;
	if (e->code == ERR_IO)
		log_line(LOG_ERROR, "an input is damaged", "job", LOG_STR, a->claim->id, "why", LOG_STR, e->msg);
	(void)close(fd);
	return -1;
}

static int check_files(struct attempt *a, const struct api_object *m, struct err *e)
{
	for (size_t i = 0; i < m->nfiles; i++) {
		int fd = m->files[i].present ? open_checked(a, m->files[i].sha256, e) : -1;
		if (fd < 0 && m->files[i].present)
			return -1;
		if (fd >= 0)
			(void)close(fd);
	}
	return 0;
}

static int make_call(struct call *call, struct attempt *a, struct err *e)
{
	struct api_object m, k;
	struct store *s = a->r->store;
	if (store_object_get(s, NULL, API_MODEL, a->claim->model_id, &m, e) < 0)
		return -1;
	int rc = store_object_get(s, NULL, API_CALIBRATION, a->claim->calibration_id, &k, e);
	if (rc == 0) {
		rc = call_model(call, open_checked(a, m.sha256, e), e) == 0 && check_files(a, &m, e) == 0 &&
		                     call_files(call, store_blobs(s), &m, NULL, -1, e) == 0 &&
		                     call_calibration(call, open_checked(a, k.sha256, e), e) == 0 &&
		                     call_spill(call, activations_spill_file(e), e) == 0 && add_known(call, a, e) == 0 &&
		                     add_params(call, a, e) == 0
		             ? call_end(call, e)
		             : -1;
		api_object_fini(&k);
	}
	api_object_fini(&m);
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

/* A line of the job's log; one that cannot be stored is no reason to stop. */
static void note(const struct attempt *a, const char *level, const char *text)
{
	struct err ignored = ERR_INIT;
	(void)store_job_log(a->r->store, a->claim, level, text, &ignored);
}

static void note_start(const struct attempt *a)
{
	char text[120];
	(void)snprintf(text, sizeof text, "an engine began; %lld layers are known from earlier attempts", (long long)a->known);
	note(a, STORE_INFO, text);
}

/* What the child said last on standard error, line by line. */
static void note_words(struct attempt *a)
{
	char *rest = a->child.last, *line;
	while ((line = strsep(&rest, "\n")))
		if (line[0])
			note(a, STORE_WARNING, line);
}

/* Runs the child to its end. */
static enum outcome run(struct attempt *a, struct store_usage *usage)
{
	struct child_usage u;
	enum outcome o = FAILED;
	if (tolerate(a, renew(a, NULL, &a->why), &a->why) < 0) /* a cancel between claim and here left its mark in the store only */
		return INTERRUPTED;
	a->files = intake_new(store_blobs(a->r->store), &a->why);
	if (!a->files || start(a, &a->why) < 0)
		return a->why.code == ERR_CANCELED || interrupted(a) ? INTERRUPTED : FAILED;
	log_line(LOG_INFO, "engine started", "job", LOG_STR, a->claim->id, "attempt", LOG_INT, a->claim->attempt, "pid", LOG_INT,
	         (int64_t)a->child.pid, "known_layers", LOG_INT, a->known);
	note_start(a);
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
	note(a, STORE_WARNING, a->why.msg);
	note_words(a);
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
	if (o == DIED || o == HUNG)
		rc = settle_death(a, u, e);
	else if (o == FAILED)
		rc = store_job_fail(a->r->store, a->claim, u, err_name(a->why.code), a->why.msg, e);
	return rc < 0 && (o == INTERRUPTED || e->code == ERR_BAD_STATE) ? settle_interrupted(a, u, e) : rc;
}

void runner_run(struct runner *r, const struct store_claim *c)
{
	static const char *const names[] = {"going on", "succeeded", "failed", "died", "hung", "interrupted"};
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
	if (r->ended)
		r->ended(r->ctx, names[o], u.wall_seconds);
	intake_free(a.files);
}
