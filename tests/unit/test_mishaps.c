/* Every request of the API while one call of those that it makes fails: an allocation, a file's, the database's, the HTTP library's, one
 * after the other. The answer is then either the one that it would have been, or a whole problem that says it was the server's fault; and
 * when everything works again, the same request is answered as if nothing had been. The engines are real: this program starts itself as
 * one. */

#include "mishap.h"
#include "scratch.h"
#include "shared.h"

#include "api/problems.h"
#include "api/routes.h"
#include "core/base/json.h"
#include "server/base/log.h"
#include "server/engine/engine.h"
#include "server/engine/pool.h"
#include "server/engine/speed.h"
#include "server/http/answer.h"
#include "server/http/auth.h"
#include "server/http/backend.h"
#include "server/http/guard.h"
#include "server/http/guests.h"
#include "server/http/keyring.h"
#include "server/http/metrics.h"
#include "server/http/upload.h"
#include "server/http/watch.h"
#include "server/store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILES = 5 };
#define SIZE "98850" /* of the first one */
static const char *const file_names[FILES] = {"tests/data/digits/model.onnx", "tests/data/digits/calib.npz",
                                              "tests/data/zoo/big_and_small.onnx", "tests/data/zoo/big_and_small.npz",
                                              "tests/data/digits/golden/model_1_0_0.encodings"};

/* The daemon but for its sockets. */
static struct {
	struct config config;
	struct store *store;
	struct keyring *keys;
	struct auth *auth;
	struct backend backend;
	struct api api;
	char key[KEY_TEXT + 8];
	struct buf files[FILES];
} d;

/* What the questions are about; %M, %C, … in their texts. */
static char model[API_ID + 1], calibration[API_ID + 1], encodings[API_ID + 1], done[API_ID + 1], fresh[API_ID + 1],
	upload[API_ID + 1];

/* ---- asking ---- */

struct question {
	enum http_method method;
	const char *target, *body; /* with %M, %C, %E, %J, %F, %U for the ids above */
	int file;                  /* 1 + the file that is the body */
	const char *headers[10];   /* name, value, … */
	int status;
	bool varies;          /* two answers to it are not the same */
	long skip;            /* after a call that failed, so many do not */
	void (*before)(void); /* each time */
};

static const char *fill(const char *pattern, char *out, size_t size)
{
	static const struct {
		char letter;
		const char *id;
	} ids[] = {{'M', model}, {'C', calibration}, {'E', encodings}, {'J', done}, {'F', fresh}, {'U', upload}};
	size_t n = 0;
	for (; *pattern && n < size - API_ID - 1; pattern++) {
		const char *id = NULL;
		for (size_t i = 0; *pattern == '%' && i < sizeof ids / sizeof *ids; i++)
			if (pattern[1] == ids[i].letter)
				id = ids[i].id;
		if (id)
			n += (size_t)snprintf(out + n, size - n, "%s", id), pattern++;
		else
			out[n++] = *pattern;
	}
	out[n] = '\0';
	return out;
}

static void refuse(struct http_response *r, const struct http_request *q, const struct err *e)
{
	problem_of(r, q, e, NULL);
}

/* The body's way to its place, as server/http/httpd.c goes it. */
static bool take_body(const struct question *w, const struct route *t, struct http_request *q, struct http_response *r)
{
	struct err e = ERR_INIT;
	if (!w->file)
		return true;
	const struct buf *b = &d.files[w->file - 1];
	if (!q->upload)
		q->upload = upload_new(store_blobs(d.store), d.config.max_model_bytes, http_header(q, "Content-Digest"), &e);
	if (!q->upload || (q->checksum[0] && upload_expect(q->upload, q->checksum, &e) < 0)) {
		refuse(r, q, &e);
		return false;
	}
	upload_add(q->upload, b->data, b->len / 2);
	upload_add(q->upload, b->data + b->len / 2, b->len - b->len / 2);
	if (t->body == BODY_PIECE || upload_end(q->upload, &e) == 0)
		return true;
	refuse(r, q, &e);
	return false;
}

