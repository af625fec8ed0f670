#ifndef SEQMSED_STORE_JOB_H
#define SEQMSED_STORE_JOB_H

/* Jobs in the store: what clients ask for, and what workers write. Any thread. A missing job is ERR_NOT_FOUND.
 *
 * A worker owns a job through its claim: the attempt number is the token. Every write of a worker shows it, and fails with
 * ERR_BAD_STATE when the job meanwhile belongs to somebody else or left the states that the write is for.
 */

#include "api/backend.h"
#include "core/base/buf.h"
#include "server/store/job_state.h"

#include <stdbool.h>

struct store;
struct part;

/* ---- for clients ---- */

struct store_job_new {
	const char *id, *name, *labels, *params, *owner, *visibility;
	int64_t priority, deadline_seconds;
	const char *fingerprint; /* equal ones have equal results */
	bool reuse;              /* the results of an equal job of the owner will do */
	const char *retry_of;    /* a job whose layers are taken over when it is equal; NULL: none */
	const char *model_id, *model_sha256, *calibration_id, *calibration_sha256;
	int64_t samples, samples_used;
};

struct store_limits {
	int64_t max_queued, max_queued_per_owner;
};

/* Commits a queued job, or one that has an equal job's results already, provided that both objects are still there; id gets its id. With
 * a key that was used before (store_once.h), nothing is added, and id is what that request made. At a limit: ERR_QUEUE_FULL. */
int store_job_add(struct store *s, const struct store_job_new *j, const struct store_limits *l, struct api_once *once,
                  char id[API_ID + 1], struct err *e);
/* A job with the results that another one will have; "" where there is none. */
int store_job_equal(struct store *s, const char *fingerprint, const char *owner, char id[API_ID + 1], struct err *e);

/* who is NULL for the daemon itself, which sees everything. */
int store_job_get(struct store *s, const struct api_caller *who, const char *id, struct api_job *out, struct err *e);
int store_job_list(struct store *s, const struct api_caller *who, const struct api_page *page, const struct api_job_filter *f,
                   struct api_job **out, size_t *n, struct err *e);
/* Cancels: a queued or paused job at once, a running one when its worker has ended the child. Pauses likewise. *to says which. Doing
 * what was done is no error. */
int store_job_act(struct store *s, const struct api_caller *who, const char *id, enum api_action what, struct api_once *once,
                  enum job_status *to, struct err *e);
int store_job_change(struct store *s, const struct api_caller *who, const char *id, const struct api_change *c, struct err *e);
int store_job_delete(struct store *s, const struct api_caller *who, const char *id, struct err *e);
int store_job_layers(struct store *s, const struct api_caller *who, const char *id, struct api_layer **out, size_t *n,
                     struct err *e);
int store_job_layer(struct store *s, const struct api_caller *who, const char *id, int64_t index, struct api_layer *out,
                    struct err *e);
int store_job_events(struct store *s, const struct api_caller *who, const char *id, int64_t after, int64_t limit,
                     struct api_event **out, size_t *n, struct err *e);
int store_job_artifact(struct store *s, const struct api_caller *who, const char *id, const char *name, struct api_artifact *out,
                       struct err *e);
/* The frames of the layers that are finished, a line each; none once the job has succeeded. params gets the job's, to be freed. */
int store_job_frames(struct store *s, const struct api_caller *who, const char *id, struct buf *out, char **params, struct err *e);
int store_job_queue(struct store *s, const struct api_caller *who, struct api_queue *out, struct err *e);

/* ---- for workers ---- */

struct store_claim {
	char id[API_ID + 1];
	int64_t attempt;
	int64_t deaths;
	int64_t deadline_seconds; /* 0: none */
	double wall_seconds;      /* that earlier attempts took */
	char *params;             /* JSON object */
	char model_id[API_ID + 1], calibration_id[API_ID + 1];
	char fingerprint[API_SHA256 + 1];
};

/* A running one whose lease ran out, or the first of the queue (store_queue.h); *found is false when there is none. */
int store_job_claim(struct store *s, int64_t lease_ms, struct store_claim *c, bool *found, struct err *e);
void store_claim_fini(struct store_claim *c);

struct store_progress {
	const char *phase, *current;
	int64_t layers_done, layers_total;
	double fraction;
};

/* Renews the lease and, when p is not NULL, writes the progress. */
int store_job_beat(struct store *s, const struct store_claim *c, int64_t lease_ms, const struct store_progress *p, struct err *e);

struct store_layer {
	struct api_layer summary;
	double *grids; /* four a channel: min, max, delta, offset */
	size_t grids_len;
	const char *frame; /* as the engine told of it, for store_job_known(); the caller's */
};

int store_job_add_layer(struct store *s, const struct store_claim *c, const struct store_layer *l, struct err *e);
/* The frames of all layers that are finished, a line each; *n counts them. */
int store_job_known(struct store *s, const struct store_claim *c, struct buf *out, int64_t *n, struct err *e);
int store_job_warn(struct store *s, const struct store_claim *c, const char *code, const char *layer, const char *detail,
                   struct err *e);

/* A line of the job's log (store_log.h). */
int store_job_log(struct store *s, const struct store_claim *c, const char *level, const char *text, struct err *e);

struct store_usage {
	double cpu_seconds, wall_seconds;
	int64_t peak_rss_bytes;
};

struct store_artifact {
	const char *name, *media_type;
	struct part *part; /* synced */
};

/* The ends of an attempt. Success commits the files and the state together; death counts a child that died. */
int store_job_succeed(struct store *s, const struct store_claim *c, const struct store_usage *u, const struct store_artifact *files,
                      size_t nfiles, struct err *e);
int store_job_fail(struct store *s, const struct store_claim *c, const struct store_usage *u, const char *code, const char *detail,
                   struct err *e);
int store_job_requeue(struct store *s, const struct store_claim *c, const struct store_usage *u, bool death, struct err *e);
int store_job_stopped(struct store *s, const struct store_claim *c, const struct store_usage *u, struct err *e);

/* Start-up, before there are workers: jobs that a daemon left running are queued again, those that it was canceling are
 * canceled. */
int store_job_recover(struct store *s, int *requeued, struct err *e);

#endif
