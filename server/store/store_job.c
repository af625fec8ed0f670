/* Jobs: their states, and what clients ask. What workers write in between is in store_work.c. */

#include "server/store/store_job.h"

#include "api/download.h"
#include "server/base/clock.h"
#include "server/store/store.h"
#include "server/store/store_move.h"
#include "server/store/store_once.h"
#include "server/store/store_queue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                                              \
	"id, name, labels, status, attempt, model_id, model_sha256, calibration_id, calibration_sha256, samples, "           \
	"samples_used, "                                                                                                     \
	"params, phase, current, layers_done, layers_total, fraction, coalesce(heartbeat_at, 0), error_code, error_detail, " \
	"cpu_seconds, wall_seconds, peak_rss_bytes, created_at, coalesce(started_at, 0), coalesce(finished_at, 0), "         \
	"owner, visibility, priority, deadline_seconds, reused_from, retry_of"

static int read_row(struct db_rows *r, struct api_job *j, struct err *e)
{
	db_text_into(r, 0, j->id, sizeof j->id);
	db_text_into(r, 3, j->status, sizeof j->status);
	j->attempt = db_int(r, 4);
	db_text_into(r, 5, j->model_id, sizeof j->model_id);
	db_text_into(r, 6, j->model_sha256, sizeof j->model_sha256);
	db_text_into(r, 7, j->calibration_id, sizeof j->calibration_id);
	db_text_into(r, 8, j->calibration_sha256, sizeof j->calibration_sha256);
	j->samples = db_int(r, 9);
	j->samples_used = db_int(r, 10);
	j->layers_done = db_int(r, 14);
	j->layers_total = db_int(r, 15);
	j->fraction = db_real(r, 16);
	j->heartbeat_at = db_int(r, 17);
	j->cpu_seconds = db_real(r, 20);
	j->wall_seconds = db_real(r, 21);
	j->peak_rss_bytes = db_int(r, 22);
	j->created_at = db_int(r, 23);
	j->started_at = db_int(r, 24);
	j->finished_at = db_int(r, 25);
	db_text_into(r, 27, j->visibility, sizeof j->visibility);
	j->priority = db_int(r, 28);
	j->deadline_seconds = db_int(r, 29);
	db_text_into(r, 30, j->reused_from, sizeof j->reused_from);
	db_text_into(r, 31, j->retry_of, sizeof j->retry_of);
	char **const texts[] = {&j->name,    &j->labels,     &j->params,       &j->phase,
	                        &j->current, &j->error_code, &j->error_detail, &j->owner};
	static const int columns[] = {1, 2, 11, 12, 13, 18, 19, 26};
	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
		if (db_text_dup(r, columns[i], texts[i], e) < 0)
			return -1;
	return 0;
}

static int add_warning(struct api_job *j, struct db_rows *r, struct err *e)
{
	struct api_warning *more = realloc(j->warnings, (j->nwarnings + 1) * sizeof *more);
	if (!more)
		return err_nomem(e, "a list of warnings");
	j->warnings = more;
	struct api_warning *w = &more[j->nwarnings++];
	memset(w, 0, sizeof *w);
	return db_text_dup(r, 0, &w->code, e) == 0 && db_text_dup(r, 1, &w->layer, e) == 0 && db_text_dup(r, 2, &w->detail, e) == 0
	               ? 0
	               : -1;
}

static int read_artifact(struct db_rows *r, struct api_artifact *a, struct err *e)
{
	db_text_into(r, 2, a->sha256, sizeof a->sha256);
	a->size = db_int(r, 3);
	return db_text_dup(r, 0, &a->name, e) == 0 && db_text_dup(r, 1, &a->media_type, e) == 0 ? 0 : -1;
}

static int add_artifact(struct api_job *j, struct db_rows *r, struct err *e)
{
	struct api_artifact *more = realloc(j->artifacts, (j->nartifacts + 1) * sizeof *more);
	if (!more)
		return err_nomem(e, "a list of artifacts");
	j->artifacts = more;
	memset(&more[j->nartifacts], 0, sizeof *more);
	return read_artifact(r, &more[j->nartifacts++], e);
}

