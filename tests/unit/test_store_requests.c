/* What requests ask of the store while every call that it makes for them fails once: with no connection at hand that reads, with a key, with files of
 * their own. And answers that only a race, or a damaged disk, would bring about. */

#include "mishap.h"
#include "scratch.h"
#include "store_fixture.h"

#include "server/base/id.h"
#include "server/http/upload.h"
#include "server/store/blob.h"
#include "server/store/db.h"
#include "server/store/store_expire.h"
#include "server/store/store_fit.h"
#include "server/store/store_log.h"
#include "server/store/store_model.h"
#include "server/store/store_object.h"
#include "server/store/store_once.h"
#include "server/store/store_upload.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define NOWHERE "0000000000000000000000000000000000000000000000000000000000000000"

static char job[API_ID + 1], encodings[API_ID + 1], upload[API_ID + 1];

static void run_sql(const char *sql, const char *id)
{
	struct err e = ERR_INIT;
	struct db *d = store_begin(s, &e);
	must(d ? 0 : -1, &e);
	must(store_end(s, db_run(d, &e, sql, "s", id), &e), &e);
}

static int64_t number(const char *sql)
{
	struct err e = ERR_INIT;
	int64_t n;
	struct db *d = store_read(s, &e);
	must(d ? db_get_int(d, &e, &n, NULL, sql, "") : -1, &e);
	store_read_end(s, d);
	return n;
}

/* A name, and a text of a file, that were not there before. */
static const char *fresh(void)
{
	static char text[32];
	static int n;
	(void)snprintf(text, sizeof text, "text %d", n++);
	return text;
}

/* An object of the kind, whose file the part is; id gets its id. */
static int keep(enum api_kind kind, struct part *p, struct api_once *once, char id[API_ID + 1], struct err *e)
{
	char empty[] = "[]";
	struct api_file files[1] = {{.name = (char[]){"w.data"}}};
	struct api_object out,
		x = {.kind = kind, .name = (char[]){"x"}, .labels = (char[]){"{}"}, .owner = (char[]){""}, .visibility = "team"};
	bool existing;
	if (kind == API_MODEL) {
		x.inputs = x.outputs = x.layers = empty;
		x.files = files;
		x.nfiles = 1;
	}
	if (kind == API_CALIBRATION)
		x.arrays = empty;
	if (id_new("obj_", x.id, e) < 0)
		return -1;
	memcpy(x.sha256, part_sha256(p), sizeof x.sha256);
	if (store_object_add(s, p, &x, once, &out, &existing, e) < 0)
		return -1;
	memcpy(id, out.id, sizeof out.id);
	api_object_fini(&out);
	return 0;
}

static int begin_upload(struct api_once *once, struct err *e)
{
	struct api_upload u = {.owner = (char[]){""},
	                       .kind = "models",
	                       .name = (char[]){"m"},
	                       .visibility = "team",
	                       .size = 10,
	                       .expires_at = INT64_MAX};
	int rc = id_new("upl_", u.id, e) == 0 ? store_upload_add(s, &u, once, e) : -1;
	if (rc == 0)
		memcpy(upload, u.id, sizeof upload);
	return rc;
}

/* One of everything. */
static void fill(void)
{
	struct err e = ERR_INIT;
	struct store_claim c;
	struct part *p = part_of("encodings");
	must(keep(API_ENCODINGS, p, NULL, encodings, &e), &e);
	part_free(p);
	must(begin_upload(&(struct api_once){.key = "k"}, &e), &e);
	add_job(job);
	add_model("a model of two files", "w.data", model);
	claim(&c, 60000);
	must(add_layer(&c, &e), &e);
	must(store_job_warn(s, &c, "code", "/conv", "detail", &e), &e);
	store_claim_fini(&c);
	add_job(job);
	add_model("a model of two files", "w.data", model);
	must(store_fit_put(s, &(struct store_fit){.model_sha256 = "m", .calibration_sha256 = "c"}, &e), &e);
}

/* ---- reading ---- */

static int find(enum api_kind kind, struct err *e)
{
	char id[API_ID + 1];
	bool found;
	return store_object_find(s, kind, "", NOWHERE, id, &found, e);
}

static int get(enum api_kind kind, const char *id, struct err *e)
{
	struct api_object x;
	int rc = store_object_get(s, NULL, kind, id, &x, e);
	if (rc == 0)
		api_object_fini(&x);
	return rc;
}

static int list(enum api_kind kind, struct err *e)
{
	struct api_object *x;
	size_t n;
	int rc = store_object_list(s, NULL, kind, &(struct api_page){.limit = 10}, &x, &n, e);
	api_objects_free(x, n);
	return rc;
}

