/* What workers write about the jobs that they hold: claim, progress, layers, warnings, and the ends of an attempt. */

#include "server/base/clock.h"
#include "server/store/store.h"
#include "server/store/store_job.h"
#include "server/store/store_log.h"
#include "server/store/store_move.h"
#include "server/store/store_queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WARNINGS = 1000 };

static int abandoned(struct db *d, char id[API_ID + 1], bool *found, struct err *e)
{
	return db_get_text(d, e, id, API_ID + 1, found,
	                   "SELECT id FROM jobs WHERE status = 'running' AND lease_until < ? ORDER BY id LIMIT 1", "i", clock_ms());
}

/* The job that is to be claimed next, moved to running under its new token. */
static int next_claim(struct db *d, char id[API_ID + 1], bool *found, struct err *e)
{
	enum job_status to;
	if (abandoned(d, id, found, e) < 0)
		return -1;
	if (!*found && store_queue_serve(d, id, found, e) < 0)
		return -1;
	return *found ? store_move(d, id, STORE_ANY_ATTEMPT, JOB_CLAIM, &to, e) : 0;
}

static int take_lease(struct db *d, const char *id, int64_t lease_ms, struct store_claim *c, struct err *e)
{
	struct db_rows *r = db_query(
		d, e,
		"UPDATE jobs SET lease_until = ? WHERE id = ? "
		"RETURNING id, attempt, deaths, params, model_id, calibration_id, deadline_seconds, wall_seconds, fingerprint",
		"is", clock_ms() + lease_ms, id);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1) {
		db_text_into(r, 0, c->id, sizeof c->id);
		c->attempt = db_int(r, 1);
		c->deaths = db_int(r, 2);
		db_text_into(r, 4, c->model_id, sizeof c->model_id);
		db_text_into(r, 5, c->calibration_id, sizeof c->calibration_id);
		c->deadline_seconds = db_int(r, 6);
		c->wall_seconds = db_real(r, 7);
		db_text_into(r, 8, c->fingerprint, sizeof c->fingerprint);
		rc = db_text_dup(r, 3, &c->params, e);
	}
	db_done(r);
	return rc;
}

int store_job_claim(struct store *s, int64_t lease_ms, struct store_claim *c, bool *found, struct err *e)
{
	char id[API_ID + 1];
	struct db *d = store_begin(s, e);
	memset(c, 0, sizeof *c);
	if (!d)
		return -1;
	int rc = next_claim(d, id, found, e);
	if (rc == 0 && *found)
		rc = take_lease(d, id, lease_ms, c, e);
	rc = store_end(s, rc, e);
	if (rc < 0)
		store_claim_fini(c);
	return rc;
}

void store_claim_fini(struct store_claim *c)
{
	free(c->params);
	memset(c, 0, sizeof *c);
}

/* The job is still running under this claim's token; otherwise ERR_BAD_STATE. */
static int check_held(struct db *d, const struct store_claim *c, struct err *e)
{
	bool found;
	int64_t one;
	if (db_get_int(d, e, &one, &found, "SELECT 1 FROM jobs WHERE id = ? AND attempt = ? AND status = 'running'", "si", c->id,
	               c->attempt) < 0)
		return -1;
	return found ? 0 : err_set(e, ERR_BAD_STATE, "the job is no longer this worker's");
}

static int beat(struct db *d, const struct store_claim *c, int64_t lease_ms, const struct store_progress *p, struct err *e)
{
	int64_t now = clock_ms();
	if (check_held(d, c, e) < 0 ||
	    db_run(d, e, "UPDATE jobs SET lease_until = ?, heartbeat_at = ? WHERE id = ?", "iis", now + lease_ms, now, c->id) < 0)
		return -1;
	if (!p)
		return 0;
	return db_run(d, e, "UPDATE jobs SET phase = ?, current = ?, layers_done = ?, layers_total = ?, fraction = ? WHERE id = ?",
	              "ssiids", p->phase, p->current, p->layers_done, p->layers_total, p->fraction, c->id);
}

int store_job_beat(struct store *s, const struct store_claim *c, int64_t lease_ms, const struct store_progress *p, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, beat(d, c, lease_ms, p, e), e) : -1;
}

