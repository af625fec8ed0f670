#include "api/openapi.h"
#include "api/problems.h"
#include "api/routes.h"
#include "core/base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a backend without a database: one model, one job ---- */

static struct {
	const char *status; /* of the job */
	struct err refuse;  /* what job_add says, unless ERR_NONE */
	int64_t param_bw;   /* what job_add was asked for */
	char labels[200];
	size_t models; /* in the list */
} fake;

static char *copy(const char *s)
{
	char *c = strdup(s);
	assert_non_null(c);
	return c;
}

static void fill_job(struct api_job *j)
{
	memset(j, 0, sizeof *j);
	(void)snprintf(j->id, sizeof j->id, "job_1");
	(void)snprintf(j->status, sizeof j->status, "%s", fake.status);
	j->name = copy("");
	j->labels = copy("{}");
	j->params = copy("{}");
}

static int job_get(void *ctx, const struct api_caller *who, const char *id, struct api_job *out, struct err *e)
{
	(void)ctx;
	(void)who;
	if (strcmp(id, "job_1") != 0)
		return err_set(e, ERR_NOT_FOUND, "there is no job %s", id);
	fill_job(out);
	return 0;
}

static int job_add(void *ctx, const struct api_caller *who, const struct api_job_request *r, struct api_once *once,
                   struct api_job *out, struct err *e)
{
	(void)ctx;
	(void)who;
	(void)once;
	if (fake.refuse.code != ERR_NONE) {
		*e = fake.refuse;
		return -1;
	}
	fake.param_bw = r->params->param_bw;
	(void)snprintf(fake.labels, sizeof fake.labels, "%s", r->labels);
	fill_job(out);
	return 0;
}

static int object_get(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, struct api_object *out,
                      struct err *e)
{
	assert_int_equal(kind, API_MODEL);
	(void)ctx;
	(void)who;
	memset(out, 0, sizeof *out);
	if (strcmp(id, "mdl_1") != 0)
		return err_set(e, ERR_NOT_FOUND, "there is no model %s", id);
	(void)snprintf(out->id, sizeof out->id, "%s", id);
	out->name = copy("m");
	out->inputs = copy("[]");
	out->outputs = copy("[]");
	out->nfiles = 1;
	out->files = calloc(1, sizeof *out->files);
	assert_non_null(out->files);
	out->files[0].name = copy("sub/w.data");
	return 0;
}

static int object_list(void *ctx, const struct api_caller *who, enum api_kind kind, const struct api_page *page,
                       struct api_object **out, size_t *n, struct err *e)
{
	*n = fake.models < (size_t)page->limit ? fake.models : (size_t)page->limit;
	*out = calloc(*n + 1, sizeof **out);
	assert_non_null(*out);
	for (size_t i = 0; i < *n; i++) {
		(void)object_get(ctx, who, kind, "mdl_1", &(*out)[i], e);
		(void)snprintf((*out)[i].id, sizeof(*out)[i].id, "mdl_%zu", 9 - i);
	}
	return 0;
}

/* Ten bytes, "0123456789". */
static int artifact_open(void *ctx, const struct api_caller *who, const char *id, const char *name, struct api_blob *out,
                         struct err *e)
{
	char path[] = "/tmp/seqmsed-test-XXXXXX";
	(void)ctx;
	(void)who;
	(void)id;
	(void)e;
	memset(out, 0, sizeof *out);
	out->fd = mkstemp(path);
	assert_true(out->fd >= 0 && write(out->fd, "0123456789", 10) == 10);
	(void)unlink(path);
	out->size = 10;
	out->name = copy(name);
	out->media_type = copy("application/json");
	(void)snprintf(out->sha256, sizeof out->sha256, "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882");
	return 0;
}

static const struct api api = {.backend = {.job_get = job_get,
                                           .job_add = job_add,
                                           .object_get = object_get,
                                           .object_list = object_list,
                                           .artifact_open = artifact_open},
                               .max_wait_seconds = 300};

/* ---- asking ---- */

struct question {
	enum http_method method;
	const char *target, *body;
	const char *headers[6]; /* name, value, … */
	int64_t waited_ms;
};

