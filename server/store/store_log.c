#include "server/store/store_log.h"

#include "server/base/clock.h"
#include "server/store/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINES = 10000, MAX_TEXT = 1200 };

int store_log_add(struct db *d, const char *job, const char *level, struct err *e, const char *fmt, ...)
{
	char text[MAX_TEXT];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return db_run(d, e,
	              "INSERT INTO logs(job_id, seq, at, attempt, level, text) "
	              "SELECT ?1, seq, ?2, attempt, ?3, ?4 FROM jobs, "
	              "(SELECT coalesce(max(seq), 0) + 1 AS seq FROM logs WHERE job_id = ?1) WHERE id = ?1 AND seq <= ?5",
	              "sissi", job, clock_ms(), level, text, (int64_t)MAX_LINES);
}

static int read_line(struct db_rows *r, struct api_log *l, struct err *e)
{
	memset(l, 0, sizeof *l);
	l->seq = db_int(r, 0);
	l->at = db_int(r, 1);
	l->attempt = db_int(r, 2);
	db_text_into(r, 3, l->level, sizeof l->level);
	return db_text_dup(r, 4, &l->text, e);
}

static int lines(struct db *d, const char *job, int64_t after, int64_t limit, struct api_log **out, size_t *n, struct err *e)
{
	struct db_rows *r =
		db_query(d, e, "SELECT seq, at, attempt, level, text FROM logs WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?",
	                 "sii", job, after, limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_log *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a log");
			break;
		}
		*out = more;
		if (read_line(r, &more[(*n)++], e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc;
}

int store_log_list(struct store *s, const struct api_caller *who, const char *job, int64_t after, int64_t limit,
                   struct api_log **out, size_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d && store_check(d, who, "jobs", "job", job, false, e) == 0 ? lines(d, job, after, limit, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_logs_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}