static int model_find(struct err *e)
{
	return find(API_MODEL, e);
}

static int model_get(struct err *e)
{
	return get(API_MODEL, model, e);
}

static int model_list(struct err *e)
{
	return list(API_MODEL, e);
}

static int calibration_find(struct err *e)
{
	return find(API_CALIBRATION, e);
}

static int calibration_get(struct err *e)
{
	return get(API_CALIBRATION, calibration, e);
}

static int calibration_list(struct err *e)
{
	return list(API_CALIBRATION, e);
}

static int file_find(struct err *e)
{
	return find(API_ENCODINGS, e);
}

static int file_get(struct err *e)
{
	return get(API_ENCODINGS, encodings, e);
}

static int file_list(struct err *e)
{
	return list(API_ENCODINGS, e);
}

static int model_layers(struct err *e)
{
	char *json = NULL;
	int rc = store_model_layers(s, NULL, model, &json, e);
	free(json);
	return rc;
}

static int fit_find(struct err *e)
{
	bool found;
	return store_fit_find(s, &(struct store_fit){.model_sha256 = "m", .calibration_sha256 = "c"}, &found, e);
}

static int job_get(struct err *e)
{
	struct api_job x;
	int rc = store_job_get(s, NULL, job, &x, e);
	if (rc == 0)
		api_job_fini(&x);
	return rc;
}

static int job_list(struct err *e)
{
	struct api_job *x;
	size_t n;
	int rc = store_job_list(s, NULL, &(struct api_page){.limit = 10}, &(struct api_job_filter){.name = NULL}, &x, &n, e);
	api_jobs_free(x, n);
	return rc;
}

static int job_layers(struct err *e)
{
	struct api_layer *x;
	size_t n;
	int rc = store_job_layers(s, NULL, job, &x, &n, e);
	api_layers_free(x, n);
	return rc;
}

static int job_events(struct err *e)
{
	struct api_event *x;
	size_t n;
	int rc = store_job_events(s, NULL, job, 0, 10, &x, &n, e);
	api_events_free(x, n);
	return rc;
}

static int job_log(struct err *e)
{
	struct api_log *x;
	size_t n;
	int rc = store_log_list(s, NULL, job, 0, 10, &x, &n, e);
	api_logs_free(x, n);
	return rc;
}

static int job_frames(struct err *e)
{
	struct buf b = BUF_INIT;
	char *params;
	int rc = store_job_frames(s, NULL, job, &b, &params, e);
	buf_fini(&b);
	free(params);
	return rc;
}

static int job_equal(struct err *e)
{
	char id[API_ID + 1];
	return store_job_equal(s, "f", "", id, e);
}

static int queue(struct err *e)
{
	struct api_queue x;
	int rc = store_job_queue(s, NULL, &x, e);
	if (rc == 0)
		api_queue_fini(&x);
	return rc;
}

static int upload_get(struct err *e)
{
	struct api_upload x;
	int rc = store_upload_get(s, NULL, upload, &x, e);
	if (rc == 0)
		api_upload_fini(&x);
	return rc;
}

static int once_made(struct err *e)
{
	char id[API_ID + 1];
	return store_once_made(s, "", &(struct api_once){.key = "k"}, id, e);
}

static void what_cannot_be_read_is_told(void **state)
{
	static int (*const reads[])(struct err *) = {
		model_find, model_get, model_list, model_layers, calibration_find, calibration_get, calibration_list, fit_find,
		file_find,  file_get,  file_list,  job_get,      job_list,         job_layers,      job_events,       job_log,
		job_frames, job_equal, queue,      upload_get,   once_made};
	(void)state;
	fill();
	for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
		bool failed = true;
		for (long n = 1; failed; n++) {
			struct err e = ERR_INIT;
			reopen(); /* so that the connection is made, too */
			mishap_begin(n);
			int rc = reads[i](&e);
			failed = mishap_end();
			/* An answer in spite of a failure is one too many, unless the failure was a view's end. */
			if (failed ? rc == 0 && strcmp(mishap_name(), "sqlite3_exec") != 0 : rc < 0)
				fail_msg("read %zu, call %ld, %s: %s", i, n, mishap_name(), e.msg);
			if (rc < 0 && e.code != ERR_MEMORY && e.code != ERR_IO)
				fail_msg("read %zu, call %ld, %s: %s: %s", i, n, mishap_name(), err_name(e.code), e.msg);
		}
	}
}

/* ---- changing ---- */

static struct api_once key(void)
{
	return (struct api_once){.key = fresh(), .fingerprint = "f"};
}