/* Runs a query about each of the jobs and hands every row to add(). */
static int each_row(struct db *d, struct api_job *jobs, size_t n, const char *sql,
                    int (*add)(struct api_job *, struct db_rows *, struct err *), struct err *e)
{
	struct db_rows *r = n > 0 ? db_query(d, e, sql, "s", jobs[0].id) : NULL;
	int rc = n == 0 || r ? 0 : -1;
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (i > 0)
			rc = db_again(r, e, "s", jobs[i].id);
		while (rc == 0 && (rc = db_next(r, e)) == 1)
			rc = add(&jobs[i], r, e);
	}
	db_done(r);
	return rc;
}

static int read_rest(struct db *d, struct api_job *jobs, size_t n, struct err *e)
{
	return each_row(d, jobs, n, "SELECT code, layer, detail FROM job_warnings WHERE job_id = ? ORDER BY seq", add_warning, e) ==
	                               0 &&
	                       each_row(d, jobs, n,
	                                "SELECT name, media_type, sha256, size FROM artifacts WHERE job_id = ? ORDER BY name",
	                                add_artifact, e) == 0
	               ? 0
	               : -1;
}

static int get(struct db *d, const struct api_caller *who, const char *id, struct api_job *out, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT " COLUMNS " FROM jobs WHERE id = ?1 AND " STORE_SEES, "sis", id,
	                             store_sees_all(who), store_owner(who));
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_row(r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no job %.40s", id);
	db_done(r);
	return rc == 0 && read_rest(d, out, 1, e) == 0 ? store_queue_place(d, out, e) : -1;
}

int store_job_get(struct store *s, const struct api_caller *who, const char *id, struct api_job *out, struct err *e)
{
	struct db *d = store_view(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? get(d, who, id, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_job_fini(out);
	return rc;
}

/* A status is a condition of its own, so that its jobs are found along an index. */
#define LIST(status)                                                                                                      \
	"SELECT " COLUMNS " FROM jobs WHERE id < ?1 AND " STORE_SEES " AND " status " AND (?5 IS NULL OR model_id = ?5) " \
	"AND (?6 IS NULL OR name GLOB ?6) AND (?7 IS NULL OR EXISTS (SELECT 1 FROM json_each(labels) l "                  \
	"WHERE l.key = ?7 AND (?8 IS NULL OR l.value = ?8))) ORDER BY id DESC LIMIT ?9"

static int list(struct db *d, const struct api_caller *who, const struct api_page *page, const struct api_job_filter *f,
                struct api_job **out, size_t *n, struct err *e)
{
	struct db_rows *r = db_query(d, e, f->status ? LIST("status = ?4") : LIST("?4 IS NULL"), "sissssssi",
	                             page->after[0] ? page->after : "~", store_sees_all(who), store_owner(who), f->status, f->model,
	                             f->name, f->label, f->label_value, page->limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_job *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of jobs");
			break;
		}
		*out = more;
		memset(&more[*n], 0, sizeof *more);
		if (read_row(r, &more[(*n)++], e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc == 0 && read_rest(d, *out, *n, e) == 0 ? store_queue_places(d, *out, *n, e) : -1;
}

int store_job_list(struct store *s, const struct api_caller *who, const struct api_page *page, const struct api_job_filter *f,
                   struct api_job **out, size_t *n, struct err *e)
{
	struct db *d = store_view(s, e);
	*out = NULL;
	*n = 0;
	int rc = d ? list(d, who, page, f, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_jobs_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

/* Whether the job is on its way to where the action leads, or there. */
static bool is_done(enum job_status s, enum api_action what)
{
	switch (what) {
	case API_CANCEL:
		return s == JOB_CANCELING || s == JOB_CANCELED;
	case API_PAUSE:
		return s == JOB_PAUSING || s == JOB_PAUSED;
	case API_RESUME:
		return s == JOB_QUEUED || s == JOB_RUNNING;
	}
	return false;
}

static int act(struct db *d, const struct api_caller *who, const char *id, enum api_action what, struct api_once *once,
               enum job_status *to, struct err *e)
{
	static const enum job_event events[] = {[API_CANCEL] = JOB_CANCEL, [API_PAUSE] = JOB_PAUSE, [API_RESUME] = JOB_RESUME};
	char before[API_ID + 1];
	if (store_check(d, who, "jobs", "job", id, true, e) < 0 || store_status(d, id, to, e) < 0 ||
	    store_once_find(d, store_owner(who), once, before, e) < 0)
		return -1;
	if (before[0])
		return 0;
	if (!is_done(*to, what) && store_move(d, id, STORE_ANY_ATTEMPT, events[what], to, e) < 0)
		return -1;
	return store_once_keep(d, store_owner(who), once, id, e);
}

int store_job_act(struct store *s, const struct api_caller *who, const char *id, enum api_action what, struct api_once *once,
                  enum job_status *to, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, act(d, who, id, what, once, to, e), e) : -1;
}

/* Whether it is as the client wants it to be. */
static int check_tags(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	struct api_job x;
	memset(&x, 0, sizeof x);
	int rc = get(d, who, id, &x, e);
	if (rc == 0)
		rc = download_check(c, &x, e);
	api_job_fini(&x);
	return rc;
}

static int change(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	if (store_check(d, who, "jobs", "job", id, true, e) < 0 || (c->must && check_tags(d, who, id, c, e) < 0) ||
	    store_change(d, "jobs", id, c, e) < 0)
		return -1;
	return c->priority ? db_run(d, e, "UPDATE jobs SET priority = ? WHERE id = ?", "is", *c->priority, id) : 0;
}

int store_job_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, change(d, who, id, c, e), e) : -1;
}

static int drop(struct store *s, struct db *d, const struct api_caller *who, const char *id, struct err *e)
{
	enum job_status status;
	if (store_check(d, who, "jobs", "job", id, true, e) < 0 || store_status(d, id, &status, e) < 0)
		return -1;
	if (!job_status_is_final(status))
		return err_set(e, ERR_BAD_STATE, "the job is %s; cancel it first", job_status_name(status));
	if (store_check_loaded(d, id, e) < 0)
		return -1;
	struct db_rows *r = db_query(d, e, "SELECT sha256 FROM artifacts WHERE job_id = ?", "s", id);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1)
		store_let_go(s, db_text(r, 0));
	db_done(r);
	return rc == 0 ? db_run(d, e, "DELETE FROM jobs WHERE id = ?", "s", id) : -1;
}

int store_job_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, drop(s, d, who, id, e), e) : -1;
}

