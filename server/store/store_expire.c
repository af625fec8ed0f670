#include "server/store/store_expire.h"

#include "server/base/clock.h"
#include "server/store/store.h"
#include "server/store/store_job.h"
#include "server/store/store_object.h"

#define DAY_MS ((int64_t)86400000)

typedef int forget_fn(struct store *s, const struct api_caller *who, const char *id, struct err *e);

/* The first id after that one which the query finds; 1, 0 or -1. */
static int next_id(struct store *s, const char *sql, int64_t before, char id[API_ID + 1], struct err *e)
{
	struct db *d = store_read(s, e);
	struct db_rows *r = d ? db_query(d, e, sql, "is", before, id) : NULL;
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		db_text_into(r, 0, id, API_ID + 1);
	db_done(r);
	store_read_end(s, d);
	return rc;
}

static int forget_all(struct store *s, const char *sql, int64_t days, forget_fn *forget, int64_t *n, struct err *e)
{
	char id[API_ID + 1] = "";
	int rc = days > 0;
	while (rc == 1 && (rc = next_id(s, sql, clock_ms() - days * DAY_MS, id, e)) == 1) {
		if (forget(s, NULL, id, e) == 0)
			++*n;
		else if (e->code != ERR_IN_USE && e->code != ERR_NOT_FOUND &&
		         e->code != ERR_BAD_STATE) /* somebody needs it, or was faster */
			rc = -1;
	}
	return rc;
}

static int forget_model(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	return store_object_delete(s, who, API_MODEL, id, e);
}

static int forget_calibration(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	return store_object_delete(s, who, API_CALIBRATION, id, e);
}

static int forget_encodings(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	return store_object_delete(s, who, API_ENCODINGS, id, e);
}

int store_expire(struct store *s, int64_t job_days, int64_t upload_days, struct store_expired *out, struct err *e)
{
	*out = (struct store_expired){0, 0, 0, 0};
	if (forget_all(s, "SELECT id FROM jobs WHERE finished_at < ? AND id > ? ORDER BY id LIMIT 1", job_days, store_job_delete,
	               &out->jobs, e) < 0)
		return -1;
	if (forget_all(s,
	               "SELECT id FROM models m WHERE created_at < ? AND id > ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE model_id "
	               "= m.id) "
	               "ORDER BY id LIMIT 1",
	               upload_days, forget_model, &out->models, e) < 0)
		return -1;
	if (forget_all(s,
	               "SELECT id FROM calibrations c WHERE created_at < ? AND id > ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE "
	               "calibration_id = c.id) ORDER BY id LIMIT 1",
	               upload_days, forget_calibration, &out->calibrations, e) < 0)
		return -1;
	return forget_all(s,
	                  "SELECT id FROM encodings x WHERE created_at < ? AND id > ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE "
	                  "json_extract(params, '$.load_encodings') = x.id) ORDER BY id LIMIT 1",
	                  upload_days, forget_encodings, &out->encodings, e);
}