static void stream(struct http_request *q, struct http_response *r)
{
	for (bool more = r->stream != NULL; more && !r->wait_for[0];)
		more = r->stream(&d.api, q, r);
}

static ssize_t no_more(void *x, uint64_t at, char *out, size_t size)
{
	(void)x;
	(void)at;
	(void)out;
	(void)size;
	return MHD_CONTENT_READER_END_OF_STREAM;
}

/* The answer's way out, where it has all of its headers. */
static void send_answer(const struct http_request *q, struct http_response *r)
{
	struct MHD_Response *m = answer_make(r, q, "00-1-2-00", no_more, NULL);
	if (!m)
		fail_msg("there was no answer");
	assert_int_equal(MHD_get_response_headers(m, NULL, NULL), r->nheaders + 2);
	MHD_destroy_response(m);
}

static void perform(const struct question *w, const char *target, const char *body, struct http_response *r)
{
	struct http_request q = {.method = w->method,
	                         .id = "rq",
	                         .body = body,
	                         .body_len = body ? strlen(body) : 0,
	                         .may_wait = true,
	                         .waited_ms = 1000000};
	struct err e = ERR_INIT;
	struct auth_grant g = {.key = ""};
	http_response_init(r);
	int rc = http_parse_target(&q, target, &e);
	for (int i = 0; rc == 0 && i < 10 && w->headers[i]; i += 2)
		rc = http_add_header(&q, w->headers[i], w->headers[i + 1], &e);
	if (rc == 0)
		rc = http_add_header(&q, "Host", "localhost", &e);
	if (rc == 0)
		rc = http_add_header(&q, "Authorization", d.key, &e);
	if (rc < 0) {
		refuse(r, &q, &e);
	} else if (guard_head(&d.config, &q, true, r)) {
		const struct route *t = route_find(&q, r);
		if (t && auth_request(d.auth, t, &q, &g, r) && route_check(&d.api, t, &q, r) && take_body(w, t, &q, r)) {
			route_answer(&d.api, t, &q, r);
			stream(&q, r);
			auth_note(d.auth, &q, &g, "ANY", "127.0.0.1", r->status);
		}
	}
	auth_headers(&g, r);
	http_response_settle(r);
	send_answer(&q, r);
	upload_free(q.upload);
	http_request_fini(&q);
}

static void ask(const struct question *w, long n, struct http_response *r)
{
	char target[500], body[500];
	fill(w->target, target, sizeof target);
	mishap_begin(n);
	perform(w, target, w->body ? fill(w->body, body, sizeof body) : NULL, r);
}

/* Asks, and hands out a text of the answer, or just looks that it has the right status (0: a good one). */
static void must(const struct question *w, const char *member, char id[API_ID + 1])
{
	struct http_response r;
	struct err e = ERR_INIT;
	ask(w, 0, &r);
	(void)mishap_end();
	if (w->status ? r.status != w->status : r.status >= 300)
		fail_msg("%s: %d, %.*s", w->target, r.status, (int)r.body.len, r.body.data);
	if (member) {
		struct json *v = json_parse(r.body.data, r.body.len, &e);
		assert_non_null(v);
		(void)snprintf(id, API_ID + 1, "%s", json_text(json_get(v, member)));
		json_free(v);
	}
	http_response_fini(&r);
}

#define JSON     "Content-Type", "application/json"
#define TUS      "Tus-Resumable", "1.0.0"
#define PIECE    "Content-Type", "application/offset+octet-stream"
#define METADATA "Upload-Metadata", "kind bW9kZWxz"

static void add_fresh(void)
{
	must(&(struct question){.method = HTTP_POST,
	                        .target = "/v1/jobs",
	                        .body = "{\"model\": \"%M\", \"calibration\": \"%C\", \"params\": {\"reuse\": false}}",
	                        .headers = {JSON},
	                        .status = 202},
	     "id", fresh);
}