static int check_exists(struct db *d, const struct api_caller *who, const char *id, struct err *e)
{
	return store_check(d, who, "jobs", "job", id, false, e);
}

static double real_or_nan(struct db_rows *r, int column)
{
	return db_is_null(r, column) ? (double)NAN : db_real(r, column);
}

static int read_layer(struct db_rows *r, struct api_layer *l, struct err *e)
{
	memset(l, 0, sizeof *l);
	l->index = db_int(r, 0);
	l->channels = db_int(r, 4);
	l->fan_in = db_int(r, 5);
	l->rechecked = db_int(r, 7);
	l->seconds = db_real(r, 8);
	l->loss = real_or_nan(r, 9);
	l->minmax_loss = real_or_nan(r, 10);
	return db_text_dup(r, 1, &l->node, e) == 0 && db_text_dup(r, 2, &l->op_type, e) == 0 &&
	                       db_text_dup(r, 3, &l->weight, e) == 0 && db_text_dup(r, 6, &l->strategy, e) == 0 &&
	                       db_text_dup(r, 11, &l->chosen, e) == 0 && db_text_dup(r, 12, &l->settings, e) == 0
	               ? 0
	               : -1;
}

/* What read_layer() reads. */
#define LAYER_COLUMNS \
	"layer, node, op_type, weight, channels, fan_in, strategy, rechecked, seconds, loss, minmax_loss, chosen, settings"

