#ifndef SEQMSED_BACKEND_H
#define SEQMSED_BACKEND_H

/* What the handlers need from the rest of the daemon: objects, files and facts, behind function pointers, so that handlers run
 * in tests without sockets and without a database.
 *
 * Every function may be called from any thread, takes the backend's own ctx first and a `struct err` last. `who` asks: what others
 * own and keep private is not there for them, and what they do not own they cannot change (both ERR_NOT_FOUND). Values that a function
 * fills hold memory of their own, released by their _fini function, which accepts a value of zeros. A missing object is
 * ERR_NOT_FOUND, one in the wrong state ERR_BAD_STATE, one that something else needs ERR_IN_USE.
 */

#include "api/http.h"
#include "core/base/err.h"
#include "core/encodings/encodings.h"
#include "core/workflow/params.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { API_ID = 36, API_SHA256 = 64, API_TICKET = 36 };

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

/* What is uploaded and kept. */
enum api_kind { API_MODEL, API_CALIBRATION, API_ENCODINGS };

struct api_object {
	enum api_kind kind;
	char id[API_ID + 1];
	char *name, *labels, *owner; /* labels: a JSON object */
	char visibility[8];
	char sha256[API_SHA256 + 1]; /* of its file; for a model, of its own one */
	int64_t size, created_at;
	union {
		struct {                             /* a model */
			char digest[API_SHA256 + 1]; /* identity; "" while files are missing */
			int64_t ir_version, opset, nodes, layer_count, searchable_count;
			char *inputs, *outputs; /* JSON arrays */
			char *layers;           /* likewise, of a new model; NULL in one that is read: model_layers() has it */
			struct api_file *files; /* external data */
			size_t nfiles;
		};
		struct {                 /* a calibration set */
			int64_t samples; /* -1: arrays differ */
			char *arrays;    /* JSON array */
		};
		struct {                                 /* an encodings file, which jobs start from */
			int64_t parameters, activations; /* entries of each kind */
		};
	};
};

/* An upload that may come in pieces (tus). */
struct api_upload {
	char id[API_ID + 1], kind[16]; /* "models" or "calibrations" */
	char visibility[8];
	char *name, *owner, *model; /* model: that a calibration set is to fit; or NULL */
	char *preprocess;           /* how its images become numbers for that; or NULL */
	int64_t size, offset, expires_at;
	char result[API_ID + 1]; /* what it became; "" before */
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
	char *name, *labels, *owner; /* labels: a JSON object */
	char visibility[8], status[16];
	int64_t attempt, priority;
	int64_t deadline_seconds;                           /* 0: none */
	char reused_from[API_ID + 1], retry_of[API_ID + 1]; /* "": none */
	int64_t queue_position;                             /* from 1; 0: not queued */
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
	char *node, *op_type, *weight, *strategy, *chosen; /* chosen: a JSON array, a candidate for every grid */
	char *settings;                                    /* a JSON object: bits, granularity, …; NULL where it is not known */
	char *curve; /* a JSON array, the loss with each candidate, null where not all grids tried it; NULL where there is none. Lists lack it */
	int64_t channels, fan_in, rechecked;
	double seconds, loss, minmax_loss; /* losses are sums of core/search/loss.h's amounts, NaN where not finite */
};

struct api_event {
	int64_t seq, at;
	char *event, *data; /* data: a JSON object */
};

/* See api/tickets.h. */
struct api_ticket {
	char text[API_TICKET + 1], target[API_SHA256 + 1];
	int64_t expires_at;
};

/* A line of a job's log. */
struct api_log {
	int64_t seq, at, attempt;
	char level[8]; /* "info", "warning", "error" */
	char *text;
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
	int64_t created_at, position; /* position: from 1; 0: not queued */
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
	const char *name, *labels, *visibility;
	const struct params *params;
	int64_t priority, deadline_seconds;
	bool reuse;           /* the results of an equal job will do */
	const char *retry_of; /* an id, whose finished layers it may take over; or NULL */
};

