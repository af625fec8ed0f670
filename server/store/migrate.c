#include "server/store/migrate.h"

#include "server/base/clock.h"
#include "server/store/db.h"

static int apply(struct db *d, const struct migration *m, struct err *e)
{
	if (db_begin(d, e) < 0)
		return -1;
	if (db_script(d, m->sql, e) < 0 || db_run(d, e, "INSERT INTO schema_migrations(number, name, applied_at) VALUES (?, ?, ?)",
	                                          "isi", (int64_t)m->number, m->name, clock_ms()) < 0) {
		db_rollback(d);
		return err_wrap(e, "migration %d %s", m->number, m->name);
	}
	return db_commit(d, e);
}

int migrate(struct db *d, struct err *e)
{
	int64_t at = 0;
	if (db_script(d,
	              "CREATE TABLE IF NOT EXISTS schema_migrations("
	              "number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT",
	              e) < 0 ||
	    db_get_int(d, e, &at, NULL, "SELECT coalesce(max(number), 0) FROM schema_migrations", "") < 0)
		return -1;
	if (migrations_len && at > migrations[migrations_len - 1].number)
		return err_set(e, ERR_BAD_STATE,
		               "the database has schema %lld, this program knows %d: it was used by a newer version", (long long)at,
		               migrations[migrations_len - 1].number);
	for (size_t i = 0; i < migrations_len; i++) {
		bool there;
		if (db_get_int(d, e, &at, &there, "SELECT 1 FROM schema_migrations WHERE number = ?", "i",
		               (int64_t)migrations[i].number) < 0)
			return -1;
		if (there)
			continue;
		if (apply(d, &migrations[i], e) < 0)
			return -1;
	}
	return 0;
}
