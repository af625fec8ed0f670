#include "mishap.h"
#include "scratch.h"

#include "server/base/id.h"
#include "server/cli/backup.h"
#include "server/cli/cli.h"
#include "server/store/intake.h"
#include "server/store/store.h"
#include "server/store/store_calibration.h"
#include "server/store/store_expire.h"
#include "server/store/store_job.h"
#include "server/store/store_model.h"
#include "server/store/store_once.h"
#include "server/store/store_upload.h"
#include "server/store/tar.h"

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
	folder = scratch_in_memory(); /* thousands of transactions: syncing should take no time */
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
	struct api_model m = {.name = (char[]){"m"},
	                      .labels = (char[]){"{}"},
	                      .owner = (char[]){""},
	                      .visibility = "team",
	                      .inputs = (char[]){"[]"},
	                      .outputs = (char[]){"[]"},
	                      .files = files,
	                      .nfiles = file != NULL};
	bool existing = false;
	must(id_new("mdl_", m.id, &e), &e);
	memcpy(m.sha256, part_sha256(p), sizeof m.sha256);
	if (!file)
		memcpy(m.digest, m.sha256, sizeof m.digest);
	m.size = part_size(p);
	must(store_model_add(s, p, &m, "[]", NULL, id, &existing, &e), &e);
	part_free(p);
	return existing;
}

static void add_calibration(const char *text, char id[API_ID + 1])
{
	struct err e = ERR_INIT;
	struct part *p = part_of(text);
	struct api_calibration c = {.name = (char[]){"c"},
	                            .labels = (char[]){"{}"},
	                            .owner = (char[]){""},
	                            .visibility = "team",
	                            .arrays = (char[]){"[]"},
	                            .samples = -1};
	bool existing;
	must(id_new("cal_", c.id, &e), &e);
	memcpy(c.sha256, part_sha256(p), sizeof c.sha256);
	must(store_calibration_add(s, p, &c, NULL, id, &existing, &e), &e);
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
	                                .owner = "",
	                                .visibility = "team",
	                                .fingerprint = "f",
	                                .model_id = model,
	                                .model_sha256 = "m",
	                                .calibration_id = calibration,
	                                .calibration_sha256 = "c",
	                                .samples = 1,
	                                .samples_used = 1};
	char made[API_ID + 1];
	must(store_job_add(s, &j, &(struct store_limits){100, 100}, NULL, made, &e), &e);
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
	must(store_job_get(s, NULL, id, &j, &e), &e);
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
	must(store_model_delete(s, NULL, first, &e), &e);
	assert_int_equal(scratch_count("blobs"), 1);
	must(store_model_delete(s, NULL, second, &e), &e);
	assert_int_equal(scratch_count("blobs"), 0);
	assert_int_equal(store_model_delete(s, NULL, second, &e), -1);
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
	must(store_model_get(s, NULL, id, &m, &e), &e);
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
	assert_int_equal(store_model_delete(s, NULL, model, &e), -1);
	assert_int_equal(e.code, ERR_IN_USE);
	assert_int_equal(store_calibration_delete(s, NULL, calibration, &e), -1);
	assert_int_equal(e.code, ERR_IN_USE);
	must(store_job_act(s, NULL, job, API_CANCEL, NULL, &to, &e), &e);
	must(store_model_delete(s, NULL, model, &e), &e);
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
	const struct store_job_new j = {.id = "job_x",
	                                .name = "",
	                                .labels = "{}",
	                                .params = "{}",
	                                .owner = "",
	                                .visibility = "team",
	                                .fingerprint = "f",
	                                .model_id = model,
	                                .model_sha256 = "m",
	                                .calibration_id = calibration,
	                                .calibration_sha256 = "c"};
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
	const struct store_job_new j = {.id = made,
	                                .name = "",
	                                .labels = "{}",
	                                .params = "{}",
	                                .owner = owner,
	                                .visibility = "private",
	                                .priority = priority,
	                                .fingerprint = fingerprint,
	                                .reuse = true,
	                                .model_id = model,
	                                .model_sha256 = "m",
	                                .calibration_id = calibration,
	                                .calibration_sha256 = "c"};
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

/* ---- what fails on the way ---- */

/* Does the work while its n-th call fails, for every n, until there is none that could; before() is called each time, and nothing fails in it.
 * A failure is told as the server's, and leaves no file that somebody was still writing. */
static void fail_each_call(void (*before)(void), int (*work)(struct err *e))
{
	bool failed = true;
	for (long n = 1; failed; n++) {
		struct err e = ERR_INIT;
		before();
		mishap_begin(n);
		int rc = work(&e);
		failed = mishap_end();
		if (rc < 0 && (!failed || (e.code != ERR_MEMORY && e.code != ERR_IO)))
			fail_msg("call %ld, %s: %s: %s", n, mishap_name(), err_name(e.code), e.msg);
		assert_int_equal(scratch_count("parts"), 0);
	}
}

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
	double grid[4] = {-1, 1, 0.25, -4};
	const struct store_layer l = {.summary = {.node = (char[]){"/conv"},
	                                          .op_type = (char[]){"Conv"},
	                                          .weight = (char[]){"w"},
	                                          .channels = 1,
	                                          .strategy = (char[]){"gram"},
	                                          .chosen = (char[]){"[19]"}},
	                              .grids = grid,
	                              .grids_len = sizeof grid,
	                              .frame = "{}"};
	return store_job_add_layer(s, &held, &l, e);
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
		T(owners_are_served_in_turn_and_by_priority),
		T(what_others_keep_private_is_not_there),
		T(a_key_makes_one_job),
		T(equal_jobs_of_an_owner_share_results),
		T(a_job_pauses_and_goes_on),
		T(a_newer_database_is_refused),
		T(a_rollback_that_fails_holds_nobody_up),
		T(what_a_worker_cannot_write_is_told),
		T(a_failing_start_or_sweep_is_told),
		T(what_cannot_be_forgotten_is_told),
		T(a_store_that_cannot_be_opened_opens_later),
		T(a_failing_backup_is_told_and_leaves_nothing),
		T(of_warnings_a_thousand_are_kept),
		T(an_engine_that_sends_files_out_of_order_is_refused),
		T(an_archive_has_room_for_large_files_and_says_when_it_has_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
