#include "server/store/store_once.h"

#include "server/base/clock.h"
#include "server/store/store.h"

#include <string.h>

enum { ONCE_MS = 24 * 3600 * 1000 };

static int look_up(struct db *d, const char *owner, struct api_once *o, char id[API_ID + 1], struct err *e)
{
	struct db_rows *r =
		db_query(d, e, "SELECT fingerprint, object_id, existing FROM once WHERE owner = ? AND key = ? AND at > ?", "ssi",
	                 owner, o->key, clock_ms() - ONCE_MS);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1) {
		o->replayed = true;
		o->existing = db_int(r, 2) != 0;
		db_text_into(r, 1, id, API_ID + 1);
		if (strcmp(db_text(r, 0), o->fingerprint) != 0)
			rc = err_set(e, ERR_REUSE, "this Idempotency-Key came with another request before");
	}
	db_done(r);
	return rc < 0 ? -1 : 0;
}

/* Ids say by their prefix what they name. */
static int check_there(struct db *d, const char *id, struct err *e)
{
	bool found;
	int64_t one;
	if (db_get_int(d, e, &one, &found,
	               "SELECT 1 FROM jobs WHERE id = ?1 UNION ALL SELECT 1 FROM models WHERE id = ?1 UNION ALL "
	               "SELECT 1 FROM calibrations WHERE id = ?1 UNION ALL SELECT 1 FROM encodings WHERE id = ?1 UNION ALL "
	               "SELECT 1 FROM uploads WHERE id = ?1",
	               "s", id) < 0)
		return -1;
	return found ? 0 : err_set(e, ERR_GONE, "the request was carried out before, and what it made, %.40s, was deleted", id);
}

int store_once_find(struct db *d, const char *owner, struct api_once *o, char id[API_ID + 1], struct err *e)
{
	id[0] = '\0';
	if (!o || !o->key)
		return 0;
	if (look_up(d, owner, o, id, e) < 0)
		return -1;
	return id[0] ? check_there(d, id, e) : 0;
}

int store_once_made(struct store *s, const char *owner, struct api_once *o, char id[API_ID + 1], struct err *e)
{
	id[0] = '\0';
	if (!o || !o->key)
		return 0;
	struct db *d = store_read(s, e);
	int rc = d ? store_once_find(d, owner, o, id, e) : -1;
	store_read_end(s, d);
	return rc;
}

int store_once_keep(struct db *d, const char *owner, const struct api_once *o, const char *id, struct err *e)
{
	int64_t now = clock_ms();
	if (!o || !o->key)
		return 0;
	return db_run(d, e, "DELETE FROM once WHERE at <= ?", "i", now - ONCE_MS) == 0 &&
	                       db_run(d, e,
	                              "INSERT INTO once(owner, key, fingerprint, object_id, existing, at) VALUES (?, ?, ?, ?, ?, "
	                              "?)",
	                              "ssssii", owner, o->key, o->fingerprint, id, (int64_t)o->existing, now) == 0
	               ? 0
	               : -1;
}

int store_once_drop(struct db *d, const char *id, struct err *e)
{
	return db_run(d, e, "DELETE FROM once WHERE object_id = ?", "s", id);
}
