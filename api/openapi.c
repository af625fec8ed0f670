/* GET /openapi.json: the OpenAPI 3.1 document, made from the route table, the table of settings and schemas.json. A route without a row
 * here is a mistake that a test finds. */

#include "api/openapi.h"

#include "api/handlers.h"
#include "api/problems.h"
#include "api/replies.h"
#include "core/base/version.h"
#include "core/workflow/params.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*handler)(const struct api *a, struct http_request *q, struct http_response *r);

/* What a handler does, takes (a schema of the body) and gives: pairs of status and schema, "-" for no body, or a name out of bodies. */
static const struct doc {
	handler answer;
	const char *id, *summary, *takes, *gives;
} docs[] = {
#define DOC(f, summary, takes, gives)        \
	{                                    \
		f, #f, summary, takes, gives \
	}
	DOC(models_add, "Upload a model; the same file again gives the object that is there", "file", "201 Model 200 Model"),
	DOC(models_list, "List models, newest first", NULL, "200 ModelList"),
	DOC(models_get, "Get a model", NULL, "200 Model 304 -"),
	DOC(models_change, "Change a model's name, labels or visibility", "Change", "200 Model"),
	DOC(models_delete, "Delete a model that no live job needs", NULL, "204 -"),
	DOC(models_layers, "List every Conv, Gemm and MatMul, and why it cannot be searched if so", NULL, "200 ModelLayerList"),
	DOC(models_content, "Download the model file", NULL, "200 file 206 file 304 -"),
	DOC(models_file_add, "Upload a file that the model keeps its weights in", "file", "201 Model 200 Model"),
	DOC(calibrations_add, "Upload a calibration set; with model it is checked whether it fits", "file",
            "201 Calibration 200 Calibration"),
	DOC(calibrations_list, "List calibration sets, newest first", NULL, "200 CalibrationList"),
	DOC(calibrations_get, "Get a calibration set", NULL, "200 Calibration 304 -"),
	DOC(calibrations_change, "Change a calibration set's name, labels or visibility", "Change", "200 Calibration"),
	DOC(calibrations_delete, "Delete a calibration set that no live job needs", NULL, "204 -"),
	DOC(calibrations_content, "Download the calibration file", NULL, "200 file 206 file 304 -"),
	DOC(encodings_files_add, "Upload an encodings file, for jobs to start from: their setting load_encodings takes its id", "file",
            "201 EncodingsFile 200 EncodingsFile"),
	DOC(encodings_files_list, "List encodings files, newest first", NULL, "200 EncodingsFileList"),
	DOC(encodings_files_get, "Get what is known of an encodings file", NULL, "200 EncodingsFile 304 -"),
	DOC(encodings_files_change, "Change an encodings file's name, labels or visibility", "Change", "200 EncodingsFile"),
	DOC(encodings_files_delete, "Delete an encodings file that no live job starts from", NULL, "204 -"),
	DOC(encodings_files_content, "Download the encodings file", NULL, "200 file 206 file 304 -"),
	DOC(uploads_options, "What of tus is spoken here", NULL, "204 -"),
	DOC(uploads_add,
            "Begin an upload that may come in pieces (tus 1.0.0: Upload-Length, Upload-Metadata with kind, name, visibility, "
            "model, preprocess)",
            "piece", "201 -"),
	DOC(uploads_get, "How far an upload is, and what it became", NULL, "200 Upload"),
	DOC(uploads_patch, "Send the next piece (Upload-Offset)", "piece", "204 -"),
	DOC(uploads_delete, "Drop an upload", NULL, "204 -"),
	DOC(jobs_add, "Submit a job; with dry_run only check it", "JobRequest", "202 Job 200 Preview"),
	DOC(jobs_list, "List jobs, newest first", NULL, "200 JobList"),
	DOC(jobs_get, "Get a job; with wait when it has ended", NULL, "200 Job 304 -"),
	DOC(jobs_change, "Change a job's name, labels, priority or visibility", "JobChange", "200 Job"),
	DOC(jobs_delete, "Forget a job that has ended, and its files", NULL, "204 -"),
	DOC(jobs_cancel, "Cancel a job", NULL, "202 Job"),
	DOC(jobs_pause, "Pause a job; it keeps its finished layers", NULL, "202 Job"),
	DOC(jobs_resume, "Let a paused job go on", NULL, "202 Job"),
	DOC(jobs_retry, "Make a new job like one that has ended", "Retry", "202 Job"),
	DOC(results_layers, "List the layers that are finished", NULL, "200 JobLayerList"),
	DOC(results_curve,
            "Get a layer's loss curve: what it would lose with each candidate (estimated where it cannot be the best), and how "
            "many grids chose it",
            NULL, "200 Curve"),
	DOC(results_events, "List what happened; or follow it, with Accept: text/event-stream", NULL, "200 Events 204 -"),
	DOC(results_logs, "Read a job's log", NULL, "200 Logs"),
	DOC(results_encodings, "Download the encodings; with partial those of the layers that are finished", NULL,
            "200 encodings 206 encodings 304 -"),
	DOC(results_artifacts, "List all files of a job that succeeded", NULL, "200 Artifacts"),
	DOC(results_artifact, "Download one of them", NULL, "200 artifact 206 artifact 304 -"),
	DOC(tickets_add, "Get a ticket: a URL that works once, within a minute, without a key", "TicketRequest", "201 Ticket"),
	DOC(meta_queue, "See what runs and waits", NULL, "200 Queue"),
	DOC(meta_server, "Get the version, the limits and the table of settings", NULL, "200 Server"),
	DOC(meta_metrics, "Get metrics for Prometheus", NULL, "200 text"),
	DOC(meta_live, "Is the process alive?", NULL, "200 Health"),
	DOC(meta_ready, "Can it work? Database, disk, workers, runtime", NULL, "200 Health 503 Health"),
	DOC(meta_health, "The same, under the name that some watch", NULL, "200 Health 503 Health"),
	DOC(openapi_get, "Get this document", NULL, "200 Any"),
	DOC(web_index, "The dashboard", NULL, "200 page 304 -"),
	DOC(web_file, "A file of the dashboard", NULL, "200 page 304 -"),
#undef DOC
};

