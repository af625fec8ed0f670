#include "server/store/store_kind.h"

#include "server/store/store.h"

#include <stdlib.h>
#include <string.h>

static int check_unused(struct db *d, const char *id, const char *name, const char *sql, struct err *e)
{
	int64_t live;
	if (db_get_int(d, e, &live, NULL, sql, "s", id) < 0)
		return -1;
	return live > 0 ? err_set(e, ERR_IN_USE, "%lld jobs that are not finished need this %s", (long long)live, name) : 0;
}

/* ---- models ---- */

#define MODEL_COLUMNS "coalesce(digest, ''), ir_version, opset, nodes, layer_count, searchable_count, inputs, outputs"

static int insert_model(struct db *d, const struct api_object *m, struct err *e)
{
	if (db_run(d, e,
	           "INSERT INTO models(id, name, sha256, size, created_at, labels, owner, visibility, digest, ir_version, opset, "
	           "nodes, layer_count, searchable_count, inputs, outputs, layers) "
	           "VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, ?, ?)",
	           "sssiissssiiiiisss", m->id, m->name, m->sha256, m->size, m->created_at, m->labels, m->owner, m->visibility,
	           m->digest, m->ir_version, m->opset, m->nodes, m->layer_count, m->searchable_count, m->inputs, m->outputs,
	           m->layers) < 0)
		return -1;
	for (size_t i = 0; i < m->nfiles; i++)
		if (db_run(d, e, "INSERT INTO model_files(model_id, name) VALUES (?, ?)", "ss", m->id, m->files[i].name) < 0)
			return -1;
	return 0;
}

static int add_file(struct api_object *m, struct db_rows *r, struct err *e)
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

static int read_files(struct db *d, struct api_object *m, struct err *e)
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

static int read_model(struct db *d, struct db_rows *r, int column, struct api_object *m, struct err *e)
{
	db_text_into(r, column, m->digest, sizeof m->digest);
	m->ir_version = db_int(r, column + 1);
	m->opset = db_int(r, column + 2);
	m->nodes = db_int(r, column + 3);
	m->layer_count = db_int(r, column + 4);
	m->searchable_count = db_int(r, column + 5);
	if (db_text_dup(r, column + 6, &m->inputs, e) < 0 || db_text_dup(r, column + 7, &m->outputs, e) < 0)
		return -1;
	return read_files(d, m, e);
}

static int check_model_unused(struct db *d, const char *id, struct err *e)
{
	return check_unused(d, id, "model",
	                    "SELECT count(*) FROM jobs WHERE model_id = ? AND status NOT IN ('succeeded', 'failed', 'canceled')",
	                    e);
}

/* ---- calibration sets ---- */

#define CALIBRATION_COLUMNS "coalesce(samples, -1), arrays"

static int insert_calibration(struct db *d, const struct api_object *c, struct err *e)
{
	return db_run(d, e,
	              "INSERT INTO calibrations(id, name, sha256, size, created_at, labels, owner, visibility, samples, arrays) "
	              "VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, -1), ?)",
	              "sssiisssis", c->id, c->name, c->sha256, c->size, c->created_at, c->labels, c->owner, c->visibility,
	              c->samples, c->arrays);
}

static int read_calibration(struct db *d, struct db_rows *r, int column, struct api_object *c, struct err *e)
{
	(void)d;
	c->samples = db_int(r, column);
	return db_text_dup(r, column + 1, &c->arrays, e);
}

static int check_calibration_unused(struct db *d, const char *id, struct err *e)
{
	return check_unused(
		d, id, "calibration",
		"SELECT count(*) FROM jobs WHERE (calibration_id = ?1 OR json_extract(params, '$.evaluate.calibration') = ?1) "
		"AND status NOT IN ('succeeded', 'failed', 'canceled')",
		e);
}

/* ---- encodings files ---- */

#define ENCODINGS_COLUMNS "parameters, activations"

static int insert_encodings(struct db *d, const struct api_object *x, struct err *e)
{
	return db_run(
		d, e,
		"INSERT INTO encodings(id, name, sha256, size, created_at, labels, owner, visibility, parameters, activations) "
		"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		"sssiisssii", x->id, x->name, x->sha256, x->size, x->created_at, x->labels, x->owner, x->visibility, x->parameters,
		x->activations);
}

static int read_encodings(struct db *d, struct db_rows *r, int column, struct api_object *x, struct err *e)
{
	(void)d;
	(void)e;
	x->parameters = db_int(r, column);
	x->activations = db_int(r, column + 1);
	return 0;
}

/* ---- all of them ---- */

#define COLUMNS "id, name, sha256, size, created_at, labels, owner, visibility, "

int store_kind_read(struct db *d, enum api_kind kind, struct db_rows *r, struct api_object *x, struct err *e)
{
	x->kind = kind;
	db_text_into(r, 0, x->id, sizeof x->id);
	db_text_into(r, 2, x->sha256, sizeof x->sha256);
	x->size = db_int(r, 3);
	x->created_at = db_int(r, 4);
	db_text_into(r, 7, x->visibility, sizeof x->visibility);
	if (db_text_dup(r, 1, &x->name, e) < 0 || db_text_dup(r, 5, &x->labels, e) < 0 || db_text_dup(r, 6, &x->owner, e) < 0)
		return -1;
	return store_kinds[kind].read(d, r, 8, x, e);
}

/* The statements for a table with these columns of its own. whole: what else has to hold for an object that is nothing
 * but its file; other_blobs: where more files of it are. */
#define TABLE(of, own, whole, other_blobs)                                                                                    \
	.table = (of), .find = "SELECT id FROM " of " WHERE owner = ? AND sha256 = ?" whole " ORDER BY id LIMIT 1",           \
	.get = "SELECT " COLUMNS own " FROM " of " WHERE id = ?1 AND " STORE_SEES,                                            \
	.list = "SELECT " COLUMNS own " FROM " of " WHERE (?1 = '' OR id < ?1) AND " STORE_SEES " ORDER BY id DESC LIMIT ?4", \
	.blobs = "SELECT sha256 FROM " of " WHERE id = ?1" other_blobs, .drop = "DELETE FROM " of " WHERE id = ?"

const struct store_kind store_kinds[] = {
	[API_MODEL] =
		{
			TABLE("models", MODEL_COLUMNS,
                              " AND digest IS NOT NULL AND NOT EXISTS (SELECT 1 FROM model_files WHERE model_id = models.id)",
                              " UNION SELECT sha256 FROM model_files WHERE model_id = ?1 AND sha256 IS NOT NULL"),
			.forget = "DELETE FROM fits WHERE model_sha256 NOT IN (SELECT sha256 FROM models)",
			.name = "model",
			.insert = insert_model,
			.read = read_model,
			.check_unused = check_model_unused,
		},
	[API_CALIBRATION] =
		{
			TABLE("calibrations", CALIBRATION_COLUMNS, "", ""),
			.forget = "DELETE FROM fits WHERE calibration_sha256 NOT IN (SELECT sha256 FROM calibrations)",
			.name = "calibration",
			.insert = insert_calibration,
			.read = read_calibration,
			.check_unused = check_calibration_unused,
		},
	[API_ENCODINGS] =
		{
			TABLE("encodings", ENCODINGS_COLUMNS, "", ""),
			.name = "encodings file",
			.insert = insert_encodings,
			.read = read_encodings,
			.check_unused = store_check_loaded,
		},
};
