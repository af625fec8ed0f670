/* The daemon's small parts, one after the other: targets, heads, frames, uploads, settings, states, ids, waiting. */

#include "scratch.h"

#include "api/http.h"
#include "server/base/id.h"
#include "server/config.h"
#include "server/engine/frame.h"
#include "server/engine/layer_frame.h"
#include "server/floors.h"
#include "server/http/crew.h"
#include "server/http/guard.h"
#include "server/http/listen.h"
#include "server/http/upload.h"
#include "server/http/watch.h"
#include "server/store/intake.h"
#include "server/store/job_state.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- targets ---- */

static void targets_are_decoded_once(void **state)
{
	struct http_request q = {.method = HTTP_GET};
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(http_parse_target(&q, "/a%2Fb/%252e/c+d?x=1+2&y=%C3%A4&&z", &e), 0);
	assert_int_equal(q.nsegments, 3);
	assert_string_equal(q.segments[0], "a/b");
	assert_string_equal(q.segments[1], "%2e");
	assert_string_equal(q.segments[2], "c+d");
	assert_string_equal(http_query(&q, "x"), "1 2");
	assert_string_equal(http_query(&q, "y"), "\xc3\xa4");
	assert_string_equal(http_query(&q, "z"), "");
	assert_null(http_query(&q, "w"));
	http_request_fini(&q);
}

static void malformed_targets_are_refused(void **state)
{
	static const char *const wrong[] = {"",
	                                    "x",
	                                    "*",
	                                    "http://h/",
	                                    "/%",
	                                    "/%4",
	                                    "/%zz",
	                                    "/%00",
	                                    "/a%0ab",
	                                    "/\x01",
	                                    "/%7f",
	                                    "/%ff",
	                                    "/%c0%af",
	                                    "/%ed%a0%80",
	                                    "/%f5%80%80%80",
	                                    "/?a=%",
	                                    "/?a=1&a=2",
	                                    "/?a&a",
	                                    "/\xe4",
	                                    "/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8/9/1/2/3/4/5/6/7/8/9",
	                                    "/?1&2&3&4&5&6&7&8&9&10&11&12&13&14&15&16&17"};
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct http_request q = {.method = HTTP_GET};
		struct err e = ERR_INIT;
		if (http_parse_target(&q, wrong[i], &e) == 0)
			fail_msg("%s passed", wrong[i]);
		assert_int_equal(e.code, ERR_BAD_PARAM);
		http_request_fini(&q);
	}
}

/* ---- heads ---- */

static const struct config limits = {.max_header_fields = 8, .max_header_bytes = 500};

/* The status of a request with these headers (name, value, …); 0: it may pass. */
static int head(const char *const *headers)
{
	struct http_request q = {.method = HTTP_GET, .id = "rq"};
	struct http_response r;
	struct err e = ERR_INIT;
	http_response_init(&r);
	for (; *headers; headers += 2)
		assert_int_equal(http_add_header(&q, headers[0], headers[1], &e), 0);
	int status = guard_head(&limits, &q, true, &r) ? 0 : r.status;
	http_response_fini(&r);
	http_request_fini(&q);
	return status;
}

#define HEAD(...) head((const char *const[]){__VA_ARGS__, NULL})
#define HOST      "Host", "localhost"

static void ambiguous_lengths_are_refused(void **state)
{
	(void)state;
	assert_int_equal(HEAD(HOST, "Content-Length", "5"), 0);
	assert_int_equal(HEAD(HOST, "Transfer-Encoding", "Chunked"), 0);
	assert_int_equal(HEAD(HOST, "Content-Length", "5", "content-length", "5"), 400);
	assert_int_equal(HEAD(HOST, "Content-Length", "5", "Transfer-Encoding", "chunked"), 400);
	assert_int_equal(HEAD(HOST, "Transfer-Encoding", "chunked", "Transfer-Encoding", "chunked"), 400);
	assert_int_equal(HEAD(HOST, "Transfer-Encoding", "gzip, chunked"), 400);
	assert_int_equal(HEAD(HOST, "Content-Length", "+5"), 400);
	assert_int_equal(HEAD(HOST, "Content-Length", "0x5"), 400);
	assert_int_equal(HEAD(HOST, "Content-Length", ""), 400);
}