static const struct doc *doc_of(const struct route *t)
{
	for (size_t i = 0; i < sizeof docs / sizeof *docs; i++)
		if (docs[i].answer == t->answer)
			return &docs[i];
	return NULL;
}

bool openapi_knows(const struct route *t)
{
	return doc_of(t) != NULL;
}

/* ---- parameters ---- */

/* The name of a {} is that of what stands before it: /v1/models/{model}. */
static void path_of(const struct route *t, struct buf *path, char names[HTTP_MAX_ARGS][32], size_t *n)
{
	char before[32] = "";
	*n = 0;
	for (const char *at = t->pattern + 1; *at;) {
		size_t len = strcspn(at, "/");
		if (at[0] == '{') {
			size_t k = strlen(before);
			(void)snprintf(names[*n], 32, "%.*s", (int)(k && before[k - 1] == 's' ? k - 1 : k), before);
			buf_printf(path, "/{%s}", names[(*n)++]);
		} else {
			buf_printf(path, "/%.*s", (int)len, at);
			(void)snprintf(before, sizeof before, "%.*s", (int)len, at);
		}
		at += len + (at[len] == '/');
	}
	if (path->len == 0)
		buf_str(path, "/");
}

/* Schemas of the query's parameters, by name; the after of events and logs is a number. */
static const char *const query_schemas[][2] = {
	{"limit", "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000, \"default\": 100}"},
	{"after", "{\"type\": \"string\", \"pattern\": \"^(mdl|cal|enc|job)_[0-9a-f]{32}$\"}"},
	{"wait", "{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 86400, \"default\": 0}"},
	{"dry_run", "{\"type\": \"string\", \"enum\": [\"true\", \"false\"]}"},
	{"status", "{\"$ref\": \"#/components/schemas/Status\"}"},
	{"visibility", "{\"$ref\": \"#/components/schemas/Visibility\"}"},
	{"version", "{\"type\": \"string\", \"enum\": [\"0.6.1\", \"1.0.0\", \"2.0.0\", \"2.1.0\"], \"default\": \"1.0.0\"}"},
	{"name", "{\"type\": \"string\", \"maxLength\": 200}"},
	{"label", "{\"type\": \"string\", \"minLength\": 1, \"pattern\": \"^[^:]\"}"},
	{"model", "{\"type\": \"string\"}"},
	{"preprocess", "{\"type\": \"string\", \"description\": \"for images, with model: the job's setting of that name\"}"},
	{"partial", "{\"type\": \"string\", \"enum\": [\"0\", \"1\"]}"},
	{"ticket", "{\"type\": \"string\", \"pattern\": \"^tkt_[0-9a-f]{32}$\"}"},
	{"verbose", "{\"type\": \"string\"}"},
};

