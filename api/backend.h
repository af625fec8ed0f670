#ifndef SEQMSED_BACKEND_H
#define SEQMSED_BACKEND_H

/* What the handlers need from the rest of the daemon: objects, files and facts, behind function pointers, so that handlers run
 * in tests without sockets and without a database.
 *
 * Every function may be called from any thread, takes the backend's own ctx first and a `struct err` last. Values that a function
 * fills hold memory of their own, released by their _fini function, which accepts a value of zeros. A missing object is
 * ERR_NOT_FOUND, one in the wrong state ERR_BAD_STATE, one that something else needs ERR_IN_USE.
 */

#include "core/err.h"
#include "core/params.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { API_ID = 36, API_SHA256 = 64 };

struct upload; /* a finished request body on the disk; owned by the request, the backend may take its file */

/* A page of a list: newest first, starting after the object with that id ("" from the start). */
struct api_page {
	char after[API_ID + 1];
	int64_t limit;
};

struct api_file {
	char *name;
	bool present;
	char sha256[API_SHA256 + 1];
	int64_t size;
};

struct api_model {
	char id[API_ID + 1];
	char *name;
	char sha256[API_SHA256 + 1]; /* of the model's own file */
	char digest[API_SHA256 + 1]; /* identity; "" while files are missing */
	int64_t size, ir_version, opset, nodes, layer_count, searchable_count;
	char *inputs, *outputs; /* JSON arrays */
	struct api_file *files; /* external data */
	size_t nfiles;
	int64_t created_at;
};

struct api_calibration {
	char id[API_ID + 1];
	char *name;
	char sha256[API_SHA256 + 1];
	int64_t size;
	int64_t samples; /* -1: arrays differ */
	char *arrays;    /* JSON array */
	int64_t created_at;
};

struct api_warning {
	char *code, *layer, *detail;
};

struct api_artifact {
	char *name, *media_type;
	char sha256[API_SHA256 + 1];
	int64_t size;
};

struct api_job {
	char id[API_ID + 1];
	char *name, *labels; /* labels: a JSON object */
	char status[16];
	int64_t attempt;
	int64_t queue_position; /* from 1; 0: not queued */
	char model_id[API_ID + 1], model_sha256[API_SHA256 + 1];
	char calibration_id[API_ID + 1], calibration_sha256[API_SHA256 + 1];
	int64_t samples, samples_used;
	char *params;          /* JSON object */
	char *phase, *current; /* may be NULL */
	int64_t layers_done, layers_total;
	double fraction;
	int64_t heartbeat_at;
	char *error_code, *error_detail; /* NULL: none */
	double cpu_seconds, wall_seconds;
	int64_t peak_rss_bytes;
	int64_t created_at, started_at, finished_at; /* 0: not yet */
	struct api_warning *warnings;
	size_t nwarnings;
	struct api_artifact *artifacts;
	size_t nartifacts;
};

struct api_layer {
	int64_t index;
	char *node, *op_type, *weight, *strategy, *chosen; /* chosen: a JSON array */
	int64_t channels, fan_in, rechecked;
	double seconds, loss, minmax_loss; /* losses are NaN where not finite */
};

struct api_event {
	int64_t seq, at;
	char *event, *data; /* data: a JSON object */
};

/* A file to be sent: the descriptor is the caller's to close. */
struct api_blob {
	int fd;
	int64_t size;
	char sha256[API_SHA256 + 1];
	char *name, *media_type;
};

struct api_queue_entry {
	char id[API_ID + 1], status[16];
	int64_t created_at;
};

struct api_queue {
	int64_t queued, running, workers;
	struct api_queue_entry *jobs; /* the running ones, then the first of the queue */
	size_t njobs;
};

/* A limit, for GET /v1/server. */
struct api_limit {
	const char *name, *meaning;
	int64_t value;
};

struct api_server {
	const char *version, *onnxruntime; /* onnxruntime is NULL where it was not found; then why says so */
	const char *why;
	int64_t cpus, workers, threads_per_job, uptime_seconds;
	const struct api_limit *limits;
	size_t nlimits;
};

