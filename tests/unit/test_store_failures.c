/* Every call that the daemon's storage makes while it works, starts, cleans up or is backed up fails once; then it says so, and goes on as if
 * nothing had been. */

#include "mishap.h"
#include "scratch.h"
#include "store_fixture.h"

#include "server/base/id.h"
#include "server/cli/backup.h"
#include "server/cli/cli.h"
#include "server/store/intake.h"
#include "server/store/store.h"
#include "server/store/store_expire.h"
#include "server/store/store_job.h"
#include "server/store/store_upload.h"
#include "server/store/tar.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct store_claim held;
static bool stopped; /* the held job was asked to stop */

static void let_go(void)
{
	store_claim_fini(&held);
	stopped = false;
}

/* A job that runs under a claim: the one whose failed transaction was rolled back is as good as a new one. */
static void hold(void)
{
	char id[API_ID + 1];
	struct err e = ERR_INIT;
	if (held.id[0] && !stopped && store_job_beat(s, &held, 60000, NULL, &e) == 0)
		return;
	let_go();
	add_job(id);
	claim(&held, 60000);
}

static void hold_and_stop(void)
{
	struct err e = ERR_INIT;
	enum job_status to;
	hold();
	must(store_job_act(s, NULL, held.id, API_CANCEL, NULL, &to, &e), &e);
	stopped = true;
}

static void queue_one(void)
{
	char id[API_ID + 1];
	add_job(id);
}

static int do_claim(struct err *e)
{
	struct store_claim c;
	bool found;
	int rc = store_job_claim(s, 60000, &c, &found, e);
	store_claim_fini(&c);
	return rc;
}

static int do_beat(struct err *e)
{
	const struct store_progress p = {"search", "/conv", 1, 2, 0.5};
	return store_job_beat(s, &held, 60000, &p, e);
}

static int do_add_layer(struct err *e)
{
	return add_layer(&held, e);
}

static void hold_with_layer(void)
{
	struct err e = ERR_INIT;
	hold();
	must(do_add_layer(&e), &e);
}

static int do_known(struct err *e)
{
	struct buf b = BUF_INIT;
	int64_t n;
	int rc = store_job_known(s, &held, &b, &n, e);
	buf_fini(&b);
	return rc;
}

static int do_warn(struct err *e)
{
	return store_job_warn(s, &held, "code", "/conv", "detail", e);
}

static int do_log(struct err *e)
{
	return store_job_log(s, &held, "info", "a line", e);
}

static int deliver(struct intake *i, struct err *e)
{
	struct store_artifact files[INTAKE_MAX_FILES];
	size_t n;
	return intake_begin(i, "f", "text/plain", e) == 0 && intake_add(i, "result", 6, e) == 0 && intake_end(i, e) == 0 &&
	                       intake_files(i, files, &n, e) == 0
	               ? store_job_succeed(s, &held, &no_usage, files, n, e)
	               : -1;
}

static int do_succeed(struct err *e)
{
	struct intake *i = intake_new(store_blobs(s), e);
	int rc = i ? deliver(i, e) : -1;
	intake_free(i);
	return rc;
}

static int do_fail(struct err *e)
{
	return store_job_fail(s, &held, &no_usage, "internal", "detail", e);
}

static int do_requeue(struct err *e)
{
	return store_job_requeue(s, &held, &no_usage, true, e);
}

static int do_stop(struct err *e)
{
	return store_job_stopped(s, &held, &no_usage, e);
}

static void what_a_worker_cannot_write_is_told(void **state)
{
	(void)state;
	fail_each_call(queue_one, do_claim);
	fail_each_call(hold, do_beat);
	fail_each_call(hold, do_add_layer);
	fail_each_call(hold_with_layer, do_known);
	fail_each_call(hold, do_warn);
	fail_each_call(hold, do_log);
	fail_each_call(hold, do_succeed);
	fail_each_call(hold, do_fail);
	fail_each_call(hold, do_requeue);
	fail_each_call(hold_and_stop, do_stop);
	let_go();
}

static int do_recover(struct err *e)
{
	int requeued;
	return store_job_recover(s, &requeued, e);
}

static void run_and_stop(void)
{
	static const enum api_action asked[] = {API_CANCEL, API_PAUSE};
	struct err e = ERR_INIT;
	struct store_claim c;
	enum job_status to;
	bool found;
	must(do_recover(&e), &e);
	for (int i = 0; i < 3; i++) {
		must(store_job_claim(s, 60000, &c, &found, &e), &e);
		if (!found) {
			queue_one();
			claim(&c, 60000);
		}
		if (i < 2)
			must(store_job_act(s, NULL, c.id, asked[i], NULL, &to, &e), &e);
		store_claim_fini(&c);
	}
}

static int do_recover_uploads(struct err *e)
{
	return store_upload_recover(s, e);
}

