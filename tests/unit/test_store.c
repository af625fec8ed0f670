#include "scratch.h"

#include "server/id.h"
#include "server/store.h"
#include "server/store_calibration.h"
#include "server/store_job.h"
#include "server/store_model.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct store *s;
static const char *folder;

static void must(int rc, const struct err *e)
{
	if (rc < 0)
		fail_msg("%s: %s", err_name(e->code), e->msg);
}

static int open_store(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	folder = scratch_new();
	s = store_open(folder, &e);
	return s ? 0 : -1;
}

static int close_store(void **state)
{
	(void)state;
	store_close(s);
	scratch_remove();
	return 0;
}

static void reopen(void)
{
	struct err e = ERR_INIT;
	store_close(s);
	s = store_open(folder, &e);
	must(s ? 0 : -1, &e);
}

static struct part *part_of(const char *text)
{
	struct err e = ERR_INIT;
	struct part *p = part_new(store_blobs(s), &e);
	must(p && part_add(p, text, strlen(text), &e) == 0 && part_end(p, &e) == 0 ? part_sync(p, &e) : -1, &e);
	return p;
}

/* A model whose file is the text, with one external file when its name is not NULL. */
static bool add_model(const char *text, const char *file, char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	struct part *p = part_of(text);
	struct api_file files[1] = {{.name = (char *)(uintptr_t)file}};
	struct api_model m = {
		.name = (char[]){"m"}, .inputs = (char[]){"[]"}, .outputs = (char[]){"[]"}, .files = files, .nfiles = file != NULL};
	bool existing = false;
	must(id_new("mdl_", m.id, &e), &e);
	memcpy(m.sha256, part_sha256(p), sizeof m.sha256);
	if (!file)
		memcpy(m.digest, m.sha256, sizeof m.digest);
	m.size = part_size(p);
	must(store_model_add(s, p, &m, "[]", id, &existing, &e), &e);
	part_free(p);
	return existing;
}

static void add_calibration(const char *text, char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	struct part *p = part_of(text);
	struct api_calibration c = {.name = (char[]){"c"}, .arrays = (char[]){"[]"}, .samples = -1};
	bool existing;
	must(id_new("cal_", c.id, &e), &e);
	memcpy(c.sha256, part_sha256(p), sizeof c.sha256);
	must(store_calibration_add(s, p, &c, id, &existing, &e), &e);
	part_free(p);
}

static char model[API_ID + 1], calibration[API_ID + 1];

static void add_job(char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	add_model("a model", NULL, model);
	if (!calibration[0])
		add_calibration("a calibration", calibration);
	must(id_new("job_", id, &e), &e);
	const struct store_job_new j = {.id = id,
	                                .name = "",
	                                .labels = "{}",
	                                .params = "{}",
	                                .model_id = model,
	                                .model_sha256 = "m",
	                                .calibration_id = calibration,
	                                .calibration_sha256 = "c",
	                                .samples = 1,
	                                .samples_used = 1};
	must(store_job_add(s, &j, 100, &e), &e);
}

static int set_up(void **state)
{
	calibration[0] = '\0';
	return open_store(state);
}

static void claim(struct store_claim *c, int64_t lease_ms)
{
	struct err e = ERR_INIT;
	bool found;
	must(store_job_claim(s, lease_ms, c, &found, &e), &e);
	assert_true(found);
}

static void assert_status(const char *id, const char *status)
{
	struct err e = ERR_INIT;
	struct api_job j;
	must(store_job_get(s, id, &j, &e), &e);
	assert_string_equal(j.status, status);
	api_job_fini(&j);
}

static const struct store_usage no_usage = {0, 0, 0};

static void a_second_daemon_is_refused(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	assert_null(store_open(folder, &e));
	assert_int_equal(e.code, ERR_BAD_STATE);
}

static void a_part_that_is_not_kept_leaves_nothing(void **state)
{
	(void)state;
	struct part *p = part_of("x");
	assert_int_equal(scratch_count("parts"), 1);
	part_free(p);
	assert_int_equal(scratch_count("parts"), 0);
	assert_int_equal(scratch_count("blobs"), 0);
}

static void a_failed_transaction_takes_the_blob_back(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	struct part *p = part_of("x");
	assert_non_null(store_begin(s, &e));
	must(store_keep(s, p, &e), &e);
	assert_int_equal(scratch_count("blobs"), 1);
	assert_int_equal(store_end(s, -1, &e), -1);
	assert_int_equal(scratch_count("blobs"), 0);
	part_free(p);
}

static void an_equal_model_is_not_added_twice(void **state)
{
	char first[API_ID + 1], second[API_ID + 1];
	(void)state;
	assert_false(add_model("one", NULL, first));
	assert_true(add_model("one", NULL, second));
	assert_string_equal(first, second);
	assert_int_equal(scratch_count("blobs"), 1);
	assert_int_equal(scratch_count("parts"), 0);
}