/* A part of a new text for the work, whatever comes of it. */
static int with_part(int (*work)(struct part *p, struct err *e), struct err *e)
{
	const char *text = fresh();
	struct part *p = part_new(store_blobs(s), e);
	int rc = p && part_add(p, text, strlen(text), e) == 0 && part_end(p, e) == 0 && part_sync(p, e) == 0 ? work(p, e) : -1;
	part_free(p);
	return rc;
}

static int keep_once(enum api_kind kind, struct part *p, struct err *e)
{
	char id[API_ID + 1];
	struct api_once once = key();
	return keep(kind, p, &once, id, e);
}

static int keep_model(struct part *p, struct err *e)
{
	return keep_once(API_MODEL, p, e);
}

static int keep_calibration(struct part *p, struct err *e)
{
	return keep_once(API_CALIBRATION, p, e);
}

static int keep_encodings(struct part *p, struct err *e)
{
	return keep_once(API_ENCODINGS, p, e);
}

static int keep_file(struct part *p, struct err *e)
{
	return store_model_set_file(s, p, model, "w.data", NULL, e);
}

static int add_a_model(struct err *e)
{
	return with_part(keep_model, e);
}

static int add_a_calibration(struct err *e)
{
	return with_part(keep_calibration, e);
}

static int add_encodings(struct err *e)
{
	return with_part(keep_encodings, e);
}

static int set_a_file(struct err *e)
{
	return with_part(keep_file, e);
}

static int complete(struct err *e)
{
	return store_model_complete(s, model, NULL, e);
}

static int put_fit(struct err *e)
{
	return store_fit_put(s, &(struct store_fit){.model_sha256 = "m", .calibration_sha256 = "c"}, e);
}

static char equal_digest[SHA256_HEX + 1];

static void add_equal(void)
{
	char id[API_ID + 1];
	const char *text = fresh();
	struct part *p = part_of(text);
	memcpy(equal_digest, part_sha256(p), sizeof equal_digest);
	part_free(p);
	add_model(text, NULL, id);
}

static int again(struct err *e)
{
	char id[API_ID + 1];
	struct api_once once = key();
	return store_object_again(s, API_MODEL, "", equal_digest, &once, id, e);
}

static int add_upload(struct err *e)
{
	struct api_once once = key();
	return begin_upload(&once, e);
}

static void new_upload(void)
{
	struct err e = ERR_INIT;
	must(begin_upload(NULL, &e), &e);
}

static int sync_upload(struct err *e)
{
	int64_t offset;
	int fd = store_upload_lock(s, upload, e);
	int rc = fd < 0 ? -1 : store_upload_sync(s, upload, fd, &offset, e);
	if (fd >= 0)
		store_upload_unlock(fd);
	return rc;
}

static int take_upload(struct err *e)
{
	struct part *p = store_upload_part(s, upload, e);
	part_free(p);
	return p ? 0 : -1;
}

static int end_upload(struct err *e)
{
	return store_upload_done(s, upload, "mdl_x", e);
}

static int drop_upload(struct err *e)
{
	return store_upload_delete(s, NULL, upload, e);
}

static void nothing(void)
{
}

static void what_a_request_cannot_write_is_told(void **state)
{
	(void)state;
	fill();
	fail_each_call(nothing, add_a_model);
	fail_each_call(nothing, add_a_calibration);
	fail_each_call(nothing, add_encodings);
	fail_each_call(nothing, set_a_file);
	fail_each_call(nothing, complete);
	fail_each_call(nothing, put_fit);
	fail_each_call(add_equal, again);
	fail_each_call(nothing, add_upload);
	fail_each_call(new_upload, sync_upload);
	fail_each_call(new_upload, take_upload);
	fail_each_call(new_upload, end_upload);
	fail_each_call(new_upload, drop_upload);
}

static const struct store_job_new *a_job(bool reuse, const char *retry_of)
{
	static char id[API_ID + 1];
	static struct store_job_new j;
	struct err e = ERR_INIT;
	must(id_new("job_", id, &e), &e);
	j = new_job(id);
	j.reuse = reuse;
	j.retry_of = retry_of;
	return &j;
}

static const struct store_job_new *wanted;

static void want_equal(void)
{
	wanted = a_job(true, NULL);
}

static void want_retry(void)
{
	wanted = a_job(false, job);
}

static int submit(struct err *e)
{
	char id[API_ID + 1];
	struct api_once once = key();
	return store_job_add(s, wanted, &(struct store_limits){10000, 10000}, &once, id, e);
}