static void pause_fresh(void)
{
	add_fresh();
	must(&(struct question){.method = HTTP_POST, .target = "/v1/jobs/%F/pause", .status = 202}, NULL, NULL);
}

static void cancel_fresh(void)
{
	add_fresh();
	must(&(struct question){.method = HTTP_POST, .target = "/v1/jobs/%F/cancel", .status = 202}, NULL, NULL);
}

/* ---- putting it together ---- */

static void *failed(const struct err *e)
{
	fail_msg("%s: %s", err_name(e->code), e->msg);
	return NULL;
}

static void on_job(void *ctx, const char *job)
{
	watch_wake(ctx, job);
}

static void on_ended(void *ctx, const char *outcome, double seconds)
{
	(void)ctx;
	metrics_attempt(d.backend.metrics, outcome, seconds);
}

static void start_pool(int64_t workers)
{
	struct err e = ERR_INIT;
	const struct pool_options o = {.store = d.store,
	                               .speed = d.backend.speed,
	                               .workers = workers,
	                               .threads_per_job = 1,
	                               .max_memory_bytes = 1 << 30,
	                               .job_memory_bytes = (int64_t)4 << 30,
	                               .job_seconds = 600,
	                               .job_spill_bytes = 1 << 30,
	                               .settled = on_job,
	                               .news = on_job,
	                               .ended = on_ended,
	                               .ctx = d.backend.watch};
	d.backend.pool = pool_start(&o, &e);
	if (!d.backend.pool)
		failed(&e);
}

static void upload_all(void)
{
	must(&(struct question){.method = HTTP_PUT, .target = "/v1/models?name=m", .file = 1, .status = 201}, "id", model);
	must(&(struct question){.method = HTTP_PUT, .target = "/v1/calibrations", .file = 2, .status = 201}, "id", calibration);
	must(&(struct question){.method = HTTP_PUT, .target = "/v1/encodings", .file = 5, .status = 201}, "id", encodings);
	must(&(struct question){.method = HTTP_PUT, .target = "/v1/models?name=other", .file = 3, .status = 201}, "id", fresh);
}

/* A job that is done, so that there are results to ask for. From then on nobody works: what is queued stays so. */
static void do_a_job(void)
{
	char status[API_ID + 1] = "";
	start_pool(1);
	must(&(struct question){.method = HTTP_POST,
	                        .target = "/v1/jobs",
	                        .body = "{\"model\": \"%M\", \"calibration\": \"%C\", \"labels\": {\"a\": \"b\"}, \"params\": "
	                                "{\"num_candidates\": 3}}",
	                        .headers = {JSON},
	                        .status = 202},
	     "id", done);
	for (int i = 0; i < 6000 && strcmp(status, "succeeded") != 0; i++) {
		(void)nanosleep(&(struct timespec){0, 10000000}, NULL);
		must(&(struct question){.method = HTTP_GET, .target = "/v1/jobs/%J", .status = 200}, "status", status);
	}
	assert_string_equal(status, "succeeded");
	pool_stop(d.backend.pool);
	start_pool(0);
}