static void only_loopback_names_are_answered(void **state)
{
	static const char *const right[] = {"localhost", "LocalHost:80", "127.0.0.1", "127.8.9.1:8080", "[::1]", "[::1]:1"};
	static const char *const wrong[] = {"example.com",
	                                    "localhost.example.com",
	                                    "127.0.0.1.example.com",
	                                    "10.0.0.1",
	                                    "[::2]",
	                                    "::1",
	                                    "[::1",
	                                    "localhost:x",
	                                    "",
	                                    ":80",
	                                    "localhost@evil",
	                                    "127.1",
	                                    "0.0.0.0",
	                                    "[::1]x"};
	(void)state;
	for (size_t i = 0; i < sizeof right / sizeof *right; i++)
		assert_int_equal(HEAD("Host", right[i]), 0);
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_int_equal(HEAD("Host", wrong[i]), 403);
	assert_int_equal(HEAD("Accept", "x"), 400);
	assert_int_equal(HEAD(HOST, HOST), 400);
	assert_int_equal(HEAD(HOST, "Origin", "http://localhost:3000"), 0);
	assert_int_equal(HEAD(HOST, "Origin", "http://evil.example"), 403);
	assert_int_equal(HEAD(HOST, "Origin", "null"), 403);
}

static void large_heads_are_refused(void **state)
{
	char big[600];
	(void)state;
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	assert_int_equal(HEAD(HOST, "X", big), 431);
	assert_int_equal(HEAD(HOST, "1", "", "2", "", "3", "", "4", "", "5", "", "6", "", "7", "", "8", ""), 431);
}

/* ---- frames ---- */

static int pipe_ends[2];
static struct frame_reader *reader;

static int open_pipe(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(pipe2(pipe_ends, O_NONBLOCK | O_CLOEXEC), 0);
	reader = frame_reader_new(pipe_ends[0], &e);
	return reader ? 0 : -1;
}

static int close_pipe(void **state)
{
	(void)state;
	frame_reader_free(reader);
	(void)close(pipe_ends[0]);
	if (pipe_ends[1] >= 0)
		(void)close(pipe_ends[1]);
	return 0;
}

static void frames_come_whole_and_in_order(void **state)
{
	struct err e = ERR_INIT;
	struct frame f;
	(void)state;
	assert_int_equal(frame_read(reader, &f, &e), 0);
	assert_int_equal(frame_write(pipe_ends[1], FRAME_BYTES, "hello", 5, &e), 0);
	assert_int_equal(frame_write(pipe_ends[1], FRAME_DONE, "", 0, &e), 0);
	assert_int_equal(frame_read(reader, &f, &e), 1);
	assert_int_equal(f.type, FRAME_BYTES);
	assert_int_equal(f.len, 5);
	assert_memory_equal(f.data, "hello", 5);
	assert_int_equal(frame_read(reader, &f, &e), 1);
	assert_int_equal(f.type, FRAME_DONE);
	assert_int_equal(frame_read(reader, &f, &e), 0);
	(void)close(pipe_ends[1]);
	pipe_ends[1] = -1;
	assert_int_equal(frame_read(reader, &f, &e), -1);
	assert_int_equal(e.code, ERR_IO);
}

static void a_frame_may_come_byte_by_byte(void **state)
{
	static const char bytes[] = "P\0\0\0\2\0\0\0{}";
	struct err e = ERR_INIT;
	struct frame f;
	(void)state;
	for (size_t i = 0; i < sizeof bytes - 1; i++) {
		assert_int_equal(frame_read(reader, &f, &e), 0);
		assert_int_equal(write(pipe_ends[1], bytes + i, 1), 1);
	}
	assert_int_equal(frame_read(reader, &f, &e), 1);
	assert_int_equal(f.len, 2);
}