static const char *query_schema(const struct route *t, const char *name, size_t len)
{
	bool numbered = strcmp(t->pattern, "/v1/jobs/{}/events") == 0 || strcmp(t->pattern, "/v1/jobs/{}/logs") == 0;
	if (numbered && len == 5 && memcmp(name, "after", 5) == 0)
		return "{\"type\": \"integer\", \"minimum\": 0, \"default\": 0}";
	if (strcmp(t->pattern, "/v1/jobs") == 0 && len == 4 && memcmp(name, "name", 4) == 0)
		return "{\"type\": \"string\", \"description\": \"a glob\"}";
	for (size_t i = 0; i < sizeof query_schemas / sizeof *query_schemas; i++)
		if (strlen(query_schemas[i][0]) == len && memcmp(query_schemas[i][0], name, len) == 0)
			return query_schemas[i][1];
	return "{}";
}

static void parameter(struct json_out *w, const char *name, size_t len, const char *in, const char *schema)
{
	char copy[64];
	(void)snprintf(copy, sizeof copy, "%.*s", (int)len, name);
	json_out_object(w, NULL);
	json_out_string(w, "name", copy);
	json_out_string(w, "in", in);
	if (strcmp(in, "path") == 0)
		json_out_bool(w, "required", true);
	reply_stored(w, "schema", schema);
	json_out_end_object(w);
}

static void parameters(struct json_out *w, const struct route *t, char names[HTTP_MAX_ARGS][32], size_t n)
{
	json_out_array(w, "parameters");
	for (size_t i = 0; i < n; i++)
		parameter(w, names[i], strlen(names[i]), "path", "{\"type\": \"string\", \"minLength\": 1}");
	for (const char *at = t->query; *at;) {
		size_t len = strcspn(at, " ");
		parameter(w, at, len, "query", query_schema(t, at, len));
		at += len + (at[len] == ' ');
	}
	if (t->flags & ROUTE_ONCE)
		parameter(w, "Idempotency-Key", 15, "header", "{\"type\": \"string\", \"pattern\": \"^[!-~]{1,200}$\"}");
	json_out_end_array(w);
}

/* ---- bodies and answers ---- */

#define BYTES "{\"type\":\"string\",\"format\":\"binary\"}"
#define TEXT  "{\"type\":\"string\"}"

/* Bodies that no schema describes, by a name that rows of docs use: their types, and what they are to JSON Schema. */
static const struct {
	const char *name, *types, *schema;
} bodies[] = {
	{"file", "application/octet-stream", BYTES},
	{"piece", "application/offset+octet-stream", BYTES},
	{"encodings", "application/json", "{}"},
	{"artifact", "application/octet-stream application/json text/html", BYTES " {} " TEXT},
	{"page", "text/html text/css text/javascript image/svg+xml", TEXT " " TEXT " " TEXT " " TEXT},
	{"text", "text/plain", TEXT},
};

static void one_type(struct json_out *w, const char *type, size_t type_len, const char *schema, size_t schema_len)
{
	char name[80], text[120];
	(void)snprintf(name, sizeof name, "%.*s", (int)type_len, type);
	(void)snprintf(text, sizeof text, "%.*s", (int)schema_len, schema);
	json_out_object(w, name);
	reply_stored(w, "schema", text);
	json_out_end_object(w);
}

/* Both lists have as many words. */
static void all_types(struct json_out *w, const char *types, const char *schemas_of_them)
{
	while (*types) {
		size_t n = strcspn(types, " "), k = strcspn(schemas_of_them, " ");
		one_type(w, types, n, schemas_of_them, k);
		types += n + (types[n] == ' ');
		schemas_of_them += k + (schemas_of_them[k] == ' ');
	}
}