static int set_up(void **state)
{
	struct err e = ERR_INIT;
	bool help;
	char text[KEY_TEXT + 1];
	const char *folder = scratch_in_memory(); /* syncing thousands of times should take no time */
	char *argv[] = {(char[]){"serve"},
	                (char[]){"--min-free-bytes"},
	                (char[]){"0"},
	                (char[]){"--max-queued-jobs"},
	                (char[]){"1000000"},
	                (char[]){"--max-queued-jobs-per-owner"},
	                (char[]){"1000000"},
	                (char[]){"--requests-per-minute"},
	                (char[]){"10000000"},
	                (char[]){"--state-dir"},
	                (char *)(uintptr_t)folder};
	(void)state;
	log_set_level((enum log_level)(LOG_ERROR + 1)); /* thousands of failures would be told */
	for (int i = 0; i < FILES; i++)
		assert_int_equal(whole_file(file_names[i], &d.files[i]), 0);
	if (config_read(&d.config, sizeof argv / sizeof *argv, argv, &help, &e) < 0 || !(d.store = store_open(folder, &e)) ||
	    !(d.keys = keyring_open(folder, true, &e)) || !(d.auth = auth_new(&d.config, d.keys, d.store, &e)) ||
	    keyring_add(d.keys, "somebody", KEYRING_ADMIN, 0, text, &e) < 0)
		failed(&e);
	(void)snprintf(d.key, sizeof d.key, "Bearer %s", text);
	d.backend = (struct backend){.config = &d.config,
	                             .store = d.store,
	                             .watch = watch_new(),
	                             .metrics = metrics_new(),
	                             .auth = d.auth,
	                             .guests = guests_new(&(struct guests_limits){1, 1, 1, 1, 1}),
	                             .speed = speed_open(folder, &e),
	                             .probe = {store_empty_folder(d.store), 60000, NULL}};
	backend_init(&d.backend);
	backend_fill(&d.backend, &d.api.backend);
	d.api.max_wait_seconds = 300;
	upload_all();
	do_a_job();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	pool_stop(d.backend.pool);
	watch_free(d.backend.watch);
	metrics_free(d.backend.metrics);
	guests_free(d.backend.guests);
	speed_close(d.backend.speed);
	auth_free(d.auth);
	keyring_close(d.keys);
	store_close(d.store);
	config_fini(&d.config);
	for (int i = 0; i < FILES; i++)
		buf_fini(&d.files[i]);
	scratch_remove();
	return 0;
}

/* ---- the sweep ---- */

/* A problem that blames the server, and is whole. Where there is no memory even for a problem, the body is empty. */
static bool is_our_fault(const struct http_response *r)
{
	struct err e = ERR_INIT;
	if (r->status != 500 && r->status != 503 && r->status != 507)
		return false;
	if (r->body.len == 0)
		return true;
	struct json *v = json_parse(r->body.data, r->body.len, &e);
	bool ok = json_int(json_get(v, "status")) == r->status && json_text(json_get(v, "code"));
	json_free(v);
	return ok;
}

/* A problem's text may be missing for lack of memory; its status is right. */
static bool is_same(const struct http_response *a, const struct http_response *b)
{
	if (a->status >= 400 && a->body.len == 0)
		return true;
	return a->body.len == b->body.len && (a->body.len == 0 || memcmp(a->body.data, b->body.data, a->body.len) == 0) &&
	       a->length == b->length && a->nheaders == b->nheaders;
}

static void ask_undisturbed(const struct question *w, struct http_response *r)
{
	if (w->before)
		w->before();
	ask(w, 0, r);
	(void)mishap_end();
	if (r->status != w->status)
		fail_msg("%s: %d, %.*s", w->target, r->status, (int)r->body.len, r->body.data ? r->body.data : "");
}

static void sweep(const struct question *w)
{
	struct http_response right, r;
	long n = 1;
	ask_undisturbed(w, &right);
	for (bool met = true; met; n += 1 + w->skip) {
		if (w->before)
			w->before();
		ask(w, n, &r);
		const char *name = mishap_name();
		met = mishap_end();
		bool ok = r.status == w->status ? w->varies || is_same(&r, &right) : met && is_our_fault(&r);
		if (!ok)
			fail_msg("%s, call %ld (%s) failed: %d, %.*s", w->target, n, name, r.status, (int)r.body.len,
			         r.body.data ? r.body.data : "");
		http_response_fini(&r);
	}
	http_response_fini(&right);
	print_message("# %s: %ld calls\n", w->target, n);
}

static void sweep_all(const struct question *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sweep(&w[i]);
}

#define SWEEP(...)                                                          \
	do {                                                                \
		static const struct question questions[] = {__VA_ARGS__};   \
		sweep_all(questions, sizeof questions / sizeof *questions); \
	} while (0)
#define LOOK(path)                                                \
	{                                                         \
		.method = HTTP_GET, .target = path, .status = 200 \
	}