/* Takes the way of the server: target, route, check, answer. */
static void ask(const struct question *w, struct http_response *r)
{
	struct http_request q = {.method = w->method,
	                         .id = "rq",
	                         .body = w->body,
	                         .body_len = w->body ? strlen(w->body) : 0,
	                         .waited_ms = w->waited_ms,
	                         .may_wait = true};
	struct err e = ERR_INIT;
	http_response_init(r);
	if (http_parse_target(&q, w->target, &e) < 0)
		fail_msg("%s", e.msg);
	for (int i = 0; i < 6 && w->headers[i]; i += 2)
		assert_int_equal(http_add_header(&q, w->headers[i], w->headers[i + 1], &e), 0);
	const struct route *t = route_find(&q, r);
	if (t && route_check(&api, t, &q, r))
		route_answer(&api, t, &q, r);
	http_request_fini(&q);
}

static struct json *parsed(const struct http_response *r)
{
	struct err e = ERR_INIT;
	assert_non_null(r->body.data);
	struct json *v = json_parse(r->body.data, r->body.len, &e);
	if (!v)
		fail_msg("%s", e.msg);
	return v;
}

/* The answer must be this problem; pointer (NULL: any) is the one of its first error. */
static void expect_problem(const struct question *w, int status, const char *code, const char *pointer)
{
	struct http_response r;
	ask(w, &r);
	struct json *v = parsed(&r);
	assert_int_equal(r.status, status);
	assert_string_equal(http_get(&r, "Content-Type"), "application/problem+json");
	assert_string_equal(json_text(json_get(v, "code")), code);
	assert_int_equal(json_int(json_get(v, "status")), status);
	if (pointer)
		assert_string_equal(json_text(json_get(json_at(json_get(v, "errors"), 0), "pointer")), pointer);
	json_free(v);
	http_response_fini(&r);
}

#define JSON_BODY                                  \
	{                                          \
		"Content-Type", "application/json" \
	}

static void expect_submit(const char *body, int status, const char *code, const char *pointer)
{
	const struct question w = {.method = HTTP_POST, .target = "/v1/jobs", .body = body, .headers = JSON_BODY};
	expect_problem(&w, status, code, pointer);
}

static void what_is_not_there_is_404(void **state)
{
	(void)state;
	static const char *const targets[] = {"/web/none.js",           "/v1", "/v1/", "/v1/models/", "/v1/jobs/job_2",
	                                      "/v1/jobs/job_1/layers/0"};
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
		expect_problem(&(struct question){.method = HTTP_GET, .target = targets[i]}, 404, "not-found", NULL);
}

static void other_methods_are_405_with_allow(void **state)
{
	struct http_response r;
	(void)state;
	ask(&(struct question){.method = HTTP_DELETE, .target = "/v1/models"}, &r);
	assert_int_equal(r.status, 405);
	assert_string_equal(http_get(&r, "Allow"), "GET, HEAD, POST, PUT");
	http_response_fini(&r);
}

static void query_parameters_that_nobody_knows_are_refused(void **state)
{
	(void)state;
	expect_problem(&(struct question){.method = HTTP_GET, .target = "/v1/jobs?foo=1"}, 422, "unknown-field", "?foo");
	expect_problem(&(struct question){.method = HTTP_GET, .target = "/v1/jobs?lim=1"}, 422, "unknown-field", "?lim");
	expect_problem(
		&(struct question){.method = HTTP_POST, .target = "/v1/jobs?dry_run=yes", .body = "{}", .headers = JSON_BODY}, 422,
		"bad-param", "?dry_run");
}

static void numbers_of_the_query_are_checked(void **state)
{
	(void)state;
	static const char *const targets[] = {"/v1/models?limit=0",  "/v1/models?limit=1001",
	                                      "/v1/models?limit=",   "/v1/models?limit=-1",
	                                      "/v1/models?limit=1x", "/v1/models?limit=99999999999999999999"};
	for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
		expect_problem(&(struct question){.method = HTTP_GET, .target = targets[i]}, 422, "bad-param", "?limit");
	expect_problem(&(struct question){.method = HTTP_GET, .target = "/v1/jobs?status=done"}, 422, "bad-param", "?status");
}

static void types_of_bodies_are_checked(void **state)
{
	(void)state;
	expect_problem(&(struct question){.method = HTTP_POST, .target = "/v1/jobs", .body = "{}"}, 415, "unsupported-media", NULL);
	expect_problem(
		&(struct question){.method = HTTP_POST, .target = "/v1/jobs", .headers = {"Content-Type", "application/jsonp"}},
		415, "unsupported-media", NULL);
	expect_problem(
		&(struct question){.method = HTTP_POST, .target = "/v1/models", .headers = {"Content-Type", "multipart/form-data"}},
		415, "unsupported-media", NULL);
	expect_problem(&(struct question){.method = HTTP_PUT, .target = "/v1/models", .headers = {"Content-Encoding", "gzip"}}, 415,
	               "unsupported-media", NULL);
}

