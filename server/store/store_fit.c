#include "server/store/store_fit.h"

#include "server/store/store.h"

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
