/* Jobs: their states, and what clients ask. What workers write in between is in store_work.c. */

#include "server/store_job.h"

#include "server/clock.h"
#include "server/store.h"
#include "server/store_move.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                                                  \
	"id, name, labels, status, attempt, model_id, model_sha256, calibration_id, calibration_sha256, samples, samples_used, " \
	"params, phase, current, layers_done, layers_total, fraction, coalesce(heartbeat_at, 0), error_code, error_detail, "     \
	"cpu_seconds, wall_seconds, peak_rss_bytes, created_at, coalesce(started_at, 0), coalesce(finished_at, 0), "             \
	"CASE status WHEN 'queued' THEN (SELECT count(*) FROM jobs q WHERE q.status = 'queued' AND q.id <= jobs.id) ELSE 0 END"

static int insert(struct db *d, const struct store_job_new *j, int64_t max_queued, struct err *e)
{
	int64_t queued;
	if (db_get_int(d, e, &queued, NULL, "SELECT count(*) FROM jobs WHERE status = 'queued'", "") < 0)
		return -1;
	if (queued >= max_queued)
		return err_set(e, ERR_QUEUE_FULL, "%lld jobs are waiting already", (long long)queued);
	if (db_run(d, e,
	           "INSERT INTO jobs(id, name, labels, status, model_id, model_sha256, calibration_id, calibration_sha256, "
	           "samples, "
	           "samples_used, params, created_at) SELECT ?, ?, ?, 'queued', ?4, ?, ?6, ?, ?, ?, ?, ? "
	           "WHERE EXISTS (SELECT 1 FROM models WHERE id = ?4) AND EXISTS (SELECT 1 FROM calibrations WHERE id = ?6)",
	           "sssssssiisi", j->id, j->name, j->labels, j->model_id, j->model_sha256, j->calibration_id, j->calibration_sha256,
	           j->samples, j->samples_used, j->params, clock_ms()) < 0)
		return -1;
	if (db_changes(d) == 0)
		return err_set(e, ERR_NOT_FOUND, "the model or the calibration was deleted meanwhile");
	return store_event_add(d, j->id, "status", "{\"status\": \"queued\"}", e);
}

int store_job_add(struct store *s, const struct store_job_new *j, int64_t max_queued, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, insert(d, j, max_queued, e), e) : -1;
}

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
	j->queue_position = db_int(r, 26);
	char **const texts[] = {&j->name, &j->labels, &j->params, &j->phase, &j->current, &j->error_code, &j->error_detail};
	static const int columns[] = {1, 2, 11, 12, 13, 18, 19};
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

/* Runs a query about one job and hands every row to add(). */
static int each_row(struct db *d, struct api_job *j, const char *sql, int (*add)(struct api_job *, struct db_rows *, struct err *),
                    struct err *e)
{
	struct db_rows *r = db_query(d, e, sql, "s", j->id);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1)
		if (add(j, r, e) < 0)
			rc = -1;
	db_done(r);
	return rc;
}

static int read_rest(struct db *d, struct api_job *j, struct err *e)
{
	return each_row(d, j, "SELECT code, layer, detail FROM job_warnings WHERE job_id = ? ORDER BY seq", add_warning, e) == 0 &&
	                       each_row(d, j, "SELECT name, media_type, sha256, size FROM artifacts WHERE job_id = ? ORDER BY name",
	                                add_artifact, e) == 0
	               ? 0
	               : -1;
}

static int get(struct db *d, const char *id, struct api_job *out, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT " COLUMNS " FROM jobs WHERE id = ?", "s", id);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_row(r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no job %.40s", id);
	db_done(r);
	return rc == 0 ? read_rest(d, out, e) : -1;
}