#define WATCH(path)                                                               \
	{                                                                         \
		.method = HTTP_GET, .target = path, .status = 200, .varies = true \
	}

static void looking_at_things(void **state)
{
	(void)state;
	SWEEP(LOOK("/v1/models?limit=1"), LOOK("/v1/models/%M"), LOOK("/v1/models/%M/layers"), LOOK("/v1/models/%M/content"),
	      LOOK("/v1/calibrations"), LOOK("/v1/calibrations/%C"), LOOK("/v1/calibrations/%C/content"), LOOK("/v1/encodings"),
	      LOOK("/v1/encodings/%E"), LOOK("/v1/encodings/%E/content"),
	      LOOK("/v1/jobs?status=succeeded&label=a%3Ab&name=*&limit=1"), LOOK("/v1/jobs/%J"), LOOK("/v1/jobs/%J?wait=1"),
	      LOOK("/v1/jobs/%J/layers"), LOOK("/v1/jobs/%J/layers/0/curve"), LOOK("/v1/jobs/%J/events?limit=2"),
	      LOOK("/v1/jobs/%J/logs"), LOOK("/v1/jobs/%J/encodings"), LOOK("/v1/jobs/%J/encodings?version=0.6.1"),
	      LOOK("/v1/jobs/%J/artifacts"), LOOK("/v1/jobs/%J/artifacts/model.onnx"), LOOK("/v1/queue"), WATCH("/v1/server"),
	      WATCH("/metrics"), LOOK("/livez"), LOOK("/"), LOOK("/web/app.js"));
}

static void looking_with_conditions(void **state)
{
	(void)state;
	SWEEP({.method = HTTP_GET, .target = "/openapi.json", .status = 200, .skip = 40},
	      {.method = HTTP_GET, .target = "/v1/jobs/%J/encodings", .headers = {"Range", "bytes=2-5"}, .status = 206},
	      {.method = HTTP_GET, .target = "/v1/models/%M/content", .headers = {"If-None-Match", "*"}, .status = 304},
	      {.method = HTTP_GET,
	       .target = "/v1/jobs/%J/events",
	       .headers = {"Accept", "text/event-stream"},
	       .status = 200,
	       .varies = true},
	      {.method = HTTP_OPTIONS, .target = "/v1/uploads", .status = 204},
	      {.method = HTTP_GET, .target = "/v1/nothing", .status = 404},
	      {.method = HTTP_PUT, .target = "/v1/jobs", .status = 405},
	      {.method = HTTP_GET, .target = "/v1/jobs?limit=x", .status = 422},
	      {.method = HTTP_GET, .target = "/v1/jobs/%J/encodings?version=3", .status = 422});
}

static void changing_things(void **state)
{
	(void)state;
	SWEEP({.method = HTTP_PATCH,
	       .target = "/v1/models/%M",
	       .body = "{\"name\": \"n\", \"labels\": {\"x\": \"y\"}, \"visibility\": \"private\"}",
	       .headers = {JSON, "If-Match", "*"},
	       .status = 200},
	      {.method = HTTP_PATCH,
	       .target = "/v1/calibrations/%C",
	       .body = "{\"name\": \"n\", \"labels\": {\"x\": \"y\"}}",
	       .headers = {JSON, "If-Match", "*"},
	       .status = 200},
	      {.method = HTTP_PATCH,
	       .target = "/v1/encodings/%E",
	       .body = "{\"name\": \"n\", \"labels\": {\"x\": \"y\"}}",
	       .headers = {JSON, "If-Match", "*"},
	       .status = 200},
	      {.method = HTTP_PATCH,
	       .target = "/v1/jobs/%J",
	       .body = "{\"name\": \"n\", \"labels\": {\"a\": \"b\"}, \"priority\": 1}",
	       .headers = {JSON, "If-Match", "*"},
	       .status = 200},
	      {.method = HTTP_POST,
	       .target = "/v1/tickets",
	       .body = "{\"url\": \"/v1/jobs/%J/encodings\"}",
	       .headers = {JSON},
	       .status = 201,
	       .varies = true});
}

