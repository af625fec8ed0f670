#include "server/store/store_model.h"

#include "api/download.h"
#include "server/base/clock.h"
#include "server/store/store.h"
#include "server/store/store_once.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                                                    \
	"id, name, sha256, coalesce(digest, ''), size, ir_version, opset, nodes, layer_count, searchable_count, inputs, outputs, " \
	"created_at, labels, owner, visibility"

static int find(struct db *d, const char *owner, const char *sha256, char id[API_ID + 1], bool *found, struct err *e)
{
	struct db_rows *r = db_query(d, e,
	                             "SELECT id FROM models m WHERE owner = ? AND sha256 = ? AND digest IS NOT NULL AND NOT EXISTS "
	                             "(SELECT 1 FROM model_files f WHERE f.model_id = m.id) ORDER BY id LIMIT 1",
	                             "ss", owner, sha256);
	int rc = r ? db_next(r, e) : -1;
	*found = rc == 1;
	if (*found)
		db_text_into(r, 0, id, API_ID + 1);
	db_done(r);
	return rc < 0 ? -1 : 0;
}

int store_model_find(struct store *s, const char *owner, const char *sha256, char id[API_ID + 1], bool *found, struct err *e)
{
	struct db *d = store_read(s, e);
	int rc = d ? find(d, owner, sha256, id, found, e) : -1;
	store_read_end(s, d);
	return rc;
}

int store_model_again(struct store *s, const char *owner, const char *sha256, struct api_once *once, char id[API_ID + 1],
                      struct err *e)
{
	return store_once_equal(s, owner, sha256, find, once, id, e);
}

static int insert(struct db *d, const struct api_model *m, const char *layers, struct err *e)
{
	if (db_run(d, e,
	           "INSERT INTO models(id, name, sha256, size, digest, ir_version, opset, nodes, inputs, outputs, layers, "
	           "layer_count, "
	           "searchable_count, created_at, owner, visibility, labels) VALUES (?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, "
	           "?, ?, ?, ?, ?, ?)",
	           "sssisiiisssiiisss", m->id, m->name, m->sha256, m->size, m->digest, m->ir_version, m->opset, m->nodes, m->inputs,
	           m->outputs, layers, m->layer_count, m->searchable_count, m->created_at, m->owner, m->visibility, m->labels) < 0)
		return -1;
	for (size_t i = 0; i < m->nfiles; i++)
		if (db_run(d, e, "INSERT INTO model_files(model_id, name) VALUES (?, ?)", "ss", m->id, m->files[i].name) < 0)
			return -1;
	return 0;
}

int store_model_add(struct store *s, struct part *part, const struct api_model *m, const char *layers, struct api_once *once,
                    char id[API_ID + 1], bool *existing, struct err *e)
{
	struct db *d = store_begin(s, e);
	if (!d)
		return -1;
	int rc = store_once_find_equal(d, m->owner, m->sha256, find, once, id, existing, e);
	if (rc == 0 && !*existing) {
		memcpy(id, m->id, sizeof m->id);
		rc = store_keep(s, part, e) == 0 && insert(d, m, layers, e) == 0 ? store_once_keep(d, m->owner, once, id, e) : -1;
	}
	return store_end(s, rc, e);
}

static int set_file(struct store *s, struct db *d, struct part *part, const char *id, const char *file, const char *digest,
                    struct err *e)
{
	int64_t complete;
	if (db_get_int(d, e, &complete, NULL, "SELECT digest IS NOT NULL FROM models WHERE id = ?", "s", id) < 0)
		return -1;
	if (complete)
		return err_set(e, ERR_BAD_STATE, "the model is complete; its files do not change any more");
	struct db_rows *r = db_query(d, e, "SELECT sha256 FROM model_files WHERE model_id = ? AND name = ? AND sha256 IS NOT NULL",
	                             "ss", id, file);
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		store_let_go(s, db_text(r, 0)); /* the file that this one replaces */
	db_done(r);
	if (rc < 0 || store_keep(s, part, e) < 0)
		return -1;
	return db_run(d, e, "UPDATE model_files SET sha256 = ?, size = ? WHERE model_id = ? AND name = ?", "siss",
	              part_sha256(part), part_size(part), id, file) == 0 &&
	                       db_run(d, e, "UPDATE models SET digest = ? WHERE id = ?", "ss", digest, id) == 0
	               ? 0
	               : -1;
}