static void promises_not_kept_are_refused(void **state)
{
	(void)state;
	expect_problem(&(struct question){.method = HTTP_POST, .target = "/v1/tickets", .headers = {"Idempotency-Key", "k"}}, 422,
	               "unknown-field", NULL);
	expect_problem(&(struct question){.method = HTTP_POST, .target = "/v1/models", .headers = {"Idempotency-Key", "a b"}}, 422,
	               "bad-param", NULL);
	expect_problem(
		&(struct question){.method = HTTP_POST, .target = "/v1/jobs/job_1/cancel", .headers = {"Idempotency-Key", "a b"}},
		422, "bad-param", NULL);
}

static void wrong_submissions_get_a_pointer(void **state)
{
	(void)state;
	expect_submit("{\"model\":", 422, "bad-param", "");
	expect_submit("[]", 422, "bad-param", "");
	expect_submit("{\"model\": \"a\", \"model\": \"b\"}", 422, "bad-param", "");
	expect_submit("{\"priority\": 101}", 422, "bad-param", "/priority");
	expect_submit("{\"model\": 1}", 422, "bad-param", "/model");
	expect_submit("{\"model\": \"mdl_1\"}", 422, "bad-param", "/calibration");
	expect_submit("{\"params\": {\"param_bw\": 99}}", 422, "bad-param", "/params/param_bw");
	expect_submit("{\"params\": {\"loss_fn\": \"l9\"}}", 422, "bad-param", "/params/loss_fn");
	expect_submit("{\"visibility\": \"all\"}", 422, "bad-param", "/visibility");
	expect_submit("{\"model_id\": 1}", 422, "unknown-field", "/model_id");
	expect_submit("{\"params\": {\"reuse\": 1}}", 422, "bad-param", "/params/reuse");
	expect_submit("{\"params\": {\"deadline_seconds\": -1}}", 422, "bad-param", "/params/deadline_seconds");
	expect_submit("{\"params\": null}", 422, "bad-param", "/params");
	expect_submit("{\"labels\": {\"a\": 1}}", 422, "bad-param", "/labels");
}

static void a_backends_refusal_keeps_its_code(void **state)
{
	static const char body[] = "{\"model\": \"mdl_1\", \"calibration\": \"cal_1\"}";
	static const struct {
		enum err_code code;
		int status;
		const char *name;
	} table[] = {{ERR_BAD_STATE, 409, "bad-state"}, {ERR_QUEUE_FULL, 503, "queue-full"},      {ERR_DISK_FULL, 507, "disk-full"},
	             {ERR_BUSY, 503, "busy"},           {ERR_INTERNAL, 500, "internal"},          {ERR_IO, 500, "internal"},
	             {ERR_NOT_FOUND, 404, "not-found"}, {ERR_MEMORY, 500, "out-of-memory-budget"}};
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		(void)err_set(&fake.refuse, table[i].code, "because");
		expect_submit(body, table[i].status, table[i].name, NULL);
	}
	(void)err_set(&fake.refuse, ERR_CALIBRATION, "it does not fit: input \"a/b\": no array; input \"c\": wrong; really");
	struct http_response r;
	ask(&(struct question){.method = HTTP_POST, .target = "/v1/jobs", .body = body, .headers = JSON_BODY}, &r);
	struct json *v = parsed(&r);
	const struct json *errors = json_get(v, "errors");
	assert_int_equal(json_size(errors), 2);
	assert_string_equal(json_text(json_get(json_at(errors, 0), "pointer")), "/a~1b");
	assert_string_equal(json_text(json_get(json_at(errors, 1), "detail")), "input \"c\": wrong; really");
	json_free(v);
	http_response_fini(&r);
	fake.refuse = (struct err)ERR_INIT;
}