static void frames_that_lie_are_refused(void **state)
{
	static const char wrong[][9] = {"?\0\0\0\0\0\0\0", "D\0\0\0\1\0\0\0", "P\0\0\0\1\0\1\0", "P\1\0\0\0\0\0\0",
	                                "L\0\0\0\0\0\0\x7f"};
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct err e = ERR_INIT;
		struct frame f;
		assert_int_equal(write(pipe_ends[1], wrong[i], 8), 8);
		assert_int_equal(frame_read(reader, &f, &e), -1);
		assert_int_equal(e.code, ERR_INTERNAL);
		(void)close_pipe(NULL);
		(void)open_pipe(NULL);
	}
}

static void a_layer_comes_back_to_the_last_digit(void **state)
{
	const struct quant_grid grids[2] = {{-0.1, 0.1, 1.0 / 3, -8}, {-1e-300, 5e-324, 0.1, -1}};
	const int chosen[2] = {19, 0};
	const double loss[2] = {1, 2}, minmax[2] = {3, 4}, curve[3] = {1.0 / 3, (double)INFINITY, 7};
	const struct seqmse_layer_result l = {.index = 7,
	                                      .node = "/a\n\"b",
	                                      .op_type = "Conv",
	                                      .weight = "w",
	                                      .channels = 2,
	                                      .fan_in = 9,
	                                      .ngrids = 2,
	                                      .grids = grids,
	                                      .chosen = chosen,
	                                      .loss = loss,
	                                      .minmax_loss = minmax,
	                                      .candidates = 3,
	                                      .curve = curve,
	                                      .strategy = "gram",
	                                      .seconds = 0.5};
	struct buf b = BUF_INIT;
	struct store_layer back;
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(layer_frame_write(&l, "here", &b, &e), 0);
	if (layer_frame_read(b.data, b.len, &back, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(back.grids_len, sizeof grids);
	assert_memory_equal(back.grids, grids, sizeof grids);
	assert_string_equal(back.summary.node, l.node);
	assert_string_equal(back.summary.chosen, "[19, 0]");
	assert_non_null(strstr(back.summary.settings, "\"granularity\": \"per_tensor\""));
	assert_true(back.summary.loss == 3 && back.summary.minmax_loss == 7);
	assert_string_equal(back.summary.curve, "[0.3333333333333333, null, 7.0]");
	layer_frame_fini(&back);
	/* one number less, wherever it is missing */
	char *at = strstr(b.data, "19, ");
	memmove(at, at + 4, strlen(at + 4) + 1);
	assert_int_equal(layer_frame_read(b.data, strlen(b.data), &back, &e), -1);
	buf_fini(&b);
	struct seqmse_layer_result longer = l;
	longer.candidates = 2;
	assert_int_equal(layer_frame_write(&longer, "here", &b, &e), 0);
	at = strstr(b.data, "\"candidates\": 2");
	at[strlen("\"candidates\": ")] = '3';
	assert_int_equal(layer_frame_read(b.data, b.len, &back, &e), -1);
	buf_fini(&b);
}

/* ---- versions ---- */

static void old_libraries_are_told_from_new_ones(void **state)
{
	static const char *const good[] = {"3.51.3", "3.53.0", "3.50.7", "3.50.12", "3.44.6", "4.0", "3.51.3.1"};
	static const char *const old[] = {"3.51.2", "3.50.6", "3.40.1", "3.45.7", "3.44.5", "3", "", "nonsense"};
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		if (!floor_holds(&floors[0], good[i]))
			fail_msg("%s", good[i]);
	for (size_t i = 0; i < sizeof old / sizeof *old; i++)
		if (floor_holds(&floors[0], old[i]))
			fail_msg("%s", old[i]);
	assert_true(floor_holds(&floors[1], "1.0.10") && !floor_holds(&floors[1], "0.9.75"));
	assert_true(floor_holds(&floors[2], "1.32.0") && !floor_holds(&floors[2], "1.27.3"));
}

/* ---- uploads and the engine's files ---- */

static struct blobs *blobs;
static int state_folder = -1;

static int open_blobs(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	state_folder = open(scratch_new(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	blobs = blobs_open(state_folder, &e);
	return blobs ? 0 : -1;
}

static int close_blobs(void **state)
{
	(void)state;
	blobs_close(blobs);
	(void)close(state_folder);
	scratch_remove();
	return 0;
}

static enum err_code upload_of(const char *text, int64_t limit, const char *digest)
{
	struct err e = ERR_INIT;
	struct upload *u = upload_new(blobs, limit, digest, &e);
	if (!u)
		return e.code;
	for (const char *p = text; *p; p++)
		upload_add(u, p, 1);
	if (upload_end(u, &e) == 0)
		assert_int_equal(part_size(upload_part(u)), strlen(text));
	upload_free(u);
	return e.code;
}

static void uploads_are_compared_with_the_announced_digest(void **state)
{
	(void)state;
	assert_int_equal(upload_of("hello", 5, NULL), ERR_NONE);
	assert_int_equal(upload_of("hello", 5, "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"), ERR_NONE);
	assert_int_equal(upload_of("hello", 5, "sha-512=:AAAA:, sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"), ERR_NONE);
	assert_int_equal(upload_of("hello", 5, "md5=:AAAA:"), ERR_NONE);
	assert_int_equal(upload_of("hello", 5, "x-sha-256=:AAAA:"), ERR_NONE);
	assert_int_equal(upload_of("hellO", 5, "x-sha-256=:AAAA:,sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"), ERR_BAD_PARAM);
	assert_int_equal(upload_of("hellO", 5, "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"), ERR_BAD_PARAM);
	assert_int_equal(upload_of("hello", 5, "sha-256=:LPJN:"), ERR_BAD_PARAM);
	assert_int_equal(upload_of("hello", 5, "sha-256=LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="), ERR_BAD_PARAM);
	assert_int_equal(upload_of("hello", 5, "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLm!Q=:"), ERR_BAD_PARAM);
	assert_int_equal(scratch_count(""), 0);
}

static void uploads_stop_at_their_limit(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	struct upload *u = upload_new(blobs, 4, NULL, &e);
	assert_non_null(u);
	upload_add(u, "1234", 4);
	assert_false(upload_too_large(u));
	upload_add(u, "5", 1);
	assert_true(upload_too_large(u));
	assert_int_equal(scratch_count("parts"), 0);
	assert_int_equal(upload_end(u, &e), -1);
	upload_free(u);
}

static void the_engines_files_are_checked(void **state)
{
	static const char *const wrong[] = {"", ".", "..", ".hidden", "a/b", "a\nb", "a b"};
	struct store_artifact files[INTAKE_MAX_FILES];
	struct err e = ERR_INIT;
	size_t n;
	(void)state;
	struct intake *i = intake_new(blobs, &e);
	assert_non_null(i);
	for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++)
		assert_int_equal(intake_begin(i, wrong[k], "text/plain", &e), -1);
	assert_int_equal(intake_begin(i, NULL, NULL, &e), -1);
	assert_int_equal(intake_add(i, "x", 1, &e), -1);
	assert_int_equal(intake_end(i, &e), -1);
	assert_int_equal(intake_begin(i, "a.json", "application/json", &e), 0);
	assert_int_equal(intake_begin(i, "b.json", "application/json", &e), -1);
	assert_int_equal(intake_add(i, "x", 1, &e), 0);
	assert_int_equal(intake_files(i, files, &n, &e), -1);
	assert_int_equal(intake_end(i, &e), 0);
	assert_int_equal(intake_begin(i, "a.json", "application/json", &e), -1);
	assert_int_equal(intake_files(i, files, &n, &e), 0);
	assert_int_equal(n, 1);
	intake_free(i);
	assert_int_equal(scratch_count(""), 0);
}

/* ---- settings ---- */

static int read_config(struct config *c, struct err *e, const char *flag, const char *value)
{
	bool help;
	char *argv[] = {(char[]){"serve"}, (char *)(uintptr_t)flag, (char *)(uintptr_t)value, NULL};
	config_fini(c);
	return config_read(c, flag ? value ? 3 : 2 : 1, argv, &help, e);
}

static void a_flag_wins_over_its_variable(void **state)
{
	struct config c = {0};
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(read_config(&c, &e, NULL, NULL), 0);
	assert_int_equal(c.max_model_bytes, (int64_t)4 << 30);
	assert_true(c.threads_per_job >= 1);
	assert_int_equal(setenv("SEQMSED_MAX_MODEL_BYTES", "5K", 1), 0);
	assert_int_equal(read_config(&c, &e, NULL, NULL), 0);
	assert_int_equal(c.max_model_bytes, 5 << 10);
	assert_int_equal(read_config(&c, &e, "--max-model-bytes", "6m"), 0);
	assert_int_equal(c.max_model_bytes, 6 << 20);
	assert_int_equal(read_config(&c, &e, "--max-model-bytes=7", NULL), 0);
	assert_int_equal(c.max_model_bytes, 7);
	assert_int_equal(unsetenv("SEQMSED_MAX_MODEL_BYTES"), 0);
	config_fini(&c);
}

static void wrong_settings_are_usage_errors(void **state)
{
	static const char *const wrong[][2] = {{"--workers", "0"},  {"--workers", "1K"}, {"--workers", ""},
	                                       {"--workers", "-1"}, {"--workers", NULL}, {"--max-model-bytes", "9999999T"},
	                                       {"--nothing", "1"},  {"workers", "1"},    {"--log-level", "loud"}};
	struct config c = {0};
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct err e = ERR_INIT;
		assert_int_equal(read_config(&c, &e, wrong[i][0], wrong[i][1]), -1);
		assert_int_equal(e.code, ERR_USAGE);
	}
	config_fini(&c);
}

static void only_the_loopback_is_listened_on(void **state)
{
	static const char *const wrong[] = {"0.0.0.0:0", "192.0.2.1:80",    "[::]:80", "example.com:80",
	                                    "127.0.0.1", "127.0.0.1:65536", "unix:",   "80"};
	char shown[LISTEN_TEXT];
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		assert_int_equal(listen_open(wrong[i], false, shown, &e), -1);
		assert_int_equal(e.code, ERR_USAGE);
	}
	int fd = listen_open("localhost:0", false, shown, &e);
	assert_true(fd >= 0);
	assert_memory_equal(shown, "http://127.0.0.1:", 17);
	assert_true(atoi(shown + 17) > 0);
	(void)close(fd);
}

/* ---- states ---- */

static void states_move_by_the_table_only(void **state)
{
	static const char *const allowed[] = {
		"queued 0 running",  "queued 4 canceled",   "queued 6 paused",     "queued 8 succeeded",  "running 0 running",
		"running 1 queued",  "running 2 succeeded", "running 3 failed",    "running 4 canceling", "running 6 pausing",
		"pausing 1 paused",  "pausing 2 succeeded", "pausing 3 failed",    "pausing 4 canceling", "pausing 5 paused",
		"paused 4 canceled", "paused 7 queued",     "canceling 5 canceled"};
	size_t moves = 0;
	(void)state;
	for (int from = JOB_QUEUED; from <= JOB_CANCELED; from++)
		for (int event = JOB_CLAIM; event <= JOB_REUSE; event++) {
			struct err e = ERR_INIT;
			enum job_status to;
			char text[64];
			if (job_next((enum job_status)from, (enum job_event)event, &to, &e) < 0) {
				assert_int_equal(e.code, ERR_BAD_STATE);
				continue;
			}
			(void)snprintf(text, sizeof text, "%s %d %s", job_status_name((enum job_status)from), event,
			               job_status_name(to));
			assert_true(moves < sizeof allowed / sizeof *allowed);
			assert_string_equal(text, allowed[moves++]);
		}
	assert_int_equal(moves, sizeof allowed / sizeof *allowed);
}

static void ids_sort_in_the_order_of_their_making(void **state)
{
	char last[ID_MAX + 1] = "", id[ID_MAX + 1];
	struct err e = ERR_INIT;
	(void)state;
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(id_new("job_", id, &e), 0);
		assert_int_equal(strlen(id), ID_MAX);
		assert_true(strcmp(last, id) < 0);
		memcpy(last, id, sizeof id);
	}
}

