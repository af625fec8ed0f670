#ifndef SEQMSED_STORE_JOB_H
#define SEQMSED_STORE_JOB_H

/* Jobs in the store: what clients ask for, and what workers write. Any thread. A missing job is ERR_NOT_FOUND.
 *
 * A worker owns a job through its claim: the attempt number is the token. Every write of a worker shows it, and fails with
 * ERR_BAD_STATE when the job meanwhile belongs to somebody else or left the states that the write is for.
 */

#include "api/backend.h"
#include "server/job_state.h"

#include <stdbool.h>

struct store;
struct part;

/* ---- for clients ---- */

struct store_job_new {
	const char *id, *name, *labels, *params;
	const char *model_id, *model_sha256, *calibration_id, *calibration_sha256;
	int64_t samples, samples_used;
};

/* Commits a queued job, provided that both objects are still there. At max_queued jobs waiting: ERR_QUEUE_FULL. */
int store_job_add(struct store *s, const struct store_job_new *j, int64_t max_queued, struct err *e);
int store_job_get(struct store *s, const char *id, struct api_job *out, struct err *e);
int store_job_list(struct store *s, const struct api_page *page, const char *status, struct api_job **out, size_t *n,
                   struct err *e);
/* Cancels: a queued job at once, a running one when its worker has ended the child. *to says which. Canceling twice is no
 * error. */
int store_job_cancel(struct store *s, const char *id, enum job_status *to, struct err *e);
int store_job_delete(struct store *s, const char *id, struct err *e);
int store_job_layers(struct store *s, const char *id, struct api_layer **out, size_t *n, struct err *e);
int store_job_events(struct store *s, const char *id, int64_t after, int64_t limit, struct api_event **out, size_t *n,
                     struct err *e);
int store_job_artifact(struct store *s, const char *id, const char *name, struct api_artifact *out, struct err *e);
int store_job_queue(struct store *s, struct api_queue *out, struct err *e);

/* ---- for workers ---- */

struct store_claim {
	char id[API_ID + 1];
	int64_t attempt;
	int64_t deaths;
	char *params; /* JSON object */
	char model_id[API_ID + 1], calibration_id[API_ID + 1];
};

/* The oldest queued job, or a running one whose lease ran out; *found is false when there is none. */
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
};

int store_job_add_layer(struct store *s, const struct store_claim *c, const struct store_layer *l, struct err *e);
int store_job_warn(struct store *s, const struct store_claim *c, const char *code, const char *layer, const char *detail,
                   struct err *e);

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
