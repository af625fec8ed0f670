/* How a job comes into the store: new, with the results of an equal one, or seeded with another's layers. */

#include "server/base/clock.h"
#include "server/store/store.h"
#include "server/store/store_job.h"
#include "server/store/store_log.h"
#include "server/store/store_move.h"
#include "server/store/store_once.h"

#include <stdio.h>
#include <string.h>

static int check_room(struct db *d, const struct store_job_new *j, const struct store_limits *l, struct err *e)
{
	int64_t queued, own;
	if (db_get_int(d, e, &queued, NULL, "SELECT count(*) FROM jobs WHERE status = 'queued'", "") < 0 ||
	    db_get_int(d, e, &own, NULL, "SELECT count(*) FROM jobs WHERE status = 'queued' AND owner = ?", "s", j->owner) < 0)
		return -1;
	if (queued >= l->max_queued)
		return err_set(e, ERR_QUEUE_FULL, "%lld jobs are waiting already", (long long)queued);
	if (own >= l->max_queued_per_owner)
		return err_set(e, ERR_QUEUE_FULL, "%lld of your jobs are waiting already", (long long)own);
	return 0;
}

static int insert(struct db *d, const struct store_job_new *j, struct err *e)
{
	if (db_run(d, e,
	           "INSERT INTO jobs(id, name, labels, owner, visibility, priority, deadline_seconds, fingerprint, retry_of, "
	           "status, model_id, "
	           "model_sha256, calibration_id, calibration_sha256, samples, samples_used, params, created_at) "
	           "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'queued', ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17 "
	           "WHERE EXISTS (SELECT 1 FROM models WHERE id = ?10) AND EXISTS (SELECT 1 FROM calibrations WHERE id = ?12)",
	           "sssssiissssssiisi", j->id, j->name, j->labels, j->owner, j->visibility, j->priority, j->deadline_seconds,
	           j->fingerprint, j->retry_of, j->model_id, j->model_sha256, j->calibration_id, j->calibration_sha256, j->samples,
	           j->samples_used, j->params, clock_ms()) < 0)
		return -1;
	if (db_changes(d) == 0)
		return err_set(e, ERR_NOT_FOUND, "the model or the calibration was deleted meanwhile");
	return store_event_add(d, j->id, "status", "{\"status\": \"queued\"}", e) == 0
	               ? store_log_add(d, j->id, STORE_INFO, e, "queued")
	               : -1;
}

/* Only the owner's own jobs count: another's would tell that somebody else has the same files. */
static int find_equal(struct db *d, const char *fingerprint, const char *owner, char id[API_ID + 1], struct err *e)
{
	bool found;
	if (db_get_text(d, e, id, API_ID + 1, &found,
	                "SELECT id FROM jobs WHERE fingerprint = ? AND owner = ? AND status = 'succeeded' ORDER BY id LIMIT 1",
	                "ss", fingerprint, owner) < 0)
		return -1;
	if (!found)
		id[0] = '\0';
	return 0;
}

int store_job_equal(struct store *s, const char *fingerprint, const char *owner, char id[API_ID + 1], struct err *e)
{
	struct db *d = store_read(s, e);
	int rc = d ? find_equal(d, fingerprint, owner, id, e) : -1;
	store_read_end(s, d);
	return rc;
}

static int copy_layers(struct db *d, const char *from, const char *to, struct err *e)
{
	return db_run(
		d, e,
		"INSERT INTO job_layers(job_id, layer, attempt, node, op_type, weight, channels, fan_in, strategy, "
		"rechecked, seconds, loss, "
		"minmax_loss, chosen, grids, frame, settings, curve) SELECT ?2, layer, 0, node, op_type, weight, channels, fan_in, "
		"strategy, "
		"rechecked, seconds, loss, "
		"minmax_loss, chosen, grids, frame, settings, curve FROM job_layers WHERE job_id = ?1",
		"ss", from, to);
}

static int take_results(struct db *d, const char *from, const char *to, struct err *e)
{
	enum job_status status;
	return copy_layers(d, from, to, e) == 0 &&
	                       db_run(d, e,
	                              "INSERT INTO artifacts(job_id, name, sha256, size, media_type) SELECT ?2, name, sha256, "
	                              "size, media_type "
	                              "FROM artifacts WHERE job_id = ?1",
	                              "ss", from, to) == 0 &&
	                       db_run(d, e,
	                              "INSERT INTO job_warnings(job_id, seq, code, layer, detail) SELECT ?2, seq, code, layer, "
	                              "detail "
	                              "FROM job_warnings WHERE job_id = ?1",
	                              "ss", from, to) == 0 &&
	                       db_run(d, e,
	                              "UPDATE jobs SET reused_from = ?1, fraction = 1, (layers_done, layers_total) = "
	                              "(SELECT layers_done, layers_total FROM jobs WHERE id = ?1) WHERE id = ?2",
	                              "ss", from, to) == 0
	               ? store_move(d, to, STORE_ANY_ATTEMPT, JOB_REUSE, &status, e)
	               : -1;
}

/* A second try with equal settings begins with the layers that the first one finished. */
static int seed(struct db *d, const struct store_job_new *j, struct err *e)
{
	bool equal;
	int64_t one;
	if (db_get_int(d, e, &one, &equal, "SELECT 1 FROM jobs WHERE id = ? AND fingerprint = ?", "ss", j->retry_of,
	               j->fingerprint) < 0)
		return -1;
	return equal ? copy_layers(d, j->retry_of, j->id, e) : 0;
}

static int add(struct db *d, const struct store_job_new *j, const struct store_limits *l, struct err *e)
{
	char equal[API_ID + 1] = "";
	if (j->reuse && find_equal(d, j->fingerprint, j->owner, equal, e) < 0)
		return -1;
	if (!equal[0] && check_room(d, j, l, e) < 0)
		return -1;
	if (insert(d, j, e) < 0)
		return -1;
	if (equal[0])
		return take_results(d, equal, j->id, e);
	return j->retry_of ? seed(d, j, e) : 0;
}

int store_job_add(struct store *s, const struct store_job_new *j, const struct store_limits *l, struct api_once *once,
                  char id[API_ID + 1], struct err *e)
{
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	int rc = store_once_find(d, j->owner, once, id, e);
	if (rc == 0 && !id[0]) {
		(void)snprintf(id, API_ID + 1, "%s", j->id);
		rc = add(d, j, l, e) == 0 ? store_once_keep(d, j->owner, once, id, e) : -1;
	}
	return store_end(s, rc, e);
}