static int add_layer(struct db *d, const struct store_claim *c, const struct store_layer *l, struct err *e)
{
	const struct api_layer *a = &l->summary;
	char data[64];
	/* SQLite keeps NaN as null, which is what the columns mean by it. */
	if (check_held(d, c, e) < 0 ||
	    db_run(d, e,
	           "INSERT OR REPLACE INTO job_layers(job_id, layer, attempt, node, op_type, weight, channels, fan_in, strategy, "
	           "rechecked, "
	           "seconds, loss, minmax_loss, chosen, grids, frame, settings, curve) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
	           "?, "
	           "?, ?, ?, ?, ?)",
	           "siisssiisidddsbsss", c->id, a->index, c->attempt, a->node, a->op_type, a->weight, a->channels, a->fan_in,
	           a->strategy, a->rechecked, a->seconds, a->loss, a->minmax_loss, a->chosen, (const void *)l->grids, l->grids_len,
	           l->frame, a->settings, a->curve) < 0)
		return -1;
	(void)snprintf(data, sizeof data, "{\"layer\": %lld, \"attempt\": %lld}", (long long)a->index, (long long)c->attempt);
	if (store_event_add(d, c->id, "layer", data, e) < 0)
		return -1;
	return store_log_add(d, c->id, STORE_INFO, e, "layer %lld, %.200s: loss %.6g, with full ranges %.6g; %s, %.3g s",
	                     (long long)a->index, a->node, a->loss, a->minmax_loss, a->strategy, a->seconds);
}

int store_job_add_layer(struct store *s, const struct store_claim *c, const struct store_layer *l, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, add_layer(d, c, l, e), e) : -1;
}

static int known(struct db *d, const char *id, struct buf *out, int64_t *n, struct err *e)
{
	struct db_rows *r =
		db_query(d, e, "SELECT frame FROM job_layers WHERE job_id = ? AND frame IS NOT NULL ORDER BY layer", "s", id);
	int rc = r ? 1 : -1;
	for (*n = 0; rc == 1 && (rc = db_next(r, e)) == 1; ++*n) {
		buf_str(out, db_text(r, 0));
		buf_str(out, "\n");
	}
	db_done(r);
	return rc == 0 && buf_failed(out) ? err_nomem(e, "known layers") : rc;
}

int store_job_known(struct store *s, const struct store_claim *c, struct buf *out, int64_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	int rc = d ? known(d, c->id, out, n, e) : -1;
	store_read_end(s, d);
	return rc;
}

static int warn(struct db *d, const struct store_claim *c, const char *code, const char *layer, const char *detail, struct err *e)
{
	int64_t n;
	if (check_held(d, c, e) < 0 ||
	    db_get_int(d, e, &n, NULL, "SELECT coalesce(max(seq), 0) FROM job_warnings WHERE job_id = ?", "s", c->id) < 0)
		return -1;
	if (n >= MAX_WARNINGS)
		return 0;
	if (db_run(d, e, "INSERT INTO job_warnings(job_id, seq, code, layer, detail) VALUES (?, ?, ?, ?, ?)", "sisss", c->id, n + 1,
	           code, layer, detail) < 0)
		return -1;
	return store_log_add(d, c->id, STORE_WARNING, e, "%s%s%s: %s", layer, layer[0] ? ": " : "", code, detail);
}

int store_job_warn(struct store *s, const struct store_claim *c, const char *code, const char *layer, const char *detail,
                   struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, warn(d, c, code, layer, detail, e), e) : -1;
}

static int log_text(struct db *d, const struct store_claim *c, const char *level, const char *text, struct err *e)
{
	return check_held(d, c, e) == 0 ? store_log_add(d, c->id, level, e, "%s", text) : -1;
}

int store_job_log(struct store *s, const struct store_claim *c, const char *level, const char *text, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, log_text(d, c, level, text, e), e) : -1;
}

static int add_usage(struct db *d, const struct store_claim *c, const struct store_usage *u, struct err *e)
{
	return db_run(d, e,
	              "UPDATE jobs SET cpu_seconds = cpu_seconds + ?, wall_seconds = wall_seconds + ?, "
	              "peak_rss_bytes = max(peak_rss_bytes, ?) WHERE id = ?",
	              "ddis", u->cpu_seconds, u->wall_seconds, u->peak_rss_bytes, c->id);
}