static void incomplete_models_are_never_the_same(void **state)
{
	char first[API_ID + 1], second[API_ID + 1];
	(void)state;
	assert_false(add_model("one", "w.data", first));
	assert_false(add_model("one", "w.data", second));
	assert_string_not_equal(first, second);
}

static void blobs_go_with_their_last_user(void **state)
{
	struct err e = ERR_INIT;
	char first[API_ID + 1], second[API_ID + 1];
	(void)state;
	add_model("one", "w.data", first);
	add_model("one", "w.data", second);
	must(store_model_delete(s, first, &e), &e);
	assert_int_equal(scratch_count("blobs"), 1);
	must(store_model_delete(s, second, &e), &e);
	assert_int_equal(scratch_count("blobs"), 0);
	assert_int_equal(store_model_delete(s, second, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
}

static void the_last_file_completes_a_model_for_good(void **state)
{
	struct err e = ERR_INIT;
	struct api_model m;
	char id[API_ID + 1];
	(void)state;
	add_model("one", "w.data", id);
	struct part *p = part_of("weights"), *q = part_of("others");
	must(store_model_set_file(s, p, id, "w.data", "digest", &e), &e);
	assert_int_equal(store_model_set_file(s, q, id, "w.data", "digest", &e), -1);
	assert_int_equal(e.code, ERR_BAD_STATE);
	must(store_model_get(s, id, &m, &e), &e);
	assert_string_equal(m.digest, "digest");
	assert_true(m.files[0].present);
	api_model_fini(&m);
	part_free(p);
	part_free(q);
	assert_int_equal(scratch_count("blobs"), 2);
}

static void objects_of_live_jobs_stay(void **state)
{
	struct err e = ERR_INIT;
	enum job_status to;
	char job[API_ID + 1];
	(void)state;
	add_job(job);
	assert_int_equal(store_model_delete(s, model, &e), -1);
	assert_int_equal(e.code, ERR_IN_USE);
	assert_int_equal(store_calibration_delete(s, calibration, &e), -1);
	assert_int_equal(e.code, ERR_IN_USE);
	must(store_job_cancel(s, job, &to, &e), &e);
	must(store_model_delete(s, model, &e), &e);
}

static void jobs_are_claimed_oldest_first_and_once(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim a, b, c;
	char first[API_ID + 1], second[API_ID + 1];
	bool found;
	(void)state;
	add_job(first);
	add_job(second);
	claim(&a, 60000);
	claim(&b, 60000);
	assert_string_equal(a.id, first);
	assert_string_equal(b.id, second);
	assert_int_equal(a.attempt, 1);
	must(store_job_claim(s, 60000, &c, &found, &e), &e);
	assert_false(found);
	store_claim_fini(&a);
	store_claim_fini(&b);
}

static void a_lost_lease_fences_the_old_worker_off(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim old, new;
	char job[API_ID + 1];
	(void)state;
	add_job(job);
	claim(&old, -1);
	claim(&new, 60000);
	assert_int_equal(new.attempt, 2);
	assert_int_equal(store_job_beat(s, &old, 60000, NULL, &e), -1);
	assert_int_equal(e.code, ERR_BAD_STATE);
	assert_int_equal(store_job_succeed(s, &old, &no_usage, NULL, 0, &e), -1);
	assert_int_equal(e.code, ERR_BAD_STATE);
	must(store_job_beat(s, &new, 60000, NULL, &e), &e);
	must(store_job_succeed(s, &new, &no_usage, NULL, 0, &e), &e);
	assert_status(job, "succeeded");
	store_claim_fini(&old);
	store_claim_fini(&new);
}

static void no_result_comes_after_a_cancel(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim c;
	enum job_status to;
	char job[API_ID + 1];
	(void)state;
	add_job(job);
	claim(&c, 60000);
	must(store_job_cancel(s, job, &to, &e), &e);
	assert_int_equal(to, JOB_CANCELING);
	struct part *p = part_of("a result");
	const struct store_artifact file = {"x", "text/plain", p};
	assert_int_equal(store_job_succeed(s, &c, &no_usage, &file, 1, &e), -1);
	assert_int_equal(e.code, ERR_BAD_STATE);
	part_free(p);
	must(store_job_stopped(s, &c, &no_usage, &e), &e);
	assert_status(job, "canceled");
	assert_int_equal(scratch_count("parts"), 0);
	assert_int_equal(scratch_count("blobs"), 2); /* model and calibration */
	store_claim_fini(&c);
}

static void a_restart_queues_running_jobs_and_keeps_their_layers(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim c, again;
	struct api_layer *layers;
	struct api_event *events;
	double grid[4] = {-1, 1, 0.25, -4};
	struct store_layer l = {.summary = {.node = (char[]){"/conv"},
	                                    .op_type = (char[]){"Conv"},
	                                    .weight = (char[]){"w"},
	                                    .channels = 1,
	                                    .strategy = (char[]){"gram"},
	                                    .chosen = (char[]){"[19]"},
	                                    .loss = (double)NAN},
	                        .grids = grid,
	                        .grids_len = sizeof grid};
	char job[API_ID + 1], other[API_ID + 1];
	enum job_status to;
	size_t n;
	int requeued;
	(void)state;
	add_job(job);
	add_job(other);
	claim(&c, 60000);
	must(store_job_add_layer(s, &c, &l, &e), &e);
	claim(&again, 60000);
	must(store_job_cancel(s, other, &to, &e), &e);
	store_claim_fini(&again);
	reopen();
	must(store_job_recover(s, &requeued, &e), &e);
	assert_int_equal(requeued, 1);
	assert_status(job, "queued");
	assert_status(other, "canceled");
	claim(&again, 60000);
	assert_int_equal(again.attempt, 2);
	assert_int_equal(again.deaths, 0);
	must(store_job_layers(s, job, &layers, &n, &e), &e);
	assert_int_equal(n, 1);
	assert_true(isnan(layers[0].loss));
	api_layers_free(layers, n);
	must(store_job_events(s, job, 0, 100, &events, &n, &e), &e);
	assert_int_equal(n, 5); /* queued, running, layer, queued, running */
	api_events_free(events, n);
	store_claim_fini(&c);
	store_claim_fini(&again);
}

static void the_sweep_removes_what_no_row_uses(void **state)
{
	struct err e = ERR_INIT;
	char id[API_ID + 1], path[200];
	int removed;
	(void)state;
	add_model("one", NULL, id);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", folder, i ? "blobs/fe" : "parts/left");
		if (i) {
			assert_int_equal(mkdir(path, 0700), 0);
			(void)strcat(path, "/fe00");
		}
		int fd = open(path, O_CREAT | O_WRONLY, 0600);
		assert_true(fd >= 0);
		(void)close(fd);
	}
	must(store_sweep(s, &removed, &e), &e);
	assert_int_equal(removed, 2);
	assert_int_equal(scratch_count("blobs"), 1);
}

static void a_full_queue_refuses(void **state)
{
	struct err e = ERR_INIT;
	char job[API_ID + 1];
	(void)state;
	add_job(job);
	const struct store_job_new j = {.id = "job_x",
	                                .name = "",
	                                .labels = "{}",
	                                .params = "{}",
	                                .model_id = model,
	                                .model_sha256 = "m",
	                                .calibration_id = calibration,
	                                .calibration_sha256 = "c"};
	assert_int_equal(store_job_add(s, &j, 1, &e), -1);
	assert_int_equal(e.code, ERR_QUEUE_FULL);
}

static void lists_go_from_new_to_old_in_pages(void **state)
{
	struct err e = ERR_INIT;
	struct api_page page = {.limit = 2};
	struct api_job *j;
	char ids[3][API_ID + 1];
	size_t n;
	(void)state;
	for (int i = 0; i < 3; i++)
		add_job(ids[i]);
	must(store_job_list(s, &page, "queued", &j, &n, &e), &e);
	assert_int_equal(n, 2);
	assert_string_equal(j[0].id, ids[2]);
	assert_int_equal(j[0].queue_position, 3);
	memcpy(page.after, j[1].id, sizeof page.after);
	api_jobs_free(j, n);
	must(store_job_list(s, &page, NULL, &j, &n, &e), &e);
	assert_int_equal(n, 1);
	assert_string_equal(j[0].id, ids[0]);
	api_jobs_free(j, n);
}

static void a_newer_database_is_refused(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	struct db *d = store_begin(s, &e);
	must(db_run(d, &e, "INSERT INTO schema_migrations VALUES (9999, 'future', 0)", ""), &e);
	must(store_end(s, 0, &e), &e);
	store_close(s);
	s = store_open(folder, &e);
	assert_null(s);
	assert_int_equal(e.code, ERR_BAD_STATE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, close_store)
	const struct CMUnitTest tests[] = {
		T(a_second_daemon_is_refused),
		T(a_part_that_is_not_kept_leaves_nothing),
		T(a_failed_transaction_takes_the_blob_back),
		T(an_equal_model_is_not_added_twice),
		T(incomplete_models_are_never_the_same),
		T(blobs_go_with_their_last_user),
		T(the_last_file_completes_a_model_for_good),
		T(objects_of_live_jobs_stay),
		T(jobs_are_claimed_oldest_first_and_once),
		T(a_lost_lease_fences_the_old_worker_off),
		T(no_result_comes_after_a_cancel),
		T(a_restart_queues_running_jobs_and_keeps_their_layers),
		T(the_sweep_removes_what_no_row_uses),
		T(a_full_queue_refuses),
		T(lists_go_from_new_to_old_in_pages),
		T(a_newer_database_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