static void add_model(void)
{
	must(&(struct question){.method = HTTP_PUT, .target = "/v1/models", .file = 3}, "id", fresh);
}

static void drop_model(void)
{
	add_model();
	must(&(struct question){.method = HTTP_DELETE, .target = "/v1/models/%F", .status = 204}, NULL, NULL);
}

static void add_calibration(void)
{
	must(&(struct question){.method = HTTP_PUT, .target = "/v1/calibrations", .file = 4}, "id", fresh);
}

static void drop_calibration(void)
{
	add_calibration();
	must(&(struct question){.method = HTTP_DELETE, .target = "/v1/calibrations/%F", .status = 204}, NULL, NULL);
}

static void add_encodings(void)
{
	must(&(struct question){.method = HTTP_PUT, .target = "/v1/encodings", .file = 5}, "id", encodings);
}

static void drop_encodings(void)
{
	add_encodings();
	must(&(struct question){.method = HTTP_DELETE, .target = "/v1/encodings/%E", .status = 204}, NULL, NULL);
}

/* An upload in pieces that nothing was sent of. */
static void begin_upload(void)
{
	struct http_response r;
	ask(&(struct question){.method = HTTP_POST, .target = "/v1/uploads", .headers = {TUS, "Upload-Length", SIZE, METADATA}}, 0,
	    &r);
	(void)mishap_end();
	assert_int_equal(r.status, 201);
	(void)snprintf(upload, sizeof upload, "%s", strrchr(http_get(&r, "Location"), '/') + 1);
	http_response_fini(&r);
}

/* All of its bytes are there, and nobody made an object of them: the daemon ended before it could. */
static void leave_whole_upload(void)
{
	char path[API_ID + 200];
	begin_upload();
	(void)snprintf(path, sizeof path, "%s/uploads/%s", d.config.state_dir, upload);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(d.files[0].data, 1, d.files[0].len, f), d.files[0].len);
	assert_int_equal(fclose(f), 0);
}

static void uploading(void **state)
{
	(void)state;
	SWEEP({.method = HTTP_PUT, .target = "/v1/models?name=m", .file = 1, .status = 200, .varies = true},
	      {.method = HTTP_PUT, .target = "/v1/calibrations?model=%M", .file = 2, .status = 200, .varies = true},
	      {.method = HTTP_PUT, .target = "/v1/models", .file = 3, .status = 201, .varies = true, .before = drop_model},
	      {.method = HTTP_PUT,
	       .target = "/v1/calibrations",
	       .file = 4,
	       .status = 201,
	       .varies = true,
	       .before = drop_calibration},
	      {.method = HTTP_PUT, .target = "/v1/encodings", .file = 5, .status = 200, .varies = true, .before = add_encodings},
	      {.method = HTTP_PUT, .target = "/v1/encodings", .file = 5, .status = 201, .varies = true, .before = drop_encodings},
	      {.method = HTTP_DELETE, .target = "/v1/encodings/%E", .status = 204, .before = add_encodings},
	      {.method = HTTP_DELETE, .target = "/v1/models/%F", .status = 204, .before = add_model},
	      {.method = HTTP_DELETE, .target = "/v1/calibrations/%F", .status = 204, .before = add_calibration});
}

