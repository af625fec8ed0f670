#include "mishap.h"
#include "scratch.h"
#include "store_fixture.h"

#include "server/base/id.h"
#include "server/store/store.h"
#include "server/store/store_job.h"
#include "server/store/store_model.h"
#include "server/store/store_object.h"
#include "server/store/store_once.h"

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

static void assert_status(const char *id, const char *status)
{
	struct err e = ERR_INIT;
	struct api_job j;
	must(store_job_get(s, NULL, id, &j, &e), &e);
	assert_string_equal(j.status, status);
	api_job_fini(&j);
}

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
	must(store_object_delete(s, NULL, API_MODEL, first, &e), &e);
	assert_int_equal(scratch_count("blobs"), 1);
	must(store_object_delete(s, NULL, API_MODEL, second, &e), &e);
	assert_int_equal(scratch_count("blobs"), 0);
	assert_int_equal(store_object_delete(s, NULL, API_MODEL, second, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
}

static void the_last_file_completes_a_model_for_good(void **state)
{
	struct err e = ERR_INIT;
	struct api_object m;
	char id[API_ID + 1];
	(void)state;
	add_model("one", "w.data", id);
	struct part *p = part_of("weights"), *q = part_of("others");
	must(store_model_set_file(s, p, id, "w.data", "digest", &e), &e);
	assert_int_equal(store_model_set_file(s, q, id, "w.data", "digest", &e), -1);
	assert_int_equal(e.code, ERR_BAD_STATE);
	must(store_object_get(s, NULL, API_MODEL, id, &m, &e), &e);
	assert_string_equal(m.digest, "digest");
	assert_true(m.files[0].present);
	api_object_fini(&m);
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
	assert_int_equal(store_object_delete(s, NULL, API_MODEL, model, &e), -1);
	assert_int_equal(e.code, ERR_IN_USE);
	assert_int_equal(store_object_delete(s, NULL, API_CALIBRATION, calibration, &e), -1);
	assert_int_equal(e.code, ERR_IN_USE);
	must(store_job_act(s, NULL, job, API_CANCEL, NULL, &to, &e), &e);
	must(store_object_delete(s, NULL, API_MODEL, model, &e), &e);
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
	must(store_job_act(s, NULL, job, API_CANCEL, NULL, &to, &e), &e);
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
	must(store_job_act(s, NULL, other, API_CANCEL, NULL, &to, &e), &e);
	store_claim_fini(&again);
	reopen();
	must(store_job_recover(s, &requeued, &e), &e);
	assert_int_equal(requeued, 1);
	assert_status(job, "queued");
	assert_status(other, "canceled");
	claim(&again, 60000);
	assert_int_equal(again.attempt, 2);
	assert_int_equal(again.deaths, 0);
	must(store_job_layers(s, NULL, job, &layers, &n, &e), &e);
	assert_int_equal(n, 1);
	assert_true(isnan(layers[0].loss));
	api_layers_free(layers, n);
	must(store_job_events(s, NULL, job, 0, 100, &events, &n, &e), &e);
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
	const struct store_job_new j = new_job("job_x");
	assert_int_equal(store_job_add(s, &j, &(struct store_limits){1, 100}, NULL, job, &e), -1);
	assert_int_equal(e.code, ERR_QUEUE_FULL);
	assert_int_equal(store_job_add(s, &j, &(struct store_limits){100, 1}, NULL, job, &e), -1);
	assert_int_equal(e.code, ERR_QUEUE_FULL);
}

/* A job of that owner, with that priority. */
static void add_owned(const char *owner, int64_t priority, const char *fingerprint, struct api_once *once, char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	char made[API_ID + 1];
	must(id_new("job_", made, &e), &e);
	struct store_job_new j = new_job(made);
	j.owner = owner;
	j.visibility = "private";
	j.priority = priority;
	j.fingerprint = fingerprint;
	j.reuse = true;
	must(store_job_add(s, &j, &(struct store_limits){100, 100}, once, id, &e), &e);
}

static int64_t position(const char *id)
{
	struct err e = ERR_INIT;
	struct api_job j;
	must(store_job_get(s, NULL, id, &j, &e), &e);
	int64_t n = j.queue_position;
	api_job_fini(&j);
	return n;
}

static void owners_are_served_in_turn_and_by_priority(void **state)
{
	char first[API_ID + 1], a[3][API_ID + 1], b[2][API_ID + 1];
	(void)state;
	add_job(first); /* owner "" */
	for (int i = 0; i < 3; i++)
		add_owned("a", i == 2 ? 5 : 0, "", NULL, a[i]);
	for (int i = 0; i < 2; i++)
		add_owned("b", 0, "x", NULL, b[i]);
	const char *order[] = {first, a[2], b[0], a[0], b[1], a[1]};
	for (int64_t i = 0; i < 6; i++)
		assert_int_equal(position(order[i]), i + 1);
	for (int i = 0; i < 6; i++) {
		struct store_claim c;
		assert_int_equal(position(order[i]), 1);
		claim(&c, 60000);
		assert_string_equal(c.id, order[i]);
		store_claim_fini(&c);
	}
}

static void what_others_keep_private_is_not_there(void **state)
{
	const struct api_caller a = {.owner = "a"}, b = {.owner = "b"}, admin = {.owner = "c", .all = true};
	struct err e = ERR_INIT;
	struct api_job j;
	enum job_status to;
	char id[API_ID + 1], shared[API_ID + 1];
	(void)state;
	add_job(shared);
	add_owned("a", 0, "", NULL, id);
	must(store_job_get(s, &a, id, &j, &e), &e);
	api_job_fini(&j);
	must(store_job_get(s, &admin, id, &j, &e), &e);
	api_job_fini(&j);
	assert_int_equal(store_job_get(s, &b, id, &j, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_int_equal(store_job_act(s, &b, id, API_CANCEL, NULL, &to, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	/* The team's may be seen and not changed. */
	must(store_job_get(s, &b, shared, &j, &e), &e);
	api_job_fini(&j);
	assert_int_equal(store_job_act(s, &b, shared, API_CANCEL, NULL, &to, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	must(store_job_act(s, &admin, shared, API_CANCEL, NULL, &to, &e), &e);
}

static void a_key_makes_one_job(void **state)
{
	struct api_once once = {.key = "k", .fingerprint = "1"};
	struct err e = ERR_INIT;
	enum job_status to;
	char job[API_ID + 1], first[API_ID + 1], second[API_ID + 1], other[API_ID + 1];
	(void)state;
	add_job(job);
	add_owned("a", 0, "", &once, first);
	assert_false(once.replayed);
	add_owned("a", 0, "", &once, second);
	assert_true(once.replayed);
	assert_string_equal(first, second);
	add_owned("b", 0, "", &once, other); /* another owner's key is another key */
	assert_string_not_equal(first, other);
	once = (struct api_once){.key = "k", .fingerprint = "2"};
	assert_int_equal(store_once_made(s, "a", &once, second, &e), -1);
	assert_int_equal(e.code, ERR_REUSE);
	must(store_job_act(s, NULL, first, API_CANCEL, NULL, &to, &e), &e);
	must(store_job_delete(s, NULL, first, &e), &e);
	once = (struct api_once){.key = "k", .fingerprint = "1"};
	assert_int_equal(store_once_made(s, "a", &once, second, &e), -1);
	assert_int_equal(e.code, ERR_GONE);
}

static void equal_jobs_of_an_owner_share_results(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim c;
	struct api_job j;
	char first[API_ID + 1], second[API_ID + 1], other[API_ID + 1], job[API_ID + 1];
	(void)state;
	add_job(job);
	add_owned("a", 0, "same", NULL, first);
	claim(&c, 60000);
	store_claim_fini(&c);
	claim(&c, 60000);
	assert_string_equal(c.id, first);
	struct part *p = part_of("result");
	const struct store_artifact file = {"f", "text/plain", p};
	must(store_job_succeed(s, &c, &no_usage, &file, 1, &e), &e);
	store_claim_fini(&c);
	part_free(p);
	add_owned("a", 0, "same", NULL, second);
	must(store_job_get(s, NULL, second, &j, &e), &e);
	assert_string_equal(j.status, "succeeded");
	assert_string_equal(j.reused_from, first);
	assert_int_equal(j.nartifacts, 1);
	api_job_fini(&j);
	add_owned("b", 0, "same", NULL, other);
	assert_status(other, "queued");
	/* The results outlive the job that they were made for. */
	must(store_job_delete(s, NULL, first, &e), &e);
	assert_int_equal(scratch_count("blobs"), 3);
}

static void a_job_pauses_and_goes_on(void **state)
{
	struct err e = ERR_INIT;
	struct store_claim c;
	enum job_status to;
	char id[API_ID + 1];
	bool found;
	(void)state;
	add_job(id);
	must(store_job_act(s, NULL, id, API_PAUSE, NULL, &to, &e), &e);
	assert_int_equal(to, JOB_PAUSED);
	must(store_job_claim(s, 60000, &c, &found, &e), &e);
	assert_false(found);
	must(store_job_act(s, NULL, id, API_RESUME, NULL, &to, &e), &e);
	claim(&c, 60000);
	must(store_job_act(s, NULL, id, API_PAUSE, NULL, &to, &e), &e);
	assert_int_equal(to, JOB_PAUSING);
	assert_int_equal(store_job_act(s, NULL, id, API_RESUME, NULL, &to, &e), -1);
	assert_int_equal(e.code, ERR_BAD_STATE);
	must(store_job_stopped(s, &c, &no_usage, &e), &e);
	assert_status(id, "paused");
	store_claim_fini(&c);
	must(store_job_act(s, NULL, id, API_CANCEL, NULL, &to, &e), &e);
	assert_int_equal(to, JOB_CANCELED);
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
	must(store_job_list(s, NULL, &page, &(struct api_job_filter){.status = "queued"}, &j, &n, &e), &e);
	assert_int_equal(n, 2);
	assert_string_equal(j[0].id, ids[2]);
	assert_int_equal(j[0].queue_position, 3);
	memcpy(page.after, j[1].id, sizeof page.after);
	api_jobs_free(j, n);
	must(store_job_list(s, NULL, &page, &(struct api_job_filter){.status = NULL}, &j, &n, &e), &e);
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

static void a_rollback_that_fails_holds_nobody_up(void **state)
{
	bool failed = true;
	(void)state;
	for (long n = 1; failed; n++) { /* one of its calls is the rollback */
		struct err e = ERR_INIT;
		mishap_begin(n);
		(void)store_probe(s, &e);
		failed = mishap_end();
		must(store_begin(s, &e) ? 0 : -1, &e);
		must(store_end(s, 0, &e), &e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_STORE(a_second_daemon_is_refused),
		WITH_STORE(a_part_that_is_not_kept_leaves_nothing),
		WITH_STORE(a_failed_transaction_takes_the_blob_back),
		WITH_STORE(an_equal_model_is_not_added_twice),
		WITH_STORE(incomplete_models_are_never_the_same),
		WITH_STORE(blobs_go_with_their_last_user),
		WITH_STORE(the_last_file_completes_a_model_for_good),
		WITH_STORE(objects_of_live_jobs_stay),
		WITH_STORE(jobs_are_claimed_oldest_first_and_once),
		WITH_STORE(a_lost_lease_fences_the_old_worker_off),
		WITH_STORE(no_result_comes_after_a_cancel),
		WITH_STORE(a_restart_queues_running_jobs_and_keeps_their_layers),
		WITH_STORE(the_sweep_removes_what_no_row_uses),
		WITH_STORE(a_full_queue_refuses),
		WITH_STORE(lists_go_from_new_to_old_in_pages),
		WITH_STORE(owners_are_served_in_turn_and_by_priority),
		WITH_STORE(what_others_keep_private_is_not_there),
		WITH_STORE(a_key_makes_one_job),
		WITH_STORE(equal_jobs_of_an_owner_share_results),
		WITH_STORE(a_job_pauses_and_goes_on),
		WITH_STORE(a_newer_database_is_refused),
		WITH_STORE(a_rollback_that_fails_holds_nobody_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