int store_model_set_file(struct store *s, struct part *part, const char *id, const char *file, const char *digest, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, set_file(s, d, part, id, file, digest, e), e) : -1;
}

int store_model_complete(struct store *s, const char *id, const char *digest, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s,
	                     db_run(d, e,
	                            "UPDATE models SET digest = ? WHERE id = ? AND digest IS NULL AND NOT EXISTS "
	                            "(SELECT 1 FROM model_files WHERE model_id = models.id AND sha256 IS NULL)",
	                            "ss", digest, id),
	                     e)
	         : -1;
}

static int read_row(struct db_rows *r, struct api_model *m, struct err *e)
{
	db_text_into(r, 0, m->id, sizeof m->id);
	db_text_into(r, 2, m->sha256, sizeof m->sha256);
	db_text_into(r, 3, m->digest, sizeof m->digest);
	m->size = db_int(r, 4);
	m->ir_version = db_int(r, 5);
	m->opset = db_int(r, 6);
	m->nodes = db_int(r, 7);
	m->layer_count = db_int(r, 8);
	m->searchable_count = db_int(r, 9);
	m->created_at = db_int(r, 12);
	db_text_into(r, 15, m->visibility, sizeof m->visibility);
	return db_text_dup(r, 13, &m->labels, e) == 0 && db_text_dup(r, 14, &m->owner, e) == 0 &&
	                       db_text_dup(r, 1, &m->name, e) == 0 && db_text_dup(r, 10, &m->inputs, e) == 0 &&
	                       db_text_dup(r, 11, &m->outputs, e) == 0
	               ? 0
	               : -1;
}

static int add_file(struct api_model *m, struct db_rows *r, struct err *e)
{
	struct api_file *more = realloc(m->files, (m->nfiles + 1) * sizeof *more);
	if (!more)
		return err_nomem(e, "a list of files");
	m->files = more;
	struct api_file *f = &more[m->nfiles];
	memset(f, 0, sizeof *f);
	if (db_text_dup(r, 0, &f->name, e) < 0)
		return -1;
	m->nfiles++;
	f->present = !db_is_null(r, 1);
	db_text_into(r, 1, f->sha256, sizeof f->sha256);
	f->size = db_int(r, 2);
	return 0;
}

static int read_files(struct db *d, struct api_model *m, struct err *e)
{
	struct db_rows *r =
		db_query(d, e, "SELECT name, sha256, size FROM model_files WHERE model_id = ? ORDER BY name", "s", m->id);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1)
		if (add_file(m, r, e) < 0)
			rc = -1;
	db_done(r);
	return rc;
}

static int get(struct db *d, const struct api_caller *who, const char *id, struct api_model *out, struct err *e)
{
	struct db_rows *r = db_query(d, e, "SELECT " COLUMNS " FROM models WHERE id = ?1 AND " STORE_SEES, "sis", id,
	                             store_sees_all(who), store_owner(who));
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = read_row(r, out, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no model %.40s", id);
	db_done(r);
	return rc == 0 ? read_files(d, out, e) : -1;
}

int store_model_get(struct store *s, const struct api_caller *who, const char *id, struct api_model *out, struct err *e)
{
	struct db *d = store_read(s, e);
	memset(out, 0, sizeof *out);
	int rc = d ? get(d, who, id, out, e) : -1;
	store_read_end(s, d);
	if (rc < 0)
		api_model_fini(out);
	return rc;
}

static int list(struct db *d, const struct api_caller *who, const struct api_page *page, struct api_model **out, size_t *n,
                struct err *e)
{
	struct db_rows *r = db_query(
		d, e, "SELECT " COLUMNS " FROM models WHERE (?1 = '' OR id < ?1) AND " STORE_SEES " ORDER BY id DESC LIMIT ?4",
		"sisi", page->after, store_sees_all(who), store_owner(who), page->limit);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1) {
		struct api_model *more = realloc(*out, (*n + 1) * sizeof *more);
		if (!more) {
			rc = err_nomem(e, "a list of models");
			break;
		}
		*out = more;
		memset(&more[*n], 0, sizeof *more);
		if (read_row(r, &more[(*n)++], e) < 0 || read_files(d, &more[*n - 1], e) < 0)
			rc = -1;
	}
	db_done(r);
	return rc;
}