int store_job_get(struct store *s, const char *id, struct api_job *out, struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? get(d, id, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_job_fini(out);
	return rc;
}

static int list(struct db *d, const struct api_page *page, const char *status, struct api_job **out, size_t *n, struct err *e)
{
	struct db_rows *r = db_query(d, e,
	                             "SELECT " COLUMNS " FROM jobs WHERE (?1 = '' OR id < ?1) AND (?2 IS NULL OR status = ?2) "
	                             "ORDER BY id DESC LIMIT ?3",
	                             "ssi", page->after, status, page->limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_job *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of jobs");
			break;
		}
		*out = more;
		memset(&more[*n], 0, sizeof *more);
		if (read_row(r, &more[(*n)++], e) < 0 || read_rest(d, &more[*n - 1], e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc;
}

int store_job_list(struct store *s, const struct api_page *page, const char *status, struct api_job **out, size_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d ? list(d, page, status, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_jobs_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

static int cancel(struct db *d, const char *id, enum job_status *to, struct err *e)
{
	if (store_status(d, id, to, e) < 0)
		return -1;
	if (*to == JOB_CANCELING || *to == JOB_CANCELED)
		return 0;
	return store_move(d, id, STORE_ANY_ATTEMPT, JOB_CANCEL, to, e);
}

int store_job_cancel(struct store *s, const char *id, enum job_status *to, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, cancel(d, id, to, e), e) : -1;
}

static int drop(struct store *s, struct db *d, const char *id, struct err *e)
{
	enum job_status status;
	if (store_status(d, id, &status, e) < 0)
		return -1;
	if (!job_status_is_final(status))
		return err_set(e, ERR_BAD_STATE, "the job is %s; cancel it first", job_status_name(status));
	struct db_rows *r = db_query(d, e, "SELECT sha256 FROM artifacts WHERE job_id = ?", "s", id);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1)
		store_let_go(s, db_text(r, 0));
	db_done(r);
	return rc == 0 ? db_run(d, e, "DELETE FROM jobs WHERE id = ?", "s", id) : -1;
}

int store_job_delete(struct store *s, const char *id, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, drop(s, d, id, e), e) : -1;
}

static int check_exists(struct db *d, const char *id, struct err *e)
{
	enum job_status ignored;
	return store_status(d, id, &ignored, e);
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
	                       db_text_dup(r, 11, &l->chosen, e) == 0
	               ? 0
	               : -1;
}

static int layers(struct db *d, const char *id, struct api_layer **out, size_t *n, struct err *e)
{
	struct db_rows *r =
		db_query(d, e,
	                 "SELECT layer, node, op_type, weight, channels, fan_in, strategy, rechecked, seconds, loss, minmax_loss, "
	                 "chosen FROM job_layers WHERE job_id = ? ORDER BY layer",
	                 "s", id);
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

int store_job_layers(struct store *s, const char *id, struct api_layer **out, size_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d && check_exists(d, id, e) == 0 ? layers(d, id, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_layers_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
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

int store_job_events(struct store *s, const char *id, int64_t after, int64_t limit, struct api_event **out, size_t *n,
                     struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d && check_exists(d, id, e) == 0 ? events(d, id, after, limit, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_events_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

int store_job_artifact(struct store *s, const char *id, const char *name, struct api_artifact *out, struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	struct db_rows *r =
		!d || check_exists(d, id, e) < 0
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

static int queue(struct db *d, struct api_queue *out, struct err *e)
{
	enum { SHOWN = 100 };
	if (db_get_int(d, e, &out->queued, NULL, "SELECT count(*) FROM jobs WHERE status = 'queued'", "") < 0 ||
	    db_get_int(d, e, &out->running, NULL, "SELECT count(*) FROM jobs WHERE status IN ('running', 'canceling')", "") < 0)
		return -1;
	out->jobs = calloc(SHOWN, sizeof *out->jobs);
	if (!out->jobs)
		return err_nomem(e, "the queue");
	struct db_rows *r = db_query(d, e,
	                             "SELECT id, status, created_at FROM jobs WHERE status IN ('running', 'canceling', 'queued') "
	                             "ORDER BY status = 'queued', id LIMIT ?",
	                             "i", (int64_t)SHOWN);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_queue_entry *q = &out->jobs[out->njobs++];
		db_text_into(r, 0, q->id, sizeof q->id);
		db_text_into(r, 1, q->status, sizeof q->status);
		q->created_at = db_int(r, 2);
	}
	db_done(r);
	return rc;
}

int store_job_queue(struct store *s, struct api_queue *out, struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? queue(d, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_queue_fini(out);
	return rc;
}