static void what_cannot_be_taken_from_another_job_is_told(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim c;
	(void)state;
	fill();
	fail_each_call(want_retry, submit);
	run_sql("UPDATE jobs SET status = 'canceled' WHERE status = 'queued' AND id <> ?", job);
	claim(&c, 60000);
	must(store_job_succeed(s, &c, &no_usage, NULL, 0, &e), &e);
	store_claim_fini(&c);
	fail_each_call(want_equal, submit);
	assert_true(number("SELECT count(*) FROM jobs WHERE reused_from IS NOT NULL AND reused_from <> ''") > 0);
}

/* ---- what is gone when it is needed ---- */

static void what_was_deleted_meanwhile_is_not_found(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim c;
	struct api_once once = key();
	char id[API_ID + 1];
	int64_t size;
	(void)state;
	fill();
	assert_int_equal(store_object_again(s, API_MODEL, "", NOWHERE, &once, id, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_int_equal(blob_open(store_blobs(s), NOWHERE, &size, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	must(end_upload(&e), &e);
	assert_int_equal(store_upload_lock(s, upload, &e), -1);
	assert_int_equal(e.code, ERR_GONE);
	want_equal();
	struct store_job_new j = *wanted;
	j.reuse = false;
	j.model_id = "mdl_none";
	assert_int_equal(store_job_add(s, &j, &(struct store_limits){100, 100}, NULL, id, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	claim(&c, 60000);
	run_sql("DELETE FROM jobs WHERE id = ?", c.id);
	assert_int_equal(store_job_requeue(s, &c, &no_usage, false, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	store_claim_fini(&c);
}

static void a_state_that_nobody_knows_is_a_fault(void **state)
{
	struct err e = ERR_INIT;
	enum job_status to;
	(void)state;
	fill();
	struct db *d = store_begin(s, &e);
	must(d ? db_script(d, "PRAGMA ignore_check_constraints = on", &e) : -1, &e);
	must(store_end(s, db_run(d, &e, "UPDATE jobs SET status = 'odd' WHERE id = ?", "s", job), &e), &e);
	assert_int_equal(store_job_act(s, NULL, job, API_CANCEL, NULL, &to, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
}

static void a_job_whose_encodings_others_start_from_is_not_forgotten(void **state)
{
	struct err e = ERR_INIT;
	struct store_expired n;
	char other[API_ID + 1], text[100];
	(void)state;
	add_job(job);
	run_sql("UPDATE jobs SET status = 'canceled', finished_at = 1 WHERE id = ?", job);
	add_job(other);
	(void)snprintf(text, sizeof text, "UPDATE jobs SET params = '{\"load_encodings\": \"%s\"}' WHERE id = ?", job);
	run_sql(text, other);
	must(store_expire(s, 1, 0, &n, &e), &e);
	assert_int_equal(n.jobs, 0);
	run_sql("UPDATE jobs SET status = 'canceled' WHERE id = ?", other);
	must(store_expire(s, 1, 0, &n, &e), &e);
	assert_int_equal(n.jobs, 1);
}

static void a_key_acts_once(void **state)
{
	struct err e = ERR_INIT;
	struct api_once once = key(), same = once;
	enum job_status to;
	(void)state;
	add_job(job);
	must(store_job_act(s, NULL, job, API_PAUSE, &once, &to, &e), &e);
	assert_int_equal(to, JOB_PAUSED);
	must(store_job_act(s, NULL, job, API_RESUME, NULL, &to, &e), &e);
	must(store_job_act(s, NULL, job, API_PAUSE, &same, &to, &e), &e);
	assert_int_equal(to, JOB_QUEUED); /* as it is now */
}

/* ---- the database ---- */

static void a_busy_database_is_told_within_seconds(void **state)
{
	struct err e = ERR_INIT;
	char path[200];
	(void)state;
	assert_non_null(store_begin(s, &e));
	assert_null(store_begin(s, &e)); /* of this daemon */
	assert_int_equal(e.code, ERR_BUSY);
	assert_int_equal(store_compact(s, &e), -1);
	assert_int_equal(e.code, ERR_BUSY);
	must(store_end(s, 0, &e), &e);
	(void)snprintf(path, sizeof path, "%s/seqmsed.db", folder);
	struct db *other = db_open(path, DB_WRITE, &e);
	must(other ? db_begin(other, &e) : -1, &e);
	assert_null(store_begin(s, &e)); /* of another program */
	assert_int_equal(e.code, ERR_BUSY);
	db_close(other);
	must(store_begin(s, &e) ? store_end(s, 0, &e) : -1, &e);
}

static void a_full_database_is_told(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	struct db *d = store_begin(s, &e);
	must(d ? db_script(d, "PRAGMA max_page_count = 1", &e) : -1, &e);
	int rc = db_run(d, &e, "CREATE TABLE large(x)", "");
	if (rc == 0)
		rc = db_run(d, &e, "INSERT INTO large VALUES (zeroblob(100000))", "");
	assert_int_equal(rc, -1);
	assert_int_equal(e.code, ERR_DISK_FULL);
	(void)store_end(s, -1, &e);
}

static void faults_of_ours_are_told_as_such(void **state)
{
	struct err e = ERR_INIT;
	int64_t n;
	(void)state;
	struct db *d = store_begin(s, &e);
	assert_non_null(d);
	assert_int_equal(db_run(d, &e, "SELECT ?", "?"), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_int_equal(db_get_int(d, &e, &n, NULL, "SELECT 1 WHERE 0", ""), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	struct part *p = part_new(store_blobs(s), &e);
	assert_non_null(p);
	must(part_end(p, &e), &e);
	assert_int_equal(store_keep(s, p, &e), -1); /* not synced */
	assert_int_equal(e.code, ERR_INTERNAL);
	part_free(p);
	(void)store_end(s, -1, &e);
}

static void of_many_readers_some_stay(void **state)
{
	enum { MANY = 70 };
	struct db *readers[MANY];
	struct err e = ERR_INIT;
	(void)state;
	for (int i = 0; i < MANY; i++)
		must((readers[i] = store_read(s, &e)) ? 0 : -1, &e);
	for (int i = 0; i < MANY; i++)
		store_read_end(s, readers[i]);
	assert_int_equal(number("SELECT 1"), 1);
}

/* ---- files ---- */

static int checked;
static bool stop;
static const char *expected;

static bool go_on(void *ctx)
{
	(void)ctx;
	return !stop;
}

static int check(struct err *e)
{
	return blob_check(checked, expected, go_on, NULL, e);
}

static void a_file_that_the_disk_has_changed_is_noticed(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	add_equal();
	checked = blob_open(store_blobs(s), equal_digest, NULL, &e);
	must(checked, &e);
	expected = equal_digest;
	stop = false;
	must(check(&e), &e);
	fail_each_call(nothing, check);
	stop = true;
	assert_int_equal(check(&e), -1);
	assert_int_equal(e.code, ERR_CANCELED);
	stop = false;
	expected = NOWHERE;
	assert_int_equal(check(&e), -1);
	assert_int_equal(e.code, ERR_IO);
	(void)close(checked);
}

static void bytes_that_are_too_many_are_taken_back(void **state)
{
	struct err e = ERR_INIT;
	struct stat x;
	char path[200];
	(void)state;
	must(begin_upload(NULL, &e), &e);
	struct upload *u = upload_append(store_upload_lock(s, upload, &e), 0, 4, &e);
	assert_non_null(u);
	upload_add(u, "four", 4);
	upload_add(u, "more", 4);
	upload_add(u, "more", 4); /* is not even looked at */
	assert_int_equal(upload_end(u, &e), -1);
	assert_int_equal(e.code, ERR_TOO_LARGE);
	upload_free(u);
	(void)snprintf(path, sizeof path, "%s/uploads/%s", folder, upload);
	assert_int_equal(stat(path, &x), 0);
	assert_int_equal(x.st_size, 0);
}

static void the_sweep_leaves_alone_what_is_no_shelf(void **state)
{
	struct err e = ERR_INIT;
	char path[200];
	int removed;
	(void)state;
	(void)snprintf(path, sizeof path, "%s/blobs/lost+found", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	must(store_sweep(s, &removed, &e), &e);
	assert_int_equal(removed, 0);
	assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(what_cannot_be_read_is_told),
		WITH_STORE(what_a_request_cannot_write_is_told),
		WITH_STORE(what_cannot_be_taken_from_another_job_is_told),
		WITH_STORE(what_was_deleted_meanwhile_is_not_found),
		WITH_STORE(a_state_that_nobody_knows_is_a_fault),
		WITH_STORE(a_job_whose_encodings_others_start_from_is_not_forgotten),
		WITH_STORE(a_key_acts_once),
		WITH_STORE(a_busy_database_is_told_within_seconds),
		WITH_STORE(a_full_database_is_told),
		WITH_STORE(faults_of_ours_are_told_as_such),
		WITH_STORE(of_many_readers_some_stay),
		WITH_STORE(a_file_that_the_disk_has_changed_is_noticed),
		WITH_STORE(bytes_that_are_too_many_are_taken_back),
		WITH_STORE(the_sweep_leaves_alone_what_is_no_shelf),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