struct api_check {
	const char *name;
	bool ok;
	char detail[160];
};

enum { API_MAX_CHECKS = 8 };

struct api_job_request {
	const char *model, *calibration; /* ids */
	const char *name, *labels;
	const struct params *params;
};

struct api_backend {
	void *ctx;

	/* A model of the uploaded file. *existing: the very file was here already, and *out is the older object. */
	int (*model_add)(void *ctx, struct upload *u, const char *name, struct api_model *out, bool *existing, struct err *e);
	/* An external-data file of a model; with the last missing one the model becomes complete. */
	int (*model_file_add)(void *ctx, const char *id, const char *file, struct upload *u, struct api_model *out, bool *existing,
	                      struct err *e);
	int (*model_get)(void *ctx, const char *id, struct api_model *out, struct err *e);
	int (*model_list)(void *ctx, const struct api_page *page, struct api_model **out, size_t *n, struct err *e);
	int (*model_layers)(void *ctx, const char *id, char **json, struct err *e);
	int (*model_open)(void *ctx, const char *id, struct api_blob *out, struct err *e);
	int (*model_delete)(void *ctx, const char *id, struct err *e);

	/* model is an id to check the fit with, or NULL. */
	int (*calibration_add)(void *ctx, struct upload *u, const char *name, const char *model, struct api_calibration *out,
	                       bool *existing, struct err *e);
	int (*calibration_get)(void *ctx, const char *id, struct api_calibration *out, struct err *e);
	int (*calibration_list)(void *ctx, const struct api_page *page, struct api_calibration **out, size_t *n, struct err *e);
	int (*calibration_open)(void *ctx, const char *id, struct api_blob *out, struct err *e);
	int (*calibration_delete)(void *ctx, const char *id, struct err *e);

	int (*job_add)(void *ctx, const struct api_job_request *r, struct api_job *out, struct err *e);
	int (*job_get)(void *ctx, const char *id, struct api_job *out, struct err *e);
	/* status is NULL for all. */
	int (*job_list)(void *ctx, const struct api_page *page, const char *status, struct api_job **out, size_t *n, struct err *e);
	int (*job_cancel)(void *ctx, const char *id, struct api_job *out, struct err *e);
	int (*job_delete)(void *ctx, const char *id, struct err *e);
	int (*job_layers)(void *ctx, const char *id, struct api_layer **out, size_t *n, struct err *e);
	/* Events with a number above `after`, oldest first, at most limit. */
	int (*job_events)(void *ctx, const char *id, int64_t after, int64_t limit, struct api_event **out, size_t *n,
	                  struct err *e);
	int (*artifact_open)(void *ctx, const char *id, const char *name, struct api_blob *out, struct err *e);

	int (*queue)(void *ctx, struct api_queue *out, struct err *e);
	void (*server)(void *ctx, struct api_server *out);
	/* Fills at most API_MAX_CHECKS; all ok means ready. */
	size_t (*ready)(void *ctx, struct api_check checks[API_MAX_CHECKS]);
};

/* Whether an external file's name is relative and goes neither up nor nowhere. */
bool api_is_plain_path(const char *name);

void api_model_fini(struct api_model *m);
void api_calibration_fini(struct api_calibration *c);
void api_job_fini(struct api_job *j);
void api_layer_fini(struct api_layer *l);
void api_event_fini(struct api_event *v);
void api_blob_fini(struct api_blob *b); /* closes the descriptor when it is not -1 */
void api_queue_fini(struct api_queue *q);

/* Frees an array of n values and what they hold. */
void api_models_free(struct api_model *m, size_t n);
void api_calibrations_free(struct api_calibration *c, size_t n);
void api_jobs_free(struct api_job *j, size_t n);
void api_layers_free(struct api_layer *l, size_t n);
void api_events_free(struct api_event *v, size_t n);

#endif
