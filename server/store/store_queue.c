#include "server/store/store_queue.h"

#include "server/store/db.h"
#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>

/* One with waiting jobs. */
struct owner {
	int64_t served, waiting;
};

/* All of them, by name. */
struct owners {
	struct owner *at;
	size_t n;
	size_t mine; /* the one that was asked for */
};

/* Where a job stands. */
struct stand {
	size_t owner; /* in owners */
	int64_t turn;
};

/* mine: a name of one of them, or NULL. */
static int read_owners(struct db *d, const char *mine, struct owners *o, struct err *e)
{
	struct db_rows *r =
		db_query(d, e,
	                 "SELECT count(*), coalesce((SELECT served FROM turns WHERE turns.owner = jobs.owner), 0), owner = ? "
	                 "FROM jobs WHERE status = 'queued' GROUP BY owner ORDER BY owner",
	                 "s", mine);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct owner *more = realloc(o->at, (o->n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "the queue");
			break;
		}
		o->at = more;
		if (db_int(r, 2))
			o->mine = o->n;
		more[o->n++] = (struct owner){.waiting = db_int(r, 0), .served = db_int(r, 1)};
	}
	db_done(r);
	return rc;
}

/* Whether the owner a comes before b in every turn. */
static bool is_before(const struct owners *o, size_t a, size_t b)
{
	return o->at[a].served != o->at[b].served ? o->at[a].served < o->at[b].served : a < b;
}

static int64_t place_of(const struct owners *o, const struct stand *s)
{
	int64_t before = 0;
	for (size_t i = 0; i < o->n; i++) {
		int64_t waiting = o->at[i].waiting;
		before += waiting < s->turn ? waiting : s->turn - 1 + is_before(o, i, s->owner);
	}
	return before + 1;
}

int store_queue_place(struct db *d, struct api_job *job, struct err *e)
{
	struct owners o = {NULL, 0, 0};
	struct stand s;
	job->queue_position = 0;
	if (strcmp(job->status, "queued") != 0)
		return 0;
	int rc = read_owners(d, job->owner, &o, e);
	if (rc == 0)
		rc = db_get_int(d, e, &s.turn, NULL,
		                "SELECT (SELECT count(*) FROM jobs WHERE status = 'queued' AND owner = ?1 AND priority > ?2) + "
		                "(SELECT count(*) FROM jobs WHERE status = 'queued' AND owner = ?1 AND priority = ?2 AND id <= ?3)",
		                "sis", job->owner, job->priority, job->id);
	s.owner = o.mine;
	if (rc == 0)
		job->queue_position = place_of(&o, &s);
	free(o.at);
	return rc;
}

/* Takes the rows of a query over the waiting jobs, which come by owner and turn, one by one: 1 and where it stands, 0 at the end. */
static int next_job(struct db_rows *r, const struct owners *o, struct stand *s, struct err *e)
{
	int rc = db_next(r, e);
	if (rc != 1)
		return rc;
	if (s->owner < o->n && s->turn == o->at[s->owner].waiting) {
		s->owner++;
		s->turn = 0;
	}
	s->turn++;
	return s->owner < o->n ? 1 : err_set(e, ERR_INTERNAL, "the queue changed while it was counted");
}

static int by_id(const void *a, const void *b)
{
	const struct api_job *const *x = a, *const *y = b;
	return strcmp((*x)->id, (*y)->id);
}

static int id_against(const void *id, const void *job)
{
	const struct api_job *const *x = job;
	return strcmp(id, (*x)->id);
}

/* The pass for those that wait, n of them by id; it ends at the last one. */
static int find_places(struct db *d, const struct owners *o, struct api_job **waiting, size_t n, struct err *e)
{
	struct stand s = {0, 0};
	struct db_rows *r = db_query(d, e, "SELECT id FROM jobs WHERE status = 'queued' ORDER BY owner, priority DESC, id", "");
	int rc = r ? 1 : -1;
	for (size_t left = n; left > 0 && rc == 1 && (rc = next_job(r, o, &s, e)) == 1;) {
		const char *id = db_text(r, 0);
		struct api_job **found = id ? bsearch(id, waiting, n, sizeof(struct api_job *), id_against) : NULL;
		if (!found)
			continue;
		(*found)->queue_position = place_of(o, &s);
		left--;
	}
	db_done(r);
	return rc < 0 ? -1 : 0;
}

