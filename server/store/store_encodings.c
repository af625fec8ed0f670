#include "server/store/store_encodings.h"

#include "api/download.h"
#include "server/store/store.h"
#include "server/store/store_once.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS "id, name, sha256, size, parameters, activations, created_at, labels, owner, visibility"

static int find(struct db *d, const char *owner, const char *sha256, char id[API_ID + 1], bool *found, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT id FROM encodings WHERE owner = ? AND sha256 = ?", "ss", owner, sha256);
	int rc = r ? db_next(r, e) : -1;
	*found = rc == 1;
	if (*found)
		db_text_into(r, 0, id, API_ID + 1);
	db_done(r);
	return rc < 0 ? -1 : 0;
}

static int insert(struct db *d, const struct api_encodings *x, struct err *e)
{
	return db_run(
		d, e,
		"INSERT INTO encodings(id, name, sha256, size, parameters, activations, created_at, owner, visibility, labels) "
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		"sssiiiisss", x->id, x->name, x->sha256, x->size, x->parameters, x->activations, x->created_at, x->owner,
		x->visibility, x->labels);
}

static int read_row(struct db_rows *r, struct api_encodings *x, struct err *e)
{
	db_text_into(r, 0, x->id, sizeof x->id);
	db_text_into(r, 2, x->sha256, sizeof x->sha256);
	x->size = db_int(r, 3);
	x->parameters = db_int(r, 4);
	x->activations = db_int(r, 5);
	x->created_at = db_int(r, 6);
	db_text_into(r, 9, x->visibility, sizeof x->visibility);
	return db_text_dup(r, 7, &x->labels, e) == 0 && db_text_dup(r, 8, &x->owner, e) == 0 && db_text_dup(r, 1, &x->name, e) == 0
	               ? 0
	               : -1;
}

static int get(struct db *d, const struct api_caller *who, const char *id, struct api_encodings *out, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT " COLUMNS " FROM encodings WHERE id = ?1 AND " STORE_SEES, "sis", id,
	                             store_sees_all(who), store_owner(who));
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_row(r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no encodings file %.40s", id);
	db_done(r);
	return rc;
}

static int add(struct store *s, struct db *d, struct part *part, const struct api_encodings *x, struct api_once *once,
               char id[API_ID + 1], bool *existing, struct err *e)
{
	if (store_once_find_equal(d, x->owner, x->sha256, find, once, id, existing, e) < 0)
		return -1;
	if (*existing)
		return 0;
	memcpy(id, x->id, sizeof x->id);
	return store_keep(s, part, e) == 0 && insert(d, x, e) == 0 ? store_once_keep(d, x->owner, once, id, e) : -1;
}

int store_encodings_add(struct store *s, struct part *part, const struct api_encodings *x, struct api_once *once,
                        struct api_encodings *out, bool *existing, struct err *e)
{
	char id[API_ID + 1];
	struct db *d = store_begin(s, e);
	memset(out, 0, sizeof *out);
	if (!d)
		return -1;
	int rc = store_end(s, add(s, d, part, x, once, id, existing, e) == 0 ? get(d, NULL, id, out, e) : -1, e);
	if (rc < 0)
		api_encodings_fini(out);
	return rc;
}

int store_encodings_get(struct store *s, const struct api_caller *who, const char *id, struct api_encodings *out, struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? get(d, who, id, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_encodings_fini(out);
	return rc;
}

static int list(struct db *d, const struct api_caller *who, const struct api_page *page, struct api_encodings **out, size_t *n,
                struct err *e)
{
	struct db_rows *r = db_query(
		d, e, "SELECT " COLUMNS " FROM encodings WHERE (?1 = '' OR id < ?1) AND " STORE_SEES " ORDER BY id DESC LIMIT ?4",
		"sisi", page->after, store_sees_all(who), store_owner(who), page->limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_encodings *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of encodings");
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

int store_encodings_list(struct store *s, const struct api_caller *who, const struct api_page *page, struct api_encodings **out,
                         size_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d ? list(d, who, page, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_encodings_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

static int let_go(struct store *s, struct db *d, const char *id, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT sha256 FROM encodings WHERE id = ?", "s", id);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		store_let_go(s, db_text(r, 0));
	db_done(r);
	if (rc == 0)
		return err_set(e, ERR_NOT_FOUND, "there is no encodings file %.40s", id);
	return rc < 0 ? -1 : 0;
}

static int drop(struct store *s, struct db *d, const struct api_caller *who, const char *id, struct err *e)
{
	if (store_check(d, who, "encodings", "encodings file", id, true, e) < 0 || store_check_loaded(d, id, e) < 0 ||
	    let_go(s, d, id, e) < 0)
		return -1;
	return db_run(d, e, "DELETE FROM encodings WHERE id = ?", "s", id);
}

int store_encodings_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, drop(s, d, who, id, e), e) : -1;
}

/* Whether it is as the client wants it to be. */
static int check_tags(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	struct api_encodings x;
	memset(&x, 0, sizeof x);
	int rc = get(d, who, id, &x, e);
	if (rc == 0)
		rc = download_check(c, &x, e);
	api_encodings_fini(&x);
	return rc;
}

static int change(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	if (store_check(d, who, "encodings", "encodings file", id, true, e) < 0 || (c->must && check_tags(d, who, id, c, e) < 0))
		return -1;
	return store_change(d, "encodings", id, c, e);
}

int store_encodings_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, change(d, who, id, c, e), e) : -1;
}
