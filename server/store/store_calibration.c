#include "server/store/store_calibration.h"

#include "api/download.h"
#include "server/store/store.h"
#include "server/store/store_once.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS "id, name, sha256, size, arrays, coalesce(samples, -1), created_at, labels, owner, visibility"

static int find(struct db *d, const char *owner, const char *sha256, char id[API_ID + 1], bool *found, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT id FROM calibrations WHERE owner = ? AND sha256 = ?", "ss", owner, sha256);
	int rc = r ? db_next(r, e) : -1;
	*found = rc == 1;
	if (*found)
		db_text_into(r, 0, id, API_ID + 1);
	db_done(r);
	return rc < 0 ? -1 : 0;
}

int store_calibration_find(struct store *s, const char *owner, const char *sha256, char id[API_ID + 1], bool *found, struct err *e)
{
	struct db *d = store_read(s, e);
	int rc = d ? find(d, owner, sha256, id, found, e) : -1;
	store_read_end(s, d);
	return rc;
}

int store_calibration_again(struct store *s, const char *owner, const char *sha256, struct api_once *once, char id[API_ID + 1],
                            struct err *e)
{
	return store_once_equal(s, owner, sha256, find, once, id, e);
}

static int insert(struct db *d, const struct api_calibration *c, struct err *e)
{
	return db_run(d, e,
	              "INSERT INTO calibrations(id, name, sha256, size, arrays, samples, created_at, owner, visibility, labels) "
	              "VALUES (?, ?, ?, ?, ?, nullif(?, -1), ?, ?, ?, ?)",
	              "sssisiisss", c->id, c->name, c->sha256, c->size, c->arrays, c->samples, c->created_at, c->owner,
	              c->visibility, c->labels);
}

int store_calibration_add(struct store *s, struct part *part, const struct api_calibration *c, struct api_once *once,
                          char id[API_ID + 1], bool *existing, struct err *e)
{
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	int rc = store_once_find_equal(d, c->owner, c->sha256, find, once, id, existing, e);
	if (rc == 0 && !*existing) {
		memcpy(id, c->id, sizeof c->id);
		rc = store_keep(s, part, e) == 0 && insert(d, c, e) == 0 ? store_once_keep(d, c->owner, once, id, e) : -1;
	}
	return store_end(s, rc, e);
}

static int read_row(struct db_rows *r, struct api_calibration *c, struct err *e)
{
	db_text_into(r, 0, c->id, sizeof c->id);
	db_text_into(r, 2, c->sha256, sizeof c->sha256);
	c->size = db_int(r, 3);
	c->samples = db_int(r, 5);
	c->created_at = db_int(r, 6);
	db_text_into(r, 9, c->visibility, sizeof c->visibility);
	return db_text_dup(r, 7, &c->labels, e) == 0 && db_text_dup(r, 8, &c->owner, e) == 0 &&
	                       db_text_dup(r, 1, &c->name, e) == 0 && db_text_dup(r, 4, &c->arrays, e) == 0
	               ? 0
	               : -1;
}

static int get(struct db *d, const struct api_caller *who, const char *id, struct api_calibration *out, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT " COLUMNS " FROM calibrations WHERE id = ?1 AND " STORE_SEES, "sis", id,
	                             store_sees_all(who), store_owner(who));
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_row(r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no calibration %.40s", id);
	db_done(r);
	return rc;
}

int store_calibration_get(struct store *s, const struct api_caller *who, const char *id, struct api_calibration *out, struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? get(d, who, id, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_calibration_fini(out);
	return rc;
}

static int list(struct db *d, const struct api_caller *who, const struct api_page *page, struct api_calibration **out, size_t *n,
                struct err *e)
{
	struct db_rows *r = db_query(d, e,
	                             "SELECT " COLUMNS " FROM calibrations WHERE (?1 = '' OR id < ?1) AND " STORE_SEES
	                             " ORDER BY id DESC LIMIT ?4",
	                             "sisi", page->after, store_sees_all(who), store_owner(who), page->limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_calibration *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of calibrations");
			break;
		}
		*out = more;
		memset(&more[*n], 0, sizeof *more);
		if (read_row(r, &more[(*n)++], e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc;
}

int store_calibration_list(struct store *s, const struct api_caller *who, const struct api_page *page, struct api_calibration **out,
                           size_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d ? list(d, who, page, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_calibrations_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

static int let_go(struct store *s, struct db *d, const char *id, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT sha256 FROM calibrations WHERE id = ?", "s", id);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		store_let_go(s, db_text(r, 0));
	db_done(r);
	if (rc == 0)
		return err_set(e, ERR_NOT_FOUND, "there is no calibration %.40s", id);
	return rc < 0 ? -1 : 0;
}

static int drop(struct store *s, struct db *d, const struct api_caller *who, const char *id, struct err *e)
{
	int64_t live;
	if (store_check(d, who, "calibrations", "calibration", id, true, e) < 0 ||
	    db_get_int(d, e, &live, NULL,
	               "SELECT count(*) FROM jobs WHERE (calibration_id = ? OR json_extract(params, '$.evaluate.calibration') = ?) "
	               "AND status NOT IN ('succeeded', 'failed', 'canceled')",
	               "ss", id, id) < 0)
		return -1;
	if (live > 0)
		return err_set(e, ERR_IN_USE, "%lld jobs that are not finished need this calibration", (long long)live);
	if (let_go(s, d, id, e) < 0 || db_run(d, e, "DELETE FROM calibrations WHERE id = ?", "s", id) < 0)
		return -1;
	return db_run(d, e, "DELETE FROM fits WHERE calibration_sha256 NOT IN (SELECT sha256 FROM calibrations)", "");
}

int store_calibration_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, drop(s, d, who, id, e), e) : -1;
}

int store_fit_find(struct store *s, struct store_fit *f, bool *found, struct err *e)
{
	struct db *d = store_read(s, e);
	struct db_rows *r = !d ? NULL
	                       : db_query(d, e,
	                                  "SELECT samples, samples_used FROM fits WHERE model_sha256 = ? AND "
	                                  "calibration_sha256 = ? AND batch_size = ? AND num_batches = ?",
	                                  "ssii", f->model_sha256, f->calibration_sha256, f->batch_size, f->num_batches);
	int rc = r ? db_next(r, e) : -1;
	*found = rc == 1;
	if (*found) {
		f->samples = db_int(r, 0);
		f->samples_used = db_int(r, 1);
	}
	db_done(r);
	store_read_end(s, d);
	return rc < 0 ? -1 : 0;
}

int store_fit_put(struct store *s, const struct store_fit *f, struct err *e)
{
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	return store_end(s,
	                 db_run(d, e, "INSERT OR REPLACE INTO fits VALUES (?, ?, ?, ?, ?, ?)", "ssiiii", f->model_sha256,
	                        f->calibration_sha256, f->batch_size, f->num_batches, f->samples, f->samples_used),
	                 e);
}

/* Whether it is as the client wants it to be. */
static int check_tags(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	struct api_calibration x;
	memset(&x, 0, sizeof x);
	int rc = get(d, who, id, &x, e);
	if (rc == 0)
		rc = download_check(c, &x, e);
	api_calibration_fini(&x);
	return rc;
}

static int change(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	if (store_check(d, who, "calibrations", "calibration", id, true, e) < 0 || (c->must && check_tags(d, who, id, c, e) < 0))
		return -1;
	return store_change(d, "calibrations", id, c, e);
}

int store_calibration_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c,
                             struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, change(d, who, id, c, e), e) : -1;
}