int store_model_list(struct store *s, const struct api_caller *who, const struct api_page *page, struct api_model **out, size_t *n,
                     struct err *e)
{
	struct db *d = store_read(s, e);
	*out = NULL;
	*n = 0;
	int rc = d ? list(d, who, page, out, n, e) : -1;
	store_read_end(s, d);
	if (rc == 0)
		return 0;
	api_models_free(*out, *n);
	*out = NULL;
	*n = 0;
	return -1;
}

int store_model_layers(struct store *s, const struct api_caller *who, const char *id, char **json, struct err *e)
{
	struct db *d = store_read(s, e);
	struct db_rows *r = d ? db_query(d, e, "SELECT layers FROM models WHERE id = ?1 AND " STORE_SEES, "sis", id,
	                                 store_sees_all(who), store_owner(who))
	                      : NULL;
	int rc = r ? db_next(r, e) : -1;
	if (rc == 1)
		rc = db_text_dup(r, 0, json, e);
	else if (rc == 0)
		rc = err_set(e, ERR_NOT_FOUND, "there is no model %.40s", id);
	db_done(r);
	store_read_end(s, d);
	return rc;
}

/* Every blob that the model's rows use. */
static int let_go_of_all(struct store *s, struct db *d, const char *id, struct err *e)
{
	struct db_rows *r = db_query(d, e,
	                             "SELECT sha256 FROM models WHERE id = ?1 UNION "
	                             "SELECT sha256 FROM model_files WHERE model_id = ?1 AND sha256 IS NOT NULL",
	                             "s", id);
	int rc = r ? 1 : -1;
	while (rc == 1 && (rc = db_next(r, e)) == 1)
		store_let_go(s, db_text(r, 0));
	db_done(r);
	return rc;
}

static int drop(struct store *s, struct db *d, const struct api_caller *who, const char *id, struct err *e)
{
	int64_t live;
	if (store_check(d, who, "models", "model", id, true, e) < 0 ||
	    db_get_int(d, e, &live, NULL,
	               "SELECT count(*) FROM jobs WHERE model_id = ? AND status NOT IN ('succeeded', 'failed', 'canceled')", "s",
	               id) < 0)
		return -1;
	if (live > 0)
		return err_set(e, ERR_IN_USE, "%lld jobs that are not finished need this model", (long long)live);
	if (let_go_of_all(s, d, id, e) < 0 || db_run(d, e, "DELETE FROM models WHERE id = ?", "s", id) < 0)
		return -1;
	return db_run(d, e, "DELETE FROM fits WHERE model_sha256 NOT IN (SELECT sha256 FROM models)", "");
}

int store_model_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, drop(s, d, who, id, e), e) : -1;
}

/* Whether it is as the client wants it to be. */
static int check_tags(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	struct api_model x;
	memset(&x, 0, sizeof x);
	int rc = get(d, who, id, &x, e);
	if (rc == 0)
		rc = download_check(c, &x, e);
	api_model_fini(&x);
	return rc;
}

static int change(struct db *d, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	if (store_check(d, who, "models", "model", id, true, e) < 0 || (c->must && check_tags(d, who, id, c, e) < 0))
		return -1;
	return store_change(d, "models", id, c, e);
}

int store_model_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e)
{
	struct db *d = store_begin(s, e);
	return d ? store_end(s, change(d, who, id, c, e), e) : -1;
}
