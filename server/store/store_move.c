#include "server/store/store_move.h"

#include "server/base/clock.h"
#include "server/store/db.h"
#include "server/store/store_log.h"

#include <stdio.h>

static int status_and_attempt(struct db *d, const char *id, enum job_status *status, int64_t *attempt, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT status, attempt FROM jobs WHERE id = ?", "s", id);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no job %.40s", id);
	if (rc == 1) {
		*attempt = db_int(r, 1);
		rc = job_status_parse(db_text(r, 0), status);
		if (rc < 0)
			err_set(e, ERR_INTERNAL, "job %.40s is %s", id, db_text(r, 0));
	}
	db_done(r);
	return rc;
}

int store_status(struct db *d, const char *id, enum job_status *status, struct err *e)
{
	int64_t attempt;
	return status_and_attempt(d, id, status, &attempt, e);
}

int store_event_add(struct db *d, const char *id, const char *event, const char *data, struct err *e)
{
	return db_run(d, e,
	              "INSERT INTO events(job_id, seq, at, event, data) "
	              "SELECT ?1, coalesce(max(seq), 0) + 1, ?2, ?3, ?4 FROM events WHERE job_id = ?1",
	              "siss", id, clock_ms(), event, data);
}

/* What a new attempt starts with: nothing of the last one's progress, all of its finished layers. */
static int begin_attempt(struct db *d, const char *id, struct err *e)
{
	return db_run(d, e,
	              "UPDATE jobs SET attempt = attempt + 1, started_at = coalesce(started_at, ?), heartbeat_at = ?1, phase = "
	              "'load', "
	              "current = NULL, layers_done = 0, layers_total = 0, fraction = 0 WHERE id = ?",
	              "is", clock_ms(), id) == 0 &&
	                       db_run(d, e, "DELETE FROM job_warnings WHERE job_id = ?", "s", id) == 0
	               ? 0
	               : -1;
}

static int write_status(struct db *d, const char *id, enum job_status to, struct err *e)
{
	char data[64];
	(void)snprintf(data, sizeof data, "{\"status\": \"%s\"}", job_status_name(to));
	if (job_status_is_final(to) &&
	    db_run(d, e, "UPDATE jobs SET finished_at = ?, current = NULL, phase = NULL, lease_until = NULL WHERE id = ?", "is",
	           clock_ms(), id) < 0)
		return -1;
	if ((to == JOB_QUEUED || to == JOB_PAUSED) &&
	    db_run(d, e, "UPDATE jobs SET phase = NULL, current = NULL, lease_until = NULL WHERE id = ?", "s", id) < 0)
		return -1;
	if (db_run(d, e, "UPDATE jobs SET status = ? WHERE id = ?", "ss", job_status_name(to), id) < 0)
		return -1;
	return store_event_add(d, id, "status", data, e) == 0 ? store_log_add(d, id, STORE_INFO, e, "%s", job_status_name(to)) : -1;
}

int store_move(struct db *d, const char *id, int64_t attempt, enum job_event event, enum job_status *to, struct err *e)
{
	enum job_status from = JOB_QUEUED;
	int64_t now = 0;
	if (status_and_attempt(d, id, &from, &now, e) < 0)
		return -1;
	if (attempt != STORE_ANY_ATTEMPT && attempt != now)
		return err_set(e, ERR_BAD_STATE, "attempt %lld of the job is over", (long long)attempt);
	if (job_next(from, event, to, e) < 0)
		return -1;
	if (event == JOB_CLAIM && begin_attempt(d, id, e) < 0)
		return -1;
	return write_status(d, id, *to, e);
}