/* A file without a row, one beyond what was synced, one short of it, and one whose time is over. */
static void leave_uploads(void)
{
	static const struct {
		off_t size;
		int64_t offset, expires_at;
	} left[] = {{9, 5, INT64_MAX}, {3, 5, INT64_MAX}, {5, 5, 1}};
	struct err e = ERR_INIT;
	char path[200];
	struct db *d = store_begin(s, &e);
	must(store_end(s, db_run(d, &e, "DELETE FROM uploads", ""), &e), &e);
	must(do_recover_uploads(&e), &e); /* else they would become more each time */
	for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
		struct api_upload u = {.owner = (char[]){"a"},
		                       .kind = "models",
		                       .name = (char[]){"m"},
		                       .visibility = "team",
		                       .size = 10,
		                       .expires_at = INT64_MAX};
		must(id_new("upl_", u.id, &e), &e);
		must(store_upload_add(s, &u, NULL, &e), &e);
		(void)snprintf(path, sizeof path, "%s/uploads/%s", folder, u.id);
		assert_int_equal(truncate(path, left[i].size), 0);
		d = store_begin(s, &e);
		must(store_end(s,
		               db_run(d, &e, "UPDATE uploads SET offset = ?, expires_at = ? WHERE id = ?", "iis", left[i].offset,
		                      left[i].expires_at, u.id),
		               &e),
		     &e);
	}
	(void)snprintf(path, sizeof path, "%s/uploads/upl_none", folder);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
}

static int do_sweep(struct err *e)
{
	int removed;
	return store_sweep(s, &removed, e);
}

static int do_compact(struct err *e)
{
	return store_compact(s, e);
}

static int do_probe(struct err *e)
{
	return store_probe(s, e);
}

static int do_expire(struct err *e)
{
	struct store_expired n;
	return store_expire(s, 1, 1, &n, e);
}

static void age(void)
{
	struct err e = ERR_INIT;
	enum job_status to;
	char id[API_ID + 1];
	must(do_expire(&e), &e);
	calibration[0] = '\0'; /* it is gone with its job */
	add_job(id);
	must(store_job_act(s, NULL, id, API_CANCEL, NULL, &to, &e), &e);
	struct db *d = store_begin(s, &e);
	int rc = db_run(d, &e, "UPDATE jobs SET finished_at = 1", "");
	if (rc == 0)
		rc = db_run(d, &e, "UPDATE models SET created_at = 1", "");
	if (rc == 0)
		rc = db_run(d, &e, "UPDATE calibrations SET created_at = 1", "");
	must(store_end(s, rc, &e), &e);
}

static void nothing(void)
{
}

static void a_failing_start_or_sweep_is_told(void **state)
{
	(void)state;
	fail_each_call(run_and_stop, do_recover);
	fail_each_call(leave_uploads, do_recover_uploads);
	fail_each_call(nothing, do_sweep);
	fail_each_call(nothing, do_compact);
	fail_each_call(nothing, do_probe);
}

static void what_cannot_be_forgotten_is_told(void **state)
{
	(void)state;
	fail_each_call(age, do_expire);
}

static char opened[200]; /* a folder for a store that was never opened */

static void choose_folder(void)
{
	static int n;
	(void)snprintf(opened, sizeof opened, "%s/%d/below", folder, n++);
}

static int do_open(struct err *e)
{
	struct store *other = store_open(opened, e);
	store_close(other);
	return other ? 0 : -1;
}

static void a_store_that_cannot_be_opened_opens_later(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	fail_each_call(choose_folder, do_open);
	bool failed = true;
	for (long n = 1; failed; n += 7) { /* what a failed start left is no hindrance */
		choose_folder();
		mishap_begin(n);
		(void)do_open(&e);
		failed = mishap_end();
		must(do_open(&e), &e);
	}
}

static void keep_something(void)
{
	char id[API_ID + 1], path[200];
	add_model("a model", NULL, id);
	(void)snprintf(path, sizeof path, "%s/keys", folder);
	(void)mkdir(path, 0700);
	(void)strcat(path, "/a");
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	(void)close(fd);
}

/* The command line's, which lies beside main(); nobody comes here. */
int cli_fail(const struct err *e)
{
	fail_msg("%s", e->msg);
	return 1;
}

static int do_backup(struct err *e)
{
	char file[200], left[210];
	struct backup_facts facts;
	(void)snprintf(file, sizeof file, "%s/backup", folder);
	int rc = backup_write(folder, file, &facts, e);
	(void)snprintf(left, sizeof left, "%s.db", file);
	assert_int_not_equal(access(left, F_OK), 0);
	(void)snprintf(left, sizeof left, "%s.part", file);
	assert_int_not_equal(access(left, F_OK), 0);
	return rc;
}

static void a_failing_backup_is_told_and_leaves_nothing(void **state)
{
	(void)state;
	fail_each_call(keep_something, do_backup);
}