static void a_submission_reaches_the_backend(void **state)
{
	struct http_response r;
	(void)state;
	fake.status = "queued";
	ask(&(struct question){.method = HTTP_POST,
	                       .target = "/v1/jobs",
	                       .body = "{\"model\": \"mdl_1\", \"calibration\": \"cal_1\", \"params\": {\"weight_bits\": 3}, "
	                               "\"labels\": {\"a\": \"b\"}}",
	                       .headers = {"Content-Type", "application/json; charset=utf-8"}},
	    &r);
	assert_int_equal(r.status, 202);
	assert_string_equal(http_get(&r, "Location"), "/v1/jobs/job_1");
	assert_non_null(http_get(&r, "Retry-After"));
	assert_int_equal(fake.param_bw, 3);
	assert_string_equal(fake.labels, "{\"a\": \"b\"}");
	fake.status = "succeeded";
	http_response_fini(&r);
}

static void a_long_poll_waits_for_the_end_only(void **state)
{
	struct http_response r;
	(void)state;
	fake.status = "running";
	ask(&(struct question){.method = HTTP_GET, .target = "/v1/jobs/job_1?wait=1000"}, &r);
	assert_string_equal(r.wait_for, "job_1");
	assert_int_equal(r.wait_ms, 300000);
	ask(&(struct question){.method = HTTP_GET, .target = "/v1/jobs/job_1?wait=10", .waited_ms = 10000}, &r);
	assert_string_equal(r.wait_for, "");
	assert_int_equal(r.status, 200);
	http_response_fini(&r);
	fake.status = "succeeded";
	ask(&(struct question){.method = HTTP_GET, .target = "/v1/jobs/job_1?wait=10"}, &r);
	assert_int_equal(r.status, 200);
	http_response_fini(&r);
}

static void results_wait_for_success(void **state)
{
	static const struct {
		const char *status, *code;
	} table[] = {{"queued", "job-not-finished"},
	             {"running", "job-not-finished"},
	             {"canceling", "job-not-finished"},
	             {"failed", "bad-state"},
	             {"canceled", "bad-state"}};
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		fake.status = table[i].status;
		expect_problem(&(struct question){.method = HTTP_GET, .target = "/v1/jobs/job_1/encodings"}, 409, table[i].code,
		               NULL);
	}
	expect_problem(&(struct question){.method = HTTP_GET, .target = "/v1/jobs/job_1/encodings?version=3.0.0"}, 422, "bad-param",
	               "?version");
	fake.status = "succeeded";
}

#define TAG "\"84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882\""

static void expect_download(const char *name, const char *value, const char *also, const char *also_value, int status,
                            int64_t offset, int64_t length, const char *range)
{
	struct http_response r;
	ask(&(struct question){.method = HTTP_GET,
	                       .target = "/v1/jobs/job_1/encodings",
	                       .headers = {name, value, also, also_value}},
	    &r);
	assert_int_equal(r.status, status);
	if (status == 200 || status == 206) {
		assert_int_equal(r.offset, offset);
		assert_int_equal(r.length, length);
		assert_string_equal(http_get(&r, "ETag"), TAG);
		assert_string_equal(http_get(&r, "Repr-Digest"), "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:");
	}
	if (range)
		assert_string_equal(http_get(&r, "Content-Range"), range);
	else
		assert_null(http_get(&r, "Content-Range"));
	http_response_fini(&r);
}

static void downloads_know_ranges_and_tags(void **state)
{
	(void)state;
	expect_download(NULL, NULL, NULL, NULL, 200, 0, 10, NULL);
	expect_download("Range", "bytes=2-4", NULL, NULL, 206, 2, 3, "bytes 2-4/10");
	expect_download("Range", "bytes=7-", NULL, NULL, 206, 7, 3, "bytes 7-9/10");
	expect_download("Range", "bytes=-4", NULL, NULL, 206, 6, 4, "bytes 6-9/10");
	expect_download("Range", "bytes=-400", NULL, NULL, 206, 0, 10, "bytes 0-9/10");
	expect_download("Range", "bytes=0-400", NULL, NULL, 206, 0, 10, "bytes 0-9/10");
	expect_download("Range", "bytes=10-", NULL, NULL, 416, 0, 0, "bytes */10");
	expect_download("Range", "bytes=-0", NULL, NULL, 416, 0, 0, "bytes */10");
	static const char *const ignored[] = {
		"bytes=4-2", "bytes=1-2,4-5", "lines=1-2", "bytes=", "bytes=-", "bytes=a-b", "bytes=1"};
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		expect_download("Range", ignored[i], NULL, NULL, 200, 0, 10, NULL);
	expect_download("Range", "bytes=2-4", "If-Range", TAG, 206, 2, 3, "bytes 2-4/10");
	expect_download("Range", "bytes=2-4", "If-Range", "W/" TAG, 200, 0, 10, NULL);
	expect_download("Range", "bytes=2-4", "If-Range", "\"other\"", 200, 0, 10, NULL);
	expect_download("If-None-Match", TAG, NULL, NULL, 304, 0, 0, NULL);
	expect_download("If-None-Match", "\"x\", W/" TAG, NULL, NULL, 304, 0, 0, NULL);
	expect_download("If-None-Match", "*", NULL, NULL, 304, 0, 0, NULL);
	expect_download("If-None-Match", "\"x\"", NULL, NULL, 200, 0, 10, NULL);
	expect_download("If-Match", "\"x\"", NULL, NULL, 412, 0, 0, NULL);
}

