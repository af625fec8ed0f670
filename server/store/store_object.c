#include "server/store/store_object.h"

#include "api/download.h"
#include "server/store/store.h"
#include "server/store/store_kind.h"
#include "server/store/store_once.h"

#include <stdlib.h>
#include <string.h>

static int find(struct db *d, enum api_kind kind, const char *owner, const char *sha256, char id[API_ID + 1], bool *found,
                struct err *e)
{
	return db_get_text(d, e, id, API_ID + 1, found, store_kinds[kind].find, "ss", owner, sha256);
}

int store_object_find(struct store *s, enum api_kind kind, const char *owner, const char *sha256, char id[API_ID + 1], bool *found,
                      struct err *e)
{
	struct db *d = store_read(s, e);
	int rc = d ? find(d, kind, owner, sha256, id, found, e) : -1;
	store_read_end(s, d);
	return rc;
}

/* The key's object, or else the equal one, and for that the key is kept, too. */
static int find_or_made(struct db *d, enum api_kind kind, const char *owner, const char *sha256, struct api_once *once,
                        char id[API_ID + 1], bool *found, struct err *e)
{
	if (store_once_find(d, owner, once, id, e) < 0)
		return -1;
	*found = id[0] != '\0';
	if (*found)
		return 0;
	if (find(d, kind, owner, sha256, id, found, e) < 0)
		return -1;
	if (!*found || !once)
		return 0;
	once->existing = true;
	return store_once_keep(d, owner, once, id, e);
}

int store_object_again(struct store *s, enum api_kind kind, const char *owner, const char *sha256, struct api_once *once,
                       char id[API_ID + 1], struct err *e)
{
	bool found;
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	int rc = find_or_made(d, kind, owner, sha256, once, id, &found, e);
	if (rc == 0 && !found)
		rc = err_set(e, ERR_NOT_FOUND, "the equal file was deleted meanwhile");
	return store_end(s, rc, e);
}

static int get(struct db *d, const struct api_caller *who, enum api_kind kind, const char *id, struct api_object *out,
               struct err *e)
{
	const struct store_kind *k = &store_kinds[kind];
	struct db_rows *r = db_query(d, e, k->get, "sis", id, store_sees_all(who), store_owner(who));
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = store_kind_read(d, kind, r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no %s %.40s", k->name, id);
	db_done(r);
	return rc;
}

int store_object_get(struct store *s, const struct api_caller *who, enum api_kind kind, const char *id, struct api_object *out,
                     struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? get(d, who, kind, id, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_object_fini(out);
	return rc;
}

static int add(struct store *s, struct db *d, struct part *part, const struct api_object *x, struct api_once *once,
               char id[API_ID + 1], bool *existing, struct err *e)
{
	if (find_or_made(d, x->kind, x->owner, x->sha256, once, id, existing, e) < 0)
		return -1;
	if (*existing)
		return 0;
	memcpy(id, x->id, sizeof x->id);
	return store_keep(s, part, e) == 0 && store_kinds[x->kind].insert(d, x, e) == 0 ? store_once_keep(d, x->owner, once, id, e)
	                                                                                : -1;
}

int store_object_add(struct store *s, struct part *part, const struct api_object *x, struct api_once *once, struct api_object *out,
                     bool *existing, struct err *e)
{
	char id[API_ID + 1];
	struct db *d = store_begin(s, e);
	memset(out, 0, sizeof *out);
	if (!d)
		return -1;
	int rc = add(s, d, part, x, once, id, existing, e) == 0 ? get(d, NULL, x->kind, id, out, e) : -1;
	rc = store_end(s, rc, e);
	if (rc < 0)
		api_object_fini(out);
	return rc;
}

static int list(struct db *d, const struct api_caller *who, enum api_kind kind, const struct api_page *page,
                struct api_object **out, size_t *n, struct err *e)
{
	struct db_rows *r =
		db_query(d, e, store_kinds[kind].list, "sisi", page->after, store_sees_all(who), store_owner(who), page->limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_object *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of objects");
			break;
		}
		*out = more;
		memset(&more[*n], 0, sizeof *more);
		if (store_kind_read(d, kind, r, &more[(*n)++], e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc;
}

int store_object_list(struct store *s, const struct api_caller *who, enum api_kind kind, const struct api_page *page,
                      struct api_object **out, size_t *n, struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d ? list(d, who, kind, page, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_objects_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

/* Whether it is as the client wants it to be. */
static int check_tags(struct db *d, const struct api_caller *who, enum api_kind kind, const char *id, const struct api_change *c,
                      struct err *e)
{
	struct api_object x;
	memset(&x, 0, sizeof x);
	int rc = get(d, who, kind, id, &x, e);
	if (rc == 0)
		rc = download_check(c, &x, e);
	api_object_fini(&x);
	return rc;
}

static int change(struct db *d, const struct api_caller *who, enum api_kind kind, const char *id, const struct api_change *c,
                  struct err *e)
{
	const struct store_kind *k = &store_kinds[kind];
	if (store_check(d, who, k->table, k->name, id, true, e) < 0 || (c->must && check_tags(d, who, kind, id, c, e) < 0))
		return -1;
	return store_change(d, k->table, id, c, e);
}

int store_object_change(struct store *s, const struct api_caller *who, enum api_kind kind, const char *id,
                        const struct api_change *c, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, change(d, who, kind, id, c, e), e) : -1;
}

static int let_go(struct store *s, struct db *d, const struct store_kind *k, const char *id, struct err *e)
{
	struct db_rows *r = db_query(d, e, k->blobs, "s", id);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1)
		store_let_go(s, db_text(r, 0));
	db_done(r);
	return rc;
}

static int drop(struct store *s, struct db *d, const struct api_caller *who, enum api_kind kind, const char *id, struct err *e)
{
	const struct store_kind *k = &store_kinds[kind];
	if (store_check(d, who, k->table, k->name, id, true, e) < 0 || k->check_unused(d, id, e) < 0 ||
	    let_go(s, d, k, id, e) < 0 || db_run(d, e, k->drop, "s", id) < 0)
		return -1;
	return k->forget ? db_run(d, e, k->forget, "") : 0;
}

int store_object_delete(struct store *s, const struct api_caller *who, enum api_kind kind, const char *id, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, drop(s, d, who, kind, id, e), e) : -1;
}