static void a_backup_that_cannot_be_true_is_refused(void **state)
{
	struct err e = ERR_INIT;
	struct backup_facts facts;
	char file[200], path[300];
	(void)state;
	(void)snprintf(file, sizeof file, "%s/backup", folder);
	assert_int_equal(backup_write("/nonexistent", file, &facts, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	keep_something();
	(void)snprintf(path, sizeof path, "%s.db", file);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(backup_write(folder, file, &facts, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	assert_int_equal(rmdir(path), 0);
	struct part *p = part_of("a model");
	(void)snprintf(path, sizeof path, "%s/blobs/%.2s/%s", folder, part_sha256(p), part_sha256(p));
	part_free(p);
	int fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "A", 1), 1);
	(void)close(fd);
	assert_int_equal(backup_write(folder, file, &facts, &e), -1);
	assert_int_equal(e.code, ERR_IO);
	assert_non_null(strstr(e.msg, "damaged"));
	assert_int_not_equal(access(file, F_OK), 0);
}

static void of_warnings_a_thousand_are_kept(void **state)
{
	struct err e = ERR_INIT;
	int64_t n;
	(void)state;
	hold();
	struct db *d = store_begin(s, &e);
	must(store_end(s,
	               db_run(d, &e, "INSERT INTO job_warnings(job_id, seq, code, layer, detail) VALUES (?, 999, '', '', '')", "s",
	                      held.id),
	               &e),
	     &e);
	for (int i = 0; i < 3; i++)
		must(do_warn(&e), &e);
	d = store_read(s, &e);
	must(db_get_int(d, &e, &n, NULL, "SELECT max(seq) FROM job_warnings WHERE job_id = ?", "s", held.id), &e);
	store_read_end(s, d);
	assert_int_equal(n, 1000);
	let_go();
}

static void an_engine_that_sends_files_out_of_order_is_refused(void **state)
{
	struct store_artifact files[INTAKE_MAX_FILES];
	struct err e = ERR_INIT;
	size_t n;
	(void)state;
	struct intake *i = intake_new(store_blobs(s), &e);
	assert_non_null(i);
	assert_int_equal(intake_add(i, "x", 1, &e), -1);
	assert_int_equal(intake_end(i, &e), -1);
	assert_int_equal(intake_begin(i, "../f", "text/plain", &e), -1);
	assert_int_equal(intake_begin(i, ".f", "text/plain", &e), -1);
	assert_int_equal(intake_begin(i, "f", NULL, &e), -1);
	must(intake_begin(i, "f", "text/plain", &e), &e);
	assert_int_equal(intake_begin(i, "g", "text/plain", &e), -1);
	assert_int_equal(intake_files(i, files, &n, &e), -1);
	must(intake_end(i, &e), &e);
	assert_int_equal(intake_begin(i, "f", "text/plain", &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	must(intake_files(i, files, &n, &e), &e);
	assert_int_equal(n, 1);
	intake_free(i);
	assert_int_equal(scratch_count("parts"), 0);
}

static void an_archive_has_room_for_large_files_and_says_when_it_has_none(void **state)
{
	struct err e = ERR_INIT;
	char path[200], long_name[101], header[512];
	static const unsigned char nine_gib[12] = {0x80, [7] = 2, [8] = 0x40};
	(void)state;
	(void)snprintf(path, sizeof path, "%s/archive", folder);
	int fd = open(path, O_CREAT | O_RDWR, 0600), full = open("/dev/full", O_WRONLY);
	assert_true(fd >= 0 && full >= 0);
	must(tar_file(fd, "f", (int64_t)9 << 30, &e), &e);
	assert_int_equal(pread(fd, header, sizeof header, 0), sizeof header);
	assert_memory_equal(header + 124, nine_gib, sizeof nine_gib);
	memset(long_name, 'x', 100);
	long_name[100] = '\0';
	assert_int_equal(tar_file(fd, long_name, 1, &e), -1);
	assert_int_equal(e.code, ERR_INTERNAL);
	assert_int_equal(tar_file(full, "f", 1, &e), -1);
	assert_int_equal(e.code, ERR_DISK_FULL);
	assert_int_equal(tar_pad(full, 1, &e), -1);
	assert_int_equal(tar_end(full, &e), -1);
	(void)close(fd);
	(void)close(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(what_a_worker_cannot_write_is_told),
		WITH_STORE(a_failing_start_or_sweep_is_told),
		WITH_STORE(what_cannot_be_forgotten_is_told),
		WITH_STORE(a_store_that_cannot_be_opened_opens_later),
		WITH_STORE(a_failing_backup_is_told_and_leaves_nothing),
		WITH_STORE(a_backup_that_cannot_be_true_is_refused),
		WITH_STORE(of_warnings_a_thousand_are_kept),
		WITH_STORE(an_engine_that_sends_files_out_of_order_is_refused),
		WITH_STORE(an_archive_has_room_for_large_files_and_says_when_it_has_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
