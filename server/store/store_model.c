#include "server/store/store_model.h"

#include "api/backend.h"
#include "server/store/store.h"

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