static int layers(struct db *d, const char *id, struct api_layer **out, size_t *n, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT " LAYER_COLUMNS " FROM job_layers WHERE job_id = ? ORDER BY layer", "s", id);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_layer *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of layers");
			break;
		}
		*out = more;
		if (read_layer(r, &more[(*n)++], e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc;
}

int store_job_layers(struct store *s, const struct api_caller *who, const char *id, struct api_layer **out, size_t *n,
                     struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d && check_exists(d, who, id, e) == 0 ? layers(d, id, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_layers_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

static int one_layer(struct db *d, const char *id, int64_t index, struct api_layer *out, struct err *e)
{
	struct db_rows *r =
		db_query(d, e, "SELECT " LAYER_COLUMNS ", curve FROM job_layers WHERE job_id = ? AND layer = ?", "si", id, index);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_layer(r, out, e) == 0 ? db_text_dup(r, 13, &out->curve, e) : -1;
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "the job has no finished layer %lld", (long long)index);
	db_done(r);
	return rc;
}

int store_job_layer(struct store *s, const struct api_caller *who, const char *id, int64_t index, struct api_layer *out,
                    struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	int rc = d && check_exists(d, who, id, e) == 0 ? one_layer(d, id, index, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_layer_fini(out);
	return rc;
}

static int events(struct db *d, const char *id, int64_t after, int64_t limit, struct api_event **out, size_t *n, struct err *e)
{
	struct db_rows *r =
		db_query(d, e, "SELECT seq, at, event, data FROM events WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?", "sii",
	                 id, after, limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_event *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of events");
			break;
		}
		*out = more;
		struct api_event *v = &more[(*n)++];
		memset(v, 0, sizeof *v);
		v->seq = db_int(r, 0);
		v->at = db_int(r, 1);
		if (db_text_dup(r, 2, &v->event, e) < 0 || db_text_dup(r, 3, &v->data, e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc;
}

int store_job_events(struct store *s, const struct api_caller *who, const char *id, int64_t after, int64_t limit,
                     struct api_event **out, size_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d && check_exists(d, who, id, e) == 0 ? events(d, id, after, limit, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_events_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

int store_job_artifact(struct store *s, const struct api_caller *who, const char *id, const char *name, struct api_artifact *out,
                       struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	struct db_rows *r =
		!d || check_exists(d, who, id, e) < 0
			? NULL
			: db_query(d, e, "SELECT name, media_type, sha256, size FROM artifacts WHERE job_id = ? AND name = ?", "ss",
	                           id, name);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_artifact(r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "the job has no file %.200s", name);
	db_done(r);
	store_read_end(s, d);
	if (rc < 0) {
		free(out->name);
		free(out->media_type);
		memset(out, 0, sizeof *out);
	}
	return rc;
}

static int frames(struct db *d, const char *id, struct buf *out, char **params, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT params FROM jobs WHERE id = ?", "s", id);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = db_text_dup(r, 0, params, e);
	db_done(r);
	r = rc < 0 ? NULL
	           : db_query(d, e, "SELECT frame FROM job_layers WHERE job_id = ? AND frame IS NOT NULL ORDER BY layer", "s", id);
	rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		buf_str(out, db_text(r, 0));
		buf_str(out, "\n");
	}
	db_done(r);
	return rc == 0 && buf_failed(out) ? err_nomem(e, "a job's layers") : rc;
}

int store_job_frames(struct store *s, const struct api_caller *who, const char *id, struct buf *out, char **params, struct err *e)
{
	struct db *d = store_read(s, e);
	*params = NULL;
	int rc = d && check_exists(d, who, id, e) == 0 ? frames(d, id, out, params, e) : -1;
	store_read_end(s, d);
	return rc;
}

/* What others keep private is counted, and not shown. */
static int queue(struct db *d, const struct api_caller *who, struct api_queue *out, struct err *e)
{
	enum { SHOWN = 100 };
	if (db_get_int(d, e, &out->running, NULL, "SELECT count(*) FROM jobs WHERE status IN ('running', 'pausing', 'canceling')",
	               "") < 0)
		return -1;
	out->jobs = calloc(SHOWN, sizeof *out->jobs);
	if (!out->jobs)
		return err_nomem(e, "the queue");
	struct db_rows *r = db_query(
		d, e,
		"SELECT id, status, created_at FROM jobs WHERE status IN ('running', 'pausing', 'canceling') AND " STORE_SEES
		" ORDER BY id LIMIT ?1",
		"iis", (int64_t)SHOWN, store_sees_all(who), store_owner(who));
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_queue_entry *q = &out->jobs[out->njobs++];
		db_text_into(r, 0, q->id, sizeof q->id);
		db_text_into(r, 1, q->status, sizeof q->status);
		q->created_at = db_int(r, 2);
	}
	db_done(r);
	return rc == 0 ? store_queue_first(d, who, SHOWN - out->njobs, out, e) : -1;
}

int store_job_queue(struct store *s, const struct api_caller *who, struct api_queue *out, struct err *e)
{
	struct db *d = store_view(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? queue(d, who, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_queue_fini(out);
	return rc;
}