static void uploading_in_pieces(void **state)
{
	(void)state;
	SWEEP({.method = HTTP_POST,
	       .target = "/v1/uploads",
	       .headers = {TUS, "Upload-Length", SIZE, METADATA},
	       .status = 201,
	       .varies = true},
	      {.method = HTTP_HEAD,
	       .target = "/v1/uploads/%U",
	       .headers = {TUS},
	       .status = 200,
	       .varies = true,
	       .before = begin_upload},
	      {.method = HTTP_PATCH,
	       .target = "/v1/uploads/%U",
	       .file = 1,
	       .headers = {TUS, "Upload-Offset", "0", PIECE, "Content-Length", SIZE},
	       .status = 204,
	       .varies = true,
	       .before = begin_upload},
	      {.method = HTTP_PATCH,
	       .target = "/v1/uploads/%U",
	       .file = 1,
	       .headers = {TUS, "Upload-Offset", "0", PIECE, "Content-Length", SIZE, "Upload-Checksum",
	                   "sha256 BKVFqTnoIJawEtSArSQi4J8CLjbO8IrGgyxlY3kDKbU="},
	       .status = 204,
	       .varies = true,
	       .before = begin_upload},
	      {.method = HTTP_GET, .target = "/v1/uploads/%U", .status = 200, .varies = true, .before = leave_whole_upload},
	      {.method = HTTP_POST,
	       .target = "/v1/uploads",
	       .file = 1,
	       .headers = {TUS, "Upload-Length", SIZE, METADATA, PIECE, "Content-Length", SIZE},
	       .status = 201,
	       .varies = true},
	      {.method = HTTP_POST,
	       .target = "/v1/uploads",
	       .file = 1,
	       .headers = {TUS, "Upload-Length", "100000", METADATA, PIECE, "Content-Length", SIZE},
	       .status = 201,
	       .varies = true},
	      {.method = HTTP_DELETE, .target = "/v1/uploads/%U", .headers = {TUS}, .status = 204, .before = begin_upload});
}

#define NEW(...) "{\"model\": \"%M\", \"calibration\": \"%C\", \"params\": {" __VA_ARGS__ "}}"

#define SUBMIT(...) .method = HTTP_POST, .target = "/v1/jobs", .body = NEW(__VA_ARGS__), .status = 202, .varies = true

static void submitting(void **state)
{
	(void)state;
	SWEEP({SUBMIT("\"reuse\": false, \"param_bw\": 8"), .headers = {JSON}},
	      {SUBMIT("\"num_candidates\": 3"), .headers = {JSON}},
	      {SUBMIT("\"load_encodings\": \"%E\""), .headers = {JSON}, .before = add_encodings},
	      {SUBMIT("\"overrides\": [{\"match\": {\"op_type\": \"Conv\"}, \"param_bw\": 8}]"),
	       .headers = {JSON, "Idempotency-Key", "k"}},
	      {.method = HTTP_POST,
	       .target = "/v1/jobs?dry_run=true",
	       .body = NEW("\"num_candidates\": 3"),
	       .headers = {JSON},
	       .status = 200,
	       .varies = true,
	       .skip = 30},
	      {.method = HTTP_POST,
	       .target = "/v1/jobs/%J/retry",
	       .body = "{\"name\": \"again\"}",
	       .headers = {JSON},
	       .status = 202,
	       .varies = true});
}

static void moving_jobs(void **state)
{
	(void)state;
	add_fresh(); /* so that there is a queue */
	SWEEP({.method = HTTP_GET, .target = "/v1/queue", .status = 200, .varies = true, .skip = 20},
	      {.method = HTTP_POST, .target = "/v1/jobs/%F/cancel", .status = 202, .varies = true, .before = add_fresh},
	      {.method = HTTP_POST, .target = "/v1/jobs/%F/pause", .status = 202, .varies = true, .before = add_fresh},
	      {.method = HTTP_POST, .target = "/v1/jobs/%F/resume", .status = 202, .varies = true, .before = pause_fresh},
	      {.method = HTTP_DELETE, .target = "/v1/jobs/%F", .status = 204, .before = cancel_fresh});
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(looking_at_things), cmocka_unit_test(looking_with_conditions), cmocka_unit_test(changing_things),
		cmocka_unit_test(uploading),         cmocka_unit_test(uploading_in_pieces),     cmocka_unit_test(submitting),
		cmocka_unit_test(moving_jobs),
	};
	json_take_memory();
	if (argc > 1 && strcmp(argv[1], "engine") == 0)
		return cmd_engine(argc - 1, argv + 1);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