static void content(struct json_out *w, const char *schema)
{
	char ref[80];
	json_out_object(w, "content");
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
		if (strcmp(bodies[i].name, schema) == 0) {
			all_types(w, bodies[i].types, bodies[i].schema);
			json_out_end_object(w);
			return;
		}
	(void)snprintf(ref, sizeof ref, "{\"$ref\":\"#/components/schemas/%s\"}", schema);
	const char *type = strcmp(schema, "Problem") == 0 ? "application/problem+json" : "application/json";
	one_type(w, type, strlen(type), ref, strlen(ref));
	json_out_end_object(w);
}

static void request_body(struct json_out *w, const struct route *t, const struct doc *d)
{
	if (!d->takes)
		return;
	json_out_object(w, "requestBody");
	json_out_bool(w, "required", t->body == BODY_JSON); /* a file may be empty as far as HTTP goes */
	content(w, d->takes);
	json_out_end_object(w);
}

static void response(struct json_out *w, const char *status, const char *what, const char *schema)
{
	json_out_object(w, status);
	json_out_string(w, "description", what);
	if (schema)
		content(w, schema);
	json_out_end_object(w);
}

static void responses(struct json_out *w, const char *gives)
{
	char status[8], schema[40];
	int used;
	json_out_object(w, "responses");
	for (const char *at = gives; sscanf(at, "%7s %39s%n", status, schema, &used) == 2; at += used)
		response(w, status,
		         status[0] == '2'   ? "It worked"
		         : status[0] == '3' ? "The client has it"
		                            : "It cannot work now",
		         strcmp(schema, "-") == 0 ? NULL : schema);
	response(w, "default", "A problem (RFC 9457); its code says which", "Problem");
	json_out_end_object(w);
}

static const char *scope_name(enum route_scope s)
{
	static const char *const names[] = {
		[SCOPE_ADMIN] = "admin", [SCOPE_READ] = "read", [SCOPE_SUBMIT] = "submit", [SCOPE_PUBLIC] = "none"};
	return names[s];
}

static void operation(struct json_out *w, const struct route *t, enum http_method m, char names[HTTP_MAX_ARGS][32], size_t n)
{
	static const char *const keys[] = {[HTTP_GET] = "get",     [HTTP_POST] = "post",     [HTTP_PUT] = "put",
	                                   [HTTP_PATCH] = "patch", [HTTP_DELETE] = "delete", [HTTP_OPTIONS] = "options"};
	const struct doc *d = doc_of(t);
	char id[60];
	if (!d)
		return;
	bool second = m == HTTP_PUT && (t->methods & 1 << HTTP_POST);
	(void)snprintf(id, sizeof id, "%s%s", d->id, second ? "_put" : "");
	json_out_object(w, keys[m]);
	json_out_string(w, "operationId", id);
	json_out_string(w, "summary", d->summary);
	json_out_string(w, "x-scope", scope_name(t->scope));
	if (t->scope == SCOPE_PUBLIC) {
		json_out_array(w, "security");
		json_out_end_array(w);
	}
	parameters(w, t, names, n);
	request_body(w, t, d);
	responses(w, d->gives);
	json_out_end_object(w);
}

/* All methods of one path. */
static void path_item(struct json_out *w, size_t first)
{
	struct buf path = BUF_INIT;
	char names[HTTP_MAX_ARGS][32];
	size_t n;
	path_of(&routes[first], &path, names, &n);
	if (buf_failed(&path))
		buf_fail(w->to);
	json_out_object(w, path.data);
	for (size_t i = first; i < routes_len; i++)
		if (strcmp(routes[i].pattern, routes[first].pattern) == 0)
			for (int m = HTTP_GET; m < HTTP_OTHER; m++)
				if (routes[i].methods & 1u << m)
					operation(w, &routes[i], (enum http_method)m, names, n);
	json_out_end_object(w);
	buf_fini(&path);
}

static bool seen_before(size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (strcmp(routes[k].pattern, routes[i].pattern) == 0)
			return true;
	return false;
}

/* ---- schemas ---- */