/* A request that a client may repeat: the same key and the same fingerprint give the same object. */
struct api_once {
	const char *key; /* NULL: none */
	char fingerprint[2 * API_SHA256 +
	                 1]; /* of the request; a body that is a file follows with its own digest, once_add_file() */
	bool replayed;       /* answer: it was carried out before */
	bool existing;       /* answer: and then, or now, the object was there already */
};

/* What a job would be, from a dry run. */
struct api_preview {
	char *params, *layers; /* JSON object, and the array of the model's layers */
	int64_t samples, samples_used, searchable;
	char *estimate; /* JSON object: what it would take; NULL where that could not be found out, and why */
	struct err no_estimate;
	char reuse[API_ID + 1]; /* the job whose results it would get; "": none */
};

/* What PATCH changes; NULL leaves it. */
struct api_change {
	const char *name, *labels, *visibility;
	const int64_t *priority; /* jobs only */
	/* If-Match: only an object (a struct api_object or api_job) that has one of these tags is changed, looked at in the very transaction; else
	 * ERR_PRECONDITION. NULL: any. */
	const char *must;
	const char *kind;                                      /* what the object is called, … */
	void (*write)(struct json_out *w, const void *object); /* … and what GET answers for it; both for download_check() */
};

/* Which jobs a list shows; NULL: all. */
struct api_job_filter {
	const char *status, *model;
	const char *name;                /* glob */
	const char *label, *label_value; /* label_value may be NULL */
};

enum api_action { API_CANCEL, API_PAUSE, API_RESUME };

struct api_backend {
	void *ctx;

	/* An object of the uploaded file. *existing: the very file was here already, and *out is the older object. once->key may be NULL, here
	 * and in all the others. For a calibration set, model is an id to check the fit with, and preprocess how images are to become numbers for
	 * that; NULL: none. */
	int (*object_add)(void *ctx, const struct api_caller *who, enum api_kind kind, struct upload *u,
	                  const struct api_change *first, const char *model, const char *preprocess, struct api_once *once,
	                  struct api_object *out, bool *existing, struct err *e);
	int (*object_get)(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, struct api_object *out,
	                  struct err *e);
	int (*object_list)(void *ctx, const struct api_caller *who, enum api_kind kind, const struct api_page *page,
	                   struct api_object **out, size_t *n, struct err *e);
	int (*object_open)(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, struct api_blob *out,
	                   struct err *e);
	int (*object_change)(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id,
	                     const struct api_change *c, struct api_object *out, struct err *e);
	int (*object_delete)(void *ctx, const struct api_caller *who, enum api_kind kind, const char *id, struct err *e);

	/* An external-data file of a model; with the last missing one the model becomes complete. */
	int (*model_file_add)(void *ctx, const struct api_caller *who, const char *id, const char *file, struct upload *u,
	                      struct api_object *out, bool *existing, struct err *e);
	int (*model_layers)(void *ctx, const struct api_caller *who, const char *id, char **json, struct err *e);

	/* Begins an upload: *u gets its id and when it expires. first is what came with it, or NULL; the whole file makes the object. What once's
	 * request began is told as it is now. */
	int (*upload_add)(void *ctx, const struct api_caller *who, struct api_upload *u, struct upload *first,
	                  struct api_once *once, struct err *e);
	/* With the offset up to which it is on the disk, also of what a request that was cut off sent. */
	int (*upload_get)(void *ctx, const struct api_caller *who, const char *id, struct api_upload *out, struct err *e);
	/* A request body that is to be appended at offset; ERR_OFFSET where it does not go on there. Never waits long. */
	int (*upload_begin)(void *ctx, const struct api_caller *who, const char *id, int64_t offset, struct upload **out,
	                    struct err *e);
	/* The body is there. The last one makes the object. */
	int (*upload_commit)(void *ctx, const struct api_caller *who, const char *id, struct upload *part, struct api_upload *out,
	                     struct err *e);
	int (*upload_delete)(void *ctx, const struct api_caller *who, const char *id, struct err *e);