/* ---- waiting ---- */

static void count_resume(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static void each_waiter_is_resumed_once(void **state)
{
	atomic_int a = 0, b = 0;
	struct watch *w = watch_new();
	struct watch_entry x = {.job = "job_1", .deadline = 100, .resume = count_resume, .arg = &a},
			   y = {.job = "job_2", .deadline = 200, .resume = count_resume, .arg = &b};
	(void)state;
	uint64_t g = watch_generation(w);
	assert_true(watch_add(w, &x, g));
	assert_true(watch_add(w, &y, g));
	watch_expire(w, 99);
	assert_int_equal(a + b, 0);
	watch_wake(w, "job_1");
	assert_int_equal(a, 1);
	assert_int_equal(b, 0);
	assert_false(watch_add(w, &x, g)); /* something changed since */
	watch_expire(w, 200);
	watch_expire(w, 300);
	assert_int_equal(b, 1);
	assert_true(watch_add(w, &x, watch_generation(w)));
	watch_close(w);
	assert_int_equal(a, 2);
	assert_false(watch_add(w, &x, watch_generation(w)));
	watch_free(w);
}

static void a_crew_finishes_what_it_took(void **state)
{
	enum { N = 100 };
	struct crew_task tasks[N + 1];
	struct err e = ERR_INIT;
	atomic_int done = 0;
	(void)state;
	struct crew *c = crew_start(3, &e);
	assert_non_null(c);
	for (int i = 0; i <= N; i++)
		tasks[i] = (struct crew_task){count_resume, &done, NULL};
	for (int i = 0; i < N; i++)
		assert_true(crew_submit(c, &tasks[i]));
	crew_stop(c);
	assert_int_equal(done, N);
	assert_false(crew_submit(c, &tasks[N]));
	crew_free(c);
}

int main(void)
{
#define FRAMES(f) cmocka_unit_test_setup_teardown(f, open_pipe, close_pipe)
#define BLOBS(f)  cmocka_unit_test_setup_teardown(f, open_blobs, close_blobs)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets_are_decoded_once),
		cmocka_unit_test(malformed_targets_are_refused),
		cmocka_unit_test(ambiguous_lengths_are_refused),
		cmocka_unit_test(only_loopback_names_are_answered),
		cmocka_unit_test(large_heads_are_refused),
		FRAMES(frames_come_whole_and_in_order),
		FRAMES(a_frame_may_come_byte_by_byte),
		FRAMES(frames_that_lie_are_refused),
		cmocka_unit_test(old_libraries_are_told_from_new_ones),
		cmocka_unit_test(a_layer_comes_back_to_the_last_digit),
		BLOBS(uploads_are_compared_with_the_announced_digest),
		BLOBS(uploads_stop_at_their_limit),
		BLOBS(the_engines_files_are_checked),
		cmocka_unit_test(a_flag_wins_over_its_variable),
		cmocka_unit_test(wrong_settings_are_usage_errors),
		cmocka_unit_test(only_the_loopback_is_listened_on),
		cmocka_unit_test(states_move_by_the_table_only),
		cmocka_unit_test(ids_sort_in_the_order_of_their_making),
		cmocka_unit_test(each_waiter_is_resumed_once),
		cmocka_unit_test(a_crew_finishes_what_it_took),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