static void number_schema(struct json_out *w, const char *type, const struct json *entry)
{
	const struct json *min = json_get(entry, "min"), *max = json_get(entry, "max");
	json_out_string(w, "type", type);
	if (min && json_int(max) > json_int(min)) {
		json_out_value(w, "minimum", min);
		json_out_value(w, "maximum", max);
	}
}

static void setting_schema(struct json_out *w, const char *key, const struct json *entry)
{
	const char *kind = json_text(json_get(entry, "kind"));
	json_out_object(w, key);
	json_out_string(w, "description", json_text(json_get(entry, "meaning")));
	if (strcmp(kind, "integer") == 0 || strcmp(kind, "bytes") == 0) {
		number_schema(w, "integer", entry);
	} else if (strcmp(kind, "real") == 0) {
		number_schema(w, "number", entry);
	} else if (strcmp(kind, "bool") == 0) {
		json_out_string(w, "type", "boolean");
	} else if (strcmp(kind, "choice") == 0) {
		json_out_value(w, "enum", json_get(entry, "choices"));
	} else if (strcmp(kind, "globs") == 0) {
		json_out_string(w, "type", "array");
		reply_stored(w, "items", "{\"type\": \"string\", \"minLength\": 1}");
	}
	json_out_end_object(w);
}

static void params_schema(struct json_out *w)
{
	struct buf text = BUF_INIT;
	struct json_out table;
	struct err ignored = ERR_INIT;
	json_out_init(&table, &text, 0);
	params_table_to_json(&table, NULL);
	struct json *v = buf_failed(&text) ? NULL : json_parse(text.data, text.len, &ignored);
	if (!v)
		buf_fail(w->to);
	json_out_object(w, "Params");
	json_out_string(w, "type", "object");
	json_out_bool(w, "additionalProperties", false);
	json_out_object(w, "properties");
	for (size_t i = 0; i < json_size(v); i++) {
		const struct json *entry = json_at(v, i);
		setting_schema(w, json_text(json_get(entry, "name")), entry);
		if (json_text(json_get(entry, "alias")))
			setting_schema(w, json_text(json_get(entry, "alias")), entry);
	}
	reply_stored(w, "reuse",
	             "{\"type\": \"boolean\", \"description\": \"the results of an equal job will do\", \"default\": true}");
	reply_stored(w, "deadline_seconds",
	             "{\"type\": \"integer\", \"minimum\": 0, \"maximum\": 31536000, \"description\": \"that the job may run; 0: "
	             "no limit of its own\"}");
	json_out_end_object(w);
	json_out_end_object(w);
	json_free(v);
	buf_fini(&text);
}

static void schemas(struct json_out *w)
{
	struct err ignored = ERR_INIT;
	struct json *v = json_parse(openapi_schemas, strlen(openapi_schemas), &ignored);
	if (!v)
		buf_fail(w->to);
	json_out_object(w, "schemas");
	for (void *it = json_first(v); it; it = json_next(v, it))
		json_out_value(w, json_key(it), json_value(it));
	params_schema(w);
	json_out_end_object(w);
	json_free(v);
}

HANDLER(openapi_get)
{
	struct json_out w;
	(void)a;
	reply_begin(r, &w);
	json_out_object(&w, NULL);
	json_out_string(&w, "openapi", "3.1.0");
	reply_stored(&w, "info",
	             "{\"title\": \"seqmsed\", \"version\": \"" SEQMSED_VERSION
	             "\", \"license\": {\"name\": \"BSD-2-Clause\", \"identifier\": \"BSD-2-Clause\"}, "
	             "\"description\": \"Sequential MSE quantization of ONNX models\"}");
	reply_stored(&w, "servers", "[{\"url\": \"/\"}]");
	reply_stored(&w, "security", "[{\"key\": []}, {}]");
	json_out_object(&w, "paths");
	for (size_t i = 0; i < routes_len; i++)
		if (!seen_before(i))
			path_item(&w, i);
	json_out_end_object(&w);
	json_out_object(&w, "components");
	reply_stored(&w, "securitySchemes",
	             "{\"key\": {\"type\": \"http\", \"scheme\": \"bearer\", \"description\": \"a key of `seqmsed key add`; none "
	             "is needed where there are no keys\"}}");
	schemas(&w);
	json_out_end_object(&w);
	json_out_end_object(&w);
	reply_end(r, q, 200);
}