	int (*job_add)(void *ctx, const struct api_caller *who, const struct api_job_request *r, struct api_once *once,
	               struct api_job *out, struct err *e);
	/* Everything that job_add checks; keeps nothing. */
	int (*job_preview)(void *ctx, const struct api_caller *who, const struct api_job_request *r, struct api_preview *out,
	                   struct err *e);
	int (*job_get)(void *ctx, const struct api_caller *who, const char *id, struct api_job *out, struct err *e);
	int (*job_list)(void *ctx, const struct api_caller *who, const struct api_page *page, const struct api_job_filter *f,
	                struct api_job **out, size_t *n, struct err *e);
	int (*job_act)(void *ctx, const struct api_caller *who, const char *id, enum api_action what, struct api_once *once,
	               struct api_job *out, struct err *e);
	int (*job_change)(void *ctx, const struct api_caller *who, const char *id, const struct api_change *c, struct api_job *out,
	                  struct err *e);
	int (*job_delete)(void *ctx, const struct api_caller *who, const char *id, struct err *e);
	int (*job_layers)(void *ctx, const struct api_caller *who, const char *id, struct api_layer **out, size_t *n,
	                  struct err *e);
	/* One of them, with its curve. */
	int (*job_layer)(void *ctx, const struct api_caller *who, const char *id, int64_t index, struct api_layer *out,
	                 struct err *e);
	/* Events with a number above `after`, oldest first, at most limit. */
	int (*job_events)(void *ctx, const struct api_caller *who, const char *id, int64_t after, int64_t limit,
	                  struct api_event **out, size_t *n, struct err *e);
	/* The encodings of those layers that are finished, of a job that has not succeeded; ERR_BAD_STATE: there are none. */
	int (*job_partial)(void *ctx, const struct api_caller *who, const char *id, enum encodings_version v, struct buf *out,
	                   struct err *e);
	/* Lines of the log, as events. */
	int (*job_logs)(void *ctx, const struct api_caller *who, const char *id, int64_t after, int64_t limit, struct api_log **out,
	                size_t *n, struct err *e);
	int (*artifact_open)(void *ctx, const struct api_caller *who, const char *id, const char *name, struct api_blob *out,
	                     struct err *e);

	/* A ticket for t->target; fills in the rest. */
	int (*ticket_add)(void *ctx, const struct api_caller *who, struct api_ticket *t, struct err *e);

	int (*queue)(void *ctx, const struct api_caller *who, struct api_queue *out, struct err *e);
	void (*server)(void *ctx, struct api_server *out);
	/* Appends all metrics in Prometheus' text format. */
	int (*metrics)(void *ctx, struct buf *out, struct err *e);
	/* Fills at most API_MAX_CHECKS; all ok means ready. */
	size_t (*ready)(void *ctx, struct api_check checks[API_MAX_CHECKS]);
};

/* Whether an external file's name is relative and goes neither up nor nowhere. */
bool api_is_plain_path(const char *name);

void api_object_fini(struct api_object *x);
void api_upload_fini(struct api_upload *u);
void api_job_fini(struct api_job *j);
void api_layer_fini(struct api_layer *l);
void api_event_fini(struct api_event *v);
void api_log_fini(struct api_log *l);
void api_blob_fini(struct api_blob *b); /* closes the descriptor when it is not -1 */
void api_queue_fini(struct api_queue *q);
void api_preview_fini(struct api_preview *p);

/* Frees an array of n values and what they hold. */
void api_objects_free(struct api_object *x, size_t n);
void api_jobs_free(struct api_job *j, size_t n);
void api_layers_free(struct api_layer *l, size_t n);
void api_events_free(struct api_event *v, size_t n);
void api_logs_free(struct api_log *l, size_t n);

#endif