int store_queue_places(struct db *d, struct api_job *jobs, size_t n, struct err *e)
{
	struct owners o = {NULL, 0, 0};
	size_t nwaiting = 0;
	struct api_job **waiting = calloc(n + 1, sizeof(struct api_job *));
	if (!waiting)
		return err_nomem(e, "the queue");
	for (size_t i = 0; i < n; i++) {
		jobs[i].queue_position = 0;
		if (strcmp(jobs[i].status, "queued") == 0)
			waiting[nwaiting++] = &jobs[i];
	}
	qsort(waiting, nwaiting, sizeof(struct api_job *), by_id);
	int rc = nwaiting == 0 ? 0 : read_owners(d, NULL, &o, e);
	if (rc == 0)
		rc = find_places(d, &o, waiting, nwaiting, e);
	free(o.at);
	free(waiting);
	return rc;
}

static bool comes_before(const struct owners *o, const struct stand *a, const struct stand *b)
{
	return a->turn != b->turn ? a->turn < b->turn : is_before(o, a->owner, b->owner);
}

/* The first of those that the pass has come by so far, in the queue's order: at most max. */
struct head {
	struct stand *stands;
	struct api_queue_entry *jobs;
	size_t n, max;
};

/* Puts the job where it belongs, and drops what is then too many. */
static void put(struct head *h, const struct owners *o, const struct stand *s, struct db_rows *r)
{
	size_t i = h->n;
	while (i > 0 && comes_before(o, s, &h->stands[i - 1]))
		i--;
	if (i == h->max)
		return;
	size_t behind = (h->n < h->max ? h->n : h->max - 1) - i;
	memmove(&h->stands[i + 1], &h->stands[i], behind * sizeof *h->stands);
	memmove(&h->jobs[i + 1], &h->jobs[i], behind * sizeof *h->jobs);
	h->n = i + behind + 1;
	h->stands[i] = *s;
	h->jobs[i] = (struct api_queue_entry){.status = "queued", .created_at = db_int(r, 1)};
	db_text_into(r, 0, h->jobs[i].id, sizeof h->jobs[i].id);
}

/* What others keep private has its turn, and is not shown. */
static int find_first(struct db *d, const struct api_caller *who, const struct owners *o, struct head *h, struct err *e)
{
	struct stand s = {0, 0};
	struct db_rows *r = db_query(
		d, e, "SELECT id, created_at, " STORE_SEES " FROM jobs WHERE status = ?1 ORDER BY owner, priority DESC, id", "sis",
		"queued", store_sees_all(who), store_owner(who));
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = next_job(r, o, &s, e)) == 1)
		if (db_int(r, 2))
			put(h, o, &s, r);
	db_done(r);
	return rc;
}

int store_queue_first(struct db *d, const struct api_caller *who, size_t max, struct api_queue *out, struct err *e)
{
	struct owners o = {NULL, 0, 0};
	struct head h = {calloc(max + 1, sizeof *h.stands), out->jobs + out->njobs, 0, max};
	int rc = h.stands ? read_owners(d, NULL, &o, e) : err_nomem(e, "the queue");
	if (rc == 0)
		rc = find_first(d, who, &o, &h, e);
	for (size_t i = 0; i < o.n; i++)
		out->queued += o.at[i].waiting;
	for (size_t i = 0; rc == 0 && i < h.n; i++)
		h.jobs[i].position = place_of(&o, &h.stands[i]);
	out->njobs += rc == 0 ? h.n : 0;
	free(h.stands);
	free(o.at);
	return rc;
}

/* The owner whose turn it is. The steps from owner to owner go along the index, however many jobs are waiting. */
static int next_owner(struct db *d, char owner[64], bool *found, struct err *e)
{
	return db_get_text(d, e, owner, 64, found,
	                   "WITH RECURSIVE o(owner) AS (SELECT min(owner) FROM jobs WHERE status = 'queued' UNION ALL "
	                   "SELECT (SELECT min(owner) FROM jobs WHERE status = 'queued' AND owner > o.owner) FROM o WHERE "
	                   "o.owner IS NOT NULL) "
	                   "SELECT o.owner FROM o LEFT JOIN turns t ON t.owner = o.owner WHERE o.owner IS NOT NULL "
	                   "ORDER BY coalesce(t.served, 0), o.owner LIMIT 1",
	                   "");
}

int store_queue_serve(struct db *d, char id[API_ID + 1], bool *found, struct err *e)
{
	char owner[64];
	if (next_owner(d, owner, found, e) < 0)
		return -1;
	if (!*found)
		return 0;
	if (db_get_text(d, e, id, API_ID + 1, found,
	                "SELECT id FROM jobs WHERE status = 'queued' AND owner = ? ORDER BY priority DESC, id LIMIT 1", "s",
	                owner) < 0)
		return -1;
	return db_run(d, e,
	              "INSERT INTO turns(owner, served) SELECT ?, coalesce(max(served), 0) + 1 FROM turns WHERE true "
	              "ON CONFLICT(owner) DO UPDATE SET served = excluded.served",
	              "s", owner);
}