static void lists_tell_where_they_go_on(void **state)
{
	struct http_response r;
	(void)state;
	fake.models = 3;
	ask(&(struct question){.method = HTTP_GET, .target = "/v1/models?limit=2"}, &r);
	struct json *v = parsed(&r);
	assert_int_equal(json_size(json_get(v, "data")), 2);
	assert_true(json_bool(json_get(v, "has_more")));
	assert_string_equal(json_text(json_get(v, "next")), "mdl_8");
	assert_string_equal(http_get(&r, "Link"), "</v1/models?limit=2&after=mdl_8>; rel=\"next\"");
	json_free(v);
	http_response_fini(&r);
	ask(&(struct question){.method = HTTP_GET, .target = "/v1/models?limit=3"}, &r);
	v = parsed(&r);
	assert_false(json_bool(json_get(v, "has_more")));
	assert_true(json_is_null(json_get(v, "next")));
	json_free(v);
	http_response_fini(&r);
}

static void external_files_have_plain_names_of_the_model(void **state)
{
	static const char *const wrong[] = {"..", "a/../b", "./a", "a//b", "a/", "%5c", "/a", "other"};
	char target[100];
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		(void)snprintf(target, sizeof target, "/v1/models/mdl_1/files/%s", wrong[i]);
		expect_problem(&(struct question){.method = HTTP_PUT, .target = target}, 422, "bad-param", NULL);
	}
	expect_problem(&(struct question){.method = HTTP_PUT, .target = "/v1/models/mdl_2/files/a"}, 404, "not-found", NULL);
	/* "sub/w.data", with the slash as it is or encoded */
	for (int i = 0; i < 2; i++) {
		struct http_request q = {.method = HTTP_PUT, .id = "rq"};
		struct http_response r;
		struct err e = ERR_INIT;
		http_response_init(&r);
		assert_int_equal(
			http_parse_target(&q, i ? "/v1/models/mdl_1/files/sub%2Fw.data" : "/v1/models/mdl_1/files/sub/w.data", &e),
			0);
		const struct route *t = route_find(&q, &r);
		assert_non_null(t);
		assert_true(route_check(&api, t, &q, &r));
		http_request_fini(&q);
		http_response_fini(&r);
	}
}

static void requests_without_a_body_refuse_one(void **state)
{
	(void)state;
	expect_problem(&(struct question){.method = HTTP_GET, .target = "/livez", .body = "x"}, 422, "unknown-field", NULL);
}

static void every_route_is_described(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < routes_len; i++)
		assert_true(openapi_knows(&routes[i]));
	struct json *v = json_parse(openapi_schemas, strlen(openapi_schemas), &e);
	assert_non_null(v);
	json_free(v);
}

int main(void)
{
	fake.status = "succeeded";
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_there_is_404),
		cmocka_unit_test(other_methods_are_405_with_allow),
		cmocka_unit_test(query_parameters_that_nobody_knows_are_refused),
		cmocka_unit_test(numbers_of_the_query_are_checked),
		cmocka_unit_test(types_of_bodies_are_checked),
		cmocka_unit_test(promises_not_kept_are_refused),
		cmocka_unit_test(wrong_submissions_get_a_pointer),
		cmocka_unit_test(a_backends_refusal_keeps_its_code),
		cmocka_unit_test(a_submission_reaches_the_backend),
		cmocka_unit_test(a_long_poll_waits_for_the_end_only),
		cmocka_unit_test(results_wait_for_success),
		cmocka_unit_test(downloads_know_ranges_and_tags),
		cmocka_unit_test(lists_tell_where_they_go_on),
		cmocka_unit_test(external_files_have_plain_names_of_the_model),
		cmocka_unit_test(requests_without_a_body_refuse_one),
		cmocka_unit_test(every_route_is_described),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