static int end_attempt(struct db *d, const struct store_claim *c, enum job_event event, const struct store_usage *u, struct err *e)
{
	enum job_status to;
	return store_move(d, c->id, c->attempt, event, &to, e) == 0 ? add_usage(d, c, u, e) : -1;
}

static int succeed(struct store *s, struct db *d, const struct store_claim *c, const struct store_usage *u,
                   const struct store_artifact *files, size_t nfiles, struct err *e)
{
	if (end_attempt(d, c, JOB_SUCCEED, u, e) < 0 ||
	    db_run(d, e, "UPDATE job_layers SET frame = NULL WHERE job_id = ?", "s", c->id) < 0 ||
	    db_run(d, e,
	           "UPDATE jobs SET fraction = 1, (layers_done, layers_total) = "
	           "(SELECT count(*), count(*) FROM job_layers WHERE job_id = jobs.id) WHERE id = ?",
	           "s", c->id) < 0)
		return -1;
	for (size_t i = 0; i < nfiles; i++) {
		struct part *p = files[i].part;
		if (store_keep(s, p, e) < 0 ||
		    db_run(d, e, "INSERT INTO artifacts(job_id, name, sha256, size, media_type) VALUES (?, ?, ?, ?, ?)", "sssis",
		           c->id, files[i].name, part_sha256(p), part_size(p), files[i].media_type) < 0)
			return -1;
	}
	return 0;
}

int store_job_succeed(struct store *s, const struct store_claim *c, const struct store_usage *u, const struct store_artifact *files,
                      size_t nfiles, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, succeed(s, d, c, u, files, nfiles, e), e) : -1;
}

int store_job_fail(struct store *s, const struct store_claim *c, const struct store_usage *u, const char *code, const char *detail,
                   struct err *e)
{
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	int rc = end_attempt(d, c, JOB_FAIL, u, e);
	if (rc == 0)
		rc = db_run(d, e, "UPDATE jobs SET error_code = ?, error_detail = ? WHERE id = ?", "sss", code, detail, c->id);
	if (rc == 0)
		rc = store_log_add(d, c->id, STORE_ERROR, e, "%s: %s", code, detail);
	return store_end(s, rc, e);
}

int store_job_requeue(struct store *s, const struct store_claim *c, const struct store_usage *u, bool death, struct err *e)
{
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	int rc = end_attempt(d, c, JOB_REQUEUE, u, e);
	if (rc == 0 && death)
		rc = db_run(d, e, "UPDATE jobs SET deaths = deaths + 1 WHERE id = ?", "s", c->id);
	return store_end(s, rc, e);
}

int store_job_stopped(struct store *s, const struct store_claim *c, const struct store_usage *u, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, end_attempt(d, c, JOB_STOP, u, e), e) : -1;
}

/* One at a time: a query must not walk rows that are being moved. */
static int each_in_status(struct db *d, enum job_status status, enum job_event event, int *moved, struct err *e)
{
	for (;;) {
		char id[API_ID + 1];
		enum job_status to;
		struct db_rows *r = db_query(d, e, "SELECT id FROM jobs WHERE status = ? LIMIT 1", "s", job_status_name(status));
		int rc = r ? db_next(r, e) : -1;
		if (rc == 1)
			db_text_into(r, 0, id, sizeof id);
		db_done(r);
		if (rc != 1)
			return rc;
		if (store_move(d, id, STORE_ANY_ATTEMPT, event, &to, e) < 0)
			return -1;
		++*moved;
	}
}

int store_job_recover(struct store *s, int *requeued, struct err *e)
{
	int stopped = 0;
	struct db *d = store_begin(s, e);
	*requeued = 0;
	if (!d)
		return -1;
	int rc = each_in_status(d, JOB_RUNNING, JOB_REQUEUE, requeued, e);
	if (rc == 0)
		rc = each_in_status(d, JOB_CANCELING, JOB_STOP, &stopped, e);
	if (rc == 0)
		rc = each_in_status(d, JOB_PAUSING, JOB_STOP, &stopped, e);
	return store_end(s, rc, e);
}
